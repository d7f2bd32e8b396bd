"""``vpopsql import tree`` as an administrator uses it, and what it leaves in the database."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import func, select

from tests import sites
from tests.importer import support
from vpopsql.cli import cli
from vpopsql.db import Database
from vpopsql.errors import ImportFailed, SchemaError
from vpopsql.importer import site
from vpopsql.importer.evidence import Evidence
from vpopsql.importer.states import State
from vpopsql.importer.writable import find_unwritable, find_unwritable_in_frame
from vpopsql.model import (
    Base,
    CatchAll,
    DomainName,
    Mailbox,
)

Unpack = Callable[[str], Path]


def run(database_url: str, root: Path, *options: str, clear: bool = True) -> Result:
    """Run the command on the tree below ``root``."""
    return CliRunner().invoke(
        cli,
        [
            "import",
            "tree",
            "--vpopmail",
            str(root / "home/vpopmail"),
            "--qmail",
            str(root / "var/qmail"),
            *options,
        ],
        env={
            "VPOPSQL_DATABASE_URL": database_url,
            "VPOPSQL_PASSWORDS_STORE_CLEAR_TEXT": str(clear).lower(),
        },
    )


def objects(result: Result) -> list[dict[str, Any]]:
    """Return the JSON objects that the command printed."""
    return [json.loads(line) for line in result.output.splitlines()]


def rows(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table."""
    with database.reader() as session:
        return {
            table.name: sorted((tuple(row) for row in session.execute(select(table))), key=repr)
            for table in Base.metadata.sorted_tables
        }


# --- the command ------------------------------------------------------------------------------


def test_a_sound_site_without_links_is_imported_without_a_warning(
    database_url: str, unpack: Unpack
) -> None:
    result = run(database_url, unpack("base"), "--apply")

    assert result.exit_code == 0, result.output
    assert "Imported: 5 domains with 13 mailboxes" in result.output
    assert "Every line is accounted for" in result.output


def test_warnings_make_the_exit_code_one(database_url: str, unpack: Unpack) -> None:
    result = run(database_url, unpack("small"), "--apply")

    assert result.exit_code == 1, result.output
    assert "Imported: 10 domains with 270 mailboxes" in result.output
    assert ".qmail-crew-link: -> /home/vpopmail/domains/catch.example/crew/digest" in result.output


def test_a_dry_run_changes_nothing(database: Database, database_url: str, unpack: Unpack) -> None:
    before = rows(database)

    result = run(database_url, unpack("small"))

    assert "Nothing was written, this is the plan" in result.output
    assert rows(database) == before


def test_a_second_import_finds_everything_equal(
    database: Database, database_url: str, unpack: Unpack
) -> None:
    root = unpack("small")
    run(database_url, root, "--apply")
    before = rows(database)

    result = run(database_url, root, "--apply", "--format", "json")

    parts = objects(result)[-1]["parts"]
    assert [part for part in parts.values() if sum(part.values()) != part["equal"]] == []
    assert parts["mailboxes"]["equal"] == 270
    assert rows(database) == before


def test_rejects_keep_everything_out_of_the_database(
    database: Database, database_url: str, unpack: Unpack
) -> None:
    root = unpack("base")
    append(root / "var/qmail/control/virtualdomains", b"no colon here\n")
    before = rows(database)

    result = run(database_url, root, "--apply")

    assert result.exit_code == 2
    assert f"{root}/var/qmail/control/virtualdomains:7: no colon here" in result.output
    assert "Nothing was written" in result.output
    assert rows(database) == before


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--nonsense"],
        ["nonsense"],
        ["tree"],
        ["tree", "--nonsense"],
        ["tree", "--vpopmail", "/a", "--qmail", "/b", "--format", "xml"],
    ],
)
def test_wrong_usage_is_no_reject(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli, ["import", *arguments])

    assert result.exit_code == 3, result.output


@pytest.mark.parametrize("arguments", [[], ["tree"]])
def test_the_help_tells_the_exit_codes(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli, ["import", *arguments, "--help"])

    assert result.exit_code == 0
    assert "2 with rejects (nothing is written), 3 could not run" in " ".join(
        result.output.split()
    )


def test_a_directory_that_is_not_there_is_said_by_name(database_url: str, tmp_path: Path) -> None:
    result = run(database_url, tmp_path)

    assert isinstance(result.exception, ImportFailed)
    assert str(tmp_path / "home/vpopmail") in str(result.exception)


def test_a_database_without_a_schema_is_refused(empty_database_url: str, unpack: Unpack) -> None:
    result = run(empty_database_url, unpack("base"))

    assert isinstance(result.exception, SchemaError)


def test_json_says_the_same_as_the_table(database_url: str, unpack: Unpack) -> None:
    first, *lines, summary = objects(run(database_url, unpack("small"), "--format", "json"))

    assert first["type"] == "plan"
    assert first["paths"] == {"vpopmail": "/home/vpopmail", "qmail": "/var/qmail"}
    assert summary["applied"] is False
    assert summary["lines_add_up"] is True
    assert summary["parts"]["domains"]["new"] == 10
    assert sum(summary["parts"]["domains"].values()) == 10
    assert summary["maildirs"] == 270
    codes = [line["code"] for line in lines if line["type"] == "finding"]
    assert codes == ["relayed", "link", "no-maildir"]
    assert {line["adds_up"] for line in lines if line["type"] == "source"} == {True}
    assert len([line for line in lines if line["type"] == "domain"]) == 10


def test_the_plan_can_be_kept_in_a_file(database_url: str, unpack: Unpack, tmp_path: Path) -> None:
    root = unpack("small")

    result = run(database_url, root, "--plan", str(tmp_path / "plan"))

    shown = run(database_url, root, "--format", "json")
    assert (tmp_path / "plan").read_text() == shown.output
    assert "Nothing was written, this is the plan" in result.output


def test_no_output_shows_a_password_or_a_hash(database_url: str, unpack: Unpack) -> None:
    root = unpack("base")
    vpasswd = root / "home/vpopmail/domains/example.com/vpasswd"
    append(
        vpasswd, b"alice:$6$again$hash:1:0:x:/home/vpopmail/domains/example.com/a:NOQUOTA:pw1\n"
    )
    append(vpasswd, b"broken:$6$broken$hash:one:0:x:/tmp:NOQUOTA:pw2\n$6$lonely$hash\n")
    append(
        vpasswd, b"bro\n$6$ken$hash:1:0:x:/tmp:NOQUOTA:pw3\n" + b"h" * 86 + b":1:0:x:/tmp::pw4\n"
    )

    table = run(database_url, root).output
    document = run(database_url, root, "--format", "json").output

    assert "broken:…" in table
    secrets = ["$6$", "pw1", "pw2", "pw3", "pw4", "hhh"]
    assert [secret for secret in secrets if secret in table + document] == []


def test_what_no_file_could_hold_is_rejected_though_its_reader_let_it_pass(
    unpack: Unpack,
) -> None:
    found, _ = support.read(unpack("base"))
    evidence = Evidence()
    domains = {domain.name.name: domain for domain in found.domains}
    good = domains["example.com"]
    bad = replace(
        good,
        directory="/home//x",
        catchall=CatchAll.ADDRESS,
        catchall_target="nobody",
        mailboxes=(good.mailboxes[0]._replace(password_hash="se:cret"),),
        files=(site.DotQmailFile("q\nr", ()),),
    )
    odd = replace(
        found,
        foreign_lines={"users/assign": (site.ForeignLine(1, "no assignment", ""),)},
        ip_mappings={"fe80::1%a": "a.org"},
    )

    assert find_unwritable(bad, "/home/vpopmail", evidence)
    find_unwritable_in_frame(odd, evidence)

    assert {str(finding.code) for finding in evidence.findings} == {"unwritable"}
    assert [finding.file for finding in evidence.findings] == [
        "users/assign",
        "/home//x/vpasswd",
        "/home//x/.qmail-q\nr",
        "/home//x/.qmail-default",
        "/var/qmail/users/assign",
        "/home/vpopmail/etc/ip_alias_map",
    ]
    assert "se:cret" not in str(evidence.findings)


# --- adding to what is there ------------------------------------------------------------------


def test_a_new_domain_is_added_next_to_equal_ones(database: Database, unpack: Unpack) -> None:
    root = unpack("base")
    sites.import_tree(database, root)
    add_domain(root, "later.example")

    plan = sites.import_tree(database, root)

    assert plan.domains(State.NEW) == ["later.example"]
    with database.reader() as session:
        assert not session.get_one(DomainName, "later.example").is_alias
        assert session.scalar(select(func.count()).select_from(Mailbox)) == 14


def test_a_domain_with_other_values_is_a_conflict_that_names_them(
    database: Database, unpack: Unpack
) -> None:
    root = unpack("base")
    sites.import_tree(database, root)
    vpasswd = root / "home/vpopmail/domains/example.com/vpasswd"
    vpasswd.write_bytes(vpasswd.read_bytes().replace(b":1:0:", b":2:0:", 1))

    plan = support.plan(database, root)

    (finding,) = [found for found in plan.evidence.findings if str(found.code) == "differs"]
    assert finding.text == "example.com"
    assert finding.reason == "to be as in the source: change mailbox al (apop_uid)"
    with pytest.raises(ImportFailed):
        sites.import_tree(database, root)


def test_a_name_that_another_domain_has_is_a_conflict(database: Database, unpack: Unpack) -> None:
    root = unpack("base")
    sites.import_tree(database, root)
    assign = root / "var/qmail/users/assign"
    lines = [line for line in assign.read_bytes().splitlines() if b"example-alias.org" not in line]
    assign.write_bytes(
        b"\n".join(lines).replace(
            b"+example.company-:example.company:", b"+example-alias.org-:example-alias.org:"
        )
        + b"\n"
    )

    found = support.plan(database, root).evidence.findings

    assert [finding.reason for finding in found if str(finding.code) == "taken"] == [
        "example-alias.org needs example-alias.org, which another domain has",
        "example-alias.org needs /home/vpopmail/domains/example.company, which another domain has",
    ]


# --- helpers ----------------------------------------------------------------------------------


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def add_domain(root: Path, name: str) -> None:
    """Add a domain with a postmaster, as vadddomain would."""
    home = f"/home/vpopmail/domains/{name}"
    directory = root / "home/vpopmail/domains" / name
    (directory / "postmaster").mkdir(parents=True)
    (directory / "vpasswd").write_text(f"postmaster:*:1:0:Postmaster:{home}/postmaster:NOQUOTA\n")
    assign = root / "var/qmail/users/assign"
    lines = assign.read_text().removesuffix(".\n")
    assign.write_text(f"{lines}+{name}-:{name}:89:89:{home}:-::\n.\n")
    append(root / "var/qmail/control/rcpthosts", f"{name}\n".encode())
    append(root / "var/qmail/control/virtualdomains", f"{name}:{name}\n".encode())
