"""Changes of a source, and what an update makes of them."""

from collections.abc import Callable

import pytest
from sqlalchemy import select

from tests.importer.changing import (
    ASSIGN,
    DOMAIN,
    KEEPING,
    Changing,
)
from vpopsql.db import Database
from vpopsql.importer.plan import Plan
from vpopsql.model import Base, Mailbox

Change = Callable[[Changing], None]
LIMITED = "home/vpopmail/domains/limited.net"
ON_SQLITE = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)


def is_settled(plan: Plan) -> bool:
    """Say whether the database has all of it, or keeps what it has."""
    return all(
        not number or state in KEEPING
        for part in plan.parts.values()
        for state, number in part.items()
    )


def account(name: bytes, home: bytes | None = None) -> bytes:
    directory = home or f"{DOMAIN}/".encode() + name
    return name + b":*:1:0:made later:" + directory + b":NOQUOTA:"


def make_alias_real(site: Changing) -> None:
    site.drop(ASSIGN, b"+example-alias.org")
    directory = "/home/vpopmail/domains/example-alias.org"
    site.insert(ASSIGN, b"+example-alias.org-:example-alias.org:89:89:%s:-::" % directory.encode())
    site.write(f"{directory[1:]}/vpasswd", b"")


def everything(database: Database) -> dict[str, list[str]]:
    """Return all rows of all tables."""
    with database.reader() as session:
        return {
            table.name: sorted(map(repr, session.execute(select(table))))
            for table in Base.metadata.sorted_tables
        }


def mailboxes(database: Database, name: str, **columns: str) -> list[tuple[str, str]]:
    """Return name and comment of the accounts of a name."""
    query = select(Mailbox.name, Mailbox.comment).filter_by(name=name, **columns)
    with database.reader() as session:
        return [(row.name, row.comment) for row in session.execute(query)]
