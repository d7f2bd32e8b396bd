"""vdeloldusers: who goes, who stays, and what is said."""

import os
from datetime import timedelta

import pytest
from sqlalchemy import update

from tests.compat.conftest import Site
from vpopsql.columns import utc_now
from vpopsql.model import CatchAll, Domain

SQLITE = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)


@pytest.fixture
def aged(site: Site) -> Site:
    """The site, where alice and eve were used 200 days ago, and bob yesterday."""
    now = utc_now()
    site.log_in("alice@example.com", now - timedelta(days=200))
    site.log_in("eve@example.company", now - timedelta(days=200))
    site.log_in("bob@example.com", now - timedelta(days=1))
    for file in site.root.rglob("lastauth"):
        os.utime(file, (0, 0))
    return site


def test_old_accounts_are_shown_and_deleted_only_when_asked_for(aged: Site) -> None:
    shown = aged.run("vdeloldusers", "-V", "-d", "example-alias.org")
    there = aged.mailbox("alice@example.com")
    quiet = aged.run("vdeloldusers", "-D", "-d", "example.com")

    assert shown.status == 0
    assert [line.split()[:3] for line in shown.lines] == [["alice@example.com", "last", "login"]]
    assert there is not None
    assert (quiet.status, quiet.out) == (0, b"")
    assert aged.mailbox("alice@example.com") is None
    assert aged.vpasswd("alice@example.com") is None
    assert not aged.path("/home/vpopmail/domains/example.com/alice").exists()
    assert aged.mailbox("bob@example.com") is not None
    assert aged.mailbox("eve@example.company") is not None


@SQLITE
def test_age_and_domains_are_options(aged: Site) -> None:
    young = aged.run("vdeloldusers", "-e", "-a", "300", "-V").lines
    aged.log_in("postmaster@example.com", utc_now() - timedelta(days=250))
    every = aged.run("vdeloldusers", "-e", "-a", "190", "-V").lines

    assert young == []
    assert [line.split()[0] for line in every] == ["alice@example.com", "eve@example.company"]


@SQLITE
def test_a_login_that_only_vchkpw_has_noted_counts(aged: Site) -> None:
    os.utime(aged.path("/home/vpopmail/domains/example.com/alice/lastauth"))

    assert aged.run("vdeloldusers", "-D", "-V", "-d", "example.com").lines == []
    assert aged.mailbox("alice@example.com") is not None


@SQLITE
def test_who_gets_the_mail_for_unknown_names_stays_and_others_go(aged: Site) -> None:
    home = "/home/vpopmail/domains/example.com"
    aged.log_in("al@example.com", utc_now() - timedelta(days=300))
    with aged.database.writer() as session:
        session.execute(
            update(Domain)
            .where(Domain.directory == home)
            .values(catchall=CatchAll.DIRECTORY, catchall_target=f"{home}/al")
        )

    done = aged.run("vdeloldusers", "-D", "-d", "example.com")

    assert (done.status, done.lines) == (
        1,
        ["Error: al@example.com: can't delete catchall account"],
    )
    assert aged.mailbox("al@example.com") is not None
    assert aged.path("/home/vpopmail/domains/example.com/al").is_dir()
    assert aged.mailbox("alice@example.com") is None
