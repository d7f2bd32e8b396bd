"""A database that is gone, or does not answer, in the middle of a conversation."""

import contextlib
import selectors
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url, select

from tests import factories
from tests.daemon.conftest import settings
from tests.daemon.files import NoFiles
from vpopsql.daemon.conversation import Conversation, Peer, Service
from vpopsql.db import Database
from vpopsql.model import AuditEntry, Flag, Mailbox

LOGIN = f"slogin postmaster@root.example {factories.PASSWORD}"
TEMPORARY = "-ERR 0.108 Database not available, try again later"
# A login has to be quicker on a busy machine, too.
PATIENCE_S = 1.5

Ask = Callable[..., list[str]]


class Wire:
    """A way to PostgreSQL that can be cut, now or at the next word, or go silent."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.is_silent = False
        self.breaks = False
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()

    def _carry(self) -> None:
        while not self._is_over.is_set():
            for key, _ in self._selector.select(0.02):
                if self.is_silent:
                    self._is_over.wait(0.02)
                elif self.breaks:
                    self.breaks = False
                    self.cut()
                elif key.fileobj is self._listener:
                    self._connect()
                else:
                    self._pass_on(key)

    def _connect(self) -> None:
        near, _ = self._listener.accept()
        far = socket.socket(socket.AF_UNIX)
        far.connect(self._target)
        self._pairs.append((near, far))
        self._selector.register(near, selectors.EVENT_READ, far)
        self._selector.register(far, selectors.EVENT_READ, near)

    def _pass_on(self, key: selectors.SelectorKey) -> None:
        source, target = key.fileobj, key.data
        assert isinstance(source, socket.socket)
        with contextlib.suppress(OSError):
            data = source.recv(65536)
            target.sendall(data)
            if data:
                return
        self._selector.unregister(source)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Break every connection, as a server that is ended does."""
        for pair in self._pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Take it down."""
        self._is_over.set()
        self._thread.join()
        self._selector.close()
        self._listener.close()
        for pair in self._pairs:
            for end in pair:
                end.close()


@pytest.fixture
def site(database: Database) -> Database:
    with database.writer() as session:
        root = factories.domain(session, "root.example")
        factories.mailbox(session, root, "postmaster", Flag.SA_ADMIN)
        factories.mailbox(session, root, "joe")
    return database


@pytest.fixture
def wire(site: Database) -> Iterator[Wire]:
    if site.is_sqlite:
        pytest.skip("SQLite has no wire")
    directory = site.url.query["host"]
    made = Wire(f"{directory}/.s.PGSQL.{site.url.port or 5432}")
    yield made
    made.close()


def asking(database: Database, root: Path) -> Ask:
    """Return a function that says lines to one conversation."""
    conversation = Conversation(Service(database, settings("", root), NoFiles()), Peer())

    def ask(*lines: str) -> list[str]:
        replies = [reply for line in lines for reply in conversation.receive(line.encode())]
        return [b"".join(reply.render()).decode().splitlines()[0] for reply in replies]

    assert ask(LOGIN) == ["+OK "]
    return ask


@pytest.fixture
def ask(site: Database, wire: Wire, tmp_path: Path) -> Iterator[Ask]:
    """A function that says lines to one conversation, whose database is behind the wire."""
    url = make_url(site.url).set(host="127.0.0.1", port=wire.port, query={})
    with contextlib.closing(Database(url, patience_s=PATIENCE_S)) as database:
        yield asking(database, tmp_path)


@pytest.mark.parametrize("at_the_next_word", [False, True])
def test_connections_that_were_broken_are_made_anew_without_a_word(
    ask: Ask, wire: Wire, *, at_the_next_word: bool
) -> None:
    if at_the_next_word:
        wire.breaks = True
    else:
        wire.cut()

    assert ask("domain_count") == ["+OK+"]


def test_so_are_those_of_changes(ask: Ask, wire: Wire, site: Database) -> None:
    # Changes have a connection of their own, which there is from now on.
    assert ask("mod_user joe@root.example", "comment Joe", ".") == ["+OK ", "+OK "]
    wire.cut()

    assert ask("mod_user joe@root.example", "comment New", ".") == ["+OK ", "+OK "]
    with site.reader() as session:
        assert session.scalar(select(Mailbox.comment).where(Mailbox.name == "joe")) == "New"


def test_a_server_that_says_nothing_gives_a_temporary_error_until_it_speaks_again(
    ask: Ask, wire: Wire
) -> None:
    wire.is_silent = True

    assert ask("domain_count") == [TEMPORARY]
    wire.is_silent = False
    assert ask("domain_count") == ["+OK+"]


@pytest.mark.parametrize("trouble", ["breaks", "is_silent"])
def test_a_change_that_meets_an_outage_is_not_half_done(
    ask: Ask, wire: Wire, site: Database, trouble: str
) -> None:
    assert ask("mod_user joe@root.example", "comment Joe", ".") == ["+OK ", "+OK "]
    with site.reader() as session:
        before = session.scalars(select(AuditEntry.id)).all()
    assert ask("mod_user joe@root.example", "comment New") == ["+OK "]
    setattr(wire, trouble, True)

    assert ask(".") == [TEMPORARY]

    wire.is_silent = False
    with site.reader() as session:
        assert session.scalar(select(Mailbox.comment).where(Mailbox.name == "joe")) == "Joe"
        assert session.scalars(select(AuditEntry.id)).all() == before
    assert ask("mod_user joe@root.example", "comment New", ".") == ["+OK ", "+OK "]


def test_a_login_that_meets_an_outage_does_not_count_as_failed(
    ask: Ask, wire: Wire, site: Database, tmp_path: Path
) -> None:
    url = make_url(site.url).set(host="127.0.0.1", port=wire.port, query={})
    with contextlib.closing(Database(url, patience_s=PATIENCE_S)) as database:
        conversation = Conversation(Service(database, settings("", tmp_path), NoFiles()), Peer())
        wire.is_silent = True
        (during,) = conversation.receive(LOGIN.encode())
        wire.is_silent = False
        (after,) = conversation.receive(LOGIN.encode())

    assert [during.status, after.status] == [TEMPORARY, "+OK "]


def test_a_change_waits_for_another_process_that_writes(site: Database, tmp_path: Path) -> None:
    if not site.is_sqlite:
        pytest.skip("PostgreSQL locks rows")
    other = sqlite3.connect(str(site.url.database), isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    ends = threading.Timer(0.2, other.execute, ("ROLLBACK",))

    with contextlib.closing(Database(site.url, patience_s=30)) as database:
        ask = asking(database, tmp_path)
        ends.start()
        answers = ask("mod_user joe@root.example", "comment New", ".")

    ends.join()
    other.close()
    assert answers == ["+OK ", "+OK "]


def test_a_sqlite_file_that_somebody_else_writes_can_be_read_and_is_busy_for_changes(
    site: Database, tmp_path: Path
) -> None:
    if not site.is_sqlite:
        pytest.skip("PostgreSQL locks rows")
    with contextlib.closing(Database(site.url, patience_s=0.2)) as database:
        ask = asking(database, tmp_path)
        other = sqlite3.connect(str(site.url.database), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        assert ask("domain_count") == ["+OK+"]
        assert ask("mod_user joe@root.example", "comment New", ".") == ["+OK ", TEMPORARY]

        other.execute("ROLLBACK")
        other.close()
        assert ask("mod_user joe@root.example", "comment New", ".") == ["+OK ", "+OK "]
