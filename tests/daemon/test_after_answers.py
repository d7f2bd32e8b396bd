"""What is done when a client has its answer already."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.daemon.conversations import EXAMPLE, SOMEBODY, SYSTEM, Site, domain_of, make_site
from vpopsql.daemon.conversation import Conversation, Service
from vpopsql.daemon.dialogue import Dialogue
from vpopsql.db import Database
from vpopsql.exporter.projector import Projector
from vpopsql.tree import LinkInPath, Tree

TRASH = "/home/vpopmail/trash"


@pytest.fixture
def site(database: Database, database_url: str, unpack: Callable[[str], Path]) -> Site:
    return make_site(database, database_url, unpack)


@pytest.fixture
def dialogue(site: Site) -> Dialogue:
    service = Service(site.database, site.config, Projector(site.database, site.config))
    made = Dialogue(Conversation(service, SOMEBODY), idle_timeout_s=60)
    (answer,) = made.take("slogin {} {}\r\n".format(*SYSTEM).encode())
    assert answer == b"+OK \r\n"
    return made


@pytest.fixture
def synced(site: Site, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The site paths of what has been waited for."""
    paths: list[str] = []
    fsync = os.fsync

    def noted(fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if path.is_relative_to(site.root):
            paths.append(f"/{path.relative_to(site.root)}")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noted)
    return paths


@pytest.mark.parametrize(
    "command, source, beside",
    [
        ("del_user alice@example.com", f"{EXAMPLE}/alice", EXAMPLE),
        ("del_domain example.com", EXAMPLE, "/home/vpopmail/domains"),
    ],
)
def test_the_trash_is_waited_for_after_the_answer(
    site: Site, dialogue: Dialogue, synced: list[str], command: str, source: str, beside: str
) -> None:
    answers: Iterator[bytes] = dialogue.take(f"{command}\r\n".encode())

    assert next(answers) == b"+OK \r\n"

    assert not site.path(source).exists()
    (place,) = site.path(TRASH).iterdir()
    assert (place / Path(source).name / "").is_dir()
    before = len(synced)
    assert f"{TRASH}/{place.name}" not in synced
    assert list(answers) == []
    assert synced[before:] == [TRASH, f"{TRASH}/{place.name}", beside]


def test_a_directory_right_below_the_root_goes_to_the_trash_as_well(
    site: Site, dialogue: Dialogue, synced: list[str]
) -> None:
    with site.database.writer() as session:
        domain_of(session).directory = "/example.com"
    site.path(EXAMPLE).rename(site.path("/example.com"))

    answers = b"".join(dialogue.take(b"del_domain example.com\r\nuser_count test.com\r\n"))

    assert answers.startswith(b"+OK \r\n+OK+\r\n")
    assert synced[-1] == "/."
    assert not site.path("/example.com").exists()


def test_nothing_is_waited_for_twice(dialogue: Dialogue, synced: list[str]) -> None:
    list(dialogue.take(b"del_user alice@example.com\r\n"))
    before = len(synced)

    list(dialogue.take(b"user_info bob@example.com\r\n"))

    assert synced[before:] == []


def test_the_next_command_waits_for_the_trash_of_the_last(
    site: Site, dialogue: Dialogue, synced: list[str]
) -> None:
    """Lest it have the disk forget where a home was before it knows where that is."""
    lines = b"del_user alice@example.com\r\nadd_user new@example.com correct horse\r\n"

    assert b"".join(dialogue.take(lines)) == b"+OK \r\n+OK \r\n"

    (place,) = site.path(TRASH).iterdir()
    moved = synced.index(f"{TRASH}/{place.name}")
    assert moved < synced.index(f"{EXAMPLE}/new/Maildir") < len(synced)
    assert synced[moved - 1 : moved + 2] == [TRASH, f"{TRASH}/{place.name}", EXAMPLE]


@pytest.mark.parametrize(
    "error, logged",
    [
        (OSError(errno.EIO, "Input/output error"), 3),
        (LinkInPath("a link"), 3),
        (FileNotFoundError("purged"), 0),
    ],
)
def test_a_disk_that_fails_then_is_told_the_log(
    dialogue: Dialogue, monkeypatch: pytest.MonkeyPatch, error: Exception, logged: int
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Tree, "sync", fail)
    with capture_logs() as logs:
        answers = list(dialogue.take(b"del_user alice@example.com\r\n"))

    assert answers == [b"+OK \r\n"]
    assert len([each for each in logs if each["event"] == "trash not on disk"]) == logged
    assert len([each for each in logs if each["event"] == "command"]) == 1
    assert b"".join(dialogue.take(b"user_count example.com\r\n")).startswith(b"+OK+")
