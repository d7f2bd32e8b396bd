"""What clients delete comes back whole: each row of each table, each byte of each file."""

import stat
from pathlib import Path

import pytest
from sqlalchemy import func, select

from tests import factories
from tests.daemon.accounts import EXAMPLE
from tests.daemon.conftest import Running, Talk
from tests.stored import contents
from vpopsql import trash
from vpopsql.exporter.projector import Projector
from vpopsql.model import Mailbox, MailboxUsage, TrashEntry, UsageSource
from vpopsql.services.rights import operator
from vpopsql.touched import Touched
from vpopsql.tree import Tree

WHEN = factories.at(2026, 1, 2, 3, 4)
FILES = f"{EXAMPLE}/alice/Maildir/new/1.mail", f"{EXAMPLE}/alice/vacation/message"


def look(root: Path) -> dict[str, tuple[int, int, int, bytes | None]]:
    """Return all that there is: mode, owner, group, and what is in it."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if "trash" in name or ".lock" in name or ".vpopsql" in name:
            continue
        status = path.lstat()
        data = str(path.readlink()).encode() if path.is_symlink() else None
        data = path.read_bytes() if path.is_file() and data is None else data
        found[name] = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, data)
    return found


@pytest.fixture
def used(daemon: Running, system: Talk, root: Path) -> Running:
    """A site whose files are ours, with some of everything in example.com."""
    for file in FILES:
        (root / file.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        (root / file.lstrip("/")).write_bytes(b"mail \xff\0")
    with daemon.database.writer() as session:
        alice = session.scalars(
            select(Mailbox).where(Mailbox.name == "alice", Mailbox.directory.contains("example"))
        ).one()
        alice.clear_text, alice.created_at = "secret", WHEN
        factories.last_auth(session, alice, WHEN, "192.0.2.1", "imap")
        count = UsageSource.COUNT
        session.add_all(
            MailboxUsage(
                mailbox_id=alice.id, measured_at=WHEN, bytes=each, messages=1, source=count
            )
            for each in (5, 7)
        )
    assert system.ask("add_ip_map 192.0.2.77 example-alias.org") == ["+OK "]
    assert system.ask("add_alias sales@example.com &alice@example.com") == ["+OK "]
    assert system.ask("add_alias sales@example.com &x@else.org") == ["+OK "]
    assert system.change("set_limits example.com", "max_aliases 50") == "+OK "
    qmail = f"{EXAMPLE}/alice/.qmail"
    assert system.ask(f"write_file {qmail}", "./Maildir/", "&friend@else.org", ".") == ["+OK "]
    of_it = {"example.com"}
    Projector(daemon.database, daemon.config).follow(Touched(of_it, of_it, of_it, site=True))
    return daemon


@pytest.mark.parametrize(
    "command",
    [
        "del_user alice@example.com",
        "del_domain example.com",
        "delete_alias sales@example.com",
        f"rm_file {EXAMPLE}/.qmail-sales",
    ],
)
def test_what_is_deleted_and_restored_is_what_it_was(
    used: Running, system: Talk, root: Path, command: str
) -> None:
    rows, files = contents(used.database), look(root)
    assert system.ask(command) == ["+OK "]
    assert (contents(used.database) != rows, look(root) != files) == (True, True)
    actor = operator("tests", "/home/vpopmail")

    with used.database.writer() as session:
        newest = session.scalar(select(func.max(TrashEntry.id)))
        assert newest
        restored = trash.restore(session, Tree(root), newest, actor)
    Projector(used.database, used.config).follow(restored.touched)

    assert restored.has_files
    assert contents(used.database) == rows
    assert look(root) == files


def test_removing_the_last_line_of_an_alias_keeps_it_in_the_trash(
    used: Running, system: Talk
) -> None:
    assert system.ask("remove_alias sales@example.com &x@else.org") == ["+OK "]
    assert system.ask("remove_alias sales@example.com &alice@example.com") == ["+OK "]

    with used.database.reader() as session:
        entry = session.scalars(select(TrashEntry)).one()
    assert (entry.kind, entry.name) == ("dotqmail", "sales@example.com")
    assert [row["line"] for row in (entry.payload or {})["dotqmail_lines"]] == [
        "&alice@example.com"
    ]
