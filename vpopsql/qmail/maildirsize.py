"""``Maildir/maildirsize`` (Maildir++): the quota a mailbox was measured against, and its use.

The first line is the quota's text; every further line adds bytes and messages. The file is a
cache that every writer appends to and any may throw away: it is the only grammar here whose
damaged lines are passed over without a word.
"""

from typing import NamedTuple

from vpopsql.qmail.lines import split_lines, whole_number

_WORDS = 2
_HALF = 2**63


class MaildirSize(NamedTuple):
    """The sums: bytes, and number of messages. Either can be negative in a stale file."""

    quota_text: str
    total_bytes: int
    total_count: int


def parse(data: bytes) -> MaildirSize:
    """Return the quota's text and the sums of a maildirsize file."""
    lines = [text for _, text in split_lines(data)] or [""]
    total_bytes = total_count = 0
    for text in lines[1:]:
        numbers = [_delta(word) for word in text.split()]
        if len(numbers) == _WORDS:
            size, count = numbers
            if size is not None and count is not None:
                total_bytes += size
                total_count += count
    return MaildirSize(lines[0].strip(), total_bytes, total_count)


def is_sound(data: bytes) -> bool:
    """Say whether no line of a maildirsize file is damaged; blank ones are no damage."""
    lines = [text for _, text in split_lines(data)] or [""]
    words = [text.split() for text in lines[1:] if text.strip()]
    return data.endswith(b"\n") and all(
        len(each) == _WORDS and None not in map(_delta, each) for each in words
    )


def _delta(word: str) -> int | None:
    number = whole_number(word, -_HALF, 2 * _HALF - 1)
    # Unsigned writers wrap a negative number around.
    return number - 2 * _HALF if number is not None and number >= _HALF else number
