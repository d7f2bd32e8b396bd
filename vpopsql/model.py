"""The tables of vpopsql: what there is, and which combinations can exist at all.

No queries and no rules of behaviour live here. Every constraint and index is named. Names of
mail objects are stored lower-cased; times are aware UTC; quotas are integers with the exact text
of the source beside them.

The names ``vpopmail``, ``aliasdomains``, ``limits``, ``lastauth``, ``valias``, ``ip_alias_map``,
``dir_control``, ``vlog`` and ``relay`` belong to the compatibility views that migrations create,
so no table has one of them.
"""

import enum
from datetime import datetime
from typing import Annotated, Any, cast

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Enum,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
    false,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from vpopsql.columns import ExactText, NameText, SealedText, UtcDateTime, utc_now
from vpopsql.flags import Flag as Flag  # noqa: PLC0414 - others take it from here

SCHEMA_VERSION = 1
"""The newest schema generation that this code understands; see `SchemaGuard`."""


class CatchAll(enum.StrEnum):
    """What happens to mail for names that a domain does not have."""

    NONE = "none"
    """No ``.qmail-default`` exists: qmail bounces."""
    BOUNCE = "bounce"
    DELETE = "delete"
    ADDRESS = "address"
    """``catchall_target`` is an e-mail address."""
    DIRECTORY = "directory"
    """``catchall_target`` is a mailbox directory."""
    DOTQMAIL = "dotqmail"
    """The lines of ``.qmail-default`` are no vdelivermail call; they are kept as rows."""


class LineKind(enum.StrEnum):
    """What one line of a dot-qmail file makes qmail do."""

    BLANK = "blank"
    COMMENT = "comment"
    PROGRAM = "program"
    FORWARD = "forward"
    MBOX = "mbox"
    MAILDIR = "maildir"


DERIVED = "derived"
"""The key in a table's ``info`` that says that triggers write it, from other tables."""


def _few(name: str, *columns: str, where: str, on_postgresql: str = "") -> Index:
    """Return an index of some rows of a table only."""
    return Index(
        name,
        *columns,
        sqlite_where=text(where),
        postgresql_where=text(on_postgresql or where),
    )


def _choice(kind: type[enum.StrEnum], name: str) -> Enum:
    return Enum(
        kind,
        native_enum=False,
        create_constraint=True,
        name=name,
        length=16,
        values_callable=lambda members: [member.value for member in members],
    )


serial_pk = Annotated[
    int,
    mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    ),
]
domain_pk = Annotated[
    int, mapped_column(ForeignKey("domains.id", ondelete="CASCADE"), primary_key=True)
]
count = Annotated[int, mapped_column(BigInteger, server_default=text("0"), default=0)]
maximum = Annotated[int, mapped_column(BigInteger, server_default=text("-1"), default=-1)]
"""A number of objects; -1 is unlimited."""
bool_false = Annotated[bool, mapped_column(server_default=false(), default=False)]
permission = Annotated[int, mapped_column(SmallInteger, server_default=text("0"), default=0)]
"""Bits denied to domain administrators: 1 create, 2 modify, 4 delete."""
exact = Annotated[str, mapped_column(ExactText)]
when = Annotated[datetime, mapped_column(UtcDateTime)]


class Base(DeclarativeBase):
    """The registry, with a name for every constraint."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def table_of(entity: type[Base]) -> Table:
    """Return the table of an entity, for statements that the ORM has nothing to do with."""
    return cast("Table", entity.__table__)


class Domain(Base):
    """A real mail domain; its names are rows of `DomainName`."""

    __tablename__ = "domains"
    __table_args__ = (
        CheckConstraint("uid >= 0 AND gid >= 0", name="ids"),
        CheckConstraint(
            "(catchall IN ('address', 'directory')) = (catchall_target IS NOT NULL)",
            name="catchall_target",
        ),
    )

    id: Mapped[serial_pk]
    directory: Mapped[exact] = mapped_column(unique=True)
    """As vpopmail bucketed it; stored, never computed."""
    uid: Mapped[int]
    gid: Mapped[int]
    created_at: Mapped[when | None]
    """NULL for imported domains: vpopmail does not keep it."""
    catchall: Mapped[CatchAll] = mapped_column(_choice(CatchAll, "catchall"))
    catchall_target: Mapped[exact | None]


class DomainName(Base):
    """One name that mail arrives for: the name of a domain itself, or an alias domain.

    The one namespace of both is this table's primary key, and an alias of an alias cannot be
    written down.
    """

    __tablename__ = "domain_names"
    __table_args__ = (
        Index(
            "uq_domain_names_real",
            "domain_id",
            unique=True,
            sqlite_where=text("NOT is_alias"),
            postgresql_where=text("NOT is_alias"),
        ),
        Index("ix_domain_names_domain_id_is_alias", "domain_id", "is_alias", "sort_key"),
        # Who adds a name counts these, of which there are 50 at most.
        _few(
            "ix_domain_names_rcpthosts",
            "name",
            where="in_morercpthosts = 0",
            on_postgresql="NOT in_morercpthosts",
        ),
        CheckConstraint("name = lower(name)", name="lower_case"),
    )

    name: Mapped[str] = mapped_column(NameText(255), primary_key=True)
    domain_id: Mapped[int] = mapped_column(ForeignKey("domains.id", ondelete="CASCADE"))
    is_alias: Mapped[bool]
    sort_key: Mapped[str] = mapped_column(NameText(255), unique=True)
    """The name in the order of vpopmail's files: last two labels first."""
    in_morercpthosts: Mapped[bool_false]
    """Whether qmail finds the name in morercpthosts.cdb instead of rcpthosts."""


class DomainNameCount(Base):
    """How many `DomainName` rows there are in a part of their order; triggers keep it exact.

    On PostgreSQL a part may have several rows, whose sum counts.
    """

    __tablename__ = "domain_name_counts"
    __table_args__ = (
        Index("ix_domain_name_counts_from_key", "from_key"),
        {"info": {DERIVED: True}},
    )

    id: Mapped[serial_pk]
    from_key: Mapped[str] = mapped_column(NameText(255))
    """The part: names from this `DomainName.sort_key` on, up to the next; empty: the first."""
    names: Mapped[int] = mapped_column(BigInteger)


class Mailbox(Base):
    """An account ("user"): somebody who logs in and has mail delivered."""

    __tablename__ = "mailboxes"
    __table_args__ = (
        UniqueConstraint("domain_id", "name"),
        # Dovecot asks for a name in one domain or another one.
        Index("ix_mailboxes_name", "name"),
        # The others are for reports: what there are few of, and what is to be sorted.
        Index("ix_mailboxes_created_at", "created_at"),
        _few(
            "ix_mailboxes_admins", "domain_id", where="(flags & 69632) <> 0 OR name = 'postmaster'"
        ),
        _few("ix_mailboxes_clear_text", "domain_id", where="COALESCE(clear_text, '') <> ''"),
        _few("ix_mailboxes_bouncing", "domain_id", "name", where="(flags & 16) <> 0"),
        _few(
            "ix_mailboxes_colons",
            "domain_id",
            "name",
            where="instr(name, ':') > 0",
            on_postgresql="strpos(name, ':') > 0",
        ),
        CheckConstraint("quota_bytes > 0", name="quota_bytes"),
        CheckConstraint("quota_messages > 0", name="quota_messages"),
    )

    id: Mapped[serial_pk]
    domain_id: Mapped[int] = mapped_column(ForeignKey("domains.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(NameText(255))
    password_hash: Mapped[exact]
    """A crypt() string; empty or beginning with ``*`` or ``!``: nobody can log in."""
    clear_text: Mapped[str | None] = mapped_column(SealedText)
    """NULL: not stored at all; empty: the source had the field, without a value."""
    apop_uid: Mapped[int] = mapped_column(server_default=text("1"), default=1)
    """``pw_uid``: 1 a normal account, 2 APOP."""
    flags: Mapped[count]
    """The account's own bits, see `Flag`; bits unknown to us are kept."""
    comment: Mapped[exact]
    directory: Mapped[exact]
    quota_bytes: Mapped[int | None] = mapped_column(BigInteger)
    """NULL: no limit."""
    quota_messages: Mapped[int | None] = mapped_column(BigInteger)
    """NULL: no limit."""
    quota_text: Mapped[exact]
    """``pw_shell`` exactly as it came, such as ``10000000S,100C`` or ``NOQUOTA``."""
    created_at: Mapped[when | None]
    password_changed_at: Mapped[when | None]


class DotQmailFile(Base):
    """A ``.qmail*`` file of a domain (``mailbox_id`` is NULL) or of a mailbox."""

    __tablename__ = "dotqmail_files"
    __table_args__ = (
        Index(
            "uq_dotqmail_files_domain",
            "domain_id",
            "name",
            unique=True,
            sqlite_where=text("mailbox_id IS NULL"),
            postgresql_where=text("mailbox_id IS NULL"),
        ),
        UniqueConstraint("mailbox_id", "name"),
        Index("ix_dotqmail_files_domain_id", "domain_id"),
        Index(
            "ix_dotqmail_files_wildcards",
            "domain_id",
            sqlite_where=text("mailbox_id IS NULL AND substr(name, -8, 8) = '-default'"),
            postgresql_where=text("mailbox_id IS NULL AND right(name, 8) = '-default'"),
        ),
        _few(
            "ix_dotqmail_files_colons",
            "domain_id",
            "name",
            where="mailbox_id IS NULL AND instr(name, ':') > 0",
            on_postgresql="mailbox_id IS NULL AND strpos(name, ':') > 0",
        ),
    )

    id: Mapped[serial_pk]
    domain_id: Mapped[int] = mapped_column(ForeignKey("domains.id", ondelete="CASCADE"))
    mailbox_id: Mapped[int | None] = mapped_column(ForeignKey("mailboxes.id", ondelete="CASCADE"))
    name: Mapped[exact]
    """The part after ``.qmail-`` with colons read as dots; empty for ``.qmail`` itself."""
    final_newline: Mapped[bool] = mapped_column(server_default=true(), default=True)
    link_target: Mapped[exact | None]
    """Set when the file is a symbolic link that leads to no readable file; it has no lines."""


class DotQmailLine(Base):
    """One line of a dot-qmail file.

    Its table has two more columns, ``to_user`` and ``to_host``: what a line that forwards leads
    to. The database computes them, for the views of reports alone.
    """

    __tablename__ = "dotqmail_lines"
    __table_args__ = (_few("ix_dotqmail_lines_programs", "file_id", where="kind = 'program'"),)

    file_id: Mapped[int] = mapped_column(
        ForeignKey("dotqmail_files.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """From 1."""
    line: Mapped[exact]
    kind: Mapped[LineKind] = mapped_column(_choice(LineKind, "kind"))


class LimitColumns:
    """The settings of ``.qmailadmin-limits``, under the daemon's own names."""

    max_popaccounts: Mapped[maximum]
    max_aliases: Mapped[maximum]
    max_forwards: Mapped[maximum]
    max_autoresponders: Mapped[maximum]
    max_mailinglists: Mapped[maximum]
    disk_quota: Mapped[count]
    """Megabytes for the whole domain; 0: no limit."""
    max_msgcount: Mapped[count]
    default_quota: Mapped[count]
    """Bytes for a new mailbox; 0: no limit."""
    default_maxmsgcount: Mapped[count]
    disable_pop: Mapped[bool_false]
    disable_imap: Mapped[bool_false]
    disable_dialup: Mapped[bool_false]
    disable_password_changing: Mapped[bool_false]
    disable_webmail: Mapped[bool_false]
    disable_external_relay: Mapped[bool_false]
    disable_smtp: Mapped[bool_false]
    disable_spamassassin: Mapped[bool_false]
    delete_spam: Mapped[bool_false]
    disable_maildrop: Mapped[bool_false]
    perm_account: Mapped[permission]
    perm_alias: Mapped[permission]
    perm_forward: Mapped[permission]
    perm_autoresponder: Mapped[permission]
    perm_maillist: Mapped[permission]
    perm_maillist_users: Mapped[permission]
    perm_maillist_moderators: Mapped[permission]
    perm_quota: Mapped[permission]
    perm_defaultquota: Mapped[permission]
    source_text: Mapped[exact | None]
    """The file the values came from; written back as it was while the values are the same."""


LIMIT_SETTINGS: tuple[str, ...] = tuple(
    name for name in LimitColumns.__annotations__ if name != "source_text"
)
"""Every setting of `LimitColumns`, in the order of the daemon's ``get_limits``."""


class DomainLimits(LimitColumns, Base):
    """The limits of one domain; without a row, `DefaultLimits` hold."""

    __tablename__ = "domain_limits"

    domain_id: Mapped[domain_pk]


class DefaultLimits(LimitColumns, Base):
    """The site's default limits (``etc/vlimits.default``): at most one row."""

    __tablename__ = "default_limits"
    __table_args__ = (CheckConstraint("id = 1", name="single_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, default=1)


class LastAuth(Base):
    """When and from where an account last logged in, per service."""

    __tablename__ = "last_auths"
    __table_args__ = (_few("ix_last_auths_at", "at", where="remote_ip <> '0.0.0.0'"),)

    mailbox_id: Mapped[int] = mapped_column(
        ForeignKey("mailboxes.id", ondelete="CASCADE"), primary_key=True
    )
    service: Mapped[str] = mapped_column(String(16), primary_key=True)
    """``imap``, ``pop3``, ``smtp``, ...; ``any`` when the source does not tell."""
    at: Mapped[when]
    remote_ip: Mapped[exact]
    """``0.0.0.0``: never logged in, ``at`` is when the account was made."""


class DovecotLogin(Base):
    """A slot for logins: a trigger notes in `LastAuth` what is dropped in, and no row stays."""

    __tablename__ = "dovecot_logins"

    username: Mapped[str] = mapped_column(NameText(255), primary_key=True)
    """The address of an account, as Dovecot got it from the view ``dovecot_users``."""
    service: Mapped[str] = mapped_column(String(16), primary_key=True)
    remote_ip: Mapped[str] = mapped_column(ExactText, primary_key=True)
    at: Mapped[int] = mapped_column(BigInteger)
    """Seconds since 1970, UTC."""


class LoginCount(Base):
    """How often somebody logged in to the daemon, or failed to, in an hour."""

    __tablename__ = "login_counts"
    __table_args__ = (Index("ix_login_counts_account_remote_ip", "account", "remote_ip"),)

    hour: Mapped[when] = mapped_column(primary_key=True)
    """When the hour began."""
    account: Mapped[exact] = mapped_column(primary_key=True)
    """The address of an account; or what was typed and is none, with its ``@``; else empty, since
    a word that is no address may be a password."""
    remote_ip: Mapped[str] = mapped_column(String(45), primary_key=True)
    """Empty when unknown."""
    service: Mapped[str] = mapped_column(String(16), primary_key=True)
    """``vpopmaild``, or what a checkpassword program was asked for."""
    domain: Mapped[str | None] = mapped_column(NameText(255))
    """The real domain of an account; of another address what is behind its ``@``."""
    ok: Mapped[count]
    failed: Mapped[count]
    last_at: Mapped[when]


class IpMapping(Base):
    """The domain that a login without one belongs to, by the address the client connected to."""

    __tablename__ = "ip_mappings"
    __table_args__ = (
        UniqueConstraint("family", "packed"),
        Index("ix_ip_mappings_domain_id", "domain_id"),
        CheckConstraint("family IN (4, 6)", name="family"),
    )

    address: Mapped[str] = mapped_column(NameText(39), primary_key=True)
    """Canonical text, IPv4 or IPv6."""
    family: Mapped[int] = mapped_column(SmallInteger)
    packed: Mapped[bytes] = mapped_column(LargeBinary(16))
    """Network byte order, so that order by (family, packed) is the order of the addresses."""
    domain_id: Mapped[int] = mapped_column(ForeignKey("domains.id", ondelete="CASCADE"))


class DirCounter(Base):
    """vpopmail's directory counter (``.dir-control``) of a domain or of the domains' tree."""

    __tablename__ = "dir_counters"
    __table_args__ = (CheckConstraint("(domain_id IS NULL) = (id = 0)", name="site_is_0"),)

    id: Mapped[serial_pk]
    """0: the site's own counter."""
    domain_id: Mapped[int | None] = mapped_column(
        ForeignKey("domains.id", ondelete="CASCADE"), unique=True
    )
    """NULL: the counter of the domains' own directories."""
    cur_users: Mapped[count]
    level_cur: Mapped[int]
    level_max: Mapped[int]
    level_start0: Mapped[int]
    level_start1: Mapped[int]
    level_start2: Mapped[int]
    level_end0: Mapped[int]
    level_end1: Mapped[int]
    level_end2: Mapped[int]
    level_mod0: Mapped[int]
    level_mod1: Mapped[int]
    level_mod2: Mapped[int]
    level_index0: Mapped[int]
    level_index1: Mapped[int]
    level_index2: Mapped[int]
    the_dir: Mapped[exact]
    free_buckets: Mapped[exact | None]
    """The text of ``.dir_control_free``: freed bucket paths, one a line; NULL: no such file."""


class ForeignLine(Base):
    """A line of a file that qmail reads and vpopmail shares, which no row of ours makes."""

    __tablename__ = "foreign_lines"

    file: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Below qmail's directory, such as ``control/rcpthosts`` or ``users/assign``."""
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Its line number in the source, from 1."""
    line: Mapped[exact]
    sort_key: Mapped[exact]
    """Where it belongs among our own lines."""


class SiteSetting(Base):
    """A fact about the whole site, such as the paths it was imported from."""

    __tablename__ = "site_settings"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[exact]


UNFINISHED_IMPORT = "unfinished_import"
"""The key of the setting that is there while the database holds a part of a site only."""


class AuditEntry(Base):
    """One change by somebody; rows are added and never changed (a trigger sees to it)."""

    __tablename__ = "audit_log"
    __table_args__ = (
        Index("ix_audit_log_object", "object_type", "object", "id"),
        Index("ix_audit_log_at", "at"),
        Index("uq_audit_log_chain_link", "chain", "link", unique=True),
    )

    id: Mapped[serial_pk]
    at: Mapped[when] = mapped_column(default=utc_now)
    actor: Mapped[exact]
    """An address, or the name of the program for changes that nobody logged in for."""
    actor_ip: Mapped[str | None] = mapped_column(String(45))
    channel: Mapped[str] = mapped_column(String(16))
    """``daemon``, ``cli``, ``import``, ``login`` or ``sql``."""
    request_id: Mapped[str | None] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(32))
    object_type: Mapped[str] = mapped_column(String(32))
    object: Mapped[exact]
    changes: Mapped[dict[str, Any]] = mapped_column(JSON().with_variant(JSONB(), "postgresql"))
    """``{field: [old, new]}``; secrets are masked."""
    chain: Mapped[int | None]
    """Which of the chains it is in, from 1; NULL until it is in one, see `audit_chain`."""
    link: Mapped[int | None] = mapped_column(BigInteger)
    """Its place in the chain, from 1, without a gap."""
    hash: Mapped[str | None] = mapped_column(String(64))
    """SHA-256 in hexadecimal, of what it says and of the hash before it."""


class Revision(Base):
    """One mark of "files may have to change": what an export that is older does not have yet."""

    __tablename__ = "revisions"

    id: Mapped[serial_pk]
    at: Mapped[when] = mapped_column(default=utc_now)
    domain: Mapped[str | None] = mapped_column(NameText(255))
    """The real domain whose files changed; NULL: files of the whole site."""
    topic: Mapped[str] = mapped_column(String(32))


class Export(Base):
    """A finished export: the newest `Revision` that its files show."""

    __tablename__ = "exports"

    id: Mapped[serial_pk]
    at: Mapped[when] = mapped_column(default=utc_now)
    revision: Mapped[int] = mapped_column(BigInteger)
    files_changed: Mapped[int]


class HostRole(enum.StrEnum):
    """Which of the files a host has."""

    MAIL = "mail"
    """All of them: mail is delivered there."""
    RELAY = "relay"
    """rcpthosts and morercpthosts: it takes mail for the names, and passes it on."""


class Host(Base):
    """A host whose files follow the database, as it last reported."""

    __tablename__ = "hosts"
    __table_args__ = (CheckConstraint("name = lower(name)", name="lower_case"),)

    name: Mapped[str] = mapped_column(NameText(255), primary_key=True)
    role: Mapped[HostRole] = mapped_column(_choice(HostRole, "role"))
    revision: Mapped[int] = mapped_column(BigInteger)
    """Its files show all changes up to this `Revision`; 0: none, as far as is known."""
    reached_at: Mapped[when | None]
    """When they first did."""
    reported_at: Mapped[when]
    error: Mapped[exact | None]
    """Why its files are not as the database says; NULL: they are, or will be in a moment."""


class UsageSource(enum.StrEnum):
    """How a mailbox's use was found out."""

    MAILDIRSIZE = "maildirsize"
    """By the sums of its maildirsize file."""
    COUNT = "count"
    """By looking at its messages."""


class MailboxUsage(Base):
    """What a mailbox held at one time."""

    __tablename__ = "mailbox_usage"
    __table_args__ = (
        Index("ix_mailbox_usage_mailbox_id_measured_at", "mailbox_id", "measured_at"),
        CheckConstraint("bytes >= 0 AND messages >= 0", name="sizes"),
    )

    id: Mapped[serial_pk]
    mailbox_id: Mapped[int] = mapped_column(ForeignKey("mailboxes.id", ondelete="CASCADE"))
    measured_at: Mapped[when]
    bytes: Mapped[int] = mapped_column(BigInteger)
    messages: Mapped[int] = mapped_column(BigInteger)
    source: Mapped[UsageSource] = mapped_column(_choice(UsageSource, "source"))


class LatestUsage(Base):
    """The newest `MailboxUsage` of each mailbox that was ever measured; triggers keep it so."""

    __tablename__ = "latest_usage"
    __table_args__ = ({"info": {DERIVED: True}},)

    mailbox_id: Mapped[int] = mapped_column(
        ForeignKey("mailboxes.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    usage_id: Mapped[int] = mapped_column(BigInteger)
    """Of the row that it was taken from."""
    measured_at: Mapped[when]
    bytes: Mapped[int] = mapped_column(BigInteger)
    messages: Mapped[int] = mapped_column(BigInteger)


class DomainUsage(Base):
    """What a domain held at one time; the row outlives the domain."""

    __tablename__ = "domain_usage"
    __table_args__ = (
        Index("ix_domain_usage_domain_measured_at", "domain", "measured_at"),
        Index("ix_domain_usage_measured_at", "measured_at"),
        CheckConstraint("measured >= 0 AND measured <= mailboxes", name="measured"),
    )

    id: Mapped[serial_pk]
    domain: Mapped[str] = mapped_column(NameText(255))
    """The name of the real domain, as it then was."""
    measured_at: Mapped[when]
    mailboxes: Mapped[int]
    measured: Mapped[int]
    """Mailboxes of these that could be measured: the sums are of them alone."""
    bytes: Mapped[int] = mapped_column(BigInteger)
    messages: Mapped[int] = mapped_column(BigInteger)
    aliases: Mapped[int]
    """``.qmail-NAME`` files of the domain."""


class SchemaGuard(Base):
    """The oldest code that may open this database: exactly one row."""

    __tablename__ = "schema_guard"
    __table_args__ = (CheckConstraint("id = 1", name="single_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, default=1)
    oldest_code: Mapped[int]
    """Code whose `SCHEMA_VERSION` is lower must not open the database."""


class TrashKind(enum.StrEnum):
    """What was deleted."""

    USER = "user"
    DOMAIN = "domain"
    DIRECTORY = "directory"
    DOTQMAIL = "dotqmail"
    """A dot-qmail file of a domain: an alias, a forward, a robot. It has rows and no files."""


class TrashEntry(Base):
    """Something that was deleted: where its files are, and what it takes to get it back."""

    __tablename__ = "trash"

    id: Mapped[serial_pk]
    at: Mapped[when] = mapped_column(default=utc_now)
    actor: Mapped[exact]
    kind: Mapped[TrashKind] = mapped_column(_choice(TrashKind, "kind"))
    name: Mapped[exact]
    """The address, the domain, or the path of the directory or dot-qmail file."""
    original_path: Mapped[exact]
    trash_path: Mapped[exact] = mapped_column(unique=True)
    restored_at: Mapped[when | None]
    purged_at: Mapped[when | None]
    payload: Mapped[dict[str, Any] | None] = mapped_column(
        JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
    )
    """The deleted rows, by table; NULL once they are of no use: there are passwords in them."""
