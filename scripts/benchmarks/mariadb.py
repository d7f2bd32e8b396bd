"""A MariaDB of its own, on a Unix socket in a directory of its own, filled from a dump."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from scripts.benchmarks import BenchFailed

_NAME = "vpopmail"
_START_S = 60
_STOP_S = 60
# Debian has them outside the PATH of users.
_PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"


def is_installed() -> bool:
    """Say whether there is a server to be had."""
    programs = ("mariadbd", "mariadb-install-db", "mariadb")
    return all(shutil.which(program, path=_PATH) for program in programs)


@contextlib.contextmanager
def mariadb(directory: Path, dump: Path) -> Iterator[str]:
    """Give the URL of a database with the tables of ``dump``.

    :raises BenchFailed: the server does not start, or refuses the dump.
    """
    directory.mkdir()
    socket = directory / "socket"
    common = [f"--datadir={directory}/data"]
    if os.geteuid() == 0:
        common.append("--user=root")
    _run("mariadb-install-db", *common, "--auth-root-authentication-method=normal")
    server = subprocess.Popen(
        [
            _program("mariadbd"),
            "--no-defaults",
            *common,
            "--skip-networking",
            f"--socket={socket}",
            f"--pid-file={directory}/pid",
            f"--log-error={directory}/log",
            "--innodb-buffer-pool-size=256M",
            # The data are as good as lost when this ends.
            "--innodb-flush-log-at-trx-commit=0",
            "--skip-innodb-doublewrite",
        ],
    )
    try:
        _wait_for(socket, server)
        client = ("mariadb", f"--socket={socket}", "--user=root")
        _run(*client, f"--execute=CREATE DATABASE {_NAME}")
        with dump.open("rb") as file:
            _run(*client, _NAME, stdin=file.fileno())
        yield f"mysql://root@localhost/{_NAME}?unix_socket={socket}"
    finally:
        server.terminate()
        try:
            server.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_for(socket: Path, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and server.poll() is None:
        if socket.exists():
            return
        time.sleep(0.05)
    raise BenchFailed(f"MariaDB does not start, see {socket.with_name('log')}")


def _run(program: str, *arguments: str, stdin: int = subprocess.DEVNULL) -> None:
    done = subprocess.run(
        [_program(program), "--no-defaults", *arguments],
        stdin=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchFailed(f"{program} ended with {done.returncode}:\n{done.stderr[-2000:]}")


def _program(name: str) -> str:
    found = shutil.which(name, path=_PATH)
    if found is None:
        raise BenchFailed(f"there is no {name}: install a MariaDB server and client")
    return found
