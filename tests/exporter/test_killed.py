"""A thousand applies, killed at random points, and what a reader of rcpthosts sees meanwhile."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import factories
from tests.exporter.conftest import files_below
from vpopsql.config import Config, Paths
from vpopsql.db import Database
from vpopsql.exporter.apply import Applied, apply

APPLIES = 1000
SEED = 5

# Forks, since a start of Python takes twenty times as long as an apply. Each child changes the
# database, so that there is something to write, and applies.
KILLER = f"""
import os, random, signal, statistics, sys, time, traceback
from sqlalchemy import delete, select, update
from tests import factories
from vpopsql.config import Config, Paths
from vpopsql.db import Database
from vpopsql.exporter.apply import apply
from vpopsql.model import Domain, DomainName, Revision

database = Database(sys.argv[1])

def child(number):
    with database.writer() as session:
        name = f"d{{number % 7}}.example"
        of_name = select(DomainName.domain_id).where(DomainName.name == name)
        gone = session.execute(delete(Domain).where(Domain.id.in_(of_name)))
        if not gone.rowcount:
            factories.domain(session, name)
            named = update(DomainName).where(DomainName.name == name)
            session.execute(named.values(in_morercpthosts=bool(number % 2)))
        session.add(Revision(topic="test"))
    apply(database, Config(paths=Paths(root=sys.argv[2])))

def start(number):
    pid = os.fork()
    if not pid:
        try:
            child(number)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return pid

def whole(number):
    began = time.monotonic()
    assert os.waitpid(start(number), 0)[1] == 0
    return time.monotonic() - began

child(0)
database.close()  # no connection goes into a fork, but statements that are compiled do
random.seed({SEED})
usual = statistics.median([whole(number) for number in range(9)])
ended = 0
for number in range({APPLIES}):
    pid = start(number)
    time.sleep(random.uniform(0, usual * 1.2))
    os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    assert status in (0, signal.SIGKILL), status
    ended += status == 0
print(ended)
"""

# The kernel tells of every event in the directory, so that no moment goes unseen, however short:
# nothing but a file that is renamed to rcpthosts, whole, may ever happen to it.
READER = """
import ctypes, os, struct, sys
MOVED_FROM, MOVED_TO, OVERFLOW = 0x40, 0x80, 0x4000
MODIFIED_CREATED_DELETED = 0x2 | 0x100 | 0x200
directory, name = os.path.split(os.fsencode(sys.argv[1]))
libc = ctypes.CDLL(None, use_errno=True)
told = libc.inotify_init1(os.O_CLOEXEC)
assert told >= 0, os.strerror(ctypes.get_errno())
mask = MODIFIED_CREATED_DELETED | MOVED_FROM | MOVED_TO
assert libc.inotify_add_watch(told, directory, mask) >= 0, os.strerror(ctypes.get_errno())
print("ready", flush=True)
renamed = 0
lines = []
while b"end.example" not in lines:
    events = os.read(told, 1 << 16)
    while events:
        _, event, _, length = struct.unpack_from("iIII", events)
        of = events[16 : 16 + length].rstrip(b"\\0")
        events = events[16 + length :]
        if event & OVERFLOW or of == name and event != MOVED_TO:
            sys.exit(f"event {event:#x}")
        renamed += of == name
    with open(sys.argv[1], "rb") as file:
        lines = file.read().split(b"\\n")
    if lines[-1] or b"stays.example" not in lines:
        sys.exit(f"it has {lines}")
print(renamed)
"""


@pytest.fixture
def site(database: Database) -> Database:
    """A domain that stays."""
    with database.writer() as session:
        stays = factories.domain(session, "stays.example")
        factories.mailbox(session, stays, "alice")
    return database


@pytest.fixture
def reader(root: Path, site: Database, export: Callable[..., Applied]) -> Iterator[object]:
    """A process that watches rcpthosts until it has `end.example`, and counts its versions."""
    export()
    path = str(root / "var/qmail/control/rcpthosts")
    with subprocess.Popen(
        [sys.executable, "-c", READER, path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
def test_rcpthosts_is_whole_at_every_moment_however_applies_end(
    site: Database,
    database_url: str,
    export: Callable[..., Applied],
    reader: "subprocess.Popen[str]",
    root: Path,
    tmp_path: Path,
) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLER, database_url, str(root)],
        env={"PYTHONPATH": ".", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == 0, killed.stderr
    with site.writer() as session:
        factories.domain(session, "end.example")
    export()
    versions, bad = reader.communicate(timeout=60)
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    apply(site, Config(paths=Paths(root=str(fresh))))

    assert not bad
    assert 0 < int(killed.stdout) < APPLIES, "some were to be killed, and some to end"
    assert int(versions) > int(killed.stdout) / 4, "many that ended changed it"
    qmail = {path: data for path, data in files_below(root).items() if "/var/qmail/" in path}
    assert {path: data for path, data in qmail.items() if "vpopsql-tmp" not in path} == {
        path: data for path, data in files_below(fresh).items() if "/var/qmail/" in path
    }
