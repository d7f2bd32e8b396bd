"""Followers as processes of their own, while many change the database and things break."""

import contextlib
import itertools
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from tests import databases, factories
from tests.conftest import POSTGRESQL_REQUIRED, SHARED
from tests.exporter.following import (
    ACCEPTED,
    Process,
    are_up_to_date,
    at,
    eventually,
    files,
    only,
    wanted,
)
from vpopsql import db
from vpopsql.config import Config
from vpopsql.db import Database
from vpopsql.errors import DatabaseUnavailable
from vpopsql.exporter.apply import apply
from vpopsql.model import AuditEntry, DomainName, DotQmailFile, Mailbox, Revision
from vpopsql.names import sort_key

# One server for all of them.
pytestmark = pytest.mark.xdist_group("follow")

DOMAINS = 20
QUICK = {
    "VPOPSQL_FOLLOW_QUIET_S": "0.05",
    "VPOPSQL_FOLLOW_WAIT_S": "0.25",
    "VPOPSQL_FOLLOW_POLL_S": "0.05",
    "VPOPSQL_FOLLOW_REPORT_S": "1",
}

Start = Callable[..., Process]


class Server:
    """A PostgreSQL server that can be stopped and started."""

    def __init__(self, directory: Path) -> None:
        self._server = databases._server(directory)
        self.url = self._server.get_uri()

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server.ensure_postgres_running()


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, worker_id: str) -> Iterator[Server]:
    """A server of this module's own."""
    directory = request.config.stash[SHARED] / f"follow-{worker_id}"
    directory.mkdir()
    try:
        made = Server(directory)
    except Exception as error:
        if POSTGRESQL_REQUIRED:
            raise
        pytest.skip(f"no PostgreSQL: {error}")
    yield made
    made.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database: a file, or one of the module's server."""
    made = f"sqlite:///{tmp_path}/vpopsql.db"
    if request.param == "postgresql":
        made = request.getfixturevalue("server").url
        db.downgrade(made, "base")
    db.upgrade(made)
    return made


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """The same, opened, with some domains."""
    with contextlib.closing(Database(url)) as opened:
        with opened.writer() as session:
            for number in range(DOMAINS):
                made = factories.domain(session, f"d{number}.example")
                factories.mailbox(session, made, "alice")
                session.add(Revision(domain=f"d{number}.example", topic="add_domain"))
        yield opened


@pytest.fixture
def start(url: str, tmp_path: Path) -> Iterator[Start]:
    """A function that starts a follower; its host's files are below a root of its name."""
    running: list[Process] = []

    def make(role: str, *options: str) -> Process:
        root = tmp_path / role
        root.mkdir(exist_ok=True)
        words = ("export", "follow", "--host", role, "--role", role, *options)
        made = Process(url, root, *words, **QUICK)
        running.append(made)
        return made

    yield make
    for process in running:
        process.kill()


class Changes:
    """Somebody who changes a site, many times a second, whatever becomes of the database."""

    def __init__(self, database: Database, per_second: float) -> None:
        self._database = database
        self._pause_s = 1 / per_second
        self._numbers = itertools.count()
        self._is_over = threading.Event()
        self.done = 0

    def make(self, number: int) -> None:
        """Make a change; which one depends on the number."""
        name = f"d{number % DOMAINS}.example"
        kinds = (self._comment, self._mailbox, self._comment, self._alias, self._name)
        with self._database.writer() as session:
            of_it = select(DomainName.domain_id).where(DomainName.name == name)
            domain_id = session.scalars(of_it).one()
            topic = kinds[number % len(kinds)](session, name, domain_id, number)
            session.add(Revision(domain=name, topic=topic))

    def until_told(self) -> None:
        """Make changes, over and over."""
        due = time.monotonic()
        while not self._is_over.is_set():
            with contextlib.suppress(DatabaseUnavailable):
                self.make(next(self._numbers))
                self.done += 1
            due = max(due + self._pause_s, time.monotonic() - 1)
            self._is_over.wait(max(due - time.monotonic(), 0))

    @contextlib.contextmanager
    def going_on(self, workers: int) -> Iterator[None]:
        """Make changes while the block runs."""
        with ThreadPoolExecutor(workers) as threads:
            futures = [threads.submit(self.until_told) for _ in range(workers)]
            try:
                yield
            finally:
                self._is_over.set()
        for future in futures:
            future.result()

    @staticmethod
    def _comment(session: Session, name: str, domain_id: int, number: int) -> str:
        del name
        of_it = update(Mailbox).where(Mailbox.domain_id == domain_id)
        session.execute(of_it.values(comment=f"Number {number}"))
        return "mod_user"

    @staticmethod
    def _mailbox(session: Session, name: str, domain_id: int, number: int) -> str:
        session.add(
            Mailbox(
                domain_id=domain_id,
                name=f"u{number}",
                password_hash=factories.PASSWORD_HASH,
                comment="",
                directory=f"{factories.HOME}/domains/{name}/u{number}",
                quota_text="NOQUOTA",
            )
        )
        return "add_user"

    @staticmethod
    def _alias(session: Session, name: str, domain_id: int, number: int) -> str:
        """Make a file, or delete it if it is there."""
        alias = f"a{number % 7}"
        of_it = (DotQmailFile.domain_id == domain_id, DotQmailFile.name == alias)
        gone = session.scalar(delete(DotQmailFile).where(*of_it).returning(DotQmailFile.id))
        if not gone:
            session.add(DotQmailFile(domain_id=domain_id, name=alias))
        session.add(
            AuditEntry(
                actor="test",
                channel="sql",
                action="write_file",
                object_type="dotqmail",
                object=f"{factories.HOME}/domains/{name}/.qmail-{alias}",
                changes={"lines": ["", None] if gone else [None, ""]},
            )
        )
        return "write_file"

    @staticmethod
    def _name(session: Session, name: str, domain_id: int, number: int) -> str:
        del name
        alias = f"also{number}.example"
        session.add(
            DomainName(name=alias, domain_id=domain_id, is_alias=True, sort_key=sort_key(alias))
        )
        return "add_alias_domain"


def assert_equal(database: Database, tmp_path: Path) -> None:
    expected = wanted(database, Config(), tmp_path / "fresh")
    assert files(tmp_path / "mail") == expected
    assert files(tmp_path / "relay") == only(ACCEPTED, expected)


def test_two_hosts_are_equal_in_the_end_whatever_breaks(
    database: Database, start: Start, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = None if database.is_sqlite else request.getfixturevalue("server")
    mail, relay = start("mail"), start("relay")
    eventually(lambda: are_up_to_date(database, "mail", "relay"), "nobody has begun")
    changes = Changes(database, per_second=50)

    with changes.going_on(workers=4):
        time.sleep(1)
        mail.kill()
        time.sleep(0.5)
        mail = start("mail")
        time.sleep(1)
        outage(server)
        time.sleep(0.5)
        relay.kill()
        relay = start("relay")
        time.sleep(1)
    eventually(lambda: are_up_to_date(database, "mail", "relay"), "they do not catch up")

    assert changes.done > 20
    assert_equal(database, tmp_path)
    assert [mail.terminate()[0], relay.terminate()[0]] == [0, 0]


def outage(server: Server | None) -> None:
    """Stop the server for a while, if there is one."""
    if server:
        server.stop()
        time.sleep(1)
        server.start()


def test_a_host_follows_until_it_is_told_to_end(
    database: Database, start: Start, tmp_path: Path
) -> None:
    mail = start("mail")
    eventually(lambda: are_up_to_date(database, "mail"), "it has not begun")
    changes = Changes(database, per_second=1)

    changes.make(4)
    eventually(lambda: "also4.example" in accepted(tmp_path), "the change is not seen")
    code, said = mail.terminate()

    assert code == 0
    assert '"event": "up to date"' in said
    assert "error" not in said


def test_once_is_for_cron(database: Database, start: Start, tmp_path: Path) -> None:
    mail, relay = start("mail", "--once"), start("relay", "--once")

    done = [mail.finish(), relay.finish()]

    assert [(code, out) for code, out, _ in done] == [(0, ""), (0, "")]
    assert are_up_to_date(database, "mail", "relay")
    assert_equal(database, tmp_path)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_database_that_is_away_is_said_once(
    database: Database, start: Start, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("server")
    mail = start("mail")
    eventually(lambda: are_up_to_date(database, "mail"), "it has not begun")
    before = files(tmp_path / "mail")

    server.stop()
    time.sleep(2)
    during = files(tmp_path / "mail")
    server.start()
    eventually(lambda: is_reachable(database), "the server does not come back")
    Changes(database, per_second=1).make(4)
    eventually(lambda: are_up_to_date(database, "mail"), "it does not come back")
    code, said = mail.terminate()

    assert during == before
    assert code == 0
    assert said.count("database away, files stay") == 1
    assert "Traceback" not in said


def is_reachable(database: Database) -> bool:
    with contextlib.suppress(DatabaseUnavailable):
        database.require_schema()
        return True
    return False


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_backup_that_was_put_in_the_place_of_the_database_is_followed(
    database: Database, start: Start, tmp_path: Path
) -> None:
    mail = start("mail")
    eventually(lambda: are_up_to_date(database, "mail"), "it has not begun")
    backup = tmp_path / "backup.db"
    with contextlib.closing(sqlite3.connect(str(database.url.database))) as connection:
        connection.execute("VACUUM INTO ?", [str(backup)])
    Changes(database, per_second=1).make(4)
    eventually(lambda: are_up_to_date(database, "mail"), "it does not follow")
    with contextlib.closing(Database(f"sqlite:///{backup}")) as restored:
        Changes(restored, per_second=1).make(9)

    database.close()
    put_in_place(backup, Path(str(database.url.database)))

    eventually(lambda: "also9.example" in accepted(tmp_path), "it does not follow the backup")
    assert "also4.example" not in accepted(tmp_path)
    assert mail.terminate()[0] == 0


def accepted(tmp_path: Path) -> str:
    return (tmp_path / "mail/var/qmail/control/rcpthosts").read_text()


def put_in_place(new: Path, old: Path) -> None:
    """Restore a backup of a SQLite database."""
    # They belong to the old one; SQLite would take them for the new one's.
    for rest in ("-wal", "-shm"):
        old.with_name(old.name + rest).unlink()
    new.rename(old)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_what_an_export_of_another_host_wrote_is_no_matter(
    database: Database, start: Start, tmp_path: Path
) -> None:
    start("mail", "--once").finish()
    Changes(database, per_second=1).make(4)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    apply(database, at(elsewhere, Config()))

    start("mail", "--once").finish()

    assert "also4.example" in accepted(tmp_path)
