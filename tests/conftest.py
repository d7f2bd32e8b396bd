"""Fixtures for all tests: databases, sample trees, and no network but this machine's own."""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from tests import archives, databases, mariadb
from vpopsql.db import Database

pytest_plugins = ["tests.listening"]

SHARED = pytest.StashKey[Path]()

# How long an example takes is the machine's affair.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

POSTGRESQL_URL = os.environ.get("VPOPSQL_TEST_POSTGRESQL_URL")
POSTGRESQL_REQUIRED = os.environ.get("VPOPSQL_TEST_REQUIRE_POSTGRESQL") == "1"
AXE_REQUIRED = os.environ.get("VPOPSQL_TEST_REQUIRE_AXE") == "1"
CHROMIUM_REQUIRED = os.environ.get("VPOPSQL_TEST_REQUIRE_CHROMIUM") == "1"
MARIADB_REQUIRED = os.environ.get("VPOPSQL_TEST_REQUIRE_MARIADB") == "1"


MEMORY = Path("/dev/shm")  # noqa: S108 - the files below it are made by tempfile and pytest
_MEMORY_BYTES = 4 << 30


def _use_memory() -> None:
    """Have temporary files in memory, if there is enough, unless ``TMPDIR`` says where.

    What a crash of the machine would lose here is no loss. Databases and trees that are forced to
    a disk take the tests twice the time.
    """
    try:
        found = os.statvfs(MEMORY)
    except OSError:
        return
    is_large = found.f_bavail * found.f_frsize >= _MEMORY_BYTES
    if is_large and os.access(MEMORY, os.W_OK) and not found.f_flag & os.ST_NOEXEC:
        # For the programs that tests start, too.
        tempfile.tempdir = os.environ["TMPDIR"] = str(MEMORY)


if "TMPDIR" not in os.environ:
    _use_memory()


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


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long and what one worker has to do alone; the rest fills the gaps."""
    items.sort(key=_is_short)


def _is_short(item: pytest.Item) -> bool:
    return not any(item.iter_markers("slow")) and not any(item.iter_markers("xdist_group"))


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


_THIS_MACHINE = ("127.", "::1", "localhost")


def _refuse_other_machines(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.connect":
        address = arguments[1]
        if isinstance(address, tuple) and not str(address[0]).startswith(_THIS_MACHINE):
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
    """Unpack trees/NAME.tar.gz below ``directory`` and return the root it would have on a site."""
    return archives.unpack(name, directory / name)


@pytest.fixture
def unpack(tmp_path: Path) -> Callable[[str], Path]:
    """The function `unpack_tree`, for trees below the test's own directory."""
    return lambda name: unpack_tree(name, tmp_path)
