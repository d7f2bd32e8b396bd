"""One pass of a follower: what it writes, and what it does where it was away or lost."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import select, update

from tests.daemon.conversations import EXAMPLE, POSTMASTER, SYSTEM, Site, Talk, make_site
from tests.exporter.following import (
    Follow,
    at,
    files,
    followers,
    on_sqlite,
    pretend,
    standing,
    wanted,
)
from vpopsql import trash
from vpopsql.db import Database
from vpopsql.errors import DatabaseUnavailable, ExportFailed
from vpopsql.exporter import follower as follower_module
from vpopsql.exporter import hosts
from vpopsql.exporter.apply import Applied, apply, follow
from vpopsql.exporter.follower import Follower
from vpopsql.exporter.projector import Projector
from vpopsql.model import Export, Host, HostRole, Revision, TrashEntry
from vpopsql.services.rights import operator
from vpopsql.tree import Tree

RCPTHOSTS = "var/qmail/control/rcpthosts"


@pytest.fixture
def site(database: Database, database_url: str, unpack: Callable[[str], Path]) -> Site:
    """The sample site, which a daemon changes on a host of its own."""
    return make_site(database, database_url, unpack)


@pytest.fixture
def follower(site: Site, root: Path) -> Follow:
    return followers(site.database, at(root, site.config))


@pytest.fixture
def talk(site: Site) -> Talk:
    """A system administrator."""
    return site.talk(SYSTEM)


# --- what is written --------------------------------------------------------------------------


def test_a_new_host_gets_everything(
    site: Site, follower: Follow, root: Path, tmp_path: Path
) -> None:
    applied = follower().catch_up()

    assert applied is not None
    assert files(root) == wanted(site.database, site.config, tmp_path / "fresh")


@on_sqlite
def test_a_host_that_is_up_to_date_has_nothing_to_do(site: Site, follower: Follow) -> None:
    follower().catch_up()

    assert follower().catch_up() is None


def test_a_change_of_a_mailbox_writes_the_files_of_its_domains_accounts_only(
    follower: Follow, talk: Talk
) -> None:
    follower().catch_up()
    talk.ask("mod_user alice@example.com", "comment New", ".")

    applied = follower().catch_up()

    assert applied is not None
    assert applied.changed == (f"{EXAMPLE}/vpasswd", f"{EXAMPLE}/vpasswd.cdb")


@pytest.mark.parametrize(
    "lines",
    [
        ("add_user joe@example.com pw",),
        ("del_user bob@example.com",),
        ("add_alias x@example.com a@b.example", "delete_alias x@example.com"),
        ("add_alias x@example.com a@b.example", "remove_alias x@example.com a@b.example"),
        ("set_limits example.com", "max_popaccounts 9", ".", "del_limits example.com"),
        ("add_ip_map 192.0.2.9 example.com", "del_ip_map 192.0.2.9 example.com"),
        ("write_file alice@example.com/.qmail", "a@b.example", "."),
        ("write_file example.com/.qmail-x", "a@b.example", ".", "rm_file example.com/.qmail-x"),
    ],
)
@on_sqlite
def test_what_concerns_one_domain_does_not_touch_qmails_files(
    follower: Follow, talk: Talk, root: Path, lines: tuple[str, ...]
) -> None:
    follower().catch_up()
    untouched = root / "var/qmail/users/cdb"
    untouched.unlink()
    answers = talk.ask(*lines)

    applied = follower().catch_up()

    assert {answer[:3] for answer in answers} == {"+OK"}
    assert applied is not None
    assert not untouched.exists()


@pytest.mark.parametrize("accounts", ["vpasswd", "database"])
@pytest.mark.parametrize("delivery", ["vdelivermail", "exact"])
def test_many_changes_while_it_was_away_leave_the_files_that_an_export_would_write(
    site: Site, talk: Talk, root: Path, tmp_path: Path, delivery: str, accounts: str
) -> None:
    export = replace(
        site.config.export, delivery=delivery, exact_despite_quota=True, accounts=accounts
    )
    config = at(root, replace(site.config, export=export))
    here = Follower(site.database, config, "mx1.example", HostRole.MAIL)
    here.catch_up()
    talk.ask("add_domain new.example pw", "add_user joe@new.example pw")
    talk.ask("add_alias info@new.example joe@example.com")
    talk.ask("add_alias_domain also.example new.example")
    talk.ask("del_user bob@example.com", "add_alias gone@example.com joe@example.com")
    talk.ask("delete_alias gone@example.com")
    talk.ask("add_domain short.example pw", "del_domain short.example")
    here.catch_up()
    talk.ask("add_user jim@new.example pw", "add_alias jim@new.example joe@example.com")

    here.catch_up()

    expected = wanted(site.database, config, tmp_path / "fresh")
    assert "/home/vpopmail/domains/new.example/.qmail-info" in expected
    assert files(root) == expected


def test_a_file_whose_rows_were_deleted_goes(
    site: Site, follower: Follow, talk: Talk, root: Path
) -> None:
    talk.ask("add_alias with.dot@example.com joe@example.com")
    talk.ask("set_limits example.com", "max_popaccounts 5", ".")
    site.talk(POSTMASTER).write("alice@example.com/.qmail", "joe@example.com")
    follower().catch_up()
    paths = [".qmail-with:dot", ".qmailadmin-limits", "alice/.qmail"]
    here = root / EXAMPLE[1:]
    before = [(here / path).exists() for path in paths]

    talk.ask("delete_alias with.dot@example.com", "del_limits example.com")
    site.talk(POSTMASTER).ask("rm_file alice@example.com/.qmail")
    follower().catch_up()

    assert before == [True, True, True]
    assert [path for path in paths if (here / path).exists()] == []


@on_sqlite
def test_a_file_that_nobody_deleted_stays(follower: Follow, talk: Talk, root: Path) -> None:
    follower().catch_up()
    by_hand = root / EXAMPLE[1:] / ".qmail-by-hand"
    by_hand.touch()
    talk.ask("add_alias info2@example.com joe@example.com")

    follower().catch_up()

    assert by_hand.exists()


@on_sqlite
def test_the_home_of_a_deleted_mailbox_goes_to_this_hosts_trash(
    follower: Follow, talk: Talk, root: Path
) -> None:
    follower().catch_up()
    home = root / EXAMPLE[1:] / "bob"
    (home / "Maildir/new").mkdir(parents=True)
    (home / "Maildir/new/1").touch()

    talk.ask("del_user bob@example.com")
    follower().catch_up()

    assert not home.exists()
    (kept,) = (root / "home/vpopmail/trash").glob("*/bob/Maildir/new/1")
    assert kept.is_file()


@pytest.mark.parametrize(
    "begun",
    [
        pytest.param(timedelta(0), id="begun-later"),
        # Others that began after it were done sooner, and are what the host shows.
        pytest.param(timedelta(hours=1), id="begun-earlier"),
    ],
)
def test_who_gets_the_name_of_a_deleted_mailbox_or_domain_gets_nothing_of_its_mail(
    site: Site, follower: Follow, talk: Talk, root: Path, begun: timedelta
) -> None:
    talk.ask("add_domain short.example pw", "add_alias x@short.example a@b.example")
    here = follower()
    here.catch_up()
    places = ["example.com/bob", "short.example/postmaster"]
    messages = [root / f"home/vpopmail/domains/{place}/Maildir/new/1" for place in places]
    for message in messages:
        message.parent.mkdir(parents=True, exist_ok=True)
        message.write_text("private")

    answers = talk.ask("del_user bob@example.com", "add_user bob@example.com pw")
    answers += talk.ask("del_domain short.example", "add_domain short.example pw")
    with site.database.writer() as session:
        for entry in session.scalars(select(TrashEntry)):
            entry.at -= begun
    here.catch_up()

    assert answers == ["+OK "] * 4
    assert [message for message in messages if message.exists()] == []
    assert [message for message in messages if not message.parent.is_dir()] == []
    assert not (root / "home/vpopmail/domains/short.example/.qmail-x").exists()
    kept = (root / "home/vpopmail/trash").rglob("Maildir/new/1")
    assert [message.read_text() for message in kept] == ["private"] * 2


def test_a_new_mailbox_has_a_home_on_every_mail_host(
    follower: Follow, talk: Talk, root: Path
) -> None:
    follower().catch_up()
    talk.ask("add_user joe@example.com pw", "add_domain new.example pw")

    follower().catch_up()

    domains = root / "home/vpopmail/domains"
    assert (domains / "example.com/joe/Maildir/new").is_dir()
    assert (domains / "new.example/postmaster/Maildir/cur").is_dir()


def test_a_home_that_a_killed_follower_began_is_finished(
    follower: Follow, talk: Talk, root: Path
) -> None:
    follower().catch_up()
    talk.ask("add_user joe@example.com pw", "add_user ann@example.com pw")
    domain = root / "home/vpopmail/domains/example.com"
    (domain / "joe/Maildir/cur").mkdir(parents=True)
    message = domain / "ann/Maildir/new/1"
    message.parent.mkdir(parents=True)
    message.touch()

    follower().catch_up()

    assert (domain / "joe/Maildir/tmp").is_dir()
    assert (domain / "joe/lastauth").is_file()
    assert message.exists()


def test_who_gets_the_name_while_the_deletion_is_followed_gets_nothing_either(
    follower: Follow, talk: Talk, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk.ask("add_domain short.example pw", "add_alias x@short.example a@b.example")
    here = follower()
    here.catch_up()
    domain = root / "home/vpopmail/domains/short.example"
    message = domain / "postmaster/Maildir/new/1"
    message.parent.mkdir(parents=True, exist_ok=True)
    message.write_text("private")
    talk.ask("del_domain short.example")
    again = ["add_domain short.example pw", "add_alias y@short.example a@b.example"]

    def late(*arguments: Any, **options: Any) -> Applied:
        if again:
            talk.ask(again.pop(0), again.pop(0))
        return follow(*arguments, **options)

    monkeypatch.setattr(follower_module, "follow", late)
    here.catch_up()

    assert not message.exists()
    (kept,) = (root / "home/vpopmail/trash").rglob("Maildir/new/1")
    assert kept.read_text() == "private"
    here.catch_up()
    assert message.parent.is_dir()
    assert {path.name for path in domain.glob(".qmail-[xy]")} == {".qmail-y"}
    assert (domain / "vpasswd.cdb").is_file()


@on_sqlite
def test_what_is_restored_comes_out_of_every_hosts_trash(
    site: Site, follower: Follow, talk: Talk, root: Path
) -> None:
    talk.ask("add_domain new.example pw")
    follower().catch_up()
    mail = root / "home/vpopmail/domains/new.example/postmaster/Maildir/new/1"
    mail.parent.mkdir(parents=True)
    mail.touch()
    talk.ask("del_domain new.example")
    follower().catch_up()
    was_there = mail.exists()
    with site.database.writer() as session:
        (entry,) = trash.list_entries(session, Tree(site.root))
        trash.restore(session, Tree(site.root), entry.id, operator("test", "/home/vpopmail"))

    follower().catch_up()

    assert not was_there
    assert mail.exists()
    assert (root / "home/vpopmail/domains/new.example/vpasswd").is_file()


@on_sqlite
def test_a_follower_beside_the_daemon_finds_its_work_done(site: Site, talk: Talk) -> None:
    here = Follower(site.database, site.config, "mx1.example", HostRole.MAIL)
    here.catch_up()
    talk.ask("add_domain new.example pw", "add_alias info@new.example joe@example.com")
    before = files(site.root)

    applied = here.catch_up()

    assert applied is not None
    assert applied.changed == ()
    assert files(site.root) == before


@on_sqlite
def test_a_followers_export_is_not_taken_for_one_of_the_daemons_host(
    site: Site, follower: Follow
) -> None:
    follower().catch_up()

    with site.database.reader() as session:
        assert session.scalars(select(Export)).all() == []


@on_sqlite
def test_a_daemon_that_was_killed_catches_up_from_where_the_follower_of_its_host_stands(
    site: Site, talk: Talk, tmp_path: Path
) -> None:
    Follower(site.database, site.config, "mx1.example", HostRole.MAIL).catch_up()
    talk.ask("add_alias info2@example.com joe@example.com")
    unwritten = site.root / EXAMPLE[1:] / ".qmail-info2"
    unwritten.unlink()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    apply(site.database, at(elsewhere, site.config))

    Projector(site.database, site.config).catch_up()

    assert unwritten.exists()


# --- failures ---------------------------------------------------------------------------------


def test_a_host_that_cannot_write_stands_where_it_stood_and_catches_up_later(
    site: Site, follower: Follow, talk: Talk, root: Path, tmp_path: Path
) -> None:
    here = follower()
    here.catch_up()
    here.report()
    stood = standing(site.database).revision
    vpasswd = root / EXAMPLE[1:] / "vpasswd"
    vpasswd.unlink()
    vpasswd.mkdir()
    talk.ask("mod_user alice@example.com", "comment New", ".")

    with pytest.raises(ExportFailed, match="vpasswd: Is a directory"):
        here.catch_up()
    here.report("vpasswd: Is a directory")
    failed = standing(site.database)
    vpasswd.rmdir()
    here.catch_up()
    here.report()

    assert (failed.revision, failed.behind, failed.error) == (stood, 1, "vpasswd: Is a directory")
    assert failed.is_stale
    assert (standing(site.database).behind, standing(site.database).error) == (0, None)
    assert files(root) == wanted(site.database, site.config, tmp_path / "fresh")


@on_sqlite
def test_without_a_database_the_files_stay(site: Site, follower: Follow, root: Path) -> None:
    follower().catch_up()
    before = files(root)
    away = Database("sqlite:////nowhere/at.all")

    with contextlib.closing(away), pytest.raises(DatabaseUnavailable):
        Follower(away, at(root, site.config), "mx1.example", HostRole.MAIL).catch_up()

    assert files(root) == before


@on_sqlite
def test_two_followers_of_one_hosts_files_are_one_too_many(follower: Follow) -> None:
    with (
        follower().alone(),
        pytest.raises(ExportFailed, match="another follower"),
        follower().alone(),
    ):
        pass


# --- hosts ------------------------------------------------------------------------------------


def test_a_host_reports_where_it_stands(site: Site, follower: Follow, talk: Talk) -> None:
    here = follower()
    here.catch_up()
    here.report()
    talk.ask("add_user joe@example.com pw", "add_user jim@example.com pw")

    found = standing(site.database)

    assert (found.name, found.role, found.behind) == ("mx1.example", HostRole.MAIL, 2)
    assert found.error is None
    assert not found.is_stale


def age(site: Site, statement: sa.Executable) -> hosts.Standing:
    pretend(site.database, statement)
    return standing(site.database)


def test_a_host_is_stale_that_has_been_behind_or_silent_for_long(
    site: Site, follower: Follow, talk: Talk
) -> None:
    here = follower()
    here.catch_up()
    here.report()
    talk.ask("add_user joe@example.com pw")
    long_ago: sa.ColumnElement[str] = sa.literal_column("'2026-01-01 00:00:00+00'")

    fresh = standing(site.database)
    behind = age(site, update(Revision).values(at=long_ago))
    here.catch_up()
    here.report()
    up_to_date = standing(site.database)
    silent = age(site, update(Host).values(reported_at=long_ago))

    assert [each.is_stale for each in (fresh, behind, up_to_date, silent)] == [
        False,
        True,
        False,
        True,
    ]


@on_sqlite
def test_a_host_can_be_forgotten(site: Site, follower: Follow) -> None:
    follower().report()

    with site.database.writer() as session:
        first, second = hosts.forget(session, "mx1.example"), hosts.forget(session, "mx1.example")

    assert (first, second) == (True, False)
