"""Logins to other services: who is let in, and what is written down of it."""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import structlog.testing
from sqlalchemy import select, update

from tests.daemon.conversations import EXAMPLE, Site, make_site
from vpopsql import passwords
from vpopsql.checkpassword import FIELDS, PROTOCOL
from vpopsql.daemon.authentication import Authenticator, Granted, Question
from vpopsql.db import Database
from vpopsql.errors import InvalidLogin
from vpopsql.model import Domain, Flag, LastAuth, Mailbox

CHALLENGE = "<1896.697170952@mail.example.com>"


@pytest.fixture
def site(database: Database, database_url: str, unpack: Callable[[str], Path]) -> Site:
    return make_site(database, database_url, unpack)


@pytest.fixture
def check(site: Site) -> Callable[..., str]:
    """A function that asks, and returns the address of who may log in; empty: nobody."""

    def ask(
        login: str, password: str, service: str = "pop3", challenge: str = "", **where: str
    ) -> str:
        named = {"remote_ip": "192.0.2.9", "local_ip": "", "default_domain": "", **where}
        asked = Question(
            service=service, login=login, password=password, challenge=challenge, **named
        )
        try:
            granted = Authenticator(site.database, site.config).check(asked)
        except InvalidLogin:
            return ""
        return granted.login.actor.address

    return ask


Check = Callable[..., str]
ALICE = "alice@example.com"


# --- who it is ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "login, password, address",
    [
        (ALICE, "alicepw", ALICE),
        ("Alice@EXAMPLE.com", "alicepw", ALICE),
        ("alice@example-alias.org", "alicepw", ALICE),
        ("alice%example.com", "alicepw", ALICE),
        (ALICE, "alicepW", ""),
        (ALICE, "", ""),
        ("nobody@example.com", "alicepw", ""),
        ("alice@nowhere.example", "alicepw", ""),
        ("alice", "alicepw", ""),
        ("(alice@example.com", "alicepw", ""),
        ("", "", ""),
    ],
)
def test_a_login_is_good_with_its_password_alone(
    check: Check, login: str, password: str, address: str
) -> None:
    assert check(login, password) == address


def test_a_login_without_a_domain_gets_that_of_the_address_connected_to(check: Check) -> None:
    assert check("alice", "alicepw", local_ip="127.0.0.9") == ALICE
    assert check("alice", "alicepw", local_ip="127.0.0.8") == ""


def test_a_domain_of_the_environment_goes_before_that(check: Check) -> None:
    eve = "eve@example.company"

    assert check("eve", "evepw", local_ip="127.0.0.9", default_domain="example.company") == eve
    assert check(ALICE, "alicepw", default_domain="example.company") == ALICE


def apop(password: str, challenge: str = CHALLENGE) -> str:
    return hashlib.md5(f"{challenge}{password}".encode()).hexdigest()


def cram(password: str) -> str:
    return hmac.new(password.encode(), CHALLENGE.encode(), "md5").hexdigest()


@pytest.mark.parametrize(
    "second, third",
    [
        (apop("alicepw"), CHALLENGE),
        (cram("alicepw"), CHALLENGE),
        (CHALLENGE, cram("alicepw")),
        (CHALLENGE, cram("alicepw").upper()),
    ],
)
def test_a_digest_of_the_password_is_as_good(check: Check, second: str, third: str) -> None:
    assert check(ALICE, second, challenge=third) == ALICE


@pytest.mark.parametrize(
    "second, third",
    [
        (apop("bobpw"), CHALLENGE),
        (apop("alicepw"), "<another@mail.example.com>"),
        (apop("alicepw"), ""),
        (CHALLENGE, cram("bobpw")),
        (CHALLENGE, CHALLENGE),
        (apop("alicepw", "no challenge"), "no challenge"),
    ],
)
def test_another_digest_is_not(check: Check, second: str, third: str) -> None:
    assert check(ALICE, second, challenge=third) == ""


def test_no_digest_is_good_where_the_password_is_not_stored(site: Site, check: Check) -> None:
    with site.database.writer() as session:
        session.execute(update(Mailbox).values(clear_text=""))

    assert check(ALICE, apop(""), challenge=CHALLENGE) == ""
    assert check(ALICE, "alicepw", challenge=CHALLENGE) == ALICE


def test_who_is_locked_out_is_so_with_a_digest_as_well(site: Site, check: Check) -> None:
    with site.database.writer() as session:
        session.execute(update(Mailbox).values(password_hash="!" + Mailbox.password_hash))

    assert check(ALICE, "alicepw") == ""
    assert check(ALICE, apop("alicepw"), challenge=CHALLENGE) == ""


@pytest.mark.parametrize("challenge", ["", CHALLENGE])
@pytest.mark.parametrize(
    "login", [ALICE, "nobody@example.com", "alice@nowhere.example", "(a@b.example", ""]
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

    assert check(login, apop("not it"), challenge=challenge) == ""
    assert spent == ["sha512-crypt"]


# --- what he may use ----------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["pop3", "imap", "smtp", "webmail"])
@pytest.mark.parametrize(
    "flags, limits, may",
    [
        (Flag(0), {}, {"pop3", "imap", "smtp", "webmail"}),
        (Flag.NO_POP | Flag.NO_SMTP, {}, {"imap", "webmail"}),
        (Flag.NO_IMAP | Flag.NO_WEBMAIL | Flag.V_OVERRIDE, {}, {"pop3", "smtp"}),
        (Flag.NO_RELAY | Flag.BOUNCE_MAIL, {}, {"pop3", "imap", "smtp", "webmail"}),
        (Flag(0), {"disable_pop": True, "disable_webmail": True}, {"imap", "smtp"}),
        (Flag.NO_IMAP, {"disable_smtp": True}, {"pop3", "webmail"}),
        (Flag.V_OVERRIDE, {"disable_imap": True}, {"pop3", "imap", "smtp", "webmail"}),
    ],
)
def test_flags_and_limits_say_what_may_be_used(
    site: Site, check: Check, service: str, flags: Flag, limits: dict[str, bool], may: set[str]
) -> None:
    with site.database.writer() as session:
        session.execute(update(Mailbox).where(Mailbox.name == "alice").values(flags=int(flags)))
    site.limit(**limits)

    assert bool(check(ALICE, "alicepw", service)) == (service in may)


# --- what is written down -----------------------------------------------------------------------


def logins(site: Site, name: str) -> list[tuple[str, str]]:
    with site.database.reader() as session:
        rows = session.execute(
            select(LastAuth.service, LastAuth.remote_ip)
            .join(Mailbox, Mailbox.id == LastAuth.mailbox_id)
            .join(Domain, Domain.id == Mailbox.domain_id)
            .where(Mailbox.name == name, Domain.directory == EXAMPLE)
            .order_by(LastAuth.service)
        )
        return [(service, ip) for service, ip in rows if service != "any"]


def question(service: str = "imap", ip: str = "192.0.2.9", password: str = "alicepw") -> bytes:
    values = [service, ip, "", "", ALICE, password, ""]
    assert len(values) == len(FIELDS)
    return PROTOCOL + b"\0" + b"".join(value.encode() + b"\0" for value in values)


def log_in(site: Site, asked: bytes) -> tuple[bytes, Granted | None]:
    """Ask, and write down what comes of it."""
    authenticator = Authenticator(site.database, site.config)
    answer, granted = authenticator.answer(asked)
    if granted:
        authenticator.remember(granted)
    return answer, granted


def test_a_login_is_written_down_by_service(site: Site) -> None:
    log_in(site, question("imap", "192.0.2.8"))
    log_in(site, question("pop3", "2001:db8:0::1"))
    log_in(site, question("imap", "192.0.2.9"))
    log_in(site, question("smtp", "192.0.2.9", "wrong"))
    log_in(site, question("webmail", ""))

    assert logins(site, "alice") == [
        ("imap", "192.0.2.9"),
        ("pop3", "2001:db8::1"),
        ("webmail", "127.0.0.1"),
    ]
    shown = site.talk(("alice@example.com", "alicepw")).ask(f"get_lastauth {ALICE}")
    assert shown[2] == "ip 127.0.0.1"


def test_a_login_of_somebody_who_is_just_being_deleted_is_no_error(site: Site) -> None:
    authenticator = Authenticator(site.database, site.config)
    _, granted = authenticator.answer(question())
    assert granted
    with site.database.writer() as session:
        session.delete(session.get_one(Mailbox, granted.login.actor.mailbox_id))

    with structlog.testing.capture_logs() as logged:
        authenticator.remember(granted)

    assert logged == []


def test_an_answer_tells_owner_address_and_home(site: Site) -> None:
    answer, _ = log_in(site, question())

    home = f"{site.root}{EXAMPLE}/alice"
    assert answer == f"+\0{89}\0{89}\0alice\0{ALICE}\0{home}\0".encode()
    assert log_in(site, question(password="wrong")) == (b"-\0", None)


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
def test_what_is_no_question_is_no_login(site: Site, asked: bytes) -> None:
    answer, granted = log_in(site, asked)

    assert answer.startswith(b"!\0")
    assert granted is None


def test_a_database_that_is_away_is_a_temporary_problem(site: Site) -> None:
    gone = Database("sqlite:////nowhere/vpopsql.db")
    away = replace(site, database=gone)

    with structlog.testing.capture_logs() as logged:
        answer, granted = log_in(away, question())

    assert answer.startswith(b"!\0")
    assert b"no such database file" in answer
    assert (granted, [entry["event"] for entry in logged]) == (None, ["login not checked"])
    gone.close()


def test_nothing_that_is_logged_or_shown_is_a_secret(site: Site) -> None:
    with structlog.testing.capture_logs() as logged:
        log_in(site, question(password="alicepw"))
        log_in(site, question(password="my-secret"))
        log_in(site, question().replace(ALICE.encode(), b"my-secret"))

    assert [entry["event"] for entry in logged] == ["login", "login failed", "login failed"]
    assert "alicepw" not in str(logged)
    assert "my-secret" not in str(logged)
    assert "alicepw" not in repr(Question.parse(question()))
