"""What single rows say, as values of a site; who asks decides what becomes of the doubts."""

import functools
from datetime import UTC, datetime

from vpopsql import names
from vpopsql.importer import site
from vpopsql.importer.mailboxes import is_ip
from vpopsql.importer.tables.schema import DIR_CONTROL, LIMITS
from vpopsql.importer.tables.staging import Row
from vpopsql.qmail import limits as limits_file
from vpopsql.qmail.dircontrol import DirControl
from vpopsql.qmail.lines import Malformed, whole_number
from vpopsql.qmail.vpasswd import VpasswdLine

_INT_MIN = -(2**31)
_INT_MAX = 2**31 - 1
_UINT_MAX = 2**32 - 1
_BIGINT_MAX = 2**63 - 1
_EPOCH = datetime.fromtimestamp(0, UTC)

# Columns whose settings have another name on the wire; the others lack underscores only.
_SETTINGS = {
    "disable_passwordchanging": "disable_password_changing",
    "disable_relay": "disable_external_relay",
}
_BY_LETTERS = {setting.replace("_", ""): setting for setting in limits_file.SETTINGS}
_SETTING_OF = {
    column: _SETTINGS.get(column, _BY_LETTERS.get(column.replace("_", ""), ""))
    for column in LIMITS.columns
}
_PERMISSION_MAX = 7
_PACKED = "perm_maillist"
_PACKED_MAX = 511

Odd = tuple[str, str, str]
"""Column, what stands there, and how it is read."""


def name_of(value: str | None) -> str:
    """Return an account's or alias's name as it is looked up."""
    return names.lower((value or "").rstrip(" "))


# Most accounts of a site have one of a few numbers.
@functools.lru_cache(maxsize=4096)
def _account_number(text: str) -> int | None:
    return whole_number(text, _INT_MIN, _UINT_MAX)


def account(row: Row) -> VpasswdLine | Malformed:
    """Return an account.

    A comment or quota of NULL is an empty one, a clear password of NULL is none. Without one of
    the other values there is no account. The name is as it stands there, blanks behind it, too.
    """
    name, password_hash, uid, gid, comment, directory, quota, clear_text = row.fields

    def malformed(reason: str) -> Malformed:
        # The colon is what tells a name from a line in disorder; see `without_secrets`.
        return Malformed(row.line, f"{(name or '').rstrip(' ')}:…", reason)

    if name is None or password_hash is None or uid is None or gid is None or directory is None:
        columns = ("pw_name", "pw_passwd", "pw_uid", "pw_gid", None, "pw_dir")
        empty = [c for c, v in zip(columns, row.fields, strict=False) if c and v is None]
        return malformed(f"NULL in {', '.join(empty)}")
    apop_uid = _account_number(uid)
    flags = _account_number(gid)
    if apop_uid is None or flags is None:
        column = "pw_uid" if apop_uid is None else "pw_gid"
        return malformed(f"its {column} is no number in range")
    comment, quota = comment or "", quota or ""
    together = f"{name}{password_hash}{comment}{directory}{quota}{clear_text}"
    if "\0" in together or "\n" in together:
        return malformed("it has a NUL or newline")
    if ":" in f"{password_hash}{directory}{quota}":
        return malformed("it has a colon, which a line of vpasswd cannot hold")
    if not name.strip(" "):
        return malformed("it has no name")
    return VpasswdLine(
        row.line, name, password_hash, apop_uid, flags, comment, directory, quota, clear_text
    )


def limits(row: Row) -> tuple[limits_file.Values, list[Odd]]:
    """Return the value of every setting as vpopmail understands it, and what was odd.

    A column that is missing or NULL leaves its setting at the default.
    """
    values = dict(limits_file.DEFAULTS)
    odd: list[Odd] = []
    for column, raw in zip(LIMITS.columns, row.fields, strict=True):
        if raw is None:
            continue
        setting = _SETTING_OF[column]
        default = limits_file.DEFAULTS[setting]
        number = whole_number(raw, -_BIGINT_MAX, 2**64)
        value: int | bool
        if isinstance(default, bool):
            value = bool(number)
            in_range = number in {0, 1}
        elif column == _PACKED:
            value = (number or 0) & _PACKED_MAX
            in_range = number == value
        else:
            low, high = (default, _BIGINT_MAX)
            if setting.startswith("perm_"):
                high = _PERMISSION_MAX
                value = (number or 0) & _PERMISSION_MAX
            else:
                value = min(max(number or 0, low), high)
            in_range = number is not None and low <= number <= high
        values[setting] = value
        if not in_range:
            odd.append((column, raw, f"out of range; imported as {int(value)}"))
    packed = int(values[_PACKED])
    values[_PACKED] = packed & _PERMISSION_MAX
    values["perm_maillist_users"] = packed >> 3 & _PERMISSION_MAX
    values["perm_maillist_moderators"] = packed >> 6
    return values, odd


def counter(row: Row) -> tuple[DirControl, list[str]]:
    """Return a directory counter, and the columns that have no number (the default holds)."""
    odd = []
    found: dict[str, int] = {}
    for column, raw in zip(DIR_CONTROL.columns, row.fields, strict=True):
        if column == "the_dir" or raw is None:
            continue
        number = whole_number(raw, _INT_MIN, _INT_MAX)
        if number is None:
            odd.append(column)
        else:
            found[column] = number
    default = DirControl()

    def levels(what: str, defaults: tuple[int, int, int]) -> tuple[int, int, int]:
        first, second, third = (
            found.get(f"level_{what}{level}", default) for level, default in enumerate(defaults)
        )
        return first, second, third

    the_dir = row.fields[-1] or ""
    if "\n" in the_dir or "\0" in the_dir:
        odd.append("the_dir")
        the_dir = ""
    return DirControl(
        cur_users=found.get("cur_users", default.cur_users),
        level_cur=found.get("level_cur", default.level_cur),
        level_max=found.get("level_max", default.level_max),
        starts=levels("start", default.starts),
        ends=levels("end", default.ends),
        mods=levels("mod", default.mods),
        indexes=levels("index", default.indexes),
        the_dir=the_dir,
    ), odd


def last_auth(row: Row) -> tuple[str, site.LastAuth, tuple[str, str] | None]:
    """Return whose, the login, and, if it is in doubt, what stands there and why."""
    user, remote_ip, timestamp = row.fields
    address = (remote_ip or "").rstrip(" ")
    text = timestamp or ""
    doubt = None if is_ip(address) else (address, "it is no IP address")
    seconds = whole_number(text)
    try:
        at = _EPOCH if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        seconds = None
        at = _EPOCH
    if seconds is None:
        doubt = (text, "its time is out of range; imported as 1970")
    return name_of(user), site.LastAuth(at, address), doubt
