"""The option lines of mod_user and set_limits, as values.

A line is a name and, after one blank, a value. Names that do not exist are skipped in silence, as
clients expect.
"""

import re
from collections.abc import Iterable, Iterator

from vpopsql import flags
from vpopsql.errors import InvalidValue
from vpopsql.model import LIMIT_SETTINGS, Flag
from vpopsql.protocol import decode
from vpopsql.quota import NO_QUOTA, Quota
from vpopsql.services import rights
from vpopsql.services.account_changes import Wishes, check_comment, check_hash, check_password
from vpopsql.services.rights import Actor, Level

_ALL = Flag(sum(flags.OPTIONS.values()))
_NUMBER = re.compile(r"[+-]?[0-9]{1,19}")
_QUOTA_PART = "(?:[0-9]+[KkMm]?[Bb]?[Ss]?|[0-9]+C)"
_QUOTA = re.compile(f"{_QUOTA_PART}(?:,{_QUOTA_PART})*")


def user_wishes(lines: Iterable[bytes], actor: Actor) -> Wishes:
    """Return what the lines after mod_user ask for; a later line overrules an earlier one.

    What ``actor`` may not change at all is skipped, whatever its value.

    :raises InvalidValue: a value that cannot be stored.
    """
    settable = rights.settable_flags(actor)
    comment = password = encrypted = None
    quota: Quota | None = None
    to_set = to_clear = Flag(0)
    for name, value in _options(lines):
        if flag := flags.OPTIONS.get(name):
            if not flag & settable:
                continue
            to_set, to_clear = to_set & ~flag, to_clear & ~flag
            if _switch(name, value):
                to_set |= flag
            else:
                to_clear |= flag
        elif name == "clear_all_flags":
            to_set, to_clear = Flag(0), _ALL & settable
        elif name == "comment":
            comment = value
            check_comment(value)
        elif name == "quota" and rights.may_set_quota(actor):
            quota = _quota(value)
        elif name == "clear_text_password" and value:
            # Empty is what a client reads where no clear text is stored, and sends back.
            password = value
            check_password(value)
        elif name == "encrypted_password" and actor.level is Level.SYSTEM:
            encrypted = value
            check_hash(value)
    return Wishes(
        comment=comment,
        quota=quota,
        set_flags=to_set,
        clear_flags=to_clear,
        password=password,
        encrypted=encrypted,
    )


def limit_settings(lines: Iterable[bytes]) -> tuple[dict[str, int | bool], list[str]]:
    """Return the settings of the lines after set_limits, and a warning for each bad value."""
    settings: dict[str, int | bool] = {}
    warnings = []
    for option, value in _options(lines):
        name = _LIMIT_ALIASES.get(option, option)
        if name not in LIMIT_SETTINGS:
            continue
        number = _limit(name, value)
        if number is None:
            warnings.append("  Warning: invalid value")
        else:
            settings[name] = number
    return settings, warnings


_LIMIT_ALIASES = {"maxmailinglists": "max_mailinglists"}
_DENY_ALL = 7
_LARGEST = 2**63 - 1


def _limit(name: str, value: str) -> int | bool | None:
    text = value.strip(" \t")
    if not _NUMBER.fullmatch(text):
        return None
    number = int(text)
    if abs(number) > _LARGEST:
        return None
    if name.startswith("disable_") or name == "delete_spam":
        return bool(number)
    if name.startswith("perm_"):
        return number if 0 <= number <= _DENY_ALL else None
    lowest = -1 if name.startswith("max_") and name != "max_msgcount" else 0
    return number if number >= lowest else None


def _options(lines: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    for raw in lines:
        if b"\0" in raw:
            raise InvalidValue("a line has a NUL")
        name, _, value = decode(raw).partition(" ")
        yield name.lower(), value


def _switch(name: str, value: str) -> bool:
    if value.strip() not in {"0", "1"}:
        raise InvalidValue(f"{name} needs 0 or 1")
    return value.strip() == "1"


def _quota(value: str) -> Quota:
    text = value.strip()
    if text and text != NO_QUOTA and not _QUOTA.fullmatch(text):
        raise InvalidValue("quota is not understood: use 10M, 10485760S,1000C or NOQUOTA")
    return Quota.parse(text)
