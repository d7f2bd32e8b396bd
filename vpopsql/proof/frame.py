"""What belongs to no domain: as the source has it, and as the database may have it instead."""

import ipaddress
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from vpopsql.exporter.snapshot import Counter as CounterState
from vpopsql.exporter.snapshot import Foreign, Limits, Name, Snapshot, by_key
from vpopsql.importer import site
from vpopsql.importer.codes import Code
from vpopsql.importer.later import Later
from vpopsql.importer.scan import Scanned
from vpopsql.proof.result import CHANGED_SINCE, Proof

T = TypeVar("T")


@dataclass(slots=True)
class Excuses:
    """What the database may have otherwise than the source."""

    later: Later
    only: bool
    """Whether all that was ever imported came from this source."""
    origin: str
    """What this source is remembered by."""
    domains: set[str] = field(default_factory=set)
    """The domains whose own values or names were changed there on purpose."""

    def domain_of_others(self, name: str, scanned: Scanned) -> str | None:
        """Return why the database has a domain that the source has not; None: for no reason.

        One that has a reason is added to `domains`.
        """
        last = self.later.imports.get(name)
        reason = None
        if self.later.has_made(name) or self.later.has_anything(name):
            reason = CHANGED_SINCE
        elif last and last.source != self.origin:
            reason = str(Code.FROM_ELSEWHERE)
        elif scanned.has_rejects or scanned.spool.is_left_out(name):
            reason = "not in what could be read of the source"
        if reason:
            self.domains.add(name)
        return reason


def expected(
    found: site.Site, names: Sequence[Name], theirs: Snapshot, excuses: Excuses | None
) -> Snapshot:
    """Return what belongs to no domain as the exporter has it.

    :param names: those of the source's domains.
    :param excuses: None: exactly as the source has it; else with what ``theirs`` may have instead.
    """
    if excuses is None:
        return _of_source(found, names, theirs)
    ours = _of_source(found, names, theirs)
    own = [name for name in names if name.real not in excuses.domains]
    own += [name for name in theirs.names if name.real in excuses.domains]
    return replace(
        ours,
        names=sorted(own, key=lambda name: name.sort_key),
        foreign=_foreign(ours.foreign, theirs.foreign, excuses),
        ip_mappings=_mappings(ours, theirs, excuses),
        default_limits=_either(ours.default_limits, theirs.default_limits, excuses),
        counter=theirs.counter
        if excuses.later.has_domains()
        else _either(ours.counter, theirs.counter, excuses),
    )


def _of_source(found: site.Site, names: Sequence[Name], theirs: Snapshot) -> Snapshot:
    foreign: dict[str, Sequence[Foreign]] = {
        file: by_key(Foreign(line.line, line.sort_key) for line in lines)
        for file, lines in found.foreign_lines.items()
    }
    imported = {name.name for name in names}
    mapped = {ip: domain for ip, domain in found.ip_mappings.items() if domain in imported}
    return Snapshot(
        revision=0,
        paths=replace(theirs.paths, vpopmail=found.vpopmail_dir),
        names=sorted(names, key=lambda name: name.sort_key),
        foreign=foreign,
        domains=(),
        ip_mappings=sorted(mapped.items(), key=_address),
        default_limits=state_of_limits(found.default_limits),
        counter=state_of_counter(found.counter),
    )


def _foreign(
    ours: dict[str, Sequence[Foreign]], theirs: dict[str, Sequence[Foreign]], excuses: Excuses
) -> dict[str, Sequence[Foreign]]:
    """Return ours; if several sites became one, what the database has besides is another's."""
    if excuses.only:
        return ours
    return ours | {
        file: lines
        for file, lines in theirs.items()
        if not Counter(ours.get(file, ())) - Counter(lines)
    }


def _mappings(ours: Snapshot, theirs: Snapshot, excuses: Excuses) -> list[tuple[str, str]]:
    wanted, there = dict(ours.ip_mappings), dict(theirs.ip_mappings)
    names = {name.name for name in theirs.names}
    merged = {}
    for address in wanted.keys() | there.keys():
        is_others = address not in wanted and not excuses.only
        is_lost = address in wanted and wanted[address] not in names
        if excuses.later.has_mapping(address) or is_others or is_lost:
            if address in there:
                merged[address] = there[address]
        elif address in wanted:
            merged[address] = wanted[address]
    return sorted(merged.items(), key=_address)


def _either(ours: T | None, theirs: T | None, excuses: Excuses) -> T | None:
    return theirs if not excuses.only and theirs is not None else ours


def compare_settings(
    theirs: dict[str, str], found: site.Site, excuses: Excuses, proof: Proof
) -> None:
    """Compare the facts about the site that no file shows, or that all of them do."""
    ours = {
        "vpopmail_dir": found.vpopmail_dir,
        "qmail_dir": found.qmail_dir,
        "default_domain": found.default_domain,
    }
    for key, value in ours.items():
        there = theirs.get(key)
        if there == value:
            continue
        if value is None and not excuses.only:
            proof.explain(key, 0, str(Code.FROM_ELSEWHERE))
        else:
            proof.accuse(key, 0, "a setting of the database is not as in the source")


def state_of_limits(limits: site.Limits | None) -> Limits | None:
    """Return limits as the exporter has them."""
    return None if limits is None else Limits(limits.values, limits.source_text)


def state_of_counter(counter: site.Counter | None) -> CounterState | None:
    """Return a counter as the exporter has it."""
    return None if counter is None else CounterState(counter.control, counter.free_buckets)


def _address(mapping: tuple[str, str]) -> tuple[int, bytes]:
    parsed = ipaddress.ip_address(mapping[0])
    return parsed.version, parsed.packed
