r"""Writing a site as a dump of vpopmail's tables, for MySQL or PostgreSQL.

The text is what mysqldump or pg_dump would write in all that matters: definitions, then rows, many
in one statement. ``mariadb DATABASE < FILE`` and ``psql DATABASE < FILE`` load it, and ``vpopsql
import`` reads it. Text is UTF-8, in MySQL in latin1 columns, as sites have it that never told
their database.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from scripts.sites.shape import UID, Domain, Frame
from vpopsql.qmail import limits
from vpopsql.qmail.dircontrol import DirControl

Value = str | int | None
Row = tuple[Value, ...]

_ROWS_A_STATEMENT = 500  # below a megabyte, which is less than any server's max_allowed_packet

_ACCOUNT = ("pw_passwd", "pw_uid", "pw_gid", "pw_gecos", "pw_dir", "pw_shell")
_LEVELS = tuple(f"level_{what}{n}" for what in ("start", "end", "mod", "index") for n in range(3))
_COLUMNS = {
    "vpopmail": ("pw_name", "pw_domain", *_ACCOUNT),
    "valias": ("alias", "domain", "valias_line"),
    "lastauth": ("user", "domain", "remote_ip", "timestamp"),
    "dir_control": ("domain", "cur_users", "level_cur", "level_max", *_LEVELS, "the_dir"),
    "ip_alias_map": ("ip_addr", "domain"),
    "aliasdomains": ("alias", "domain"),
}
_LIMITS = {
    "maxpopaccounts": "max_popaccounts",
    "maxaliases": "max_aliases",
    "maxforwards": "max_forwards",
    "maxautoresponders": "max_autoresponders",
    "maxmailinglists": "max_mailinglists",
    "diskquota": "disk_quota",
    "maxmsgcount": "max_msgcount",
    "defaultquota": "default_quota",
    "defaultmaxmsgcount": "default_maxmsgcount",
    "disable_pop": "disable_pop",
    "disable_imap": "disable_imap",
    "disable_dialup": "disable_dialup",
    "disable_passwordchanging": "disable_password_changing",
    "disable_webmail": "disable_webmail",
    "disable_relay": "disable_external_relay",
    "disable_smtp": "disable_smtp",
    "disable_spamassassin": "disable_spamassassin",
    "delete_spam": "delete_spam",
    "disable_maildrop": "disable_maildrop",
}
"""The settings of a domain by the names of their columns."""


class Dump(ABC):
    """Writes the tables of a site.

    :param by_domain: whether each domain has a table of its own for its accounts.
    :param clear_text: whether this vpopmail keeps readable passwords.
    """

    def __init__(
        self, file: BinaryIO, *, by_domain: bool = False, clear_text: bool = False
    ) -> None:
        self._file = file
        self._by_domain = by_domain
        self._clear_text = ("pw_clear_passwd",) if clear_text else ()

    def frame(self, frame: Frame) -> None:
        """Write the beginning: definitions, and the rows that belong to no domain."""
        self._begin()
        if not self._by_domain:
            self._define("vpopmail", self._account_columns(with_domain=True))
        for name, columns in self._definitions().items():
            self._define(name, columns)
        self._rows("ip_alias_map", frame.ip_mappings.items())
        self._rows("dir_control", [(f"dom_{UID}", *_counter(frame.counter))])

    def domain(self, domain: Domain) -> None:
        """Write the rows of a domain."""
        columns = ("pw_name", *_ACCOUNT, *self._clear_text)
        if self._by_domain:
            table = re.sub(r"[.-]", "_", domain.name)
            self._define(table, self._account_columns(with_domain=False))
            self._rows(table, self._accounts(domain), columns)
        else:
            rows = ((name, domain.name, *rest) for name, *rest in self._accounts(domain))
            self._rows("vpopmail", rows, ("pw_name", "pw_domain", *columns[1:]))
        self._rows(
            "valias",
            (
                (alias, domain.name, line)
                for alias, lines in domain.forwards.items()
                for line in lines
            ),
        )
        self._rows(
            "lastauth",
            (
                (each.name, domain.name, each.login.address, each.login.at)
                for each in domain.mailboxes
                if each.login
            ),
        )
        self._rows("dir_control", [(domain.name, *_counter(domain.counter))])

    @abstractmethod
    def finish(self) -> None:
        """Write the end."""

    @abstractmethod
    def _begin(self) -> None: ...

    @abstractmethod
    def _account_columns(self, *, with_domain: bool) -> str:
        """Return what defines a table of accounts, of all domains or of one."""

    @abstractmethod
    def _definitions(self) -> dict[str, str]:
        """Return what defines each of the other tables."""

    @abstractmethod
    def _rows(
        self, table: str, rows: Iterable[Row], columns: tuple[str, ...] | None = None
    ) -> None: ...

    @abstractmethod
    def _define(self, table: str, columns: str) -> None: ...

    def _accounts(self, domain: Domain) -> Iterator[Row]:
        for each in domain.mailboxes:
            row: Row = (
                each.name,
                each.password_hash,
                each.apop_uid,
                each.flags,
                each.comment,
                each.directory,
                each.quota_text,
            )
            yield (*row, each.clear_text) if self._clear_text else row

    def _write(self, text: str) -> None:
        self._file.write(text.encode("utf-8", "surrogateescape"))


class MySQLDump(Dump):
    """A dump as mysqldump or mariadb-dump makes it."""

    def domain(self, domain: Domain) -> None:
        """Write the rows of a domain, some of them of tables that only MySQL has."""
        super().domain(domain)
        self._rows("aliasdomains", ((alias, domain.name) for alias in domain.aliases))
        if domain.limits is not None:
            values = {**limits.DEFAULTS, **domain.limits}
            row: Row = (domain.name, *(int(values[setting]) for setting in _LIMITS.values()))
            self._rows("limits", [row], ("domain", *_LIMITS))

    def finish(self) -> None:
        """Write the end."""
        self._write("COMMIT;\n-- Dump completed\n")

    def _begin(self) -> None:
        self._write("-- MySQL dump 10.19\n/*!40101 SET NAMES latin1 */;\n")
        # A commit for each statement would take longer than its rows.
        self._write("SET autocommit = 0;\n")

    def _account_columns(self, *, with_domain: bool) -> str:
        clear_text = "  pw_clear_passwd char(128) DEFAULT NULL,\n" if self._clear_text else ""
        return (
            "  pw_name char(64) NOT NULL,\n"
            + ("  pw_domain char(96) NOT NULL,\n" if with_domain else "")
            + "  pw_passwd char(128),\n  pw_uid int,\n  pw_gid int,\n  pw_gecos char(64),\n"
            "  pw_dir char(160),\n  pw_shell char(20),\n"
            + clear_text
            + f"  PRIMARY KEY (pw_name{', pw_domain' if with_domain else ''})\n"
        )

    def _definitions(self) -> dict[str, str]:
        settings = "".join(
            f"  {column} {_mysql_type(setting)},\n" for column, setting in _LIMITS.items()
        )
        permissions = "".join(
            f"  perm_{what} tinyint(4) NOT NULL DEFAULT 0,\n"
            for what in (
                *("account", "alias", "forward", "autoresponder", "maillist", "quota"),
                "defaultquota",
            )
        )
        levels = "".join(f"  {level} int NOT NULL,\n" for level in _LEVELS)
        return {
            "valias": "  id int NOT NULL AUTO_INCREMENT,\n  alias char(32) NOT NULL,\n"
            "  domain char(96) NOT NULL,\n  valias_line text NOT NULL,\n"
            "  PRIMARY KEY (id),\n  KEY alias (alias, domain)\n",
            "lastauth": "  user char(32) NOT NULL,\n  domain char(96) NOT NULL,\n"
            "  remote_ip char(39) NOT NULL,\n  timestamp bigint NOT NULL DEFAULT 0,\n"
            "  PRIMARY KEY (user, domain)\n",
            "dir_control": "  domain char(96) NOT NULL,\n  cur_users int,\n  level_cur int,\n"
            "  level_max int,\n" + levels + "  the_dir char(160),\n  PRIMARY KEY (domain)\n",
            "ip_alias_map": "  ip_addr char(39) NOT NULL,\n  domain char(96) DEFAULT NULL,\n"
            "  PRIMARY KEY (ip_addr)\n",
            "aliasdomains": "  alias char(100) NOT NULL,\n  domain char(100) NOT NULL,\n"
            "  PRIMARY KEY (alias)\n",
            "limits": "  domain char(96) NOT NULL,\n"
            + settings
            + permissions
            + "  PRIMARY KEY (domain)\n",
            "relay": "  ip_addr char(39) NOT NULL,\n  timestamp char(12) DEFAULT NULL,\n"
            "  PRIMARY KEY (ip_addr)\n",
        }

    def _define(self, table: str, columns: str) -> None:
        self._write(
            f"DROP TABLE IF EXISTS `{table}`;\n"
            f"CREATE TABLE `{table}` (\n{columns}) ENGINE=InnoDB DEFAULT CHARSET=latin1;\n"
        )

    def _rows(
        self, table: str, rows: Iterable[Row], columns: tuple[str, ...] | None = None
    ) -> None:
        names = ", ".join(f"`{name}`" for name in columns or _COLUMNS[table])
        for some in _batches(rows):
            values = ",\n".join(f"({','.join(map(_mysql_literal, row))})" for row in some)
            self._write(f"INSERT INTO `{table}` ({names}) VALUES\n{values};\n")


class PostgreSQLDump(Dump):
    """A dump as pg_dump makes it."""

    def finish(self) -> None:
        """Write the end."""
        self._write("-- PostgreSQL database dump complete\n")

    def _begin(self) -> None:
        self._write("-- PostgreSQL database dump\n\n")
        self._write("SET client_encoding = 'UTF8';\nSET standard_conforming_strings = on;\n")

    def _account_columns(self, *, with_domain: bool) -> str:
        text = "character varying"
        clear_text = f"    pw_clear_passwd {text}(128),\n" if self._clear_text else ""
        return (
            f"    pw_name {text}(64) NOT NULL,\n"
            + (f"    pw_domain {text}(96) NOT NULL,\n" if with_domain else "")
            + f"    pw_passwd {text}(128),\n    pw_uid integer,\n    pw_gid integer,\n"
            f"    pw_gecos {text}(64),\n    pw_dir {text}(160),\n    pw_shell {text}(20),\n"
            + clear_text
            + f"    PRIMARY KEY (pw_name{', pw_domain' if with_domain else ''})\n"
        )

    def _definitions(self) -> dict[str, str]:
        text = "character varying"
        levels = "".join(f"    {level} integer NOT NULL,\n" for level in _LEVELS)
        return {
            "valias": f"    alias {text}(32) NOT NULL,\n    domain {text}(96) NOT NULL,\n"
            f"    valias_line {text}(160) NOT NULL\n",
            "lastauth": f"    userid {text}(32) NOT NULL,\n    domain {text}(96) NOT NULL,\n"
            f"    remote_ip {text}(18) NOT NULL,\n    timestamp bigint DEFAULT 0 NOT NULL,\n"
            "    PRIMARY KEY (userid, domain)\n",
            "dir_control": f"    domain {text}(96) NOT NULL,\n    cur_users integer,\n"
            "    level_cur integer,\n    level_max integer,\n"
            + levels
            + f"    the_dir {text}(160),\n    PRIMARY KEY (domain)\n",
            "ip_alias_map": f"    ip_addr {text}(18) NOT NULL,\n    domain {text}(96),\n"
            "    PRIMARY KEY (ip_addr)\n",
            "relay": f"    ip_addr {text}(18) NOT NULL,\n    timestamp bigint,\n"
            "    PRIMARY KEY (ip_addr)\n",
        }

    def _define(self, table: str, columns: str) -> None:
        self._write(f"CREATE TABLE {table} (\n{columns});\n")

    def _rows(
        self, table: str, rows: Iterable[Row], columns: tuple[str, ...] | None = None
    ) -> None:
        names = list(columns or _COLUMNS[table])
        if table == "lastauth":
            names[0] = "userid"
        for some in _batches(rows):
            self._write(f"COPY {table} ({', '.join(names)}) FROM stdin;\n")
            self._write("".join("\t".join(map(_copied, row)) + "\n" for row in some))
            self._write("\\.\n\n")


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _ROWS_A_STATEMENT:
            yield batch
            batch = []
    if batch:
        yield batch


def _counter(control: DirControl) -> Row:
    levels = (*control.starts, *control.ends, *control.mods, *control.indexes)
    return (control.cur_users, control.level_cur, control.level_max, *levels, control.the_dir)


def _mysql_type(setting: str) -> str:
    default = limits.DEFAULTS[setting]
    if isinstance(default, bool):
        return "tinyint(1) NOT NULL DEFAULT 0"
    kind = "int" if default else "bigint(20) unsigned"
    return f"{kind} NOT NULL DEFAULT {default}"


def _mysql_literal(value: Value) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _copied(value: Value) -> str:
    if value is None:
        return "\\N"
    text = str(value)
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
