"""The known holes of the C daemon in paths and links: nothing outside is reached here."""

import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.daemon.accounts import (
    AL,
    ALICE,
    DOMAINS,
    EXAMPLE,
    POSTMASTER,
    SYSTEM,
    contents,
)
from tests.daemon.conftest import Running, Talk

TalkTo = Callable[..., Talk]


# --- paths --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "who, paths",
    [
        (
            POSTMASTER,
            {
                f"{EXAMPLE}/../example.company": "20.1501",
                "/home/vpopmail/domains/example.company": "26.1511",
                "/home/vpopmail/domains/example.com.bak": "26.1511",
                "example.company/eve": "26.1511",
                "eve@example.company/Maildir": "26.1511",
                "/etc": "26.1511",
            },
        ),
        (
            AL,
            {
                f"{EXAMPLE}/alice": "26.1512",
                "example.com/alice": "26.1512",
                f"{EXAMPLE}//al/./../alice": "20.1501",
                f"{EXAMPLE}/al/%2e%2e/alice": "21.1502",
                "alice@example.com/": "12.1508",
                "al@example.com/../alice": "20.1501",
            },
        ),
        (
            SYSTEM,
            {
                "/home/vpopmail/domains-backup": "26.1510",
                "/home/vpopmail/etc": "26.1510",
                "/home/vpopmail/domains/../etc": "20.1501",
                "/etc": "26.1510",
            },
        ),
    ],
)
def test_a_path_that_only_begins_like_the_own_one_leads_nowhere(
    daemon: Running, root: Path, talk_to: TalkTo, who: tuple[str, str], paths: dict[str, str]
) -> None:
    (root / DOMAINS / "example.com.bak").mkdir()
    (root / "home/vpopmail/domains-backup").mkdir()
    talk = talk_to(daemon, *who)
    before = contents(root)

    codes = {
        path: {talk.ask(*command)[0].split(" ")[1] for command in commands_on(path)}
        for path in paths
    }

    assert codes == {path: {code} for path, code in paths.items()}
    assert contents(root) == before


def commands_on(path: str) -> list[tuple[str, ...]]:
    """Return every file command on a path, and on a name in it."""
    inside = f"{path.rstrip('/')}/note.txt"
    return [
        (f"list_dir {path}",),
        (f"mk_dir {inside}",),
        (f"rm_dir {path}",),
        (f"read_file {inside}",),
        (f"stat_file {inside}",),
        (f"rm_file {inside}",),
        (f"rename_file {inside} {inside}",),
        (f"write_file {inside}", "mine", "."),
    ]


OURS = [
    "vpasswd",
    "vpasswd.cdb",
    ".vpasswd.lock",
    "vpasswd.1234",
    ".qmailadmin-limits",
    ".dir-control",
    ".dir-control.lock",
    "bob/vpasswd",
    "mylist/.qmailadmin-limits",
    "ip_alias_map",
    "./vpasswd",
    "/vpasswd",
    "vpasswd/",
]


def test_no_file_command_reaches_what_the_database_owns(
    daemon: Running, root: Path, talk_to: TalkTo
) -> None:
    talk = talk_to(daemon, *POSTMASTER)
    before = contents(root)
    paths = [f"example.com/{name}" for name in OURS]
    moves = [(f"rename_file alice@example.com/note.txt {path}",) for path in paths]
    commands = [command for path in paths for command in commands_on(path)]

    answers = [(command, talk.ask(*command)) for command in commands + moves]

    refused = ["-ERR 26.1511 Unauthorized Directory."]
    assert [command for command, said in answers if said != refused] == []
    assert contents(root) == before


# --- symbolic links -----------------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory of somebody else, with what the directory it takes the place of has."""
    made = tmp_path / "outside"
    (made / "sub").mkdir(parents=True)
    (made / "sub/kept").write_text("THEIRS")
    (made / "file").write_text("THEIRS")
    return made


FILE_COMMANDS = [
    (b"list_dir alice@example.com/d",),
    (b"list_dir alice@example.com/d/sub",),
    (b"read_file alice@example.com/d/file",),
    (b"stat_file alice@example.com/d/file",),
    (b"write_file alice@example.com/d/file", b"mine", b"."),
    (b"write_file alice@example.com/d/new", b"mine", b"."),
    (b"mk_dir alice@example.com/d/made",),
    (b"rename_file alice@example.com/d/file alice@example.com/taken",),
    (b"rename_file alice@example.com/d/file alice@example.com/.qmail-x",),
    (b"rename_file alice@example.com/note.txt alice@example.com/d/note.txt",),
    (b"rm_file alice@example.com/d/file",),
    (b"rm_dir alice@example.com/d/sub",),
    (b"get_user_size alice@example.com",),
]


def test_no_file_command_follows_a_link(
    daemon: Running, root: Path, talk_to: TalkTo, outside: Path
) -> None:
    home = root / DOMAINS / "example.com/alice"
    (home / "d").symlink_to(outside)
    talk = talk_to(daemon, *ALICE)
    before, ours = contents(outside), contents(home)

    answers = [talk.ask(*command) for command in FILE_COMMANDS]

    assert answers[:-1] == [["-ERR 26.1512 Unauthorized Directory."]] * (len(FILE_COMMANDS) - 1)
    assert contents(outside) == before
    assert contents(home) == ours


def test_no_file_command_follows_a_link_to_a_file(
    daemon: Running, root: Path, talk_to: TalkTo, outside: Path
) -> None:
    (root / DOMAINS / "example.com/alice/l").symlink_to(outside / "file")
    talk = talk_to(daemon, *ALICE)

    answers = [
        talk.ask("read_file alice@example.com/l"),
        talk.ask("stat_file alice@example.com/l"),
        talk.ask("write_file alice@example.com/l", "mine", "."),
        talk.ask("rename_file alice@example.com/l alice@example.com/.qmail-x"),
        talk.ask("list_dir alice@example.com/l"),
        talk.ask("rm_dir alice@example.com/l"),
    ]

    assert answers == [["-ERR 26.1512 Unauthorized Directory."]] * 6
    assert (outside / "file").read_text() == "THEIRS"


RACE_S = float(os.environ.get("VPOPSQL_TEST_RACE_S", "1"))


@contextmanager
def swapped(directory: Path, target: Path) -> Iterator[None]:
    """Put a link in the place of a directory and take it away, as fast as can be."""
    stop = threading.Event()
    aside = directory.with_name("aside")

    def swap() -> None:
        while not stop.is_set():
            directory.rename(aside)
            directory.symlink_to(target)
            directory.unlink()
            aside.rename(directory)

    attacker = threading.Thread(target=swap)
    attacker.start()
    try:
        yield
    finally:
        stop.set()
        attacker.join()


def test_no_file_command_follows_a_link_that_is_swapped_in_meanwhile(
    daemon: Running,
    root: Path,
    talk_to: TalkTo,
    outside: Path,
    record_property: Callable[[str, object], None],
) -> None:
    ours = root / DOMAINS / "example.com/alice/d"
    (ours / "sub").mkdir(parents=True)
    (ours / "file").write_text("ours")
    talk = talk_to(daemon, *ALICE)
    before = contents(outside)
    again = (b"mk_dir alice@example.com/d/sub",)

    deadline = time.monotonic() + RACE_S
    with swapped(ours, outside):
        rounds = itertools.takewhile(lambda _: time.monotonic() < deadline, itertools.count())
        answers = Counter(
            tuple(talk.ask(*command)) for _ in rounds for command in (*FILE_COMMANDS, again)
        )

    record_property("tries", answers.total())
    assert contents(outside) == before
    assert {"THEIRS", "kept reg"}.isdisjoint(itertools.chain(*answers))
    # The links were met: what is swapped for one is not there, or refused, or the own directory.
    assert len({each[0] for each in answers}) > 1
    assert "THEIRS" not in repr(contents(root / DOMAINS))
