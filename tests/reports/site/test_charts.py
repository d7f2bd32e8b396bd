"""Charts are what their numbers are."""

from datetime import date, timedelta
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpopsql.reports.site.charts import About, Bar, Point, bars, columns, line, ticks

DAY = date(2026, 1, 31)
COUNTED = About("some", "Some <things>", "What they are & why.")
SIZES = About("sizes", "Sizes", "Of things.", are_bytes=True)


def drawn(svg: str) -> ET.Element:
    """The chart, which is XML without what is not."""
    return ET.fromstring(svg)  # noqa: S314 - our own


def boxes(svg: str) -> list[tuple[float, float]]:
    """Width and height of each bar."""
    found = drawn(svg).iterfind(".//rect")
    return [
        (float(each.attrib["width"]), float(each.attrib["height"]))
        for each in found
        if each.get("class")
    ]


def points(svg: str) -> list[list[tuple[float, float]]]:
    """The corners of each line."""
    return [
        [(float(x), float(y)) for x, y in (at.split(",") for at in each.attrib["points"].split())]
        for each in drawn(svg).iterfind(".//polyline")
    ]


def texts(svg: str, kind: str) -> list[str | None]:
    return [each.text for each in drawn(svg).iterfind(f".//text[@class='{kind}']")]


def on(*values: int | None) -> list[Point]:
    return [Point(DAY + timedelta(days=number), value) for number, value in enumerate(values)]


def test_columns_are_as_high_as_their_values() -> None:
    heights = [height for _, height in boxes(columns(COUNTED, [Bar("a", 50), Bar("b", 200)]))]

    assert heights == pytest.approx([158 / 4, 158], abs=0.2)


def test_bars_are_as_long_as_their_values() -> None:
    widths = [width for width, _ in boxes(bars(COUNTED, [Bar("a", 100), Bar("b", 25)]))]

    assert widths == pytest.approx([332, 83], abs=0.2)


def test_something_is_never_drawn_as_nothing_nor_nothing_as_something() -> None:
    upright = boxes(columns(COUNTED, [Bar("a", 10**9), Bar("b", 1), Bar("c", 0)]))
    lying = boxes(bars(COUNTED, [Bar("a", 10**9), Bar("b", 1), Bar("c", 0)]))

    assert [height for _, height in upright][1:] == [1, 0]
    assert [width for width, _ in lying][1:] == [1, 0]


def test_a_chart_without_anything_has_an_axis_nevertheless() -> None:
    assert texts(columns(COUNTED, [Bar("a", 0)]), "tick") == ["0", "1", "mailboxes", "a"]


def test_a_line_goes_through_its_values() -> None:
    ((first, second, third),) = points(line(COUNTED, on(0, 50, 100)))

    assert first[1] > second[1] > third[1]
    assert first[1] - second[1] == pytest.approx(second[1] - third[1], abs=0.2)
    assert second[0] - first[0] == pytest.approx(third[0] - second[0], abs=0.2)


def test_days_are_as_far_apart_as_they_are() -> None:
    gap = [Point(DAY, 1), Point(DAY + timedelta(days=30), 1), Point(DAY + timedelta(days=40), 1)]

    ((first, second, third),) = points(line(COUNTED, gap))

    assert second[0] - first[0] == pytest.approx(3 * (third[0] - second[0]), abs=0.2)


def test_what_is_unknown_is_a_gap() -> None:
    svg = line(COUNTED, on(1, 2, None, None, 4, 5, None))

    assert [len(run) for run in points(svg)] == [2, 2]
    assert "0.0,0.0" not in svg


def test_one_point_is_a_dot() -> None:
    svg = line(SIZES, on(1024))

    assert points(svg) == []
    assert drawn(svg).find(".//circle") is not None
    assert "2026-01-31" in texts(svg, "tick")


def test_a_point_between_gaps_is_a_dot() -> None:
    dots = drawn(line(COUNTED, on(1, None, 3, None, 5, 6))).findall(".//circle")

    assert len(dots) == 3


def test_the_days_at_the_axis_are_the_first_the_middle_and_the_last() -> None:
    assert texts(line(COUNTED, on(*range(11))), "tick")[-3:] == [
        "2026-01-31",
        "2026-02-05",
        "2026-02-10",
    ]
    assert texts(line(COUNTED, on(1, 2)), "tick")[-2:] == ["2026-01-31", "2026-02-01"]


def test_sizes_have_units() -> None:
    svg = bars(SIZES, [Bar("a", 3 * 2**30)])

    assert texts(svg, "said") == ["3.0 GiB"]
    assert texts(svg, "tick") == ["0 B", "1 GiB", "2 GiB", "3 GiB"]


def test_large_numbers_find_room_at_the_axis() -> None:
    svg = columns(COUNTED, [Bar("a", 1_600_000)])

    assert texts(svg, "tick")[:5] == ["0", "500,000", "1 M", "1.5 M", "2 M"]
    assert drawn(svg).find(".//g/title").text == "a: 1,600,000"  # type: ignore[union-attr]


def test_what_is_special_is_not_told_by_colour_alone() -> None:
    svg = bars(COUNTED, [Bar("des", 7, is_special=True, note="weak"), Bar("bcrypt", 9)])

    assert texts(svg, "said") == ["7, weak", "9"]
    assert svg.count('fill="url(#some-hatch)"') == 1
    assert drawn(svg).find(".//pattern[@id='some-hatch']") is not None


@pytest.mark.parametrize(
    "svg", [line(COUNTED, on(1)), columns(COUNTED, [Bar("<", 1)]), bars(COUNTED, [Bar("&", 1)])]
)
def test_a_chart_says_what_it_is_to_those_who_do_not_see_it(svg: str) -> None:
    root = drawn(svg)

    assert root.attrib["role"] == "img"
    assert root.attrib["aria-labelledby"] == "some-title some-says"
    assert [root.find(name).text for name in ("title", "desc")] == [  # type: ignore[union-attr]
        "Some <things>",
        "What they are & why.",
    ]


def test_a_long_label_is_cut_and_said_in_full() -> None:
    svg = bars(COUNTED, [Bar(60 * "a", 1)])

    assert texts(svg, "name") == [35 * "a" + "…"]
    assert drawn(svg).find(".//g/title").text == f"{60 * 'a'}: 1"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "greatest, are_bytes, marks",
    [
        (0, False, [0, 1]),
        (1, False, [0, 1]),
        (3, False, [0, 1, 2, 3]),
        (4, False, [0, 1, 2, 3, 4]),
        (874, False, [0, 500, 1000]),
        (1_000_000, False, [0, 500_000, 1_000_000]),
        (400 * 2**30, True, [each * 2**30 for each in (0, 100, 200, 300, 400)]),
        (1023 * 2**20, True, [0, 500 * 2**20, 1000 * 2**20, 1500 * 2**20]),
        (1, True, [0, 1]),
    ],
)
def test_marks_are_round(greatest: int, are_bytes: bool, marks: list[int]) -> None:
    assert ticks(greatest, are_bytes=are_bytes) == marks


@given(st.integers(0, 2**62), st.booleans())
def test_marks_reach_from_zero_to_the_greatest_in_a_few_equal_steps(
    greatest: int, are_bytes: bool
) -> None:
    marks = ticks(greatest, are_bytes=are_bytes)

    assert marks[0] == 0
    assert marks[-2] < max(greatest, 1) <= marks[-1]
    assert 2 <= len(marks) <= 6
    assert len({after - before for before, after in pairwise(marks)}) == 1
