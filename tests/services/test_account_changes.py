"""Mailboxes as rows: when their directories are made, and what waits for their hashes."""

from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from sqlalchemy import select

from tests import factories
from tests.prepared import counting_ways, require_server
from vpopsql.db import Database
from vpopsql.errors import DomainExists, UserExists
from vpopsql.model import CatchAll, DirCounter, LastAuth, Mailbox
from vpopsql.prepared import settle
from vpopsql.services import account_changes, domain_changes
from vpopsql.services.account_changes import Home, Secret
from vpopsql.services.domain_changes import NewDomains
from vpopsql.services.domains import FoundDomain
from vpopsql.services.rights import operator

ACTOR = operator("tests", "/home/vpopmail")
HASH = "$6$x$" + "y" * 86


def hash_of(database: Database, name: str) -> str | None:
    with database.reader() as session:
        return session.scalar(select(Mailbox.password_hash).where(Mailbox.name == name))


def test_a_home_is_made_while_the_hash_is(database: Database) -> None:
    promised: Future[str] = Future()
    made: list[Home] = []

    def make(home: Home) -> None:
        made.append(home)
        promised.set_result(HASH)  # a hash that was waited for before would never come

    with database.writer() as session:
        factories.domain(session)
    with database.writer() as session:
        secret = Secret(promised)
        home = account_changes.add_account(session, ACTOR, "new", "example.com", secret, make)
        assert made == [home]
    assert hash_of(database, "new") == HASH


def test_a_domain_is_made_while_the_hash_is(database: Database) -> None:
    promised: Future[str] = Future()
    made: list[str] = []

    def make(domain: FoundDomain, home: Home) -> None:
        made.extend([domain.directory, home.directory])
        promised.set_result(HASH)

    new = NewDomains((89, 89), CatchAll.BOUNCE)
    with database.writer() as session:
        domain_changes.add_domain(session, ACTOR, "new.example", Secret(promised), new, make)
    directory = "/home/vpopmail/domains/new.example"
    assert made == [directory, f"{directory}/postmaster"]
    assert hash_of(database, "postmaster") == HASH


def test_what_is_asked_for_a_new_mailbox_goes_in_few_ways(database: Database) -> None:
    require_server(database)
    new = NewDomains((89, 89), CatchAll.BOUNCE)
    with database.writer() as session:
        domain_changes.add_domain(session, ACTOR, "old.example", Secret(HASH), new)

    with counting_ways() as of_mailbox, database.writer() as session:
        account_changes.add_account(session, ACTOR, "new", "old.example", Secret(HASH))
    with counting_ways() as of_domain, database.writer() as session:
        domain_changes.add_domain(session, ACTOR, "new.example", Secret(HASH), new)

    # Its domain; limits, counter and whether it is there; the trace; the mailbox.
    assert len(of_mailbox) == 4
    # Whether it is there, with the site's counter; its id; the trace; the mailbox.
    assert len(of_domain) == 4


def test_nothing_is_made_for_a_name_that_another_session_takes(database: Database) -> None:
    new = NewDomains((89, 89), CatchAll.BOUNCE)
    with database.writer() as session:
        domain_changes.add_domain(session, ACTOR, "old.example", Secret(HASH), new)
    made: list[str] = []

    def add() -> None:
        with database.writer() as session:
            domain_changes.add_domain(
                session,
                *(ACTOR, "new.example", Secret(HASH), new),
                lambda domain, _home: made.append(domain.directory),
            )

    with ThreadPoolExecutor(1) as thread:
        with database.writer() as session:
            domain_changes.add_alias_domain(session, ACTOR, "old.example", "new.example")
            settle(session)
            second = thread.submit(add)
            with pytest.raises(TimeoutError):
                second.result(0.3)
        with pytest.raises(DomainExists):
            second.result(20)
    assert made == []


def test_a_new_mailbox_has_never_logged_in_and_is_counted(database: Database) -> None:
    new = NewDomains((89, 89), CatchAll.BOUNCE)
    with database.writer() as session:
        domain, _ = domain_changes.add_domain(session, ACTOR, "a.example", Secret(HASH), new)
        account_changes.add_account(session, ACTOR, "new", "a.example", Secret(HASH))

    with database.reader() as session:
        logins = session.execute(
            select(LastAuth.service, LastAuth.remote_ip, LastAuth.at == Mailbox.created_at).join(
                Mailbox, Mailbox.id == LastAuth.mailbox_id
            )
        ).all()
        counted = session.scalars(
            select(DirCounter.cur_users).where(DirCounter.domain_id == domain.id)
        ).all()
    assert [tuple(login) for login in logins] == [("any", account_changes.NEVER, True)] * 2
    assert counted == [2]


def test_no_home_is_made_for_a_mailbox_that_may_not_be(database: Database) -> None:
    with database.writer() as session:
        factories.mailbox(session, factories.domain(session), "old")
    with pytest.raises(UserExists), database.writer() as session:
        account_changes.add_account(
            session, ACTOR, "old", "example.com", Secret(HASH), lambda _: pytest.fail("made")
        )


def test_a_hash_that_cannot_be_made_adds_nothing(database: Database) -> None:
    promised: Future[str] = Future()
    promised.set_exception(ValueError("no"))
    with database.writer() as session:
        factories.domain(session)
    with pytest.raises(ValueError, match="no"), database.writer() as session:
        account_changes.add_account(session, ACTOR, "new", "example.com", Secret(promised))
    assert hash_of(database, "new") is None
