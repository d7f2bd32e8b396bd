"""Recorded conversations with a real vpopmaild, held again with our daemon.

Every recording is either replayed here, line for line, with the deviations that are intended, or
it is in `NOT_YET` because it has commands that do not exist yet, or in `ELSEWHERE` because a test
of its own says more.
"""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests import transcripts
from tests.daemon.conftest import Running
from tests.daemon.deviations import DEVIATIONS
from tests.transcripts import Deviation, escape

NOT_YET: dict[str, str] = {}
"""Recordings with commands that do not exist yet, and which."""

ELSEWHERE = {
    "030-pipelining-2": "point 15: test_a_whole_session_in_one_piece_is_answered",
    "031-pipelining-login": "point 15: test_a_whole_session_in_one_piece_is_answered",
    "032-idle-timeout": "test_a_silent_client_is_told_that_time_is_up",
    "063-mod-user-unknown-crlf": "point 15: test_options_after_a_refusal_are_dropped...",
    "079-list-domains-empty": "point 21: test_an_empty_site_gives_empty_lists",
    "100-file-write-long": "point 16: test_a_long_line_of_a_file_is_one_line",
    "102-file-write-refused": "point 13: test_the_body_of_a_refused_file_is_never_run",
}

EXAMPLE = "home/vpopmail/domains/example.com"


def deliver_to_carol(root: Path) -> None:
    new = root / EXAMPLE / "carol/Maildir/new"
    for number in range(1, 4):
        (new / f"170000000{number}.M1P1.host,S=34").write_text("x" * 34)


def make_empty_aliases(root: Path) -> None:
    for name in ("zero", "aaa"):
        (root / EXAMPLE / f".qmail-{name}").touch()


def make_backup(root: Path) -> None:
    backup = root / "home/vpopmail/domains-backup"
    backup.mkdir()
    (backup / "s").write_text("secret\n")


def make_bob_the_catchall(root: Path) -> None:
    (root / EXAMPLE / ".qmail-default").write_text(
        "| /home/vpopmail/bin/vdelivermail '' /home/vpopmail/domains/example.com/bob\n"
    )


def add_a_system_administrator(root: Path) -> None:
    with (root / EXAMPLE / "vpasswd").open("a") as file:
        home = "/home/vpopmail/domains/example.com/root"
        file.write(f"root:$1$Sa1tSa1t$kfgVPCN5WUX4iGzAfdTKU1:1:65536:root:{home}:NOQUOTA:rootpw\n")


SETUPS: dict[str, Callable[[Path], object]] = {
    "043-del-user-catchall": make_bob_the_catchall,
    "061-mod-user-da-on-sysadmin": add_a_system_administrator,
    "068-get-user-size": deliver_to_carol,
    "069-get-domain-size-missing-dir": lambda root: shutil.rmtree(
        root / "home/vpopmail/domains/example.company/eve"
    ),
    "084-list-lists": make_empty_aliases,
    "106-file-sa-outside": make_backup,
}
"""What the recorder did on the server's machine before, or in between."""


def names() -> list[str]:
    return sorted(path.stem for path in transcripts.RECORDINGS.glob("*.txt"))


def test_every_recording_is_accounted_for() -> None:
    assert {*NOT_YET, *ELSEWHERE, *DEVIATIONS, *SETUPS} <= set(names())
    assert not NOT_YET.keys() & ELSEWHERE.keys()


def root_of(daemon: Running) -> Path:
    return Path(daemon.config.paths.root)


def link_to_a_secret(root: Path) -> None:
    link = root / EXAMPLE / "alice/l2"
    if not link.is_symlink():
        (root / "secret").write_text("only root may read this\n")
        link.symlink_to(root / "secret")


def link_to_a_victim(link: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        victim = root / "victim"
        if not victim.exists():
            victim.mkdir()
            (victim / "keep").write_text("keep\n")
            (root / EXAMPLE / link).symlink_to(victim)
        assert (victim / "keep").read_text() == "keep\n"

    return make


ACTIONS: dict[str, Callable[[Path], object]] = {
    "094-path-symlink": link_to_a_secret,
    "095-path-rmdir-symlink": link_to_a_victim("alice/d/l"),
    "127-del-user-symlink-dir": link_to_a_victim("bob/l"),
}
"""What the recorder did on the server's machine in the middle of a conversation."""


@pytest.mark.parametrize("name", [n for n in names() if n not in NOT_YET | ELSEWHERE])
def test_a_recorded_conversation_goes_as_it_went(name: str, serve: Callable[..., Running]) -> None:
    daemon = serve("base", SETUPS.get(name))

    compare(
        transcripts.read(transcripts.RECORDINGS / f"{name}.txt"),
        daemon,
        DEVIATIONS.get(name, []),
        lambda _: ACTIONS.get(name, bool)(root_of(daemon)),
    )


def _masked(lines: list[bytes]) -> list[bytes]:
    """Hide what is made anew each time: salted hashes."""
    return [re.sub(rb"^(encrypted_password \$6\$).+", rb"\1", line) for line in lines]


def compare(
    steps: list[transcripts.Step],
    daemon: Running,
    deviations: list[Deviation],
    act: Callable[[str], object] = bool,
) -> None:
    """Hold a conversation again; every difference must be a deviation, every one must be met."""
    deviations = [replace(deviation) for deviation in deviations]
    unused = list(deviations)
    differences = []

    def expect(command: bytes, recorded: list[bytes]) -> tuple[list[bytes], bytes]:
        then = b""
        for deviation in deviations:
            changed = deviation.apply(command, recorded)
            if changed is not None:
                recorded, then = changed, deviation.then
                if deviation in unused:
                    unused.remove(deviation)
        return recorded, then

    for exchange in transcripts.replay(steps, daemon.address, expect, act):
        expected, received = _masked(exchange.expected), _masked(exchange.received)
        if exchange.command.startswith(b"list_dir"):
            # The order of a directory is the file system's.
            expected, received = sorted(expected), sorted(received)
        if expected != received:
            differences.append(f"C: {escape(exchange.command)}")
            differences += [f"- {escape(line)}" for line in expected if line not in received]
            differences += [f"+ {escape(line)}" for line in received if line not in expected]
    assert not differences, "\n".join(differences)
    assert not unused


TRUTH = Path(__file__).parents[1] / "trees/small.truth"
CREW = "/home/vpopmail/domains/catch.example/crew"
LAST_BEFORE_THE_LINK = (
    f"crew-digest-return-default@catch.example |/usr/bin/ezmlm/ezmlm-send '{CREW}'"
)
AFTER_THE_LINK = (
    *(
        f"crew-{name}@catch.example |/usr/bin/ezmlm/ezmlm-{program} '{CREW}'"
        for name in ("owner", "reject-default", "return-default")
        for program in ("reject", "send")
    ),
    "dotted.name@catch.example /home/vpopmail/domains/catch.example/everything/Maildir/",
    "mixed@catch.example # comment line",
    "mixed@catch.example &a@b.example",
    "mixed@catch.example plain@c.example",
    "mixed@catch.example |/bin/cat >/dev/null",
    "mixed@catch.example ./Maildir/",
    "mixed@catch.example /var/tmp/mbox",
    (
        "robot@catch.example |/usr/bin/autorespond 10000 5"
        " /home/vpopmail/domains/catch.example/ROBOT/message"
        " /home/vpopmail/domains/catch.example/ROBOT"
    ),
    "sales@catch.example everything@catch.example",
    "support@catch.example &ext@elsewhere.example",
    "support@catch.example away@catch.example",
    "ticket@catch.example |/usr/local/bin/ticket --queue new",
)


def test_all_that_a_real_daemon_says_of_a_larger_site_is_said_again(
    serve: Callable[..., Running],
) -> None:
    steps = transcripts.read(TRUTH / "daemon.txt")
    deviations = [
        # .qmail-crew-link is a dangling symbolic link, at which the C daemon stops reading.
        Deviation(
            28,
            (LAST_BEFORE_THE_LINK, "."),
            (LAST_BEFORE_THE_LINK, *AFTER_THE_LINK, "."),
            "list_alias catch.example",
        ),
        Deviation(21, (".qmail-crew-link",), (), "list_lists catch.example"),
    ]

    compare(steps, serve("small"), deviations)
