"""Whether what a daemon has stays what it was.

Two things are compared. *Under load*, the medians of the second fifth of a run and of its last
fifth: the first fifth is for warming up. *At rest*, when nobody is connected: once after the
warm-up, and once at the end.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

Measures = Mapping[str, float]

_S_PER_HOUR = 3600


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is still called flat."""

    memory_percent: float = 5.0
    """How much more memory there may be, under load and at rest."""
    under_load_percent: float = 5.0
    """How many more descriptors and threads there may be under load, where they come and go."""
    threads_made_up: int = 0
    """Threads besides, that stand in for others under load when the machine is slow."""
    pool_descriptors: int = 0
    """How many descriptors of the database may still be opened after the warm-up: the pools of
    connections fill when they are needed first."""


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison."""

    what: str
    when: str
    before: float
    after: float
    most: float
    per_hour: float | None = None
    """How fast it grows: the median of the slopes between any two samples."""

    @property
    def is_flat(self) -> bool:
        """Tell whether it is within its bound."""
        return self.after <= self.most


def judge(samples: Sequence[Measures], rests: Sequence[Measures], bounds: Bounds) -> list[Row]:
    """Return what was compared.

    :param samples: in their order, each with ``at_s``, and of the whole run.
    :param rests: the one after the warm-up, and the one at the end.
    """
    end = max(each["at_s"] for each in samples)
    second = [each for each in samples if end / 5 < each["at_s"] <= 2 * end / 5]
    last = [each for each in samples if each["at_s"] > 4 * end / 5]
    warm = [each for each in samples if each["at_s"] > end / 5]
    rows = []
    for what in ("memory_kib", "descriptors", "database_descriptors", "threads"):
        before, after = (median(each[what] for each in part) for part in (second, last))
        under_load = _most(what, before, bounds, bounds.under_load_percent)
        under_load += bounds.threads_made_up if what == "threads" else 0
        rows.append(Row(what, "under load", before, after, under_load, slope(warm, what)))
        before, after = rests[0][what], rests[-1][what]
        rows.append(Row(what, "at rest", before, after, _most(what, before, bounds, 0)))
    return rows


def _most(what: str, before: float, bounds: Bounds, percent: float) -> float:
    if what == "memory_kib":
        return before * (1 + bounds.memory_percent / 100)
    if what == "database_descriptors":
        return before + bounds.pool_descriptors
    return before * (1 + percent / 100)


def slope(samples: Sequence[Measures], what: str) -> float:
    """Return how fast something grows, an hour; outliers do not matter (Theil and Sen)."""
    pairs = itertools.combinations([(each["at_s"], each[what]) for each in samples], 2)
    slopes = [(b - a) / (later - sooner) for (sooner, a), (later, b) in pairs if later > sooner]
    return median(slopes) * _S_PER_HOUR if slopes else 0.0


def table(rows: Sequence[Row]) -> list[str]:
    """Return the comparisons as a table for people."""
    head = ("", "", "before", "after", "at most", "an hour", "")
    cells = [
        (
            row.what,
            row.when,
            f"{row.before:,.0f}",
            f"{row.after:,.0f}",
            f"{row.most:,.0f}",
            "" if row.per_hour is None else f"{row.per_hour:+,.0f}",
            "" if row.is_flat else "GROWS",
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in (head, *cells)) for column in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)  # noqa: PLR2004 - two names
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (head, *cells)
    ]
