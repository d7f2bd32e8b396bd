"""Carrying out a plan, a batch of whole domains in each transaction.

An import that is killed has done whole domains; the next one finds those equal and goes on with
the others. Until one has come to its end, the database remembers that it is not the whole site,
and no export writes the files of the whole site from it.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping

from sqlalchemy import delete, insert
from sqlalchemy.orm import Session

from vpopsql.columns import utc_now
from vpopsql.db import Database
from vpopsql.errors import ImportFailed
from vpopsql.importer import rows, site, stored
from vpopsql.importer.differences import Action, Kind
from vpopsql.importer.frame import PARTS
from vpopsql.importer.later import IMPORTED_SITE, UPDATED_SITE, Later, read_later
from vpopsql.importer.plan import Plan, how_read, in_batches
from vpopsql.importer.states import State
from vpopsql.importer.update import release_aliases, remove_domain, update_domain
from vpopsql.model import (
    UNFINISHED_IMPORT,
    DefaultLimits,
    DirCounter,
    ForeignLine,
    IpMapping,
    SiteSetting,
)

REMEMBERED = "imported_from"
"""The key of the setting that says where the site was read from, see `importer.origin`."""

Progress = Callable[[int, int], None]
"""Is told how many mailboxes of how many are done."""


def apply_plan(
    database: Database, plan: Plan, origin: dict[str, str], progress: Progress | None = None
) -> None:
    """Do what the plan says.

    :param origin: settings that say where the site came from; they replace older ones.
    :raises ImportFailed: the plan has rejects.
    :raises Conflict: somebody else has added something of it meanwhile; run it again.
    """
    if plan.rejected:
        raise ImportFailed("the source has lines that cannot be imported")
    with database.reader() as session:
        settings = stored.read_settings(session)
        later = read_later(session)
    if not plan.does_anything and UNFINISHED_IMPORT not in settings:
        if origin.items() - settings.items():
            with database.writer() as session:
                _set(session, origin)
        return
    with database.writer() as session:
        _set(session, plan.frame.settings | {UNFINISHED_IMPORT: plan.origin})
    # What gives up names and directories first, as others may need them.
    _remove(database, plan, later)
    _release(database, plan, later)
    _insert(database, plan, progress)
    _update(database, plan, later)
    with database.writer() as session:
        _finish(session, plan, origin)


def _remove(database: Database, plan: Plan, later: Later) -> None:
    for name in plan.domains(State.GONE):
        if not later.has_anything(name):
            with database.writer() as session:
                remove_domain(session, name)


def _release(database: Database, plan: Plan, later: Later) -> None:
    changed = set(plan.domains(State.CHANGED))
    released: defaultdict[str, list[str]] = defaultdict(list)
    for change in plan.changes:
        is_alias = change.kind is Kind.ALIAS and change.action is Action.REMOVE
        if is_alias and change.domain in changed and not later.has_aliases(change.domain):
            released[change.domain].append(change.name)
    for name, aliases in released.items():
        with database.writer() as session:
            release_aliases(session, name, aliases)


def _insert(database: Database, plan: Plan, progress: Progress | None) -> None:
    spool = plan.scanned.spool
    new = [spool.entries[name] for name in plan.domains(State.NEW)]
    total = sum(entry.counts["mailboxes"] for entry in new)
    done = 0
    for batch in in_batches(new):
        domains = [spool.get(name) for name in batch]
        with database.writer() as session:
            rows.insert_domains(session, domains, plan.origin)
        done += sum(len(domain.mailboxes) for domain in domains)
        if progress:
            progress(done, total)


def _update(database: Database, plan: Plan, later: Later) -> None:
    for name in plan.domains(State.CHANGED):
        ours = plan.scanned.spool.get(name)
        with database.writer() as session:
            update_domain(session, ours, later, plan.origin, how_read(plan.scanned, name))


def _finish(session: Session, plan: Plan, origin: dict[str, str]) -> None:
    """Write what belongs to no domain, and that the database holds the whole site."""
    frame = plan.frame
    for file, lines in frame.foreign_lines.items():
        session.execute(delete(ForeignLine).where(ForeignLine.file == file))
        values = ((file, line.number, line.line, line.sort_key) for line in lines)
        rows.insert(session, ForeignLine, ("file", "position", "line", "sort_key"), values)
    ids = stored.domain_ids(session, {name for name in frame.ip_mappings.values() if name})
    for address, domain in frame.ip_mappings.items():
        session.execute(delete(IpMapping).where(IpMapping.address == address))
        if domain in ids:
            session.execute(insert(IpMapping).values(rows.ip_mapping(address, ids[domain])))
    for limits in frame.default_limits:
        _put_limits(session, limits)
    _put_counter(session, frame.counter)
    now = utc_now().isoformat(timespec="seconds")
    _set(session, {"imported_at": now} | origin)
    session.execute(delete(SiteSetting).where(SiteSetting.key == UNFINISHED_IMPORT))
    rows.note_site(session, plan.origin, UPDATED_SITE if _keeps(plan) else IMPORTED_SITE)


def _keeps(plan: Plan) -> bool:
    """Say whether anything that belongs to no domain stays as the database has it."""
    return any(plan.parts[part][State.KEPT] for part in PARTS)


def _put_limits(session: Session, limits: site.Limits | None) -> None:
    session.execute(delete(DefaultLimits))
    if limits is not None:
        values = rows.limits(limits)
        session.execute(insert(DefaultLimits).values(values | {"id": 1}))


def _put_counter(session: Session, counter: site.Counter | None) -> None:
    if counter is not None:
        session.execute(delete(DirCounter).where(DirCounter.id == stored.SITE_COUNTER))
        values = rows.counter(counter)
        key = {"id": stored.SITE_COUNTER, "domain_id": None}
        session.execute(insert(DirCounter).values(values | key))


def _set(session: Session, settings: Mapping[str, str | None]) -> None:
    """Replace settings; None removes one."""
    session.execute(delete(SiteSetting).where(SiteSetting.key.in_(settings)))
    for key, value in settings.items():
        if value is not None:
            session.execute(insert(SiteSetting).values(key=key, value=value))
