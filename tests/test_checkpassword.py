"""The checkpassword program as qmail-popup starts it: descriptor 3, exit codes, who it becomes."""

import contextlib
import hashlib
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from tests import databases, factories
from tests.conftest import SHARED
from tests.daemon.conftest import settings
from vpopsql import checkpassword
from vpopsql.daemon.auth_server import answering, listening
from vpopsql.daemon.authentication import Authenticator
from vpopsql.db import Database
from vpopsql.errors import CannotListen
from vpopsql.model import Flag, LastAuth

PASSWORD = factories.PASSWORD
ALICE = f"alice@example.com\0{PASSWORD}\0<1@mail>\0".encode()
HOME = f"{factories.HOME}/domains/example.com/alice"
IS_ROOT = os.geteuid() == 0
UID, GID = (89, 89) if IS_ROOT else (os.geteuid(), os.getegid())
PROGRAM = [sys.executable, "-IS", checkpassword.__file__]
"""As the quickest way to start it is written in the manual: it needs no installed package."""

SHOW = [
    "/bin/sh",
    "-c",
    "id -u; id -g; id -G; pwd; echo $USER; echo $HOME; echo $VPOPUSER; echo $SHELL",
]


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A site with one domain, in a place that everybody may enter."""
    # pytest's own directories are closed to the mailbox's owner.
    directory = Path(tempfile.mkdtemp(prefix="vpopsql-checkpassword-"))
    directory.chmod(0o755)
    backend = databases.SQLite(request.config.stash[SHARED], directory)
    url = backend.create(migrated=True)
    with contextlib.closing(Database(url)) as database, database.writer() as session:
        domain = factories.domain(session, uid=UID, gid=GID)
        factories.mailbox(session, domain, clear_text=PASSWORD)
        factories.mailbox(session, domain, "nopop", Flag.NO_POP)
        factories.mailbox(session, domain, "homeless")
        factories.ip_mapping(session, "127.0.0.1", domain)
        ours = factories.domain(session, "root.example", uid=0, gid=0)
        factories.mailbox(session, ours)
    home = directory / HOME[1:]
    home.mkdir(parents=True)
    for each in (home, *home.parents[:4]):
        each.chmod(0o755)
    (directory / "vpopsql.toml").write_text(
        f'[database]\nurl = "{url}"\n[paths]\nroot = "{directory}"\n[log]\nlevel = "error"\n'
    )
    yield directory
    backend.drop_all()
    shutil.rmtree(directory)


@pytest.fixture
def database(place: Path) -> Iterator[Database]:
    (found,) = place.glob("*.db")
    opened = Database(f"sqlite:///{found}")
    yield opened
    opened.close()


@pytest.fixture
def path(place: Path, database: Database) -> Iterator[str]:
    """The socket of a daemon that answers."""
    with answers_at(str(place / "auth"), authenticator(place, database)):
        yield str(place / "auth")


@contextlib.contextmanager
def answers_at(
    path: str, authenticator: Authenticator, mode: int = 0o600, most: int = 10
) -> Iterator[None]:
    """Answer questions on a socket of our own."""
    with listening(path, mode) as listener, answering(listener, authenticator, most):
        yield


def authenticator(place: Path, database: Database) -> Authenticator:
    return Authenticator(database, settings(str(database.url), place))


def start(
    credentials: bytes, *arguments: str, program: list[str] = PROGRAM, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the program with something on descriptor 3."""
    reading, writing = os.pipe()
    os.write(writing, credentials)
    os.close(writing)

    def prepare() -> None:
        os.dup2(reading, 3)
        # If it has been 3 before.
        os.set_inheritable(3, True)

    try:
        return subprocess.run(
            [*program, *arguments],
            env={"PATH": os.environ["PATH"], "TCPREMOTEIP": "192.0.2.9", **environment},
            preexec_fn=prepare,
            close_fds=False,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        os.close(reading)


# --- good logins --------------------------------------------------------------------------------


def test_the_program_runs_as_the_owner_in_the_home(path: str, place: Path) -> None:
    done = start(ALICE, "--service", "pop3", "--socket", path, *SHOW)

    home = f"{place}{HOME}"
    groups = str(GID) if IS_ROOT else " ".join(map(str, dict.fromkeys([GID, *os.getgroups()])))
    assert (done.stdout.split("\n"), done.stderr) == (
        [str(UID), str(GID), groups, home, "alice", home, "alice@example.com", "NOLOGIN", ""],
        "",
    )


def test_nothing_is_left_of_what_was_asked(path: str) -> None:
    show = "tr '\\0' '\\n' </proc/self/environ; ls /proc/self/fd | grep -c '^3$'; trap"

    done = start(ALICE, f"--socket={path}", "--", "/bin/sh", "-c", show, TCPLOCALPORT="110")

    assert PASSWORD not in done.stdout
    assert done.returncode == 0
    # Descriptor 3 is what `ls` itself opens.
    assert "\n1\n" in done.stdout


def test_a_pipe_that_breaks_ends_the_program_as_it_would_without_python(path: str) -> None:
    done = start(ALICE, "--socket", path, "/bin/sh", "-c", "kill -PIPE $$; echo survived")

    assert (done.returncode, done.stdout) == (-13, "")


def test_apop_without_a_domain(path: str) -> None:
    digest = hashlib.new("md5", f"<1@mail>{PASSWORD}".encode(), usedforsecurity=False).hexdigest()

    done = start(
        f"alice\0{digest}\0<1@mail>\0".encode(),
        *("--socket", path, *SHOW),
        TCPLOCALIP="127.0.0.1",
        TCPLOCALPORT="995",
    )

    assert "alice@example.com" in done.stdout.split("\n")


def test_smtp_changes_neither_owner_nor_directory(path: str) -> None:
    done = start(
        b"homeless@example.com\0" + PASSWORD.encode() + b"\0\0",
        "--socket",
        path,
        *SHOW,
        TCPLOCALPORT="587",
    )

    assert done.stdout.split("\n")[0] == str(os.geteuid())
    assert done.stdout.split("\n")[3] == str(Path.cwd())


def test_without_a_daemon_the_database_is_asked(place: Path) -> None:
    done = start(
        ALICE,
        *("--service", "imap", "--socket", str(place / "nobody"), *SHOW),
        program=[sys.executable, "-m", "vpopsql.checkpassword"],
        VPOPSQL_CONFIG=str(place / "vpopsql.toml"),
    )

    assert done.stdout.split("\n")[:2] == [str(UID), str(GID)]
    assert "alice@example.com" in done.stdout.split("\n")


def test_the_command_of_vpopsql_does_the_same(path: str, place: Path) -> None:
    program = [sys.executable, "-c", "from vpopsql.cli import main; main()", "checkpassword"]

    done = start(ALICE, "--socket", path, *SHOW, program=program)

    assert done.stdout.split("\n")[0] == str(UID)


# --- others -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "credentials",
    [
        b"alice@example.com\0wrong\0<1@mail>\0",
        b"nobody@example.com\0wrong\0<1@mail>\0",
        b"nopop@example.com\0" + PASSWORD.encode() + b"\0",
        b"\0\0\0",
        ALICE + bytes(512),
    ],
)
def test_who_may_not_log_in_is_refused(path: str, credentials: bytes) -> None:
    done = start(credentials, "--socket", path, *SHOW, TCPLOCALPORT="110")

    assert (done.returncode, done.stdout) == (1, "")
    assert PASSWORD not in done.stderr


@pytest.mark.parametrize(
    "credentials, arguments",
    [
        (b"", ["true"]),
        (b"alice@example.com\0secret", ["true"]),
        (ALICE, []),
        (ALICE, ["--service", "finger", "true"]),
        (ALICE, ["--sorvice", "pop3", "true"]),
        (ALICE, ["--service"]),
    ],
)
def test_misuse_is_told_from_a_refusal(
    path: str, credentials: bytes, arguments: list[str]
) -> None:
    done = start(credentials, f"--socket={path}", *arguments)

    assert done.returncode == 2
    assert done.stderr.startswith("checkpassword: ")
    assert "secret" not in done.stderr


def test_it_says_how_it_is_used() -> None:
    done = subprocess.run([*PROGRAM, "--help"], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: vpopsql-checkpassword [--service SERVICE]")


def test_without_descriptor_3_it_is_misused(path: str) -> None:
    done = subprocess.run(
        [*PROGRAM, f"--socket={path}", "true"], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (
        2,
        "checkpassword: descriptor 3 cannot be read: Bad file descriptor\n",
    )


def test_a_home_or_a_program_that_is_missing_is_a_temporary_problem(
    path: str, place: Path
) -> None:
    homeless = ALICE.replace(b"alice", b"homeless")
    where = f"--socket={path}"

    no_home, no_program = start(homeless, where, "ls"), start(ALICE, where, "/no/such")

    assert (no_home.returncode, no_program.returncode) == (111, 111)
    assert no_home.stderr.endswith("example.com/homeless: No such file or directory\n")
    assert no_program.stderr.endswith("/no/such: No such file or directory\n")


def test_nobody_becomes_root(path: str) -> None:
    done = start(ALICE.replace(b"example.com", b"root.example"), "--socket", path, *SHOW)

    assert (done.returncode, done.stdout) == (111, "")
    assert "is 0, which is root's" in done.stderr


@pytest.mark.skipif(not IS_ROOT, reason="only root can become somebody who is not root")
def test_who_is_not_root_becomes_nobody_else(path: str, place: Path) -> None:
    Path(path).chmod(0o666)
    # As another user, and without what only root may read.
    script = str(shutil.copy(checkpassword.__file__, place / "checkpassword.py"))
    Path(script).chmod(0o644)
    python = "/usr/bin/python3"
    if not Path(python).exists():
        pytest.skip("no Python that everybody may run")

    done = start(
        ALICE,
        f"--socket={path}",
        *SHOW,
        program=[
            "setpriv",
            "--reuid=4711",
            "--regid=4711",
            "--clear-groups",
            python,
            "-IS",
            script,
        ],
    )

    assert (done.returncode, done.stdout) == (111, "")
    assert "must be started as root to become uid 89, gid 89" in done.stderr


@pytest.mark.parametrize(
    "answer, why",
    [
        (b"", "cut short"),
        (b"+\x0089\x0089\0alice\0", "cut short"),
        (b"+\0x\0y\0alice\0a@b\0/\0", "this is a defect: ValueError"),
        (b"!\0the database is away\0", "the database is away"),
    ],
)
def test_an_answer_that_is_none_is_a_temporary_problem(
    tmp_path: Path, answer: bytes, why: str
) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "auth"))
        listener.listen()

        def respond() -> None:
            connection, _ = listener.accept()
            with connection:
                while connection.recv(4096):
                    pass
                connection.sendall(answer)

        thread = threading.Thread(target=respond)
        thread.start()
        done = start(ALICE, f"--socket={tmp_path}/auth", "true")
        thread.join()

    assert done.returncode == 111
    assert why in done.stderr


# --- the socket ---------------------------------------------------------------------------------


def test_the_socket_is_for_its_owner_and_goes_with_the_daemon(
    place: Path, database: Database
) -> None:
    path = place / "socket"
    with answers_at(str(path), authenticator(place, database), 0o660):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with (
            pytest.raises(CannotListen, match="another daemon answers"),
            answers_at(str(path), authenticator(place, database)),
        ):
            pass
    assert not path.exists()


def test_the_socket_of_a_daemon_that_was_killed_is_taken_over(
    place: Path, database: Database
) -> None:
    path = place / "socket"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))

    with answers_at(str(path), authenticator(place, database)):
        assert start(ALICE, f"--socket={path}", "true").returncode == 0


def test_what_is_no_socket_is_left_alone(place: Path, database: Database) -> None:
    path = place / "file"
    path.write_text("precious")

    with (
        pytest.raises(CannotListen, match="is no socket"),
        answers_at(str(path), authenticator(place, database)),
    ):
        pass
    assert path.read_text() == "precious"


def test_who_says_nothing_or_too_much_holds_up_nobody(path: str) -> None:
    with contextlib.ExitStack() as silent:
        for _ in range(5):
            connection = silent.enter_context(socket.socket(socket.AF_UNIX))
            connection.connect(path)
        with socket.socket(socket.AF_UNIX) as loud:
            loud.connect(path)
            loud.sendall(b"x" * 8000)
            assert loud.recv(4096).startswith(b"!\0")

        assert start(ALICE, f"--socket={path}", "true").returncode == 0


def test_more_at_once_than_there_is_room_for_wait(place: Path, database: Database) -> None:
    path = str(place / "socket")
    with answers_at(path, authenticator(place, database), most=2):
        asked = checkpassword.question("imap", bytearray(ALICE))
        answers: list[bytes] = []

        def ask() -> None:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(path)
                connection.sendall(asked)
                connection.shutdown(socket.SHUT_WR)
                answers.append(connection.recv(4096)[:2])

        threads = [threading.Thread(target=ask) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert answers == [b"+\0"] * 20


def test_the_daemon_answers_where_it_is_told_to(place: Path) -> None:
    path = place / "configured"
    environment = {
        **os.environ,
        "VPOPSQL_CONFIG": str(place / "vpopsql.toml"),
        "VPOPSQL_DAEMON_LISTEN": "127.0.0.1:0",
        "VPOPSQL_DAEMON_AUTH_SOCKET": str(path),
        "VPOPSQL_DAEMON_AUTH_SOCKET_MODE": "0660",
    }
    command = [sys.executable, "-c", "from vpopsql.cli import main; main()", "serve"]
    with subprocess.Popen(command, env=environment) as daemon:
        try:
            wait_for(lambda: path.exists() or daemon.poll() is not None)
            # The program finds it by the variable that the daemon is told by.
            done = start(ALICE, "--service=imap", *SHOW, VPOPSQL_DAEMON_AUTH_SOCKET=str(path))
            mode = stat.S_IMODE(path.stat().st_mode)
        finally:
            daemon.terminate()

    assert (done.stdout.split("\n")[0], mode) == (str(UID), 0o660)
    assert (daemon.returncode, path.exists()) == (0, False)


# --- under tcpserver ----------------------------------------------------------------------------

POPUP = """
import os, sys
fields = [sys.stdin.readline().strip().encode() for _ in range(2)] + [b"<1@mail>"]
reading, writing = os.pipe()
os.write(writing, b"".join(field + b"\\0" for field in fields))
os.close(writing)
os.dup2(reading, 3)
os.set_inheritable(3, True)
child = os.fork()
if not child:
    os.execv(sys.argv[1], sys.argv[1:])
print("exit", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Does with descriptor 3 what qmail-popup does."""


@pytest.mark.skipif(not shutil.which("tcpserver"), reason="ucspi-tcp is not installed")
def test_a_login_over_tcpserver_is_written_down_with_its_address(
    path: str, place: Path, database: Database
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [*PROGRAM, "--socket", path, "--service", "pop3", *SHOW]
    server = subprocess.Popen(
        ["tcpserver", "-HRl0", "127.0.0.1", str(port), sys.executable, "-c", POPUP, *command]
    )
    try:
        wait_for(lambda: is_open(port))
        said = talk(port, f"alice@example.com\n{PASSWORD}\n")
        refused = talk(port, "alice@example.com\nwrong\n")
    finally:
        server.terminate()
        server.wait()

    assert said.split("\n")[:2] == [str(UID), str(GID)]
    assert said.endswith("exit 0\n")
    assert refused == "exit 1\n"
    wait_for(lambda: ("pop3", "127.0.0.1") in logins(database))


def logins(database: Database) -> list[tuple[str, str]]:
    with database.reader() as session:
        rows = session.execute(select(LastAuth.service, LastAuth.remote_ip))
        return [(service, ip) for service, ip in rows]


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return not probe.connect_ex(("127.0.0.1", port))


def talk(port: int, text: str) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(text.encode())
        with connection.makefile() as answer:
            return answer.read()


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for what another process or thread does."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
