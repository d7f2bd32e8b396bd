"""Fixtures for all tests: databases, sample trees, and no network but this machine's own."""

import os
import shutil
import signal
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import databases, mariadb
from vpopsql.db import Database

TREES = Path(__file__).parent / "trees"
SHARED = pytest.StashKey[Path]()

POSTGRESQL_URL = os.environ.get("VPOPSQL_TEST_POSTGRESQL_URL")
POSTGRESQL_REQUIRED = os.environ.get("VPOPSQL_TEST_REQUIRE_POSTGRESQL") == "1"
CHROMIUM_REQUIRED = os.environ.get("VPOPSQL_TEST_REQUIRE_CHROMIUM") == "1"
MARIADB_REQUIRED = os.environ.get("VPOPSQL_TEST_REQUIRE_MARIADB") == "1"


def pytest_configure(config: pytest.Config) -> None:
    """Agree on one directory for all workers of a session; the tests' own configuration only."""
    worker_input = getattr(config, "workerinput", None)
    if not worker_input:
        # Ended by a time limit, a session still stops its servers.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    config.stash[SHARED] = Path(
        worker_input["shared"] if worker_input else tempfile.mkdtemp(prefix="vpopsql-")
    )
    for name in [name for name in os.environ if name.startswith("VPOPSQL_")]:
        if not name.startswith("VPOPSQL_TEST_"):
            del os.environ[name]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Tell a worker of pytest-xdist the directory."""
    node.workerinput["shared"] = str(node.config.stash[SHARED])  # type: ignore[attr-defined]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what the session shared, once all workers are done."""
    if not hasattr(config, "workerinput") and (shared := config.stash.get(SHARED, None)):
        if POSTGRESQL_URL:
            databases.PostgreSQL(shared, POSTGRESQL_URL).drop_template()
        databases.stop_postgresql(shared)
        mariadb.stop(shared)
        shutil.rmtree(shared, ignore_errors=True)


def _refuse_other_machines(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.connect":
        address = arguments[1]
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise RuntimeError(f"a test connects to {address}")


sys.addaudithook(_refuse_other_machines)


@pytest.fixture(scope="session")
def _postgresql_url(request: pytest.FixtureRequest) -> str:
    try:
        return POSTGRESQL_URL or databases.start_postgresql(request.config.stash[SHARED])
    except Exception as error:
        if POSTGRESQL_REQUIRED:
            raise
        pytest.skip(f"no PostgreSQL: {error}")


@pytest.fixture(scope="session")
def mariadb_server(request: pytest.FixtureRequest, worker_id: str) -> Iterator[mariadb.MariaDB]:
    """The session's MariaDB; the test is skipped where there is none."""
    if not mariadb.is_installed():
        say = pytest.fail if MARIADB_REQUIRED else pytest.skip
        say("no mariadb-server: the import from MySQL is not tested")
    server = mariadb.MariaDB(mariadb.start(request.config.stash[SHARED]), f"test_{worker_id}")
    yield server
    server.drop_all()


@pytest.fixture(params=["sqlite", "postgresql"])
def _backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[databases.Backend]:
    shared = request.config.stash[SHARED]
    backend: databases.Backend
    if request.param == "sqlite":
        backend = databases.SQLite(shared, tmp_path)
    else:
        backend = databases.PostgreSQL(shared, request.getfixturevalue("_postgresql_url"))
    yield backend
    backend.drop_all()


@pytest.fixture
def empty_database_url(_backend: databases.Backend) -> str:
    """A database without a schema; the test runs on each kind."""
    return _backend.create(migrated=False)


@pytest.fixture
def database_url(_backend: databases.Backend) -> str:
    """A database with the newest schema and no rows; the test runs on each kind."""
    return _backend.create(migrated=True)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """The same, opened."""
    opened = Database(database_url)
    yield opened
    opened.close()


def unpack_tree(name: str, directory: Path) -> Path:
    """Unpack trees/NAME.tar.gz below ``directory`` and return the root it would have on a site.

    Below the root are home/vpopmail and var/qmail, with the times and modes of the original and,
    where the tests run as root, its owners.
    """
    root = directory / name
    with tarfile.open(TREES / f"{name}.tar.gz") as archive:
        # Not every Python 3.11 knows extraction filters yet; the others want one named.
        archive.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)
        archive.extractall(root)  # noqa: S202 - the archive is our own
    for made, place in (("vpopmail", "home"), ("qmail", "var")):
        (root / place).mkdir()
        (root / made).rename(root / place / made)
    return root


@pytest.fixture
def unpack(tmp_path: Path) -> Callable[[str], Path]:
    """The function `unpack_tree`, for trees below the test's own directory."""
    return lambda name: unpack_tree(name, tmp_path)
