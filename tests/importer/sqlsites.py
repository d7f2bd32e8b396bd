"""A sample site as rows of vpopmail's SQL tables, in the schemas that there are.

The rows are made from the files of a tree by plain splitting, not by what is tested. Everything
that a table holds is taken out of the tree, as it is when vpopmail is built with that back end.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from click.testing import CliRunner, Result
from sqlalchemy import Connection, select
from sqlalchemy.engine import URL

from tests.importer import support
from tests.importer.sqlschemas import Schema
from vpopsql.cli import cli
from vpopsql.db import Database
from vpopsql.importer import site
from vpopsql.model import Base
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


def bare_site(root: Path, *domains: str) -> Path:
    """Make the directory of a qmail that has some domains, and nothing else."""
    home = "/home/vpopmail/domains"
    for name, text in {
        "users/assign": [f"+{each}-:{each}:89:89:{home}/{each}:-::" for each in domains] + ["."],
        "control/rcpthosts": domains,
        "control/virtualdomains": [f"{each}:{each}" for each in domains],
        "control/locals": [],
    }.items():
        path = root / "var/qmail" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in text))
    support.compile_cdbs(root)
    return root


def expected(tree: site.Site, *, clear_text: bool = True, limits_text: bool = False) -> site.Site:
    """Return what an import from tables should have read: the tree's site, as tables can hold it.

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
    for statement in schema.statements:
        connection.exec_driver_sql(statement)
    made = set(map(_name, schema.statements))
    if not schema.by_domain:
        connection.exec_driver_sql(schema.accounts.format("vpopmail"))
    for table, rows in tables.items():
        if table == "vpopmail" and schema.by_domain:
            _fill_by_domain(connection, schema, rows)
        elif table == "vpopmail" or table in made:
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


# --- the command ------------------------------------------------------------------------------


def arguments(store: str, source: URL | str, root: Path, *options: str) -> list[str]:
    """Return the arguments that import a site's tables and the tree beside them."""
    return [
        store,
        source if isinstance(source, str) else source.render_as_string(),
        *("--qmail", str(root / "var/qmail")),
        *("--vpopmail", str(root / "home/vpopmail")),
        *options,
    ]


def run(database_url: str, root: Path, *options: str) -> Result:
    """Run ``vpopsql import``."""
    return CliRunner().invoke(
        cli,
        ["import", *options],
        env={
            "VPOPSQL_DATABASE_URL": database_url,
            "VPOPSQL_PATHS_ROOT": str(root),
            "VPOPSQL_PASSWORDS_STORE_CLEAR_TEXT": "true",
        },
    )


def everything(database: Database) -> str:
    """Return all that is in the database, as text."""
    with database.reader() as session:
        return str([session.execute(select(table)).all() for table in Base.metadata.sorted_tables])


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
