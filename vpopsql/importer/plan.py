"""What an import would do to a database: what it adds, what is there already, what contradicts.

An import adds; told to update, it also carries over what has changed in the source since, and
removes what is gone from it. What people changed in the database since the last import stays in
either case, and each such thing is said. What only the database has is none of its business,
unless it came from the same source once.
"""

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from vpopsql.importer import site, stored
from vpopsql.importer.codes import Code
from vpopsql.importer.differences import Action, Change, Kind, Read, compare
from vpopsql.importer.evidence import Evidence
from vpopsql.importer.frame import PLACE, Frame, Stance, compare_frame
from vpopsql.importer.later import read_later
from vpopsql.importer.report import Report
from vpopsql.importer.scan import Progress, Scanned
from vpopsql.importer.spool import Entry
from vpopsql.importer.states import SHOWN, Parts, State, no_parts

_MAILBOXES_AT_ONCE = 10_000

# What the parts of a site are called, of the counts of a domain and of the kinds of changes.
_PARTS = {"aliases": "alias domains", "mailboxes": "mailboxes", "dotqmail_files": "dotqmail files"}
_KINDS = {
    Kind.ALIAS: "aliases",
    Kind.MAILBOX: "mailboxes",
    Kind.LOGIN: "mailboxes",
    Kind.FILE: "dotqmail_files",
}
_STATES = {
    Action.ADD: State.NEW,
    Action.CHANGE: State.CHANGED,
    Action.REMOVE: State.GONE,
    Action.KEEP: State.KEPT,
}


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
    parts: Parts = field(default_factory=no_parts)
    """How many things of each kind are in which state."""
    changes: list[Change] = field(default_factory=list)
    """What becomes of domains that the database has with other values."""
    frame: Frame = field(default_factory=Frame)
    """What becomes of what belongs to no domain."""

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
    _Comparison(session, plan).compare(progress)
    report.add(plan.evidence)
    return plan


def how_read(scanned: Scanned, name: str) -> Read:
    """Return how much of a domain could be read."""
    return Read(
        domain=scanned.spool.is_complete(name),
        names=not scanned.has_rejects,
        homes=scanned.with_homes,
    )


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
        self._released: dict[str, list[str]] = {}
        """Names and directories that domains give up, by the domain."""
        self._wanted: dict[str, list[str]] = {}
        """Those that domains which are there need in addition."""

    def compare(self, progress: Progress | None) -> None:
        plan, entries, later = self._plan, self._spool.entries, self._later
        domains = plan.parts["domains"]  # shown first
        there = stored.domain_ids(self._session, entries)
        done = mailboxes = 0
        for batch in in_batches(entry for name, entry in entries.items() if name in there):
            for theirs in stored.read_domains(self._session, batch):
                self._judge_known(theirs)
                done += 1
                mailboxes += entries[theirs.name.name].counts["mailboxes"]
            if progress:
                progress(done, len(there), mailboxes)
        self._judge_gone()
        self._judge_clashes()
        self._count_known(there)
        self._judge_new([entry for name, entry in entries.items() if name not in there])
        for state in plan.states.values():
            domains[state] += 1
        stance = Stance(plan.update, not plan.scanned.has_rejects, later.is_only(plan.origin))
        mapped = set(plan.found.ip_mappings.values())
        imported = {*stored.domain_ids(self._session, mapped), *plan.domains(State.NEW)}
        plan.frame = compare_frame(
            self._session, plan.found, stance, later, imported, plan.parts, plan.evidence
        )

    def _judge_known(self, theirs: site.Domain) -> None:
        plan, name = self._plan, theirs.name.name
        ours = self._spool.get(name)
        read = how_read(plan.scanned, name)
        changes = compare(ours, theirs, self._later, read)
        acting = [change for change in changes if change.action is not Action.KEEP]
        for change in changes:
            if change.action is Action.KEEP:
                self._keep(change, read)
        if not acting:
            plan.states[name] = State.KEPT if changes else State.EQUAL
        elif plan.update:
            plan.states[name] = State.CHANGED
        else:
            plan.states[name] = State.CONFLICT
            shown = "; ".join(map(str, acting[:SHOWN]))
            more = f" and {len(acting) - SHOWN} more" if len(acting) > SHOWN else ""
            self._find(Code.DIFFERS, name, f"to be as in the source: {shown}{more}")
        plan.changes += changes
        self._note_names(ours, theirs, acting)

    def _keep(self, change: Change, read: Read) -> None:
        fields = f" ({', '.join(change.fields)})" if change.fields else ""
        reason = f"changed in the database since the last import: {change.kind}{fields}"
        if not (read.domain and read.names):
            reason = (
                f"changed in the database, or not in what could be read: {change.kind}{fields}"
            )
        self._find(Code.KEPT, change.domain, f"{change.name}: {reason}")

    def _count_known(self, there: Iterable[str]) -> None:
        """Count the things of the domains that the database has, each thing once."""
        entries = self._spool.entries
        equal: Counter[str] = Counter()
        for name in there:
            equal.update(entries[name].counts)
        for name, changes in itertools.groupby(self._plan.changes, lambda each: each.domain):
            if name in entries:
                equal.subtract(self._count(self._plan.states[name], changes))
        for kind, part in _PARTS.items():
            self._plan.parts[part][State.EQUAL] += equal[kind]

    def _count(self, state: State, changes: Iterable[Change]) -> Counter[str]:
        """Count what differs in a domain; return how much of it is in the source."""
        differing: dict[tuple[str, str], State] = {}
        in_source = set()
        for change in changes:
            if change.kind not in _KINDS:
                continue
            thing = _KINDS[change.kind], change.name
            becomes = _STATES[change.action]
            if becomes is not State.KEPT and state is State.CONFLICT:
                becomes = State.CONFLICT
            if differing.get(thing, State.KEPT) is State.KEPT:
                differing[thing] = becomes
            if change.difference is not Action.REMOVE:
                in_source.add(thing)
        for (kind, _), becomes in differing.items():
            self._plan.parts[_PARTS[kind]][becomes] += 1
        return Counter(kind for kind, _ in in_source)

    def _note_names(self, ours: site.Domain, theirs: site.Domain, acting: list[Change]) -> None:
        name = ours.name.name
        released, wanted = [], []
        for change in acting:
            if change.kind is Kind.ALIAS and change.action is Action.REMOVE:
                released.append(change.name)
            elif change.kind is Kind.ALIAS and change.action is Action.ADD:
                wanted.append(change.name)
        if ours.directory != theirs.directory:
            wanted.append(ours.directory)
        if released:
            self._released[name] = released
        if wanted:
            self._wanted[name] = wanted

    def _judge_gone(self) -> None:
        """Find the domains that came from this source and are not in it any more."""
        plan, later, scanned = self._plan, self._later, self._plan.scanned
        imported = [name for name in later.imports if name not in self._spool.entries]
        there = stored.domain_ids(self._session, imported)
        elsewhere = 0
        for name in sorted(there):
            if later.imports[name].source != plan.origin:
                elsewhere += 1
                continue
            is_lost = scanned.has_rejects or self._spool.is_left_out(name)
            if is_lost or later.has_anything(name):
                plan.states[name] = State.KEPT
                reason = "gone from the source, but changed in the database since"
                if is_lost:
                    reason = "not in what could be read of the source"
                self._find(Code.KEPT, name, reason)
            elif plan.update:
                plan.states[name] = State.GONE
            else:
                plan.states[name] = State.CONFLICT
                self._find(Code.DIFFERS, name, "to be as in the source: remove the domain")
            kept = plan.states[name] is State.KEPT
            action = Action.KEEP if kept else Action.REMOVE
            plan.changes.append(Change(action, Kind.DOMAIN, name, name, Action.REMOVE))
            if not kept:
                self._released[name] = stored.held_names(self._session, there[name])
        if elsewhere and plan.update:
            reason = (
                f"{elsewhere} domains that are not in this source were imported from elsewhere"
            )
            self._find(Code.FROM_ELSEWHERE, "", reason)

    def _judge_clashes(self) -> None:
        """Find domains that cannot be updated because another one has a name they need."""
        plan = self._plan
        clashing = True
        while clashing:
            # One that stays as it is does not give up anything, either.
            clashing = False
            for name, clashes in self._clashes(self._wanted).items():
                clashing = True
                del self._wanted[name]
                self._released.pop(name, None)
                plan.states[name] = State.CONFLICT
                self._report_clashes(name, clashes)

    def _clashes(self, wanted: dict[str, list[str]]) -> dict[str, list[str]]:
        """Return which names and directories domains need in vain."""
        needed = [text for each in wanted.values() for text in each]
        directories = [text for text in needed if text.startswith("/")]
        names = [text for text in needed if not text.startswith("/")]
        taken = stored.taken_names(self._session, names)
        taken |= stored.directory_ids(self._session, directories).keys()
        taken -= {text for each in self._released.values() for text in each}
        return {
            name: clashes
            for name, texts in wanted.items()
            if (clashes := [text for text in texts if text in taken])
        }

    def _report_clashes(self, name: str, clashes: list[str]) -> None:
        for clash in clashes:
            self._find(Code.TAKEN, clash, f"{name} needs {clash}, which another domain has")

    def _judge_new(self, new: list[Entry]) -> None:
        plan = self._plan
        clashes = self._clashes({entry.name: [*entry.names, entry.directory] for entry in new})
        released = {text for each in self._released.values() for text in each}
        for entry in new:
            needs = {*entry.names, entry.directory}
            if self._later.is_deleted(entry.name):
                plan.states[entry.name] = State.KEPT
                reason = "imported before, and deleted in the database since: it stays deleted"
                self._find(Code.KEPT, entry.name, reason)
            elif entry.name in clashes:
                plan.states[entry.name] = State.CONFLICT
                self._report_clashes(entry.name, clashes[entry.name])
            elif released & needs and not plan.update:
                plan.states[entry.name] = State.CONFLICT
                others = ", ".join(sorted(released & needs))
                reason = f"to be as in the source: add the domain, with {others} of another one"
                self._find(Code.DIFFERS, entry.name, reason)
            else:
                plan.states[entry.name] = State.NEW
            for kind, part in _PARTS.items():
                plan.parts[part][plan.states[entry.name]] += entry.counts[kind]

    def _find(self, code: Code, text: str, reason: str) -> None:
        self._plan.evidence.find(code, PLACE, 0, text, reason)
