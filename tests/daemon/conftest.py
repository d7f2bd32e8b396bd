"""A real daemon on a real socket, over an imported tree."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.accounts import SYSTEM
from tests.sites import import_sample, import_tree
from tests.transcripts import Client
from vpopsql import config
from vpopsql.daemon.conversation import Service
from vpopsql.daemon.encryption import Certificate
from vpopsql.daemon.server import Listener, Server
from vpopsql.db import Database
from vpopsql.exporter.projector import Projector


def settings(url: str, root: Path, **daemon: Any) -> config.Config:
    """Return a configuration for tests: any port, clear-text passwords kept."""
    defaults = config.load(None, {})
    return replace(
        defaults,
        database=replace(defaults.database, url=url),
        paths=replace(defaults.paths, root=str(root)),
        passwords=replace(defaults.passwords, store_clear_text=True),
        daemon=replace(
            defaults.daemon,
            **{"listen": config.Address("127.0.0.1", 0), "max_connections": 50, **daemon},
        ),
    )


class Running:
    """A daemon in this process."""

    def __init__(self, settings: config.Config, database: Database) -> None:
        self.config = settings
        self.database = database
        service = Service(database, settings, Projector(database, settings))
        certificate = Certificate(settings.daemon) if settings.daemon.tls_certificate else None
        is_tls = settings.daemon.tls_listen is not None
        self._listener = Listener(settings.daemon.listen, is_tls=is_tls)
        self.server = Server(service, [self._listener], certificate=certificate)
        self.address = ("127.0.0.1", self.server.port)
        self.server.start()

    def stop(self) -> None:
        """Stop as SIGTERM does."""
        self.server.stop()
        self._listener.server_close()


@pytest.fixture
def start(database: Database, database_url: str) -> Iterator[Callable[..., Running]]:
    """A function that starts a daemon on the test's database, with files below a root."""
    running: list[Running] = []

    def start_daemon(root: Path, **daemon: object) -> Running:
        made = Running(settings(database_url, root, **daemon), database)
        running.append(made)
        return made

    yield start_daemon
    for daemon in running:
        daemon.stop()


@pytest.fixture
def serve(
    database: Database, start: Callable[..., Running], unpack: Callable[[str], Path]
) -> Callable[..., Running]:
    """A function that imports a sample tree and serves it."""

    def serve_tree(name: str, prepare: Callable[[Path], object] | None = None) -> Running:
        root = unpack(name)
        if prepare:
            prepare(root)
            import_tree(database, root)
        else:
            import_sample(database, name, root)
        return start(root)

    return serve_tree


class Talk:
    """A client that waits for each answer."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.client = Client(address)
        assert self.client.line() == b"+OK \r\n"

    def ask(self, *lines: str | bytes) -> list[str]:
        """Send lines in one piece, and return the lines of one reply, without their ends."""
        raw = [line if isinstance(line, bytes) else line.encode() for line in lines]
        self.client.send(b"".join(line + b"\r\n" for line in raw))
        return self.answer()

    def answer(self) -> list[str]:
        """Return the lines of the next reply, without their ends."""
        lines = [self._line()]
        if lines[0] == "+OK+":
            while lines[-1] != ".":
                lines.append(self._line())
        return lines

    def change(self, command: str, *options: str) -> str:
        """Run mod_user or set_limits; return what is said at the end, or at once if refused."""
        start = self.ask(command)
        return self.ask(*options, ".")[0] if start == ["+OK "] else start[0]

    def _line(self) -> str:
        line = self.client.line()
        assert line.endswith(b"\n"), line
        return line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")


@pytest.fixture
def talk_to() -> Iterator[Callable[..., Talk]]:
    """A function that connects to a daemon and logs in."""
    opened: list[Talk] = []

    def connect(daemon: Running, account: str, password: str, verb: str = "slogin") -> Talk:
        talk = Talk(daemon.address)
        opened.append(talk)
        assert talk.ask(f"{verb} {account} {password}")[0].startswith("+OK")
        return talk

    yield connect
    for talk in opened:
        talk.client.close()


@pytest.fixture
def daemon(serve: Callable[..., Running]) -> Running:
    """The tree base, served."""
    return serve("base")


@pytest.fixture
def root(daemon: Running) -> Path:
    """Where its files are."""
    return Path(daemon.config.paths.root)


@pytest.fixture
def system(daemon: Running, talk_to: Callable[..., Talk]) -> Talk:
    """What the system administrator says to it."""
    return talk_to(daemon, *SYSTEM)


@pytest.fixture
def with_root(daemon: Running, system: Talk) -> Running:
    """A daemon with a system administrator in a domain of others."""
    assert system.ask("add_user root@example.com rootpw") == ["+OK "]
    assert system.change("mod_user root@example.com", "system_admin_privileges 1") == "+OK "
    return daemon
