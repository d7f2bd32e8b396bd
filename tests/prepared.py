"""A few mailboxes, and what tests of prepared statements ask of them."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Integer, bindparam, func, literal_column, select, text
from sqlalchemy.orm import Session

from tests import factories
from vpopsql.db import Database
from vpopsql.libpq import LibpqDriver
from vpopsql.model import Mailbox
from vpopsql.prepared import Prepared

# Bytes that no database text can hold, beside plain text; a time, a truth, a choice, a NULL.
COMMENTS = {"ann": "plain", "ben": "J\udcf6e\0", "cat": "Zo\xeb", "dan": ""}

ALL = Prepared(select(Mailbox.name, Mailbox.comment, Mailbox.clear_text).order_by(Mailbox.name))
COUNT = Prepared(select(func.count()).select_from(Mailbox))
CREATED_AT = factories.at(2026, 1, 2)

SOME = Prepared(
    select(Mailbox.name)
    .where(
        Mailbox.name.in_(bindparam("names", expanding=True)),
        Mailbox.comment != bindparam("comment"),
    )
    .order_by(Mailbox.name),
    ["names"],
)

LOCK = 7
WAITS = Prepared(
    select(literal_column("1", Integer)).where(
        func.pg_advisory_xact_lock_shared(LOCK).is_not(None)
    )
)


def fill(database: Database) -> Database:
    """Return a database with a domain and a mailbox for each of `COMMENTS`."""
    with database.writer() as session:
        example = factories.domain(session, "example.com")
        for name, comment in COMMENTS.items():
            factories.mailbox(
                session, example, name, comment=comment, clear_text=None, created_at=CREATED_AT
            )
    return database


def cut(session: Session) -> None:
    """Let the connection end without a word."""
    cut_off(session.connection().connection.driver_connection)


def cut_off(connection: Any, *_: object) -> None:
    """Let a connection of psycopg's end without a word."""
    with socket.socket(fileno=os.dup(connection.pgconn.socket)) as wire:
        wire.shutdown(socket.SHUT_RDWR)


def analyze(database: Database) -> Database:
    """Return a database that knows how few mailboxes it has."""
    with database.writer() as session:
        session.execute(text("ANALYZE mailboxes"))
    return database


def plan(session: Session) -> str:
    """Return how a server would find a mailbox."""
    return "\n".join(session.scalars(text("EXPLAIN SELECT FROM mailboxes WHERE id = 1")))


def require_server(site: Database) -> Database:
    """Return a site on a server; skip the test on SQLite."""
    if site.is_sqlite:
        pytest.skip("SQLite is no other process")
    return site


@contextmanager
def counting_ways() -> Iterator[list[int]]:
    """Give a list of how many statements went together on each way to the server and back."""
    ways: list[int] = []
    one, many = LibpqDriver._ask, LibpqDriver._send

    def ask(driver: LibpqDriver, asked: Any) -> Any:
        ways.append(1)
        return one(driver, asked)

    def send(driver: LibpqDriver, asked: Any) -> None:
        ways.append(len(asked))
        many(driver, asked)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LibpqDriver, "_ask", ask)
        patch.setattr(LibpqDriver, "_send", send)
        yield ways
