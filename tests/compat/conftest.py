"""The commands on an imported site, with its files, as a script runs them."""

import io
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import delete, select

from tests.sites import import_tree
from vpopsql.compat.main import main
from vpopsql.db import Database
from vpopsql.model import AuditEntry, DomainName, LastAuth, Mailbox
from vpopsql.names import split_address


@dataclass(frozen=True, slots=True)
class Result:
    """What a command did."""

    status: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        """Standard output, line by line."""
        return self.out.decode().splitlines()


@dataclass(frozen=True, slots=True)
class Site:
    """A site in a database, with its files."""

    database: Database
    root: Path
    _capture: pytest.CaptureFixture[bytes]
    _patch: pytest.MonkeyPatch

    def run(self, name: str, *args: str, stdin: bytes = b"") -> Result:
        """Run a command."""
        self._capture.readouterr()
        self._patch.setattr(sys, "argv", [name, *args])
        self._patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        status = main(name, args)
        said = self._capture.readouterr()
        return Result(status, said.out, said.err.decode())

    def path(self, site_path: str) -> Path:
        """Return where a file really is."""
        return self.root / site_path.removeprefix("/")

    def vpasswd(self, address: str) -> list[str] | None:
        """Return the fields of an account in its domain's password file; None: no such line."""
        name, domain = split_address(address)
        file = self.path(f"/home/vpopmail/domains/{domain}/vpasswd")
        for line in file.read_text().splitlines():
            if line.split(":")[0] == name:
                return line.split(":")
        return None

    def mailbox(self, address: str) -> Mailbox | None:
        """Return the row of an account; None: there is none."""
        name, domain = split_address(address)
        query = (
            select(Mailbox)
            .join(DomainName, DomainName.domain_id == Mailbox.domain_id)
            .where(Mailbox.name == name, DomainName.name == domain)
        )
        with self.database.reader() as session:
            return session.scalars(query).one_or_none()

    def got(self, address: str) -> Mailbox:
        """Return the row of an account that is there."""
        mailbox = self.mailbox(address)
        assert mailbox is not None
        return mailbox

    def last_audit(self) -> tuple[str, str, str, str]:
        """Return who did what last, where from, to what."""
        query = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(1)
        with self.database.reader() as session:
            found = session.scalars(query).one()
            return found.actor, found.channel, found.action, found.object

    def log_in(self, address: str, at: datetime) -> None:
        """Make one login all that is known of an account."""
        mailbox_id = self.got(address).id
        with self.database.writer() as session:
            session.execute(delete(LastAuth).where(LastAuth.mailbox_id == mailbox_id))
            login = LastAuth(mailbox_id=mailbox_id, service="imap", at=at, remote_ip="192.0.2.7")
            session.add(login)


@pytest.fixture
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The zone of the machine that the sample trees are from."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def site_of(
    database: Database,
    database_url: str,
    unpack: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
    _utc: None,
) -> Callable[[str], Site]:
    """A function that imports a sample tree; the commands find it by the environment."""

    def make(name: str) -> Site:
        root = unpack(name)
        import_tree(database, root)
        monkeypatch.setenv("VPOPSQL_DATABASE_URL", database_url)
        monkeypatch.setenv("VPOPSQL_PATHS_ROOT", str(root))
        monkeypatch.setenv("VPOPSQL_PASSWORDS_STORE_CLEAR_TEXT", "true")
        return Site(database, root, capsysbinary, monkeypatch)

    return make


@pytest.fixture
def site(site_of: Callable[[str], Site]) -> Site:
    """The sample site with example.com."""
    return site_of("base")
