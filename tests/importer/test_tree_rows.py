"""What ``vpopsql import tree`` leaves in the database."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select

from tests import sites
from tests.importer import support
from vpopsql.config import Paths
from vpopsql.db import Database
from vpopsql.directory import plain_path
from vpopsql.exporter import render
from vpopsql.exporter.snapshot import take
from vpopsql.importer import stored
from vpopsql.importer.backend import Choices
from vpopsql.model import (
    AuditEntry,
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


# --- helpers ----------------------------------------------------------------------------------


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


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
