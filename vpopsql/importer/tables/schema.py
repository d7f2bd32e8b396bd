"""The tables of vpopmail that an import reads, and the form that their rows travel in.

Tables and columns are known by their names, in any case, never by position: builds of vpopmail
differ, and vpopmail itself reads some columns of ``limits`` one off.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from vpopsql.qmail.lines import decode

Fields = list[str | None]
"""The values of a row in the order of `Table.columns`, decoded; None for NULL."""

MYSQL = "mysql"
PGSQL = "pgsql"

NULL = b"-"
PG_IDENTIFIER_MAX = 63
"""Bytes that PostgreSQL keeps of a longer name."""
MYSQL_IDENTIFIER_MAX = 64
"""Characters of the longest name that MySQL takes; vpopmail can make no table for a longer one."""


@dataclass(frozen=True, slots=True)
class Table:
    """One kind of table.

    ``domain`` is the column that says which domain a row belongs to, empty if the table's name
    does. Optional columns that a table lacks read as NULL; ``pointless`` ones say nothing.
    """

    name: str
    domain: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    pointless: tuple[str, ...] = ()
    spellings: Mapping[str, str] | None = None
    """Other names of columns, in old versions or other databases: name there -> name here."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What is read of a row, besides its domain."""
        return (*self.required, *self.optional)

    def find(self, present: Iterable[str]) -> dict[str, str]:
        """Return the table's own spelling of each column that it has, by our name."""
        other = self.spellings or {}
        wanted = {*self.columns, self.domain}
        found: dict[str, str] = {}
        for column in present:
            name = other.get(column.lower(), column.lower())
            if name in wanted:
                found.setdefault(name, column)
        return found

    def unknown(self, present: Iterable[str]) -> list[str]:
        """Return the columns that nothing is known of."""
        known = {*self.columns, self.domain, *self.pointless, *(self.spellings or {})}
        return [column for column in present if column.lower() not in known]

    def fits(self, present: Collection[str]) -> bool:
        """Say whether a table with these columns is one of this kind."""
        return {*self.required, self.domain} - {""} <= self.find(present).keys()


_ACCOUNT = ("pw_name", "pw_passwd", "pw_uid", "pw_gid", "pw_gecos", "pw_dir", "pw_shell")
_CLEAR_TEXT = ("pw_clear_passwd",)
_IDS = ("id", "my_uid", "my_gid")

ACCOUNTS = Table("vpopmail", "pw_domain", _ACCOUNT, _CLEAR_TEXT, _IDS)
DOMAIN_ACCOUNTS = Table("a table for each domain", "", _ACCOUNT, _CLEAR_TEXT, _IDS)
VALIAS = Table(
    "valias", "domain", ("alias", "valias_line"), ("id",), pointless=("valias_type", "copy")
)
LIMITS = Table(
    "limits",
    "domain",
    (),
    (
        "maxpopaccounts",
        "maxaliases",
        "maxforwards",
        "maxautoresponders",
        "maxmailinglists",
        "diskquota",
        "maxmsgcount",
        "defaultquota",
        "defaultmaxmsgcount",
        "disable_pop",
        "disable_imap",
        "disable_dialup",
        "disable_passwordchanging",
        "disable_webmail",
        "disable_relay",
        "disable_smtp",
        "disable_spamassassin",
        "delete_spam",
        "disable_maildrop",
        "perm_account",
        "perm_alias",
        "perm_forward",
        "perm_autoresponder",
        "perm_maillist",
        "perm_quota",
        "perm_defaultquota",
    ),
)
LASTAUTH = Table(
    "lastauth", "domain", ("user", "remote_ip", "timestamp"), spellings={"userid": "user"}
)
DIR_CONTROL = Table(
    "dir_control",
    "domain",
    ("cur_users",),
    (
        "level_cur",
        "level_max",
        *(f"level_{what}{n}" for what in ("start", "end", "mod", "index") for n in range(3)),
        "the_dir",
    ),
)
IP_ALIAS_MAP = Table("ip_alias_map", "domain", ("ip_addr",), pointless=("id",))
ALIASDOMAINS = Table("aliasdomains", "domain", ("alias",), pointless=("id",))

TABLES = (
    ACCOUNTS,
    DOMAIN_ACCOUNTS,
    VALIAS,
    LIMITS,
    LASTAUTH,
    DIR_CONTROL,
    IP_ALIAS_MAP,
    ALIASDOMAINS,
)
_BY_NAME = {table.name: table for table in TABLES}


def table_of(name: str, columns: Collection[str]) -> Table | None:
    """Return which kind of table this is; None: one that is not read.

    ``vlog``, which has passwords that people mistyped, is none of them, nor is ``relay``. The
    name of a domain has a dot, so the name of its table has an underscore, unlike ``users``.
    """
    table = _BY_NAME.get(name.lower())
    if table is not None:
        return table if table.fits(columns) else None
    has_domain = any(column.lower() == ACCOUNTS.domain for column in columns)
    if may_be_read(name) and not has_domain and DOMAIN_ACCOUNTS.fits(columns):
        return DOMAIN_ACCOUNTS
    return None


def is_known(name: str) -> bool:
    """Say whether a name is that of a kind of table, whatever its columns."""
    return name.lower() in _BY_NAME


def may_be_read(name: str) -> bool:
    """Say whether a table of this name may be one that is read, whatever its columns."""
    return is_known(name) or "_" in name


def table_name(domain: str, database: str) -> str:
    """Return the name of the table with the accounts of one domain.

    :param database: `MYSQL` or `PGSQL`.
    """
    name = domain.replace(".", "_").replace("-", "_")
    return name[:PG_IDENTIFIER_MAX] if database == PGSQL else name


def pack(fields: Iterable[bytes | None]) -> bytes:
    """Return a row as one value: ``length:bytes`` for each field, ``-`` for NULL.

    A database can do this, too, which spares the driver most of its work for each row.
    """
    return b"".join(
        [NULL if field is None else b"%d:%b" % (len(field), field) for field in fields]
    )


def unpack(data: bytes) -> Fields:
    """Return what was packed."""
    # In this encoding a byte is a character, and nearly all rows are ASCII: decoded at once.
    text = data.decode("latin-1")
    fields: Fields = []
    position, end = 0, len(text)
    while position < end:
        if text[position] == "-":
            fields.append(None)
            position += 1
            continue
        start = text.index(":", position) + 1
        position = start + int(text[position : start - 1])
        fields.append(text[start:position])
    if text.isascii():
        return fields
    return [field and decode(field.encode("latin-1")) for field in fields]
