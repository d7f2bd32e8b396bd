"""What a change of a mailbox saw is all that its files need, unless something else has changed."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from tests import factories
from tests.prepared import counting_ways, require_server
from vpopsql.config import Config, Paths
from vpopsql.db import Database
from vpopsql.exporter.apply import Applied, follow, plan
from vpopsql.exporter.snapshot import state_of, take
from vpopsql.model import UNFINISHED_IMPORT, Flag, Mailbox, Revision
from vpopsql.prepared import commit
from vpopsql.quota import Quota
from vpopsql.services import account_changes, changes, sight
from vpopsql.services.account_changes import Secret, Wishes
from vpopsql.services.rights import Actor
from vpopsql.touched import Mark, Seen, Touched

DOMAIN = "example.com"
VPASSWD = f"home/vpopmail/domains/{DOMAIN}/vpasswd"
ADMIN = Actor(1, "admin", 1, "root.example", "/d", "/d/admin", Flag.SA_ADMIN, "/home/vpopmail")
AWKWARD = "J\udcf6e \N{SNOWMAN}"

Do = Callable[..., object]


@pytest.fixture
def config(root: Path) -> Config:
    return Config(paths=Paths(root=str(root)))


@pytest.fixture
def site(database: Database, config: Config, export: Callable[..., Applied]) -> Database:
    """A domain whose files have a stamp, as a mailbox of it was changed."""
    with database.writer() as session:
        made = factories.domain(session, DOMAIN, "alias.org")
        for name in ("alice", "bob", "carol"):
            factories.mailbox(session, made, name)
    export()
    follow(database, config, change(database, add("zoe")))
    return database


def add(name: str, domain: str = DOMAIN) -> Do:
    secret = Secret("$1$abcdefgh$irWbblnpmw.5z7wgBnprh0", "clear")
    return partial(account_changes.add_account, name=name, domain=domain, secret=secret)


def modify(name: str, **wishes: object) -> Do:
    wanted = Wishes(**wishes)  # type: ignore[arg-type]
    return partial(account_changes.modify_account, name=name, domain=DOMAIN, wishes=wanted)


def delete(name: str) -> Do:
    return partial(account_changes.delete_account, name=name, domain=DOMAIN)


def change(database: Database, *jobs: Do) -> Touched:
    """Carry jobs out as the daemon does; return what has to follow."""
    touched = Touched()
    with database.writer() as session:
        watching = sight.watch(session)
        for job in jobs:
            job(session, ADMIN)
            touched.mailboxes.add((DOMAIN, job.keywords["name"]))  # type: ignore[attr-defined]
        commit(session)
        touched.revisions = changes.revisions_of(session)
        touched.seen = watching.seen()
    return touched


def seen(touched: Touched) -> Seen:
    assert touched.seen is not None
    return touched.seen


def files_are_right(database: Database, config: Config) -> bool:
    return not [*plan(database, config).changes()]


def names(root: Path) -> list[str]:
    return [line.partition(":")[0] for line in (root / VPASSWD).read_text().splitlines()]


@pytest.fixture
def asks_nothing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that follows and refuses to ask the database for anything."""

    def follow_alone(database: Database, config: Config, touched: Touched) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(Database, "read", None)
            patched.setattr(Database, "reader", None)
            follow(database, config, touched)

    return follow_alone


JOBS = {
    "added": add("aaron"),
    "added by an alias": add("dan", "alias.org"),
    "deleted": delete("bob"),
    "commented": modify("carol", comment=AWKWARD),
    "flagged": modify("carol", set_flags=Flag.NO_POP | Flag.NO_SMTP),
    "limited": modify("carol", quota=Quota(1_000_000, 50)),
    "given a password": modify(
        "carol", password="other", hashed=Secret("$1$abcdefgh$0123456789012345678901", "other")
    ),
}


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_a_change_is_written_without_a_question(
    site: Database, config: Config, job: Do, asks_nothing: Callable[..., None]
) -> None:
    touched = change(site, job)

    asks_nothing(site, config, touched)

    assert files_are_right(site, config)


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_what_is_seen_is_what_is_stored(site: Database, config: Config, job: Do) -> None:
    found = seen(change(site, job))

    touched = Touched(mailboxes={(DOMAIN, found.mailbox)}, revisions={found.mark.revision})
    with site.snapshot() as session:
        read = take(session, config.paths, touched, written={DOMAIN: found.before})

    (stored,) = read.domains
    saw = state_of(found)
    assert saw == replace(
        stored,
        accounts=saw.accounts,
        counter=saw.counter,
        # They are of no use to the files of accounts.
        catchall=saw.catchall,
        catchall_target=saw.catchall_target,
    )
    assert [*saw.accounts] == [*stored.accounts]
    # Who changes a mailbox that stays counts nothing.
    assert saw.counter == (None if found.mailbox == "carol" else stored.counter)


def test_changes_one_after_the_other_need_no_question(
    site: Database, config: Config, asks_nothing: Callable[..., None]
) -> None:
    for job in (add("new"), modify("new", comment="x"), delete("bob"), delete("new"), add("bob")):
        asks_nothing(site, config, change(site, job))

    assert files_are_right(site, config)


def test_it_is_no_way_to_the_server(site: Database, config: Config) -> None:
    require_server(site)
    touched = change(site, add("new"))

    with counting_ways() as counted:
        follow(site, config, touched)

    assert counted == []


def revise(database: Database, domain: str | None, topic: str = "restore") -> None:
    with database.writer() as session:
        session.add(Revision(domain=domain, topic=topic))


@pytest.mark.parametrize("domain", [DOMAIN, None])
def test_what_somebody_committed_and_did_not_write_is_written_with_it(
    site: Database, config: Config, domain: str | None
) -> None:
    change(site, modify("alice", comment="killed before the files"))
    revise(site, domain)

    follow(site, config, change(site, add("new")))

    assert files_are_right(site, config)


@pytest.mark.parametrize(
    "domain, topic", [("test.com", "restore"), (DOMAIN, "add_alias"), (None, "add_ip_map")]
)
def test_what_has_nothing_to_do_with_accounts_does_not_matter(
    site: Database,
    config: Config,
    domain: str | None,
    topic: str,
    asks_nothing: Callable[..., None],
) -> None:
    revise(site, domain, topic)

    asks_nothing(site, config, change(site, add("new")))

    assert files_are_right(site, config)


def test_a_younger_change_that_is_written_already_stays(
    site: Database, config: Config, root: Path
) -> None:
    """Who has changed first may come to the files last."""
    first = change(site, add("new"))
    second = change(site, delete("new"))

    follow(site, config, second)
    follow(site, config, first)

    assert "new" not in names(root)
    assert files_are_right(site, config)


def test_of_a_younger_change_that_is_written_already_not_everything_is_written_again(
    site: Database, config: Config, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = change(site, add("new"))
    second = change(site, delete("new"))
    follow(site, config, second)
    with site.writer() as session:
        session.execute(update(Mailbox).where(Mailbox.name == "alice").values(comment="unseen"))

    follow(site, config, first)

    assert "unseen" not in (root / VPASSWD).read_text()


def test_a_counter_that_somebody_else_has_written_is_made_anew(
    site: Database, config: Config, root: Path
) -> None:
    (root / VPASSWD).with_name(".dir-control").write_text("100\n")

    follow(site, config, change(site, modify("alice", comment="new")))

    assert files_are_right(site, config)


def test_several_at_once_are_read(site: Database, config: Config) -> None:
    together = Touched()
    for job in (add("new"), modify("new", comment="newer"), delete("bob")):
        together.add(change(site, job))

    assert together.seen is None
    follow(site, config, together)

    assert files_are_right(site, config)


def test_nothing_else_keeps_what_was_seen() -> None:
    mark = Mark(1, "")
    one = Touched(mailboxes={(DOMAIN, "a")})
    one.seen = Seen(DOMAIN, "/d", (1, 1), mark, mark, "a", None, None)
    together = Touched()

    together.add(one)
    together.add(Touched())
    assert together.seen is one.seen

    together.add(Touched(limits={DOMAIN}))
    assert together.seen is None


@pytest.mark.parametrize("more", [{"dotqmail": {DOMAIN}}, {"mailboxes": {(DOMAIN, "b")}}])
def test_what_was_seen_is_not_enough_for_more(site: Database, more: dict[str, Any]) -> None:
    touched = change(site, add("new"))
    assert touched.seen_alone == touched.seen

    for name, value in more.items():
        setattr(touched, name, getattr(touched, name) | value)

    assert touched.seen_alone is None


def test_no_secret_of_what_was_seen_is_shown(site: Database) -> None:
    touched = change(site, add("new"))

    assert "clear" not in repr(touched)
    assert "$1$" not in repr(touched)


@pytest.mark.parametrize("file", [VPASSWD, f"{VPASSWD}.cdb"])
def test_files_that_somebody_else_has_touched_are_written_whole(
    site: Database, config: Config, root: Path, file: str
) -> None:
    (root / file).write_bytes((root / file).read_bytes()[:-9])

    follow(site, config, change(site, add("new")))

    assert files_are_right(site, config)


def test_of_a_change_that_changes_nothing_nothing_is_seen(site: Database) -> None:
    assert change(site, modify("carol", comment="carol")).seen is not None
    assert change(site, modify("carol", comment="carol")).seen is None


def test_of_a_part_of_a_site_nothing_is_seen(site: Database) -> None:
    with site.writer() as session:
        factories.setting(session, UNFINISHED_IMPORT, "2026-01-01")

    assert change(site, add("new")).seen is None


def test_who_does_not_watch_sees_nothing(site: Database) -> None:
    with site.writer() as session:
        assert sight.of(session) is None
        add("new")(session, ADMIN)
        assert sight.of(session) is None
