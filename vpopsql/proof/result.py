"""What a proof shows."""

import enum
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from vpopsql.shown import printable

CHANGED_SINCE = "changed in the database since"

_KEPT = 20  # differences of one reason that are kept to be shown
_ACCUSED = 1_000  # unexplained differences that are kept: who has as many, compares the wrong site


class Kind(enum.StrEnum):
    """How a file of the export compares with the source's, the best first."""

    IDENTICAL = "identical"
    """The same bytes."""
    ORDER = "order"
    """The same lines in another order, or the same records of a cdb."""
    NEW = "new"
    """The source has no such file: what it says is in a table, or it is made from its text."""
    EXPLAINED = "explained"
    """Differs where the import has a finding that says so, or where the database was changed."""
    UNEXPLAINED = "unexplained"


_ORDER = list(Kind)


def worst(*kinds: Kind) -> Kind:
    """Return the worst of some kinds; identical without any."""
    return max(kinds, key=_ORDER.index, default=Kind.IDENTICAL)


@dataclass(frozen=True, slots=True)
class Difference:
    """A file, or a thing of a domain, that is not the same on both sides."""

    kind: Kind
    path: str
    line: int
    """Of the source's file; 0: the file as a whole."""
    reason: str
    """A code of the import, or what is different."""

    def as_dict(self) -> dict[str, Any]:
        """Return the difference for JSON."""
        return {
            "kind": self.kind.value,
            "path": printable(self.path),
            "line": self.line,
            "reason": self.reason,
        }

    @property
    def place(self) -> str:
        """The file, with the line if it is about one."""
        line = f":{self.line}" if self.line else ""
        return f"{printable(self.path)}{line}"


@dataclass(slots=True)
class Proof:
    """What the comparison showed."""

    domains: int = 0
    files: Counter[Kind] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    """How often each explanation was needed."""
    explained: list[Difference] = field(default_factory=list)
    """The first few of each reason."""
    accused: int = 0
    """How many differences nothing explains."""
    unexplained: list[Difference] = field(default_factory=list)
    """The first thousand of them."""

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "domains": self.domains,
            "files": {kind.value: self.files[kind] for kind in Kind},
            "reasons": dict(self.reasons),
            "differences_unexplained": self.accused,
            "explained": [each.as_dict() for each in self.explained],
            "unexplained": [each.as_dict() for each in self.unexplained],
        }

    def explain(self, path: str, line: int, reason: str, kind: Kind = Kind.EXPLAINED) -> Kind:
        """Take note of a difference that has a reason; return its kind."""
        self.reasons[reason] += 1
        if self.reasons[reason] <= _KEPT:
            self.explained.append(Difference(kind, path, line, reason))
        return kind

    def accuse(self, path: str, line: int, reason: str) -> Kind:
        """Take note of a difference that has none; return its kind."""
        self.accused += 1
        if self.accused <= _ACCUSED:
            self.unexplained.append(Difference(Kind.UNEXPLAINED, path, line, reason))
        return Kind.UNEXPLAINED
