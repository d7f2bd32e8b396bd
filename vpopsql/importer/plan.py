"""What an import would do to a database: what it adds, what is there already, what contradicts.

An import adds and never changes: a domain that the database holds with other values is a
conflict, and conflicts are findings that keep the whole import from being applied. What only the
database has is none of its business.
"""

import enum
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from vpopsql.importer import site, stored
from vpopsql.importer.codes import Code, Severity
from vpopsql.importer.evidence import Evidence, Tally
from vpopsql.importer.writable import find_unwritable

DATABASE = "the database"
"""The place of findings about what is stored."""

_SHOWN = 5  # differences named of many


class State(enum.StrEnum):
    """How a part of the site stands to the database."""

    NEW = "new"
    EQUAL = "equal"
    KEPT = "kept"
    """The database has another value and keeps it; a warning says so."""
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be added, and why not, where there is a reason."""

    found: site.Site
    """All that was read."""
    new: site.Site
    """The part of it that the database does not have."""
    settings: dict[str, str]
    """Facts about the site that the database does not have."""
    states: dict[str, State]
    """The state of every domain that was read."""
    parts: dict[str, Counter[State]]
    """How many things of each kind are in which state."""
    evidence: Evidence

    @property
    def rejected(self) -> bool:
        """Whether something must be repaired first."""
        return self.evidence.worst is Severity.REJECT

    @property
    def adds(self) -> bool:
        """Whether there is anything that the database does not have."""
        return any(part[State.NEW] for part in self.parts.values())

    def as_dict(self) -> dict[str, Any]:
        """Return the plan for JSON."""
        evidence = self.evidence
        left = {what: sorted(paths) for what, paths in evidence.left.items()}
        return {
            "paths": {"vpopmail": self.found.vpopmail_dir, "qmail": self.found.qmail_dir},
            "parts": {
                kind: {state.value: part[state] for state in State}
                for kind, part in self.parts.items()
            },
            "domains": [
                {"name": domain.name.name, "state": self.states[domain.name.name].value}
                | domain.counts()
                for domain in self.found.domains
            ],
            "sources": [tally.as_dict() for tally in evidence.tallies],
            "lines_add_up": all(tally.adds_up for tally in evidence.tallies),
            "left_in_place": left | {"Maildirs": evidence.maildirs},
            "findings": [finding.as_dict() for finding in evidence.findings],
        }

    def sources(self) -> list[Tally]:
        """Return where the lines went, one count for all files of a kind."""
        kinds: dict[str, Tally] = {}
        for tally in self.evidence.tallies:
            kinds.setdefault(tally.kind, Tally(tally.kind, "")).add(tally)
        return list(kinds.values())


def make_plan(session: Session, found: site.Site, evidence: Evidence) -> Plan:
    """Compare what was read with what the database has; conflicts become findings.

    So does what is new and could not be exported again.

    Reads only. To apply the plan, give the session of the same transaction to `apply_plan`.
    """
    comparison = _Comparison(session, found, evidence)
    new = site.Site(
        vpopmail_dir=found.vpopmail_dir,
        qmail_dir=found.qmail_dir,
        domains=comparison.domains(),
        foreign_lines=comparison.foreign_lines(),
        ip_mappings=comparison.ip_mappings(),
        default_limits=comparison.default_limits(),
        counter=comparison.counter(),
    )
    settings = comparison.settings()
    find_unwritable(new, evidence)
    return Plan(found, new, settings, comparison.states, dict(comparison.parts), evidence)


class _Comparison:
    """One comparison; each method returns what is new of its kind."""

    def __init__(self, session: Session, found: site.Site, evidence: Evidence) -> None:
        self._session = session
        self._found = found
        self._evidence = evidence
        self.states: dict[str, State] = {}
        self.parts: defaultdict[str, Counter[State]] = defaultdict(Counter)

    def domains(self) -> tuple[site.Domain, ...]:
        scanned = {domain.name.name: domain for domain in self._found.domains}
        for theirs in stored.read_domains(self._session, scanned):
            name = theirs.name.name
            if theirs == scanned[name]:
                self.states[name] = State.EQUAL
            else:
                parts = "; ".join(site.differences(scanned[name], theirs))
                self._conflict(Code.DIFFERS, name, f"differs in {parts}")
                self.states[name] = State.CONFLICT
        new = [domain for name, domain in scanned.items() if name not in self.states]
        self._judge_new(new)
        for name, domain in scanned.items():
            state = self.states[name]
            self.parts["domains"][state] += 1
            for kind, number in domain.counts().items():
                self.parts[kind.replace("_", " ")][state] += number
        return tuple(domain for domain in new if self.states[domain.name.name] is State.NEW)

    def _judge_new(self, new: list[site.Domain]) -> None:
        names = {name.name for domain in new for name in domain.names}
        taken = stored.taken_names(self._session, names)
        directories = stored.directory_ids(self._session, [domain.directory for domain in new])
        for domain in new:
            clashes = [name.name for name in domain.names if name.name in taken]
            if domain.directory in directories:
                clashes.append(domain.directory)
            for clash in clashes:
                reason = f"{domain.name.name} needs {clash}, which another domain has"
                self._conflict(Code.TAKEN, clash, reason)
            self.states[domain.name.name] = State.CONFLICT if clashes else State.NEW

    def foreign_lines(self) -> dict[str, tuple[site.ForeignLine, ...]]:
        """Compare lines without their numbers, which change with every domain before them."""
        theirs = stored.read_foreign_lines(self._session)
        new = {}
        for file, lines in self._found.foreign_lines.items():
            have = theirs.get(file, ())
            missing = Counter((line.line, line.sort_key) for line in have)
            only_ours = []
            for line in lines:
                key = line.line, line.sort_key
                if missing[key]:
                    missing[key] -= 1
                else:
                    only_ours.append(line)
            part = self.parts["foreign lines"]
            part[State.EQUAL] += len(lines) - len(only_ours)
            if only_ours and missing.total():
                part[State.CONFLICT] += len(only_ours)
                reason = "both have lines that the other has not"
                for line in only_ours[:_SHOWN]:
                    self._conflict(Code.DIFFERS, line.line, f"{file}: {reason}")
            elif only_ours:
                part[State.NEW] += len(only_ours)
                new[file] = _renumbered(only_ours, {line.number for line in have})
        return new

    def ip_mappings(self) -> dict[str, str]:
        theirs = stored.read_ip_mappings(self._session)
        return {
            address: domain
            for address, domain in self._found.ip_mappings.items()
            if self._is_new("IP mappings", address, domain, theirs.get(address))
        }

    def default_limits(self) -> site.Limits | None:
        ours = self._found.default_limits
        theirs = stored.read_default_limits(self._session)
        return ours if self._is_new("default limits", "default limits", ours, theirs) else None

    def counter(self) -> site.Counter | None:
        ours = self._found.counter
        theirs = stored.read_site_counter(self._session)
        if None in (ours, theirs) or ours == theirs:
            return ours if self._is_new("site counter", "the counter", ours, theirs) else None
        self.parts["site counter"][State.KEPT] += 1
        reason = "the count of the domains' directories is another one"
        self._evidence.find(Code.COUNTER_KEPT, DATABASE, 0, "", reason)
        return None

    def settings(self) -> dict[str, str]:
        """Compare the paths that are written all over the data, and the default domain."""
        theirs = stored.read_settings(self._session)
        ours = {"vpopmail_dir": self._found.vpopmail_dir, "qmail_dir": self._found.qmail_dir}
        if self._found.default_domain is not None:
            ours["default_domain"] = self._found.default_domain
        return {
            key: value
            for key, value in ours.items()
            if self._is_new("settings", key, value, theirs.get(key))
        }

    def _is_new(self, kind: str, what: str, ours: object, theirs: object) -> bool:
        """Say whether the database lacks ``ours``; another value of it is a conflict."""
        if ours is None:
            return False
        state = State.NEW if theirs is None else State.EQUAL
        if theirs not in (None, ours):
            state = State.CONFLICT
            self._conflict(Code.DIFFERS, what, f"{kind}: the source has another value")
        self.parts[kind][state] += 1
        return state is State.NEW

    def _conflict(self, code: Code, text: str, reason: str) -> None:
        self._evidence.find(code, DATABASE, 0, text, reason)


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
