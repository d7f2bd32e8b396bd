"""The chains of the audit log: what was altered, removed or put in is found."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, func, make_url, select, text
from sqlalchemy.pool import NullPool

from tests import factories
from tests.commands import run
from tests.prepared import require_server
from tests.views import make_viewed
from vpopsql import audit_chain, backup, db
from vpopsql.audit_chain import Head, Verified, parse_head
from vpopsql.db import Database
from vpopsql.model import AuditEntry
from vpopsql.services.changes import note, record, record_many
from vpopsql.services.rights import operator

ACTOR = operator("tests", "/home/vpopmail")
ODD: dict[str, tuple[Any, Any]] = {
    "comment": ('"\\/\b\f\n\r\t\x01\x7f', "caf\u00e9 \u2603 \U0001f4e7 \udce9"),
    "\u00e4": (None, -1),
    "flags": (2**40, True),
    "a": ([], {}),
    "b": ({"longer": 1, "z": [1, None, "x"], "\u00e9\u00e9": ""}, "lines\nof text"),
}


def write(database: Database, number: int = 1) -> None:
    """Make changes, each in its own transaction."""
    for each in range(number):
        with database.writer() as session:
            of = ("user", f"\udce4{each}@example.com")
            record(session, ACTOR, "mod_user", of, ODD, domain="example.com")


def verify(database: Database, expected: Head | None = None) -> Verified:
    with database.snapshot() as session:
        return audit_chain.verify(session, expected)


def forge(database: Database, *statements: str) -> None:
    """Do in SQL what the triggers are against."""
    url = make_url(database.url)
    guards = {
        "sqlite": ["DROP TRIGGER audit_log_no_update", "DROP TRIGGER audit_log_no_delete"],
        "postgresql": ["ALTER TABLE audit_log DISABLE TRIGGER audit_log_append_only"],
    }
    with database.writer(chains=False) as session:
        for statement in (*guards[url.get_backend_name()], *statements):
            session.execute(text(statement))


def findings(verified: Verified) -> list[tuple[int | None, str]]:
    return [(each.entry, each.what) for each in verified.findings]


@pytest.fixture
def logged(database: Database) -> Database:
    """A log of five changes."""
    write(database, 5)
    return database


# --- what is good -------------------------------------------------------------------------------


def test_what_was_written_is_good_whatever_it_says(logged: Database) -> None:
    verified = verify(logged)

    assert (verified.entries, verified.unchained, verified.findings) == (5, 0, ())
    assert verified.head.links == (5,)


def test_a_log_without_an_entry_is_good(database: Database) -> None:
    verified = verify(database, verify(database).head)

    assert (verified.entries, verified.found, str(verified.head)[:2]) == (0, 0, "0-")


def test_what_is_rolled_back_leaves_no_gap(logged: Database) -> None:
    with suppress(LookupError), logged.writer() as session:
        record(session, ACTOR, "mod_user", ("user", "a@b.org"), domain=None)
        raise LookupError

    write(logged)

    assert verify(logged).findings == ()
    assert verify(logged).head.links == (6,)


def test_many_entries_of_one_transaction_are_one_behind_the_other(database: Database) -> None:
    with database.writer() as session:
        several = [(("user", f"{number}@b.org"), ODD) for number in range(20)]
        record_many(session, ACTOR, "mod_user", several, domain=None)

    assert (verify(database).findings, verify(database).head.links) == ((), (20,))


def test_writers_at_once_neither_lose_an_entry_nor_fork_a_chain(database: Database) -> None:
    with ThreadPoolExecutor(6) as pool:
        pool.map(lambda _: write(database, 8), range(6))

    verified = verify(database)
    assert (verified.entries, verified.unchained, verified.findings) == (48, 0, ())
    assert sum(verified.head.links) == 48


@pytest.mark.parametrize("_backend", ["postgresql"], indirect=True)
def test_a_writer_does_not_wait_for_another_ones_commit(logged: Database) -> None:
    with logged.writer() as session:
        record(session, ACTOR, "mod_user", ("user", "a@b.org"), domain=None)
        session.execute(select(1))  # by now it is there
        write(logged, 2)

    verified = verify(logged)
    assert (verified.head.links, verified.findings) == ((6, 2), ())


def test_what_other_programs_write_in_sql_is_chained(database: Database) -> None:
    site = make_viewed(database)
    engine = create_engine(site.url, poolclass=NullPool)
    with engine.begin() as other:
        other.execute(text("UPDATE vpopmail SET pw_passwd = '$6$n$h' WHERE pw_name = 'alice'"))
    waiting = {True: 1, False: 0}[database.is_sqlite]
    assert verify(site).unchained == waiting

    write(site)

    verified = verify(site)
    assert (verified.entries, verified.unchained, verified.findings) == (2, 0, ())


@pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
def test_a_hash_is_written_once(logged: Database) -> None:
    with pytest.raises(Exception, match="append-only"), logged.writer() as session:
        session.execute(text("UPDATE audit_log SET hash = 'x' WHERE id = 2"))

    assert verify(logged).findings == ()


def test_a_backup_keeps_the_chain_on_either_database(
    logged: Database, empty_database_url: str, tmp_path: Path
) -> None:
    head = verify(logged).head
    there, path = f"sqlite:///{tmp_path}/there.db", tmp_path / "a.backup"
    backup.save(logged, path, lambda *_: None)
    backup.restore(there, path, lambda *_: None)
    first = Database(there)
    write(first)
    assert verify(first, head).findings == ()
    backup.save(first, path, lambda *_: None, overwrite=True)
    first.close()

    backup.restore(empty_database_url, path, lambda *_: None)

    back = Database(empty_database_url)
    write(back)
    verified = verify(back, head)
    back.close()
    assert (verified.entries, verified.unchained, verified.findings) == (7, 0, ())


def test_the_migration_chains_what_there_is(empty_database_url: str) -> None:
    db.upgrade(empty_database_url, "0012")
    old = Database(empty_database_url)
    many = """
        INSERT INTO audit_log (at, actor, channel, action, object_type, object, changes)
        SELECT '2026-01-02 03:04:05.678901', 'caf' || n, 'cli', 'mod_user', 'user', 'a@b.org',
            '{"comment": ["\\u00e9", "b"], "a": [1, null]}'
        FROM (WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 10001)
            SELECT n FROM t) x
        """
    is_sqlite = old.is_sqlite
    cast = many if is_sqlite else many.replace("678901'", "678901'::timestamptz")
    cast = cast if is_sqlite else cast.replace("null]}'", "null]}'::jsonb")
    with old.writer(chains=False) as session:
        session.connection().exec_driver_sql(cast)

    db.upgrade(empty_database_url)

    write(old)
    verified = verify(old)
    old.close()
    assert (verified.entries, verified.findings, verified.head.links) == (10002, (), (10002,))
    assert db.check(empty_database_url) == []


# --- what is found ------------------------------------------------------------------------------

ALTERED = "it does not fit its hash: it was altered, or the one before it was, hash and all"


@pytest.mark.parametrize("altered", ["at = now()", "changes = '{}'", "hash = 'x'"])
@pytest.mark.parametrize("_backend", ["postgresql"], indirect=True)
def test_an_entry_that_was_altered_on_postgresql_is_named(logged: Database, altered: str) -> None:
    forge(logged, f"UPDATE audit_log SET {altered} WHERE id = 3")

    assert findings(verify(logged))[0] == (3, ALTERED)


@pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "altered",
    [
        "actor = 'nobody'",
        "actor_ip = '192.0.2.1'",
        "action = 'add_user'",
        "object = 'x'",
        "object_type = 'domain'",
        "channel = 'sql'",
        "request_id = 'x'",
        "at = '2026-01-02 03:04:05.000000'",
        "changes = '{}'",
        "hash = 'x'",
    ],
)
def test_an_entry_that_was_altered_is_named(logged: Database, altered: str) -> None:
    forge(logged, f"UPDATE audit_log SET {altered} WHERE id = 3")

    assert findings(verify(logged))[0] == (3, ALTERED)


@pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize("altered", ["changes = 'no JSON'", "at = 'never'", "at = NULL"])
def test_an_entry_that_cannot_even_be_read_is_named(database: Database, altered: str) -> None:
    write(database, 3)
    forge(
        database,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_schema SET sql = replace(sql, 'at DATETIME NOT NULL', 'at DATETIME')"
        " WHERE name = 'audit_log'",
    )
    reopened = Database(database.url)
    with reopened.writer(chains=False) as session:
        session.execute(text(f"UPDATE audit_log SET {altered} WHERE id = 2"))

    assert findings(verify(reopened)) == [(2, ALTERED)]
    reopened.close()


def test_an_entry_that_was_removed_is_found_where_it_was(logged: Database) -> None:
    forge(logged, "DELETE FROM audit_log WHERE id IN (2, 3)")

    assert findings(verify(logged)) == [(4, "removed between place 1 of chain 1 and this one: 2")]


def test_the_first_entry_is_missed_too(logged: Database) -> None:
    forge(logged, "DELETE FROM audit_log WHERE id = 1")

    assert findings(verify(logged)) == [
        (2, "removed between the begin of chain 1 and this one: 1")
    ]


def test_an_entry_that_lost_its_place_is_found(logged: Database) -> None:
    forge(logged, "UPDATE audit_log SET chain = NULL WHERE id = 5")

    assert findings(verify(logged)) == [(5, "its place in its chain was taken from it")]


def test_a_log_that_was_cut_off_is_told_by_the_head_alone(logged: Database) -> None:
    head = verify(logged).head
    forge(logged, "DELETE FROM audit_log WHERE id > 3")

    assert verify(logged).findings == ()
    (finding,) = verify(logged, head).findings
    assert (finding.link, finding.what) == (
        5,
        "the expected head has it, and it was removed",
    )


def test_a_log_that_was_written_anew_is_told_by_the_head_alone(logged: Database) -> None:
    head = verify(logged).head
    forge(logged, "DELETE FROM audit_log WHERE id > 2")
    write(logged, 5)

    assert verify(logged).findings == ()
    assert findings(verify(logged, head)) == [
        (None, "the hashes are others than those of the expected head")
    ]


def test_a_head_holds_however_far_the_log_goes_on(logged: Database) -> None:
    head = verify(logged).head
    write(logged, 3)

    assert verify(logged, parse_head(f" {head}\n")).findings == ()
    assert verify(logged).head != head


@pytest.mark.parametrize("said", ["", "5", "5-abc", "5-" + "g" * 64, "-" + "0" * 64])
def test_what_is_no_head_is_refused(said: str) -> None:
    with pytest.raises(ValueError, match="no head of the audit log"):
        parse_head(said)


# --- the command --------------------------------------------------------------------------------

Verify = Callable[..., tuple[int, str]]


@pytest.fixture
def vpopsql(capsys: pytest.CaptureFixture[str], database_url: str, tmp_path: Path) -> Verify:
    def command(*arguments: str) -> tuple[int, str]:
        environ = {"VPOPSQL_DATABASE_URL": database_url, "VPOPSQL_PATHS_ROOT": str(tmp_path)}
        done = run(capsys, "audit", "verify", *arguments, **environ)
        return done.returncode, done.stdout + done.stderr

    return command


@pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
def test_the_command_tells_cron_by_its_exit_code(logged: Database, vpopsql: Verify) -> None:
    code, said = vpopsql()
    head = said.splitlines()[-1].removeprefix("head: ")
    assert (code, said.splitlines()[0]) == (0, "5 entries, 0 not as they were written")
    assert vpopsql("--expect", head)[0] == 0
    assert vpopsql("--expect", "5")[0] == 2
    forge(
        logged,
        "UPDATE audit_log SET actor = 'x' WHERE id = 2",
        "DELETE FROM audit_log WHERE id = 5",
    )

    code, said = vpopsql()
    assert (code, said.splitlines()[0]) == (1, f"entry 2 (chain 1, place 2): {ALTERED}")
    code, said = vpopsql("--expect", head, "--format", "json")

    told = json.loads(said)
    assert (code, told["entries"], told["found"]) == (1, 4, 2)
    assert [each["link"] for each in told["findings"]] == [2, 5]


def test_the_importer_and_models_rows_are_chained_as_well(database: Database) -> None:
    with database.writer() as session:
        factories.domain(session)
        session.add(
            AuditEntry(
                actor="import",
                channel="import",
                action="import",
                object_type="domain",
                object="example.com",
                changes={},
            )
        )

    with database.reader() as session:
        chained = select(func.count()).where(AuditEntry.hash.is_not(None))
        assert session.scalar(chained) == 1


def test_the_end_of_the_chain_is_found_by_its_index_however_short_the_log_was(
    database: Database,
) -> None:
    """A session goes on with a plan from when the log was empty."""
    with require_server(database).writer() as session:
        session.execute(text("ANALYZE audit_log"))
        for number in range(12):
            note(session, ACTOR, "test", ("user", f"{number}@example.com"))
        session.flush()
        read_whole = text("SELECT pg_stat_get_xact_numscans('audit_log'::regclass)")
        assert session.scalar(read_whole) == 0
