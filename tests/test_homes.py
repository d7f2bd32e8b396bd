"""New homes: what they look like, and what they are never made over."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from vpopsql import homes
from vpopsql.errors import DirectoryExists
from vpopsql.quota import Quota
from vpopsql.services.account_changes import NEVER, Home
from vpopsql.tree import Tree

DOMAIN = "/home/vpopmail/domains/0/example.com"
ALICE = f"{DOMAIN}/3/alice"


def home(quota: Quota | None = None) -> Home:
    return Home("example.com", ALICE, 89, 89, quota or Quota())


@pytest.fixture
def site(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def looks(root: Path) -> dict[str, tuple[str, bytes | None]]:
    return {
        str(path.relative_to(root)): (
            stat.filemode(path.stat().st_mode),
            path.read_bytes() if path.is_file() else None,
        )
        for path in sorted(root.rglob("*"))
    }


BARE = {
    "Maildir": ("drwx------", None),
    "Maildir/cur": ("drwx------", None),
    "Maildir/new": ("drwx------", None),
    "Maildir/tmp": ("drwx------", None),
    "lastauth": ("-rw-------", NEVER.encode()),
}


def test_a_new_home_is_as_vpopmail_makes_it(site: Tree, tmp_path: Path) -> None:
    homes.make_home(site, home())

    assert looks(tmp_path / ALICE[1:]) == BARE
    bucket = (tmp_path / ALICE[1:]).parent
    assert stat.filemode(bucket.stat().st_mode) == "drwx------"


def test_a_new_home_with_a_quota_has_its_use_counted(site: Tree, tmp_path: Path) -> None:
    homes.make_home(site, home(Quota(10_000_000, 100)))

    size = {"Maildir/maildirsize": ("-rw-------", b"10000000S,100C\n0 0\n")}
    assert looks(tmp_path / ALICE[1:]) == BARE | size


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_all_of_it_belongs_to_the_owner_of_the_domain(site: Tree, tmp_path: Path) -> None:
    homes.make_home(site, home(Quota(1)))

    owners = {(path.stat().st_uid, path.stat().st_gid) for path in (tmp_path / "home").rglob("*")}
    assert owners == {(89, 89)}


@pytest.mark.parametrize(
    "leave",
    [
        lambda path: path.mkdir(parents=True),
        lambda path: (path / "Maildir/cur").mkdir(parents=True),
        lambda path: (path / "Maildir/new").mkdir(parents=True, mode=0o777),
        lambda path: [path.mkdir(parents=True), (path / "lastauth").write_text(NEVER)],
        lambda path: [path.mkdir(parents=True), (path / ".vpopsql-tmp-0").write_text("0.")],
        lambda path: [
            (path / "Maildir").mkdir(parents=True),
            (path / "Maildir/maildirsize").write_text("5S\n0 0\n"),
        ],
    ],
    ids=["directory", "cur", "new open to all", "lastauth", "file being written", "maildirsize"],
)
def test_what_was_left_half_made_is_made_anew(
    site: Tree, tmp_path: Path, leave: Callable[[Path], object]
) -> None:
    leave(tmp_path / ALICE[1:])

    homes.make_home(site, home())

    assert looks(tmp_path / ALICE[1:]) == BARE


def test_making_it_twice_is_making_it_once(site: Tree, tmp_path: Path) -> None:
    homes.make_home(site, home(Quota(5)))
    homes.make_home(site, home())

    assert looks(tmp_path / ALICE[1:]) == BARE


@pytest.mark.parametrize(
    "use",
    [
        lambda path: (path / "Maildir/new/1.host").write_text("mail"),
        lambda path: (path / "Maildir/tmp/1.host").touch(),
        lambda path: (path / "Maildir/.Sent").mkdir(),
        lambda path: (path / "Maildir/maildirsize").write_text("5S\n0 0\n10 1\n"),
        lambda path: (path / "Maildir/maildirsize").mkdir(),
        lambda path: (path / "lastauth").write_text("192.0.2.1"),
        lambda path: (path / ".qmail").write_text("./Maildir/\n"),
        lambda path: (path / "vacation").mkdir(),
        lambda path: [(path / "Maildir/cur").rmdir(), (path / "Maildir/cur").symlink_to("/")],
    ],
    ids=[
        "message in new",
        "message in tmp",
        "folder",
        "message counted",
        "directory as file",
        "a login",
        "dot-qmail",
        "vacation",
        "link",
    ],
)
def test_what_somebody_used_is_refused_and_left_as_it_is(
    site: Tree, tmp_path: Path, use: Callable[[Path], object]
) -> None:
    homes.make_home(site, home())
    use(tmp_path / ALICE[1:])
    before = sorted((tmp_path / "home").rglob("*"))

    with pytest.raises(DirectoryExists):
        homes.make_home(site, home())

    assert sorted((tmp_path / "home").rglob("*")) == before


@pytest.mark.parametrize(
    "put",
    [
        lambda path: path.write_text(""),
        lambda path: path.symlink_to("/nowhere"),
        lambda path: path.symlink_to(path.parent),
    ],
    ids=["file", "dangling link", "link"],
)
def test_a_file_or_link_in_the_place_is_refused(
    site: Tree, tmp_path: Path, put: Callable[[Path], object]
) -> None:
    path = tmp_path / ALICE[1:]
    path.parent.mkdir(parents=True)
    put(path)

    with pytest.raises(DirectoryExists):
        homes.make_home(site, home())

    assert path.is_symlink() or path.is_file()


def test_a_message_that_comes_between_looking_and_removing_stays(
    site: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes.make_home(site, home())
    message = tmp_path / ALICE[1:] / "Maildir/new/1.host"
    look = homes.is_unused

    def look_and_deliver(tree: Tree, path: str) -> bool:
        unused = look(tree, path)
        message.write_text("mail")
        return unused

    monkeypatch.setattr(homes, "is_unused", look_and_deliver)
    with pytest.raises(DirectoryExists):
        homes.make_home(site, home())

    assert message.read_text() == "mail"


def test_other_failures_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        homes.make_home(Tree(tmp_path / "nowhere"), home())


# --- domains ------------------------------------------------------------------------------------


def test_a_domains_directory_is_private_and_an_empty_one_will_do(
    site: Tree, tmp_path: Path
) -> None:
    path = tmp_path / DOMAIN[1:]
    path.mkdir(parents=True, mode=0o755)

    homes.make_domain_directory(site, DOMAIN, 89, 89)

    assert stat.filemode(path.stat().st_mode) == "drwx------"


def test_a_domain_that_was_left_half_made_is_made_anew(site: Tree, tmp_path: Path) -> None:
    homes.make_domain_directory(site, DOMAIN, 89, 89)
    homes.make_home(site, Home("example.com", f"{DOMAIN}/postmaster", 89, 89, Quota()))

    homes.make_domain_directory(site, DOMAIN, 89, 89)

    assert looks(tmp_path / DOMAIN[1:]) == {}


@pytest.mark.parametrize("name", ["vpasswd", "postmaster", "postmaster/Maildir/new/1.host"])
def test_a_domains_directory_that_holds_anything_is_refused(
    site: Tree, tmp_path: Path, name: str
) -> None:
    path = tmp_path / DOMAIN[1:] / name
    path.parent.mkdir(parents=True)
    path.write_text("mail")

    with pytest.raises(DirectoryExists):
        homes.make_domain_directory(site, DOMAIN, 89, 89)

    assert path.read_text() == "mail"


# --- quotas -------------------------------------------------------------------------------------


def test_after_a_new_quota_the_use_is_counted_anew(site: Tree, tmp_path: Path) -> None:
    homes.make_home(site, home(Quota(5)))

    homes.set_quota_file(site, home(Quota(7)))
    homes.set_quota_file(site, home(Quota(7)))

    assert looks(tmp_path / ALICE[1:]) == BARE
