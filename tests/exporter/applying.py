"""A site whose names come and go, and what qmail makes of its files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select, update

from tests import factories
from vpopsql.db import Database
from vpopsql.model import (
    Domain,
    DomainName,
    ForeignLine,
    Revision,
)
from vpopsql.qmail import cdb

CONTROL = "var/qmail/control"
RCPTHOSTS = f"{CONTROL}/rcpthosts"


def make_site(database: Database) -> Database:
    """Fill it: two domains with an account each, one with an alias domain and a forward."""
    with database.writer() as session:
        one = factories.domain(session, "example.com", "alias.org")
        factories.mailbox(session, one, "alice")
        factories.alias(session, one, "info", "&alice@example.com")
        two = factories.domain(session, "test.com")
        factories.mailbox(session, two, "bob")
        session.add(ForeignLine(file="control/locals", position=1, line="localhost", sort_key=""))
    return database


def write(database: Database, change: Callable[[Any], object]) -> None:
    with database.writer() as session:
        change(session)
        session.add(Revision(topic="test"))


def add_domain(database: Database, name: str, **columns: Any) -> None:
    write(database, lambda session: factories.domain(session, name, **columns))


def remove_domain(database: Database, name: str) -> None:
    of_it = select(DomainName.domain_id).where(DomainName.name == name)
    write(database, lambda session: session.execute(delete(Domain).where(Domain.id.in_(of_it))))


def move(database: Database, name: str, *, in_morercpthosts: bool) -> None:
    change = update(DomainName).where(DomainName.name == name)
    write(
        database,
        lambda session: session.execute(change.values(in_morercpthosts=in_morercpthosts)),
    )


def accepted(root: Path) -> set[str]:
    compiled = root / f"{CONTROL}/morercpthosts.cdb"
    more = cdb.read(compiled.read_bytes()) if compiled.exists() else []
    return set((root / RCPTHOSTS).read_text().split()) | {key.decode() for key, _ in more}


def deliverable(root: Path) -> set[str]:
    """Return the names that lead through virtualdomains and users/cdb to a domain with files."""
    return {name for name in virtual(root) if directory_of(root, name)}


def virtual(root: Path) -> set[str]:
    lines = (root / f"{CONTROL}/virtualdomains").read_text().split()
    return {line.partition(":")[0] for line in lines}


def directory_of(root: Path, name: str) -> bool:
    found = cdb.get((root / "var/qmail/users/cdb").read_bytes(), b"!" + name.encode() + b"-")
    return (
        found is not None and (root / found.split(b"\0")[3].decode()[1:] / "vpasswd.cdb").exists()
    )
