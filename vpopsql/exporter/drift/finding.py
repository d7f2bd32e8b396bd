"""One thing that is not as the database says, and what to do about it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from vpopsql.exporter.drift.codes import Code
from vpopsql.exporter.drift.content import Detail
from vpopsql.exporter.snapshot import Part
from vpopsql.tree import Owner

_KEPT = 200
"""Differences of one file that are kept; of a file that is gone there may be a million."""

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

    code: Code
    path: str
    """The site path that it is about."""
    domain: str = ""
    """The real domain whose files it is among; empty: the site's."""
    part: Part = Part(0)  # noqa: RUF009 - a flag without a bit
    """Of a domain's file, what it is written together with."""
    details: tuple[Detail, ...] = ()
    more: int = 0
    """Details beyond those that are kept."""
    owner: Owner | None = None
    """Who should have it, if that is known."""

    @classmethod
    def of(cls, code: Code, path: str, details: Iterable[Detail] = (), **other: Any) -> Self:  # noqa: ANN401 - the fields
        """Make a finding of any number of details."""
        every = tuple(details)
        return cls(code, path, details=every[:_KEPT], more=max(0, len(every) - _KEPT), **other)

    @property
    def reason(self) -> str:
        """What differs, in one line; empty if the code says it all."""
        shown = [detail.text for detail in self.details[:_SHOWN]]
        more = len(self.details) - len(shown) + self.more
        return "; ".join([*shown, f"{more} more"] if more else shown)

    def still(self, earlier: "Finding") -> "Finding | None":
        """Return what of this was found ``earlier`` already; None: it has become another one."""
        if not self.details:
            return self
        before = set(earlier.details)
        same = tuple(detail for detail in self.details if detail in before)
        return replace(self, details=same) if same else None


def persisting(earlier: Iterable[Finding], later: Iterable[Finding]) -> list[Finding]:
    """Return what was found both times, as it is now."""
    before = {(each.code, each.path): each for each in earlier}
    return [
        still
        for each in later
        if (was := before.get((each.code, each.path))) and (still := each.still(was))
    ]


def in_order(findings: Iterable[Finding]) -> Sequence[Finding]:
    """Return findings as people read them: the worst first, then by code and path."""
    return sorted(findings, key=lambda each: (-each.code.severity, str(each.code), each.path))
