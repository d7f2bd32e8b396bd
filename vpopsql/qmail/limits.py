"""``.qmailadmin-limits`` of a domain and ``etc/vlimits.default``: what a domain may have.

::

    line = comment / key [separator value]        separator = 1*(SP / HTAB / ":")

Keys here are those of the wire (``max_popaccounts``, ``disk_quota``); the file has its own
spelling for some. A flag is on when its key is there, whatever follows it.
"""

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass

from vpopsql.qmail.lines import join_lines, split_lines

Values = dict[str, int | bool]

_MAXIMA = (
    "max_popaccounts",
    "max_aliases",
    "max_forwards",
    "max_autoresponders",
    "max_mailinglists",
)
_SIZES = ("disk_quota", "max_msgcount", "default_quota", "default_maxmsgcount")
_FLAGS = (
    "disable_pop",
    "disable_imap",
    "disable_dialup",
    "disable_password_changing",
    "disable_webmail",
    "disable_external_relay",
    "disable_smtp",
    "disable_spamassassin",
    "delete_spam",
    "disable_maildrop",
)
_USERS = "perm_maillist_users"
_MODERATORS = "perm_maillist_moderators"
_PERMISSIONS = (
    "perm_account",
    "perm_alias",
    "perm_forward",
    "perm_autoresponder",
    "perm_maillist",
    _USERS,
    _MODERATORS,
    "perm_quota",
    "perm_defaultquota",
)

SETTINGS = (*_MAXIMA, *_SIZES, *_FLAGS, *_PERMISSIONS)
"""Every key, in the order of the file and the wire.

``disk_quota`` is in megabytes, ``default_quota`` in bytes; a maximum of -1 is no limit; a
permission is the sum of what is denied: create 1, modify 2, delete 4.
"""

DEFAULTS: Mapping[str, int | bool] = (
    dict.fromkeys(_MAXIMA, -1)
    | dict.fromkeys(_SIZES, 0)
    | dict.fromkeys(_FLAGS, False)
    | dict.fromkeys(_PERMISSIONS, 0)
)
"""What holds for a key that a file does not have."""

# The keys that the file spells differently.
_FILE_KEYS = {key: key.replace("_", "", 1) for key in (*_MAXIMA, "max_msgcount")} | {
    "disk_quota": "quota"
}
_WIRE_KEYS = {
    _FILE_KEYS.get(key, key): key for key in SETTINGS if key not in {_USERS, _MODERATORS}
}
_BLANKS = " \t"
_PACKED = ("perm_maillist", "perm_quota")
_BITS = 3
_MASK = (1 << _BITS) - 1
_PACKED_MAX = (1 << 3 * _BITS) - 1
_NUMBER = re.compile(r"[+-]?[0-9]+")
_NUMBER_MAX = 2**63 - 1

SIZE_MAX = 2048
"""Bytes of a file that vpopmail reads.  Source: vpopmail."""


class Doubt(enum.Enum):
    """Why a line does not mean what it looks like, or nothing."""

    UNKNOWN_KEY = enum.auto()
    """vpopmail has no such setting."""
    NO_VALUE = enum.auto()
    """A key that needs a value stands alone; it has no effect."""
    ODD_VALUE = enum.auto()
    """The value is no number, goes on behind it, or is none that the setting can have."""
    PACKED = enum.auto()
    """The permissions of lists are in the one for quotas."""
    REPEATED = enum.auto()
    """A later line says it again."""
    UNREAD = enum.auto()
    """vpopmail stops reading in or behind this line, 0 if at once, and reads none of the rest."""


@dataclass(frozen=True, slots=True)
class Doubtful:
    """A line that is in doubt, what for, and how it is taken; a line may be so more than once."""

    number: int
    text: str
    doubt: Doubt
    reason: str


def parse(data: bytes) -> tuple[Values, list[Doubtful]]:
    """Return the value of every key of `SETTINGS` as vpopmail understands it, and all doubts.

    A number is what a value begins with, junk is 0. A key that is missing is at its default.
    Quirk: vpopmail writes the permission sets of list users and moderators into ``perm_quota``,
    older versions into ``perm_maillist``: bits 3–5 and 6–8. Both are taken apart here.
    """
    values = dict(DEFAULTS)
    doubts: list[Doubtful] = []
    says: dict[str, tuple[int, str, list[Doubtful]]] = {}
    for number, text in split_lines(_readable(data)):
        if text.startswith("#") or not text.strip(_BLANKS):
            continue
        words = text.replace(":", " ").replace("\t", " ").split(" ")
        file_key, *rest = [word for word in words if word] or [""]
        key = _WIRE_KEYS.get(file_key)
        if key is None:
            doubts.append(Doubtful(number, text, Doubt.UNKNOWN_KEY, "its key is unknown"))
        elif key not in _FLAGS and not rest:
            doubts.append(Doubtful(number, text, Doubt.NO_VALUE, "its key has no value"))
        else:
            value, about = _value(key, rest)
            values[key] = value
            if key in says:
                earlier, its_text, _ = says[key]
                reason = f"line {number} says it again and wins"
                doubts.append(Doubtful(earlier, its_text, Doubt.REPEATED, reason))
            says[key] = (number, text, [Doubtful(number, text, *each) for each in about])
    doubts += [doubtful for _, _, its_doubts in says.values() for doubtful in its_doubts]
    for key in _PACKED:
        packed = int(values[key])
        values[key] = packed & _MASK
        values[_USERS] |= packed >> _BITS & _MASK
        values[_MODERATORS] |= packed >> 2 * _BITS
    doubts += _unread(data)
    return values, sorted(doubts, key=lambda doubtful: doubtful.number)


def render(values: Mapping[str, int | bool]) -> bytes:
    """Return the file as vpopmail writes it; keys that ``values`` lacks are at their default.

    :raises ValueError: a key is unknown, or a permission is not in 0–7.
    """
    known = {**DEFAULTS, **values}
    if len(known) > len(SETTINGS):
        raise ValueError(f"unknown limits: {sorted(values.keys() - DEFAULTS.keys())}")
    if not all(0 <= known[key] <= _MASK for key in _PERMISSIONS):
        raise ValueError(f"a permission is not in 0..{_MASK}")
    lines = []
    for file_key, key in _WIRE_KEYS.items():
        value = known[key]
        if key in _FLAGS:
            if value:
                lines.append(file_key)
            continue
        if key == "perm_quota":
            value |= known[_USERS] << _BITS | known[_MODERATORS] << 2 * _BITS
        lines.append(f"{file_key}: {int(value)}")
    return join_lines(lines)


def _readable(data: bytes) -> bytes:
    """Return as much of a file as vpopmail reads."""
    return data[:SIZE_MAX].partition(b"\0")[0]


def _unread(data: bytes) -> list[Doubtful]:
    """Return the line in which vpopmail stops reading, if that is not the last one's end."""
    read = _readable(data)
    if len(read) == len(data):
        return []
    number = len(split_lines(read))
    why = "there is a NUL" if len(read) < SIZE_MAX else f"the file has {len(data)} bytes"
    reason = f"{why}; vpopmail reads nothing behind {len(read)} bytes"
    return [Doubtful(number, "", Doubt.UNREAD, reason)]


def _value(key: str, words: list[str]) -> tuple[int | bool, list[tuple[Doubt, str]]]:
    """Return what the words behind a key set it to, and what is doubtful about that."""
    if key in _FLAGS:
        return True, []
    found = _NUMBER.match(words[0])
    digits = found[0] if found else "0"
    number = int(digits)  # a line that is read is too short for more digits than int() takes
    if key in _PERMISSIONS:
        value = number & (_PACKED_MAX if key in _PACKED else _MASK)
    else:
        value = min(max(number, int(DEFAULTS[key])), _NUMBER_MAX)
    doubts = []
    if value != number or words != [digits]:
        doubts.append((Doubt.ODD_VALUE, f"it is taken for {value}"))
    if key == "perm_quota" and value > _MASK:
        quota, users, moderators = (value >> bits & _MASK for bits in (0, _BITS, 2 * _BITS))
        what = f"{quota} for quotas, {users} for list users, {moderators} for list moderators"
        doubts.append((Doubt.PACKED, f"it is taken apart: {what}"))
    return value, doubts
