"""What an import would do to a database: what it adds, what is there already, what contradicts.

An import adds; told to update, it also carries over what has changed in the source since, and
removes what is gone from it. What people changed in the database since the last import stays in
either case, and each such thing is said. What only the database has is none of its business,
unless it came from the same source once.
"""

import enum
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from vpopsql.importer import site, stored
from vpopsql.importer.codes import Code
from vpopsql.importer.differences import Action, Change, Kind, compare
from vpopsql.importer.evidence import Evidence
from vpopsql.importer.later import read_later
from vpopsql.importer.report import Report
from vpopsql.importer.scan import Progress, Scanned
from vpopsql.importer.spool import Entry

DATABASE = "the database"
"""The place of findings about what is stored."""

_SHOWN = 5  # differences named of many
_MAILBOXES_AT_ONCE = 5_000


class State(enum.StrEnum):
    """How a part of the site stands to the database."""

    NEW = "new"
    EQUAL = "equal"
    CHANGED = "changed"
    """It is brought to what the source says."""
    GONE = "gone"
    """It came from this source once, which has it no more; it is removed."""
    KEPT = "kept"
    """The database has another value and keeps it; a warning says so."""
    CONFLICT = "conflict"


def _counters() -> defaultdict[str, Counter[State]]:
    return defaultdict(Counter)


@dataclass(slots=True)
class Plan:
    """What is to be done, and why not, where there is a reason."""

    scanned: Scanned
    origin: str
    """Where the site is read from, as the database remembers it."""
    report: Report
    evidence: Evidence
    """What was found by comparing."""
    update: bool
    states: dict[str, State] = field(default_factory=dict)
    """The state of every domain."""
    parts: defaultdict[str, Counter[State]] = field(default_factory=_counters)
    """How many things of each kind are in which state."""
    changes: list[Change] = field(default_factory=list)
    """What becomes of domains that the database has with other values."""
    frame: site.Site | None = None
    """What belongs to no domain, as far as it is new or changed."""
    settings: dict[str, str] = field(default_factory=dict)
    """Facts about the site that are new or changed."""

    @property
    def found(self) -> site.Site:
        """All that was read."""
        return self.scanned.found

    @property
    def rejected(self) -> bool:
        """Whether something must be repaired or accepted first."""
        return self.report.rejected

    @property
    def does_anything(self) -> bool:
        """Whether applying it would change the database."""
        acting = {State.NEW, State.CHANGED, State.GONE}
        return any(part[state] for part in self.parts.values() for state in acting)

    def domains(self, state: State) -> list[str]:
        """Return the names of the domains in a state, in their order."""
        return [name for name, each in self.states.items() if each is state]


def make_plan(
    session: Session,
    scanned: Scanned,
    origin: str,
    *,
    update: bool = False,
    accepted: Collection[Code] = (),
    progress: Progress | None = None,
) -> Plan:
    """Compare what was read with what the database has. Reads only.

    :param update: whether what has changed in the source is carried over; else it is a conflict.
    :param accepted: codes of findings that the administrator takes as they are.
    :param progress: is told while what the database has already is compared.
    """
    report = Report(accepted)
    for evidence in scanned.evidence():
        report.add(evidence)
    plan = Plan(scanned, origin, report, Evidence(), update)
    comparison = _Comparison(session, plan)
    comparison.domains(progress)
    comparison.frame()
    report.add(plan.evidence)
    return plan


def in_batches(entries: Iterable[Entry]) -> Iterator[list[str]]:
    """Cut domains into batches of some thousand mailboxes; return their names."""
    batch: list[str] = []
    size = 0
    for entry in entries:
        batch.append(entry.name)
        size += entry.counts["mailboxes"] + 1
        if size >= _MAILBOXES_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class _Comparison:
    """One comparison, which fills in a plan."""

    def __init__(self, session: Session, plan: Plan) -> None:
        self._session = session
        self._plan = plan
        self._spool = plan.scanned.spool
        self._later = read_later(session)

    # --- domains ------------------------------------------------------------------------------

    def domains(self, progress: Progress | None) -> None:
        plan, entries = self._plan, self._spool.entries
        there = stored.domain_ids(self._session, entries)
        done = mailboxes = 0
        for batch in in_batches(entry for name, entry in entries.items() if name in there):
            for theirs in stored.read_domains(self._session, batch):
                self._judge_known(theirs)
                done += 1
                mailboxes += entries[theirs.name.name].counts["mailboxes"]
            if progress:
                progress(done, len(there), mailboxes)
        self._judge_new([entry for name, entry in entries.items() if name not in there])
        for name, entry in entries.items():
            state = plan.states[name]
            plan.parts["domains"][state] += 1
            for kind, number in entry.counts.items():
                plan.parts[kind.replace("_", " ")][state] += number
        if plan.update:
            self._judge_gone()

    def _judge_known(self, theirs: site.Domain) -> None:
        plan, name = self._plan, theirs.name.name
        ours = self._spool.get(name)
        complete = self._spool.is_complete(name)
        changes = compare(ours, theirs, self._later, complete=complete)
        kept = [change for change in changes if change.action is Action.KEEP]
        for change in kept:
            reason = f"changed in the database since the last import: {change.kind}"
            if not complete:
                reason = f"not in what could be read of the source: {change.kind}"
            fields = f" ({', '.join(change.fields)})" if change.fields else ""
            self._find(Code.KEPT, name, f"{change.name}: {reason}{fields}")
        if len(kept) == len(changes):
            plan.states[name] = State.KEPT if kept else State.EQUAL
        elif plan.update:
            plan.states[name] = State.CHANGED
        else:
            plan.states[name] = State.CONFLICT
            acting = [change for change in changes if change.action is not Action.KEEP]
            shown = "; ".join(map(str, acting[:_SHOWN]))
            more = f" and {len(acting) - _SHOWN} more" if len(acting) > _SHOWN else ""
            self._find(Code.DIFFERS, name, f"to be as in the source: {shown}{more}")
        plan.changes += changes

    def _judge_new(self, new: list[Entry]) -> None:
        plan = self._plan
        taken = stored.taken_names(self._session, [name for each in new for name in each.names])
        directories = stored.directory_ids(self._session, [entry.directory for entry in new])
        for entry in new:
            clashes = [name for name in entry.names if name in taken]
            if entry.directory in directories:
                clashes.append(entry.directory)
            for clash in clashes:
                reason = f"{entry.name} needs {clash}, which another domain has"
                self._find(Code.TAKEN, clash, reason)
            if clashes:
                plan.states[entry.name] = State.CONFLICT
            elif self._later.is_deleted(entry.name):
                plan.states[entry.name] = State.KEPT
                reason = "imported before, and deleted in the database since: it stays deleted"
                self._find(Code.KEPT, entry.name, reason)
            else:
                plan.states[entry.name] = State.NEW

    def _judge_gone(self) -> None:
        """Find the domains that came from this source and are not in it any more."""
        plan, later = self._plan, self._later
        imported = [
            name
            for name, last in later.imports.items()
            if last.source == plan.origin and name not in self._spool.entries
        ]
        for name in sorted(stored.domain_ids(self._session, imported)):
            keep = plan.scanned.has_rejects or later.has_anything(name)
            plan.states[name] = State.KEPT if keep else State.GONE
            plan.parts["domains"][plan.states[name]] += 1
            action = Action.KEEP if keep else Action.REMOVE
            plan.changes.append(Change(action, Kind.DOMAIN, name, name))
            if keep:
                reason = "gone from the source, but changed in the database since"
                if plan.scanned.has_rejects:
                    reason = "not in what could be read of the source"
                self._find(Code.KEPT, name, reason)

    # --- what belongs to no domain ------------------------------------------------------------

    def frame(self) -> None:
        found = self._plan.found
        self._plan.frame = site.Site(
            vpopmail_dir=found.vpopmail_dir,
            qmail_dir=found.qmail_dir,
            foreign_lines=self._foreign_lines(),
            ip_mappings=self._ip_mappings(),
            default_limits=self._default_limits(),
            counter=self._counter(),
        )
        self._settings()

    def _foreign_lines(self) -> dict[str, tuple[site.ForeignLine, ...]]:
        """Compare lines without their numbers, which change with every domain before them."""
        theirs = stored.read_foreign_lines(self._session)
        part = self._plan.parts["foreign lines"]
        new = {}
        for file, lines in self._plan.found.foreign_lines.items():
            have = theirs.get(file, ())
            missing = Counter((line.line, line.sort_key) for line in have)
            only_ours = []
            for line in lines:
                key = line.line, line.sort_key
                if missing[key]:
                    missing[key] -= 1
                else:
                    only_ours.append(line)
            part[State.EQUAL] += len(lines) - len(only_ours)
            if missing.total() and self._plan.update:
                # The whole file anew: the order of what is left and what is new matters.
                part[State.CHANGED] += len(only_ours) + missing.total()
                new[file] = lines
            elif only_ours and missing.total():
                part[State.CONFLICT] += len(only_ours)
                for line in only_ours[:_SHOWN]:
                    reason = f"{file}: both have lines that the other has not"
                    self._find(Code.DIFFERS, line.line, reason)
            elif only_ours:
                part[State.NEW] += len(only_ours)
                new[file] = (*have, *_renumbered(only_ours, {line.number for line in have}))
        return new

    def _ip_mappings(self) -> dict[str, str]:
        theirs = stored.read_ip_mappings(self._session)
        return {
            address: domain
            for address, domain in self._plan.found.ip_mappings.items()
            if self._is_wanted(
                "IP mappings",
                address,
                domain,
                theirs.get(address),
                was_changed=self._later.has_mapping(address, domain),
            )
        }

    def _default_limits(self) -> site.Limits | None:
        ours = self._plan.found.default_limits
        theirs = stored.read_default_limits(self._session)
        return ours if self._is_wanted("default limits", "default limits", ours, theirs) else None

    def _counter(self) -> site.Counter | None:
        ours = self._plan.found.counter
        theirs = stored.read_site_counter(self._session)
        if None in (ours, theirs) or ours == theirs or self._plan.update:
            return ours if self._is_wanted("site counter", "the counter", ours, theirs) else None
        self._plan.parts["site counter"][State.KEPT] += 1
        reason = "the count of the domains' directories is another one"
        self._find(Code.COUNTER_KEPT, "", reason)
        return None

    def _settings(self) -> None:
        """Compare the paths that are written all over the data, and the default domain."""
        found = self._plan.found
        theirs = stored.read_settings(self._session)
        ours = {"vpopmail_dir": found.vpopmail_dir, "qmail_dir": found.qmail_dir}
        if found.default_domain is not None:
            ours["default_domain"] = found.default_domain
        self._plan.settings = {
            key: value
            for key, value in ours.items()
            if self._is_wanted("settings", key, value, theirs.get(key))
        }

    def _is_wanted(
        self, kind: str, what: str, ours: object, theirs: object, *, was_changed: bool = False
    ) -> bool:
        """Say whether ``ours`` is to be written; another value of it may be a conflict."""
        if ours is None:
            return False
        if was_changed and theirs != ours:
            state = State.KEPT
            self._find(Code.KEPT, what, f"{kind}: changed in the database since the last import")
        elif theirs is None:
            state = State.NEW
        elif theirs == ours:
            state = State.EQUAL
        elif self._plan.update:
            state = State.CHANGED
        else:
            state = State.CONFLICT
            self._find(Code.DIFFERS, what, f"{kind}: the source has another value")
        self._plan.parts[kind][state] += 1
        return state in {State.NEW, State.CHANGED}

    def _find(self, code: Code, text: str, reason: str) -> None:
        self._plan.evidence.find(code, DATABASE, 0, text, reason)


def _renumbered(lines: list[site.ForeignLine], taken: set[int]) -> tuple[site.ForeignLine, ...]:
    """Return ``lines`` with numbers that are still free."""
    free = max(taken, default=0)
    numbered = []
    for line in lines:
        number = line.number
        if number in taken:
            free = max(free, *(other.number for other in lines)) + 1
            number = free
        numbered.append(site.ForeignLine(number, line.line, line.sort_key))
    return tuple(numbered)
