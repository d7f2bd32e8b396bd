"""The commands that change files, with rows and files looked at."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.daemon.conversations import (
    ADMIN,
    ALICE,
    BOB,
    EXAMPLE,
    POSTMASTER,
    SYSTEM,
    Site,
    make_site,
)
from vpopsql.db import Database
from vpopsql.model import CatchAll, Domain, Mailbox

HOME = f"{EXAMPLE}/alice"
MINE = "alice@example.com"
UNAUTHORIZED = ["-ERR 26.1512 Unauthorized Directory."]
FORBIDDEN = ["-ERR 0.2002 Operation not permitted"]
ROBOT = f"|/usr/bin/autorespond 1000 3 {EXAMPLE}/INFO/message {EXAMPLE}/INFO"


@pytest.fixture
def site(database: Database, database_url: str, unpack: Callable[[str], Path]) -> Site:
    return make_site(database, database_url, unpack)


def mailbox_id(site: Site, name: str) -> int:
    with site.database.reader() as session:
        return session.scalars(
            select(Mailbox.id).where(Mailbox.directory == f"{EXAMPLE}/{name}")
        ).one()


# --- plain files --------------------------------------------------------------------------------


def test_a_file_has_the_bytes_that_were_sent(site: Site) -> None:
    talk = site.talk(ALICE)

    assert talk.write(f"{MINE}/a.txt", b"one\r", b"", b"\0\xff", b"..", b"..two") == ["+OK "]

    assert site.path(f"{HOME}/a.txt").read_bytes() == b"one\r\n\n\0\xff\n.\n..two\n"


def test_a_file_of_no_lines_is_empty(site: Site) -> None:
    site.talk(ALICE).write(f"{MINE}/a.txt")

    assert site.path(f"{HOME}/a.txt").read_bytes() == b""


def test_a_new_file_is_the_owners_alone_and_an_old_one_keeps_its_mode(site: Site) -> None:
    old = site.path(f"{HOME}/note.txt")
    old.chmod(0o640)
    talk = site.talk(ALICE)

    talk.write(f"{MINE}/a.txt", "x")
    talk.write(f"{MINE}/note.txt", "y")

    new = site.path(f"{HOME}/a.txt").stat()
    home = site.path(HOME).stat()
    assert stat.S_IMODE(new.st_mode) == 0o600
    assert (new.st_uid, new.st_gid) == (home.st_uid, home.st_gid)
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
    assert old.read_bytes() == b"y\n"


def test_files_are_renamed_and_removed(site: Site) -> None:
    talk = site.talk(ALICE)
    talk.write(f"{MINE}/a.txt", "x")

    assert talk.ask(f"rename_file {MINE}/a.txt {HOME}/b.txt") == ["+OK "]
    assert site.path(f"{HOME}/b.txt").read_bytes() == b"x\n"
    assert talk.ask(f"rm_file {MINE}/b.txt") == ["+OK "]
    assert talk.ask(f"rm_file {MINE}/b.txt") == ["-ERR 0.1902 No such file or directory"]


@pytest.mark.parametrize(
    "command, answer",
    [
        ("mk_dir", "-ERR 27.1601 Directory Required."),
        ("rm_dir", "-ERR 27.1701 Directory Required."),
        ("rm_file", "-ERR 30.1901 Filename Required"),
        ("rename_file", "-ERR 28.3801 Source File Name Required"),
        ("rename_file a", "-ERR 29.3801 Destination File Name Required"),
        ("write_file", "-ERR 30.2001 Filename Required"),
        (f"rm_file {MINE}/", "-ERR 0.1902 Is a directory"),
        (f"mk_dir {MINE}/", "-ERR 0.1602 File exists"),
        (f"mk_dir {MINE}/Maildir", "-ERR 0.1602 File exists"),
        (f"mk_dir {MINE}/a/b", "-ERR 0.1602 No such file or directory"),
        (f"rm_dir {MINE}/nosuch", "-ERR 0.1702 No such file or directory"),
        (f"rm_dir {MINE}/note.txt", "-ERR 0.1702 Not a directory"),
        (f"write_file {MINE}/nodir/x", "-ERR 0.2002 No such file or directory"),
        (f"write_file {MINE}/note.txt/x", "-ERR 0.2002 Not a directory"),
        (f"write_file {MINE}/Maildir", "-ERR 0.2002 Is a directory"),
        (f"write_file {MINE}/", "-ERR 0.2002 Is a directory"),
        (f"write_file {MINE}/{'x' * 300}", "-ERR 0.2002 File name too long"),
        (f"rename_file {MINE}/nosuch {MINE}/y", "-ERR 0.3803 No such file or directory"),
        (f"rename_file {MINE}/note.txt bob@example.com/y", "-ERR 12.1508 User does not exist"),
        (f"rename_file {MINE}/note.txt {EXAMPLE}/bob/y", UNAUTHORIZED[0]),
        (f"rename_file {EXAMPLE}/bob/y {MINE}/y", UNAUTHORIZED[0]),
        (f"rm_dir {MINE}/", UNAUTHORIZED[0]),
        ("mk_dir example.com/x", UNAUTHORIZED[0]),
        (f"write_file {EXAMPLE}/alicex", UNAUTHORIZED[0]),
    ],
)
def test_what_cannot_be_done_is_answered_at_once(site: Site, command: str, answer: str) -> None:
    assert site.talk(ALICE).ask(command) == [answer]


def test_the_body_of_a_refused_file_is_swallowed(site: Site) -> None:
    talk = site.talk(SYSTEM)

    answers = talk.ask("write_file /etc/x", "del_domain example.com", "..", ".", "domain_count")

    assert answers == ["-ERR 26.1510 Unauthorized Directory.", "+OK+", "count 6", "."]


@pytest.mark.parametrize(
    "name",
    ["vpasswd", "vpasswd.cdb", ".qmailadmin-limits", ".dir-control", ".vpasswd.lock"],
)
def test_what_the_database_owns_is_nobodys_to_write(site: Site, name: str) -> None:
    path = site.path(f"{EXAMPLE}/{name}")
    before = path.read_bytes() if path.exists() else None
    talk = site.talk(SYSTEM)

    assert talk.write(f"example.com/{name}", "x")[0].startswith("-ERR 26.")
    assert talk.ask(f"rm_file example.com/{name}")[0].startswith("-ERR 26.")
    talk.write("example.com/x", "x")
    assert talk.ask(f"rename_file example.com/x example.com/{name}")[0].startswith("-ERR 26.")

    assert (path.read_bytes() if path.exists() else None) == before


# --- directories --------------------------------------------------------------------------------


def test_a_directory_is_made_for_its_owner_alone(site: Site) -> None:
    assert site.talk(ALICE).ask(f"mk_dir {MINE}/vacation/") == ["+OK "]

    assert stat.S_IMODE(site.path(f"{HOME}/vacation").stat().st_mode) == 0o700


def test_a_removed_directory_is_still_somewhere(site: Site) -> None:
    talk = site.talk(ALICE)
    talk.ask(f"mk_dir {MINE}/d")
    talk.write(f"{MINE}/d/kept", "precious")

    assert talk.ask(f"rm_dir {MINE}/d") == ["+OK "]

    assert not site.path(f"{HOME}/d").exists()
    (kept,) = site.root.rglob("kept")
    assert kept.read_bytes() == b"precious\n"


@pytest.mark.parametrize(
    "command",
    [
        "rm_dir alice@example.com/",
        "rm_dir example.com/",
        f"rm_dir {EXAMPLE}/bob",
        f"rename_file {EXAMPLE}/bob {EXAMPLE}/rob",
        f"rename_file {EXAMPLE} /home/vpopmail/domains/x",
    ],
)
def test_the_directories_of_domains_and_mailboxes_stay(site: Site, command: str) -> None:
    assert site.talk(SYSTEM).ask(command) == ["-ERR 26.1510 Unauthorized Directory."]

    assert site.path(f"{EXAMPLE}/bob/Maildir").is_dir()


def test_no_directory_takes_the_place_of_a_dot_qmail_file(site: Site) -> None:
    talk = site.talk(ADMIN)
    talk.ask("mk_dir example.com/d")

    assert talk.ask("mk_dir example.com/.qmail-d") == ["-ERR 26.1511 Unauthorized Directory."]
    answer = talk.ask("rename_file example.com/d example.com/.qmail-d")
    assert answer == ["-ERR 0.3803 Is a directory"]


# --- symbolic links -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "mk_dir {}/link/new",
        "rm_dir {}/link",
        "rm_dir {}/link/d",
        "rm_file {}/link/file",
        "rename_file {}/link/file {}/mine",
        "rename_file {}/note.txt {}/link/file",
        "write_file {}/link/file",
        "write_file {}/tofile",
        "rename_file {}/tofile {}/.qmail",
    ],
)
def test_a_symbolic_link_leads_nowhere(site: Site, tmp_path: Path, command: str) -> None:
    outside = tmp_path / "outside"
    (outside / "d").mkdir(parents=True)
    (outside / "file").write_text("theirs")
    site.path(f"{HOME}/link").symlink_to(outside)
    site.path(f"{HOME}/tofile").symlink_to(outside / "file")

    assert site.talk(ALICE).ask(command.replace("{}", MINE)) == UNAUTHORIZED

    assert sorted(path.name for path in outside.iterdir()) == ["d", "file"]
    assert (outside / "file").read_text() == "theirs"


def test_a_link_swapped_in_while_lines_are_sent_leads_nowhere(site: Site, tmp_path: Path) -> None:
    talk = site.talk(ALICE)
    talk.ask(f"mk_dir {MINE}/d")
    assert talk.ask(f"write_file {MINE}/d/file", "evil") == []

    site.path(f"{HOME}/d").rmdir()
    site.path(f"{HOME}/d").symlink_to(tmp_path)

    assert talk.ask(".") == UNAUTHORIZED
    assert not (tmp_path / "file").exists()


def test_a_link_itself_can_be_removed(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    site.path(f"{HOME}/l").symlink_to(tmp_path / "file")

    assert site.talk(ALICE).ask(f"rm_file {MINE}/l") == ["+OK "]
    assert (tmp_path / "file").exists()
    assert not os.path.lexists(site.path(f"{HOME}/l"))


# --- dot-qmail files ----------------------------------------------------------------------------


def test_a_dot_qmail_file_is_rows_and_file_at_once(site: Site) -> None:
    talk = site.talk(POSTMASTER)

    assert talk.write("example.com/.qmail-sales", b"&alice@example.com\r", b"bob@x.y") == ["+OK "]

    file = site.path(f"{EXAMPLE}/.qmail-sales")
    assert site.rows("sales") == ["&alice@example.com\r", "bob@x.y"]
    assert file.read_bytes() == b"&alice@example.com\r\nbob@x.y\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert talk.ask("list_alias sales@example.com") == [
        "+OK+",
        "sales@example.com &alice@example.com\r",
        "sales@example.com bob@x.y",
        ".",
    ]
    assert talk.ask("rm_file example.com/.qmail-sales") == ["+OK "]
    assert site.rows("sales") is None
    assert not file.exists()


def test_a_dot_in_an_address_is_a_colon_in_the_file(site: Site) -> None:
    site.talk(POSTMASTER).write("example.com/.qmail-jo:doe", "alice@example.com")

    assert site.rows("jo.doe") == ["alice@example.com"]
    assert site.path(f"{EXAMPLE}/.qmail-jo:doe").exists()


def test_a_name_that_qmail_does_not_read_is_a_plain_file(site: Site) -> None:
    assert site.talk(POSTMASTER).write("example.com/.qmail-jo.doe", "|id") == ["+OK "]

    assert site.rows("jo.doe") is None
    assert site.path(f"{EXAMPLE}/.qmail-jo.doe").read_bytes() == b"|id\n"


def test_a_user_keeps_a_vacation_by_file_commands_only(site: Site) -> None:
    talk = site.talk(ALICE)
    line = f"| /usr/bin/autorespond 86400 3 {HOME}/vacation/message {HOME}/vacation"

    assert talk.ask(f"read_file {HOME}/.qmail") == ["-ERR 0.2102 No such file or directory"]
    assert talk.ask(f"mk_dir {MINE}/vacation") == ["+OK "]
    assert talk.write(f"{MINE}/vacation/message", "Away") == ["+OK "]
    assert talk.write(f"{MINE}/.qmail", line, f"{HOME}/Maildir/") == ["+OK "]

    assert site.rows("", mailbox_id(site, "alice")) == [line, f"{HOME}/Maildir/"]
    assert talk.ask(f"read_file {MINE}/.qmail") == ["+OK+", line, f"{HOME}/Maildir/", "."]
    assert talk.ask(f"rm_file {MINE}/.qmail") == ["+OK "]
    assert talk.ask(f"rm_dir {MINE}/vacation") == ["+OK "]
    assert site.rows("", mailbox_id(site, "alice")) is None


def test_an_administrator_keeps_a_robot_by_file_commands_only(site: Site) -> None:
    talk = site.talk(POSTMASTER)

    assert talk.ask("mk_dir example.com/INFO") == ["+OK "]
    assert talk.write("example.com/INFO/message", "Hello") == ["+OK "]
    assert talk.write("example.com/.qmail-robot", ROBOT) == ["+OK "]

    assert f"robot@example.com {ROBOT}" in talk.ask("list_alias example.com")


@pytest.mark.parametrize(
    "line",
    ['|/bin/sh -c "id"', "./.qmail-x", "./../bob/Maildir/", f"{EXAMPLE}/bob/Maildir/", ROBOT],
)
def test_a_user_writes_no_line_that_reaches_out_of_his_home(site: Site, line: str) -> None:
    talk = site.talk(ALICE)
    talk.write(f"{MINE}/.qmail", "bob@example.com")

    assert talk.write(f"{MINE}/.qmail", "bob@example.com", line) == FORBIDDEN
    assert talk.write(f"{MINE}/.qmail-x", f"{line}\r") == FORBIDDEN
    talk.write(f"{MINE}/plain", line)
    answer = talk.ask(f"rename_file {MINE}/plain {MINE}/.qmail")

    assert answer == ["-ERR 0.3803 Operation not permitted"]
    assert site.path(f"{HOME}/.qmail").read_bytes() == b"bob@example.com\n"
    assert site.rows("", mailbox_id(site, "alice")) == ["bob@example.com"]
    assert site.path(f"{HOME}/plain").exists()


def test_a_system_administrator_writes_any_line(site: Site) -> None:
    assert site.talk(SYSTEM).write("example.com/.qmail-tool", "|/bin/sh -c 'id'") == ["+OK "]

    assert site.path(f"{EXAMPLE}/.qmail-tool").read_bytes() == b"|/bin/sh -c 'id'\n"


def test_a_dot_qmail_file_has_a_bounded_number_of_rows(site: Site) -> None:
    answer = site.talk(SYSTEM).write("example.com/.qmail-new", *["#"] * 10_001)

    assert answer == ["-ERR 0.2002 more than 10000 lines"]
    assert site.rows("new") is None


def test_rows_move_between_dot_qmail_files(site: Site) -> None:
    talk = site.talk(POSTMASTER)

    assert talk.ask("rename_file example.com/.qmail-info example.com/.qmail-help") == ["+OK "]
    assert talk.ask(f"rename_file example.com/.qmail-help {HOME}/.qmail-ext") == ["+OK "]

    assert (site.rows("info"), site.rows("help")) == (None, None)
    assert site.rows("ext", mailbox_id(site, "alice")) == ["alice@example.com"]
    assert not site.path(f"{EXAMPLE}/.qmail-info").exists()
    assert not site.path(f"{EXAMPLE}/.qmail-help").exists()
    assert site.path(f"{HOME}/.qmail-ext").read_bytes() == b"alice@example.com\n"


def test_rows_come_and_go_with_the_name_of_a_file(site: Site) -> None:
    talk = site.talk(POSTMASTER)
    before = site.path(f"{EXAMPLE}/.qmail-multi").read_bytes()

    assert talk.ask("rename_file example.com/.qmail-multi example.com/off") == ["+OK "]
    assert site.rows("multi") is None
    assert not site.path(f"{EXAMPLE}/.qmail-multi").exists()
    assert site.path(f"{EXAMPLE}/off").read_bytes() == before

    assert talk.ask("rename_file example.com/off example.com/.qmail-multi") == ["+OK "]
    assert site.rows("multi") == ["alice@example.com", "bob@example.com"]
    assert site.path(f"{EXAMPLE}/.qmail-multi").read_bytes() == before
    assert not site.path(f"{EXAMPLE}/off").exists()


def test_a_last_line_without_its_newline_survives_being_renamed(site: Site) -> None:
    site.path(f"{HOME}/plain").write_bytes(b"bob@example.com\nx@example.com")

    assert site.talk(ALICE).ask(f"rename_file {MINE}/plain {MINE}/.qmail") == ["+OK "]

    assert site.path(f"{HOME}/.qmail").read_bytes() == b"bob@example.com\nx@example.com"


def test_a_rename_that_fails_loses_nothing(site: Site) -> None:
    answer = site.talk(POSTMASTER).ask("rename_file example.com/.qmail-info example.com/no/x")

    assert answer == ["-ERR 0.3803 No such file or directory"]
    assert site.rows("info") == ["alice@example.com"]
    assert site.path(f"{EXAMPLE}/.qmail-info").exists()


@pytest.mark.parametrize(
    "line, setting",
    [
        ("| /home/vpopmail/bin/vdelivermail '' delete", (CatchAll.DELETE, None)),
        ("bob@example.com", (CatchAll.DOTQMAIL, None)),
    ],
)
def test_the_catchall_is_written_as_a_file(
    site: Site, line: str, setting: tuple[CatchAll, str | None]
) -> None:
    assert site.talk(POSTMASTER).write("example.com/.qmail-default", line) == ["+OK "]

    assert site.path(f"{EXAMPLE}/.qmail-default").read_text() == f"{line}\n"
    with site.database.reader() as session:
        domain = session.scalars(select(Domain).where(Domain.directory == EXAMPLE)).one()
        assert (domain.catchall, domain.catchall_target) == setting


def test_limits_hold_for_files_as_for_aliases(site: Site) -> None:
    site.limit(max_forwards=0)

    answer = site.talk(POSTMASTER).write("example.com/.qmail-out", "x@elsewhere.example")

    assert answer == ["-ERR 0.2002 Limit reached"]
    assert not site.path(f"{EXAMPLE}/.qmail-out").exists()


def test_what_is_denied_to_administrators_is_denied_in_files_too(site: Site) -> None:
    site.limit(perm_alias=7)
    talk = site.talk(ADMIN)

    assert talk.write("example.com/.qmail-new", "alice@example.com") == FORBIDDEN
    assert talk.write("example.com/.qmail-info", "bob@example.com") == FORBIDDEN
    answer = talk.ask("rm_file example.com/.qmail-info")
    assert answer == ["-ERR 0.1902 Operation not permitted"]
    answer = talk.ask("rename_file example.com/.qmail-info example.com/info")
    assert answer == ["-ERR 0.3803 Operation not permitted"]

    assert site.rows("info") == ["alice@example.com"]
    assert site.path(f"{EXAMPLE}/.qmail-info").exists()


def test_a_domains_limits_are_not_those_of_a_mailbox(site: Site) -> None:
    site.limit(max_forwards=0, perm_forward=7)

    assert site.talk(BOB).write("bob@example.com/.qmail", "x@elsewhere.example") == ["+OK "]


def test_a_file_that_no_address_leads_to_is_no_alias(site: Site) -> None:
    talk = site.talk(SYSTEM)
    assert talk.ask("write_file empty.org/.qmail", "x@else.example", ".") == ["+OK "]

    assert talk.ask("list_alias empty.org") == ["+OK+", "."]
    assert talk.ask("read_file empty.org/.qmail") == ["+OK+", "x@else.example", "."]
