"""The wire's grammar: lines, words, replies."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpopsql.protocol import (
    COMMAND_LINE_MAX,
    LineReader,
    Overlong,
    Words,
    decode,
    encode,
    failure,
    listing,
    ok,
    parse_command,
    stuff,
    unstuff,
)


def lines_of(*pieces: bytes, limit: int = COMMAND_LINE_MAX) -> list[Any]:
    reader = LineReader(limit)
    return [line for piece in pieces for line in reader.feed(piece)]


@given(st.binary(max_size=200), st.lists(st.integers(0, 200)))
def test_how_bytes_are_cut_does_not_matter(data: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[a:b] for a, b in itertools.pairwise(places)]

    assert lines_of(*pieces, limit=20) == lines_of(data, limit=20)


@pytest.mark.parametrize("limit", [20, 100])
def test_what_is_kept_of_a_long_line_does_not_depend_on_the_cuts(limit: int) -> None:
    line = bytes(range(97, 117)) * 10 + b"\n"

    kept = [lines_of(line[:cut], line[cut:], limit=limit) for cut in range(len(line))]

    assert kept == [[Overlong(line[: min(limit, 64)])]] * len(line)


@given(st.binary())
def test_text_of_any_bytes_comes_back(data: bytes) -> None:
    assert encode(decode(b"x" + data + b"x")) == b"x" + data + b"x"


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\n\r"])
def test_each_kind_of_line_end_gives_the_same_commands(end: bytes) -> None:
    raw = lines_of(b"slogin a@b c" + end + b"quit" + end)

    assert [decode(line) for line in raw] == ["slogin a@b c", "quit"]


def test_a_line_without_its_end_is_no_line_yet() -> None:
    assert lines_of(b"del_user bob@example.co") == []


def test_a_line_of_the_longest_length_is_kept() -> None:
    assert lines_of(b"x" * COMMAND_LINE_MAX + b"\n") == [b"x" * COMMAND_LINE_MAX]


def test_a_longer_line_is_dropped_whole_and_the_next_one_kept() -> None:
    long = b"x" * (COMMAND_LINE_MAX + 1)

    assert lines_of(long, b"more\nnext\n") == [Overlong(b"x" * 64), b"next"]
    assert lines_of(long + b"\nnext\n") == [Overlong(b"x" * 64), b"next"]


def test_an_endless_line_keeps_no_memory() -> None:
    reader = LineReader()

    for _ in range(100):
        assert list(reader.feed(b"x" * 65536)) == []

    assert len(reader._parts) == 64


def test_a_password_keeps_every_blank_after_the_one_that_ends_the_address() -> None:
    verb, words = parse_command("SLOGIN alice@example.com  two words ")

    assert (verb, words.next(), words.rest()) == ("slogin", "alice@example.com", " two words ")


@pytest.mark.parametrize(
    "text, numbers",
    [("2 10", (2, 10)), ("0 10", (0, 0)), ("1", (0, 0)), ("-1 2", (0, 0)), ("1 -2", (0, 0)),
     ("x y", (0, 0)), ("", (0, 0)), ("3x 4", (3, 4))],
)  # fmt: skip
def test_a_page_needs_two_positive_numbers(text: str, numbers: tuple[int, int]) -> None:
    assert Words(text).numbers() == numbers


def test_a_plain_reply_is_one_line() -> None:
    assert b"".join(ok().render()) == b"+OK \r\n"
    assert b"".join(failure("12.605", "User does not exist").render()) == (
        b"-ERR 12.605 User does not exist\r\n"
    )


def test_a_list_ends_with_a_dot() -> None:
    assert b"".join(listing(["a 1", "b "]).render()) == b"+OK+\r\na 1\r\nb \r\n.\r\n"
    assert b"".join(listing([]).render()) == b"+OK+\r\n.\r\n"


def test_a_short_list_is_one_piece() -> None:
    assert len(list(listing(f"line {n}" for n in range(1000)).render())) == 1


def test_a_long_list_comes_in_pieces_that_end_with_a_line() -> None:
    pieces = list(listing(f"line {n}" for n in range(100_000)).render())

    assert len(pieces) > 10
    assert all(piece.endswith(b"\r\n") for piece in pieces)


def test_a_line_end_in_a_value_cannot_forge_a_line() -> None:
    assert b"".join(listing(["comment x\r\nname root"]).render()) == (
        b"+OK+\r\ncomment x\r name root\r\n.\r\n"
    )


@given(st.text(alphabet=".ab\r"))
def test_every_line_of_a_file_makes_the_round_trip(line: str) -> None:
    assert unstuff(stuff(line)) == line


@pytest.mark.parametrize(
    "line, sent", [(".", ".."), ("..", "..."), ("..two", "..two"), (".\r", "..\r"), ("", "")]
)
def test_only_lines_of_dots_gain_one(line: str, sent: str) -> None:
    assert stuff(line) == sent
