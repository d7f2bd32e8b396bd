"""A reader of rcpthosts in a tight loop, as a qmail with more connections than any would be.

`Watcher` is told by the kernel what happens to the file's name; this is what a reader gets who
opens it at any moment, over and over, in a process of its own.
"""

import json
import os
import select
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, cast

from scripts.torturing.nursery import CHECKOUT

_READS = 500
"""How often the files are read before it is looked whether that is enough."""


class TightReader:
    """Reads files until it is closed.

    :param always: a line that each of them must have at every moment.
    """

    def __init__(self, paths: Sequence[Path], always: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "scripts.torturing.reader", always, *map(str, paths)],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._from = cast("IO[str]", self._process.stdout)  # it was asked for
        self._from.readline()
        self._told: dict[str, Any] | None = None

    def close(self) -> None:
        """Read no longer."""
        if self._told is None:
            # That ends its standard input, too.
            said, _ = self._process.communicate()
            self._told = json.loads(said) if said else {"reads": 0, "defect": "the reader broke"}

    @property
    def reads(self) -> int:
        """Return how often a file was read, once it is closed."""
        return int(self._told["reads"]) if self._told else 0

    @property
    def defect(self) -> str | None:
        """Return what was wrong with a file; the reader has ended then."""
        if self._process.poll() is not None:
            self.close()
        return self._told and self._told["defect"]


def main() -> None:
    """Read until standard input ends; tell as JSON how often, and what was wrong."""
    always, *paths = sys.argv[1:]
    # It takes a whole processor, of what nobody else wants: it is not to be in anybody's way.
    os.nice(19)
    print("ready", flush=True)
    reads, defect = 0, None
    while defect is None and not select.select([sys.stdin], [], [], 0)[0]:
        for _ in range(_READS):
            for path in paths:
                defect = defect or _problem(path, always.encode())
                reads += 1
    print(json.dumps({"reads": reads, "defect": defect}))


def _problem(path: str, always: bytes) -> str | None:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - half as fast by a Path
            data = file.read()
    except OSError as error:
        return f"{path}: {error}"
    if not data.endswith(b"\n") or always not in data.split(b"\n"):
        return f"{path}: it has {data!r}"
    return None


if __name__ == "__main__":
    main()
