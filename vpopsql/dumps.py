"""No core dumps: what a process holds in memory, passwords and keys, goes to no file."""

import ctypes
import resource

_PR_SET_DUMPABLE = 4  # <linux/prctl.h>


def forbid() -> None:
    """Let a crash of this process leave nothing, and no other process of its user look into it.

    The limit holds for the programs that it starts as well. It does not count where the kernel
    pipes dumps to a program, therefore the other, which Linux alone has.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl:
        prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
