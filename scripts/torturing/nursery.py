"""Processes that run ``vpopsql``, without the half second that a start of Python takes.

One process imports everything, makes no thread and opens no database, and forks for each start;
what runs in the child is `vpopsql.cli.main`, as in a process of its own. `Nursery` is its other
end. Orders and answers are JSON, one a line; when there are no more orders it kills what is left.
"""

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO, cast

from scripts.torturing import TortureFailed

CHECKOUT = Path(__file__).resolve().parents[2]

_MODULES = (
    *("vpopsql.cli.serve", "vpopsql.cli.export", "vpopsql.cli.verify"),
    *("vpopsql.exporter.follower", "vpopsql.exporter.apply", "vpopsql.exporter.drift.repair"),
    *("sqlalchemy.dialects.sqlite.pysqlite", "sqlalchemy.dialects.postgresql.psycopg"),
    *("vpopsql.passwords", "passlib.hash", "psycopg", "sqlite3"),
)


class Nursery:
    """Starts, kills and looks after processes; for use by several threads."""

    def __init__(self) -> None:
        self._orders = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "scripts.torturing.nursery"],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        # Both are there, as they were asked for.
        self._to = cast("TextIO", self._process.stdin)
        self._from = cast("TextIO", self._process.stdout)
        self._ask({"do": "nothing"})

    def start(self, arguments: list[str], environment: Mapping[str, str], log: Path) -> int:
        """Start ``vpopsql ARGUMENTS`` and return its process id; what it says goes to ``log``."""
        order = {"arguments": arguments, "environment": dict(environment), "log": str(log)}
        return int(self._ask({"do": "start", **order}))

    def end(self, pid: int, number: int = signal.SIGKILL) -> int:
        """Send a signal, wait for the end, and return how it ended: minus a signal, or a code."""
        return int(self._ask({"do": "end", "pid": pid, "signal": int(number)}))

    def status(self, pid: int) -> int | None:
        """Return how a process ended, as `end` does; None: it runs."""
        found = self._ask({"do": "look", "pid": pid})
        return None if found is None else int(found)

    def close(self) -> None:
        """End everything."""
        self._to.close()
        self._process.wait()
        self._from.close()

    def _ask(self, order: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
        with self._orders:
            self._to.write(json.dumps(order) + "\n")
            self._to.flush()
            line = self._from.readline()
        if not line:
            raise TortureFailed("the process that starts the others has ended")
        return json.loads(line)


class _Children:
    """The other end."""

    def __init__(self) -> None:
        self._running: set[int] = set()
        self._ended: dict[int, int] = {}

    def start(self, order: Mapping[str, Any]) -> int:
        pid = os.fork()
        if not pid:
            _become(order)
        self._running.add(pid)
        # Ids are used again.
        self._ended.pop(pid, None)
        return pid

    def look(self, pid: int, options: int = os.WNOHANG) -> int | None:
        if pid in self._running:
            found, status = os.waitpid(pid, options)
            if found:
                self._running.remove(pid)
                self._ended[pid] = os.waitstatus_to_exitcode(status)
        return self._ended.get(pid)

    def end(self, pid: int, number: int) -> int | None:
        # Nobody else gets the id before it is waited for, which happens here alone.
        if self.look(pid) is None:
            os.kill(pid, number)
        return self.look(pid, 0)

    def end_all(self) -> None:
        for pid in list(self._running):
            self.end(pid, signal.SIGKILL)


def _become(order: Mapping[str, Any]) -> None:
    """Be ``vpopsql`` from here on; never returns."""
    code = 1
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        for target, path, flags in (
            (0, os.devnull, os.O_RDONLY),
            (1, order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT),
            (2, order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT),
        ):
            opened = os.open(path, flags, 0o600)
            os.dup2(opened, target)
            os.close(opened)
        os.environ.clear()
        os.environ.update(order["environment"])
        sys.argv = ["vpopsql", *order["arguments"]]
        from vpopsql.cli import main  # noqa: PLC0415 - imported long ago

        main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Carry out orders from standard input until there are no more."""
    # Who ends all of a group means our other end, which then tells us.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    for name in _MODULES:
        __import__(name)
    gc.freeze()
    children = _Children()
    try:
        # Not by iterating, which reads ahead: a child would have what is for us.
        while line := sys.stdin.readline():
            order = json.loads(line)
            answer = None
            if order["do"] == "start":
                answer = children.start(order)
            elif order["do"] == "look":
                answer = children.look(order["pid"])
            elif order["do"] == "end":
                answer = children.end(order["pid"], order["signal"])
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
    finally:
        children.end_all()


if __name__ == "__main__":
    main()
