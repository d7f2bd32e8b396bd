"""Conversations without a socket on a sample site, whose files follow as in production."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.daemon.conftest import settings
from tests.sites import import_sample
from vpopsql.config import Config
from vpopsql.daemon.conversation import Conversation, Peer, Service
from vpopsql.db import Database
from vpopsql.exporter.projector import Projector
from vpopsql.model import Domain, DomainLimits, DotQmailFile, DotQmailLine

EXAMPLE = "/home/vpopmail/domains/example.com"
SYSTEM = ("postmaster@test.com", "password")
POSTMASTER = ("postmaster@example.com", "expass")
ADMIN = ("dadmin@example.com", "dadminpw")
ALICE = ("alice@example.com", "alicepw")
BOB = ("bob@example.com", "bobpw")
SOMEBODY = Peer("192.0.2.200")


class Talk:
    """One client that has logged in."""

    def __init__(self, service: Service, account: str, password: str) -> None:
        self._conversation = Conversation(service, SOMEBODY)
        assert self.ask(f"slogin {account} {password}") == ["+OK "]

    def ask(self, *lines: str | bytes) -> list[str]:
        """Say lines; return all that was answered."""
        answers: list[str] = []
        for line in lines:
            raw = line if isinstance(line, bytes) else line.encode()
            for reply in self._conversation.receive(raw):
                data = b"".join(reply.render()).decode("utf-8", "surrogateescape")
                answers += [each.removesuffix("\r") for each in data.split("\n")[:-1]]
        return answers

    def write(self, path: str, *lines: str | bytes) -> list[str]:
        """Write a file."""
        return self.ask(f"write_file {path}", *lines, ".")


@dataclass(frozen=True, slots=True)
class Site:
    """The sample site in a database, with its files."""

    database: Database
    config: Config
    root: Path

    def talk(self, who: tuple[str, str]) -> Talk:
        """Log in."""
        service = Service(self.database, self.config, Projector(self.database, self.config))
        return Talk(service, *who)

    def path(self, site_path: str) -> Path:
        """Return where a file really is."""
        return self.root / site_path.removeprefix("/")

    def rows(self, name: str, mailbox: int | None = None) -> list[str] | None:
        """Return the lines of a dot-qmail file of example.com; None: there is none."""
        with self.database.reader() as session:
            file = session.scalars(
                select(DotQmailFile).where(
                    DotQmailFile.domain_id == domain_of(session).id,
                    DotQmailFile.mailbox_id == mailbox,
                    DotQmailFile.name == name,
                )
            ).one_or_none()
            if file is None:
                return None
            of_file = DotQmailLine.file_id == file.id
            order = DotQmailLine.position
            return list(session.scalars(select(DotQmailLine.line).where(of_file).order_by(order)))

    def limit(self, **limits: Any) -> None:
        """Set limits of example.com."""
        with self.database.writer() as session:
            session.add(DomainLimits(domain_id=domain_of(session).id, **limits))


def domain_of(session: Session) -> Domain:
    """Return example.com."""
    return session.scalars(select(Domain).where(Domain.directory == EXAMPLE)).one()


def make_site(
    database: Database, url: str, unpack: Callable[[str], Path], **sections: Any
) -> Site:
    """Import the sample site.

    :param sections: sections of the configuration, in place of the usual ones.
    """
    root = unpack("base")
    import_sample(database, "base", root)
    return Site(database, replace(settings(url, root), **sections), root)
