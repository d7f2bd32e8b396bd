"""Giving up rights, before anybody is served and with no way back.

A daemon that root has started either becomes an ordinary user, or stays root with the capabilities
that it needs for files of several owners and no others. Called while there is one thread only.

Source: capabilities(7), capset(2), prctl(2).
"""

import contextlib
import ctypes
import os
import pwd
from collections.abc import Iterable
from enum import IntEnum

from vpopsql.errors import ConfigError


class Capability(IntEnum):
    """What root may do, as far as we need any of it."""

    CHOWN = 0
    DAC_OVERRIDE = 1
    FOWNER = 3
    KILL = 5
    SETGID = 6
    SETUID = 7


FOR_FILES = (
    Capability.CHOWN,
    Capability.DAC_OVERRIDE,
    Capability.FOWNER,
    Capability.KILL,
)
"""Files belong to vpopmail or to a domain's own user, and qmail-send is told to read its own."""

FOR_PROGRAMS = (Capability.SETGID, Capability.SETUID)
"""To run a program as the owner of a domain."""

_VERSION_3 = 0x20080522
_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITIES_MAX = 64


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    """The lower or the upper 32 capabilities."""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def find_user(name: str) -> pwd.struct_passwd | None:
    """Return the user that this process has to become; None: it stays who it is.

    :param name: as configured; empty: whoever it is.
    :raises ConfigError: there is no such user, or only root could become that one.
    """
    if not name:
        return None
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        raise ConfigError(f"daemon.user: there is no user {name}") from None
    if user.pw_uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise ConfigError(f"daemon.user: only root can become {name}: start it as root or {name}")
    return user


def become(user: pwd.struct_passwd) -> None:
    """Become a user, with the groups of that one only. :raises ConfigError: it did not work."""
    try:
        os.initgroups(user.pw_name, user.pw_gid)
        os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
        os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    except OSError as error:
        raise ConfigError(
            f"daemon.user: cannot become {user.pw_name}: {error.strerror}"
        ) from error
    if user.pw_uid:
        with contextlib.suppress(PermissionError):
            os.setuid(0)
            raise ConfigError(f"daemon.user: {user.pw_name} can become root again")


def keep_only(kept: Iterable[Capability]) -> None:
    """Give up all capabilities but these, for programs that are run, too.

    :raises ConfigError: the system does not let us.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = _Header(_VERSION_3, 0), (_Sets * 2)()
    _check(libc.capget(ctypes.byref(header), sets))
    wanted = sum(1 << number for number in kept)
    for number in range(_CAPABILITIES_MAX):
        is_there = libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) == 1
        # It fails for who may not even do that, and then programs get no more than we have.
        if is_there and not wanted >> number & 1:
            libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for half, each in enumerate(sets):
        each.permitted &= wanted >> 32 * half & 0xFFFF_FFFF
        each.effective = each.permitted
        each.inheritable = 0
    _check(libc.capset(ctypes.byref(header), sets))


def _check(result: int) -> None:
    if result:
        why = os.strerror(ctypes.get_errno())
        raise ConfigError(f"cannot give up the rights of root: {why}; see daemon.user")
