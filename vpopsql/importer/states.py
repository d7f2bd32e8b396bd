"""How the parts of a site stand to the database."""

import enum
from collections import Counter, defaultdict

SHOWN = 5
"""Differences named of many in one finding."""


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


Parts = defaultdict[str, Counter[State]]
"""How many things of each kind are in which state."""


def no_parts() -> Parts:
    """Return counts of nothing."""
    return defaultdict(Counter)
