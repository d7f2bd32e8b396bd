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
from vpopsql.config import Paths
from vpopsql.db import Database
from vpopsql.directory import plain_path
from vpopsql.errors import ImportFailed, SchemaError
from vpopsql.exporter import render
from vpopsql.exporter.snapshot import take
from vpopsql.importer import site, stored
from vpopsql.importer.backend import Choices
from vpopsql.importer.evidence import Evidence
from vpopsql.importer.states import State
from vpopsql.importer.writable import find_unwritable, find_unwritable_in_frame
from vpopsql.model import (
    AuditEntry,
    Base,
    CatchAll,
    DirCounter,
    DomainName,
    DotQmailFile,
    DotQmailLine,
    ForeignLine,
    LastAuth,
    Mailbox,
    Revision,
    SiteSetting,
)
from vpopsql.qmail.lines import encode

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


# --- what is in the database ------------------------------------------------------------------


def test_foreign_lines_are_kept_with_their_place(database: Database, unpack: Unpack) -> None:
    root = unpack("small")
    hosts = root / "var/qmail/control/rcpthosts"
    hosts.write_bytes(b"# ours\n" + hosts.read_bytes() + b"\n# the end\n")

    sites.import_tree(database, root)

    with database.reader() as session:
        lines = session.execute(
            select(ForeignLine.position, ForeignLine.line, ForeignLine.sort_key)
            .where(ForeignLine.file == "control/rcpthosts")
            .order_by(ForeignLine.position)
        ).all()
    assert [tuple(line) for line in lines] == [
        (1, "# ours", "bounce.example"),
        (13, "sales.partner.example", "partner.example.sales"),
        (16, "", "\U0010ffff"),
        (17, "# the end", "\U0010ffff"),
    ]


def test_every_byte_of_a_file_survives(database: Database, unpack: Unpack) -> None:
    root = unpack("base")
    domain = root / "home/vpopmail/domains/example.com"
    contents = {
        "latin1": b"# caf\xe9 \xff\n&a@b.example\n",
        "nul": b"&a@b.example\0\n",
        "crlf": b"&a@b.example\r\n\r\n",
        "open": b"&a@b.example\n./Maildir/",
        "empty": b"",
        "newline": b"\n",
        "private:use": "\U0010f8e9 \U0010f800\n".encode(),
    }
    for name, content in contents.items():
        (domain / f".qmail-{name}").write_bytes(content)
    append(
        domain / "vpasswd",
        b"odd:*:1:0:Ren\xe9 \xf0\x9f\x98\x80:/home/vpopmail/domains/example.com/odd::p\xe9\r!",
    )
    (domain / "odd").mkdir()

    sites.import_tree(database, root)

    kept = files(database)
    assert {name: kept[name.replace(":", ".")] for name in contents} == contents
    with database.reader() as session:
        odd = session.scalars(select(Mailbox).where(Mailbox.name == "odd")).one()
    assert encode(odd.comment) == b"Ren\xe9 \xf0\x9f\x98\x80"
    assert encode(odd.clear_text or "") == b"p\xe9\r!"


def test_clear_passwords_are_left_out_unless_they_are_wanted(
    database: Database, unpack: Unpack
) -> None:
    root = unpack("small")

    plan = sites.import_tree(database, root, Choices(store_clear_text=False))

    with database.reader() as session:
        stored_texts = set(session.scalars(select(Mailbox.clear_text)))
    assert stored_texts == {""}
    warnings = [found for found in support.found(plan) if str(found.code) == "clear-text-left-out"]
    assert len(warnings) == 10
    assert "214 readable passwords" in {found.reason[:22] for found in warnings}


def test_a_vpasswd_of_seven_fields_has_no_clear_password_at_all(
    database: Database, unpack: Unpack
) -> None:
    root = unpack("base")
    vpasswd = root / "home/vpopmail/domains/empty.org/vpasswd"
    vpasswd.write_bytes(vpasswd.read_bytes().rpartition(b":")[0] + b"\n")

    sites.import_tree(database, root)

    with database.reader() as session:
        empty = session.get_one(DomainName, "empty.org").domain_id
        assert session.scalars(select(Mailbox.clear_text).filter_by(domain_id=empty)).all() == [
            None
        ]


def test_an_account_without_lastauth_counts_as_one_that_never_logged_in(
    database: Database, unpack: Unpack
) -> None:
    root = unpack("base")
    (root / "home/vpopmail/domains/empty.org/postmaster/lastauth").unlink()

    plan = sites.import_tree(database, root)

    with database.reader() as session:
        empty = session.get_one(DomainName, "empty.org").domain_id
        login = session.execute(
            select(LastAuth.at, LastAuth.remote_ip, LastAuth.service, Mailbox.created_at)
            .join(Mailbox, Mailbox.id == LastAuth.mailbox_id)
            .where(Mailbox.domain_id == empty)
        ).one()
    assert (login.at.timestamp(), *login[1:]) == (0, "0.0.0.0", "any", None)  # noqa: S104
    assert [str(finding.code) for finding in support.found(plan)] == ["no-lastauth"]


def test_a_missing_vpasswd_is_read_from_its_cdb(database: Database, unpack: Unpack) -> None:
    root = unpack("small")
    with_vpasswd, _ = support.read(root)
    (root / "home/vpopmail/domains/north.example/vpasswd").unlink()

    from_cdb, evidence = support.read(root)

    assert from_cdb == with_vpasswd
    assert "cdb-only" in {str(finding.code) for finding in evidence.findings}


def test_links_are_kept_and_never_followed(database: Database, unpack: Unpack) -> None:
    root = unpack("base")
    domain = root / "home/vpopmail/domains/example.com"
    (domain / ".qmail-near").symlink_to(".qmail-info")
    (domain / ".qmail-far").symlink_to("/etc/hostname")
    (domain / ".qmail-nowhere").symlink_to("/home/vpopmail/domains/gone")
    (domain / "alice/.qmail").symlink_to("/home/vpopmail/domains/example.com/.qmail-info")

    plan = sites.import_tree(database, root)

    with database.reader() as session:
        links = session.execute(
            select(DotQmailFile.name, DotQmailFile.link_target).where(
                DotQmailFile.link_target.is_not(None)
            )
        ).all()
        lines = session.scalars(
            select(func.count())
            .select_from(DotQmailLine)
            .join(DotQmailFile, DotQmailFile.id == DotQmailLine.file_id)
            .where(DotQmailFile.link_target.is_not(None))
        ).one()
    assert {name: target for name, target in links} == {  # noqa: C416 - rows, not pairs
        "near": ".qmail-info",
        "far": "/etc/hostname",
        "nowhere": "/home/vpopmail/domains/gone",
        "": "/home/vpopmail/domains/example.com/.qmail-info",
    }
    assert lines == 0
    assert {Path(found.file).name: found.reason for found in support.found(plan)} == {
        ".qmail-near": "a link to a file, which is not read through it",
        ".qmail-far": "a link that leads to no file of the tree",
        ".qmail-nowhere": "a link that leads to no file of the tree",
        ".qmail": "a link to a file, which is not read through it",
    }


def test_a_default_file_of_another_form_keeps_its_lines(
    database: Database, unpack: Unpack
) -> None:
    root = unpack("base")
    default = root / "home/vpopmail/domains/example.com/.qmail-default"
    default.write_bytes(b"|/home/vpopmail/bin/vdelivermail '' delete\n")
    (root / "home/vpopmail/domains/test.com/.qmail-default").unlink()

    found, _ = support.read(root)

    catchalls = {domain.name.name: domain.catchall for domain in found.domains}
    assert catchalls["example.com"] == "dotqmail"
    assert catchalls["test.com"] == "none"
    sites.import_tree(database, root)
    assert files(database)["default"] == b"|/home/vpopmail/bin/vdelivermail '' delete\n"


def test_names_stand_where_qmail_finds_them(database: Database, unpack: Unpack) -> None:
    root = unpack("base")
    control = root / "var/qmail/control"
    hosts = (control / "rcpthosts").read_bytes().splitlines(keepends=True)
    (control / "rcpthosts").write_bytes(b"".join(hosts[:3]))
    (control / "morercpthosts").write_bytes(b"".join(hosts[3:]))

    sites.import_tree(database, root)

    with database.reader() as session:
        query = select(DomainName.name).where(DomainName.in_morercpthosts)
        assert set(session.scalars(query)) == {line.decode().strip() for line in hosts[3:]}


def test_a_domain_outside_vpopmails_home_is_found_below_the_root(
    database: Database, unpack: Unpack
) -> None:
    root = unpack("base")
    (root / "home/joe/domains").mkdir(parents=True)
    (root / "home/vpopmail/domains/test.com").rename(root / "home/joe/domains/test.com")
    for file in ("var/qmail/users/assign", "home/joe/domains/test.com/vpasswd"):
        path = root / file
        path.write_bytes(
            path.read_bytes().replace(
                b"/home/vpopmail/domains/test.com", b"/home/joe/domains/test.com"
            )
        )
    support.compile_cdbs(root)

    plan = sites.import_tree(database, root)

    assert plan.found.vpopmail_dir == "/home/vpopmail"
    assert support.found(plan) == []
    with database.reader() as session:
        assert "/home/joe/domains/test.com" in stored.directory_ids(
            session, ["/home/joe/domains/test.com"]
        )


@pytest.mark.parametrize("tree", ["base", "small"])
def test_what_was_imported_with_odd_paths_can_be_exported(
    database: Database, unpack: Unpack, tree: str
) -> None:
    root = unpack(tree)
    for path in [
        root / "var/qmail/users/assign",
        *root.glob("home/vpopmail/domains/**/vpasswd"),
    ]:
        path.write_bytes(path.read_bytes().replace(b":/home/vpopmail/", b"://home//vpopmail/"))

    sites.import_tree(database, root)

    with database.reader() as session:
        snapshot = take(session, Paths(root=str(root)))
    paths = set(render.site_files(snapshot))
    for domain in snapshot.domains:
        paths |= set(render.domain_files(domain, snapshot.paths.vpopmail))
    assert "/home/vpopmail/domains/" in " ".join(paths)
    assert [path for path in paths if plain_path(path) != path] == []


def test_an_import_leaves_its_marks(database: Database, unpack: Unpack) -> None:
    sites.import_tree(database, unpack("base"))

    with database.reader() as session:
        audit = session.scalars(select(AuditEntry).filter_by(object="example.com")).one()
        topics = session.execute(select(Revision.domain, Revision.topic)).all()
        settings = {row.key: row.value for row in session.scalars(select(SiteSetting))}
        counter = session.get_one(DirCounter, 0)
    assert (audit.channel, audit.actor, audit.action) == ("import", "import", "import_domain")
    assert audit.changes["mailboxes"] == [0, 8]
    assert {tuple(topic) for topic in topics} == {
        (name, "import")
        for name in (
            None,
            "empty.org",
            "example.com",
            "example.company",
            "limited.net",
            "test.com",
        )
    }
    assert settings == sites.ORIGIN | {
        "vpopmail_dir": "/home/vpopmail",
        "qmail_dir": "/var/qmail",
    }
    assert (counter.cur_users, counter.domain_id) == (5, None)


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


def files(database: Database) -> dict[str, bytes]:
    """Return the content of every dot-qmail file of a domain that is no link, by name."""
    query = select(DotQmailFile).where(
        DotQmailFile.mailbox_id.is_(None), DotQmailFile.link_target.is_(None)
    )
    lines = select(DotQmailLine.line).order_by(DotQmailLine.position)
    with database.reader() as session:
        texts = {
            file: "\n".join(session.scalars(lines.where(DotQmailLine.file_id == file.id)))
            for file in session.scalars(query)
        }
        counts = {
            file: session.scalar(
                select(func.count()).select_from(DotQmailLine).filter_by(file_id=file.id)
            )
            for file in texts
        }
    return {
        file.name: encode(text + ("\n" if file.final_newline and counts[file] else ""))
        for file, text in texts.items()
    }
