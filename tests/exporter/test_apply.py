"""Writing: what is touched, in which order, and what is left when it fails."""

import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from tests import factories
from tests.exporter.conftest import files_below
from vpopsql import tree
from vpopsql.config import Config, Paths
from vpopsql.db import Database
from vpopsql.errors import ExportFailed
from vpopsql.exporter.apply import Applied, apply, follow
from vpopsql.exporter.generations import DIRECTORY as GENERATIONS
from vpopsql.exporter.projector import Projector
from vpopsql.model import (
    Domain,
    DomainName,
    DotQmailFile,
    Export,
    ForeignLine,
    IpMapping,
    Mailbox,
    Revision,
)
from vpopsql.qmail import assign, cdb
from vpopsql.touched import Touched

Exporter = Callable[..., Applied]

CONTROL = "var/qmail/control"
RCPTHOSTS = f"{CONTROL}/rcpthosts"
on_sqlite = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)


@pytest.fixture
def site(database: Database) -> Database:
    """Two domains with an account each, one with an alias domain and a forward."""
    with database.writer() as session:
        one = factories.domain(session, "example.com", "alias.org")
        factories.mailbox(session, one, "alice")
        factories.alias(session, one, "info", "&alice@example.com")
        two = factories.domain(session, "test.com")
        factories.mailbox(session, two, "bob")
        session.add(ForeignLine(file="control/locals", position=1, line="localhost", sort_key=""))
    return database


def write(database: Database, change: Callable[[Any], object]) -> None:
    with database.writer() as session:
        change(session)
        session.add(Revision(topic="test"))


def add_domain(database: Database, name: str, **columns: Any) -> None:
    write(database, lambda session: factories.domain(session, name, **columns))


def remove_domain(database: Database, name: str) -> None:
    of_it = select(DomainName.domain_id).where(DomainName.name == name)
    write(database, lambda session: session.execute(delete(Domain).where(Domain.id.in_(of_it))))


def move(database: Database, name: str, *, in_morercpthosts: bool) -> None:
    change = update(DomainName).where(DomainName.name == name)
    write(
        database,
        lambda session: session.execute(change.values(in_morercpthosts=in_morercpthosts)),
    )


def age_of_files(root: Path) -> dict[str, int]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path): path.stat().st_ino for path in files if GENERATIONS not in path.parts}


# --- what is written --------------------------------------------------------------------------


def test_only_what_changed_is_written(site: Database, export: Exporter, root: Path) -> None:
    export()
    before = age_of_files(root)

    write(site, lambda s: factories.mailbox(s, s.scalars(select(Domain)).first(), "carol"))
    applied = export()

    directory = "/home/vpopmail/domains/example.com"
    assert applied.changed == (f"{directory}/vpasswd", f"{directory}/vpasswd.cdb")
    after = age_of_files(root)
    assert {path for path in after if after[path] != before.get(path)} == {
        f"{root}{path}" for path in applied.changed
    }


def test_an_export_is_recorded_with_the_revision_it_shows(
    site: Database, export: Exporter
) -> None:
    add_domain(site, "new.net")

    applied = export()
    export()

    with site.reader() as session:
        recorded = session.scalars(select(Export)).all()
        newest = session.scalars(select(Revision.id).order_by(Revision.id.desc())).first()
    assert [(each.revision, each.files_changed) for each in recorded] == [
        (newest, len(applied.changed))
    ]


def test_new_files_and_directories_have_the_usual_modes_and_owners(
    site: Database, export: Exporter, root: Path
) -> None:
    export()

    def looks(path: str) -> str:
        return stat.filemode((root / path).stat().st_mode)

    assert looks("home/vpopmail") == "drwxr-xr-x"
    assert looks("home/vpopmail/domains/test.com") == "drwx------"
    assert looks("home/vpopmail/domains/test.com/vpasswd") == "-rw-------"
    assert looks("home/vpopmail/domains/example.com/.qmail-info") == "-rw-------"
    assert looks("var/qmail/users") == "drwxr-xr-x"
    assert looks("var/qmail/users/cdb") == "-rw-r--r--"
    assert looks(RCPTHOSTS) == "-rw-r--r--"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_gives_the_domains_files_to_their_owner(
    site: Database, export: Exporter, root: Path
) -> None:
    export()

    status = (root / "home/vpopmail/domains/test.com/vpasswd").stat()
    assert (status.st_uid, status.st_gid) == (89, 89)
    assert (root / RCPTHOSTS).stat().st_uid == 0


def test_an_existing_file_keeps_its_mode(site: Database, export: Exporter, root: Path) -> None:
    export()
    (root / RCPTHOSTS).chmod(0o640)

    add_domain(site, "new.net")
    export()

    assert (root / RCPTHOSTS).stat().st_mode & 0o777 == 0o640
    assert b"new.net\n" in (root / RCPTHOSTS).read_bytes()


def test_what_others_changed_is_put_right(site: Database, export: Exporter, root: Path) -> None:
    export()
    whole = files_below(root)
    (root / "home/vpopmail/domains/test.com/vpasswd").write_text("mallory::1:0::/:NOQUOTA\n")
    (root / "var/qmail/users/cdb").unlink()

    applied = export()

    assert files_below(root) == whole
    assert set(applied.changed) == {
        "/home/vpopmail/domains/test.com/vpasswd",
        "/var/qmail/users/cdb",
    }


def test_any_bytes_come_out_as_they_went_in(site: Database, export: Exporter, root: Path) -> None:
    raw = "&caf\udce9@example.com"
    comment = "M\udcfcller "
    write(site, lambda s: factories.alias(s, s.scalars(select(Domain)).first(), "raw", raw))
    write(
        site,
        lambda s: factories.mailbox(
            s, s.scalars(select(Domain)).first(), "mueller", comment=comment
        ),
    )

    export()

    directory = root / "home/vpopmail/domains/example.com"
    assert (directory / ".qmail-raw").read_bytes() == b"&caf\xe9@example.com\n"
    assert b":M\xfcller :" in (directory / "vpasswd").read_bytes()


def test_a_dot_qmail_file_of_a_mailbox_without_home_gets_one(
    site: Database, export: Exporter, root: Path
) -> None:
    with site.writer() as session:
        owner = factories.domain(session, "new.net")
        box = factories.mailbox(session, owner, "zoe")
        session.add(DotQmailFile(domain_id=owner.id, mailbox_id=box.id, name=""))

    export()

    assert (root / "home/vpopmail/domains/new.net/zoe/.qmail").read_bytes() == b""


def test_a_file_takes_the_place_of_a_link_and_never_goes_through_it(
    site: Database, export: Exporter, root: Path
) -> None:
    export()
    target = root / "precious"
    target.write_text("precious")
    path = root / "home/vpopmail/domains/example.com/.qmail-info"
    path.unlink()
    path.symlink_to(target)

    applied = export()

    assert applied.changed == ("/home/vpopmail/domains/example.com/.qmail-info",)
    assert not path.is_symlink()
    assert path.read_bytes() == b"&alice@example.com\n"
    assert target.read_text() == "precious"


def test_a_link_takes_the_place_of_a_file(site: Database, export: Exporter, root: Path) -> None:
    export()
    write(
        site,
        lambda s: s.execute(update(DotQmailFile).values(link_target="/lists/editor")),
    )

    first, second = export(), export()

    path = root / "home/vpopmail/domains/example.com/.qmail-info"
    assert path.readlink() == Path("/lists/editor")
    assert first.changed == ("/home/vpopmail/domains/example.com/.qmail-info",)
    assert second.changed == ()


def test_files_without_rows_are_left_and_named(
    site: Database, export: Exporter, root: Path
) -> None:
    export()
    write(site, lambda session: session.execute(delete(DotQmailFile)))

    applied = export()

    assert applied.extra == ("/home/vpopmail/domains/example.com/.qmail-info",)
    assert (root / "home/vpopmail/domains/example.com/.qmail-info").exists()


def test_the_last_ip_mapping_takes_its_file_with_it(
    site: Database, export: Exporter, root: Path
) -> None:
    write(site, lambda s: factories.ip_mapping(s, "::1", s.scalars(select(Domain)).first()))
    export()
    assert (root / "home/vpopmail/etc/ip_alias_map").read_bytes() == b"::1 example.com\n"

    write(site, lambda session: session.execute(delete(IpMapping)))
    export()

    assert not (root / "home/vpopmail/etc/ip_alias_map").exists()


def test_paths_are_those_of_the_site_that_was_imported(
    site: Database, export: Exporter, root: Path
) -> None:
    write(site, lambda session: factories.setting(session, "vpopmail_dir", "/srv/vpopmail"))
    write(site, lambda s: factories.ip_mapping(s, "::1", s.scalars(select(Domain)).first()))

    export()

    assert (root / "srv/vpopmail/etc/ip_alias_map").exists()
    assert (
        (root / "home/vpopmail/domains/test.com/.qmail-default")
        .read_bytes()
        .startswith(b"| /srv/vpopmail/bin/")
    )


# --- shared files -----------------------------------------------------------------------------


def test_60_domains_need_morercpthosts_and_none_of_them_is_lost(
    database: Database, export: Exporter, root: Path
) -> None:
    created = factories.at(2026, 1, 1)
    with database.writer() as session:
        for number in range(1, 61):
            factories.domain(session, f"d{number:02}.example", created_at=created)

    export()

    few = (root / RCPTHOSTS).read_bytes().split()
    more = (root / f"{CONTROL}/morercpthosts").read_bytes().split()
    compiled = cdb.read((root / f"{CONTROL}/morercpthosts.cdb").read_bytes())
    assert few == [b"d%02d.example" % number for number in range(1, 51)]
    assert more == [b"d%02d.example" % number for number in range(51, 61)]
    assert compiled == [(name, b"") for name in more]


def test_morercpthosts_goes_with_its_last_name(
    site: Database, export: Exporter, root: Path
) -> None:
    move(site, "test.com", in_morercpthosts=True)
    export()
    assert (root / f"{CONTROL}/morercpthosts").read_bytes() == b"test.com\n"

    remove_domain(site, "test.com")
    applied = export()

    assert not list((root / CONTROL).glob("morercpthosts*"))
    assert f"/{CONTROL}/morercpthosts.cdb" in applied.changed


def test_locals_of_a_host_that_was_not_imported_lose_our_names_only(
    database: Database, export: Exporter, root: Path
) -> None:
    add_domain(database, "example.com")
    (root / CONTROL).mkdir(parents=True)
    (root / f"{CONTROL}/locals").write_bytes(b"host.example\nexample.com\n# keep\nlocalhost\n")

    export()

    assert (root / f"{CONTROL}/locals").read_bytes() == b"host.example\n# keep\nlocalhost\n"


def test_no_locals_are_made_where_there_were_none(
    database: Database, export: Exporter, root: Path
) -> None:
    add_domain(database, "example.com")

    export()

    assert not (root / f"{CONTROL}/locals").exists()


def test_an_empty_database_does_not_wipe_a_site(
    database: Database, export: Exporter, root: Path
) -> None:
    (root / CONTROL).mkdir(parents=True)
    (root / RCPTHOSTS).write_bytes(b"example.com\n")

    with pytest.raises(ExportFailed, match=r"has 1 names that the database does not"):
        export()

    assert (root / RCPTHOSTS).read_bytes() == b"example.com\n"


def test_a_new_database_does_not_drop_names_that_a_host_had_before(
    database: Database, root: Path
) -> None:
    config = Config(paths=Paths(root=str(root)))
    (root / CONTROL).mkdir(parents=True)
    (root / RCPTHOSTS).write_bytes(b"mail.example\n")
    with database.writer() as session:
        factories.domain(session, "example.com")

    with pytest.raises(ExportFailed, match=r"such as mail\.example: import the site first"):
        Projector(database, config).follow(Touched(site=True))

    assert (root / RCPTHOSTS).read_bytes() == b"mail.example\n"


def test_the_last_domain_can_be_removed(site: Database, export: Exporter, root: Path) -> None:
    export()
    remove_domain(site, "example.com")
    remove_domain(site, "test.com")

    export()

    assert (root / RCPTHOSTS).read_bytes() == b""
    assert (root / "var/qmail/users/assign").read_bytes() == b".\n"


# --- reload -----------------------------------------------------------------------------------


@pytest.fixture
def reload(tmp_path: Path) -> tuple[str, ...]:
    """A command that notes each of its runs, and fails while there is a file "broken"."""
    script = tmp_path / "reload"
    script.write_text(f"#!/bin/sh\necho $1 >> {tmp_path}/runs\n! test -e {tmp_path}/broken\n")
    script.chmod(0o755)
    return str(script), "$HOME;x"


def test_qmail_send_is_reloaded_only_when_its_files_changed(
    site: Database, export: Exporter, reload: tuple[str, ...], tmp_path: Path
) -> None:
    results = [export(reload_command=reload)]
    results.append(export(reload_command=reload))
    write(site, lambda s: factories.mailbox(s, s.scalars(select(Domain)).first(), "carol"))
    results.append(export(reload_command=reload))
    add_domain(site, "new.net")
    results.append(export(reload_command=reload))

    assert [result.reloaded for result in results] == [True, False, False, True]
    assert (tmp_path / "runs").read_text() == "$HOME;x\n$HOME;x\n"


def test_a_reload_that_failed_keeps_new_names_out_and_is_tried_again(
    site: Database, export: Exporter, reload: tuple[str, ...], root: Path, tmp_path: Path
) -> None:
    export(reload_command=reload)
    add_domain(site, "new.net")
    (tmp_path / "broken").touch()

    with pytest.raises(ExportFailed, match=r"reload ended with status 1.*tries again"):
        export(reload_command=reload)

    assert b"new.net" in (root / f"{CONTROL}/virtualdomains").read_bytes()
    assert b"new.net" not in (root / RCPTHOSTS).read_bytes()
    (tmp_path / "broken").unlink()
    assert export(reload_command=reload).reloaded
    assert b"new.net" in (root / RCPTHOSTS).read_bytes()
    assert not export(reload_command=reload).reloaded


def test_a_reload_command_that_does_not_exist_is_named(site: Database, export: Exporter) -> None:
    with pytest.raises(ExportFailed, match="/nowhere/svc"):
        export(reload_command=("/nowhere/svc", "-h"))


# --- failures ---------------------------------------------------------------------------------


def test_a_failing_write_leaves_the_old_files_whole_and_says_which_path(
    site: Database, export: Exporter, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export()
    before = files_below(root)
    add_domain(site, "new.net")

    write_all = tree._write_all

    def full(fd: int, data: bytes) -> None:
        if data.startswith(b"{"):  # the description of the generation
            return write_all(fd, data)
        os.write(fd, data[:3])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tree, "_write_all", full)
        with pytest.raises(ExportFailed, match=r"/exported/home/.*/new.net/.*No space left"):
            export()

    assert files_below(root) == before
    export()
    assert b"new.net" in (root / RCPTHOSTS).read_bytes()


def test_a_directory_in_the_place_of_a_file_is_named(
    site: Database, export: Exporter, root: Path
) -> None:
    (root / "var/qmail/users/assign").mkdir(parents=True)

    with pytest.raises(ExportFailed, match=r"var/qmail/users/assign: Is a directory"):
        export()


def test_a_row_that_no_file_can_hold_is_named_and_nothing_leads_astray(
    site: Database, export: Exporter, root: Path
) -> None:
    export()
    before = (root / "var/qmail/users/cdb").read_bytes()
    add_domain(site, "new.net", directory="/home/with:colon")

    with pytest.raises(ExportFailed, match="/var/qmail/users/assign: a field has a colon"):
        export()

    assert (root / "var/qmail/users/cdb").read_bytes() == before


# --- order ------------------------------------------------------------------------------------


STOPS = 17  # changes of the tree in the export that `rearrange` makes necessary


@dataclass
class Power:
    """Goes off after a number of changes of the tree: renames, and removals of real files."""

    left: int
    used: int = 0

    def switch_on(self, patch: pytest.MonkeyPatch) -> None:
        rename, unlink = os.rename, os.unlink

        def limited_rename(*args: Any, **kwargs: Any) -> None:
            self.use()
            rename(*args, **kwargs)

        def limited_unlink(name: bytes, **kwargs: Any) -> None:
            self.use(0 if name.startswith(tree.TEMP_PREFIX.encode()) else 1)
            unlink(name, **kwargs)

        patch.setattr(os, "rename", limited_rename)
        patch.setattr(os, "unlink", limited_unlink)

    def use(self, much: int = 1) -> None:
        self.used += much
        if much and self.used > self.left:
            raise KeyboardInterrupt


def arrange(database: Database) -> None:
    for name in ("moves.example", "returns.example", "goes.example", "leaves.example"):
        add_domain(database, name)
    move(database, "returns.example", in_morercpthosts=True)
    move(database, "leaves.example", in_morercpthosts=True)


def rearrange(database: Database) -> None:
    """Of each file, remove a name and add one, and move one to the other file."""
    remove_domain(database, "goes.example")
    remove_domain(database, "leaves.example")
    move(database, "moves.example", in_morercpthosts=True)
    move(database, "returns.example", in_morercpthosts=False)
    add_domain(database, "comes.example")
    add_domain(database, "arrives.example")
    move(database, "arrives.example", in_morercpthosts=True)


def accepted(root: Path) -> set[str]:
    compiled = root / f"{CONTROL}/morercpthosts.cdb"
    more = cdb.read(compiled.read_bytes()) if compiled.exists() else []
    return set((root / RCPTHOSTS).read_text().split()) | {key.decode() for key, _ in more}


def deliverable(root: Path) -> set[str]:
    """Return the names that lead through virtualdomains and users/cdb to a domain with files."""
    return {name for name in virtual(root) if directory_of(root, name)}


def virtual(root: Path) -> set[str]:
    lines = (root / f"{CONTROL}/virtualdomains").read_text().split()
    return {line.partition(":")[0] for line in lines}


def directory_of(root: Path, name: str) -> bool:
    found = cdb.get((root / "var/qmail/users/cdb").read_bytes(), b"!" + name.encode() + b"-")
    return (
        found is not None and (root / found.split(b"\0")[3].decode()[1:] / "vpasswd.cdb").exists()
    )


@on_sqlite
@pytest.mark.parametrize("changes", range(STOPS))
def test_a_stop_anywhere_loses_no_mail_and_the_next_export_completes(
    site: Database, export: Exporter, root: Path, changes: int
) -> None:
    arrange(site)
    export()
    stay = accepted(root) - {"goes.example", "leaves.example"}
    rearrange(site)

    with pytest.MonkeyPatch.context() as patch:
        Power(changes).switch_on(patch)
        with pytest.raises(KeyboardInterrupt):
            export()

    new = {"comes.example", "arrives.example"}
    assert accepted(root) >= stay
    assert deliverable(root) >= accepted(root) | virtual(root) & new
    export()
    assert accepted(root) == deliverable(root) == stay | new
    assert export().changed == ()


@on_sqlite
def test_the_stops_above_are_all_there_are(site: Database, export: Exporter) -> None:
    power = Power(1000)
    arrange(site)
    export()
    rearrange(site)

    with pytest.MonkeyPatch.context() as patch:
        power.switch_on(patch)
        export()

    assert power.used == STOPS


@on_sqlite
def test_a_reader_never_misses_a_line_of_rcpthosts(
    site: Database, export: Exporter, root: Path
) -> None:
    export()
    stop = threading.Event()
    seen: set[bytes] = set()

    def watch() -> int:
        reads = 0
        while not stop.is_set():
            seen.add((root / RCPTHOSTS).read_bytes())
            reads += 1
        return reads

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        try:
            for _ in range(25):
                add_domain(site, "new.net")
                export()
                remove_domain(site, "new.net")
                export()
        finally:
            stop.set()
        reads = watching.result()

    assert reads > 50
    assert seen <= {
        b"alias.org\nexample.com\ntest.com\n",
        b"alias.org\nexample.com\nnew.net\ntest.com\n",
    }


# --- several at once --------------------------------------------------------------------------


def test_two_exports_at_once_wait_for_each_other(site: Database, root: Path) -> None:
    config = Config(paths=Paths(root=str(root)))

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: apply(site, config), range(4)))

    assert sorted(len(result.changed) > 0 for result in results) == [False, False, False, True]


def test_an_export_does_not_wait_for_ever(site: Database, root: Path) -> None:
    config = Config(paths=Paths(root=str(root)))
    users = "/var/qmail/users"
    tree.Tree(root).make_dir(users, parents=True)

    with (
        tree.Tree(root).lock(f"{users}/assign"),
        pytest.raises(ExportFailed, match="users/assign: the lock is held"),
    ):
        apply(site, config, lock_timeout_s=0.05)


CHILD = """
import sys
from vpopsql.config import Config, Paths
from vpopsql.db import Database
from vpopsql.exporter.apply import apply
database = Database(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(len(apply(database, Config(paths=Paths(root=sys.argv[2]))).changed))
"""


@pytest.fixture
def child(database_url: str, root: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that exports once it is sent a line."""
    arguments = [sys.executable, "-c", CHILD, database_url, str(root)]
    with subprocess.Popen(
        arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": "."},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


@on_sqlite
@pytest.mark.parametrize("after_ms", [5, 20, 50, 100, 150, 250])
def test_a_killed_export_leaves_rcpthosts_whole_and_the_next_one_completes(
    site: Database,
    export: Exporter,
    root: Path,
    child: "subprocess.Popen[str]",
    after_ms: int,
) -> None:
    export()
    old = (root / RCPTHOSTS).read_bytes()
    with site.writer() as session:
        for number in range(300):
            factories.mailbox(session, factories.domain(session, f"d{number}.example"), "alice")
    remove_domain(site, "test.com")

    assert child.stdin is not None
    child.stdin.write("go\n")
    child.stdin.flush()
    time.sleep(after_ms / 1000)
    child.kill()
    child.wait()

    left = (root / RCPTHOSTS).read_bytes()
    export()
    new = (root / RCPTHOSTS).read_bytes()
    assert left in {old, old.replace(b"test.com\n", b""), new}
    assert new.count(b"\n") == 302
    assert deliverable(root) >= accepted(root)
    assert export().changed == ()
    assert assign.parse((root / "var/qmail/users/assign").read_bytes())


# --- what killed processes left ---------------------------------------------------------------


def leave_behind(root: Path, directory: str, age_s: float) -> str:
    """Leave a half-written file, last written to so long ago; return its site path."""
    path = f"{directory}/{tree.TEMP_PREFIX}{age_s:.0f}"
    (root / path[1:]).write_bytes(b"alice:$6$")
    then = time.time() - age_s
    os.utime(root / path[1:], (then, then))
    return path


DIRECTORIES_WRITTEN_TO = (
    "/home/vpopmail/domains/example.com",
    "/home/vpopmail/domains/test.com",
    "/home/vpopmail/etc",
    "/var/qmail/control",
    "/var/qmail/users",
)


@on_sqlite
def test_an_export_removes_what_killed_processes_left(
    site: Database, export: Exporter, root: Path
) -> None:
    export()
    old = {leave_behind(root, directory, 4000) for directory in DIRECTORIES_WRITTEN_TO}
    young = {leave_behind(root, directory, 3000) for directory in DIRECTORIES_WRITTEN_TO}
    elsewhere = leave_behind(root, "/home", 4000)

    applied = export()

    assert set(applied.swept) == old
    assert len(applied.swept) == len(old)
    assert (applied.changed, applied.extra) == ((), ())
    left = {path for path in files_below(root) if tree.TEMP_PREFIX in path}
    assert left == young | {elsewhere}
    assert export().swept == ()


@on_sqlite
def test_following_a_change_removes_what_is_left_where_it_writes(
    site: Database, export: Exporter, root: Path
) -> None:
    export()
    first, *others = [leave_behind(root, place, 4000) for place in DIRECTORIES_WRITTEN_TO]
    config = Config(paths=Paths(root=str(root)))

    of_a_domain = follow(site, config, Touched(accounts={"example.com"}))
    of_the_site = follow(site, config, Touched(site=True))

    assert of_a_domain.swept == (first,)
    assert set(of_the_site.swept) == set(others[1:])


@on_sqlite
def test_a_mailboxs_directory_is_swept_if_it_has_a_dotqmail_file(
    site: Database, export: Exporter, root: Path
) -> None:
    with site.writer() as session:
        alice = session.scalars(select(Mailbox).where(Mailbox.name == "alice")).one()
        session.add(DotQmailFile(domain_id=alice.domain_id, mailbox_id=alice.id, name=""))
        home = alice.directory
    export()

    path = leave_behind(root, home, 4000)

    assert export().swept == (path,)
