"""``.qmailadmin-limits`` of a domain and ``etc/vlimits.default``: what a domain may have.

::

    line = comment / key [separator value]        separator = 1*(SP / HTAB / ":")

Keys here are those of the wire (``max_popaccounts``, ``disk_quota``); the file has its own
spelling for some. A flag is on when its key is there, whatever follows it.
"""

from collections.abc import Mapping

from vpopsql.qmail.lines import Malformed, join_lines, split_lines, whole_number

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


def parse(data: bytes) -> tuple[Values, list[Malformed]]:
    """Return the value of every key of `SETTINGS`, and the lines that were not used.

    A key that is missing or has no usable value is at its default (vpopmail reads junk as 0).
    Quirk: vpopmail writes the permission sets of list users and moderators into ``perm_quota``,
    older versions into ``perm_maillist``: bits 3–5 and 6–8. Both are taken apart here.
    """
    values = dict(DEFAULTS)
    seen: dict[str, tuple[int, str]] = {}
    malformed = []
    for number, text in split_lines(data):
        if text.startswith("#") or not text.strip(_BLANKS):
            continue
        key, value, reason = _parse_line(text)
        if reason:
            malformed.append(Malformed(number, text, reason))
            continue
        if key in seen:
            malformed.append(Malformed(*seen[key], f"line {number} says it again and wins"))
        seen[key] = (number, text)
        values[key] = value
    for key in _PACKED:
        packed = int(values[key])
        values[key] = packed & _MASK
        values[_USERS] |= packed >> _BITS & _MASK
        values[_MODERATORS] |= packed >> 2 * _BITS
    return values, sorted(malformed, key=lambda line: line.number)


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


def _parse_line(text: str) -> tuple[str, int | bool, str]:
    """Return key, value and, if they are of no use, the reason."""
    words = text.replace(":", " ").replace("\t", " ").strip(" ")
    file_key, _, rest = words.partition(" ")
    key = _WIRE_KEYS.get(file_key)
    if key is None:
        return "", 0, "its key is unknown"
    if key in _FLAGS:
        return key, True, ""
    number = rest.strip(" ")
    if key in _MAXIMA:
        value = whole_number(number, low=-1)
    elif key in _SIZES:
        value = whole_number(number)
    else:
        value = whole_number(number, high=_PACKED_MAX if key in _PACKED else _MASK)
    if value is None:
        return key, 0, "its value is no number in range"
    return key, value, ""
