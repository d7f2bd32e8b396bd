"""Rows in the order of the domains: each domain takes its own, a report keeps its first ones."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

from vpopsql.columns import to_database_text
from vpopsql.reports.report import Report

Row = Sequence[object]

_SPARE = 4
"""So many times the rows that are wanted wait to be sorted."""


@dataclass(frozen=True, slots=True)
class Found:
    """The first rows of a report, and how many there are."""

    rows: Sequence[Row]
    total: int


def first_of(rows: Iterable[Row], limit: int) -> Found:
    """Keep the first of some rows, and count the others."""
    rows = iter(rows)
    first = list(islice(rows, limit))
    return Found(first, len(first) + sum(1 for _ in rows))


class Stream:
    """The rows of a report in the order of the domains, of which the first are kept.

    Rows whose percentages are the same when they are rounded are in the order of what else the
    report is sorted by.
    """

    def __init__(self, report: Report, rows: Iterable[Row], limit: int) -> None:
        self._report = report
        self._limit = limit
        self._total = 0
        self._first: list[Row] = []
        self._is_in_order = report.sort[0] == "domain"
        place = [each.name for each in report.columns].index("domain")
        self._groups = groupby(self._pass(rows), itemgetter(place))
        self._next = next(self._groups, None)

    def of(self, domain: str) -> Iterable[Row]:
        """Return the rows of a domain; those of domains before it are passed over."""
        for gone in self.before(domain):
            _exhaust(gone)
        if self._next is None or self._next[0] != domain:
            return ()
        return self._take()

    def before(self, domain: str) -> Iterator[Iterable[Row]]:
        """Give the rows of each domain that comes before one, and that nobody has asked for."""
        key = to_database_text(domain)
        while self._next is not None:
            name = self._next[0]
            # What is of no domain comes last.
            if name is None or to_database_text(name) >= key:
                return
            yield self._take()

    def all(self) -> Iterator[tuple[str | None, Iterable[Row]]]:
        """Give the rows of each domain that is left."""
        while self._next is not None:
            yield self._next[0], self._take()

    def finish(self) -> Found:
        """Read what is left, and return the first rows in the report's own order."""
        for _, rows in self.all():
            _exhaust(rows)
        self._cut()
        return Found(self._first, self._total)

    def _take(self) -> Iterator[Row]:
        if self._next is not None:
            yield from self._next[1]
            self._next = next(self._groups, None)

    def _pass(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Give the same rows, and keep the first of them."""
        for row in rows:
            self._total += 1
            if not self._is_in_order or len(self._first) < self._limit:
                self._first.append(row)
                if len(self._first) > _SPARE * self._limit:
                    self._cut()
            yield row

    def _cut(self) -> None:
        if self._is_in_order:
            return
        for name in reversed(self._report.sort):
            self._sort_by(name.removeprefix("-"), is_down=name.startswith("-"))
        del self._first[self._limit :]

    def _sort_by(self, name: str, *, is_down: bool) -> None:
        place = [each.name for each in self._report.columns].index(name)

        def key(row: Row) -> Any:  # noqa: ANN401 - whatever the column has
            value = row[place]
            return to_database_text(value) if isinstance(value, str) else value

        known = [row for row in self._first if row[place] is not None]
        known.sort(key=key, reverse=is_down)
        self._first = known + [row for row in self._first if row[place] is None]


def _exhaust(rows: Iterable[object]) -> None:
    deque(rows, maxlen=0)
