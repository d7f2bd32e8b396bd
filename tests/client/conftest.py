"""A daemon over the sample site, for clients to talk to."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests import databases
from tests.conftest import SHARED
from tests.daemon.conftest import Running, settings
from tests.sites import import_tree
from vpopsql.client import Client, connect
from vpopsql.db import Database

SYSTEM = ("postmaster@test.com", "password")


@pytest.fixture
def _backend(request: pytest.FixtureRequest, tmp_path: Path) -> databases.Backend:
    """SQLite alone: a client does not see which database it is."""
    return databases.SQLite(request.config.stash[SHARED], tmp_path)


@pytest.fixture
def start(
    database: Database, database_url: str, unpack: Callable[[str], Path]
) -> Iterator[Callable[..., Running]]:
    """A function that serves the sample site, with the settings of the daemon that it is given."""
    with contextlib.ExitStack() as running:

        def start_daemon(**daemon: Any) -> Running:
            root = unpack("base")
            import_tree(database, root)
            config = settings(database_url, root)
            config = replace(config, daemon=replace(config.daemon, **daemon))
            made = Running(config, database)
            running.callback(made.stop)
            return made

        yield start_daemon


@pytest.fixture
def daemon(start: Callable[..., Running]) -> Running:
    return start()


@pytest.fixture
def client(daemon: Running) -> Iterator[Client]:
    """A system administrator who has logged in."""
    with connect(*daemon.address, timeout_s=10) as client:
        client.login(*SYSTEM)
        yield client
