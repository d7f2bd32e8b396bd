"""Logins to other services: who is let in, and what is written down of it."""

import hashlib
import hmac
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog.testing
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests import databases, factories
from tests.conftest import SHARED
from tests.daemon.conftest import settings
from vpopsql import passwords
from vpopsql.checkpassword import FIELDS, PROTOCOL
from vpopsql.daemon.authentication import Authenticator, Granted, Question
from vpopsql.db import Database
from vpopsql.errors import InvalidLogin
from vpopsql.model import Flag, LastAuth, Mailbox
from vpopsql.services.logins import SERVICES

PASSWORD = factories.PASSWORD
CHALLENGE = "<1896.697170952@mail.example.com>"
ALICE = "alice@example.com"
ROOT = Path("/somewhere")

FLAGS = {
    "nopop": Flag.NO_POP | Flag.NO_SMTP,
    "noimap": Flag.NO_IMAP | Flag.NO_WEBMAIL | Flag.V_OVERRIDE,
    "norelay": Flag.NO_RELAY | Flag.BOUNCE_MAIL | Flag.NO_PASSWD_CHNG,
    "above": Flag.V_OVERRIDE,
}


def populate(session: Session) -> None:
    """Make one domain without limits, and one with some."""
    example = factories.domain(session, "example.com", "example-alias.org")
    limited = factories.domain(session, "limited.example")
    factories.limits(session, limited, disable_pop=True, disable_webmail=True)
    factories.ip_mapping(session, "127.0.0.9", example)
    for name, flags in FLAGS.items():
        factories.mailbox(session, example, name, flags)
        factories.mailbox(session, limited, name, flags)
    factories.mailbox(session, limited, "eve")
    factories.mailbox(session, example, "alice", clear_text=PASSWORD)
    factories.mailbox(session, example, "empty", clear_text="")
    factories.mailbox(session, example, "locked", password_hash="!$6$x", clear_text=PASSWORD)


@pytest.fixture(scope="module")
def known(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """A site that nobody changes."""
    made = databases.SQLite(request.config.stash[SHARED], tmp_path_factory.mktemp("known"))
    opened = Database(made.create(migrated=True))
    with opened.writer() as session:
        populate(session)
    yield opened
    opened.close()
    made.drop_all()


def authenticator(database: Database) -> Authenticator:
    return Authenticator(database, settings(str(database.url), ROOT))


Check = Callable[..., str]


@pytest.fixture
def check(known: Database) -> Check:
    """A function that asks, and returns the address of who may log in; empty: nobody."""

    def ask(
        login: str,
        password: str = PASSWORD,
        challenge: str = "",
        *,
        service: str = "imap",
        local_ip: str = "",
        default_domain: str = "",
    ) -> str:
        words = (service, "192.0.2.9", local_ip, default_domain, login, password, challenge)
        try:
            return authenticator(known).check(Question(*words)).login.actor.address
        except InvalidLogin:
            return ""

    return ask


# --- who it is ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "login, password, address",
    [
        (ALICE, PASSWORD, ALICE),
        ("Alice@EXAMPLE.com", PASSWORD, ALICE),
        ("alice@example-alias.org", PASSWORD, ALICE),
        ("alice%example.com", PASSWORD, ALICE),
        (ALICE, PASSWORD.title(), ""),
        (ALICE, "", ""),
        ("nobody@example.com", PASSWORD, ""),
        ("alice@nowhere.example", PASSWORD, ""),
        ("alice", PASSWORD, ""),
        ("(alice@example.com", PASSWORD, ""),
        ("", "", ""),
    ],
)
def test_a_login_is_good_with_its_password_alone(
    check: Check, login: str, password: str, address: str
) -> None:
    assert check(login, password) == address


def test_a_login_without_a_domain_gets_that_of_the_address_connected_to(check: Check) -> None:
    assert check("alice", local_ip="127.0.0.9") == ALICE
    assert check("alice", local_ip="127.0.0.8") == ""


def test_a_domain_of_the_environment_goes_before_that(check: Check) -> None:
    eve = "eve@limited.example"

    assert check("eve", local_ip="127.0.0.9", default_domain="limited.example") == eve
    assert check(ALICE, default_domain="limited.example") == ALICE


def apop(password: str, challenge: str = CHALLENGE) -> str:
    return hashlib.new("md5", f"{challenge}{password}".encode(), usedforsecurity=False).hexdigest()


def cram(password: str) -> str:
    return hmac.new(password.encode(), CHALLENGE.encode(), "md5").hexdigest()


@pytest.mark.parametrize(
    "second, third",
    [
        (apop(PASSWORD), CHALLENGE),
        (cram(PASSWORD), CHALLENGE),
        (CHALLENGE, cram(PASSWORD)),
        (CHALLENGE, cram(PASSWORD).upper()),
    ],
)
def test_a_digest_of_the_password_is_as_good(check: Check, second: str, third: str) -> None:
    assert check(ALICE, second, third) == ALICE


@pytest.mark.parametrize(
    "second, third",
    [
        (apop("another"), CHALLENGE),
        (apop(PASSWORD), "<another@mail.example.com>"),
        (apop(PASSWORD), ""),
        (CHALLENGE, cram("another")),
        (CHALLENGE, CHALLENGE),
        (apop(PASSWORD, "no challenge"), "no challenge"),
    ],
)
def test_another_digest_is_not(check: Check, second: str, third: str) -> None:
    assert check(ALICE, second, third) == ""


def test_no_digest_is_good_where_the_password_is_not_stored(check: Check) -> None:
    assert check("empty@example.com", apop(""), CHALLENGE) == ""
    assert check("eve@limited.example", apop(PASSWORD), CHALLENGE) == ""
    assert check("empty@example.com", PASSWORD, CHALLENGE) == "empty@example.com"


def test_who_is_locked_out_is_so_with_a_digest_as_well(check: Check) -> None:
    assert check("locked@example.com") == ""
    assert check("locked@example.com", apop(PASSWORD), CHALLENGE) == ""


@pytest.mark.parametrize("challenge", ["", CHALLENGE])
@pytest.mark.parametrize(
    "login", ["empty@example.com", "nobody@example.com", "a@nowhere.example", "(a@b.example", ""]
)
def test_every_failure_costs_one_verification(
    check: Check, login: str, challenge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent: list[str] = []
    verifies = passwords._verifies

    def counted(scheme: str, secret: bytes, stored: str) -> bool:
        spent.append(scheme)
        return verifies(scheme, secret, stored)

    monkeypatch.setattr(passwords, "_verifies", counted)

    assert check(login, apop("not it"), challenge) == ""
    assert [scheme for scheme in spent if scheme != "md5-crypt"] == ["sha512-crypt"]


# --- what he may use ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "login, may",
    [
        (ALICE, {"pop3", "imap", "smtp", "webmail", "dialup"}),
        ("nopop@example.com", {"imap", "webmail", "dialup"}),
        ("noimap@example.com", {"pop3", "smtp", "dialup"}),
        ("norelay@example.com", {"pop3", "imap", "smtp", "webmail", "dialup"}),
        ("eve@limited.example", {"imap", "smtp", "dialup"}),
        ("nopop@limited.example", {"imap", "dialup"}),
        ("noimap@limited.example", {"pop3", "smtp", "dialup"}),
        ("above@limited.example", {"pop3", "imap", "smtp", "webmail", "dialup"}),
    ],
)
def test_flags_and_limits_say_what_may_be_used(check: Check, login: str, may: set[str]) -> None:
    assert {service for service in SERVICES if check(login, service=service)} == may


# --- what is written down -----------------------------------------------------------------------


@pytest.fixture
def site(database: Database) -> Database:
    """A site to log in to; the test runs on each kind of database."""
    with database.writer() as session:
        factories.mailbox(session, factories.domain(session))
    return database


def logins(site: Database) -> list[tuple[str, str]]:
    with site.reader() as session:
        rows = session.execute(
            select(LastAuth.service, LastAuth.remote_ip).order_by(LastAuth.service)
        )
        return [(service, ip) for service, ip in rows]


def question(
    service: str = "imap", ip: str = "192.0.2.9", login: str = ALICE, password: str = PASSWORD
) -> bytes:
    values = [service, ip, "", "", login, password, ""]
    assert len(values) == len(FIELDS)
    return PROTOCOL + b"\0" + b"".join(value.encode() + b"\0" for value in values)


def log_in(site: Database, asked: bytes) -> tuple[bytes, Granted | None]:
    """Ask, and write down what comes of it."""
    asks = authenticator(site)
    answer, granted = asks.answer(asked)
    if granted:
        asks.remember(granted)
    return answer, granted


def test_a_login_is_written_down_by_service(site: Database) -> None:
    log_in(site, question("imap", "192.0.2.8"))
    log_in(site, question("pop3", "2001:db8:0::1"))
    log_in(site, question("imap", "192.0.2.9"))
    log_in(site, question("smtp", password="wrong"))
    log_in(site, question("webmail", ""))

    assert logins(site) == [
        ("imap", "192.0.2.9"),
        ("pop3", "2001:db8::1"),
        ("webmail", "127.0.0.1"),
    ]


def test_a_login_of_somebody_who_is_just_being_deleted_is_no_error(site: Database) -> None:
    asks = authenticator(site)
    _, granted = asks.answer(question())
    assert granted
    with site.writer() as session:
        session.delete(session.get_one(Mailbox, granted.login.actor.mailbox_id))

    with structlog.testing.capture_logs() as logged:
        asks.remember(granted)

    assert (logged, logins(site)) == ([], [])


def test_an_answer_tells_owner_address_and_home(known: Database) -> None:
    answer, _ = authenticator(known).answer(question())

    home = f"{ROOT}{factories.HOME}/domains/example.com/alice"
    assert answer == f"+\x0089\x0089\0alice\0{ALICE}\0{home}\0".encode()
    assert authenticator(known).answer(question(password="wrong")) == (b"-\0", None)


@pytest.mark.parametrize(
    "asked",
    [
        b"",
        b"GET / HTTP/1.0\r\n\r\n",
        PROTOCOL,
        PROTOCOL + b"\0pop3\0",
        question("finger"),
        question()[:-1],
        question().replace(PROTOCOL, b"vpopsql-auth-2"),
    ],
)
def test_what_is_no_question_is_no_login(known: Database, asked: bytes) -> None:
    answer, granted = authenticator(known).answer(asked)

    assert answer.startswith(b"!\0")
    assert granted is None


def test_a_database_that_is_away_is_a_temporary_problem() -> None:
    gone = Database("sqlite:////nowhere/vpopsql.db")

    with structlog.testing.capture_logs() as logged:
        answer, granted = authenticator(gone).answer(question())

    assert answer.startswith(b"!\0")
    assert b"no such database file" in answer
    assert (granted, [entry["event"] for entry in logged]) == (None, ["login not checked"])
    gone.close()


def test_nothing_that_is_logged_or_shown_is_a_secret(known: Database) -> None:
    asks = authenticator(known)
    with structlog.testing.capture_logs() as logged:
        asks.answer(question())
        asks.answer(question(password="my-secret"))
        asks.answer(question(login="my-secret"))

    assert [entry["event"] for entry in logged] == ["login", "login failed", "login failed"]
    assert PASSWORD not in str(logged)
    assert "my-secret" not in str(logged)
    assert PASSWORD not in repr(Question.parse(question()))
