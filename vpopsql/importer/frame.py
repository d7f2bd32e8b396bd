"""How what belongs to no domain stands to the database: shared files, defaults, settings.

The database does not know where each of these came from. Only if all it has ever imported is from
this source, what the source has no more is gone from it; else it is another site's.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from sqlalchemy.orm import Session

from vpopsql.importer import site, stored
from vpopsql.importer.codes import Code
from vpopsql.importer.evidence import Evidence
from vpopsql.importer.later import Later
from vpopsql.importer.states import SHOWN, Parts, State

PLACE = "the database"
"""The place of findings about what is stored."""

_SITE_COUNTER = "site counter"
_FOREIGN_LINES = "foreign lines"
_IP_MAPPINGS = "IP mappings"
_DEFAULT_LIMITS = "default limits"
_SETTINGS = "settings"

PARTS = (_FOREIGN_LINES, _IP_MAPPINGS, _DEFAULT_LIMITS, _SITE_COUNTER, _SETTINGS)
"""What the parts are called where they are counted."""

_ACTING = {State.NEW, State.CHANGED, State.GONE}


@dataclass(slots=True)
class Frame:
    """What is to be written of it; None in the place of a value: it is to be removed."""

    foreign_lines: dict[str, tuple[site.ForeignLine, ...]] = field(default_factory=dict)
    """All lines of each file that changes."""
    ip_mappings: dict[str, str | None] = field(default_factory=dict)
    settings: dict[str, str | None] = field(default_factory=dict)
    default_limits: list[site.Limits | None] = field(default_factory=list)
    """One value, or none if they stay as they are."""
    counter: site.Counter | None = None
    """None: it stays as it is."""


@dataclass(frozen=True, slots=True)
class Stance:
    """What is known of the source when it is compared with the database."""

    update: bool
    """Whether what has changed in the source is carried over."""
    complete: bool
    """Whether all of its lines could be read."""
    only: bool
    """Whether all that was ever imported came from it."""


def compare_frame(
    session: Session,
    found: site.Site,
    stance: Stance,
    later: Later,
    imported: set[str],
    parts: Parts,
    evidence: Evidence,
) -> Frame:
    """Return what is to be written.

    :param imported: the domains of the source that the database has, or gets.
    :param parts: counts everything by its state.
    """
    comparison = _Comparison(session, found, stance, later, parts, evidence)
    return Frame(
        foreign_lines=comparison.foreign_lines(),
        ip_mappings=comparison.ip_mappings(imported),
        settings=comparison.settings(),
        default_limits=comparison.default_limits(),
        counter=comparison.counter(),
    )


class _Comparison:
    """One comparison."""

    def __init__(
        self,
        session: Session,
        found: site.Site,
        stance: Stance,
        later: Later,
        parts: Parts,
        evidence: Evidence,
    ) -> None:
        self._session = session
        self._found = found
        self._stance = stance
        self._later = later
        self._parts = parts
        self._evidence = evidence

    def foreign_lines(self) -> dict[str, tuple[site.ForeignLine, ...]]:
        theirs = stored.read_foreign_lines(self._session)
        new = {}
        for file in sorted({*theirs, *self._found.foreign_lines}):
            lines = self._file(file, self._found.foreign_lines.get(file, ()), theirs.get(file, ()))
            if lines is not None:
                new[file] = lines
        return new

    def _file(
        self,
        file: str,
        ours: tuple[site.ForeignLine, ...],
        theirs: tuple[site.ForeignLine, ...],
    ) -> tuple[site.ForeignLine, ...] | None:
        """Return the lines that a file is to have; None if it has them.

        Lines are compared without their numbers, which change with every domain before them.
        """
        part = self._parts[_FOREIGN_LINES]
        missing = Counter(map(_text, theirs))
        added = []
        for line in ours:
            if missing[_text(line)]:
                missing[_text(line)] -= 1
            else:
                added.append(line)
        gone = list(missing.elements()) if self._stance.only else []
        part[State.EQUAL] += len(ours) - len(added)
        if gone and not self._stance.complete:
            part[State.KEPT] += len(gone)
            self._keep(
                gone[0][0], f"{file}: {len(gone)} lines that could not be read, or are gone"
            )
            gone = []
        elif self._stance.only and not (missing.total() or added) and _mixed(ours, theirs):
            part[State.EQUAL] -= len(ours)
            part[State.CHANGED if self._stance.update else State.CONFLICT] += len(ours)
            if self._stance.update:
                return ours
            self._differ(file, f"{file}: the same lines in another order")
        if gone and not self._stance.update:
            part[State.CONFLICT] += len(gone) + len(added)
            for text, _ in gone[:SHOWN]:
                self._differ(text, f"{file}: the source has no such line any more")
            return None
        part[State.NEW] += len(added)
        part[State.GONE] += len(gone)
        if gone:
            return ours
        if added:
            return (*theirs, *_renumbered(added, {line.number for line in theirs}))
        return None

    def ip_mappings(self, imported: set[str]) -> dict[str, str | None]:
        ours, theirs = self._found.ip_mappings, stored.read_ip_mappings(self._session)
        wanted: dict[str, str | None] = {}
        for address in sorted(ours.keys() | theirs.keys()):
            domain = ours.get(address)
            if domain is not None and domain not in imported:
                self._parts[_IP_MAPPINGS][State.KEPT] += 1
                self._keep(address, f"{_IP_MAPPINGS}: its domain, {domain}, is not imported")
                continue
            was_changed = self._later.has_mapping(address)
            if self._is_acting(
                _IP_MAPPINGS, address, domain, theirs.get(address), was_changed=was_changed
            ):
                wanted[address] = domain
        return wanted

    def default_limits(self) -> list[site.Limits | None]:
        ours = self._found.default_limits
        theirs = stored.read_default_limits(self._session)
        acting = self._is_acting(_DEFAULT_LIMITS, _DEFAULT_LIMITS, ours, theirs)
        return [ours] if acting else []

    def counter(self) -> site.Counter | None:
        """Compare counts, which are not exact in vpopmail either."""
        ours, theirs = self._found.counter, stored.read_site_counter(self._session)
        if ours is None:
            return None
        differs = theirs is not None and ours != theirs
        counts_itself = self._later.has_domains() or not self._stance.complete
        if differs and (counts_itself or not self._stance.update):
            self._parts[_SITE_COUNTER][State.KEPT] += 1
            reason = "the count of the domains' directories is another one"
            self._find(Code.COUNTER_KEPT, "", reason)
            return None
        return ours if self._is_acting(_SITE_COUNTER, "the counter", ours, theirs) else None

    def settings(self) -> dict[str, str | None]:
        """Compare the paths that are written all over the data, and the default domain."""
        found, theirs = self._found, stored.read_settings(self._session)
        ours = {
            "vpopmail_dir": found.vpopmail_dir,
            "qmail_dir": found.qmail_dir,
            "default_domain": found.default_domain,
        }
        return {
            key: value
            for key, value in ours.items()
            if self._is_acting(_SETTINGS, key, value, theirs.get(key))
        }

    def _is_acting(
        self, kind: str, what: str, ours: object, theirs: object, *, was_changed: bool = False
    ) -> bool:
        """Say whether ``ours`` is to be written, or, if it is None, ``theirs`` removed."""
        state = self._state(ours, theirs, was_changed=was_changed)
        if state is None:
            return False
        self._parts[kind][state] += 1
        if state is State.KEPT and was_changed:
            self._keep(what, f"{kind}: changed in the database since the last import")
        elif state is State.KEPT:
            self._keep(what, f"{kind}: not in what could be read of the source")
        elif state is State.CONFLICT:
            says = "has it no more" if ours is None else "has another value"
            self._differ(what, f"{kind}: the source {says}")
        return state in _ACTING

    def _state(self, ours: object, theirs: object, *, was_changed: bool) -> State | None:
        """Return how two values stand to each other; None if it is none of our business."""
        stance = self._stance
        if ours == theirs:
            return None if ours is None else State.EQUAL
        if was_changed:
            return State.KEPT
        if theirs is None:
            return State.NEW
        if ours is None:
            if not stance.only:
                return None
            if not stance.complete:
                return State.KEPT
        if not stance.update:
            return State.CONFLICT
        return State.GONE if ours is None else State.CHANGED

    def _keep(self, text: str, reason: str) -> None:
        self._find(Code.KEPT, text, reason)

    def _differ(self, text: str, reason: str) -> None:
        self._find(Code.DIFFERS, text, reason)

    def _find(self, code: Code, text: str, reason: str) -> None:
        self._evidence.find(code, PLACE, 0, text, reason)


def _text(line: site.ForeignLine) -> tuple[str, str]:
    return line.line, line.sort_key


def _mixed(ours: Sequence[site.ForeignLine], theirs: Sequence[site.ForeignLine]) -> bool:
    """Say whether lines of one key are in another order, which a file would show."""
    key = attrgetter("sort_key")
    return list(map(_text, sorted(ours, key=key))) != list(map(_text, sorted(theirs, key=key)))


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
