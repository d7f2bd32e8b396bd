"""A host that follows the database does what a command did on its own host."""

from pathlib import Path

import pytest

from tests.cli.conftest import Site, on_sqlite
from tests.exporter.following import at, files, wanted
from vpopsql.exporter.follower import Follower
from vpopsql.model import HostRole

pytestmark = on_sqlite


@pytest.fixture
def other(site: Site, tmp_path: Path) -> tuple[Follower, Path]:
    """A follower on another host, up to date, with a message for alice."""
    root = tmp_path / "other"
    root.mkdir()
    follower = Follower(site.database, at(root, site.config), "mx2.example", HostRole.MAIL)
    follower.catch_up()
    message = root / "home/vpopmail/domains/example.com/alice/Maildir/new/1.mx2"
    message.parent.mkdir(parents=True)
    message.write_text("mail")
    return follower, root


def test_a_user_and_a_domain_are_renamed_there_too(
    site: Site, other: tuple[Follower, Path], tmp_path: Path
) -> None:
    follower, root = other
    site.ok("alias", "add", "info@example.com", "alice@example.com")
    follower.catch_up()
    site.ok("user", "rename", "alice@example.com", "alicia", "--leave-forward")
    site.ok("alias", "delete", "info@example.com")
    site.ok("domain", "rename", "example.com", "example.net")

    follower.catch_up()

    home = root / "home/vpopmail/domains/example.net"
    assert (home / "alicia/Maildir/new/1.mx2").read_text() == "mail"
    assert not (root / "home/vpopmail/domains/example.com").is_symlink()
    assert not (home / "alice").is_symlink()
    assert not list((root / "home/vpopmail/trash/.renames").iterdir())
    assert files(root) == wanted(site.database, site.config, tmp_path / "fresh")


def test_a_host_that_does_not_know_where_it_stands_moves_only_what_is_due(
    site: Site, other: tuple[Follower, Path], tmp_path: Path
) -> None:
    follower, root = other
    site.ok("user", "rename", "alice@example.com", "alicia")
    site.ok("user", "rename", "bob@example.com", "rob")
    site.add("bob@example.com")
    bobs = root / "home/vpopmail/domains/example.com/bob"
    (bobs / "Maildir").mkdir(parents=True)
    (root / "var/qmail/users/.vpopsql-follow").unlink()

    follower.catch_up()

    assert (bobs / "Maildir").is_dir()
    assert (bobs.parent / "alicia/Maildir/new/1.mx2").read_text() == "mail"
    assert files(root) == wanted(site.database, site.config, tmp_path / "fresh")
