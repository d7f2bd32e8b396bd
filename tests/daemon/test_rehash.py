"""Better hashes at a login, and the last day of worse ones."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
from sqlalchemy import select, update

from tests import factories
from tests.daemon.conftest import settings
from tests.daemon.conversations import EXAMPLE, SOMEBODY, Site
from vpopsql import passwords
from vpopsql.checkpassword import PROTOCOL
from vpopsql.config import Deadlines, Passwords
from vpopsql.daemon.authentication import Authenticator
from vpopsql.daemon.conversation import Conversation, Service
from vpopsql.daemon.rehash import Rehasher, rehashing
from vpopsql.db import Database
from vpopsql.exporter.projector import Projector
from vpopsql.model import AuditEntry, Flag, Mailbox, Revision
from vpopsql.services import renames
from vpopsql.services.rights import Actor
from vpopsql.touched import Touched

MD5, PASSWORD = factories.PASSWORD_HASH, factories.PASSWORD
WHEN = datetime(2020, 2, 2, tzinfo=UTC)

ADMIN = Actor(1, "admin", 1, "root.example", "/d", "/d/admin", Flag.SA_ADMIN, "/home/vpopmail")


@pytest.fixture
def site(database: Database, database_url: str, tmp_path: Path) -> Site:
    """A site whose passwords were hashed long ago."""
    (tmp_path / EXAMPLE[1:]).mkdir(parents=True)
    for name in ("users", "control"):
        (tmp_path / "var/qmail" / name).mkdir(parents=True)
    with database.writer() as session:
        domain = factories.domain(session)
        factories.mailbox(session, domain, "alice", password_changed_at=WHEN, clear_text="")
        factories.mailbox(session, domain, "bob")
    return Site(database, settings(database_url, tmp_path), tmp_path)


def change(site: Site, name: str = "alice", **columns: Any) -> None:
    with site.database.writer() as session:
        session.execute(update(Mailbox).where(Mailbox.name == name).values(**columns))


def mailbox(site: Site, name: str = "alice") -> Mailbox:
    with site.database.reader() as session:
        return session.scalars(select(Mailbox).where(Mailbox.name == name)).one()


class CountingFiles:
    """The files of a site, and how often they were written."""

    def __init__(self, site: Site) -> None:
        self._files = Projector(site.database, site.config)
        self.times = 0

    def follow(self, touched: Touched) -> None:
        """Write them."""
        self.times += 1
        self._files.follow(touched)


def log_in(
    site: Site, rehasher: Rehasher, name: str = "alice", password: str = PASSWORD
) -> list[str]:
    """Log in; return what is answered."""
    files = Projector(site.database, site.config)
    service = Service(site.database, site.config, files, after_login=rehasher.take)
    said = f"slogin {name}@example.com {password}".encode()
    return [reply.status for reply in Conversation(service, SOMEBODY).receive(said)]


def make(site: Site, files: CountingFiles | None = None, **chosen: Any) -> Rehasher:
    config = replace(site.config, passwords=replace(site.config.passwords, **chosen))
    return Rehasher(site.database, config, files or CountingFiles(site))


def audited(site: Site) -> list[tuple[str, str, str, str | None, Mapping[str, Any]]]:
    with site.database.reader() as session:
        entries = session.scalars(select(AuditEntry).where(AuditEntry.action == "rehash"))
        return [(e.channel, e.actor, e.object, e.actor_ip, e.changes) for e in entries]


def test_a_login_by_a_weak_hash_gets_a_better_one_after_the_answer(site: Site) -> None:
    rehasher = make(site)

    assert log_in(site, rehasher) == ["+OK "]
    assert mailbox(site).password_hash == MD5
    rehasher.finish()

    after = mailbox(site)
    assert passwords.scheme_of(after.password_hash) == "sha512-crypt"
    assert passwords.verify(PASSWORD, after.password_hash)
    assert (after.clear_text, after.password_changed_at) == ("", WHEN)
    assert f"\nalice:{after.password_hash}:" in "\n" + site.path(f"{EXAMPLE}/vpasswd").read_text()
    address = "alice@example.com"
    masked = ["(masked)", "(masked)"]
    changes = {"password_hash": masked, "scheme": ["md5-crypt", "sha512-crypt"]}
    assert audited(site) == [("login", address, address, SOMEBODY.remote_ip, changes)]


@pytest.mark.parametrize("scheme, rounds", [("bcrypt", 4), ("yescrypt", 1), ("argon2", 1)])
def test_a_login_gets_a_hash_of_the_scheme_that_is_chosen_and_is_good_afterwards(
    site: Site, scheme: str, rounds: int
) -> None:
    rehasher = make(site, scheme=scheme, rounds=rounds)
    log_in(site, rehasher)
    rehasher.finish()
    first = mailbox(site).password_hash

    again = log_in(site, rehasher)
    rehasher.finish()

    assert (again, mailbox(site).password_hash) == (["+OK "], first)
    assert passwords.scheme_of(first) == scheme
    assert f"\nalice:{first}:" in "\n" + site.path(f"{EXAMPLE}/vpasswd").read_text()


def test_another_login_finds_nothing_to_do(site: Site) -> None:
    rehasher = make(site)
    log_in(site, rehasher)
    rehasher.finish()
    first = mailbox(site).password_hash

    log_in(site, rehasher)
    rehasher.finish()

    assert mailbox(site).password_hash == first


def test_a_password_that_is_changed_meanwhile_stays_changed(site: Site) -> None:
    rehasher = make(site)
    log_in(site, rehasher)
    newer = passwords.hash_password("another", "sha512-crypt", 1000)
    change(site, password_hash=newer)

    rehasher.finish()

    assert mailbox(site).password_hash == newer
    assert audited(site) == []


def test_a_domain_that_is_renamed_meanwhile_has_the_hash_in_its_files(site: Site) -> None:
    rehasher = make(site)
    log_in(site, rehasher)
    with site.database.writer() as session:
        how = renames.How(leaves_forward=True)
        renames.rename_domain(session, ADMIN, "example.com", "new.example", how)

    rehasher.finish()

    with site.database.reader() as session:
        newest = select(Revision.domain, Revision.topic).order_by(Revision.id.desc()).limit(1)
        assert tuple(session.execute(newest).one()) == ("new.example", "rehash")


def test_an_account_that_is_gone_meanwhile_is_left_alone(site: Site) -> None:
    rehasher = make(site)
    log_in(site, rehasher)
    with site.database.writer() as session:
        session.delete(session.get_one(Mailbox, mailbox(site).id))

    with structlog.testing.capture_logs() as logged:
        rehasher.finish()

    assert (logged, audited(site)) == ([], [])


@pytest.mark.parametrize(
    "password, chosen",
    [
        ("wrong", {}),
        (PASSWORD, {"rehash": False}),
    ],
)
def test_a_wrong_password_or_a_site_that_does_not_want_it_changes_nothing(
    site: Site, password: str, chosen: dict[str, Any]
) -> None:
    rehasher = make(site, **chosen)

    log_in(site, rehasher, password=password)
    rehasher.finish()

    assert mailbox(site).password_hash == MD5


def test_a_stronger_hash_than_new_ones_are_is_kept(site: Site) -> None:
    stronger = passwords.hash_password(PASSWORD, "bcrypt", 4)
    change(site, password_hash=stronger)
    rehasher = make(site)

    log_in(site, rehasher)
    rehasher.finish()

    assert mailbox(site).password_hash == stronger


def test_many_logins_are_written_to_the_files_once(site: Site) -> None:
    files = CountingFiles(site)
    with rehashing(site.database, site.config, files) as take:
        service = Service(site.database, site.config, files, after_login=take)
        for name in ("alice", "bob", "alice"):
            said = f"slogin {name}@example.com {PASSWORD}".encode()
            Conversation(service, SOMEBODY).receive(said)

    hashes = {passwords.scheme_of(mailbox(site, name).password_hash) for name in ("alice", "bob")}
    assert hashes == {"sha512-crypt"}
    assert (files.times, len(audited(site))) == (1, 2)


def test_what_cannot_be_hashed_is_logged_and_holds_up_nobody(site: Site) -> None:
    long = "x" * 100
    change(site, "bob", password_hash=passwords.hash_password(long, "sha256-crypt", 1000))
    rehasher = make(site, scheme="bcrypt", rounds=4)
    log_in(site, rehasher, "bob", long)
    log_in(site, rehasher)

    with structlog.testing.capture_logs() as logged:
        rehasher.finish()

    assert [entry["event"] for entry in logged] == ["hash not replaced", "hash replaced"]
    assert passwords.scheme_of(mailbox(site).password_hash) == "bcrypt"
    assert long not in str(logged)
    assert PASSWORD not in str(logged)


def test_a_login_to_another_service_is_as_good_a_digest_is_not(site: Site) -> None:
    taken: list[str] = []
    authenticator = Authenticator(
        site.database, site.config, lambda _login, password: taken.append(password)
    )
    good = f"imap\0\0\0\0alice@example.com\0{PASSWORD}\0\0".encode()
    change(site, "bob", clear_text=PASSWORD)
    digest = "5d25d0cbd9cfe4f8e6a3a2c3b4c3a9a0"
    other = f"imap\0\0\0\0bob@example.com\0{digest}\0<1@mail>\0".encode()

    authenticator.answer(PROTOCOL + b"\0" + good)
    authenticator.answer(PROTOCOL + b"\0" + other)

    assert taken == [PASSWORD]


# --- deadlines ----------------------------------------------------------------------------------


def with_deadline(site: Site, last_day: date) -> Site:
    chosen = Passwords(deadlines=Deadlines([("md5-crypt", last_day)]))
    return replace(site, config=replace(site.config, passwords=chosen))


def test_a_hash_is_good_on_its_last_day_and_not_on_the_next(site: Site) -> None:
    today = datetime.now(UTC).date()
    past = today - timedelta(days=1)

    assert log_in(with_deadline(site, today + timedelta(days=1)), make(site)) == ["+OK "]
    with structlog.testing.capture_logs() as logged:
        assert log_in(with_deadline(site, past), make(site)) == ["-ERR 8.207 Invalid Login"]

    (failed,) = (entry for entry in logged if entry["event"] == "login failed")
    assert failed["account"] == "alice@example.com"
    assert failed["reason"] == f"hashes of md5-crypt have not been good since {past}"
    change(site, "bob", password_hash=passwords.hash_password("pw", "sha256-crypt", 1000))
    assert log_in(with_deadline(site, past), make(site), "bob", "pw") == ["+OK "]
