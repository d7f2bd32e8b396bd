"""vpasswd.cdb missing, damaged, stale or newer than vpasswd: each difference is said."""

import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.importer import support
from tests.importer.damage import (
    DOMAIN,
    HOME,
    VPASSWD,
    Unpack,
    insert_second,
    mailboxes,
    user_line,
)
from vpopsql.cli import cli
from vpopsql.importer.backend import Choices, Prefer
from vpopsql.importer.codes import Code
from vpopsql.importer.evidence import Evidence
from vpopsql.qmail import cdb, vpasswd
from vpopsql.qmail.lines import decode

CDB = f"{VPASSWD}.cdb"
PREFER_CDB = Choices(store_clear_text=True, prefer=Prefer.CDB)
OLDER = "is older than vpasswd"


def compile_cdb(root: Path, lines: Iterable[bytes]) -> None:
    """Make the cdb of the domain, an hour older than its text."""
    (root / CDB).write_bytes(vpasswd.compile_cdb(decode(line) for line in lines))
    made = (root / VPASSWD).stat().st_mtime - 3600
    os.utime(root / CDB, (made, made))


def lines_of(root: Path) -> list[bytes]:
    return (root / VPASSWD).read_bytes().splitlines()


def said(root: Path, evidence: Evidence) -> list[tuple[str, str, str, str]]:
    """Return code, place below the domain, text and reason of each finding."""
    return [
        (str(each.code), each.place.removeprefix(f"{root}/{DOMAIN}/"), each.text, each.reason)
        for each in evidence.findings
    ]


def counts(evidence: Evidence, place: Path) -> tuple[int, ...]:
    """Return lines, imported, merged, foreign and rejected of a file."""
    (tally,) = [tally for tally in evidence.tallies if tally.place == str(place)]
    return (tally.lines, tally.imported, tally.merged, tally.foreign, tally.rejected)


def replaced(lines: list[bytes], old: bytes, new: bytes) -> list[bytes]:
    return [line.replace(old, new) for line in lines]


# --- whole files ------------------------------------------------------------------------------


def test_a_cdb_that_is_its_text_s_is_counted_and_nothing_said(unpack: Unpack) -> None:
    root = unpack("base")

    _, evidence = support.read(root)

    assert evidence.findings == []
    assert counts(evidence, root / CDB) == (8, 0, 8, 0, 0)
    assert counts(evidence, root / VPASSWD) == (8, 8, 0, 0, 0)


def test_a_missing_cdb_is_said_and_the_text_imported(unpack: Unpack) -> None:
    root = unpack("base")
    before, _ = support.read(root)
    (root / CDB).unlink()

    found, evidence = support.read(root)

    assert found == before
    reason = "vpopmail looks accounts up in it: no line of vpasswd is in force"
    assert said(root, evidence) == [("cdb-missing", "vpasswd.cdb", "", reason)]


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "it is empty"),
        (b"no cdb", "cdb damaged at offset 0: it ends too early"),
        (b"\0" * 2100, "cdb damaged at offset 0: the table is outside"),
        (cdb.make([]), "it has no record"),
        (cdb.make([(b"al", b"x")])[:-16] + bytes(16), "cdb damaged at offset 2048: its tables"),
    ],
)
@pytest.mark.parametrize("prefer", Prefer)
def test_a_damaged_cdb_is_said_and_the_text_imported_whichever_is_preferred(
    unpack: Unpack, content: bytes, reason: str, prefer: Prefer
) -> None:
    root = unpack("base")
    before, _ = support.read(root)
    (root / CDB).write_bytes(content)

    found, evidence = support.read(root, Choices(store_clear_text=True, prefer=prefer))

    assert found == before
    (finding,) = evidence.findings
    assert (finding.code, finding.file) == (Code.CDB_DAMAGED, str(root / CDB))
    assert finding.reason.startswith(reason)
    assert finding.reason.endswith("; the accounts are those of vpasswd")


def test_a_missing_vpasswd_is_read_from_its_cdb(unpack: Unpack) -> None:
    root = unpack("base")
    before, _ = support.read(root)
    (root / VPASSWD).unlink()

    found, evidence = support.read(root)

    assert found == before
    reason = "vpasswd is missing; the accounts are from its cdb"
    assert said(root, evidence) == [("cdb-only", "vpasswd.cdb", "", reason)]
    assert counts(evidence, root / CDB) == (8, 8, 0, 0, 0)


def test_an_empty_vpasswd_is_read_from_its_cdb(unpack: Unpack) -> None:
    root = unpack("base")
    before, _ = support.read(root)
    (root / VPASSWD).write_bytes(b"")

    found, evidence = support.read(root)

    assert found == before
    reason = "vpasswd is empty; the accounts are from its cdb"
    assert said(root, evidence) == [("cdb-only", "vpasswd", "", reason)]


def test_a_domain_without_accounts_has_two_empty_files(unpack: Unpack) -> None:
    root = unpack("base")
    (root / VPASSWD).write_bytes(b"")
    (root / CDB).write_bytes(cdb.make([]))

    found, evidence = support.read(root)

    assert mailboxes(found) == {}
    assert [finding.code for finding in evidence.findings if finding.file == str(root / CDB)] == []


@pytest.mark.parametrize("content", [b"", b"no cdb"])
def test_a_damaged_cdb_in_place_of_vpasswd_is_a_reject(unpack: Unpack, content: bytes) -> None:
    root = unpack("base")
    (root / VPASSWD).unlink()
    (root / CDB).write_bytes(content)

    assert [found.file for found in support.findings(root, "malformed")] == [str(root / CDB)]


def test_a_domain_without_any_password_file_is_a_reject(unpack: Unpack) -> None:
    root = unpack("base")
    (root / VPASSWD).unlink()
    (root / CDB).unlink()

    assert [found.file for found in support.findings(root, "missing")] == [str(root / VPASSWD)]


# --- rows -------------------------------------------------------------------------------------


def damage(root: Path) -> None:
    """Let the cdb have another alice, no bob, and an erin that the text has not."""
    lines = lines_of(root)
    changed = replaced(lines, b"Alice Example", b"Alice Other")
    alice = next(at for at, line in enumerate(changed) if line.startswith(b"alice:"))
    changed[alice] = changed[alice].replace(b":$6$", b":$1$", 1)
    kept = [line for line in changed if not line.startswith(b"bob:")]
    compile_cdb(root, [*kept, user_line(b"erin", HOME + b"/alice2").rstrip()])


def test_of_two_lists_that_differ_the_text_counts(unpack: Unpack) -> None:
    root = unpack("base")
    before, _ = support.read(root)
    damage(root)

    found, evidence = support.read(root)

    assert found == before
    assert said(root, evidence) == [
        (
            "cdb-differs",
            "vpasswd:2",
            "alice:…",
            f"vpasswd.cdb has another hash, comment, and {OLDER}; vpasswd counts",
        ),
        (
            "in-cdb-only",
            "vpasswd.cdb",
            "erin:…",
            f"vpasswd has no line for it; the cdb {OLDER}; left out",
        ),
        (
            "not-in-cdb",
            "vpasswd:3",
            "bob:…",
            f"vpasswd.cdb has no record of it, and {OLDER}; imported",
        ),
    ]
    assert counts(evidence, root / VPASSWD) == (8, 8, 0, 0, 0)
    assert counts(evidence, root / CDB) == (8, 0, 8, 0, 0)


def test_of_two_lists_that_differ_the_cdb_counts_if_it_is_preferred(unpack: Unpack) -> None:
    root = unpack("base")
    before, _ = support.read(root)
    damage(root)

    found, evidence = support.read(root, PREFER_CDB)

    was, now = mailboxes(before), mailboxes(found)
    assert now.keys() == was.keys() - {"bob"} | {"erin"}
    assert {name for name in was.keys() & now if was[name] != now[name]} == {"alice"}
    assert now["alice"].comment == "Alice Other"
    assert now["alice"].password_hash.startswith("$1$")
    assert said(root, evidence)[:3] == [
        (
            "cdb-differs",
            "vpasswd:2",
            "alice:…",
            f"vpasswd.cdb has another hash, comment, and {OLDER}; vpasswd.cdb counts",
        ),
        (
            "in-cdb-only",
            "vpasswd",
            "erin:…",
            f"vpasswd has no line for it; the cdb {OLDER}; imported from vpasswd.cdb",
        ),
        (
            "not-in-cdb",
            "vpasswd:3",
            "bob:…",
            f"vpasswd.cdb has no record of it, and {OLDER}; left out",
        ),
    ]
    assert counts(evidence, root / VPASSWD) == (8, 6, 2, 0, 0)
    assert counts(evidence, root / CDB) == (8, 2, 6, 0, 0)


def test_a_cdb_that_is_newer_is_said_to_be(unpack: Unpack) -> None:
    root = unpack("base")
    damage(root)
    os.utime(root / CDB)

    reasons = [finding.reason for finding in support.read(root)[1].findings]

    assert [reason for reason in reasons if "is not older than vpasswd" not in reason] == []


@pytest.mark.parametrize(
    "old, new, what",
    [
        (b":1:0:", b":2:0:", "uid"),
        (b":1:0:", b":1:2:", "gid"),
        (b":10000000S,100C:", b":5M:", "quota"),
        (b"com/carol", b"com/lorac", "directory"),
        (b":carolpw", b":other", "clear password"),
        (b":carolpw", b"", "clear password"),
        (b":1:0:", b":01:0:", "spelling"),
    ],
)
def test_what_differs_is_named_and_no_secret_shown(
    unpack: Unpack, old: bytes, new: bytes, what: str
) -> None:
    root = unpack("base")
    lines = lines_of(root)
    lines[3] = lines[3].replace(old, new)
    compile_cdb(root, lines)

    _, evidence = support.read(root)

    (finding,) = evidence.findings
    assert finding.place == f"{root}/{VPASSWD}:4"
    reason = f"vpasswd.cdb has another {what}, and {OLDER}; vpasswd counts"
    assert (finding.text, finding.reason) == ("carol:…", reason)


@pytest.mark.parametrize("prefer", Prefer)
def test_a_good_record_for_a_damaged_line_is_said_and_taken_if_preferred(
    unpack: Unpack, prefer: Prefer
) -> None:
    root = unpack("base")
    before, _ = support.read(root)
    path = root / VPASSWD
    path.write_bytes(path.read_bytes().replace(b":1:4096:dadmin:", b":one:4096:dadmin:"))

    found, evidence = support.read(root, Choices(store_clear_text=True, prefer=prefer))

    expected = {
        Prefer.VPASSWD: ("--prefer cdb imports that", (8, 7, 0, 0, 1), {"dadmin"}),
        Prefer.CDB: ("imported from there", (8, 7, 1, 0, 0), set[str]()),
    }
    what, lines, lost = expected[prefer]
    (differs,) = [each for each in evidence.findings if each.code is Code.CDB_DIFFERS]
    assert differs.place == f"{path}:5"
    assert differs.reason.startswith("the line is no account, the record in vpasswd.cdb is one")
    assert differs.reason.endswith(what)
    assert counts(evidence, path) == lines
    assert mailboxes(before).keys() - mailboxes(found).keys() == lost


def test_a_record_that_is_no_account_is_not_preferred_to_a_line_that_is_one(
    unpack: Unpack,
) -> None:
    root = unpack("base")
    before, _ = support.read(root)
    compile_cdb(root, replaced(lines_of(root), b":1:4096:dadmin:", b":one:4096:dadmin:"))

    found, evidence = support.read(root, PREFER_CDB)

    assert found == before
    reason = "the record in vpasswd.cdb is no account: its uid or gid is no number"
    assert said(root, evidence) == [("cdb-differs", "vpasswd:5", "dadmin:…", reason)]


def test_of_two_records_of_a_name_the_first_counts_as_readers_find_it(unpack: Unpack) -> None:
    root = unpack("base")
    compile_cdb(root, [*lines_of(root), b"alice:*:1:0:second:" + HOME + b"/alice:"])

    found, evidence = support.read(root, PREFER_CDB)

    assert mailboxes(found)["alice"].comment == "Alice Example"
    reason = "an earlier record has this name, and is the one that is found"
    assert said(root, evidence) == [("duplicate", "vpasswd.cdb", "alice:…", reason)]


def test_of_two_records_without_a_text_the_first_counts_too(unpack: Unpack) -> None:
    root = unpack("base")
    compile_cdb(root, [*lines_of(root), b"alice:*:1:0:second:" + HOME + b"/alice:"])
    (root / VPASSWD).unlink()

    found, evidence = support.read(root)

    assert mailboxes(found)["alice"].comment == "Alice Example"
    assert [str(each.code) for each in evidence.findings] == ["cdb-only", "duplicate"]
    assert counts(evidence, root / CDB) == (9, 8, 1, 0, 0)


def test_a_line_that_comes_twice_is_replaced_once(unpack: Unpack) -> None:
    root = unpack("base")
    damage(root)
    (root / VPASSWD).write_bytes(
        (root / VPASSWD).read_bytes() + b"alice:*:1:0:second:" + HOME + b"/alice:NOQUOTA:\n"
    )

    found, evidence = support.read(root, PREFER_CDB)

    assert mailboxes(found)["alice"].comment == "Alice Other"
    duplicate = [each for each in evidence.findings if each.code is Code.DUPLICATE]
    assert [(each.place, each.reason) for each in duplicate] == [
        (f"{root}/{VPASSWD}:9", "line 2 has it already; vpasswd.cdb decides")
    ]
    assert counts(evidence, root / VPASSWD) == (9, 6, 3, 0, 0)


def test_a_record_whose_name_a_line_has_in_lower_case_is_the_second(unpack: Unpack) -> None:
    root = unpack("base")
    compile_cdb(root, [*lines_of(root), user_line(b"Alice").rstrip()])

    _, evidence = support.read(root, PREFER_CDB)

    (same,) = [each for each in evidence.findings if each.code is Code.SAME_USER]
    assert same.place == f"{root}/{CDB}:9"
    assert same.reason == "vpasswd has this user already as alice, which is the same to vpopmail"


def test_the_end_of_line_of_other_systems_makes_no_difference(unpack: Unpack) -> None:
    root = unpack("base")
    path = root / VPASSWD
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))

    _, evidence = support.read(root)

    assert [str(finding.code) for finding in evidence.findings] == ["carriage-returns"]


# --- the way to the database and back ---------------------------------------------------------


def run(database_url: str, *arguments: str) -> Result:
    environment = {
        "VPOPSQL_DATABASE_URL": database_url,
        "VPOPSQL_PASSWORDS_STORE_CLEAR_TEXT": "true",
    }
    return CliRunner().invoke(cli, ["import", *arguments], env=environment)


@pytest.mark.parametrize("prefer", Prefer)
def test_what_was_imported_is_verified_whichever_was_preferred(
    database_url: str, unpack: Unpack, prefer: Prefer
) -> None:
    root = unpack("base")
    damage(root)
    insert_second(root / VPASSWD, user_line(b"later"))
    places = ("--vpopmail", f"{root}/home/vpopmail", "--qmail", f"{root}/var/qmail")

    applied = run(database_url, "tree", *places, "--prefer", prefer.value, "--apply")
    verified = run(database_url, "verify")

    assert applied.exit_code == 1, applied.output
    assert verified.exit_code == 0, verified.output
    assert "Nothing differs that is not explained" in verified.output
