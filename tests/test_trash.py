"""The trash: what comes back, what stays away, and crashes in between."""

import errno
import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from tests import factories
from tests.commands import Command, run
from tests.stored import contents
from vpopsql import homes, trash
from vpopsql.columns import utc_now
from vpopsql.db import Database
from vpopsql.errors import (
    DirectoryExists,
    DomainExists,
    NoSuchDomain,
    NoSuchUser,
    NotInTrash,
    UserExists,
)
from vpopsql.model import (
    AuditEntry,
    DirCounter,
    Domain,
    DomainName,
    DotQmailFile,
    DotQmailLine,
    Flag,
    LineKind,
    Mailbox,
    Revision,
    TrashEntry,
)
from vpopsql.quota import Quota
from vpopsql.services import buckets, domain_changes, renames
from vpopsql.services.account_changes import Home
from vpopsql.services.rights import Actor
from vpopsql.touched import Touched
from vpopsql.trash import Kept, State
from vpopsql.tree import Tree

DOMAIN = "/home/vpopmail/domains/example.com"
ALICE = f"{DOMAIN}/alice"
ADMIN = Actor(1, "admin", 1, "root.example", "/d", "/d/admin", Flag.SA_ADMIN, "/home/vpopmail")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


@pytest.fixture
def site(database: Database, tree: Tree, tmp_path: Path) -> Database:
    """A domain with all that a domain can have, and a second one."""
    with database.writer() as session:
        made = factories.domain(session, "example.com", "alias.org")
        box = factories.mailbox(session, made, "alice", comment="\udce4")
        factories.last_auth(session, box, factories.at(2026, 1, 2, 3, 4), "192.0.2.1", "imap")
        factories.mailbox(session, made, "bob", created_at=factories.at(2025, 1, 1))
        factories.alias(session, made, "info", "&alice@example.com", "", "# \udcff\0")
        own = DotQmailFile(domain_id=made.id, mailbox_id=box.id, name="")
        session.add(own)
        session.flush()
        session.add(
            DotQmailLine(file_id=own.id, position=1, line="./Maildir/", kind=LineKind.MAILDIR)
        )
        factories.limits(session, made, max_popaccounts=5, source_text="maxpop: 5\n")
        factories.ip_mapping(session, "2001:db8::1", made)
        factories.ip_mapping(session, "192.0.2.7", made)
        session.add(DirCounter(**buckets.new_counter(made.id) | {"cur_users": 2}))
        session.add(DirCounter(**buckets.new_counter(None) | {"cur_users": 2}))
        factories.mailbox(session, factories.domain(session, "test.com"), "carol")
    message = tmp_path / ALICE[1:] / "Maildir/new/1.host"
    message.parent.mkdir(parents=True)
    message.write_text("mail")
    return database


def delete_user(
    database: Database, tree: Tree, name: str = "alice", domain: str = "example.com"
) -> Kept:
    with database.writer() as session:
        _, kept = trash.delete_user(session, tree, ADMIN, name, domain)
    return kept


def number_of(database: Database, kept: Kept) -> int:
    with database.reader() as session:
        entry = select(TrashEntry.id).where(TrashEntry.trash_path == kept.target)
        return session.scalars(entry).one()


def delete_domain(database: Database, tree: Tree) -> Kept:
    with database.writer() as session:
        kept = trash.prepare_domain(session, tree, ADMIN, "example.com")
        assert kept
        domain_changes.delete_domain(session, ADMIN, "example.com")
    return kept


def restore(database: Database, tree: Tree, entry_id: int) -> trash.Restored:
    with database.writer() as session:
        return trash.restore(session, tree, entry_id, ADMIN)


def states(database: Database, tree: Tree) -> list[State]:
    with database.reader() as session:
        return [entry.state for entry in trash.list_entries(session, tree)]


# --- moving -------------------------------------------------------------------------------------


def test_a_deleted_tree_is_moved_out_of_reach_as_it_is(
    site: Database, tree: Tree, tmp_path: Path
) -> None:
    (tmp_path / ALICE[1:] / "outside").symlink_to(tmp_path)
    before = (tmp_path / ALICE[1:]).stat()
    kept = delete_user(site, tree)

    moved = kept.move(tree)

    place = tmp_path / kept.target[1:]
    assert moved
    assert kept.target.startswith("/home/vpopmail/trash/2")
    assert kept.target.endswith("/alice")
    assert not (tmp_path / ALICE[1:]).exists()
    assert (place / "Maildir/new/1.host").read_text() == "mail"
    assert (place / "outside").is_symlink()
    after = place.stat()
    assert (after.st_ino, after.st_uid, after.st_mode) == (
        before.st_ino,
        before.st_uid,
        before.st_mode,
    )
    assert (tmp_path / "home/vpopmail/trash").stat().st_mode & 0o777 == 0o700
    assert place.parent.stat().st_mode & 0o777 == 0o700


def test_on_another_file_system_it_stays_beside_the_original(
    site: Database, tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename

    def limited(source: Any, target: Any, **options: Any) -> None:
        inside = Path(f"/proc/self/fd/{options['dst_dir_fd']}").readlink()
        if "domains" not in inside.parts:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(source, target, **options)

    monkeypatch.setattr(os, "rename", limited)
    kept = delete_user(site, tree)

    assert kept.move(tree)

    (place,) = (tmp_path / DOMAIN[1:] / ".trash").iterdir()
    assert (place / "alice/Maildir/new/1.host").exists()
    assert list((tmp_path / "home/vpopmail/trash").iterdir()) == []
    assert states(site, tree) == [State.KEPT]
    monkeypatch.undo()
    restore(site, tree, number_of(site, kept))
    assert (tmp_path / ALICE[1:] / "Maildir/new/1.host").exists()


def test_what_another_process_moves_at_the_same_moment_is_moved(
    site: Database, tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = delete_user(site, tree)
    rename = os.rename

    def late(*arguments: Any, **options: Any) -> None:
        rename(*arguments, **options)
        rename(*arguments, **options)

    monkeypatch.setattr(os, "rename", late)

    assert kept.move(tree) is False

    assert states(site, tree) == [State.KEPT]
    assert not (tmp_path / ALICE[1:]).exists()
    assert len([*(tmp_path / "home/vpopmail/trash").rglob("alice/Maildir/new/1.host")]) == 1


def test_a_failure_to_move_is_told_and_leaves_everything_to_be_finished(
    site: Database, tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = delete_user(site, tree)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", full)
        with pytest.raises(OSError, match="No space"):
            kept.move(tree)

    assert states(site, tree) == [State.NOT_MOVED]
    assert list((tmp_path / "home/vpopmail/trash").iterdir()) == []


def test_a_home_that_is_somebody_elses_by_now_is_not_moved(
    site: Database, tree: Tree, tmp_path: Path
) -> None:
    home = Home("example.com", f"{DOMAIN}/bob", 89, 89, Quota())
    homes.make_home(tree, home)
    kept = delete_user(site, tree, "bob")
    homes.make_home(tree, home)
    with site.writer() as session:
        of_it = select(DomainName.domain_id).where(DomainName.name == "example.com")
        factories.mailbox(session, session.get_one(Domain, session.scalar(of_it)), "bob")

    assert not kept.move(tree)

    with site.writer() as session:
        assert trash.finish(session, tree) == []
    assert (tmp_path / DOMAIN[1:] / "bob/Maildir/new").exists()
    assert states(site, tree) == [State.NO_FILES]


def test_a_domains_directory_may_change_until_it_is_moved(
    site: Database, tree: Tree, tmp_path: Path
) -> None:
    kept = delete_domain(site, tree)
    (tmp_path / DOMAIN[1:] / "vpasswd").touch()

    assert kept.move(tree)


def test_a_directory_that_was_never_there_is_no_failure(site: Database, tree: Tree) -> None:
    kept = delete_user(site, tree, "bob")

    assert not kept.move(tree)
    assert states(site, tree) == [State.NO_FILES]


def test_what_a_crash_left_is_shown_and_finished(
    site: Database, tree: Tree, tmp_path: Path
) -> None:
    kept = delete_user(site, tree)
    assert states(site, tree) == [State.NOT_MOVED]

    with site.writer() as session:
        assert trash.finish(session, tree) == [ALICE]

    assert states(site, tree) == [State.KEPT]
    assert (tmp_path / kept.target[1:]).exists()


# --- restoring ----------------------------------------------------------------------------------


def test_a_restored_mailbox_is_what_it_was(site: Database, tree: Tree, tmp_path: Path) -> None:
    before = contents(site)
    kept = delete_user(site, tree)
    kept.move(tree)
    assert contents(site) != before

    restored = restore(site, tree, number_of(site, kept))

    assert contents(site) == before
    assert restored.touched == Touched(accounts={"example.com"}, dotqmail={"example.com"})
    assert (tmp_path / ALICE[1:] / "Maildir/new/1.host").read_text() == "mail"
    assert list((tmp_path / "home/vpopmail/trash").iterdir()) == []
    assert states(site, tree) == [State.RESTORED]


def test_a_restored_domain_is_what_it_was(site: Database, tree: Tree, tmp_path: Path) -> None:
    before = contents(site)
    kept = delete_domain(site, tree)
    kept.move(tree)
    assert not (tmp_path / DOMAIN[1:]).exists()

    restored = restore(site, tree, number_of(site, kept))

    of_it = {"example.com"}
    assert contents(site) == before
    assert restored.touched == Touched(of_it, of_it, of_it, site=True)
    assert (tmp_path / ALICE[1:] / "Maildir/new/1.host").read_text() == "mail"


def test_what_was_not_moved_yet_is_restored_where_it_is(
    site: Database, tree: Tree, tmp_path: Path
) -> None:
    before = contents(site)
    kept = delete_user(site, tree)

    restored = restore(site, tree, number_of(site, kept))

    assert contents(site) == before
    assert restored.has_files
    assert (tmp_path / ALICE[1:] / "Maildir/new/1.host").exists()


def test_rows_without_files_are_restored_and_said_to_have_none(site: Database, tree: Tree) -> None:
    kept = delete_user(site, tree, "bob")

    assert not restore(site, tree, number_of(site, kept)).has_files


def test_a_directory_comes_back(site: Database, tree: Tree, tmp_path: Path) -> None:
    path = f"{ALICE}/Maildir/new"
    with site.writer() as session:
        kept = trash.prepare_directory(session, tree, ADMIN, path)
    kept.move(tree)
    assert not (tmp_path / path[1:]).exists()

    restored = restore(site, tree, number_of(site, kept))

    assert not restored.touched
    assert (tmp_path / path[1:] / "1.host").read_text() == "mail"


def test_a_mailbox_whose_name_is_taken_again_is_refused(
    site: Database, tree: Tree, tmp_path: Path
) -> None:
    kept = delete_user(site, tree)
    kept.move(tree)
    with site.writer() as session:
        of_it = select(DomainName.domain_id).where(DomainName.name == "example.com")
        owner = session.get_one(Domain, session.scalar(of_it))
        factories.mailbox(session, owner, "alice", directory=f"{DOMAIN}/3/alice")

    with pytest.raises(UserExists, match=r"alice@example\.com"):
        restore(site, tree, number_of(site, kept))

    assert states(site, tree) == [State.KEPT]
    assert not (tmp_path / ALICE[1:]).exists()


def test_a_mailbox_whose_domain_is_gone_is_refused(site: Database, tree: Tree) -> None:
    kept = delete_user(site, tree)
    kept.move(tree)
    delete_domain(site, tree)

    with pytest.raises(NoSuchDomain):
        restore(site, tree, number_of(site, kept))


def test_a_mailbox_comes_back_into_its_restored_domain(
    site: Database, tree: Tree, tmp_path: Path
) -> None:
    before = contents(site)
    user = delete_user(site, tree)
    user.move(tree)
    domain = delete_domain(site, tree)
    domain.move(tree)

    restore(site, tree, number_of(site, domain))
    restore(site, tree, number_of(site, user))

    assert contents(site) == before
    assert (tmp_path / ALICE[1:] / "Maildir/new/1.host").exists()


def test_what_comes_back_into_a_domain_with_another_name_is_of_that_one(
    site: Database, tree: Tree
) -> None:
    """Files are brought to the revisions of the name that their domain has."""
    user = delete_user(site, tree)
    user.move(tree)
    with site.writer() as session:
        how = renames.How(leaves_forward=True)
        renames.rename_domain(session, ADMIN, "example.com", "new.example", how)

    restored = restore(site, tree, number_of(site, user))

    with site.reader() as session:
        newest = select(Revision.domain, Revision.topic).order_by(Revision.id.desc()).limit(1)
        assert tuple(session.execute(newest).one()) == ("new.example", "restore")
    assert restored.touched.accounts == {"new.example"}


def test_a_domain_one_of_whose_names_is_taken_again_is_refused(site: Database, tree: Tree) -> None:
    kept = delete_domain(site, tree)
    with site.writer() as session:
        factories.domain(session, "alias.org")

    with pytest.raises(DomainExists, match=r"^alias\.org$"):
        restore(site, tree, number_of(site, kept))


def test_an_ip_address_that_is_mapped_elsewhere_stays_so(site: Database, tree: Tree) -> None:
    kept = delete_domain(site, tree)
    with site.writer() as session:
        factories.ip_mapping(session, "192.0.2.7", session.scalars(select(Domain)).one())

    restore(site, tree, number_of(site, kept))

    rows = contents(site)["ip_mappings"]
    assert ["'192.0.2.7'" in rows[0], "test.com" in rows[0]] == [True, True]
    assert ["2001:db8::1" in rows[1], "example.com" in rows[1]] == [True, True]


def test_nothing_is_restored_over_files(site: Database, tree: Tree, tmp_path: Path) -> None:
    kept = delete_user(site, tree)
    kept.move(tree)
    (tmp_path / ALICE[1:]).mkdir()

    with pytest.raises(DirectoryExists, match=ALICE):
        restore(site, tree, number_of(site, kept))

    with site.reader() as session:
        assert session.scalar(select(Mailbox.id).where(Mailbox.name == "alice")) is None


@pytest.mark.parametrize("missing", [0, 1])
def test_what_is_not_in_the_trash_is_refused(site: Database, tree: Tree, missing: int) -> None:
    kept = delete_user(site, tree)
    restore(site, tree, number_of(site, kept))

    with pytest.raises(NotInTrash):
        restore(site, tree, number_of(site, kept) + missing)


def test_who_is_not_there_cannot_be_deleted(site: Database, tree: Tree) -> None:
    with pytest.raises(NoSuchUser), site.writer() as session:
        trash.delete_user(session, tree, ADMIN, "nobody", "example.com")


def test_an_alias_domain_has_nothing_to_keep(site: Database, tree: Tree) -> None:
    with site.writer() as session:
        assert trash.prepare_domain(session, tree, ADMIN, "alias.org") is None
        assert trash.prepare_domain(session, tree, ADMIN, "unknown.example") is None


def test_a_large_domain_comes_back(site: Database, tree: Tree) -> None:
    with site.writer() as session:
        of_it = select(DomainName.domain_id).where(DomainName.name == "example.com")
        owner = session.get_one(Domain, session.scalar(of_it))
        session.add_all(
            Mailbox(
                domain_id=owner.id,
                name=f"user{number}",
                password_hash="*",
                comment="",
                directory=f"{DOMAIN}/user{number}",
                quota_text="NOQUOTA",
            )
            for number in range(3000)
        )
    before = contents(site)

    restore(site, tree, number_of(site, delete_domain(site, tree)))

    assert contents(site) == before


# --- the command --------------------------------------------------------------------------------


@pytest.fixture
def vpopsql(
    site: Database, database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Command:
    where = {"VPOPSQL_DATABASE_URL": database_url, "VPOPSQL_PATHS_ROOT": str(tmp_path)}
    return lambda *arguments, **environment: run(
        capsys, "trash", *arguments, stdin="n\n", **where, **environment
    )


@pytest.fixture
def kept(site: Database, tree: Tree) -> Kept:
    """A mailbox in the trash, deleted 40 days ago."""
    done = delete_user(site, tree)
    done.move(tree)
    with site.writer() as session:
        session.execute(update(TrashEntry).values(at=utc_now() - timedelta(days=40)))
    return done


@pytest.fixture
def number(site: Database, kept: Kept) -> int:
    """Its number."""
    return number_of(site, kept)


def test_the_list_names_what_was_deleted_by_whom(
    kept: Kept, number: int, vpopsql: Command
) -> None:
    table, as_json = vpopsql("list"), vpopsql("list", "--format", "json")

    assert table.stdout.split()[3:] == ["kept", "user", "alice@example.com", kept.target]
    (entry,) = json.loads(as_json.stdout)
    assert entry.pop("at")
    assert entry == {
        "id": number,
        "actor": "admin@root.example",
        "kind": "user",
        "name": "alice@example.com",
        "path": kept.target,
        "state": "kept",
    }


def test_restoring_brings_rows_and_files_back_and_exports(
    number: int, vpopsql: Command, tmp_path: Path
) -> None:
    done = vpopsql("restore", str(number))

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"alice@example.com is back in {ALICE}\n"
    assert b"alice:" in (tmp_path / DOMAIN[1:] / "vpasswd").read_bytes()
    assert (tmp_path / ALICE[1:] / ".qmail").read_bytes() == b"./Maildir/\n"
    assert (tmp_path / ALICE[1:] / "Maildir/new/1.host").exists()


def test_a_refusal_says_why(number: int, vpopsql: Command) -> None:
    vpopsql("restore", str(number))

    done = vpopsql("restore", str(number))

    assert done.returncode == 3
    assert done.stderr == f"vpopsql: there is nothing in the trash with the number {number}\n"


def test_what_a_crash_left_is_moved_by_finish(
    site: Database, tree: Tree, vpopsql: Command
) -> None:
    delete_user(site, tree)

    assert vpopsql("finish").stdout == f"{ALICE}\n1 moved\n"
    assert states(site, tree) == [State.KEPT]


def test_a_purge_removes_files_and_passwords_and_is_on_record(
    kept: Kept, vpopsql: Command, site: Database, tree: Tree, tmp_path: Path
) -> None:
    done = vpopsql("purge", "--yes")

    assert done.stdout.endswith("1 purged\n")
    assert states(site, tree) == [State.PURGED]
    assert list((tmp_path / "home/vpopmail/trash").iterdir()) == []
    with site.reader() as session:
        entry = session.scalars(select(TrashEntry)).one()
        assert entry.payload is None
        assert session.scalars(select(AuditEntry.action)).all() == ["del_user", "purge"]


def test_a_purge_asks_first(kept: Kept, vpopsql: Command, site: Database, tree: Tree) -> None:
    done = vpopsql("purge")

    assert done.returncode == 1
    assert "Remove these 1 for good?" in done.stdout
    assert states(site, tree) == [State.KEPT]


@pytest.mark.parametrize(
    "arguments, days, left",
    [
        ([], "30", State.PURGED),
        ([], "50", State.KEPT),
        ([], "0", State.KEPT),
        (["--older-than", "50"], "30", State.KEPT),
        (["--older-than", "0"], "0", State.PURGED),
        (["--id", "1"], "0", State.PURGED),
        (["--id", "1", "--older-than", "39"], "0", State.PURGED),
    ],
)
def test_what_is_old_enough_is_purged(
    kept: Kept,
    vpopsql: Command,
    site: Database,
    tree: Tree,
    arguments: list[str],
    days: str,
    left: State,
) -> None:
    done = vpopsql("purge", "--yes", *arguments, VPOPSQL_TRASH_RETENTION_DAYS=days)

    assert done.returncode == 0
    assert states(site, tree) == [left]


def test_a_purge_finishes_what_was_not_moved_and_what_was_not_purged_to_the_end(
    site: Database, tree: Tree, vpopsql: Command, tmp_path: Path
) -> None:
    kept = delete_user(site, tree)
    kept.move(tree)
    with site.writer() as session:
        trash.claim(session, ADMIN, trash.Due(entry_id=number_of(site, kept)))
    with site.writer() as session:
        trash.prepare_directory(session, tree, ADMIN, DOMAIN)

    done = vpopsql("purge", "--yes", "--id", str(number_of(site, kept) + 1))

    assert done.returncode == 0
    assert not (tmp_path / kept.target[1:]).exists()
    with site.reader() as session:
        unfinished = select(func.count()).where(TrashEntry.payload.is_not(None))
        assert session.scalar(unfinished) == 0
