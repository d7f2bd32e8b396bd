"""A site in a database, and an empty place to export it to."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import sites
from vpopsql.config import Config, Export, Paths
from vpopsql.db import Database
from vpopsql.exporter.apply import Applied, apply
from vpopsql.exporter.generations import DIRECTORY
from vpopsql.importer.backend import Choices

_NOBODY = 65534


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The empty place."""
    made = tmp_path / "exported"
    made.mkdir()
    return made


@pytest.fixture
def nobody(database_url: str, root: Path, tmp_path: Path) -> Iterator[None]:
    """Let the test be a user who can use the database and look at the place, no more."""
    places = Path(tempfile.gettempdir())
    for directory in (root, *(each for each in root.parents if places in each.parents)):
        directory.chmod(0o755)
    tmp_path.chmod(0o777)
    for file in tmp_path.glob("*.db*"):
        file.chmod(0o666)
    os.seteuid(_NOBODY)
    yield
    os.seteuid(0)


@pytest.fixture
def export(database: Database, root: Path) -> Callable[..., Applied]:
    """A function that exports; its arguments are those of the configuration's section."""

    def run(**settings: tuple[str, ...]) -> Applied:
        config = Config(paths=Paths(root=str(root)), export=Export(**settings))  # type: ignore[arg-type]
        return apply(database, config)

    return run


@pytest.fixture
def import_tree(
    database: Database, unpack: Callable[[str], Path]
) -> Callable[..., dict[str, bytes]]:
    """A function that imports a sample tree and returns its files, by path."""

    def run(name: str, *, readable_passwords: bool = True) -> dict[str, bytes]:
        site = unpack(name)
        sites.import_tree(database, site, Choices(store_clear_text=readable_passwords))
        return files_below(site)

    return run


def files_below(root: Path) -> dict[str, bytes]:
    """Return the regular files of a tree, and the links with where they lead.

    What the exporter keeps for itself, the generations, is not among them.
    """
    return {
        f"/{path.relative_to(root)}": (
            str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        )
        for path in sorted(root.rglob("*"))
        if (path.is_symlink() or path.is_file()) and DIRECTORY not in path.parts
    }
