"""A thousand applies, killed at random points, and what a reader of rcpthosts sees meanwhile."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.torturing.reader import TightReader
from scripts.torturing.watcher import Watcher
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


@pytest.fixture
def site(database: Database) -> Database:
    """A domain that stays."""
    with database.writer() as session:
        stays = factories.domain(session, "stays.example")
        factories.mailbox(session, stays, "alice")
    return database


@pytest.fixture
def readers(
    root: Path, site: Database, export: Callable[..., Applied]
) -> Iterator[tuple[Watcher, TightReader]]:
    """What is told of all that happens to rcpthosts, and what reads it as fast as it can."""
    export()
    path = root / "var/qmail/control/rcpthosts"
    watcher, reader = Watcher(path, "stays.example"), TightReader([path], "stays.example")
    yield watcher, reader
    watcher.close()
    reader.close()


@pytest.mark.slow
@pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
def test_rcpthosts_is_whole_at_every_moment_however_applies_end(
    site: Database,
    database_url: str,
    export: Callable[..., Applied],
    readers: tuple[Watcher, TightReader],
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
    export()
    watcher, reader = readers
    reader.close()
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    apply(site, Config(paths=Paths(root=str(fresh))))

    assert [watcher.defect, reader.defect] == [None, None]
    assert 0 < int(killed.stdout) < APPLIES, "some were to be killed, and some to end"
    assert watcher.versions > int(killed.stdout) / 4, "many that ended changed it"
    assert reader.reads > 10 * APPLIES
    qmail = {path: data for path, data in files_below(root).items() if "/var/qmail/" in path}
    assert {path: data for path, data in qmail.items() if "vpopsql-tmp" not in path} == {
        path: data for path, data in files_below(fresh).items() if "/var/qmail/" in path
    }
