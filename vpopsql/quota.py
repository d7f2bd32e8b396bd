"""Quotas: vpopmail's text (``10485760S,1000C``) and the two numbers it stands for.

::

    quota = "NOQUOTA" / part *("," part)
    part  = 1*DIGIT ["K" / "M"] ["B"] ["S"]     ; size, letters in either case
          / 1*DIGIT "C"                         ; number of messages

A mailbox keeps its text beside the numbers, because vpopmail has several spellings of the same.
"""

import re
from dataclasses import dataclass
from typing import Self

QUOTA_MAX = 2**63 - 1
"""The largest number of bytes or messages: what vpopmail and SQL's bigint can hold."""

NO_QUOTA = "NOQUOTA"

_DIGITS_MAX = len(str(QUOTA_MAX))

# Quirk: whatever follows is ignored, so "1G" is one byte.
_PART = re.compile(r"[ \t]*(?P<number>[0-9]+)(?P<unit>[KkMmC]?)")
_FACTOR = {"": 1, "K": 1024, "M": 1024 * 1024}
_WHOLE_PART = re.compile(r"[ \t]*[0-9]+(?:[KkMm]?[Bb]?[Ss]?|C)")

TEXT_MAX = 20
"""Characters of a quota that vpopmail's tables have room for."""


@dataclass(frozen=True, slots=True)
class Quota:
    """How much a mailbox may hold; None (and zero, as vpopmail sees it) is no limit."""

    bytes: int | None = None
    messages: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what vpopmail makes of a ``pw_shell``; never fails.

        Zero and garbage are no limit, of two sizes or two counts the last one holds, a number
        beyond `QUOTA_MAX` is taken as that.
        """
        size = count = None
        for part in text.split(","):
            if found := _PART.match(part):
                number = _bounded(found["number"])
                if found["unit"] == "C":
                    count = number or None
                else:
                    factor = _FACTOR[found["unit"].upper()]
                    size = min(number * factor, QUOTA_MAX) or None
        return cls(size, count)

    def render(self) -> str:
        """Return the normal form: ``NOQUOTA``, ``nS``, ``nC`` or ``nS,nC``."""
        parts = []
        if self.bytes:
            parts.append(f"{self.bytes}S")
        if self.messages:
            parts.append(f"{self.messages}C")
        return ",".join(parts) or NO_QUOTA


def find_doubt(text: str) -> str | None:
    """Return why a ``pw_shell`` is not taken for what it looks like, None if it is.

    Blanks around it do not count: a column of fixed width has them.
    """
    text = text.strip(" ")
    if len(text) > TEXT_MAX:
        return f"vpopmail's tables hold {TEXT_MAX} characters"
    if text in {"", NO_QUOTA}:
        return None
    sizes = counts = 0
    for part in text.split(","):
        found = _PART.match(part)
        if found is None:
            return "it does not begin with a number"
        if not _WHOLE_PART.fullmatch(part):
            return "what follows the number is not read"
        factor = _FACTOR.get(found["unit"].upper(), 1)
        if int(found["number"]) * factor > QUOTA_MAX:
            return "the number is too large"
        counts += found["unit"] == "C"
        sizes += found["unit"] != "C"
    if sizes > 1 or counts > 1:
        return "of two sizes or two counts the last one holds"
    return None


def _bounded(digits: str) -> int:
    significant = digits.lstrip("0") or "0"
    # int() refuses texts of thousands of digits.
    return QUOTA_MAX if len(significant) > _DIGITS_MAX else min(int(significant), QUOTA_MAX)
