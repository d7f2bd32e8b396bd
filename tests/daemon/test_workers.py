"""Several workers, as real processes."""

import contextlib
import ctypes
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import factories
from tests.transcripts import Client
from vpopsql import db
from vpopsql.db import Database
from vpopsql.model import Flag

SERVE = (sys.executable, "-c", "from vpopsql.cli import main; main()", "serve")
LOGIN = f"slogin postmaster@root.example {factories.PASSWORD}\r\n".encode()
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")


@dataclass
class Daemon:
    """A daemon, and what is known of it."""

    process: "subprocess.Popen[bytes]"
    events: list[dict[str, object]] = field(default_factory=list)

    def wait_for(self, event: str) -> dict[str, object]:
        """Return the next event of a name."""
        assert self.process.stderr
        while line := self.process.stderr.readline():
            self.events.append(json.loads(line))
            if self.events[-1]["event"] == event:
                return self.events[-1]
        raise AssertionError(self.events)

    @property
    def workers(self) -> list[int]:
        pid = self.process.pid
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that other users may enter, as pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="vpopsql-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.fixture
def serve(place: Path) -> Iterator[Callable[..., Daemon]]:
    """A function that starts a daemon with two workers."""
    url = f"sqlite:///{place}/site.db"
    db.upgrade(url)
    with contextlib.closing(Database(url)) as database, database.writer() as session:
        root = factories.domain(session, "root.example")
        factories.mailbox(session, root, "postmaster", Flag.SA_ADMIN)
    started: list[subprocess.Popen[bytes]] = []

    def run(*arguments: str, workers: int = 2, **settings: object) -> Daemon:
        ours = {f"VPOPSQL_{name.upper()}": str(value) for name, value in settings.items()}
        made = subprocess.Popen(
            [*SERVE, "--workers", str(workers), *arguments],
            env=os.environ
            | {
                "VPOPSQL_DATABASE_URL": url,
                "VPOPSQL_DAEMON_LISTEN": "127.0.0.1:0",
                "VPOPSQL_PATHS_ROOT": str(place),
            }
            | ours,
            stderr=subprocess.PIPE,
        )
        started.append(made)
        return Daemon(made)

    yield run
    for each in started:
        each.terminate()
        each.communicate(timeout=60)


@pytest.fixture
def connect() -> Iterator[Callable[[dict[str, object]], Client]]:
    """A function that connects to where a daemon says that it listens."""
    with contextlib.ExitStack() as opened:

        def to(listening: dict[str, object]) -> Client:
            address = ("127.0.0.1", int(str(listening["port"])))
            return opened.enter_context(contextlib.closing(Client(address)))

        yield to


Serve = Callable[..., Daemon]
Connect = Callable[[dict[str, object]], Client]


def sockets_of(pid: int) -> int:
    names = (str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir())
    return sum(name.startswith("socket:") for name in names)


def until(is_so: Callable[[], bool]) -> None:
    """Wait for something to happen."""
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_connections_are_spread_evenly(serve: Serve, connect: Connect) -> None:
    daemon = serve()
    where = daemon.wait_for("listening")
    before = [sockets_of(pid) for pid in daemon.workers]

    clients = [connect(where) for _ in range(10)]

    assert [client.line() for client in clients] == [b"+OK \r\n"] * 10
    # Who passes a connection on has it for a moment longer.
    until(lambda: [sockets_of(pid) for pid in daemon.workers] == [each + 5 for each in before])


def reserves_of(pid: int) -> list[str]:
    """Return the address space that glibc has reserved for arenas of threads: 64 MB for each."""
    found = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        span, rights, *_, inode = line.split()[:5]
        begin, end = (int(address, 16) for address in span.split("-"))
        if rights.startswith("---") and inode == "0" and end - begin > 32 << 20:
            found.append(line)
    return found


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc's own")
def test_threads_of_a_worker_share_one_arena(serve: Serve, connect: Connect) -> None:
    daemon = serve()
    where = daemon.wait_for("listening")
    clients = [connect(where) for _ in range(10)]
    for client in clients:
        client.send(LOGIN)

    assert [(client.line(), client.line()) for client in clients] == [(b"+OK \r\n",) * 2] * 10
    assert [reserves_of(pid) for pid in daemon.workers] == [[], []]


def test_a_killed_worker_is_replaced_and_the_others_go_on(serve: Serve, connect: Connect) -> None:
    daemon = serve(daemon_max_connections=2)
    where = daemon.wait_for("listening")
    clients = [connect(where) for _ in range(2)]
    assert [client.line() for client in clients] == [b"+OK \r\n"] * 2
    full = connect(where)
    assert full.line() == b"-ERR 3.111 Too many connections\r\n"
    workers = daemon.workers

    os.kill(workers[0], signal.SIGKILL)

    assert daemon.wait_for("worker ended")["how"] == "SIGKILL"
    until(lambda: len(daemon.workers) == 2)
    assert workers[0] not in daemon.workers
    # What it had is free again, and the other's client has not noticed.
    until(lambda: connect(where).line() == b"+OK \r\n")
    clients_left = [client for client in clients if talks(client)]
    assert len(clients_left) == 1


def talks_on(client: Client) -> bool:
    return client.line() == b"+OK \r\n" and talks(client)


def talks(client: Client) -> bool:
    with contextlib.suppress(OSError):
        client.send(LOGIN)
        return client.line() == b"+OK \r\n"
    return False


def test_all_workers_let_commands_finish_and_end(serve: Serve, connect: Connect) -> None:
    daemon = serve()
    where = daemon.wait_for("listening")
    clients = [connect(where) for _ in range(4)]
    for client in clients:
        client.send(LOGIN)
        assert [client.line(), client.line()] == [b"+OK \r\n"] * 2

    for client in clients:
        client.send(b"domain_count\r\n" * 20)
    daemon.process.terminate()

    for client in clients:
        said = [client.line() for _ in range(62)]
        assert said == [b"+OK+\r\n", b"count 1\r\n", b".\r\n"] * 20 + [
            b"-ERR 3.106 Read Timeout\r\n",
            b"",
        ]
    assert daemon.process.wait(20) == 0


def test_workers_do_not_outlive_their_parent(serve: Serve, connect: Connect) -> None:
    daemon = serve()
    where = daemon.wait_for("listening")
    client = connect(where)
    assert client.line() == b"+OK \r\n"

    daemon.process.kill()

    assert client.line() == b"-ERR 3.103 Read Timeout\r\n"

    def is_refused() -> bool:
        try:
            connect(where)
        except ConnectionRefusedError:
            return True
        return False

    until(is_refused)


def test_one_page_counts_for_all_workers(serve: Serve, connect: Connect) -> None:
    daemon = serve("--metrics", "0")
    page, where = daemon.wait_for("serving metrics"), daemon.wait_for("listening")
    for _ in range(4):
        client = connect(where)
        client.send(LOGIN)
        assert [client.line(), client.line()] == [b"+OK \r\n"] * 2
    # Whoever counts for the page is replaced, and what it has counted stays.
    os.kill(daemon.workers[0], signal.SIGKILL)
    daemon.wait_for("worker ended")
    until(lambda: len(daemon.workers) == 2)

    with socket.create_connection(("127.0.0.1", int(str(page["port"])))) as asking:
        asking.settimeout(20)
        asking.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        text = b"".join(iter(lambda: asking.recv(65536), b"")).decode()

    assert 'vpopsql_daemon_logins_total{result="ok"} 4\n' in text
    assert "vpopsql_daemon_connections_open 2\n" in text


def test_sighup_reaches_all_workers(serve: Serve) -> None:
    certificate = Path(__file__).parent.parent / "client/localhost.pem"
    daemon = serve(daemon_tls_certificate=certificate)
    daemon.wait_for("listening")

    daemon.process.send_signal(signal.SIGHUP)

    assert [daemon.wait_for("certificate read")["path"] for _ in range(2)] == [
        str(certificate)
    ] * 2


# --- rights -----------------------------------------------------------------------------------


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


FOR_FILES = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 5
"""CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_KILL."""


@as_root
@pytest.mark.parametrize("workers", [1, 2])
def test_root_keeps_only_the_rights_over_files(serve: Serve, workers: int) -> None:
    daemon = serve(workers=workers)
    daemon.wait_for("listening")

    serving = status_of((daemon.workers or [daemon.process.pid])[0])

    for kind in ("CapEff", "CapPrm", "CapBnd"):
        assert int(serving[kind], 16) & ~FOR_FILES == 0
    assert int(serving["CapInh"], 16) == int(serving["CapAmb"], 16) == 0


@as_root
def test_root_becomes_the_configured_user_for_ever(
    serve: Serve, connect: Connect, place: Path
) -> None:
    nobody = pwd.getpwnam("nobody")
    for path in (place, *place.glob("site.db*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)

    daemon = serve(daemon_user="nobody")
    where = daemon.wait_for("listening")
    clients = [connect(where) for _ in range(2)]

    assert [talks_on(client) for client in clients] == [True, True]
    serving = status_of(daemon.workers[0])
    assert set(serving["Uid"].split()) == {str(nobody.pw_uid)}
    assert set(serving["Gid"].split()) == {str(nobody.pw_gid)}
    assert "0" not in serving["Groups"].split()
    assert int(serving["CapPrm"], 16) == 0


def test_a_user_that_nobody_knows_is_refused(serve: Serve) -> None:
    daemon = serve(daemon_user="no-such-user-here")

    _, errors = daemon.process.communicate(timeout=60)

    assert b"daemon.user: there is no user no-such-user-here" in errors
    assert daemon.process.returncode == 3
