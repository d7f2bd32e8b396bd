"""The transports: real sockets, real processes."""

import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import factories
from tests.daemon.conftest import Running
from tests.transcripts import Client
from vpopsql.daemon import server
from vpopsql.db import Database
from vpopsql.model import Flag
from vpopsql.protocol import Reply, listing

LOGIN = f"slogin postmaster@root.example {factories.PASSWORD}\r\n".encode()
Start = Callable[..., Running]
Process = Callable[..., subprocess.Popen[bytes]]
Connect = Callable[[tuple[str, int]], Client]
Greeted = Callable[[Running], Client]


@pytest.fixture
def site(database: Database) -> Database:
    with database.writer() as session:
        root = factories.domain(session, "root.example")
        factories.mailbox(session, root, "postmaster", Flag.SA_ADMIN)
    return database


@pytest.fixture
def connect() -> Iterator[Connect]:
    """A function that connects to an address; the connections are closed at the end."""
    with contextlib.ExitStack() as opened:
        yield lambda address: opened.enter_context(contextlib.closing(Client(address)))


@pytest.fixture
def greeted(connect: Connect) -> Callable[[Running], Client]:
    """A function that connects to a daemon and takes its greeting."""

    def connect_to(daemon: Running) -> Client:
        client = connect(daemon.address)
        assert client.line() == b"+OK \r\n"
        return client

    return connect_to


def test_a_whole_session_in_one_piece_is_answered(
    site: Database, start: Start, greeted: Greeted, tmp_path: Path
) -> None:
    client = greeted(start(tmp_path))

    client.send(LOGIN + b"domain_count\r\ndomain_count\r\nquit\r\n")

    answers = [client.line() for _ in range(9)]
    assert answers == [
        b"+OK \r\n",
        *[b"+OK+\r\n", b"count 1\r\n", b".\r\n"] * 2,
        b"+OK \r\n",
        b"",
    ]


def test_a_half_close_is_answered_and_followed_by_the_end(
    site: Database, start: Start, greeted: Greeted, tmp_path: Path
) -> None:
    client = greeted(start(tmp_path))
    client.send(LOGIN)
    assert client.line() == b"+OK \r\n"

    client.half_close()

    assert client.line() == b"-ERR 3.106 Read Timeout\r\n"
    assert client.line() == b""


def test_a_silent_client_is_told_that_time_is_up(
    site: Database, start: Start, greeted: Greeted, tmp_path: Path
) -> None:
    daemon = start(tmp_path, idle_timeout_s=0.3)
    before, after = greeted(daemon), greeted(daemon)
    after.send(LOGIN)
    assert after.line() == b"+OK \r\n"

    assert before.line() == b"-ERR 3.103 Read Timeout\r\n"
    assert after.line() == b"-ERR 3.106 Read Timeout\r\n"
    assert before.line() == after.line() == b""


def test_slow_and_silent_clients_hold_up_nobody(
    site: Database, start: Start, greeted: Greeted, tmp_path: Path
) -> None:
    daemon = start(tmp_path)
    silent = [greeted(daemon) for _ in range(20)]
    for client in silent:
        client.send(LOGIN[:10])

    client = greeted(daemon)
    client.send(LOGIN)

    assert client.line() == b"+OK \r\n"


def test_a_client_that_sends_byte_by_byte_gets_no_more_time(
    site: Database, start: Start, greeted: Greeted, tmp_path: Path
) -> None:
    daemon = start(tmp_path, idle_timeout_s=0.5)
    before, after = greeted(daemon), greeted(daemon)
    after.send(LOGIN)
    assert after.line() == b"+OK \r\n"

    for _ in range(8):
        before.send(b"x\r\n"[:1])
        after.send(b"d")
        time.sleep(0.1)

    assert before.line() == b"-ERR 3.103 Read Timeout\r\n"
    assert after.line() == b"-ERR 3.106 Read Timeout\r\n"


def test_a_client_that_never_reads_holds_up_nobody(
    site: Database, start: Start, greeted: Greeted, tmp_path: Path
) -> None:
    daemon = start(tmp_path)
    deaf = socket.create_connection(daemon.address, timeout=0.5)
    deaf.sendall(LOGIN)
    with contextlib.suppress(TimeoutError):
        for _ in range(200):
            deaf.sendall(b"help\r\n" * 1000)

    client = greeted(daemon)
    client.send(LOGIN)

    assert client.line() == b"+OK \r\n"
    deaf.close()


def test_clients_that_say_nothing_cost_no_thread(
    site: Database, start: Start, greeted: Greeted, tmp_path: Path
) -> None:
    daemon = start(tmp_path, max_connections=300)
    before = threading.active_count()

    clients = [greeted(daemon) for _ in range(300)]

    assert threading.active_count() == before
    clients[-1].send(LOGIN)
    assert clients[-1].line() == b"+OK \r\n"


@pytest.mark.parametrize("waits", [True, False], ids=["for-the-greeting", "for-nothing"])
def test_threads_that_are_held_up_are_made_up_for(
    site: Database,
    start: Start,
    connect: Connect,
    greeted: Greeted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    waits: bool,
) -> None:
    goes_on = threading.Event()
    monkeypatch.setattr("vpopsql.services.domains.count_domains", lambda _: int(goes_on.wait(20)))
    daemon = start(tmp_path)
    before = threading.active_count()
    held_up = []
    for _ in range(12):
        held_up.append(greeted(daemon) if waits else connect(daemon.address))
        held_up[-1].send(LOGIN + b"domain_count\r\n")

    client = greeted(daemon)
    client.send(LOGIN)

    assert client.line() == b"+OK \r\n"
    goes_on.set()
    for each in held_up:
        assert waits or each.line() == b"+OK \r\n"
        assert [each.line() for _ in range(4)][1:3] == [b"+OK+\r\n", b"count 1\r\n"]
    assert eventually(lambda: client_is_answered(client) and threading.active_count() <= before)


def test_threads_that_have_all_just_begun_are_made_up_for_when_they_are_held_up(
    site: Database,
    start: Start,
    greeted: Greeted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    soon, late, looked, looks_on = (threading.Event() for _ in range(4))

    def sleep(seconds: float) -> None:
        looked.set()
        looks_on.wait(20)
        time.sleep(seconds)

    monkeypatch.setattr(server, "_HELD_UP_S", 0.5)
    monkeypatch.setattr(server, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    gates = [*[late] * server.THREADS, *[soon] * server.THREADS]
    monkeypatch.setattr("vpopsql.services.domains.count_domains", lambda _: gates.pop().wait(20))
    daemon = start(tmp_path)
    clients = [greeted(daemon) for _ in range(server.THREADS)]
    for each in clients:
        each.send(LOGIN + b"domain_count\r\n")
    assert eventually(lambda: len(gates) == server.THREADS)
    assert looked.wait(20)
    soon.set()
    for each in clients:
        assert [each.line() for _ in range(4)][1] == b"+OK+\r\n"
    looks_on.set()
    # While it waits, they all begin anew.
    for each in clients:
        each.send(b"domain_count\r\n")

    client = greeted(daemon)

    late.set()
    client.send(LOGIN)
    assert client.line() == b"+OK \r\n"


def client_is_answered(client: Client) -> bool:
    client.send(b"help\r\n")
    while client.line() != b".\r\n":
        pass
    return True


def test_many_lines_of_a_client_do_not_wait_for_all_their_answers(
    site: Database,
    start: Start,
    greeted: Greeted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    goes_on = threading.Event()
    pauses = iter([0.0, 0.1, 20.0])
    monkeypatch.setattr(
        "vpopsql.services.domains.count_domains", lambda _: 1 + goes_on.wait(next(pauses))
    )
    client = greeted(start(tmp_path))

    client.send(LOGIN + b"domain_count\r\n" * 3)

    assert [client.line() for _ in range(7)] == [
        b"+OK \r\n",
        *[b"+OK+\r\n", b"count 1\r\n", b".\r\n"] * 2,
    ]
    goes_on.set()


def test_a_client_that_reads_no_answer_is_asked_no_more(
    site: Database,
    start: Start,
    greeted: Greeted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted: list[object] = []

    def long_reply(level: object) -> Reply:
        counted.append(level)
        return listing(["x" * 70] * 100_000)

    monkeypatch.setattr("vpopsql.daemon.conversation.help_reply", long_reply)
    daemon = start(tmp_path, idle_timeout_s=1)
    deaf = socket.create_connection(daemon.address, timeout=20)
    deaf.sendall(LOGIN + b"help\r\n" * 100)

    assert eventually(lambda: len(counted) == 1)
    time.sleep(0.2)

    # One answer waits, and the other lines are not carried out, until its time is up.
    assert len(counted) == 1
    assert eventually(lambda: len(counted) == 100)
    deaf.close()


def test_lines_that_have_arrived_are_carried_out_after_the_client_is_gone(
    site: Database, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[object] = []

    def count(session: object) -> int:
        counted.append(session)
        return 1

    monkeypatch.setattr("vpopsql.services.domains.count_domains", count)
    daemon = start(tmp_path)
    gone = socket.create_connection(daemon.address)
    # Hanging up with RST and with unread answers, as clients of this protocol do.
    gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    gone.recv(100)
    gone.sendall(LOGIN)
    gone.recv(100)

    gone.sendall(b"domain_count\r\n" * 50 + b"quit\r\n")
    gone.shutdown(socket.SHUT_WR)
    time.sleep(0.05)
    gone.close()

    assert eventually(lambda: len(counted) == 50)


def test_connections_beyond_the_limit_are_refused_clearly_and_the_others_go_on(
    site: Database, start: Start, greeted: Greeted, connect: Connect, tmp_path: Path
) -> None:
    daemon = start(tmp_path)
    clients = [greeted(daemon) for _ in range(50)]

    refused = connect(daemon.address)

    assert refused.line() == b"-ERR 3.111 Too many connections\r\n"
    assert refused.line() == b""
    clients[0].send(LOGIN)
    assert clients[0].line() == b"+OK \r\n"
    clients[0].send(b"quit\r\n")
    assert clients[0].line() == b"+OK \r\n"
    assert eventually(lambda: connect(daemon.address).line() == b"+OK \r\n")


def eventually(check: Callable[[], bool]) -> bool:
    """Wait for something that another thread does."""
    deadline = time.monotonic() + 10
    while not (true := check()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return true


# --- as a process ------------------------------------------------------------------------------


@pytest.fixture
def process(site: Database, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """A function that runs one of our commands on the test's database."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*command: str, **options: object) -> subprocess.Popen[bytes]:
        environment = os.environ | {
            "VPOPSQL_DATABASE_URL": site.url.render_as_string(hide_password=False),
            "VPOPSQL_DAEMON_LISTEN": "127.0.0.1:0",
            "VPOPSQL_PATHS_ROOT": str(tmp_path),
            "VPOPSQL_LOG_FORMAT": "json",
            "PYTHONUNBUFFERED": "1",
        }
        made: subprocess.Popen[bytes] = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,  # type: ignore[call-overload]
        )
        started.append(made)
        return made

    yield run
    for each in started:
        each.kill()
        each.communicate()


VPOPMAILD = (sys.executable, "-c", "from vpopsql.cli.vpopmaild import main; main()")
SERVE = (sys.executable, "-c", "from vpopsql.cli import main; main()", "serve")


@pytest.mark.parametrize("command", [VPOPMAILD, (*SERVE, "--stdio")])
def test_standard_input_is_a_conversation_too(process: Process, command: tuple[str, ...]) -> None:
    out, _ = process(*command).communicate(LOGIN + b"domain_count\nquit\n", timeout=60)

    assert out == b"+OK \r\n+OK \r\n+OK+\r\ncount 1\r\n.\r\n+OK \r\n"


@pytest.mark.skipif(not shutil.which("tcpserver"), reason="Debian's ucspi-tcp is not installed")
def test_it_runs_under_tcpserver(process: Process, connect: Connect) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process("tcpserver", "-HRD", "127.0.0.1", str(port), *VPOPMAILD)

    def answers() -> bool:
        with contextlib.suppress(ConnectionRefusedError):
            client = connect(("127.0.0.1", port))
            client.send(LOGIN + b"quit\r\n")
            return [client.line() for _ in range(4)] == [b"+OK \r\n"] * 3 + [b""]
        return False

    assert eventually(answers)


def test_sigterm_ends_idle_connections_and_the_daemon_with_0(
    process: Process, connect: Connect
) -> None:
    daemon = process(*SERVE)
    assert daemon.stderr is not None
    line = daemon.stderr.readline()
    port = int(line.split(b'"port": ')[1].split(b",")[0])
    client = connect(("127.0.0.1", port))
    client.send(LOGIN)
    assert [client.line(), client.line()] == [b"+OK \r\n"] * 2

    daemon.send_signal(signal.SIGTERM)

    assert client.line() == b"-ERR 3.106 Read Timeout\r\n"
    assert client.line() == b""
    assert daemon.wait(20) == 0


ADD = b"add_alias info@root.example joe@root.example\n"


def say(daemon: subprocess.Popen[bytes], connect: Connect, lines: bytes) -> None:
    """Say something to a daemon, over TCP if it listens."""
    if "serve" not in daemon.args:  # type: ignore[operator]
        daemon.communicate(lines + b"quit\n", timeout=60)
        return
    assert daemon.stderr is not None
    port = int(daemon.stderr.readline().split(b'"port": ')[1].split(b",")[0])
    connect(("127.0.0.1", port)).send(lines)


@pytest.mark.parametrize("command", [VPOPMAILD, SERVE])
def test_hooks_are_told_of_what_the_daemon_writes(
    process: Process, connect: Connect, tmp_path: Path, command: tuple[str, ...]
) -> None:
    heard = tmp_path / "heard"
    hook = f"VPOPSQL_HOOKS_COMMANDS=/bin/sh -c 'cat >> {heard}'"

    daemon = process("env", hook, *command)
    say(daemon, connect, LOGIN + ADD)

    assert eventually(lambda: heard.exists() and "/.qmail-info" in heard.read_text())


def test_an_address_in_use_is_refused_with_what_and_where(process: Process) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        daemon = process("env", f"VPOPSQL_DAEMON_LISTEN=127.0.0.1:{port}", *SERVE)

        _, err = daemon.communicate(timeout=60)

    assert f"daemon.listen: cannot listen on 127.0.0.1:{port}".encode() in err
    assert b"Traceback" not in err
    assert daemon.returncode == 3


def test_a_file_that_is_no_database_is_refused_by_name(process: Process, tmp_path: Path) -> None:
    (tmp_path / "no.db").write_bytes(b"no database at all" * 100)
    daemon = process("env", f"VPOPSQL_DATABASE_URL=sqlite:///{tmp_path}/no.db", *SERVE)

    _, err = daemon.communicate(timeout=60)

    assert b"no.db" in err
    assert b"Traceback" not in err
    assert daemon.returncode == 3


def test_vpopmaild_takes_a_configuration_file(process: Process, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("[daemon]\nlisten = 5\n")

    _, err = (started := process(*VPOPMAILD, "--config", str(tmp_path / "bad.toml"))).communicate(
        timeout=60
    )

    assert b"daemon.listen" in err
    assert started.returncode == 3


def test_a_database_without_schema_is_refused_with_what_to_do(
    process: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("env", f"VPOPSQL_DATABASE_URL=sqlite:///{tmp_path}/new.db", *SERVE)

    _, err = (daemon := process(*command)).communicate(timeout=60)

    assert b"run `vpopsql db upgrade`" in err
    assert daemon.returncode == 3
