"""A daemon that a program for developers starts as an operator would, and what it takes."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from scripts.benchmarks.memory import descendants_of

_CHECKOUT = Path(__file__).resolve().parents[1]
_START_S = 60.0
_END_S = 15.0
_BAD = (b"Traceback", b"internal error", b'"event": "worker ended"')
"""What no log may have."""


class DaemonFailed(Exception):
    """The daemon does not serve, or complains of what it must not; the text says of what."""


class Daemon:
    """``vpopsql serve`` in a process of its own, which listens.

    :param settings: by their names in the environment; of the caller's environment it has nothing.
    :param log: the file that its log goes to.
    :raises DaemonFailed: it does not listen.
    """

    def __init__(self, settings: Mapping[str, str], log: Path) -> None:
        self._log = log
        self._read = 0
        # Whoever empties it later must not leave a hole before the next line.
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from vpopsql.cli import main; main()", "serve"],
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(_CHECKOUT), **settings},
                stderr=file,
            )
        try:
            self.port = self._port()
        except BaseException:
            self.stop()
            raise

    def _port(self) -> int:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            for line in self._log.read_bytes().splitlines(keepends=True):
                if line.endswith(b"}\n") and (event := json.loads(line))["event"] == "listening":
                    return int(event["port"])
            time.sleep(0.05)
        raise DaemonFailed(f"the daemon does not listen: {self._log.read_text()[-1000:]}")

    @property
    def processes(self) -> tuple[int, ...]:
        """Return the ids of its processes, the parent first."""
        return (self.process.pid, *descendants_of(self.process.pid))

    def measures(self) -> dict[str, int]:
        """Return what all its processes have together.

        ``pss_kib`` is all memory, shared pages divided among those who share them. Other programs
        share pages of libraries, too: ``memory_kib`` is without files' pages, which nobody leaks.
        ``database_descriptors`` are files of SQLite, or UNIX sockets, and none of ``descriptors``.
        """
        found: Counter[str] = Counter()
        local = _unix_sockets()
        for pid in self.processes:
            for name, kib in _memory(pid).items():
                found["pss_kib"] += kib if name == "Pss" else 0
                found["memory_kib"] += kib if name in {"Pss_Anon", "Pss_Shmem"} else 0
            found["threads"] += _entries(f"/proc/{pid}/task")
            for target in _targets(pid):
                is_of_database = target in local or ".db" in target
                found["database_descriptors" if is_of_database else "descriptors"] += 1
        return dict(found)

    def require_sound(self) -> None:
        """Look through what it has logged since the last time.

        :raises DaemonFailed: it has ended, a worker of its has, or something broke.
        """
        if self.process.poll() is not None:
            raise DaemonFailed(f"the daemon has ended with {self.process.returncode}")
        with self._log.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if any(word in line for word in _BAD):
                    raise DaemonFailed(f"the daemon says: {line[:4000]!r}")
                if line.endswith(b"\n"):
                    self._read += len(line)

    def forget_log(self) -> None:
        """Look through what it has logged, as `require_sound` does, and empty the file."""
        self.require_sound()
        os.truncate(self._log, 0)
        self._read = 0

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _memory(pid: int) -> dict[str, int]:
    """Return the sizes that the kernel adds up of a process, in KiB."""
    with suppress(OSError):  # it has ended
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        pairs = (line.split(":") for line in lines if line.endswith(" kB"))
        return {name: int(size.split()[0]) for name, size in pairs}
    return {}


def _entries(directory: str) -> int:
    with suppress(OSError):
        return len(list(Path(directory).iterdir()))
    return 0


def _targets(pid: int) -> list[str]:
    """Return what the descriptors of a process lead to, as the kernel names it."""
    found = []
    with suppress(OSError):
        for each in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # it is closed by now
                found.append(str(each.readlink()))
    return found


def _unix_sockets() -> set[str]:
    """Return the UNIX sockets of the host, as descriptors lead to them."""
    lines = Path("/proc/net/unix").read_text().splitlines()[1:]
    return {f"socket:[{line.split()[6]}]" for line in lines}
