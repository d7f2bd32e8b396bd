"""Sites that are only looked at, so that each is made once for the tests of a module."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import databases, sites
from tests.conftest import SHARED, unpack_tree
from tests.explain import crossing
from vpopsql.config import Paths
from vpopsql.db import Database
from vpopsql.explain import explanation, files, rows
from vpopsql.explain.result import Explanation
from vpopsql.importer.backend import Choices
from vpopsql.tree import Tree


@dataclass(frozen=True)
class Sample:
    """A site in a database, and where its files are."""

    url: str
    database: Database
    root: Path

    def explain(
        self, text: str, *, read_files: bool = False, build: rows.Build = rows.USUAL
    ) -> Explanation:
        """Return what the command would show."""
        paths = Paths(root=str(self.root))
        with self.database.snapshot() as session:
            site = rows.read_site(session, paths.vpopmail, paths.qmail, build)
            found = explanation.explain(session, text, site)
        return files.examine(found, Tree(paths.root, paths.places)) if read_files else found


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def backend(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[databases.Backend]:
    """Databases that last as long as the module."""
    shared = request.config.stash[SHARED]
    made: databases.Backend
    if request.param == "sqlite":
        made = databases.SQLite(shared, tmp_path_factory.mktemp("databases"))
    else:
        made = databases.PostgreSQL(shared, request.getfixturevalue("_postgresql_url"))
    yield made
    made.drop_all()


@pytest.fixture(scope="module")
def crossed(
    backend: databases.Backend, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sample]:
    """The site of `crossing`, without files."""
    url = backend.create(migrated=True)
    database = Database(url)
    with database.writer() as session:
        crossing.populate(session)
    yield Sample(url, database, tmp_path_factory.mktemp("nothing"))
    database.close()


@pytest.fixture(scope="module")
def base(backend: databases.Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sample]:
    """The tree base, imported with its readable passwords."""
    yield from _imported("base", backend, tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def small(
    backend: databases.Backend, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sample]:
    """The tree small, imported with its readable passwords."""
    yield from _imported("small", backend, tmp_path_factory.mktemp("small"))


def _imported(name: str, backend: databases.Backend, directory: Path) -> Iterator[Sample]:
    root = unpack_tree(name, directory)
    url = backend.create(migrated=True)
    database = Database(url)
    sites.import_tree(database, root, Choices(store_clear_text=True))
    yield Sample(url, database, root)
    database.close()
