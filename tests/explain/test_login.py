"""Who may log in, and which of the account, its domain and its override says so."""

import pytest

from tests import factories
from tests.explain.conftest import Sample
from vpopsql.db import Database
from vpopsql.explain import explanation, rows
from vpopsql.explain.result import Account, Login

SERVICES = ["pop3", "imap", "smtp", "relay", "webmail", "dialup", "password-change", "vpopmaild"]


def account_of(site: Sample, address: str) -> Account:
    account = site.explain(address).account
    assert account is not None
    return account


def forbidden(account: Account) -> dict[str, str]:
    return {login.service: login.reason for login in account.logins if not login.allowed}


def test_what_an_account_may_do_is_told_with_who_says_so(crossed: Sample) -> None:
    account = account_of(crossed, "alice@limited.example")

    assert account.logins == (
        Login("pop3", False, "NO_POP", False, True, False, "disable_pop of domain_limits"),
        Login("imap", False, "NO_IMAP", True, False, False, "the account has NO_IMAP"),
        Login("smtp", True, "NO_SMTP", False, False, False, ""),
        Login("relay", True, "NO_RELAY", False, False, False, ""),
        Login(
            "webmail", False, "NO_WEBMAIL", False, True, False, "disable_webmail of domain_limits"
        ),
        Login("dialup", True, "NO_DIALUP", False, False, False, ""),
        Login("password-change", True, "NO_PASSWD_CHNG", False, False, False, ""),
        Login("vpopmaild", True, "", False, False, False, ""),
        Login("cram-md5", False, "", False, False, False, "the password is not stored as it is"),
        Login("apop", False, "", False, False, False, "the password is not stored as it is"),
    )


def test_an_override_keeps_the_domains_limits_off(crossed: Sample) -> None:
    account = account_of(crossed, "boss@limited.example")

    assert account.logins[0] == Login(
        "pop3",
        True,
        "NO_POP",
        False,
        True,
        True,
        "V_OVERRIDE keeps disable_pop of domain_limits off",
    )
    assert set(forbidden(account)) == {"cram-md5", "apop"}


@pytest.mark.parametrize(
    "flag, service",
    [
        ("p", "pop3"),
        ("i", "imap"),
        ("s", "smtp"),
        ("r", "relay"),
        ("w", "webmail"),
        ("u", "dialup"),
        ("d", "password-change"),
    ],
)
def test_each_flag_of_vpopmail_forbids_one_service(small: Sample, flag: str, service: str) -> None:
    account = account_of(small, f"flag-{flag}@north.example")

    assert set(forbidden(account)) == {service}
    assert forbidden(account)[service] == f"the account has {account.flags[0]}"


@pytest.mark.parametrize("flag", ["b", "0", "1", "2", "3", "a", "o", "f", "bigf", "bigs", "bige"])
def test_the_other_flags_forbid_no_login(small: Sample, flag: str) -> None:
    account = account_of(small, f"flag-{flag}@north.example")

    assert forbidden(account) == {}


@pytest.mark.parametrize(
    "address, level, reason",
    [
        ("alice@limited.example", "user", "it has neither QA_ADMIN nor SA_ADMIN"),
        ("boss@limited.example", "domain", "it has QA_ADMIN"),
        ("postmaster@limited.example", "domain", "it is called postmaster"),
        ("root@limited.example", "system", "it has SA_ADMIN"),
    ],
)
def test_what_an_account_administers_is_told(
    crossed: Sample, address: str, level: str, reason: str
) -> None:
    account = account_of(crossed, address)

    assert (account.level, account.level_reason) == (level, reason)


@pytest.mark.parametrize(
    "address, password, clear_text, kind, services",
    [
        ("alice@limited.example", "md5-crypt", False, "normal", {"smtp"}),
        ("clear@limited.example", "md5-crypt", True, "apop", {"smtp", "cram-md5", "apop"}),
        ("locked@limited.example", "locked", True, "normal", set()),
        ("learning@limited.example", "empty", False, "normal", set()),
        ("odd@limited.example", "unknown", False, "7", set()),
    ],
)
def test_a_password_is_told_by_its_kind_alone(
    crossed: Sample, address: str, password: str, clear_text: bool, kind: str, services: set[str]
) -> None:
    account = account_of(crossed, address)

    allowed = {login.service for login in account.logins if login.allowed}
    assert (account.password, account.clear_text, account.kind) == (password, clear_text, kind)
    assert allowed & {"smtp", "cram-md5", "apop"} == services
    assert account.can_log_in == bool(services)


@pytest.mark.parametrize(
    "name, password",
    [
        ("desuser", "des"),
        ("md5user", "md5-crypt"),
        ("sha256user", "sha256-crypt"),
        ("shauser", "sha512-crypt"),
        ("starlocked", "locked"),
        ("emptypw", "empty"),
    ],
)
def test_the_kinds_of_old_hashes_are_known(small: Sample, name: str, password: str) -> None:
    account = account_of(small, f"{name}@north.example")

    assert account.password == password


def test_flags_that_nobody_knows_are_shown_as_a_number(crossed: Sample) -> None:
    account = account_of(crossed, "root@limited.example")

    assert account.flags == ("QA_ADMIN", "SA_ADMIN", "0x100000")


def test_a_login_by_an_alias_domain_is_the_same_account(crossed: Sample) -> None:
    by_alias = account_of(crossed, "alice@example.org")

    assert by_alias == account_of(crossed, "alice@example.com")
    assert by_alias.address == "alice@example.com"


def test_an_alias_is_nobody_to_log_in(crossed: Sample) -> None:
    assert crossed.explain("info@example.com").account is None


def test_whoever_gets_the_mail_the_account_is_there(crossed: Sample) -> None:
    account = account_of(crossed, "shadowed@example.com")

    assert account.directory == "/home/vpopmail/domains/example.com/shadowed"


def test_limits_are_the_domains_then_the_sites_then_none(database: Database) -> None:
    with database.writer() as session:
        own = factories.domain(session, "own.example")
        factories.domain(session, "plain.example")
        factories.limits(session, own, disable_imap=True)

    before = limits_of(database, "plain.example")
    with database.writer() as session:
        factories.limits(session, None, disable_smtp=True, max_aliases=3)

    assert before == ("built-in", False, False, -1)
    assert limits_of(database, "own.example") == ("domain_limits", True, False, -1)
    assert limits_of(database, "plain.example") == ("default_limits", False, True, 3)


def limits_of(database: Database, domain: str) -> tuple[str, bool, bool, int]:
    with database.snapshot() as session:
        site = rows.read_site(session, "/home/vpopmail", "/var/qmail")
        limits = explanation.explain(session, domain, site).limits
    assert limits is not None
    found = limits.settings
    return (
        limits.source,
        bool(found["disable_imap"]),
        bool(found["disable_smtp"]),
        found["max_aliases"],
    )


def test_the_last_logins_are_told_the_newest_first(database: Database) -> None:
    with database.writer() as session:
        alice = factories.mailbox(session, factories.domain(session))
        factories.last_auth(session, alice, factories.at(2026, 1, 2), "192.0.2.7", "imap")
        factories.last_auth(session, alice, factories.at(2026, 3, 4), "192.0.2.8", "pop3")

    with database.snapshot() as session:
        site = rows.read_site(session, "/home/vpopmail", "/var/qmail")
        account = explanation.explain(session, "alice@example.com", site).account

    assert account is not None
    assert account.last_logins == (
        ("pop3", factories.at(2026, 3, 4), "192.0.2.8"),
        ("imap", factories.at(2026, 1, 2), "192.0.2.7"),
    )
