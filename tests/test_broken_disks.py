"""Disks that fill, or turn read-only, while a daemon or a command works on them.

Real file systems and real processes. Each tells of it in one clear error, loses nothing that it
said was done, leaves nothing half done, and goes on when there is a disk to write to again.
"""

import contextlib
import itertools
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import func, select

from scripts.serving import Daemon, DaemonFailed
from scripts.sites.synthesis import Size, Synthesis
from scripts.sites.tree import Homes
from scripts.sites.tree import Tree as MadeTree
from tests import databases, factories
from tests.daemon import test_faults
from tests.daemon.test_faults import HOME, PLACE, SYSTEM
from tests.disks import Breakable, breakable, full, memory, read_only
from tests.stored import contents
from vpopsql import config, db
from vpopsql.client import Client, ClientError, Refused, commands, connect
from vpopsql.db import Database
from vpopsql.exporter.drift.survey import verify
from vpopsql.model import DotQmailFile, LatestUsage, Mailbox
from vpopsql.tree import TEMP_PREFIX

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[1]
BEHIND, AWAY = "0.112", "0.108"
SOON_S = 30.0

# The command, under whose hands the disk breaks: before a statement of SQL, or before a file gets
# its name.
BREAKING = """
import os, sys
trigger, what, number = sys.argv.pop(1), sys.argv.pop(1), int(sys.argv.pop(1))

def count():
    global number
    number -= 1
    if number == 0:
        with open(trigger, "w") as file:
            file.write("a test")

if what == "statement":
    from sqlalchemy import Engine, event
    event.listen(Engine, "before_cursor_execute", lambda *_: count())
else:
    rename = os.rename
    def counted(*arguments, **options):
        count()
        rename(*arguments, **options)
    os.rename = counted
from vpopsql.cli import main
from vpopsql.importer import plan
# So that an import of a small site has several transactions, too.
plan._MAILBOXES_AT_ONCE = 50
main()
"""
PLAIN = "from vpopsql.cli import main; main()"


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


class Site(NamedTuple):
    """A database and a tree, on one disk or on two."""

    url: str
    root: Path

    @property
    def settings(self) -> dict[str, str]:
        return {
            "VPOPSQL_DATABASE_URL": self.url,
            "VPOPSQL_PATHS_ROOT": str(self.root),
            "VPOPSQL_DAEMON_LISTEN": "127.0.0.1:0",
            # No change that nobody has asked for, and nobody is told of.
            "VPOPSQL_PASSWORDS_REHASH": "false",
        }

    def run(self, program: str, *words: str) -> Done:
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT), **self.settings}
        done = subprocess.run(
            [sys.executable, "-c", program, *words],
            cwd=CHECKOUT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    @contextlib.contextmanager
    def opened(self) -> Iterator[Database]:
        with contextlib.closing(Database(self.url)) as database:
            yield database

    def findings(self) -> list[tuple[str, str]]:
        """Return the code and the path of each thing that is not as it should be."""
        with self.opened() as database:
            report = verify(database, config.load(None, self.settings))
            return [(str(each.code), each.path) for each in report.findings]


def require_clear(done: Done, *says: str) -> None:
    """Require that a command has failed with one line that says why."""
    assert done.returncode in {1, 3}, done
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert any(each in done.stderr for each in says), done.stderr


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Breakable]:
    """A disk that can break."""
    with breakable(tmp_path) as made:
        yield made


@pytest.fixture
def make_url(tmp_path: Path) -> Callable[[Path], str]:
    """A function that makes a database in a directory."""
    shared = tmp_path / "shared"
    shared.mkdir()

    def make(directory: Path) -> str:
        return databases.SQLite(shared, directory).create(migrated=True)

    return make


def make_site(url: str, root: Path) -> Site:
    """Make a site with one domain, and its administrator."""
    with contextlib.closing(Database(url)) as database:
        test_faults.make_site(database, root)
    return Site(url, root)


# --- a daemon ------------------------------------------------------------------------------------


class Writer(threading.Thread):
    """A client that adds aliases and files until it is told to stop, and notes the answers."""

    def __init__(self, port: int, number: int) -> None:
        super().__init__(daemon=True)
        self.answers: Counter[str] = Counter()
        self.aliases: dict[str, str] = {}
        self.files: dict[str, str] = {}
        self.failure: Exception | None = None
        self.stopping = threading.Event()
        self._port = port
        self._number = number

    def run(self) -> None:
        try:
            with connect(port=self._port, timeout_s=SOON_S) as client:
                client.login(*SYSTEM, verb="slogin")
                for serial in itertools.count():
                    if self.stopping.is_set():
                        return
                    name = f"a{self._number}x{serial}"
                    added = commands.add_alias(f"{name}@{HOME}", "&x@y.example")
                    self.aliases[name] = self._said(client.run, added)
                    written = commands.write_file(f"{HOME}/{name}", [name])
                    self.files[name] = self._said(client.run, written)
        except (ClientError, OSError) as error:
            self.failure = error

    def _said(self, run: Callable[..., object], command: object) -> str:
        try:
            run(command)
            said = "ok"
        except Refused as refused:
            said = str(refused)
        self.answers[said] += 1
        return said


@contextlib.contextmanager
def writers(port: int) -> Iterator[list[Writer]]:
    """Let three clients write; when the block ends, they have stopped."""
    made = [Writer(port, number) for number in range(3)]
    for each in made:
        each.start()
    try:
        yield made
    finally:
        for each in made:
            each.stopping.set()
        for each in made:
            each.join(SOON_S)
    assert [each.failure for each in made] == [None] * 3


def await_answers(made: list[Writer], more: int) -> None:
    """Wait until each client has so many more answers."""
    goals = [each.answers.total() + more for each in made]
    deadline = time.monotonic() + SOON_S
    while any(each.answers.total() < goal for each, goal in zip(made, goals, strict=True)) and all(
        each.is_alive() for each in made
    ):
        assert time.monotonic() < deadline, "the daemon answers"
        time.sleep(0.01)


@contextlib.contextmanager
def serving(site: Site, log: Path) -> Iterator[Daemon]:
    daemon = Daemon(site.settings, log)
    try:
        yield daemon
        daemon.require_sound()
    finally:
        daemon.stop()


@contextlib.contextmanager
def logged_in(daemon: Daemon) -> Iterator[Client]:
    with connect(port=daemon.port, timeout_s=SOON_S) as client:
        client.login(*SYSTEM, verb="slogin")
        yield client


def done_by(made: list[Writer]) -> set[str]:
    """Return the aliases that were said to be added, so far."""
    return {name for each in made for name, said in [*each.aliases.items()] if said == "ok"}


def names_of(site: Site) -> set[str]:
    """Return the aliases that the daemon tells of."""
    with site.opened() as database, database.reader() as session:
        rows = session.scalars(select(DotQmailFile.name))
        return set(rows)


def files_of(site: Site) -> dict[str, str]:
    directory = site.root / PLACE[1:]
    return {path.name: path.read_text() for path in directory.glob("a*x*")}


@pytest.mark.parametrize("condition", [read_only, full])
def test_a_daemon_whose_trees_cannot_be_written_for_a_while_loses_nothing(
    tmp_path: Path,
    make_url: Callable[[Path], str],
    condition: Callable[[Path], contextlib.AbstractContextManager[None]],
) -> None:
    with memory(tmp_path / "disk", "4m") as disk:
        site = make_site(make_url(tmp_path), disk / "root")
        with serving(site, tmp_path / "log") as daemon:
            before = daemon.processes
            with writers(daemon.port) as made:
                await_answers(made, 10)
                with condition(disk):
                    await_answers(made, 10)
                await_answers(made, 10)
            assert daemon.processes == before
            with logged_in(daemon) as client:
                client.add_alias(f"last@{HOME}", "&x@y.example")

        reason = "Read-only file system" if condition is read_only else "No space left on device"
        answers = sum((each.answers for each in made), Counter[str]())
        assert set(answers) == {
            "ok",
            f"{BEHIND} Saved, but not all files could be written",
            f"0.2002 {reason}",
        }
        done = {name for each in made for name in each.aliases}
        assert names_of(site) >= done
        files = {name for each in made for name, said in each.files.items() if said == "ok"}
        assert files_of(site) == {name: f"{name}\n" for name in files}
        # From a disk that turned read-only between two steps, nothing can be removed either.
        most = len(made) if condition is read_only else 0
        assert len([*disk.rglob(f"{TEMP_PREFIX}*")]) <= most
        assert site.findings() == []


def test_a_daemon_whose_database_turns_read_only_loses_nothing(
    tmp_path: Path, make_url: Callable[[Path], str], disk: Breakable
) -> None:
    site = make_site(make_url(disk.place), tmp_path / "root")
    with serving(site, tmp_path / "log") as daemon:
        with writers(daemon.port) as made:
            await_answers(made, 10)
            before = done_by(made)
            disk.break_off()
            await_answers(made, 10)
        with logged_in(daemon) as client:
            assert client.user_info(SYSTEM[0]).name == "postmaster"
            with pytest.raises(Refused, match=f"^{AWAY} Database not available"):
                client.add_alias(f"late@{HOME}", "&x@y.example")
    disk.mend()

    with serving(site, tmp_path / "another log") as daemon, logged_in(daemon) as client:
        client.add_alias(f"last@{HOME}", "&x@y.example")

    answers = sum((each.answers for each in made), Counter[str]())
    assert set(answers) == {"ok", f"{AWAY} Database not available, try again later"}
    assert before <= names_of(site)
    # At the very moment, one fsync of an ext4 may be told that all is on the disk, and it is not:
    # SQLite alone, with nothing of the daemon's, loses its last commit as often. What was refused
    # then may have been written down; it was not said to be done. The tree is on another disk, and
    # has the file of the lost commit.
    lost = done_by(made) - names_of(site)
    assert len(lost) <= 1
    assert len(names_of(site) - done_by(made) - {"last"}) <= len(made)
    assert site.findings() == [("dotqmail-extra", f"{PLACE}/.qmail-{name}") for name in lost]


def test_a_daemon_does_not_start_on_a_read_only_database_and_says_why(
    tmp_path: Path, make_url: Callable[[Path], str]
) -> None:
    with memory(tmp_path / "disk", "4m") as disk:
        site = make_site(make_url(disk), tmp_path / "root")

        with (
            read_only(disk),
            pytest.raises(DaemonFailed, match=r"readonly database|unable to open"),
        ):
            Daemon(site.settings, tmp_path / "log")

        said = (tmp_path / "log").read_text()
        assert (len(said.splitlines()), "Traceback" in said) == (1, False)
        with serving(site, tmp_path / "another log") as daemon, logged_in(daemon) as client:
            assert client.user_info(SYSTEM[0]).name == "postmaster"


# --- commands ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of vpopmail's with eighty domains."""
    place = tmp_path_factory.mktemp("made")
    synthesis = Synthesis(Size(80, 400, aliases=0.5))
    made = MadeTree(place, Homes.LIGHT)
    made.frame(synthesis.frame)
    for domain in synthesis.domains():
        made.domain(domain)
    return place


def import_of(tree: Path) -> tuple[str, ...]:
    where = ("--vpopmail", str(tree / "vpopmail"), "--qmail", str(tree / "qmail"))
    return ("import", "tree", *where, "--apply", "--jobs", "1")


def contents_of(url: str) -> dict[str, list[object]]:
    with contextlib.closing(Database(url)) as database:
        found = contents(database)
    settings = found["site_settings"]
    return found | {"site_settings": [each for each in settings if "imported_at" not in each]}


def test_an_import_into_a_database_that_turns_read_only_can_be_done_again(
    tmp_path: Path,
    make_url: Callable[[Path], str],
    disk: Breakable,
    tree: Path,
) -> None:
    site = Site(make_url(disk.place), tmp_path / "root")
    whole = Site(make_url(tmp_path), tmp_path / "root")

    broken = site.run(BREAKING, str(disk.trigger), "statement", "120", *import_of(tree))
    disk.mend()
    again = site.run(PLAIN, *import_of(tree))
    whole.run(PLAIN, *import_of(tree))

    require_clear(broken, "disk I/O error", "readonly database", "unable to open")
    assert again.returncode == 0, again
    assert len(contents_of(site.url)["mailboxes"]) == 400
    assert contents_of(site.url) == contents_of(whole.url)


def test_an_upgrade_of_a_database_that_turns_read_only_is_done_or_not_begun(
    tmp_path: Path, disk: Breakable
) -> None:
    url = f"sqlite:///{disk.place}/site.db"
    (disk.place / "site.db").touch()
    db.upgrade(url, "0003")
    site = Site(url, tmp_path)

    broken = site.run(BREAKING, str(disk.trigger), "statement", "60", "db", "upgrade")
    disk.mend()
    between = db.current(url)
    again = site.run(PLAIN, "db", "upgrade")

    require_clear(broken, "disk I/O error", "readonly database", "unable to open")
    assert between == "0003"
    assert again.returncode == 0, again
    assert db.check(url) == []


def test_a_scan_of_mailboxes_into_a_database_that_turns_read_only_can_be_done_again(
    tmp_path: Path, make_url: Callable[[Path], str], disk: Breakable
) -> None:
    site = make_site(make_url(disk.place), tmp_path / "root")

    broken = site.run(BREAKING, str(disk.trigger), "statement", "6", "usage", "scan")
    disk.mend()
    again = site.run(PLAIN, "usage", "scan")

    require_clear(broken, "disk I/O error", "readonly database", "unable to open")
    assert again.returncode == 0, again
    with site.opened() as database, database.reader() as session:
        measured = session.scalar(select(func.count()).select_from(LatestUsage))
        assert measured == session.scalar(select(func.count()).select_from(Mailbox)) == 1


def exported(root: Path) -> dict[str, bytes]:
    """Return qmail's files, without what an export needs for itself."""
    places = [root / "var/qmail/control", root / "var/qmail/users"]
    return {
        path.name: path.read_bytes()
        for place in places
        for path in place.glob("*")
        if path.is_file() and not path.name.endswith(".lock")
    }


def test_an_export_onto_a_disk_that_turns_read_only_can_be_done_again(
    tmp_path: Path,
    make_url: Callable[[Path], str],
    disk: Breakable,
) -> None:
    site = make_site(make_url(tmp_path), disk.place / "root")
    with site.opened() as database, database.writer() as session:
        for each in range(40):
            made = factories.domain(session, f"d{each}.example")
            factories.mailbox(session, made, "alice")
    before = exported(site.root)

    broken = site.run(BREAKING, str(disk.trigger), "rename", "43", "export", "apply")
    disk.mend()
    between = exported(site.root)
    again = site.run(PLAIN, "export", "apply")
    last = site.run(PLAIN, "export", "apply")
    fresh = Site(site.url, tmp_path / "fresh")
    fresh.root.mkdir()
    fresh.run(PLAIN, "export", "apply")

    require_clear(broken, "Read-only file system", "Input/output error")
    # Each file is the old one or the new one.
    after = exported(fresh.root)
    assert {
        name: data in (before.get(name), after.get(name)) for name, data in between.items()
    } == dict.fromkeys(between, True)
    assert f"{HOME}\n".encode() in between["rcpthosts"]
    assert [again.returncode, last.returncode] == [0, 0], (again, last)
    assert exported(site.root) == after


@pytest.mark.parametrize("what", ["import", "upgrade", "scan", "export"])
def test_a_command_without_room_says_so_and_can_be_done_again(
    tmp_path: Path, make_url: Callable[[Path], str], tree: Path, what: str
) -> None:
    with memory(tmp_path / "disk", "8m") as disk:
        url = f"sqlite:///{disk}/old.db" if what == "upgrade" else make_url(disk)
        if what == "upgrade":
            (disk / "old.db").touch()
            db.upgrade(url, "0003")
            site = Site(url, disk / "root")
        elif what == "import":
            site = Site(url, disk / "root")
        elif what == "export":
            site = make_site(make_url(tmp_path), disk / "root")
        else:
            site = make_site(url, disk / "root")
        words = {
            "import": import_of(tree),
            "upgrade": ("db", "upgrade"),
            "scan": ("usage", "scan"),
            "export": ("export", "apply"),
        }[what]
        if what == "export":
            with site.opened() as database, database.writer() as session:
                factories.domain(session, "another.example")

        with full(disk):
            failed = site.run(PLAIN, *words)
        again = site.run(PLAIN, *words)

        require_clear(failed, "No space left on device", "database or disk is full", "disk I/O")
        assert again.returncode == 0, again
        assert db.check(site.url) == []
