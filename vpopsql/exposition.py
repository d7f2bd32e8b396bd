"""Prometheus's text format, version 0.0.4: families of samples become text.

::

    family = "# HELP " name " " text LF "# TYPE " name " " kind LF *sample
    sample = name [suffix] ["{" label *("," label) "}"] " " number LF
    label  = name "=" DQUOTE text DQUOTE

Names are what the caller says; nothing of them is checked here. Values of labels may be any text:
backslashes, quotes and newlines are escaped.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from vpopsql.shown import storable

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Sample:
    """One number."""

    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""
    """Of the family's name, such as ``_bucket``."""


@dataclass(frozen=True, slots=True)
class Family:
    """All samples of one name."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    samples: Sequence[Sample]


def gauge(name: str, help_: str, value: float | None) -> Family:
    """Return a family of one number; without samples for None, which is unknown."""
    return Family(name, "gauge", help_, [] if value is None else [Sample(value)])


class Histogram:
    """How often values were at most so large; one writer at a time.

    :param bounds: upper bounds, ascending; what is larger counts only in the sum of all.
    :param counts: how often, for each bound, values were at most that and above the one before;
        at the end how often they were larger than all; None: nothing was counted yet.
    :param sum_: of the values counted so far.
    """

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(
        self, bounds: Sequence[float], counts: Sequence[int] | None = None, sum_: float = 0.0
    ) -> None:
        self._bounds = bounds
        self._counts = list(counts or [0] * (len(bounds) + 1))
        self._sum = sum_

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def samples(self, labels: Mapping[str, str]) -> Iterator[Sample]:
        """Return what was counted."""
        total = 0
        for bound, counted in zip((*self._bounds, math.inf), self._counts, strict=True):
            total += counted
            yield Sample(total, {**labels, "le": _number(bound)}, "_bucket")
        yield Sample(self._sum, labels, "_sum")
        yield Sample(total, labels, "_count")


def render(families: Iterable[Family]) -> str:
    """Return the text; families without samples are left out."""
    return "".join(line for family in families if family.samples for line in _lines(family))


def _lines(family: Family) -> Iterator[str]:
    help_ = family.help.replace("\\", r"\\").replace("\n", r"\n")
    yield f"# HELP {family.name} {help_}\n"
    yield f"# TYPE {family.name} {family.kind}\n"
    for sample in family.samples:
        labels = ",".join(f'{name}="{_escaped(text)}"' for name, text in sample.labels.items())
        braces = f"{{{labels}}}" if labels else ""
        yield f"{family.name}{sample.suffix}{braces} {_number(sample.value)}\n"


def _escaped(text: str) -> str:
    text = text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return storable(text)


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(value)
