"""A site saved in a file and restored into another database, of its kind and of the other one."""

import errno
import json
import os
import random
import signal
import stat
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import func, select

from tests import factories, sites
from tests.exporter.conftest import files_below
from vpopsql import backup, db
from vpopsql.cli import cli
from vpopsql.config import Config, Paths
from vpopsql.db import Database
from vpopsql.errors import BackupFailed
from vpopsql.exporter.apply import apply
from vpopsql.model import AuditEntry, Base, DomainNameCount, Mailbox, MailboxUsage, UsageSource

OLDER = "0007"
ADDED_SINCE = {"login_counts"}
"""Tables; else there are only views and indexes that `OLDER` does not have."""
WHEN = factories.at(2026, 3, 4, 5, 6, 7)


def quiet(*_: int) -> None:
    """Show nothing."""


@pytest.fixture
def saved(database: Database, unpack: Callable[[str], Path], tmp_path: Path) -> Path:
    """A backup of the small tree, with rows of what only a site at work has."""
    sites.import_tree(database, unpack("small"))
    with database.writer() as session:
        domain = factories.domain(session, "odd.example", "odder.example")
        box = factories.mailbox(session, domain, "odd", comment="caf\udce9 \0 \U0010f8ff")
        factories.last_auth(session, box, WHEN, "2001:db8::1", "imap")
        factories.ip_mapping(session, "192.0.2.9", domain)
        session.add(
            MailboxUsage(
                mailbox_id=box.id,
                measured_at=WHEN,
                bytes=2**40,
                messages=3,
                source=UsageSource.COUNT,
            )
        )
        session.add(
            AuditEntry(
                at=WHEN,
                actor="\u00e9",
                channel="cli",
                action="add",
                object_type="user",
                object="odd@odd.example",
                changes={"comment": [None, "\u2603"]},
            )
        )
    path = tmp_path / "site.backup"
    backup.save(database, path, quiet)
    return path


@pytest.fixture(params=["the same", "sqlite"])
def other_url(request: pytest.FixtureRequest, empty_database_url: str, tmp_path: Path) -> str:
    """A database without a schema; of the kind of `database`, or a SQLite file yet to be made."""
    return empty_database_url if request.param == "the same" else new_sqlite(tmp_path)


def new_sqlite(directory: Path) -> str:
    return f"sqlite:///{directory}/made/other.db"


def contents(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables, as the model has them."""
    with closing(Database(url)) as database, database.snapshot() as session:
        return {
            table.name: [
                tuple(row)
                for row in session.execute(select(table).order_by(*table.primary_key.columns))
            ]
            for table in Base.metadata.sorted_tables
            # Numbered by triggers as rows come.
            if table is not DomainNameCount.__table__
        }


def test_every_row_comes_back(saved: Path, database_url: str, other_url: str) -> None:
    manifest = backup.restore(other_url, saved, quiet)

    before = contents(database_url)
    assert contents(other_url) == before
    assert {name for name, rows in before.items() if rows} >= {"mailbox_usage", "audit_log"}
    # The schema brings the one along, triggers fill the other.
    others = len(before["schema_guard"]) + len(before["latest_usage"])
    assert manifest.rows == sum(map(len, before.values())) - others
    assert len(before["latest_usage"]) == 1
    assert db.check(other_url) == []


def test_what_is_on_sqlite_goes_to_postgresql(
    saved: Path, database_url: str, empty_database_url: str, tmp_path: Path
) -> None:
    there, back = new_sqlite(tmp_path), tmp_path / "back.backup"
    backup.restore(there, saved, quiet)
    with closing(Database(there)) as database:
        backup.save(database, back, quiet)

    backup.restore(empty_database_url, back, quiet)

    assert contents(empty_database_url) == contents(database_url)
    assert digests(back) == digests(saved)


def digests(path: Path) -> list[backup.StoredTable]:
    return backup.check(path).tables


def test_new_rows_get_new_keys(saved: Path, other_url: str) -> None:
    backup.restore(other_url, saved, quiet)

    with closing(Database(other_url)) as database, database.writer() as session:
        last = session.scalar(select(func.max(Mailbox.id))) or 0
        box = factories.mailbox(session, factories.domain(session, "new.example"), "new")
        session.flush()
        assert box.id == last + 1


def test_a_site_is_made_again_on_an_empty_host(
    database: Database, unpack: Callable[[str], Path], other_url: str, tmp_path: Path
) -> None:
    sites.import_tree(database, unpack("small"))
    first, second = tmp_path / "first", tmp_path / "second"
    for root in (first, second):
        (root / "home/vpopmail").mkdir(parents=True)
        (root / "var/qmail").mkdir(parents=True)
    apply(database, Config(paths=Paths(root=str(first))))
    path = tmp_path / "site.backup"
    backup.save(database, path, quiet)

    backup.restore(other_url, path, quiet)
    with closing(Database(other_url)) as other:
        apply(other, Config(paths=Paths(root=str(second))))

    assert len(files_below(first)) > 30
    assert files_below(second) == files_below(first)


def test_others_write_while_it_is_saved(database: Database, tmp_path: Path) -> None:
    with database.writer() as session:
        domain = factories.domain(session)
    added: list[Mailbox] = []

    def meanwhile(*_: int) -> None:
        with database.writer() as session:
            added.append(factories.mailbox(session, domain, f"m{len(added)}"))

    manifest = backup.save(database, tmp_path / "one.backup", meanwhile)

    assert added
    assert {t.name: t.rows for t in manifest.tables}["mailboxes"] == 0


def test_only_the_owner_can_read_it(sqlite_backup: Path) -> None:
    assert stat.S_IMODE(sqlite_backup.stat().st_mode) == 0o600


def test_a_file_that_is_there_is_kept(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "site.backup"
    path.write_text("mine")

    with pytest.raises(BackupFailed, match="there is such a file already"):
        backup.save(database, path, quiet)
    assert path.read_text() == "mine"

    backup.save(database, path, quiet, overwrite=True)
    backup.check(path)
    assert [each.name for each in tmp_path.glob("*site.backup*")] == [path.name]


def test_what_fails_leaves_no_file(database: Database, tmp_path: Path) -> None:
    with database.writer() as session:
        factories.domain(session)

    def fail(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left")

    with pytest.raises(BackupFailed, match=r"site\.backup: cannot be written: No space left"):
        backup.save(database, tmp_path / "site.backup", fail)
    assert not [*tmp_path.glob("*site.backup*")]


def test_damage_is_found(sqlite_backup: Path, tmp_path: Path) -> None:
    for seed in range(60):
        with pytest.raises(BackupFailed, match=r"damaged|no backup"):
            backup.check(damaged(sqlite_backup, tmp_path, seed))


@pytest.mark.parametrize("seed", range(4))
def test_what_is_damaged_is_not_restored(seed: int, sqlite_backup: Path, tmp_path: Path) -> None:
    path, url = damaged(sqlite_backup, tmp_path, seed), new_sqlite(tmp_path)

    with pytest.raises(BackupFailed, match=r"damaged|no backup"):
        backup.restore(url, path, quiet)

    if db.exists(url):
        assert not contents(url)["domains"]
        backup.restore(url, sqlite_backup, quiet)


def damaged(sqlite_backup: Path, directory: Path, seed: int) -> Path:
    """Return a copy that is cut off, or has another bit somewhere."""
    chance = random.Random(seed)
    data = bytearray(sqlite_backup.read_bytes())
    path = directory / "damaged.backup"
    if seed % 2:
        # Not a byte that says when a member was written, which nobody asks for.
        with zipfile.ZipFile(sqlite_backup) as archive:
            member = chance.choice([m for m in archive.infolist() if m.compress_size > 20])
        start = member.header_offset + 30 + len(member.filename) + 20
        data[chance.randrange(start, start + member.compress_size - 20)] ^= 1 << seed % 8
        path.write_bytes(data)
    else:
        path.write_bytes(data[: chance.randrange(len(data))])
    return path


@pytest.fixture(scope="module")
def sqlite_backup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of a few rows."""
    directory = tmp_path_factory.mktemp("sqlite")
    url = new_sqlite(directory)
    db.upgrade(url)
    path = directory / "few.backup"
    with closing(Database(url)) as database:
        with database.writer() as session:
            for number in range(50):
                domain = factories.domain(session, f"d{number}.example")
                factories.mailbox(session, domain, f"user{number}", created_at=WHEN)
        backup.save(database, path, quiet)
    return path


def test_rows_that_were_changed_with_their_crc_are_found(
    sqlite_backup: Path, tmp_path: Path
) -> None:
    def double(table: str) -> str:
        return table + table.splitlines()[-1] + "\n"

    path = altered(sqlite_backup, tmp_path, "tables/mailboxes.jsonl", double)

    with pytest.raises(BackupFailed, match=r"mailboxes.jsonl is damaged: it has 51 rows of 50"):
        backup.check(path)


def altered(path: Path, directory: Path, member: str, alter: Callable[[str], str]) -> Path:
    """Return a copy of a backup in which one member is another."""
    copy = directory / "altered.backup"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w") as new:
        for each in old.namelist():
            text = old.read(each).decode()
            new.writestr(each, alter(text) if each == member else text)
    return copy


def with_manifest(path: Path, directory: Path, **values: object) -> Path:
    def alter(manifest: str) -> str:
        return json.dumps(json.loads(manifest) | values)

    return altered(path, directory, backup.MANIFEST, alter)


def test_one_of_an_older_schema_is_brought_up_to_date(sqlite_backup: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(sqlite_backup) as saved:
        tables = json.loads(saved.read(backup.MANIFEST))["tables"]
    known = [table for table in tables if table["name"] not in ADDED_SINCE]
    older = with_manifest(sqlite_backup, tmp_path, schema=OLDER, tables=known)
    url = new_sqlite(tmp_path)

    backup.restore(url, older, quiet)

    assert db.current(url) == db.revisions()[-1] > OLDER
    assert db.check(url) == []
    assert len(contents(url)["mailboxes"]) == 50


@pytest.mark.parametrize(
    "values, said",
    [
        ({"schema": "9999"}, "with schema 9999, which this one .* does not know"),
        ({"format": 2}, "a backup of format 2, this vpopsql reads 1"),
        ({"tables": [{"name": "x"}]}, "no backup of vpopsql"),
        ({"tables": 3}, "no backup of vpopsql"),
        (
            {"tables": [{"name": "schema_guard", "columns": {}, "rows": 0, "sha256": ""}]},
            "schema_guard",
        ),
        (
            {"tables": [{"name": "x", "columns": {"id": "list"}, "rows": 0, "sha256": ""}]},
            "unknown kinds",
        ),
    ],
)
def test_what_this_code_does_not_know_is_refused(
    values: dict[str, Any], said: str, sqlite_backup: Path, tmp_path: Path
) -> None:
    path = with_manifest(sqlite_backup, tmp_path, **values)

    with pytest.raises(BackupFailed, match=said):
        backup.restore(new_sqlite(tmp_path), path, quiet)


def test_a_database_with_rows_stays_as_it_is(
    database: Database, database_url: str, sqlite_backup: Path
) -> None:
    with database.writer() as session:
        factories.domain(session)
    before = contents(database_url)

    with pytest.raises(BackupFailed, match="not empty: domains has rows"):
        backup.restore(database_url, sqlite_backup, quiet)

    assert contents(database_url) == before


def test_a_restore_that_is_killed_leaves_an_empty_database(
    sqlite_backup: Path, empty_database_url: str
) -> None:
    child = os.fork()
    if not child:
        backup.restore(empty_database_url, sqlite_backup, die_late)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL

    backup.restore(empty_database_url, sqlite_backup, quiet)

    assert len(contents(empty_database_url)["mailboxes"]) == 50


def die_late(table: int, tables: int, _rows: int) -> None:
    if table > tables // 2:
        os.kill(os.getpid(), signal.SIGKILL)


def test_the_commands(sqlite_backup: Path, tmp_path: Path) -> None:
    url, path = new_sqlite(tmp_path), tmp_path / "again.backup"

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner(env={"VPOPSQL_DATABASE_URL": url}).invoke(cli, arguments)
        return result.exit_code, result.output

    rows = backup.check(sqlite_backup).rows
    assert run("restore", str(sqlite_backup))[1].startswith(
        f"{sqlite_backup}: restored: {rows} rows of"
    )
    code, output = run("backup", str(path))
    assert (code, output.count("\n")) == (0, 1)
    assert f"saved: {rows} rows of" in output
    assert "is as it was saved" in run("backup", "--check", str(path))[1]
    assert isinstance(
        CliRunner(env={"VPOPSQL_DATABASE_URL": url}).invoke(cli, ["restore", str(path)]).exception,
        BackupFailed,
    )
