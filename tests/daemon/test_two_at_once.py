"""Two who do something to one account at the same moment."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select, text, update

from tests import factories
from tests.daemon.conftest import Running
from tests.daemon.test_faults import HOME, PLACE, SYSTEM, harm, make_site
from tests.prepared import require_server
from vpopsql.client import Refused, connect
from vpopsql.db import Database
from vpopsql.model import AuditEntry, DomainName, Flag, Mailbox, Revision
from vpopsql.services import renames
from vpopsql.services.domains import lock_domain
from vpopsql.services.rights import Actor

TIMES = 15
ALICE = f"alice@{HOME}"
OTHER, ALIAS = "other.example", "alias.example"
PATIENCE_S = 20
ADMIN = Actor(1, "admin", 1, HOME, "/d", "/d/admin", Flag.SA_ADMIN, "/home/vpopmail")


@pytest.fixture
def daemon(database: Database, start: Callable[..., Running], tmp_path: Path) -> Running:
    make_site(database, tmp_path / "root")
    running = start(tmp_path / "root")
    with connect(*running.address) as client:
        client.login(*SYSTEM)
        client.add_user(ALICE, "first")
    return running


def test_of_two_administrators_of_one_mailbox_each_leaves_whole_changes(
    daemon: Running, tmp_path: Path
) -> None:
    def administer(who: str) -> None:
        with connect(*daemon.address) as client:
            client.login(*SYSTEM)
            for number in range(TIMES):
                client.mod_user(ALICE, comment=f"{who} {number}", quota=f"{number + 1}{who}M")

    def mine(who: str) -> set[tuple[str, int]]:
        return {(f"{who} {number}", int(f"{number + 1}{who}") << 20) for number in range(TIMES)}

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(administer, "12"))

    with daemon.database.reader() as session:
        query = select(Mailbox.comment, Mailbox.quota_bytes).where(Mailbox.name == "alice")
        comment, quota = session.execute(query).one()
    line = (tmp_path / "root" / PLACE[1:] / "vpasswd").read_text().splitlines()[0].split(":")
    assert (comment, quota) in mine("1") | mine("2")
    assert comment.endswith(f" {TIMES - 1}")
    assert (line[4], line[6]) == (comment, f"{quota}S")
    assert harm(daemon) == []


def test_nobody_gets_in_with_the_password_of_a_mailbox_that_is_gone(daemon: Running) -> None:
    passwords = [f"word {number}" for number in range(TIMES)]
    held = ["first"]
    got_in: list[tuple[str, list[str]]] = []
    is_over = threading.Event()

    def guess(number: int) -> None:
        while not is_over.is_set():
            since = len(held) - 1
            password = passwords[number % TIMES] if number else "first"
            with connect(*daemon.address) as client:
                try:
                    client.login(ALICE, password)
                except Refused:
                    continue
            # It must have been in force at some moment between the two looks.
            got_in.append((password, held[since:]))

    with ThreadPoolExecutor(3) as threads, connect(*daemon.address) as client:
        guesses = [threads.submit(guess, number) for number in (0, TIMES // 2)]
        try:
            client.login(*SYSTEM)
            for password in passwords:
                client.del_user(ALICE)
                held.append(password)
                client.add_user(ALICE, password)
        finally:
            is_over.set()
        for each in guesses:
            each.result()

    assert [each for each in got_in if each[0] not in each[1]] == []
    with connect(*daemon.address) as client, pytest.raises(Refused, match=r"8\.207"):
        client.login(ALICE, "first")
    with connect(*daemon.address) as client:
        client.login(ALICE, passwords[-1])
    assert harm(daemon) == []


def test_an_account_that_is_deleted_changes_nothing_any_more(daemon: Running) -> None:
    with connect(*daemon.address) as client, connect(*daemon.address) as admin:
        client.login(ALICE, "first")
        admin.login(*SYSTEM)
        admin.del_user(ALICE)
        admin.add_user(ALICE, factories.PASSWORD)

        with pytest.raises(Refused):
            client.mod_user(ALICE, comment="Mine")

    with daemon.database.reader() as session:
        query = select(Mailbox.comment).where(Mailbox.name == "alice")
        assert session.scalars(query).one() == "alice"


def test_a_name_that_another_domain_gets_meanwhile_leads_to_its_mailbox(daemon: Running) -> None:
    """Who waits for a domain's lock has looked its name up before."""
    database = require_server(daemon.database)
    with connect(*daemon.address) as client, ThreadPoolExecutor(1) as thread:
        client.login(*SYSTEM)
        client.add_domain(OTHER, "correct horse")
        client.add_user(f"alice@{OTHER}", "second")
        client.add_alias_domain(ALIAS, HOME)
        with database.writer() as holder:
            lock_domain(holder, HOME)
            changed = thread.submit(client.mod_user, f"alice@{ALIAS}", comment="Hers")
            wait_until_somebody_waits(database)
            with database.writer() as session:
                of_other = select(DomainName.domain_id).where(DomainName.name == OTHER)
                session.execute(
                    update(DomainName)
                    .where(DomainName.name == ALIAS)
                    .values(domain_id=of_other.scalar_subquery())
                )
        changed.result()

        comments = [client.user_info(f"alice@{domain}").comment for domain in (HOME, OTHER)]
    with database.reader() as session:
        newest = select(AuditEntry.object).order_by(AuditEntry.id.desc()).limit(1)
        assert session.scalar(newest) == f"alice@{OTHER}"
    assert comments == ["alice", "Hers"]
    vpasswd = Path(daemon.config.paths.root) / f"home/vpopmail/domains/{OTHER}/vpasswd"
    assert ":Hers:" in vpasswd.read_text()


@pytest.mark.parametrize("has_alias", [True, False])
def test_who_waits_while_a_domain_is_renamed_changes_it_under_its_new_name(
    daemon: Running, has_alias: bool
) -> None:
    """Files are brought to the revisions of the name that their domain has."""
    database = require_server(daemon.database)
    with connect(*daemon.address) as client, ThreadPoolExecutor(1) as thread:
        client.login(*SYSTEM)
        client.add_domain(OTHER, "correct horse")
        client.add_user(f"alice@{OTHER}", "second")
        with database.writer() as session:
            how = renames.How(leaves_forward=has_alias)
            renames.rename_domain(session, ADMIN, OTHER, "new.example", how)
            session.flush()
            added = thread.submit(client.add_user, f"bob@{OTHER}", "correct horse")
            wait_until_somebody_waits(database)
        if has_alias:
            added.result()
        else:
            with pytest.raises(Refused):
                added.result()

    with database.reader() as session:
        query = select(Revision.domain, Revision.topic).order_by(Revision.id.desc()).limit(1)
        what = "add_user" if has_alias else "rename_domain"
        assert tuple(session.execute(query).one()) == ("new.example", what)


def wait_until_somebody_waits(database: Database) -> None:
    query = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        with database.reader() as session:
            if session.scalar(query):
                return
        time.sleep(0.01)
    raise AssertionError("nobody waits for a lock")
