"""One client's conversation, without a socket."""

import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import delete, text
from structlog.testing import capture_logs

from tests import factories
from tests.daemon.conftest import settings
from tests.daemon.files import NoFiles
from vpopsql.daemon.conversation import Conversation, Peer, Service
from vpopsql.db import Database
from vpopsql.errors import DatabaseUnavailable
from vpopsql.model import Domain, Flag

SOMEBODY = Peer("192.0.2.200")
PASSWORD = factories.PASSWORD
Talk = Callable[..., list[str]]


@pytest.fixture
def site(database: Database) -> Database:
    with database.writer() as session:
        factories.setting(session, "vpopmail_dir", "/home/vpopmail")
        root = factories.domain(session, "root.example")
        factories.mailbox(session, root, "postmaster", Flag.SA_ADMIN)
        example = factories.domain(session, "example.com", "example.org")
        alice = factories.mailbox(session, example, "alice", clear_text=PASSWORD)
        factories.last_auth(session, alice, factories.at(2026, 1, 2), "192.0.2.1", "imap")
        factories.last_auth(session, alice, factories.at(2026, 1, 1), "192.0.2.2", "pop3")
        factories.mailbox(session, example, "postmaster")
        factories.mailbox(session, example, "dadmin", Flag.QA_ADMIN)
        factories.mailbox(session, example, "chief", Flag.SA_ADMIN, clear_text="chief's own")
        factories.mailbox(session, example, "star", password_hash="*")
        factories.mailbox(session, example, "empty", password_hash="")
        factories.alias(session, example, "info", "alice@example.com", "", "bob@example.com")
        factories.alias(session, example, "crew", "|/usr/bin/ezmlm/ezmlm-reject", "x@y.z")
        factories.alias(session, example, "robot", "|/usr/bin/autorespond a b c d")
        factories.alias(session, example, "zero")
        factories.alias(session, example, "default", "alice@example.com")
        factories.ip_mapping(session, "192.0.2.9", example)
        factories.ip_mapping(session, "192.0.2.80", example)
        factories.ip_mapping(session, "2001:db8::1", root)
        factories.domain(session, "other.example")
    return database


@pytest.fixture
def talk(site: Database, tmp_path: Path) -> Talk:
    """A function that says lines to a new conversation and returns all that was answered."""

    def say(*lines: str | bytes, peer: Peer = SOMEBODY, **daemon: object) -> list[str]:
        config = settings(str(site.url), tmp_path, **daemon)
        conversation = Conversation(Service(site, config, NoFiles()), peer)
        answers: list[str] = []
        for line in lines:
            raw = line if isinstance(line, bytes) else line.encode()
            for reply in conversation.receive(raw):
                answers += b"".join(reply.render()).decode().splitlines()
                if reply.close:
                    return [*answers, "(closed)"]
        return answers

    return say


def test_a_good_login_is_answered(talk: Talk) -> None:
    assert talk(f"slogin alice@example.com {PASSWORD}") == ["+OK "]


def test_a_login_may_use_an_alias_domain_and_upper_case(talk: Talk) -> None:
    answer = talk(f"clogin ALICE@Example.ORG {PASSWORD}")

    assert answer[:3] == [
        "+OK+",
        "vpopmail_dir /home/vpopmail",
        "domain_dir /home/vpopmail/domains/example.com",
    ]
    assert answer[-2:] == ["gidflags 0", "."]


@pytest.mark.parametrize("who", ["star@example.com", "empty@example.com"])
@pytest.mark.parametrize("password", ["*", "x", "!"])
def test_a_locked_account_never_logs_in(talk: Talk, who: str, password: str) -> None:
    assert talk(f"slogin {who} {password}") == ["-ERR 8.207 Invalid Login"]


def test_an_unknown_user_and_a_wrong_password_look_the_same(talk: Talk) -> None:
    assert talk("slogin alice@example.com wrong") == talk("slogin nobody@example.com wrong")
    assert talk("slogin alice@example.com wrong") == talk("slogin a@nosuch.example wrong")


def test_a_login_without_domain_takes_the_one_of_the_address_connected_to(talk: Talk) -> None:
    assert talk(f"slogin alice {PASSWORD}", peer=Peer("", "192.0.2.9")) == ["+OK "]
    assert talk(f"slogin alice {PASSWORD}", peer=Peer("", "192.0.2.8")) == [
        "-ERR 8.207 Invalid Login"
    ]


def test_a_login_without_domain_takes_the_sites_default(talk: Talk, site: Database) -> None:
    with site.writer() as session:
        factories.setting(session, "default_domain", "example.com")

    assert talk(f"slogin alice {PASSWORD}") == ["+OK "]


def test_as_many_failed_logins_as_configured_end_the_conversation(talk: Talk) -> None:
    answer = talk(*["slogin alice@example.com wrong"] * 9, login_attempts=2)

    assert answer == [
        "-ERR 8.207 Invalid Login",
        "-ERR 8.207 Invalid Login",
        "-ERR 5.105 Too many invalid login attempts",
        "(closed)",
    ]


def test_blank_lines_before_login_count(talk: Talk) -> None:
    assert talk("", "", "", "", "") == ["-ERR 5.102 Too many invalid login attempts", "(closed)"]


def test_after_login_there_is_no_budget(talk: Talk) -> None:
    answer = talk(f"slogin alice@example.com {PASSWORD}", *["foo", ""] * 20)

    assert answer == ["+OK ", *["-ERR 4.107 Invalid Command"] * 20]


@pytest.mark.parametrize("verb", ["quit", "exit", "q", "QUIT"])
def test_each_way_to_quit_ends_the_conversation(talk: Talk, verb: str) -> None:
    assert talk(verb) == ["+OK ", "(closed)"]


@pytest.mark.parametrize("line", ["GET / HTTP/1.1", "POST /x HTTP/1.0", "CONNECT a:1"])
def test_a_browser_is_hung_up_on(talk: Talk, line: str) -> None:
    assert talk(line)[-1] == "(closed)"
    assert talk(f"slogin alice@example.com {PASSWORD}", line)[-1] == "(closed)"


def test_a_nul_makes_a_command_invalid(talk: Talk) -> None:
    answer = talk(f"slogin postmaster@root.example {PASSWORD}", b"domain_count\0")

    assert answer[-1] == "-ERR 4.107 Invalid Command"


def as_system(talk: Talk, *lines: str) -> list[str]:
    return talk(f"slogin postmaster@root.example {PASSWORD}", *lines)[1:]


def as_admin(talk: Talk, *lines: str) -> list[str]:
    return talk(f"slogin dadmin@example.com {PASSWORD}", *lines)[1:]


def as_user(talk: Talk, *lines: str) -> list[str]:
    return talk(f"slogin alice@example.com {PASSWORD}", *lines)[1:]


def test_a_domain_administrator_sees_no_secrets_of_a_system_administrator(talk: Talk) -> None:
    for command in ("user_info chief@example.com", "list_users example.com"):
        answer = as_admin(talk, command)
        start = answer.index("name chief")
        assert answer[start + 4 : start + 6] == ["encrypted_password ", "clear_text_password "]


def test_a_system_administrator_sees_them(talk: Talk) -> None:
    answer = as_system(talk, "user_info chief@example.com")

    assert "clear_text_password chief's own" in answer


def test_users_and_administrators_read_what_the_documentation_grants_them(talk: Talk) -> None:
    assert as_user(talk, "get_ip_map 192.0.2.9") == ["+OK+", "192.0.2.9 example.com", "."]
    assert as_user(talk, "get_limits example.com")[0] == "+OK+"
    assert as_user(talk, "get_lastauth alice@example.com")[0] == "+OK+"
    assert as_user(talk, "get_user_size alice@example.com")[0] == "+OK+"
    assert as_admin(talk, "get_limits example.com")[0] == "+OK+"
    assert as_admin(talk, "get_lastauth alice@example.com")[0] == "+OK+"


@pytest.mark.parametrize(
    "line, answer",
    [
        ("get_limits other.example", "-ERR 9.3401 Not Authorized"),
        ("get_lastauth dadmin@example.com", "-ERR 9.3701 Not Authorized"),
        ("get_user_size dadmin@example.com", "-ERR 3801 not authorized"),
        ("user_info alice@example.com", "-ERR 4.107 Invalid Command"),
        ("list_users example.com", "-ERR 4.107 Invalid Command"),
    ],
)
def test_a_user_is_refused_the_rest(talk: Talk, line: str, answer: str) -> None:
    assert as_user(talk, line) == [answer]


@pytest.mark.parametrize(
    "line, answer",
    [
        ("user_info postmaster@root.example", "-ERR 11.604 Not Authorized for domain"),
        ("list_users root.example", "-ERR 11.2703 Not Authorized for domain"),
        ("user_count root.example", "-ERR 11.2603 Not Authorized for domain"),
        ("list_alias root.example", "-ERR 11.2804 Not Authorized for domain"),
        ("list_alias a@root.example", "-ERR 11.2804 Not Authorized for domain"),
        ("list_lists root.example", "-ERR 11.2903 Not Authorized for domain"),
        ("get_domain_size root.example", "-ERR 3903 not authorized for domain"),
        ("get_lastauth postmaster@root.example", "-ERR 11.3704 Not Authorized for domain"),
        ("get_limits root.example", "-ERR 9.3401 Not Authorized"),
        ("list_domains", "-ERR 4.107 Invalid Command"),
        ("dom_info example.com", "-ERR 4.107 Invalid Command"),
        ("show_ip_map", "-ERR 4.107 Invalid Command"),
    ],
)
def test_a_domain_administrator_is_refused_other_domains(
    talk: Talk, line: str, answer: str
) -> None:
    assert as_admin(talk, line) == [answer]


def test_aliases_are_listed_without_catch_all_and_blank_lines(talk: Talk) -> None:
    assert as_system(talk, "list_alias example.org") == [
        "+OK+",
        "crew@example.com |/usr/bin/ezmlm/ezmlm-reject",
        "crew@example.com x@y.z",
        "info@example.com alice@example.com",
        "info@example.com bob@example.com",
        "robot@example.com |/usr/bin/autorespond a b c d",
        ".",
    ]


def test_an_address_without_aliases_gives_an_empty_list(talk: Talk) -> None:
    assert as_admin(talk, "list_alias nobody@example.com") == ["+OK+", "."]


def test_lists_are_only_what_runs_ezmlm(talk: Talk) -> None:
    assert as_admin(talk, "list_lists example.com") == ["+OK+", ".qmail-crew", "."]
    assert as_admin(talk, "list_lists example.com 2 1") == ["+OK+", "."]


def test_the_ip_map_is_shown_by_address(talk: Talk) -> None:
    assert as_system(talk, "show_ip_map") == [
        "+OK+",
        "192.0.2.9 example.com",
        "192.0.2.80 example.com",
        "2001:db8::1 root.example",
        ".",
    ]


def test_an_ipv6_address_is_found_however_it_is_spelt(talk: Talk) -> None:
    assert as_system(talk, "get_ip_map 2001:0DB8:0::1") == [
        "+OK+",
        "2001:db8::1 root.example",
        ".",
    ]


def test_the_newest_login_of_any_service_is_the_last_one(talk: Talk) -> None:
    assert as_system(talk, "get_lastauth alice@example.com") == [
        "+OK+",
        f"time {int(factories.at(2026, 1, 2).timestamp())}",
        "ip 192.0.2.1",
        ".",
    ]


def test_an_account_without_a_record_has_never_logged_in(talk: Talk) -> None:
    assert as_system(talk, "get_lastauth dadmin@example.com") == [
        "+OK+",
        "time 0",
        "ip 0.0.0.0",
        ".",
    ]


def test_limits_of_the_domain_come_before_those_of_the_site(talk: Talk, site: Database) -> None:
    with site.writer() as session:
        factories.limits(session, None, max_aliases=7, disable_pop=True)
        example = factories.domain(session, "limited.example")
        factories.limits(session, example, max_aliases=3, default_quota=5 * 2**40)

    limited, other = (
        as_system(talk, f"get_limits {name}") for name in ("limited.example", "example.com")
    )

    assert {"max_aliases 3", "disable_pop 0", f"default_quota {5 * 2**40}"} <= set(limited)
    assert {"max_aliases 7", "disable_pop 1", "max_popaccounts -1"} <= set(other)


@pytest.mark.parametrize(
    "line, answer",
    [
        ("find_domain example.com 2", "page 1"),
        ("find_domain example.org 2", "page 1"),
        ("find_domain root.example 2", "page 2"),
        ("find_domain ROOT.example 1", "page 4"),
        ("find_domain root.example 0", "page 1"),
        ("find_domain root.example", "page 1"),
    ],
)
def test_a_domain_is_on_the_page_that_list_domains_shows_it_on(
    talk: Talk, line: str, answer: str
) -> None:
    assert as_system(talk, line) == ["+OK+", answer, "."]


def test_an_unknown_domain_is_on_no_page(talk: Talk) -> None:
    assert as_system(talk, "find_domain nosuch.example 10") == ["+OK+", "."]
    assert as_system(talk, "find_domain") == ["-ERR 13.2402 Domain Required"]


def test_an_empty_site_gives_empty_lists(talk: Talk, site: Database, tmp_path: Path) -> None:
    conversation = Conversation(
        Service(site, settings(str(site.url), tmp_path), NoFiles()), Peer()
    )
    conversation.receive(f"slogin postmaster@root.example {PASSWORD}".encode())
    with site.writer() as session:
        session.execute(delete(Domain).where(Domain.directory.not_like("%root.example%")))
    conversation.receive(b"del_domain root.example")

    answers = {
        line: b"".join(conversation.receive(line.encode())[0].render()).decode()
        for line in ("list_domains", "domain_count", "find_domain example.com", "show_ip_map")
    }

    assert answers == {
        "list_domains": "+OK+\r\n.\r\n",
        "domain_count": "+OK+\r\ncount 0\r\n.\r\n",
        "find_domain example.com": "+OK+\r\n.\r\n",
        "show_ip_map": "+OK+\r\n.\r\n",
    }


def test_help_shows_each_verb_once_and_only_what_may_be_run(talk: Talk) -> None:
    for login in ("alice@example.com", "dadmin@example.com", "postmaster@root.example"):
        shown = talk(f"slogin {login} {PASSWORD}", "help")[2:]
        verbs = [line.split()[0] for line in shown if len(line.split()) > 1]
        runnable = [verb for verb in verbs if verb not in {"Mailing", "File", "IP"}]
        for verb in runnable:
            answer = talk(f"slogin {login} {PASSWORD}", verb)
            assert "-ERR 4.107 Invalid Command" not in answer
        assert len(runnable) == len(set(runnable))


def test_bytes_that_are_no_text_come_back_as_they_are(talk: Talk, site: Database) -> None:
    with site.writer() as session:
        example = factories.domain(session, "bytes.example")
        factories.mailbox(
            session, example, "joe", comment=b"J\xf6e \xff".decode("utf-8", "surrogateescape")
        )
    config = settings(str(site.url), Path("/nonexistent"))
    conversation = Conversation(Service(site, config, NoFiles()), Peer())
    conversation.receive(f"slogin postmaster@root.example {PASSWORD}".encode())

    (reply,) = conversation.receive(b"user_info joe@bytes.example")

    assert b"comment J\xf6e \xff\r\n" in b"".join(reply.render())


def test_an_outage_is_one_temporary_error_and_the_conversation_lives_on(
    talk: Talk, site: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = Conversation(
        Service(site, settings(str(site.url), tmp_path), NoFiles()), Peer()
    )
    conversation.receive(f"slogin postmaster@root.example {PASSWORD}".encode())

    def unavailable(_work: object) -> None:
        raise DatabaseUnavailable("gone")

    with monkeypatch.context() as outage:
        outage.setattr(site, "read", unavailable)
        (during,) = conversation.receive(b"domain_count")
    (after,) = conversation.receive(b"domain_count")

    assert during.status == "-ERR 0.108 Database not available, try again later"
    assert after.status == "+OK+"


def test_a_defect_is_one_generic_error_and_the_conversation_lives_on(
    site: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = Conversation(
        Service(site, settings(str(site.url), tmp_path), NoFiles()), Peer()
    )
    conversation.receive(f"slogin postmaster@root.example {PASSWORD}".encode())

    with monkeypatch.context() as broken, capture_logs() as logs:
        broken.setattr("vpopsql.services.domains.count_domains", lambda _: 1 / 0)
        (during,) = conversation.receive(b"domain_count")
    (after,) = conversation.receive(b"domain_count")

    assert during.status == "-ERR 0.109 Internal error"
    assert any(entry["event"] == "internal error" for entry in logs)
    assert after.status == "+OK+"


def test_no_password_is_ever_logged(talk: Talk) -> None:
    with capture_logs() as logs:
        talk(f"slogin alice@example.com {PASSWORD}", f"foo {PASSWORD}", "quit")
        talk(f"{PASSWORD} x", f"slogin nobody@example.com {PASSWORD}", f"login {PASSWORD}")

    assert logs
    assert PASSWORD not in str(logs)
    assert PASSWORD.split()[0] not in str(logs)


@pytest.mark.parametrize(
    "command",
    [
        "list_users",
        "user_count",
        "find_domain",
        "dom_info",
        "list_alias",
        "list_lists",
        "get_limits",
        "get_domain_size",
        "del_domain",
        "add_ip_map 192.0.2.1",
        "add_alias_domain example.com",
    ],
)
def test_a_word_that_is_no_text_is_the_name_of_nothing(
    site: Database, tmp_path: Path, command: str
) -> None:
    conversation = Conversation(
        Service(site, settings(str(site.url), tmp_path), NoFiles()), SOMEBODY
    )
    conversation.receive(f"slogin postmaster@root.example {PASSWORD}".encode())

    (reply,) = conversation.receive(command.encode() + b" \xff\xfe")

    assert reply.status != "-ERR 0.109 Internal error"


def test_no_error_of_the_database_shows_what_it_was_given(site: Database, tmp_path: Path) -> None:
    broken = (
        "CREATE TRIGGER broken BEFORE UPDATE ON mailboxes BEGIN SELECT RAISE(ABORT, 'no'); END"
        if site.is_sqlite
        else "ALTER TABLE mailboxes ADD CONSTRAINT broken CHECK (comment <> 'New')"
    )
    with site.writer() as session:
        session.execute(text(broken))
    conversation = Conversation(
        Service(site, settings(str(site.url), tmp_path), NoFiles()), SOMEBODY
    )
    conversation.receive(f"slogin postmaster@root.example {PASSWORD}".encode())

    with capture_logs() as logs:
        for line in ("mod_user alice@example.com", "comment New", "clear_text_password hush", "."):
            replies = conversation.receive(line.encode())
        shown = str(logs) + "".join(
            "".join(traceback.format_exception(entry["exc_info"]))
            for entry in logs
            if isinstance(entry.get("exc_info"), BaseException)
        )

    assert replies[0].status == "-ERR 0.109 Internal error"
    assert "hush" not in shown
    assert "$6$" not in shown
