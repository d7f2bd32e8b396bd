"""qmail's own programs that compile users/assign and morercpthosts: run, and believed.

Each reads the text and replaces the cdb in one step, or leaves the old one. They know where they
find both, since that was said when they were built: `Paths.root` means nothing to them.
"""

import subprocess
from collections.abc import Sequence

from vpopsql.errors import ExportFailed
from vpopsql.qmail.lines import decode

TIMEOUT_S = 300.0
"""How long a program may take; a million lines take it a second or two."""

_STDERR_MAX = 500  # bytes of what it says that are repeated


def run(command: Sequence[str], cdb: str) -> None:
    """Have ``cdb`` made by ``command``, which is run without a shell.

    :raises ExportFailed: it could not be run, did not end in time or ended with another status
        than 0; the text has what it said.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        reason = f"did not end within {TIMEOUT_S:g} s"
    except OSError as error:
        reason = f"cannot be run: {error.strerror}"
    else:
        if not done.returncode:
            return
        said = decode(done.stderr[-_STDERR_MAX:]).strip()
        reason = f"ended with status {done.returncode}: {said}"
    raise ExportFailed(
        f"{command[0]} {reason}; the old {cdb} is still in place, the next export tries again"
    )
