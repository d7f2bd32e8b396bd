"""The programs that an apply runs: their exit status is believed.

qmail-newu and qmail-newmrh read a text and replace its cdb in one step, or leave the old one. They
know where they find both, since that was said when they were built: `Paths.root` means nothing to
them.
"""

import subprocess
from collections.abc import Callable, Sequence

from vpopsql.errors import ExportFailed
from vpopsql.qmail.lines import decode

COMPILE_TIMEOUT_S = 300.0
"""How long qmail-newu may take; a million lines take it a second or two."""

RELOAD_TIMEOUT_S = 60.0

_STDERR_MAX = 500  # bytes of what a program says that are repeated


def compile_cdb(
    command: Sequence[str], cdb: str, meanwhile: Callable[[], None] = lambda: None
) -> None:
    """Have ``cdb`` made by ``command``.

    :param meanwhile: what this process does while it is being made.
    :raises ExportFailed: it could not be run, did not end in time or ended with another status
        than 0; the text has what it said.
    """
    if reason := _failure(command, COMPILE_TIMEOUT_S, meanwhile):
        raise ExportFailed(
            f"{command[0]} {reason}; the old {cdb} is still in place, the next export tries again"
        )


def reload(command: Sequence[str]) -> None:
    """Have qmail-send read virtualdomains and locals.

    :raises ExportFailed: as `compile_cdb` does.
    """
    if reason := _failure(command, RELOAD_TIMEOUT_S):
        raise ExportFailed(
            f"{command[0]} {reason}; virtualdomains and locals are written, new names are not yet"
            " accepted, the next export tries again"
        )


def _failure(
    command: Sequence[str], timeout_s: float, meanwhile: Callable[[], None] = lambda: None
) -> str:
    """Run a command without a shell; return why it failed, empty if it did not."""
    try:
        program = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        return f"cannot be run: {error.strerror}"
    with program:
        try:
            meanwhile()
            _, said = program.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            program.kill()
            return f"did not end within {timeout_s:g} s"
        except BaseException:
            program.kill()
            raise
    if not program.returncode:
        return ""
    return f"ended with status {program.returncode}: {decode(said[-_STDERR_MAX:]).strip()}"
