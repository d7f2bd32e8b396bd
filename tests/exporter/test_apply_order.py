"""In which order an export is applied, by one or several, to its end or not."""

import os
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
from sqlalchemy import select

from tests import factories
from tests.exporter.applying import (
    RCPTHOSTS,
    accepted,
    add_domain,
    deliverable,
    make_site,
    move,
    remove_domain,
    virtual,
)
from tests.exporter.conftest import files_below
from vpopsql import tree
from vpopsql.config import Config, Paths
from vpopsql.db import Database
from vpopsql.errors import ExportFailed
from vpopsql.exporter.apply import Applied, apply, follow
from vpopsql.model import (
    DotQmailFile,
    Mailbox,
)
from vpopsql.qmail import assign
from vpopsql.touched import Touched

Exporter = Callable[..., Applied]
on_sqlite = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)


@pytest.fixture
def site(database: Database) -> Database:
    return make_site(database)


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
