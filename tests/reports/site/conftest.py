"""A site with a bit of everything, and with names that want to be more than names."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from tests import factories
from tests.conftest import SHARED
from tests.databases import SQLite
from tests.reports.conftest import DES, MD5, NOW, SHA512, ago, entry, used
from vpopsql.config import Config, load
from vpopsql.db import Database
from vpopsql.model import CatchAll, DomainUsage, Flag
from vpopsql.reports.site.write import Wanted, Written, write_site

EVIL = '"><script>pwned=1</script>'
"""What must never be more than text."""
EVIL_DOMAIN = f"../{EVIL}.example"

Write = Callable[..., Written]


def measured(domain: str, days: float, mailboxes: int, size: int, part: int = 1) -> DomainUsage:
    return DomainUsage(
        domain=domain,
        measured_at=ago(days),
        mailboxes=mailboxes,
        measured=part * mailboxes,
        bytes=part * size,
        messages=part,
        aliases=2,
    )


def fill(session: Session) -> None:
    """Make the site."""
    one = factories.domain(session, "example.com", "alias.org", created_at=ago(900))
    factories.limits(session, one, max_popaccounts=2, disable_imap=True)
    factories.mailbox(session, one, "postmaster", password_hash=SHA512)
    alice = factories.mailbox(
        session,
        one,
        "alice",
        Flag.NO_POP | Flag.QA_ADMIN,
        password_hash=DES,
        clear_text="secret horse",
        created_at=ago(300),
        quota_bytes=1000,
    )
    factories.last_auth(session, alice, ago(2), "192.0.2.7", "imap")
    session.add_all([used(alice, ago(41), 550, 5), used(alice, ago(1), 1000, 10)])
    bob = factories.mailbox(session, one, EVIL, password_hash=MD5, quota_bytes=500)
    factories.last_auth(session, bob, ago(120), "2001:db8::1")
    carol = factories.mailbox(session, one, "carol", password_hash=SHA512, quota_messages=4)
    session.add(used(carol, ago(0), 0, 2))
    factories.alias(session, one, "alice", "&x@elsewhere.net", f"&{EVIL}@else\u202ewhere.net")
    factories.alias(session, one, "ring", "&ring@alias.org", "&nobody@example.com")
    two = factories.domain(
        session, EVIL_DOMAIN, catchall=CatchAll.ADDRESS, catchall_target="who@example.com"
    )
    factories.mailbox(session, two, "zoe", password_hash="")
    factories.domain(session, "empty.net")
    factories.ip_mapping(session, "192.0.2.80", one)
    session.add_all(
        [
            measured("example.com", 70, 2, 100),
            measured("example.com", 41, 3, 550),
            measured("example.com", 1, 4, 1000),
            measured("gone.example", 70, 5, 5000),
            measured(EVIL_DOMAIN, 41, 1, 0, part=0),
            entry("add_user", "user", f"{EVIL}@example.com", ago(5), quota=(None, EVIL)),
            entry("mod_user", "user", "alice@example.com", ago(4), password=("a", "secret horse")),
        ]
    )


@pytest.fixture
def sample(database: Database) -> Database:
    """The site, on each kind of database."""
    with database.writer() as session:
        fill(session)
    return database


@pytest.fixture
def config() -> Config:
    """The settings that nobody has changed."""
    return load(None)


@pytest.fixture
def write(sample: Database, config: Config, tmp_path: Path) -> Write:
    """Write pages to tmp_path/site."""

    def _write(**wanted: object) -> Written:
        options = Wanted(tmp_path / "site", **wanted)  # type: ignore[arg-type]
        return write_site(sample, config, options, NOW, lambda *_: None)

    return _write


@pytest.fixture(scope="module")
def pages(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of the site as they are on SQLite, a few rows on each."""
    directory = tmp_path_factory.mktemp("pages")
    backend = SQLite(request.config.stash[SHARED], directory)
    database = Database(backend.create(migrated=True))
    with database.writer() as session:
        fill(session)
        many = factories.domain(session, "many.example")
        for number in range(12):
            box = factories.mailbox(session, many, f"user{number}", quota_bytes=2**20 * 9)
            session.add(used(box, ago(1), 2**20 * number - number, number))
        for day in range(9):
            session.add(measured("many.example", 9 - day, 3 + day, 2**30 * (day + 1)))
    wanted = Wanted(directory / "site", rows=10, title=f"Site {EVIL}")
    write_site(database, load(None), wanted, NOW + timedelta(seconds=1), lambda *_: None)
    database.close()
    return directory / "site"


def all_pages(root: Path) -> Iterator[tuple[str, str]]:
    """Give each page's path below the root, and its text."""
    for page in sorted(root.rglob("*.html")):
        yield str(page.relative_to(root)), page.read_text(encoding="utf-8")
