"""A MariaDB for tests: one server a session, in a directory of its own, on a Unix socket only.

``mariadbd``, ``mariadb-install-db`` and ``mariadb-dump`` are the system's; where they are not
installed the tests that need them are skipped, unless ``VPOPSQL_TEST_REQUIRE_MARIADB`` is 1.
"""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, create_engine, make_url
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from tests.databases import locked

PROGRAMS = ("mariadbd", "mariadb-install-db", "mariadb-dump")

_START_S = 60
_STOP_S = 20
# What a crash would lose here is no loss.
_QUICK = (
    "--skip-log-bin",
    "--skip-networking",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
    "--skip-innodb-doublewrite",
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=8M",
    "--innodb-fast-shutdown=2",
)


class MariaDB:
    """Databases on the session's server, made as its administrator.

    :param url: without a database.
    """

    def __init__(self, url: URL, prefix: str) -> None:
        self._url = url
        self._prefix = prefix
        self._numbers = itertools.count(1)
        self._made: list[str] = []

    def create(self) -> str:
        """Return the URL of a new, empty database."""
        name = f"{self._prefix}_{next(self._numbers)}"
        with self.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        self._made.append(name)
        return self._url.set(database=name).render_as_string()

    def drop_all(self) -> None:
        """Remove the databases that this object made."""
        with self.connect() as connection:
            while self._made:
                connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {self._made.pop()}")

    @contextlib.contextmanager
    def connect(self, url: str | URL | None = None) -> Iterator[Connection]:
        """Open a connection in which everything is committed at once."""
        engine = create_engine(url or self._url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            yield connection

    def dump(self, url: str, *options: str) -> bytes:
        """Return what ``mariadb-dump`` writes of a database."""
        parsed = make_url(url)
        return subprocess.run(
            [
                "mariadb-dump",
                "--no-defaults",
                f"--user={parsed.username}",
                f"--socket={parsed.query['unix_socket']}",
                *options,
                str(parsed.database),
            ],
            check=True,
            capture_output=True,
        ).stdout


def is_installed() -> bool:
    """Say whether the programs are there."""
    return None not in map(_program, PROGRAMS)


def start(shared: Path) -> URL:
    """Return the URL of the session's own server; the first worker to ask starts it.

    :raises Exception: it does not start.
    """
    directory = shared / "mariadb"
    socket = directory / "socket"
    url = URL.create("mysql+pymysql", "root", query={"unix_socket": str(socket)})
    with locked(shared / "mariadb.lock"):
        if not (directory / "started").exists():
            directory.mkdir()
            as_user = ["--user=root"] if os.geteuid() == 0 else []
            common = ["--no-defaults", f"--datadir={directory}/data", *as_user]
            subprocess.run(
                [
                    str(_program("mariadb-install-db")),
                    *common,
                    "--auth-root-authentication-method=normal",
                    "--skip-name-resolve",
                    "--skip-test-db",
                ],
                check=True,
                capture_output=True,
            )
            server = [
                str(_program("mariadbd")),
                *common,
                *_QUICK,
                f"--socket={socket}",
                f"--pid-file={directory}/pid",
                f"--log-error={directory}/log.err",
            ]
            # A child of nobody here: the worker that starts it may be the first to end.
            subprocess.run(
                ["sh", "-c", '"$@" >/dev/null 2>&1 </dev/null &', "sh", *server], check=True
            )
            _wait_for(url, directory)
            (directory / "started").touch()
    return url


def stop(shared: Path) -> None:
    """Stop the session's own server, if any worker started it."""
    pid_file = shared / "mariadb" / "pid"
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGTERM)
        for _ in range(_STOP_S * 20):
            if not pid_file.exists():  # it removes the file when it is done
                return
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)


def _wait_for(url: URL, directory: Path) -> None:
    for _ in range(_START_S * 10):
        # It listens first, and makes clients wait until it is ready.
        if (directory / "socket").exists() and (directory / "pid").exists():
            create_engine(url, poolclass=NullPool).connect().close()
            return
        time.sleep(0.1)
    raise RuntimeError(f"mariadbd does not start:\n{(directory / 'log.err').read_text()}")


def _program(name: str) -> str | None:
    # Servers are where administrators' programs are, which is not in everybody's PATH.
    return shutil.which(name) or shutil.which(name, path="/usr/local/sbin:/usr/sbin")
