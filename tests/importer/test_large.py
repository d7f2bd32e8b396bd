"""What matters when a site is large: processes, bars, and imports that are killed on the way."""

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from scripts.sites.dump import MySQLDump
from scripts.sites.synthesis import Size, Synthesis
from scripts.sites.tree import Homes, Tree
from tests.importer import support
from vpopsql import config, db
from vpopsql.cli import cli
from vpopsql.db import Database
from vpopsql.directory import Directory
from vpopsql.importer import site, stored
from vpopsql.importer.codes import Code
from vpopsql.importer.origin import Origin, Store
from vpopsql.model import UNFINISHED_IMPORT, DomainName

CHECKOUT = Path(__file__).parents[2]
DOMAINS = 80  # one process reads up to 64
MAILBOXES = 600
VPOPSQL = "from vpopsql.cli import main; main()"

# The command, dying by the signal that nobody can catch, in batches of fifty mailboxes.
DYING = """
import os, signal, sys
from vpopsql.cli import main
from vpopsql.importer import apply, plan, rows

place, number = sys.argv.pop(1), int(sys.argv.pop(1))
plan._MAILBOXES_AT_ONCE = 50
insert, finish = rows.insert_domains, apply._finish

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def insert_domains(session, *arguments):
    global number
    number -= 1
    if place == "before" and not number:
        die()
    insert(session, *arguments)
    session.flush()
    if place == "within" and not number:
        die()

def finish_site(*arguments):
    finish(*arguments)
    if place == "finishing":
        die()

rows.insert_domains, apply._finish = insert_domains, finish_site
main()
"""


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up site: its tree, and as ``tables.sql`` what a SQL build has of it."""
    place = tmp_path_factory.mktemp("large")
    synthesis = Synthesis(Size(DOMAINS, MAILBOXES, aliases=0.5))
    tree = Tree(place / "tree", Homes.LIGHT)
    with (place / "tables.sql").open("wb") as file:
        dump = MySQLDump(file)
        tree.frame(synthesis.frame)
        dump.frame(synthesis.frame)
        for domain in synthesis.domains():
            tree.domain(domain)
            dump.domain(domain)
        dump.finish()
    return place


@pytest.fixture(scope="session")
def from_tree(made: Path) -> Origin:
    return Origin(Store.TREE, made / "tree/qmail", made / "tree/vpopmail")


@pytest.fixture(scope="session")
def from_dump(made: Path) -> Origin:
    return Origin(Store.MYSQL, made / "tree/qmail", tables=str(made / "tables.sql"))


def arguments(origin: Origin) -> list[str]:
    """Return what names a source on the command line."""
    tables = [origin.tables] if origin.tables else []
    tree = ["--vpopmail", str(origin.vpopmail)] if origin.vpopmail else []
    return [origin.store.value, *tables, *tree, "--qmail", str(origin.qmail)]


def run(url: str, *words: str) -> Result:
    return CliRunner().invoke(cli, words, env={"VPOPSQL_DATABASE_URL": url})


def start(url: str, program: str, *words: str, stderr: int) -> "subprocess.Popen[bytes]":
    """Start the command as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *words],
        cwd=CHECKOUT,
        env={**os.environ, "VPOPSQL_DATABASE_URL": url},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    )


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/site.db"
    db.upgrade(url)
    return url


# --- processes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["from_tree", "from_dump"])
def test_several_processes_read_what_one_does(request: pytest.FixtureRequest, source: str) -> None:
    origin: Origin = request.getfixturevalue(source)

    alone = origin.read(config.Config(), jobs=1)
    together = origin.read(config.Config(), jobs=2)

    assert list(together.spool) == list(alone.spool)
    assert together.found.foreign_lines == alone.found.foreign_lines
    assert support.together(together) == support.together(alone)


# --- homes -------------------------------------------------------------------------------------


def test_without_homes_no_directory_of_an_account_is_opened(
    from_tree: Origin, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    make = Directory.__init__

    def noting(self: Directory, descriptor: int, shown: str, *rest: Any) -> None:
        opened.append(shown)
        make(self, descriptor, shown, *rest)

    monkeypatch.setattr(Directory, "__init__", noting)

    done = run(sqlite_url, "import", *arguments(from_tree), "--no-homes", "--apply", "--jobs", "1")

    assert done.exit_code == 0, done.output
    assert "no account's directory was opened" in done.output
    assert not [path for path in opened if path.endswith("/postmaster")]
    assert len([path for path in opened if "/domains/" in path]) >= DOMAINS


def test_without_homes_everything_else_is_read(from_tree: Origin) -> None:
    whole = list(from_tree.read(config.Config()).spool)
    scanned = replace(from_tree, read_homes=False).read(config.Config())

    unread = {"last_auth", "files", "created_at"}
    without = [
        replace(
            domain,
            mailboxes=tuple(
                box._replace(**{name: getattr(other, name) for name in unread})
                for box, other in zip(domain.mailboxes, theirs.mailboxes, strict=True)
            ),
        )
        for domain, theirs in zip(whole, scanned.spool, strict=True)
    ]
    assert list(scanned.spool) == without
    assert not any(box.files for domain in scanned.spool for box in domain.mailboxes)
    found = support.together(scanned).findings
    assert [each.code for each in found] == [Code.HOMES_NOT_READ]


# --- bars --------------------------------------------------------------------------------------

BAR = re.compile(
    rb"\r(\w+) \[[#.]{24}\] [\d,]+ (?:mailboxes|rows), [\d,]+/s, \d+:\d\d left\x1b\[K"
)


def on_a_terminal(url: str, *words: str) -> bytes:
    """Return what the command writes to standard error if that is a terminal."""
    ours, theirs = pty.openpty()
    process = start(url, VPOPSQL, *words, stderr=theirs)
    os.close(theirs)
    written = []
    while piece := _read(ours):
        written.append(piece)
    os.close(ours)
    assert process.wait(60) == 0
    return b"".join(written)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # Linux's way to say that nobody has the other side any more
        return b""


@pytest.mark.parametrize(
    "source, phases",
    [
        ("from_tree", [b"reading", b"writing"]),
        ("from_dump", [b"copying", b"reading", b"writing"]),
    ],
)
def test_a_terminal_shows_a_bar_for_everything_that_takes_long(
    request: pytest.FixtureRequest, sqlite_url: str, source: str, phases: list[bytes]
) -> None:
    origin: Origin = request.getfixturevalue(source)

    first = on_a_terminal(sqlite_url, "import", *arguments(origin), "--apply")
    second = on_a_terminal(sqlite_url, "import", *arguments(origin))
    verified = on_a_terminal(sqlite_url, "import", "verify")

    read = [phase for phase in phases if phase != b"writing"]
    assert list(dict.fromkeys(BAR.findall(first))) == phases
    assert list(dict.fromkeys(BAR.findall(second))) == [*read, b"comparing"]
    assert list(dict.fromkeys(BAR.findall(verified))) == [*read, b"comparing"]
    # Nothing else is written, and nothing is left behind.
    assert BAR.sub(b"", first + second + verified) == b"\r\x1b[K" * 3


def test_nothing_is_shown_where_nobody_looks(from_tree: Origin, sqlite_url: str) -> None:
    words = ("import", *arguments(from_tree), "--apply")

    process = start(sqlite_url, VPOPSQL, *words, stderr=subprocess.PIPE)
    _, written = process.communicate(timeout=60)

    assert (process.returncode, written) == (0, b"")


# --- imports that are killed -------------------------------------------------------------------

Everything = tuple[list[site.Domain], site.Site, dict[str, str]]


def everything(url: str) -> Everything:
    """Return all that an import writes, without ids and without the time."""
    with closing(Database(url)) as database, database.reader() as session:
        names = session.scalars(select(DomainName.name).where(~DomainName.is_alias)).all()
        domains = sorted(stored.read_domains(session, names), key=lambda each: each.name)
        frame = site.Site(
            vpopmail_dir="",
            qmail_dir="",
            foreign_lines=stored.read_foreign_lines(session),
            ip_mappings=stored.read_ip_mappings(session),
            default_limits=stored.read_default_limits(session),
            counter=stored.read_site_counter(session),
        )
        settings = stored.read_settings(session)
    settings.pop("imported_at", None)
    return domains, frame, settings


@pytest.fixture(scope="session")
def uninterrupted(from_tree: Origin, tmp_path_factory: pytest.TempPathFactory) -> Everything:
    """What there is after an import that nobody has killed."""
    url = f"sqlite:///{tmp_path_factory.mktemp('uninterrupted')}/site.db"
    db.upgrade(url)

    done = run(url, "import", *arguments(from_tree), "--apply")

    assert done.exit_code == 0, done.output
    return everything(url)


@pytest.fixture
def import_and_die(from_tree: Origin, database_url: str) -> Callable[[str, int], Everything]:
    """A function that runs an import until it kills itself, and returns what is there then.

    :param place: ``before`` a batch, ``within`` its transaction, or ``finishing``.
    :param number: of the batch, from 1.
    """

    def until(place: str, number: int) -> Everything:
        words = ("import", *arguments(from_tree), "--apply", "--jobs", "1")
        process = start(database_url, DYING, place, str(number), *words, stderr=subprocess.DEVNULL)
        assert process.wait(60) == -signal.SIGKILL
        return everything(database_url)

    return until


def test_an_import_that_is_killed_again_and_again_comes_to_its_end(
    import_and_die: Callable[[str, int], Everything],
    from_tree: Origin,
    database_url: str,
    uninterrupted: Everything,
) -> None:
    whole = {domain.name.name: domain for domain in uninterrupted[0]}

    killed = [
        import_and_die("within", 1),
        import_and_die("before", 3),
        import_and_die("within", 4),
        import_and_die("finishing", 0),
    ]
    last = run(database_url, "import", *arguments(from_tree), "--apply")

    # Whole domains only, more of them each time, and the database knows that it is not the site.
    counts = [len(domains) for domains, _, _ in killed]
    assert counts[0] == 0
    assert 0 < counts[1] < counts[2] < counts[3] == DOMAINS
    assert all(whole[each.name.name] == each for domains, _, _ in killed for each in domains)
    assert all(UNFINISHED_IMPORT in settings for _, _, settings in killed)
    assert last.exit_code == 0, last.output
    assert everything(database_url) == uninterrupted


def test_after_a_kill_no_export_writes_a_part_of_the_site(
    import_and_die: Callable[[str, int], Everything], database_url: str, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    for directory in ("home/vpopmail/domains", "var/qmail/users", "var/qmail/control"):
        (root / directory).mkdir(parents=True)

    import_and_die("before", 2)
    done = CliRunner().invoke(
        cli,
        ["export", "apply"],
        env={"VPOPSQL_DATABASE_URL": database_url, "VPOPSQL_PATHS_ROOT": str(root)},
    )

    assert "an import has begun and not come to its end" in str(done.exception)
    assert {path.name for path in root.rglob("*") if path.is_file()} <= {"assign.lock"}
