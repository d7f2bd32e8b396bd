import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpopsql.qmail.lines import (
    check_field,
    decode,
    encode,
    ends_whole,
    join_lines,
    split_lines,
    whole_number,
)


@given(st.binary())
def test_every_byte_survives_as_text(data: bytes) -> None:
    assert encode(decode(data)) == data


@given(st.binary())
def test_lines_lose_only_their_newlines(data: bytes) -> None:
    rejoined = "".join(f"{text}\n" for _, text in split_lines(data))

    assert encode(rejoined) == (data if ends_whole(data) else data + b"\n")


def test_lines_are_numbered_from_one_and_end_at_newlines_only() -> None:
    assert split_lines(b"a\r\n\nb\x0bc\xe2\x80\xa8d") == [
        (1, "a\r"),
        (2, ""),
        (3, "b\x0bc\u2028d"),
    ]


def test_an_empty_file_has_no_lines() -> None:
    assert split_lines(b"") == []
    assert ends_whole(b"")


@pytest.mark.parametrize("line", ["a\nb", "a\0b", "\n"])
def test_a_line_with_a_newline_or_nul_is_not_written(line: str) -> None:
    with pytest.raises(ValueError, match="newline or NUL"):
        join_lines(["fine", line])


@pytest.mark.parametrize("text", ["a:b", "a\nb", "a\0b"])
def test_a_field_cannot_hold_what_ends_it(text: str) -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        check_field(text)


@pytest.mark.parametrize(
    "text, number",
    [
        ("0", 0),
        ("007", 7),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", None),
        ("-1", None),
        ("", None),
        ("1_0", None),
        (" 1", None),
        ("1\n", None),
        ("+1", None),
        ("٣", None),
        ("1" * 5000, None),
    ],
)
def test_a_number_is_ascii_digits_in_range(text: str, number: int | None) -> None:
    assert whole_number(text) == number
