"""Renaming users and domains: what stays, what follows, what is left behind."""

from pathlib import Path

import pytest
from sqlalchemy import select

from tests import factories
from tests.cli.conftest import DOMAIN, Prepared, Site, on_sqlite, small
from vpopsql.model import Domain, DomainName, LastAuth, Mailbox

ALICE = f"{DOMAIN}/alice"
ALICIA = f"{DOMAIN}/alicia"


def build(site: Site) -> None:
    small(site)
    (site.root / ALICE / "Maildir/new/1.host").write_text("mail")
    with site.database.writer() as session:
        alice = session.scalars(select(Mailbox).where(Mailbox.name == "alice")).one()
        factories.last_auth(session, alice, factories.at(2026, 1, 2), "192.0.2.1", "imap")
    site.ok("user", "modify", "alice@example.com", "--quota", "5M", "--set", "no_pop")
    site.ok("forward", "add", "alice@example.com", "friend@else.org", "--copy")
    site.ok("catchall", "modify", "example.com", "alice@example.com")
    site.ok("limits", "modify", "example.com", "max_popaccounts=7")
    site.ok("alias", "add", "info@example.com", "alice@example.com", "ALICE@alias.org", "x@y.org")
    site.ok("domain", "add", "test.com", "--generate")
    site.ok("alias", "add", "help@test.com", "alice@example.com", "malice@example.com")


@pytest.fixture
def used(prepared: Prepared) -> Site:
    """A site in which mail has come, somebody has logged in, and forwards lead to alice."""
    return prepared("used", build)


def destinations(site: Site) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in site.rows("alias", "list"):
        found.setdefault(row["address"], []).append(row["destination"])
    return found


@on_sqlite
def test_a_renamed_user_keeps_all_that_is_theirs(used: Site) -> None:
    before = used.show("user", "show", "alice@example.com")

    done = used.ok("user", "rename", "alice@example.com", "alicia")

    after = used.show("user", "show", "alicia@example.com")
    assert after == before | {
        "address": "alicia@example.com",
        "directory": f"/{ALICIA}",
        "dotqmail": [f"/{ALICIA}/Maildir/", "&friend@else.org"],
    }
    assert (used.root / ALICIA / "Maildir/new/1.host").read_text() == "mail"
    assert (used.root / ALICIA / ".qmail").read_text() == (
        f"/{ALICIA}/Maildir/\n&friend@else.org\n"
    )
    assert not (used.root / ALICE).exists()
    assert not (used.root / ALICE).is_symlink()
    assert used.show("catchall", "show", "example.com")["target"] == "alicia@example.com"
    assert "forwards that still lead to alice@example.com: 3" in done.err
    assert destinations(used)["info@example.com"][0] == "&alice@example.com"
    used.verified()


def test_forwards_that_lead_to_a_renamed_user_can_follow(used: Site) -> None:
    done = used.ok("user", "rename", "alice@example.com", "alicia", "--rewrite-forwards")

    assert destinations(used) == {
        "info@example.com": ["&alicia@example.com", "&alicia@alias.org", "&x@y.org"],
        "help@test.com": ["&alicia@example.com", "&malice@example.com"],
    }
    assert (used.root / "home/vpopmail/domains/test.com/.qmail-help").read_text() == (
        "&alicia@example.com\n&malice@example.com\n"
    )
    assert done.err == ""
    used.verified()


@on_sqlite
def test_a_renamed_user_can_leave_a_forward(used: Site) -> None:
    used.ok("user", "rename", "alice@example.com", "alicia@example.com", "--leave-forward")

    assert destinations(used)["alice@example.com"] == ["&alicia@example.com"]
    assert (used.root / DOMAIN / ".qmail-alice").read_text() == "&alicia@example.com\n"
    assert "is an alias" in used.refused("user", "rename", "bob@example.com", "alice")
    used.verified()


def test_the_history_of_a_renamed_user_goes_on(used: Site) -> None:
    used.ok("user", "rename", "alice@example.com", "alicia")
    used.ok("domain", "rename", "example.com", "example.net")
    used.ok("user", "modify", "alicia@example.net", "--comment", "A")
    used.add("alice@example.net")

    rows = used.rows("history", "alicia@example.net")

    actions = [(row["action"], row["object"]) for row in rows]
    assert actions[0] == ("add_user", "alice@example.com")
    assert ("write_file", f"/{ALICE}/.qmail") in actions
    assert ("rename_user", "alicia@example.com") in actions
    assert actions[-1] == ("mod_user", "alicia@example.net")
    assert ("add_user", "alice@example.net") not in actions
    assert ["alice@example.com", "alicia@example.com"] in [[r["old"], r["new"]] for r in rows]


@on_sqlite
def test_a_directory_that_is_not_called_like_its_user_stays(site: Site) -> None:
    with site.database.writer() as session:
        bob = session.scalars(select(Mailbox).where(Mailbox.name == "bob")).one()
        bob.directory = f"/{DOMAIN}/elsewhere"
    (site.root / DOMAIN / "bob").rename(site.root / DOMAIN / "elsewhere")

    site.ok("user", "rename", "bob@example.com", "rob")

    assert site.show("user", "show", "rob@example.com")["directory"] == f"/{DOMAIN}/elsewhere"
    site.verified()


def test_a_renamed_domain_keeps_all_that_is_in_it(used: Site) -> None:
    used.ok("ipmap", "add", "192.0.2.9", "example.com")
    used.ok("user", "delete", "bob@example.com")

    done = used.ok("domain", "rename", "example.com", "example.net")

    home = "home/vpopmail/domains/example.net"
    control = used.root / "var/qmail/control"
    assert [row["address"] for row in used.rows("user", "list")] == [
        "alice@example.net",
        "postmaster@example.net",
        "postmaster@test.com",
    ]
    assert (used.root / home / "alice/Maildir/new/1.host").read_text() == "mail"
    assert (used.root / home / "alice/.qmail").read_text() == (
        f"/{home}/alice/Maildir/\n&friend@else.org\n"
    )
    assert not (used.root / DOMAIN).exists()
    assert not (used.root / DOMAIN).is_symlink()
    assert control.joinpath("rcpthosts").read_text() == "alias.org\nexample.net\ntest.com\n"
    assert (
        f"+alias.org-:example.net:89:89:/{home}:-::"
        in (used.root / "var/qmail/users/assign").read_text()
    )
    assert used.show("ipmap", "show", "192.0.2.9")["domain"] == "example.net"
    assert used.show("limits", "show", "example.net")["max_popaccounts"] == 7
    assert used.show("catchall", "show", "example.net")["target"] == "alice@example.net"
    assert used.rows("lastauth", "list", "example.net")[1]["ip"] == "192.0.2.1"
    assert "that still lead to example.com: 3" in done.err
    used.verified()

    used.ok("trash", "restore", "1")

    assert (used.root / home / "bob/Maildir").is_dir()
    assert used.show("user", "show", "bob@example.net")["directory"] == f"/{home}/bob"
    used.verified()


@on_sqlite
def test_a_renamed_domain_can_leave_its_name_as_an_alias(used: Site) -> None:
    used.ok(
        *("domain", "rename", "example.com", "example.net"),
        *("--leave-alias", "--rewrite-forwards"),
    )

    assert used.show("domain", "show", "example.com")["alias_domains"] == [
        "alias.org",
        "example.com",
    ]
    assert destinations(used)["help@test.com"] == ["&alice@example.net", "&malice@example.net"]
    assert used.show("user", "show", "alice@example.com")["address"] == "alice@example.net"
    used.verified()


@on_sqlite
def test_an_alias_domain_can_become_the_name_of_its_domain(used: Site) -> None:
    used.ok("domain", "rename", "example.com", "alias.org", "--leave-alias")

    shown = used.show("domain", "show", "alias.org")
    assert (shown["domain"], shown["alias_domains"]) == ("alias.org", ["example.com"])
    used.verified()
    assert "already" in used.refused("domain", "rename", "alias.org", "test.com")


@on_sqlite
def test_many_directories_move_with_their_domain_and_others_stay(site: Site) -> None:
    with site.database.writer() as session:
        domain = session.scalars(select(Domain)).one()
        factories.mailbox(session, domain, "far", directory="/srv/mail/far")
        factories.mailbox(session, domain, "odd", directory=f"/{DOMAIN}x/odd")

    site.ok("domain", "rename", "example.com", "example.net")

    with site.database.reader() as session:
        found = {box.name: box.directory for box in session.scalars(select(Mailbox))}
        logins = session.scalars(select(LastAuth.mailbox_id)).all()
        names = session.scalars(select(DomainName.name).order_by(DomainName.name)).all()
    assert found == {
        "alice": "/home/vpopmail/domains/example.net/alice",
        "bob": "/home/vpopmail/domains/example.net/bob",
        "postmaster": "/home/vpopmail/domains/example.net/postmaster",
        "far": "/srv/mail/far",
        "odd": f"/{DOMAIN}x/odd",
    }
    assert len(logins) == 3
    assert names == ["alias.org", "example.net"]


@on_sqlite
def test_a_rename_that_fails_leaves_everything_as_it_was(
    used: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = used.files()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vpopsql.tree.Tree.symlink", full)
    done = used.run("user", "rename", "alice@example.com", "alicia")

    assert done.code == 3
    assert used.files() == before
    assert not list(Path(used.root / "home/vpopmail/trash/.renames").iterdir())
    assert used.show("user", "show", "alice@example.com")["directory"] == f"/{ALICE}"


@on_sqlite
def test_a_home_that_is_a_link_is_not_renamed(site: Site) -> None:
    real = site.root / "srv/alice"
    real.parent.mkdir()
    (site.root / ALICE).rename(real)
    (site.root / ALICE).symlink_to(real)

    done = site.run("user", "rename", "alice@example.com", "alicia")

    assert done.code == 3
    assert "only a directory itself can be renamed" in done.err
    assert site.show("user", "show", "alice@example.com")["directory"] == f"/{ALICE}"
