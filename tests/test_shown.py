"""What people read: sizes, times, and nothing that a terminal obeys."""

from datetime import UTC, datetime

import pytest

from vpopsql.shown import human_size, iso, printable, storable


@pytest.mark.parametrize(
    "size, shown",
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (-2048, "-2.0 KiB"), (2**60, "1024.0 PiB")],
)
def test_sizes_have_units(size: int, shown: str) -> None:
    assert human_size(size) == shown


@pytest.mark.parametrize(
    "text, shown",
    [
        ("plain é", "plain é"),
        ("red\x1b[31m", "red\\x1b[31m"),
        ("two\nlines\tand\r", "two\\nlines\\tand\\r"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("byte \udce9", "byte \\udce9"),
    ],
)
def test_what_a_terminal_obeys_or_cannot_show_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_long_text_is_cut_where_that_is_wanted() -> None:
    assert printable("abcdef", 3) == "abc…"
    assert printable("abc", 3) == "abc"


def test_bytes_that_are_no_text_can_be_stored_as_utf_8() -> None:
    assert storable("caf\udce9").encode() == b"caf\\udce9"


def test_times_are_shown_to_the_second() -> None:
    assert iso(datetime(2026, 1, 31, 1, 2, 3, 999, tzinfo=UTC)) == "2026-01-31T01:02:03Z"
