"""The fixtures themselves: what other tests rely on."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from vpopsql import db
from vpopsql.db import Database


def test_an_empty_database_has_no_schema(empty_database_url: str) -> None:
    assert db.current(empty_database_url) is None


def test_a_database_has_the_schema_that_this_code_expects(database: Database) -> None:
    database.require_schema()


@pytest.mark.parametrize("attempt", [1, 2])
def test_each_test_gets_a_database_of_its_own(database: Database, attempt: int) -> None:
    with database.writer() as session:
        session.execute(text("CREATE TABLE only_here (attempt INTEGER)"))


def test_a_sample_tree_is_unpacked_with_its_times(unpack: Callable[[str], Path]) -> None:
    root = unpack("small")

    vpasswd = root / "home/vpopmail/domains/north.example/vpasswd"
    assert vpasswd.stat().st_mtime < (root / "var/qmail").parent.stat().st_mtime
    assert (root / "var/qmail/users/assign").is_file()


def test_other_machines_are_out_of_reach() -> None:
    with socket.socket() as connection, pytest.raises(RuntimeError, match="a test connects to"):
        connection.connect(("192.0.2.1", 89))
