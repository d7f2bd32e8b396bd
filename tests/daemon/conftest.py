"""A real daemon on a real socket, over an imported tree."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.files import NoFiles
from vpopsql import config
from vpopsql.daemon.conversation import Service
from vpopsql.daemon.server import Server
from vpopsql.db import Database


def settings(url: str, root: Path, **daemon: Any) -> config.Config:
    """Return a configuration for tests: any port, clear-text passwords kept."""
    defaults = config.load(None, {})
    return replace(
        defaults,
        database=replace(defaults.database, url=url),
        paths=replace(defaults.paths, root=str(root)),
        passwords=replace(defaults.passwords, store_clear_text=True),
        daemon=replace(
            defaults.daemon, listen=config.Address("127.0.0.1", 0), max_connections=50, **daemon
        ),
    )


class Running:
    """A daemon in this process."""

    def __init__(self, settings: config.Config, database: Database) -> None:
        self.config = settings
        self.database = database
        self.server = Server(Service(database, settings, NoFiles()))
        self.address = ("127.0.0.1", self.server.port)
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self._thread.start()

    def stop(self) -> None:
        """Stop as SIGTERM does."""
        self.server.stop()
        self._thread.join()


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
