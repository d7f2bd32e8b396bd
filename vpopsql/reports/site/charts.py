"""Charts as inline SVG: a line over days, columns, and bars.

Three forms, drawn for the width of a telephone, are all that the pages need; libraries that draw
SVG bring fonts, styles and scripts of their own, or megabytes of numerics, and none knows what is
unknown. Each chart has axes that begin at 0, a title and a description for those who do not see
it, and is told in grey as well as in colours: what is special is hatched. Colours are the page's,
by classes, so that a dark page has dark charts. Whoever shows a chart shows its numbers beside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from vpopsql.reports.site.frame import escape
from vpopsql.shown import human_size

WIDTH = 360
"""Of a chart, in units of which each is about a pixel."""
_HEIGHT = 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 26, 26
_TICKS = 4
_KIBI = 1024
_MILLION = 1_000_000
_ROW = 34
_LABEL_MAX = 36
"""Characters of a bar's label."""


@dataclass(frozen=True, slots=True)
class Point:
    """What was on one day."""

    on: date
    value: int | None
    """None: unknown; the line has a gap."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One column or bar."""

    label: str
    value: int
    is_special: bool = False
    """Whether it is hatched; the text beside the chart says why."""
    note: str = ""
    """What is said behind its value."""


@dataclass(frozen=True, slots=True)
class About:
    """What a chart is of."""

    name: str
    """Tells it from the other charts of the page: letters."""
    title: str
    says: str
    """What it shows, in words."""
    are_bytes: bool = False
    """Whether the values are bytes; otherwise mailboxes are counted."""

    def text(self, value: int) -> str:
        """Return a value with its unit."""
        return human_size(value) if self.are_bytes else f"{value:,}"

    @property
    def unit(self) -> str:
        """Return what stands above the axis of values."""
        return "in use" if self.are_bytes else "mailboxes"

    def mark(self, value: int) -> str:
        """Return a value as it stands at an axis, where it is round and has little room."""
        if value >= _MILLION and not self.are_bytes:
            return f"{value / _MILLION:,g} M"
        return self.text(value).replace(".0 ", " ")


def ticks(greatest: float, *, are_bytes: bool = False) -> list[int]:
    """Return round values from 0 to at least ``greatest``: about four steps, and at least one.

    Steps are 1, 2 or 5 times a power of ten; of bytes likewise, in the unit of the greatest.
    """
    unit = 1
    if are_bytes:
        while greatest >= unit * _KIBI:
            unit *= _KIBI
    wanted = max(greatest / unit / _TICKS, 1e-9)
    power = 10 ** math.floor(math.log10(wanted))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= wanted * (1 - 1e-9))
    step = max(1, round(step * unit))
    # Not by division of floats, which have no room for all the bytes of a large site.
    steps = int(-(-greatest // step))
    return [step * number for number in range(max(1, steps) + 1)]


def line(about: About, points: Sequence[Point]) -> str:
    """Return a line over days, with gaps where nothing is known.

    :param points: in the order of their days, with at least one value that is known.
    """
    known = [each.value for each in points if each.value is not None]
    scale = _Upright(about, ticks(max(known), are_bytes=about.are_bytes))
    first, last = points[0].on.toordinal(), points[-1].on.toordinal()
    width = WIDTH - _LEFT - _RIGHT

    def x(on: date) -> float:
        if first == last:
            return _LEFT + width / 2
        return _LEFT + width * (on.toordinal() - first) / (last - first)

    parts = [scale.grid()]
    for run in _runs(points):
        path = " ".join(f"{x(on):.1f},{scale.y(value):.1f}" for on, value in run)
        if len(run) > 1:
            begin, end = x(run[0][0]), x(run[-1][0])
            base = scale.y(0)
            parts.append(
                f'<polygon class="area" points="{begin:.1f},{base} {path} {end:.1f},{base}"/>'
                f'<polyline class="series" points="{path}"/>'
            )
        else:
            parts.append(_dot(x(run[0][0]), scale.y(run[0][1])))
    on, value = next((each.on, each.value) for each in reversed(points) if each.value is not None)
    parts.append(_dot(x(on), scale.y(value)))
    days = sorted({first, (first + last) // 2, last} if last - first > 1 else {first, last})
    anchors = {1: ("middle",), 2: ("start", "end"), 3: ("start", "middle", "end")}[len(days)]
    for day, anchor in zip(map(date.fromordinal, days), anchors, strict=True):
        parts.append(_text(x(day), _HEIGHT - 8, day.isoformat(), anchor))
    return _svg(about, _HEIGHT, "".join(parts))


def columns(about: About, bars: Sequence[Bar], every: int = 1) -> str:
    """Return columns side by side.

    :param bars: at least one.
    :param every: so many of them share a label.
    """
    scale = _Upright(about, ticks(max(each.value for each in bars), are_bytes=about.are_bytes))
    width = (WIDTH - _LEFT - _RIGHT) / len(bars)
    parts = [scale.grid()]
    for number, each in enumerate(bars):
        left, top = _LEFT + width * number, scale.y(each.value)
        parts.append(_box(about, each, left + width * 0.1, top, width * 0.8, scale.y(0) - top))
        if number % every == 0:
            parts.append(_text(left + width / 2, _HEIGHT - 8, each.label, "middle"))
    return _svg(about, _HEIGHT, "".join(parts))


def bars(about: About, bars: Sequence[Bar]) -> str:
    """Return bars below each other, each below its label.

    :param bars: at least one.
    """
    marks = ticks(max(each.value for each in bars), are_bytes=about.are_bytes)
    bottom = _ROW * len(bars) + 4
    width = WIDTH - 2 * _RIGHT

    def x(value: float) -> float:
        return _RIGHT + width * value / marks[-1]

    parts = []
    # The first mark is 0; of the others only as many as find room.
    for mark in marks[:: max(1, (len(marks) - 1) // 3)]:
        parts.append(f'<path class="grid" d="M{x(mark):.1f} 0V{bottom}"/>')
        anchor = "start" if mark == 0 else "end" if mark == marks[-1] else "middle"
        parts.append(_text(x(mark), bottom + 16, about.mark(mark), anchor))
    for number, each in enumerate(bars):
        top = _ROW * number
        text = each.label if len(each.label) <= _LABEL_MAX else each.label[: _LABEL_MAX - 1] + "…"
        said = about.text(each.value) + (f", {each.note}" if each.note else "")
        parts.append(_text(_RIGHT, top + 15, text, "start", "name"))
        parts.append(_text(WIDTH - _RIGHT, top + 15, said, "end", "said"))
        parts.append(_box(about, each, _RIGHT, top + 21, x(each.value) - _RIGHT, 8))
    return _svg(about, bottom + 24, "".join(parts))


class _Upright:
    """The axis of values, on the left."""

    def __init__(self, about: About, marks: Sequence[int]) -> None:
        self._about = about
        self._marks = marks

    def y(self, value: float) -> float:
        """Return how far below the top a value is."""
        height = _HEIGHT - _TOP - _BOTTOM
        return round(_TOP + height * (1 - value / self._marks[-1]), 1)

    def grid(self) -> str:
        """Return the axis, and a line at each of its marks."""
        return "".join(
            f'<path class="grid" d="M{_LEFT} {self.y(mark)}H{WIDTH - _RIGHT}"/>'
            + _text(_LEFT - 6, self.y(mark) + 4, self._about.mark(mark), "end")
            for mark in self._marks
        ) + _text(2, 11, self._about.unit, "start")


def _runs(points: Sequence[Point]) -> list[list[tuple[date, int]]]:
    """Return the stretches without a gap."""
    runs: list[list[tuple[date, int]]] = [[]]
    for each in points:
        if each.value is not None:
            runs[-1].append((each.on, each.value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _box(about: About, bar: Bar, left: float, top: float, width: float, height: float) -> str:
    said = f"{bar.label}: {about.text(bar.value)}" + (f", {bar.note}" if bar.note else "")
    # Something is never drawn as nothing.
    if bar.value and height < 1:
        top, height = top - 1, 1
    width = max(width, 1) if bar.value else 0
    shape = f'x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"'
    hatch = f'<rect {shape} fill="url(#{about.name}-hatch)"/>' if bar.is_special else ""
    kind = "bar special" if bar.is_special else "bar"
    return f'<g><title>{escape(said)}</title><rect class="{kind}" {shape}/>{hatch}</g>'


def _dot(x: float, y: float) -> str:
    return f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "tick") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )


def _svg(about: About, height: float, drawn: str) -> str:
    hatch = (
        f'<defs><pattern id="{about.name}-hatch" width="5" height="5"'
        ' patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<path class="hatch" d="M0 0V5"/></pattern></defs>'
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img"'
        f' aria-labelledby="{about.name}-title {about.name}-says">'
        f'<title id="{about.name}-title">{escape(about.title)}</title>'
        f'<desc id="{about.name}-says">{escape(about.says)}</desc>'
        f"{hatch if 'hatch)' in drawn else ''}{drawn}</svg>"
    )
