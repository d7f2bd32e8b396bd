"""From what the user names, a URL or a dump, to staged rows; which tables there are and why."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from vpopsql.errors import ImportFailed
from vpopsql.importer.codes import Code
from vpopsql.importer.evidence import Evidence
from vpopsql.importer.tables.dump import DumpReader
from vpopsql.importer.tables.live import LiveDatabase
from vpopsql.importer.tables.schema import (
    ACCOUNTS,
    ALIASDOMAINS,
    DOMAIN_ACCOUNTS,
    IP_ALIAS_MAP,
    MYSQL,
    TABLES,
    Table,
    is_known,
    table_of,
)
from vpopsql.importer.tables.staging import Staged, Staging

LEFT = "tables that are not imported"
LEFT_COLUMNS = "columns that are not imported"
# Sites without these are as common as sites with them.
_NOT_MISSED = (ACCOUNTS, DOMAIN_ACCOUNTS, ALIASDOMAINS, IP_ALIAS_MAP)


Progress = Callable[[int, int, int], None]
"""Is told how much of how much has been read, and how many rows that were."""


class Layout(StrEnum):
    """Where a site has its accounts."""

    AUTO = "auto"
    """In ``vpopmail`` if there is such a table, else in one table for each domain."""
    ONE = "one"
    PER_DOMAIN = "per-domain"


def stage(
    source: str,
    database: str,
    directory: Path,
    evidence: Evidence,
    layout: Layout = Layout.AUTO,
    progress: Progress | None = None,
) -> Staged:
    """Copy the rows of a site's tables into a scratch file in ``directory``.

    :param source: the URL of a running database, or the path of a dump (``.gz`` if compressed).
    :param database: `schema.MYSQL` or `schema.PGSQL`.
    :param directory: for the caller to make, private to this user, and to remove.
    :param progress: is told while rows are copied.
    :raises ImportFailed: the source cannot be opened or read, or has no accounts' table.
    """
    with Staging(directory) as staging:
        if "://" in source:
            found = _from_database(source, database, staging, evidence, layout, progress)
        else:
            found = _from_dump(Path(source), database, staging, evidence, layout, progress)
        staging.finish()
    return found


def _from_database(
    url: str,
    database: str,
    staging: Staging,
    evidence: Evidence,
    layout: Layout,
    progress: Progress | None,
) -> Staged:
    live = LiveDatabase(url, database)
    try:
        kinds = _kinds(live.tables)
        by_domain = _is_by_domain(kinds, layout, live.name)
        _keep_layout(kinds, layout, live.name, evidence, by_domain=by_domain)
        staged = _staged(staging, live.name, database, kinds, by_domain=by_domain)
        _report(staged, live.tables, kinds, evidence)
        unsafe = sorted(live.without_snapshots() & kinds.keys())
        if unsafe:
            reason = f"{len(unsafe)} tables may change while they are read: {_some(unsafe)}"
            evidence.find(Code.NO_SNAPSHOT, live.name, 0, "", reason)
        if progress:
            expected = live.estimate(kinds)
            staging.watch = lambda rows: progress(rows, max(rows, expected), rows)
        for name, table in kinds.items():
            live.copy(name, table, staging)
    finally:
        live.close()
    return staged


def _from_dump(
    path: Path,
    database: str,
    staging: Staging,
    evidence: Evidence,
    layout: Layout,
    progress: Progress | None,
) -> Staged:
    reader = DumpReader(path, database, staging, evidence)
    if progress:
        staging.watch = lambda rows: progress(*reader.position, rows)
    reader.copy()
    columns = {name: [column.name for column in found] for name, found in reader.tables.items()}
    kinds = _kinds(columns)
    has_accounts = any(kind in (ACCOUNTS, DOMAIN_ACCOUNTS) for kind in kinds.values())
    if reader.damage and not has_accounts:
        raise ImportFailed(
            f"{path}:{reader.damage.line}: {reader.damage}, and no table of accounts comes before"
            " that: make the dump again"
        )
    by_domain = _is_by_domain(kinds, layout, str(path))
    _keep_layout(kinds, layout, str(path), evidence, by_domain=by_domain)
    staged = _staged(staging, str(path), database, kinds, by_domain=by_domain, is_dump=True)
    _report(staged, columns, kinds, evidence)
    return staged


def _kinds(tables: Mapping[str, Sequence[str]]) -> dict[str, Table]:
    """Return the tables that can be read, in name order."""
    found = ((name, table_of(name, columns)) for name, columns in sorted(tables.items()))
    return {name: table for name, table in found if table is not None}


def _is_by_domain(kinds: dict[str, Table], layout: Layout, shown: str) -> bool:
    has_one = ACCOUNTS in kinds.values()
    has_many = DOMAIN_ACCOUNTS in kinds.values()
    if layout is not Layout.PER_DOMAIN and has_one:
        return False
    if layout is not Layout.ONE and has_many:
        return True
    wanted = {
        Layout.AUTO: "neither a table vpopmail nor one for each domain",
        Layout.ONE: "no table vpopmail",
        Layout.PER_DOMAIN: "no table of accounts named after a domain",
    }[layout]
    raise ImportFailed(
        f"{shown} has {wanted}, with pw_name and the columns that belong to it: is it vpopmail's"
        " database, and may this user read it?"
    )


def _keep_layout(
    kinds: dict[str, Table], layout: Layout, shown: str, evidence: Evidence, *, by_domain: bool
) -> None:
    """Drop the tables with the accounts that vpopmail does not read."""
    unread = ACCOUNTS if by_domain else DOMAIN_ACCOUNTS
    dropped = [name for name, table in kinds.items() if table is unread]
    if dropped and layout is Layout.AUTO:
        reason = f"read as one table, vpopmail; not read: {_some(dropped)}"
        evidence.find(Code.TWO_LAYOUTS, shown, 0, "", reason)
    for name in dropped:
        del kinds[name]


def _staged(
    staging: Staging,
    source: str,
    database: str,
    kinds: dict[str, Table],
    *,
    by_domain: bool,
    is_dump: bool = False,
) -> Staged:
    tables = {
        table.name: tuple(name for name, kind in kinds.items() if kind is table)
        for table in TABLES
    }
    return Staged(staging.path, source, is_dump, database, tables, by_domain)


def _report(
    staged: Staged,
    columns: Mapping[str, Sequence[str]],
    kinds: dict[str, Table],
    evidence: Evidence,
) -> None:
    """Say what is not read, and what is not there."""
    for name, present in sorted(columns.items()):
        shown = f"{staged.source}: {name}" if staged.is_dump else f"{staged.source}.{name}"
        if name in kinds:
            for column in kinds[name].unknown(present):
                evidence.leave(LEFT_COLUMNS, f"{shown}.{column}")
            continue
        evidence.leave(LEFT, shown)
        if is_known(name) and table_of(name, present) is None:
            evidence.find(Code.FOREIGN_TABLE, shown, 0, "", "its columns are not vpopmail's")
    missing = [
        table.name
        for table in TABLES
        if table not in _NOT_MISSED
        and not staged.has(table)
        and (staged.database == MYSQL or table.name != "limits")
    ]
    if missing:
        reason = f"there is no table {', '.join(missing)}"
        evidence.find(Code.NO_TABLE, staged.source, 0, "", reason)


def _some(found: Sequence[str]) -> str:
    shown = 5
    return ", ".join(found[:shown]) + (", …" if len(found) > shown else "")
