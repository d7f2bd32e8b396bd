"""The fixtures themselves: what other tests rely on."""

import os
import socket
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select, text

from tests import archives, databases, factories, sites
from vpopsql import db
from vpopsql.db import Database
from vpopsql.model import DERIVED, Base


def test_an_empty_database_has_no_schema(empty_database_url: str) -> None:
    assert db.current(empty_database_url) is None


def test_a_database_has_the_schema_that_this_code_expects(database: Database) -> None:
    database.require_schema()


@pytest.mark.parametrize("attempt", [1, 2])
def test_each_test_gets_a_database_of_its_own(database: Database, attempt: int) -> None:
    with database.writer() as session:
        session.execute(text("CREATE TABLE only_here (attempt INTEGER)"))


@pytest.mark.parametrize("name", ["base", "small"])
def test_a_sample_tree_is_unpacked_as_its_archive_has_it(
    unpack: Callable[[str], Path], name: str
) -> None:
    root = unpack(name)

    with tarfile.open(archives.TREES / f"{name}.tar.gz") as archive:
        members = {member.name: member for member in archive}
        paths = {place: root / archives.place_of(place) for place in members}
        read = {
            place: archive.extractfile(each) for place, each in members.items() if each.isfile()
        }
        assert {place: paths[place].read_bytes() for place in read} == {
            place: file.read() for place, file in read.items() if file
        }
    made = {place: path.lstat() for place, path in paths.items()}
    assert {place: stat.S_IMODE(each.st_mode) for place, each in made.items()} == {
        place: each.mode for place, each in members.items()
    }
    assert {place: each.st_mtime for place, each in made.items()} == {
        place: each.mtime for place, each in members.items()
    }
    found = {path for path in root.rglob("*") if path not in {root / "home", root / "var"}}
    assert found == set(paths.values())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_sample_tree_has_its_owners(unpack: Callable[[str], Path]) -> None:
    root = unpack("base")

    assert (root / "var/qmail/users").stat().st_uid == 0
    assert (root / "home/vpopmail/domains").stat().st_uid == 89


@pytest.mark.parametrize("name", ["base", "small"])
def test_a_sample_site_is_what_an_import_would_leave(
    _backend: databases.Backend,  # noqa: PT019 - its value is used
    unpack: Callable[[str], Path],
    name: str,
) -> None:
    root = unpack(name)
    first, again, imported = (Database(_backend.create(migrated=True)) for _ in range(3))
    sites.import_sample(first, name, root)

    sites.import_sample(again, name, root)

    sites.import_tree(imported, root)
    assert rows(again) == rows(imported)
    first.close()
    again.close()
    imported.close()


def rows(database: Database) -> dict[str, list[dict[str, object]]]:
    """Return the rows of all tables without their times and hashes, with a new domain's."""
    left_out = {"at", "created_at", "hash"}
    with database.writer() as session:
        factories.domain(session, "next.example")
    with database.reader() as session:
        return {
            table.name: [
                {name: value for name, value in row.items() if name not in left_out}
                for row in session.execute(select(table)).mappings()
            ]
            for table in Base.metadata.sorted_tables
            if DERIVED not in table.info
        }


def test_other_machines_are_out_of_reach() -> None:
    with socket.socket() as connection, pytest.raises(RuntimeError, match="a test connects to"):
        connection.connect(("192.0.2.1", 89))
