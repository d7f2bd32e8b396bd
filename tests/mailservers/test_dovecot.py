"""A real Dovecot with the shipped configuration: who gets in, what it tells, what it writes."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import pytest
from sqlalchemy import select, text

from tests.daemon.conversations import Talk
from tests.factories import PASSWORD
from tests.mailservers.conftest import HASHES, USERS, WEBMAIL, Served
from tests.mailservers.dovecot import MAPPED, wait_for
from vpopsql import config
from vpopsql.daemon.conversation import Service
from vpopsql.exporter.projector import Projector
from vpopsql.model import DovecotLogin, LastAuth, Mailbox
from vpopsql.qmail import maildirsize

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("dovecot")]

SIZE_BEYOND_TINY = b"Subject: x\r\n\r\n" + b"x" * 200


def logins(served: Served, name: str) -> list[tuple[str, str]]:
    """Return services and addresses of a mailbox's logins."""
    with served.database.reader() as session:
        query = select(LastAuth.service, LastAuth.remote_ip).join(
            Mailbox, Mailbox.id == LastAuth.mailbox_id
        )
        rows = session.execute(query.where(Mailbox.name == name).order_by(LastAuth.service))
        return [(service, ip) for service, ip in rows]


class Attempt(NamedTuple):
    """One login; ``protocol`` is one that Dovecot serves here, or what it is asked about."""

    protocol: str
    user: str
    password: str = PASSWORD
    source: str = "127.0.0.1"
    to: str = "127.0.0.1"


LET_IN = [
    Attempt("imap", "alice@example.com"),
    Attempt("imap", "Alice@Example.COM"),
    Attempt("imap", "alice@alias.org"),
    Attempt("imap", "o'neil@example.com"),
    Attempt("imap", "weber@example.com"),
    # Its mail bounces, which is no reason to keep it from what it has.
    Attempt("imap", "bouncer@example.com"),
    # The account keeps the domain's disable_pop off.
    Attempt("pop3", "boss@example.com"),
    Attempt("pop3", "boss@alias.org"),
    # disable_imap of the site's defaults is not POP3's.
    Attempt("pop3", "pat@plain.net"),
    Attempt("imap", "vip@plain.net"),
    # IMAP from the webmail's address is webmail, whatever no_imap says.
    Attempt("imap", "alice@example.com", source=WEBMAIL),
    Attempt("imap", "bob@example.com", source=WEBMAIL),
    Attempt("imap", "pat@plain.net", source=WEBMAIL),
    Attempt("smtp", "alice@example.com"),
    Attempt("sieve", "alice@example.com"),
    *(Attempt("imap", f"{name}@schemes.org") for name in HASHES),
    # Without a domain, by the address that it came to.
    Attempt("imap", "alice", to=MAPPED),
    Attempt("imap", "Weber", to=MAPPED),
    Attempt("imap", "alice@", to=MAPPED),
    Attempt("pop3", "boss", to=MAPPED),
    Attempt("imap", "vip@plain.net", to=MAPPED),
    # Without saying the password.
    Attempt("cram-md5", "clear@schemes.org"),
    Attempt("apop", "clear@schemes.org"),
    Attempt("imap", "clear@schemes.org"),
]
KEPT_OUT = [
    Attempt("imap", "alice@example.com", "wrong"),
    Attempt("imap", "alice@example.com", "Right horse"),
    Attempt("pop3", "boss@example.com", "wrong"),
    # The account's own bit, and one that no override keeps off.
    Attempt("imap", "bob@example.com"),
    Attempt("pop3", "stubborn@example.com"),
    Attempt("imap", "weber@example.com", source=WEBMAIL),
    # The domain's limit, and the site's where the domain has none of its own.
    Attempt("pop3", "alice@example.com"),
    Attempt("pop3", "alice@alias.org"),
    Attempt("imap", "pat@plain.net"),
    Attempt("smtp", "mute@example.com"),
    Attempt("submission", "mute@example.com"),
    # What Dovecot knows no rule of is as good as IMAP.
    Attempt("sieve", "bob@example.com"),
    Attempt("imap", "locked@example.com"),
    Attempt("imap", "empty@example.com", ""),
    Attempt("imap", "nobody@example.com"),
    Attempt("imap", "alice@nowhere.org"),
    Attempt("imap", "alice"),
    Attempt("imap", "alice@example.com@example.com"),
    # What SQL could take for something else.
    Attempt("imap", "'or'1'='1@example.com"),
    Attempt("imap", "alice'--@example.com"),
    Attempt("imap", "alice@example.com'--"),
    Attempt("imap", "alic_@example.com"),
    Attempt("imap", "*@example.com"),
    *(Attempt("imap", f"{name}@schemes.org", "wrong") for name in HASHES),
    # The map gives a domain to who names none; it takes nothing from who may not.
    Attempt("imap", "alice", "wrong", to=MAPPED),
    Attempt("imap", "vip", to=MAPPED),
    Attempt("imap", "bob", to=MAPPED),
    Attempt("cram-md5", "clear@schemes.org", "wrong"),
    Attempt("apop", "clear@schemes.org", "wrong"),
    *(Attempt("cram-md5", f"{name}@schemes.org") for name in ("md5", "shut", "lock")),
    *(Attempt("apop", f"{name}@schemes.org") for name in ("md5", "shut", "lock")),
]


@pytest.fixture(scope="module")
def let_in(served: Served) -> dict[Attempt, bool]:
    """What came of each attempt. They are made at once, since Dovecot lets the refused wait."""

    def attempt(each: Attempt) -> bool:
        if each.protocol in {"imap", "pop3", "cram-md5", "apop"}:
            return served.server.may_log_in(*each)
        return served.server.would_authenticate(*each[:3])

    with ThreadPoolExecutor(8) as threads:
        attempts = LET_IN + KEPT_OUT
        return dict(zip(attempts, threads.map(attempt, attempts), strict=True))


@pytest.mark.parametrize("attempt", LET_IN, ids=" ".join)
def test_who_may_is_let_in(let_in: dict[Attempt, bool], attempt: Attempt) -> None:
    assert let_in[attempt]


@pytest.mark.parametrize("attempt", KEPT_OUT, ids=" ".join)
def test_who_may_not_is_kept_out(let_in: dict[Attempt, bool], attempt: Attempt) -> None:
    assert not let_in[attempt]


def test_a_login_is_noted_with_its_service_and_address(served: Served) -> None:
    began = int(time.time())

    served.server.may_log_in("imap", "boss@alias.org", PASSWORD, "127.0.0.7")
    served.server.may_log_in("pop3", "boss@example.com", PASSWORD, "127.0.0.8")

    wanted = [("imap", "127.0.0.7"), ("pop3", "127.0.0.8")]
    assert wait_for(lambda: logins(served, "boss"), wanted) == wanted
    with served.database.reader() as session:
        rows = session.execute(
            text("SELECT domain, timestamp FROM lastauth WHERE userid = 'boss'")
        ).all()
        assert session.scalars(select(DovecotLogin)).all() == []
    assert [domain for domain, _ in rows] == ["example.com"]
    assert began <= rows[0].timestamp <= time.time()


def test_the_daemon_shows_a_login_that_dovecot_wrote(served: Served) -> None:
    served.server.may_log_in("imap", "few@example.com", PASSWORD, "127.0.0.6")
    wait_for(lambda: logins(served, "few"), [("imap", "127.0.0.6")])
    settings = config.load(None, {})
    url = served.database.url.render_as_string(hide_password=False)
    settings = replace(settings, database=replace(settings.database, url=url))
    service = Service(served.database, settings, Projector(served.database, settings))

    answer = Talk(service, "few@example.com", PASSWORD).ask("get_lastauth few@example.com")

    assert "ip 127.0.0.6" in answer


def test_a_refused_login_is_not_noted(served: Served, let_in: dict[Attempt, bool]) -> None:
    assert not let_in[Attempt("pop3", "stubborn@example.com")]
    # The one that is let in comes last.
    served.server.may_log_in("imap", "stubborn@example.com", PASSWORD, "127.0.0.5")

    wanted = [("imap", "127.0.0.5")]
    assert wait_for(lambda: logins(served, "stubborn"), wanted) == wanted


def test_a_login_does_not_wait_for_who_writes_to_the_database(served: Served) -> None:
    with served.database.writer() as session:
        session.execute(text("UPDATE mailboxes SET comment = 'busy' WHERE name = 'weber'"))

        assert served.server.may_log_in("imap", "mute@example.com", PASSWORD)


@pytest.mark.parametrize(
    "user, quota",
    [
        ("alice@example.com", [b'"User quota" (STORAGE 0 10240 MESSAGE 0 1000)']),
        ("few@example.com", [b'"User quota" (MESSAGE 0 1)']),
        ("boss@example.com", []),
    ],
)
def test_quotas_are_shown(served: Served, user: str, quota: list[bytes]) -> None:
    with served.server.imap() as client:
        client.login(user, PASSWORD)

        assert client.quota() == quota


def test_a_mailbox_takes_what_its_quota_lets_in_and_no_more(served: Served) -> None:
    with served.server.imap() as client:
        client.login("tiny@example.com", PASSWORD)
        fits = client.append("INBOX", "", "", b"Subject: x\r\n\r\nx")
        beyond = client.append("INBOX", "", "", SIZE_BEYOND_TINY)

    file = served.maildirs / "example.com/tiny/Maildir/maildirsize"
    measured = maildirsize.parse(file.read_bytes())
    assert (fits[0], beyond[0]) == ("OK", "NO")
    assert b"[OVERQUOTA]" in beyond[1][0]
    assert measured == ("100S", 13, 1)


def test_all_users_are_listed_once_under_their_own_domain(served: Served) -> None:
    done = served.server.doveadm("user", "*")

    addresses = {f"{name}@{domain}" for domain, names in USERS.items() for name in names}
    assert sorted(done.stdout.split()) == sorted(addresses)


@pytest.mark.parametrize(
    "user, service, is_found",
    [
        ("alice@alias.org", "lmtp", True),
        # Mail reaches those who may not read it there.
        ("bob@example.com", "lmtp", True),
        ("locked@example.com", "lda", True),
        ("bouncer@example.com", "lmtp", False),
        ("bouncer@example.com", "doveadm", True),
        ("nobody@example.com", "lmtp", False),
    ],
)
def test_deliveries_find_whom_mail_is_for(
    served: Served, user: str, service: str, is_found: bool
) -> None:
    done = served.server.doveadm("user", "-x", f"{served.server.service}={service}", user)

    assert (done.returncode == 0) is is_found, done.stderr


def test_an_alias_domain_leads_to_the_real_home(served: Served) -> None:
    done = served.server.doveadm("user", "-f", "home", "alice@alias.org")

    assert done.stdout.strip() == f"{served.server.place}/mail/d/example.com/alice"


def test_dovecot_had_nothing_to_complain_of(served: Served) -> None:
    assert served.server.may_log_in("imap", "alice@example.com", PASSWORD)

    complaints = [
        line
        for line in served.server.log.splitlines()
        if ("Error:" in line or "Fatal:" in line or "Panic:" in line)
        # The tests' own doing: what is taken away, and who writes while others log in.
        and "anvil-auth-penalty" not in line
        and "database is locked" not in line
    ]
    assert complaints == []
