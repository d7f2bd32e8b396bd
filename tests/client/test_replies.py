"""Replies are cut out of what real daemons sent, however it is cut into pieces."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import transcripts
from vpopsql.client import ProtocolError, Refused
from vpopsql.client.replies import Reply, ReplyReader

NAMES = sorted(path.stem for path in transcripts.RECORDINGS.glob("*.txt"))


def conversations(name: str) -> Iterator[list[bytes]]:
    """Give what was sent on each connection of a recording, a list of lines each."""
    lines: list[bytes] = []
    for step in transcripts.read(transcripts.RECORDINGS / f"{name}.txt"):
        if step.data.startswith((b"--- new connection", b"--- now on connection")):
            yield lines
            lines = []
        elif step.kind == "S":
            lines.append(step.data)
    yield lines


def read(data: bytes, size: int = 1 << 20) -> list[Reply]:
    """Return the replies of bytes that come in pieces of a size."""
    reader = ReplyReader()
    return [
        reply
        for start in range(0, len(data), size)
        for reply in reader.feed(data[start : start + size])
    ]


@pytest.mark.parametrize("name", NAMES)
def test_all_that_a_real_daemon_sent_is_replies(name: str) -> None:
    for lines in conversations(name):
        reader = ReplyReader()

        replies = list(reader.feed(b"".join(lines)))

        assert not reader.has_begun
        assert [again for reply in replies for again in rendered(reply)] == bare(lines)


def bare(lines: list[bytes]) -> list[bytes]:
    return [line.rstrip(b"\r\n") for line in lines]


def rendered(reply: Reply) -> list[bytes]:
    """Return the lines that a reply was read from."""
    status = [reply.status.encode()] if reply.status else []
    listed = [] if reply.lines is None else [*reply.lines, b"."]
    return bare([*(line.encode() for line in reply.before), *status, *listed])


@given(size=st.integers(1, 40), name=st.sampled_from(NAMES))
def test_how_bytes_are_cut_makes_no_difference(size: int, name: str) -> None:
    data = b"".join(next(conversations(name)))

    assert read(data, size) == read(data)


def test_a_refusal_has_a_code_and_a_text() -> None:
    (reply,) = read(b"-ERR 8.207 Invalid Login\r\n")

    with pytest.raises(Refused, match=r"^8\.207 Invalid Login$") as refused:
        reply.plain()

    assert (refused.value.code, refused.value.text) == ("8.207", "Invalid Login")


@pytest.mark.parametrize("line", [b"-ERR\r\n", b"-ERR \r\n"])
def test_a_refusal_may_say_nothing(line: bytes) -> None:
    (reply,) = read(line)

    with pytest.raises(Refused) as refused:
        reply.listed()

    assert (refused.value.code, refused.value.text) == ("", "")


def test_a_list_is_none_where_one_line_is_due_nor_the_other_way_round() -> None:
    listing, plain = read(b"+OK+\r\ncount 1\r\n.\r\n+OK \r\n")

    with pytest.raises(ProtocolError):
        listing.plain()
    with pytest.raises(ProtocolError):
        plain.listed()


def test_lines_of_a_list_may_look_like_statuses() -> None:
    (reply,) = read(b"+OK+\r\n-ERR 1.1 no\n+OK \n..\n.\r\n")

    assert reply.texts() == ["-ERR 1.1 no", "+OK ", ".."]


def test_what_is_no_such_protocol_is_soon_noticed() -> None:
    with pytest.raises(ProtocolError):
        read(b"HTTP/1.1 400 Bad Request\r\n" * 2000)


def test_no_representation_shows_what_was_sent() -> None:
    (reply,) = read(b"stray secret\n+OK+\r\nclear_text_password secret\r\n.\r\n")

    assert "secret" not in repr(reply)
