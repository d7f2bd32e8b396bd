"""A sample site as rows of vpopmail's SQL tables, in the schemas that there are.

The rows are made from the files of a tree by plain splitting, not by what is tested. Everything
that a table holds is taken out of the tree, as it is when vpopmail is built with that back end.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection

from vpopsql.importer import site
from vpopsql.qmail.lines import decode, encode

Row = Mapping[str, str | int | bytes | None]
Tables = Mapping[str, Iterable[Row]]
VLOG_PASSWORD = "a-mistyped-password"
"""What no import may ever read."""

_ACCOUNT = ("pw_name", "pw_passwd", "pw_uid", "pw_gid", "pw_gecos", "pw_dir", "pw_shell")
_COUNTER = (
    ("cur_users",),
    ("level_cur",),
    ("level_max",),
    *(
        tuple(f"level_{what}{level}" for level in range(3))
        for what in ("start", "end", "mod", "index")
    ),
    ("the_dir",),
)
_LIMITS = {
    "quota": "diskquota",
    "default_quota": "defaultquota",
    "default_maxmsgcount": "defaultmaxmsgcount",
    "disable_password_changing": "disable_passwordchanging",
    "disable_external_relay": "disable_relay",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """A site: the directories as they are beside its tables, and what is in the tables."""

    root: Path
    tables: Mapping[str, list[Row]]


class Schema(NamedTuple):
    """The statements that make the tables; ``accounts`` has a place for the table's name.

    ``renamed`` are columns that have another name there than in the rows.
    """

    accounts: str
    others: tuple[str, ...]
    by_domain: bool = False
    renamed: Mapping[str, str] = {}


def take_apart(root: Path, *, limits: bool = True) -> Sample:
    """Make rows of a tree, and take from it what is in them now.

    :param limits: whether there is a table for limits.
    """
    qmail, domains = root / "var/qmail", root / "home/vpopmail/domains"
    heads = _heads(qmail / "users/assign")
    tables: dict[str, list[Row]] = {
        "aliasdomains": [
            {"alias": name, "domain": real} for name, real, _ in heads if name != real
        ],
        "dir_control": [_counter("dom_89", domains / ".dir-control")],
        "ip_alias_map": _ip_mappings(root / "home/vpopmail/etc/ip_alias_map"),
    }
    for table in ("vpopmail", "valias", "limits", "lastauth"):
        tables[table] = []
    for domain, real, path in heads:
        directory = root / path.removeprefix("/")
        if domain != real:
            continue
        tables["vpopmail"] += _accounts(domain, directory)
        tables["lastauth"] += _last_auths(domain, directory, root)
        tables["valias"] += _aliases(domain, directory)
        tables["dir_control"].append(_counter(domain, directory / ".dir-control"))
        for name in ("vpasswd", "vpasswd.cdb"):
            (directory / name).unlink()
        if limits and (directory / ".qmailadmin-limits").exists():
            tables["limits"].append(_limits(domain, directory / ".qmailadmin-limits"))
    tables["vlog"] = [
        {
            "user": "al",
            "passwd": VLOG_PASSWORD,
            "domain": "example.com",
            "logon": "al@example.com",
            "remoteip": "192.0.2.7",
            "message": f"password fail {VLOG_PASSWORD}",
            "timestamp": 1500000000,
            "error": 3,
        }
    ]
    tables["relay"] = [{"ip_addr": "192.0.2.7", "timestamp": 1500000000}]
    return Sample(root, tables)


def expected(tree: site.Site, *, clear_text: bool = True, limits_text: bool = False) -> site.Site:
    """Return what an import from tables should have read: the tree's site, but for what no table
    can hold.

    :param clear_text: whether there is a column for readable passwords.
    :param limits_text: whether limits are files, not rows.
    """

    def domain(each: site.Domain) -> site.Domain:
        limits = each.limits
        if limits is not None and not limits_text:
            limits = replace(limits, source_text=None)
        boxes = each.mailboxes
        if not clear_text:
            boxes = tuple(box._replace(clear_text=None) for box in boxes)
        return replace(each, limits=limits, mailboxes=boxes)

    return replace(tree, domains=tuple(domain(each) for each in tree.domains))


def fill(connection: Connection, schema: Schema, tables: Tables) -> None:
    """Make the tables of a schema and put the rows in, as far as it has tables for them."""
    for statement in schema.others:
        connection.exec_driver_sql(statement)
    if not schema.by_domain:
        connection.exec_driver_sql(schema.accounts.format("vpopmail"))
    for table, rows in tables.items():
        if table == "vpopmail" and schema.by_domain:
            _fill_by_domain(connection, schema, rows)
        elif table == "vpopmail" or any(_name(statement) == table for statement in schema.others):
            insert(connection, table, rows, schema.renamed)


def insert(
    connection: Connection, table: str, rows: Iterable[Row], renamed: Mapping[str, str] = {}
) -> None:
    """Put rows into a table, as far as it has columns for them."""
    quote = connection.dialect.identifier_preparer.quote_identifier
    present = connection.exec_driver_sql(f"SELECT * FROM {quote(table)} LIMIT 0").keys()
    is_mysql = connection.dialect.name != "postgresql"
    for row in rows:
        own = {renamed.get(column, column): value for column, value in row.items()}
        columns = [column for column in own if column in present]
        values = tuple(_stored(own[column], is_mysql=is_mysql) for column in columns)
        names = ", ".join(map(quote, columns))
        places = ", ".join(["%s"] * len(columns))
        connection.exec_driver_sql(
            f"INSERT INTO {quote(table)} ({names}) VALUES ({places})", values
        )


def _fill_by_domain(connection: Connection, schema: Schema, rows: Iterable[Row]) -> None:
    made = set()
    for row in rows:
        table = re.sub("[.-]", "_", str(row["pw_domain"]))
        if table not in made:
            connection.exec_driver_sql(schema.accounts.format(table))
            made.add(table)
        insert(connection, table, [row])


def _stored(value: str | int | bytes | None, *, is_mysql: bool) -> str | int | bytes | None:
    # MySQL stores the bytes that it is given, whatever the column's character set.
    return encode(value) if is_mysql and isinstance(value, str) else value


def _name(statement: str) -> str:
    match = re.match(r"CREATE TABLE (\w+)", statement)
    return match[1] if match else ""


# --- rows of files ----------------------------------------------------------------------------


def _lines(path: Path) -> list[str]:
    return decode(path.read_bytes()).splitlines()


def _heads(assign: Path) -> list[tuple[str, str, str]]:
    """Return name, real domain and directory of every domain."""
    fields = [line.split(":") for line in _lines(assign) if line.startswith("+")]
    return [(each[0][1:-1], each[1], each[4]) for each in fields if "." in each[0]]


def _accounts(domain: str, directory: Path) -> list[Row]:
    rows: list[Row] = []
    for line in _lines(directory / "vpasswd"):
        *values, clear = line.split(":", len(_ACCOUNT))
        account = dict(zip(_ACCOUNT, values, strict=True))
        rows.append({**account, "pw_domain": domain, "pw_clear_passwd": clear})
    return rows


def _last_auths(domain: str, directory: Path, root: Path) -> list[Row]:
    rows: list[Row] = []
    for line in _lines(directory / "vpasswd"):
        name, path = line.split(":")[0], line.split(":")[5]
        file = root / path.removeprefix("/") / "lastauth"
        if file.exists():
            rows.append(
                {
                    "user": name,
                    "domain": domain,
                    "remote_ip": file.read_text(),
                    "timestamp": int(file.stat().st_mtime),
                }
            )
            file.unlink()
    return rows


def _aliases(domain: str, directory: Path) -> list[Row]:
    """Take what is no list, as vpopmail's own converter does, and what a row can say."""
    rows: list[Row] = []
    for file in sorted(directory.glob(".qmail-*")):
        if file.is_symlink() or file.name == ".qmail-default":
            continue
        lines = _lines(file)
        if not all(lines) or "ezmlm" in "".join(lines):
            continue
        name = file.name.removeprefix(".qmail-").replace(":", ".")
        rows += [{"alias": name, "domain": domain, "valias_line": line} for line in lines]
        file.unlink()
    return rows


def _limits(domain: str, file: Path) -> Row:
    row: dict[str, str | int] = {"domain": domain}
    for line in _lines(file):
        key, _, value = line.partition(": ")
        row[_LIMITS.get(key, key)] = int(value or 1)
    file.unlink()
    return row


def _counter(domain: str, file: Path) -> Row:
    row: dict[str, str | int] = {"domain": domain, "the_dir": ""}
    for columns, line in zip(_COUNTER, _lines(file), strict=False):
        row.update(zip(columns, line.split(), strict=False))
    file.unlink()
    return row


def _ip_mappings(file: Path) -> list[Row]:
    lines = [line.split() for line in _lines(file)]
    file.unlink()
    return [{"ip_addr": address, "domain": domain} for address, domain in lines]


# --- schemas ----------------------------------------------------------------------------------

_LIMIT_COLUMNS = (
    "domain {text}(96) PRIMARY KEY, maxpopaccounts INT(10) NOT NULL DEFAULT -1,"
    " maxaliases INT(10) NOT NULL DEFAULT -1, maxforwards INT(10) NOT NULL DEFAULT -1,"
    " maxautoresponders INT(10) NOT NULL DEFAULT -1, maxmailinglists INT(10) NOT NULL DEFAULT -1,"
    " diskquota BIGINT UNSIGNED NOT NULL DEFAULT 0, maxmsgcount BIGINT UNSIGNED NOT NULL DEFAULT"
    " 0, defaultquota BIGINT UNSIGNED NOT NULL DEFAULT 0, defaultmaxmsgcount BIGINT UNSIGNED NOT"
    " NULL DEFAULT 0, disable_pop TINYINT(1) NOT NULL DEFAULT 0, disable_imap TINYINT(1) NOT NULL"
    " DEFAULT 0, disable_dialup TINYINT(1) NOT NULL DEFAULT 0, disable_passwordchanging TINYINT(1)"
    " NOT NULL DEFAULT 0, disable_webmail TINYINT(1) NOT NULL DEFAULT 0, disable_relay TINYINT(1)"
    " NOT NULL DEFAULT 0, disable_smtp TINYINT(1) NOT NULL DEFAULT 0,"
)
_LIMIT_PERMISSIONS = (
    " perm_account TINYINT(2) NOT NULL DEFAULT 0, perm_alias TINYINT(2) NOT NULL DEFAULT 0,"
    " perm_forward TINYINT(2) NOT NULL DEFAULT 0, perm_autoresponder TINYINT(2) NOT NULL DEFAULT"
    " 0, perm_maillist TINYINT(4) NOT NULL DEFAULT 0, perm_quota TINYINT(2) NOT NULL DEFAULT 0,"
    " perm_defaultquota TINYINT(2) NOT NULL DEFAULT 0"
)
_DIR_CONTROL = (
    "CREATE TABLE dir_control (domain {text}(96) NOT NULL, cur_users INT, level_cur INT, level_max"
    " INT, level_start0 INT, level_start1 INT, level_start2 INT, level_end0 INT, level_end1 INT,"
    " level_end2 INT, level_mod0 INT, level_mod1 INT, level_mod2 INT, level_index0 INT,"
    " level_index1 INT, level_index2 INT, the_dir {text}(160), PRIMARY KEY (domain))"
)

MYSQL = Schema(
    accounts=(
        "CREATE TABLE {} (pw_name VARCHAR(64) NOT NULL, pw_domain VARCHAR(96) NOT NULL,"
        " pw_passwd VARCHAR(128), pw_uid INT, pw_gid INT, pw_gecos VARCHAR(64),"
        " pw_dir VARCHAR(160), pw_shell VARCHAR(20), pw_clear_passwd VARCHAR(128),"
        " PRIMARY KEY (pw_name, pw_domain))"
    ),
    others=(
        "CREATE TABLE valias (id BIGINT AUTO_INCREMENT PRIMARY KEY, alias VARCHAR(32) NOT NULL,"
        " domain VARCHAR(96) NOT NULL, valias_line TEXT NOT NULL, INDEX (alias, domain))",
        f"CREATE TABLE limits ({_LIMIT_COLUMNS.format(text='VARCHAR')}"
        " disable_spamassassin TINYINT(1) NOT NULL DEFAULT 0, delete_spam TINYINT(1) NOT NULL"
        f" DEFAULT 0, disable_maildrop TINYINT(1) NOT NULL DEFAULT 0,{_LIMIT_PERMISSIONS})",
        "CREATE TABLE lastauth (user VARCHAR(32) NOT NULL, domain VARCHAR(96) NOT NULL, remote_ip"
        " VARCHAR(39) NOT NULL, timestamp INT DEFAULT 0 NOT NULL, PRIMARY KEY (user, domain))",
        _DIR_CONTROL.format(text="VARCHAR"),
        "CREATE TABLE ip_alias_map (ip_addr VARCHAR(39) NOT NULL, domain VARCHAR(96),"
        " PRIMARY KEY (ip_addr))",
        "CREATE TABLE aliasdomains (alias VARCHAR(100) NOT NULL, domain VARCHAR(100) NOT NULL,"
        " PRIMARY KEY (alias))",
        "CREATE TABLE vlog (id BIGINT AUTO_INCREMENT PRIMARY KEY, user VARCHAR(32), passwd"
        " VARCHAR(32), domain VARCHAR(96), logon VARCHAR(200), remoteip VARCHAR(39), message"
        " VARCHAR(255), timestamp BIGINT NOT NULL DEFAULT 0, error INT, INDEX user_idx (user))",
        "CREATE TABLE relay (ip_addr VARCHAR(39) NOT NULL, timestamp INT, PRIMARY KEY (ip_addr))",
    ),
)
"""What vpopmail 5.6 makes, with readable passwords."""

MYSQL_SHIPPED = Schema(
    accounts=(
        "CREATE TABLE {} (id INT(11) NOT NULL AUTO_INCREMENT, pw_name CHAR(64) NOT NULL DEFAULT"
        " '', pw_domain CHAR(96) NOT NULL DEFAULT '', pw_passwd CHAR(128) DEFAULT NULL, pw_uid"
        " INT(11) DEFAULT NULL, pw_gid INT(11) DEFAULT NULL, pw_gecos CHAR(64) DEFAULT NULL,"
        " pw_dir CHAR(160) DEFAULT NULL, pw_shell CHAR(20) DEFAULT NULL, pw_clear_passwd CHAR(128)"
        " DEFAULT NULL, my_uid INT(11) NOT NULL DEFAULT 89, my_gid INT(11) NOT NULL DEFAULT 89,"
        " PRIMARY KEY (id), UNIQUE KEY name (pw_name, pw_domain))"
        " ENGINE=InnoDB DEFAULT CHARSET=utf8"
    ),
    others=(
        "CREATE TABLE valias (id INT AUTO_INCREMENT PRIMARY KEY, valias_type TINYINT(1) NOT NULL"
        " DEFAULT 1, alias VARCHAR(32) NOT NULL, domain VARCHAR(96) NOT NULL, valias_line TEXT NOT"
        " NULL, copy TINYINT(1) NOT NULL DEFAULT 0, INDEX (alias, domain))",
        *MYSQL.others[1:5],
        "CREATE TABLE aliasdomains (alias CHAR(96) NOT NULL PRIMARY KEY, domain CHAR(96) NOT NULL)",
        *MYSQL.others[6:],
    ),
)
"""What vpopmail's own sql files make, with the columns that no program of its own needs."""

MYSQL_OLD = Schema(
    accounts=(
        "CREATE TABLE {} (pw_name CHAR(32) NOT NULL, pw_domain CHAR(64) NOT NULL,"
        " pw_passwd CHAR(128), pw_uid INT, pw_gid INT, pw_gecos CHAR(48), pw_dir CHAR(160),"
        " pw_shell CHAR(20), PRIMARY KEY (pw_name, pw_domain)) ENGINE=MyISAM CHARSET=latin1"
    ),
    others=(
        "CREATE TABLE valias (alias CHAR(32) NOT NULL, domain CHAR(64) NOT NULL,"
        " valias_line TEXT NOT NULL, INDEX (alias, domain)) ENGINE=MyISAM CHARSET=latin1",
        f"CREATE TABLE limits ({_LIMIT_COLUMNS.format(text='CHAR')}{_LIMIT_PERMISSIONS})"
        " ENGINE=MyISAM CHARSET=latin1",
        "CREATE TABLE lastauth (user CHAR(32) NOT NULL, domain CHAR(64) NOT NULL, remote_ip"
        " CHAR(18) NOT NULL, timestamp BIGINT DEFAULT 0 NOT NULL, PRIMARY KEY (user, domain))"
        " ENGINE=MyISAM CHARSET=latin1",
        f"{_DIR_CONTROL.format(text='CHAR')} ENGINE=MyISAM CHARSET=latin1",
        "CREATE TABLE ip_alias_map (ip_addr CHAR(18) NOT NULL, domain CHAR(64),"
        " PRIMARY KEY (ip_addr)) ENGINE=MyISAM CHARSET=latin1",
        "CREATE TABLE vlog (id BIGINT AUTO_INCREMENT PRIMARY KEY, user CHAR(32), passwd CHAR(32),"
        " domain CHAR(96), logon VARCHAR(200), remoteip CHAR(18), message VARCHAR(255), timestamp"
        " BIGINT NOT NULL DEFAULT 0, error INT) ENGINE=MyISAM CHARSET=latin1",
    ),
)
"""What an old vpopmail made on an old server: padded columns, latin1, no transactions."""

MYSQL_BY_DOMAIN = MYSQL._replace(
    accounts=MYSQL.accounts.replace(" pw_domain VARCHAR(96) NOT NULL,", "").replace(
        ", pw_domain)", ")"
    ),
    by_domain=True,
)
"""A table for each domain."""

PGSQL = Schema(
    accounts=(
        'CREATE TABLE "{}" (pw_name VARCHAR(64) NOT NULL, pw_domain VARCHAR(96) NOT NULL,'
        " pw_passwd VARCHAR(128), pw_uid INT, pw_gid INT, pw_gecos VARCHAR(64),"
        " pw_dir VARCHAR(160), pw_shell VARCHAR(20), pw_clear_passwd VARCHAR(128),"
        " PRIMARY KEY (pw_domain, pw_name))"
    ),
    others=(
        "CREATE TABLE valias (alias VARCHAR(32) NOT NULL, domain VARCHAR(96) NOT NULL,"
        " valias_line VARCHAR(160) NOT NULL)",
        "CREATE INDEX valias_idx ON valias (alias, domain)",
        "CREATE TABLE lastauth (userid VARCHAR(32) NOT NULL, domain VARCHAR(96) NOT NULL,"
        " remote_ip VARCHAR(18) NOT NULL, timestamp BIGINT DEFAULT 0 NOT NULL,"
        " PRIMARY KEY (userid, domain))",
        _DIR_CONTROL.format(text="VARCHAR"),
        "CREATE TABLE ip_alias_map (ip_addr VARCHAR(18) NOT NULL PRIMARY KEY, domain VARCHAR(96))",
        "CREATE TABLE vlog (id BIGINT PRIMARY KEY DEFAULT 1, userid CHAR(32), passwd CHAR(32),"
        " domain CHAR(96), logon VARCHAR(200), remoteip CHAR(18), message VARCHAR(255), timestamp"
        " BIGINT NOT NULL DEFAULT 0, error INT)",
        "CREATE TABLE relay (ip_addr CHAR(18) NOT NULL, timestamp BIGINT, PRIMARY KEY (ip_addr))",
    ),
    renamed={"user": "userid"},
)
"""What vpopmail makes in PostgreSQL, with readable passwords; limits are files."""

PGSQL_OLD = PGSQL._replace(
    accounts=re.sub("VARCHAR", "CHAR", PGSQL.accounts).replace(" pw_clear_passwd CHAR(128),", ""),
    others=tuple(statement.replace("VARCHAR", "CHAR") for statement in PGSQL.others),
)
"""With columns that are filled up with blanks."""

PGSQL_BY_DOMAIN = PGSQL._replace(
    accounts=PGSQL.accounts.replace(" pw_domain VARCHAR(96) NOT NULL,", "").replace(
        "(pw_domain, pw_name)", "(pw_name)"
    ),
    by_domain=True,
)
"""A table for each domain."""
