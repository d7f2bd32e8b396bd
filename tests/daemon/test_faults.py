"""What breaks below a daemon: full disks, no rights, no descriptors, clocks that jump.

Each is answered with one clear error; nothing that was there is lost, nothing half done stays, and
the daemon goes on as soon as it can.
"""

import contextlib
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests import databases, factories
from tests.daemon.conftest import Running, Talk, settings
from tests.disks import full, memory, read_only
from vpopsql import homes
from vpopsql.daemon.conversation import Conversation, Peer, Service
from vpopsql.db import Database
from vpopsql.exporter.apply import apply
from vpopsql.exporter.drift.survey import verify
from vpopsql.exporter.projector import Projector
from vpopsql.model import Flag, Mailbox
from vpopsql.quota import Quota
from vpopsql.services.account_changes import Home
from vpopsql.tree import TEMP_PREFIX, Tree

HOME = "root.example"
SYSTEM = (f"postmaster@{HOME}", factories.PASSWORD)
PLACE = f"/home/vpopmail/domains/{HOME}"
TEMPORARY = "-ERR 0.108 Database not available, try again later"
BEHIND = "-ERR 0.112 Saved, but not all files could be written"

only_sqlite = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    with memory(tmp_path / "disk") as place:
        yield place


def make_site(database: Database, root: Path) -> None:
    """Make a domain with an administrator and what an export makes of it."""
    root.mkdir(exist_ok=True)
    with database.writer() as session:
        domain = factories.domain(session, HOME)
        factories.mailbox(session, domain, "postmaster", Flag.SA_ADMIN)
    tree = Tree(root)
    tree.make_dir("/home/vpopmail/domains", 0o700, (89, 89), parents=True)
    homes.make_domain_directory(tree, PLACE, 89, 89)
    homes.make_home(tree, Home(HOME, f"{PLACE}/postmaster", 89, 89, Quota()))
    apply(database, settings(url_of(database), root))


def url_of(database: Database) -> str:
    return database.url.render_as_string(hide_password=False)


@pytest.fixture
def daemon(database: Database, start: Callable[..., Running], disk: Path) -> Running:
    """A daemon whose files are on that disk."""
    make_site(database, disk / "root")
    return start(disk / "root")


@pytest.fixture
def talk(daemon: Running, talk_to: Callable[..., Talk]) -> Talk:
    return talk_to(daemon, *SYSTEM)


def names(database: Database) -> set[str]:
    with database.reader() as session:
        return set(session.scalars(select(Mailbox.name)))


def leftovers(root: Path) -> list[Path]:
    return list(root.rglob(f"{TEMP_PREFIX}*"))


def harm(running: Running) -> list[str]:
    """Return what a verification finds."""
    report = verify(running.database, running.config)
    return [str(each.code) for each in report.findings]


CONDITIONS = pytest.mark.parametrize(
    "condition, says",
    [(full, "No space left on device"), (read_only, "Read-only file system")],
    ids=["full", "read-only"],
)


@only_sqlite
@CONDITIONS
def test_a_file_that_cannot_be_written_stays_as_it_was(
    talk: Talk, daemon: Running, disk: Path, condition: Callable[[Path], Any], says: str
) -> None:
    assert talk.ask(f"write_file {PLACE}/note", "old", ".") == ["+OK "]

    with condition(disk):
        answer = talk.ask(f"write_file {PLACE}/note", *["new " * 20] * 200, ".")
        assert (disk / "root" / PLACE[1:] / "note").read_text() == "old\n"

    assert answer == [f"-ERR 0.2002 {says}"]
    assert leftovers(disk) == []
    assert talk.ask(f"write_file {PLACE}/note", "new", ".") == ["+OK "]
    assert harm(daemon) == []


@only_sqlite
@CONDITIONS
def test_a_mailbox_without_room_for_its_directory_is_not_made(
    talk: Talk, daemon: Running, disk: Path, condition: Callable[[Path], Any], says: str
) -> None:
    del says
    with condition(disk):
        (answer,) = talk.ask(f"add_user new@{HOME} word")
        there = names(daemon.database)

    # A directory alone still finds room on a full tmpfs; then the mailbox is there, and said so.
    is_made = answer == BEHIND
    assert is_made or answer.startswith("-ERR 0.305 ")
    assert there == {"postmaster", "new"} if is_made else {"postmaster"}
    again = talk.ask(f"add_user other@{HOME} word")
    assert again == ["+OK "]
    assert harm(daemon) == []


@only_sqlite
@CONDITIONS
def test_a_change_whose_files_cannot_follow_is_saved_and_said_so(
    talk: Talk, daemon: Running, disk: Path, condition: Callable[[Path], Any], says: str
) -> None:
    del says
    many = [f"a{number:04}" for number in range(60)]
    with condition(disk):
        answers = [talk.ask(f"add_alias {name}@{HOME} x@y.example")[0] for name in many]
        assert talk.ask(f"user_info postmaster@{HOME}")[0] == "+OK+"

    assert set(answers) <= {"+OK ", BEHIND}
    assert answers[-1] == BEHIND
    assert leftovers(disk) == []
    assert talk.ask(f"add_alias last@{HOME} x@y.example") == ["+OK "]
    assert harm(daemon) == []


def test_a_database_that_cannot_grow_is_out_of_order_until_it_can(
    disk: Path, tmp_path: Path
) -> None:
    (disk / "db").mkdir()
    shared = tmp_path / "shared"
    shared.mkdir()
    url = databases.SQLite(shared, disk / "db").create(migrated=True)
    with contextlib.closing(Database(url, patience_s=2)) as database:
        make_site(database, tmp_path / "root")
        config = settings(url, tmp_path / "root")
        conversation = Conversation(Service(database, config, Projector(database, config)), Peer())

        def ask(line: str) -> str:
            (reply,) = conversation.receive(line.encode())
            return reply.status

        assert ask(f"slogin {SYSTEM[0]} {SYSTEM[1]}") == "+OK "
        with full(disk):
            during = [ask(f"add_alias a{number}@{HOME} x@y.example") for number in range(40)]
            reading = ask(f"user_info postmaster@{HOME}")
        after = ask(f"add_alias b@{HOME} x@y.example")

        told = {f"a{number}" for number, said in enumerate(during) if said == "+OK "} | {"b"}
        files = {path.name for path in (tmp_path / "root" / PLACE[1:]).glob(".qmail-*")}
        assert set(during) <= {"+OK ", TEMPORARY}
        assert during[-1] == TEMPORARY
        assert [reading, after] == ["+OK+", "+OK "]
        assert files - {".qmail-default"} == {f".qmail-{name}" for name in told}
        assert verify(database, config).findings == []


@only_sqlite
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_directory_without_permission_is_a_clear_refusal(database: Database) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "root"
        make_site(database, root)
        config = settings(url_of(database), root)
        conversation = Conversation(Service(database, config, Projector(database, config)), Peer())
        conversation.receive(f"slogin {SYSTEM[0]} {SYSTEM[1]}".encode())
        Path(name).chmod(0o755)
        for path in root.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)

        os.seteuid(65534)
        try:
            # The database is held open; only files are met as somebody else.
            answers = [
                conversation.receive(line)
                for line in (f"write_file {PLACE}/note".encode(), b"x", b".")
            ]
        finally:
            os.seteuid(0)

        assert [reply.status for replies in answers for reply in replies] == [
            "-ERR 0.2002 Permission denied"
        ]
        assert not (root / PLACE[1:] / "note").exists()
        assert leftovers(root) == []
        assert conversation.receive(b"domain_count")[0].status == "+OK+"


@contextlib.contextmanager
def served(url: str, root: Path, descriptors: int) -> Iterator[int]:
    """Run a daemon that may have so many descriptors open; give its port."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": ".",
        "VPOPSQL_DATABASE_URL": url,
        "VPOPSQL_PATHS_ROOT": str(root),
        "VPOPSQL_DAEMON_LISTEN": "127.0.0.1:0",
    }
    limit = (descriptors, descriptors)
    with subprocess.Popen(
        [sys.executable, "-c", "from vpopsql.cli import main; main()", "serve"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit),  # noqa: PLW1509
    ) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if '"listening"' in line)
        try:
            yield int(line.partition('"port": ')[2].partition(",")[0].rstrip("}\n"))
        finally:
            process.terminate()
            said = process.stderr.read()
            process.wait(20)
    assert "Traceback" not in said


@only_sqlite
def test_too_few_descriptors_hold_up_no_one_for_good(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    make_site(database, root)

    with served(database_url, root, descriptors=48) as port, contextlib.ExitStack() as many:
        first = Talk(("127.0.0.1", port))
        many.callback(first.client.close)
        assert first.ask(f"slogin {SYSTEM[0]} {SYSTEM[1]}") == ["+OK "]
        others = [
            many.enter_context(socket.create_connection(("127.0.0.1", port), 5)) for _ in range(60)
        ]
        time.sleep(0.3)
        during = [first.ask(f"add_alias a{n}@{HOME} x@y.example")[0] for n in range(3)]
        for other in others:
            other.close()
        deadline = time.monotonic() + 20
        after = ""
        while after != "+OK " and time.monotonic() < deadline:
            after = first.ask(f"add_alias b@{HOME} x@y.example")[0]
        late = Talk(("127.0.0.1", port))
        many.callback(late.client.close)
        assert late.ask(f"slogin {SYSTEM[0]} {SYSTEM[1]}") == ["+OK "]

    assert set(during) <= {"+OK ", BEHIND, TEMPORARY, "-ERR 0.907 Too many open files"}
    assert after == "+OK "


class Shifted(datetime):
    """A clock that is wrong."""

    by = timedelta()

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return datetime.now(tz) + cls.by


@pytest.fixture
def shift(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """A function that sets every clock that the code looks at, but no stopwatch."""
    for module in ("model", "daemon.conversation", "exporter.generations", "exporter.outbox"):
        monkeypatch.setattr(f"vpopsql.{module}.datetime", Shifted)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + Shifted.by.total_seconds())

    def set_clock(by: timedelta) -> None:
        monkeypatch.setattr(Shifted, "by", by)

    return set_clock


JUMPS = [timedelta(days=-4000), timedelta(hours=2)]


@pytest.mark.parametrize("jump", JUMPS, ids=str)
def test_a_clock_that_jumps_loses_nothing_and_lets_nobody_in(
    database: Database,
    start: Callable[..., Running],
    talk_to: Callable[..., Talk],
    shift: Callable[[timedelta], None],
    tmp_path: Path,
    jump: timedelta,
) -> None:
    make_site(database, tmp_path / "root")
    daemon = start(tmp_path / "root")
    talk = talk_to(daemon, *SYSTEM)
    assert talk.ask(f"add_user before@{HOME} word") == ["+OK "]

    shift(jump)
    during = [
        talk.ask(f"add_user during@{HOME} word"),
        talk.ask(f"write_file {PLACE}/.qmail-x", "&a@b.example", "."),
        talk.ask(f"del_user before@{HOME}"),
        talk.ask(f"add_user before@{HOME} other"),
    ]
    apply(database, daemon.config)
    shift(timedelta())
    after = [talk.ask(f"write_file {PLACE}/note", "x", "."), talk.ask(f"del_user during@{HOME}")]
    guess = Conversation(Service(database, daemon.config, daemon.server.service.files), Peer())
    (refused,) = guess.receive(f"slogin before@{HOME} word".encode())

    assert during + after == [["+OK "]] * 6
    assert names(database) == {"postmaster", "before"}
    assert refused.status.startswith("-ERR 8.207")
    assert (tmp_path / "root" / PLACE[1:] / ".qmail-x").read_text() == "&a@b.example\n"
    assert harm(daemon) == []
    with database.reader() as session:
        made = session.scalars(select(Mailbox.created_at).where(Mailbox.name == "before")).one()
    assert made is not None
    assert made.tzinfo is UTC
