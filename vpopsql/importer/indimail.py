"""The flags of indimail's accounts: the same column as vpopmail's, with other bits in it.

indimail began as vpopmail and renumbered the flags that came later, so its domain administrator's
bit is a user-defined one here. Only whoever runs the import knows which of the two wrote a site.
"""

from vpopsql.model import Flag

_SAME = 0x7F | Flag.V_OVERRIDE.value  # NO_PASSWD_CHNG … NO_DIALUP
_MOVED = {
    0x80: Flag.QA_ADMIN.value,
    0x100: Flag.NO_SMTP.value,
    0x200: Flag.V_USER0.value,
    0x400: Flag.V_USER1.value,
    0x800: Flag.V_USER2.value,
    0x1000: Flag.V_USER3.value,
}
_INT_MAX = 2**31 - 1


def vpopmail_flags(pw_gid: int) -> tuple[int, int]:
    """Return vpopmail's flags for indimail's, and the bits that were dropped.

    Dropped is what has no counterpart: from 0x4000 up, where vpopmail keeps, of all things, the
    rights of system administrators. A number that is no set of flags is returned as it is.
    """
    if not 0 <= pw_gid <= _INT_MAX:
        return pw_gid, 0
    flags = pw_gid & _SAME
    for theirs, ours in _MOVED.items():
        if pw_gid & theirs:
            flags |= ours
    return flags, pw_gid & ~(_SAME | sum(_MOVED))
