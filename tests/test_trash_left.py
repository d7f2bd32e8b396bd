"""Deletions that were cut off before their files were moved, and what came there since."""

from pathlib import Path

import pytest

from tests import factories
from vpopsql import trash
from vpopsql.cli import serve
from vpopsql.config import Config, Paths
from vpopsql.db import Database
from vpopsql.exporter.projector import Projector
from vpopsql.model import Flag
from vpopsql.services.rights import Actor
from vpopsql.trash import Kept
from vpopsql.tree import Tree

PLACE = "/home/vpopmail/domains/example.com"
ADMIN = Actor(1, "admin", 1, "root.example", "/d", "/d/admin", Flag.SA_ADMIN, "/home/vpopmail")


@pytest.fixture
def tree(database: Database, tmp_path: Path) -> Tree:
    with database.writer() as session:
        factories.domain(session, "example.com")
    (tmp_path / PLACE[1:] / "box").mkdir(parents=True)
    (tmp_path / PLACE[1:] / "box/old").touch()
    return Tree(tmp_path)


def delete(database: Database, tree: Tree, path: str) -> Kept:
    """Commit the deletion of a directory, and go no further."""
    with database.writer() as session:
        return trash.prepare_directory(session, tree, ADMIN, path)


def finish(database: Database, tree: Tree) -> list[str]:
    with database.writer() as session:
        return trash.finish(session, tree)


def test_a_deletion_that_was_cut_off_is_finished(database: Database, tree: Tree) -> None:
    kept = delete(database, tree, f"{PLACE}/box")

    moved = finish(database, tree)

    assert moved == [f"{PLACE}/box"]
    assert tree.exists(f"{kept.target}/old")


def test_a_daemon_finishes_at_its_start_what_was_cut_off(database: Database, tree: Tree) -> None:
    config = Config(paths=Paths(root=tree.root))
    delete(database, tree, f"{PLACE}/box")

    serve._catch_up(Projector(database, config), database, config)

    assert not tree.exists(f"{PLACE}/box")


def test_a_directory_that_was_made_where_one_was_deleted_stays(
    database: Database, tree: Tree
) -> None:
    delete(database, tree, f"{PLACE}/box")
    delete(database, tree, f"{PLACE}/box").move(tree)
    tree.make_dir(f"{PLACE}/box")
    tree.write(f"{PLACE}/box/new", b"")

    assert finish(database, tree) == []
    assert tree.exists(f"{PLACE}/box/new")


def test_a_file_of_this_host_stays_though_another_host_has_moved_one_of_its_name_away(
    database: Database, tree: Tree, tmp_path: Path
) -> None:
    elsewhere = Tree(tmp_path / "elsewhere")
    (tmp_path / f"elsewhere{PLACE}").mkdir(parents=True)
    (tmp_path / f"elsewhere{PLACE}/.qmail-x").touch()
    with database.writer() as session:
        kept = trash.prepare_directory(session, elsewhere, ADMIN, f"{PLACE}/.qmail-x")
    kept.move(elsewhere)
    tree.write(f"{PLACE}/.qmail-x", b"&a@b.c\n")

    assert finish(database, tree) == []
    assert tree.exists(f"{PLACE}/.qmail-x")


def test_two_deletions_of_one_directory_move_it_once(database: Database, tree: Tree) -> None:
    delete(database, tree, f"{PLACE}/box")
    delete(database, tree, f"{PLACE}/box")

    finish(database, tree)

    assert not tree.exists(f"{PLACE}/box")
    assert finish(database, tree) == []


def test_what_lies_at_a_deleted_place_is_only_unmoved_if_it_is_what_was_deleted(
    database: Database, tree: Tree
) -> None:
    delete(database, tree, f"{PLACE}/box")
    with database.reader() as session:
        before = trash.unmoved(session, tree)
    finish(database, tree)
    tree.make_dir(f"{PLACE}/box")
    with database.reader() as session:
        after = trash.unmoved(session, tree)

    assert list(before) == [f"{PLACE}/box"]
    assert after == {}
    assert tree.list(f"{PLACE}/box") == []
