"""Recorded conversations with a real vpopmaild, held again with our daemon.

Every recording is either replayed here, line for line, with the deviations that are intended, or
it is in `NOT_YET` because it has commands that do not exist yet, or in `ELSEWHERE` because a test
of its own says more.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import transcripts
from tests.daemon.conftest import Running
from tests.transcripts import Deviation, escape

NOT_YET = {
    "020-line-endings": "help of all commands",
    "027-bad-commands": "del_limits",
    "033-help-sa": "help of all commands",
    "035-help-user": "help of all commands",
    "036-add-user": "add_user",
    "038-add-user-names": "add_user",
    "039-add-user-limits": "add_user",
    "041-del-user": "del_user",
    "043-del-user-catchall": "del_user",
    "049-mod-user-all-sa": "mod_user",
    "050-mod-user-all-da": "mod_user",
    "051-mod-user-all-oa": "mod_user",
    "053-mod-user-all-user": "mod_user",
    "056-mod-user-passwords": "mod_user",
    "057-mod-user-encrypted-by-user": "mod_user",
    "058-mod-user-inject-fields": "mod_user",
    "059-mod-user-inject-clear": "mod_user",
    "061-mod-user-da-on-sysadmin": "mod_user",
    "062-mod-user-errors": "mod_user",
    "063-mod-user-unknown-crlf": "mod_user",
    "065-mod-user-eof": "mod_user",
    "070-add-domain": "add_domain",
    "072-add-alias-domain": "add_alias_domain",
    "073-del-domain": "del_domain",
    "074-del-domain-own": "del_domain",
    "075-del-domain-missing-dir": "del_domain",
    "085-alias-add": "add_alias",
    "086-alias-add-lines": "add_alias",
    "088-alias-da": "add_alias",
    "089-dir-sa": "mk_dir",
    "090-path-refusals": "mk_dir, rm_dir, rm_file, rename_file, write_file",
    "092-path-prefix-da": "write_file",
    "094-path-symlink": "write_file",
    "095-path-rmdir-symlink": "rm_dir",
    "096-file-write-read": "write_file",
    "097-file-write-lf": "write_file",
    "098-file-dots": "write_file",
    "100-file-write-long": "write_file",
    "102-file-write-refused": "write_file",
    "103-file-write-qmail-user": "write_file",
    "104-file-da-vpasswd": "write_file",
    "107-ip-map": "add_ip_map",
    "109-ip-map-oob-del": "del_ip_map",
    "110-ip-map-oob-add": "add_ip_map",
    "114-limits-set-all": "set_limits",
    "116-limits-errors": "set_limits",
    "118-limits-login-effect": "set_limits",
    "119-lists-not-implemented": "add_list",
    "120-two-sessions": "del_user",
    "121-stale-assign-cache": "del_domain",
    "123-sql-injection": "add_alias",
    "125-ip-map-each": "add_ip_map",
    "127-del-user-symlink-dir": "del_user",
    "128-user-slash-names": "add_user",
    "131-add-alias-existing-mailbox-vdeliver": "add_alias",
    "133-mod-user-inject-comment": "mod_user",
    "134-mod-user-inject-dir": "mod_user",
    "135-add-domain-too-long": "add_domain",
    "136-add-domain-lengths": "add_domain",
    "138-path-overlong": "add_alias",
    "139-long-names-each": "add_alias",
}

ELSEWHERE = {
    "030-pipelining-2": "point 15: test_a_whole_session_in_one_piece_is_answered",
    "031-pipelining-login": "point 15: test_a_whole_session_in_one_piece_is_answered",
    "032-idle-timeout": "test_a_silent_client_is_told_that_time_is_up",
    "079-list-domains-empty": "point 21: test_an_empty_site_gives_empty_lists",
}

MAXIMA = ("popaccounts", "aliases", "forwards", "autoresponders", "mailinglists")
COUNTS = ("disk_quota", "max_msgcount", "default_quota", "default_maxmsgcount")
DISABLED = (
    *("pop", "imap", "dialup", "password_changing"),
    *("webmail", "external_relay", "smtp", "spamassassin"),
)
PERMISSIONS = (
    *("account", "alias", "forward", "autoresponder"),
    *("maillist", "quota", "defaultquota"),
)
NO_LIMITS = (
    *(f"max_{what} -1" for what in MAXIMA),
    *(f"{what} 0" for what in COUNTS),
    *(f"disable_{what} 0" for what in DISABLED),
    "delete_spam 0",
    "disable_maildrop 0",
    *(f"perm_{what} 0" for what in PERMISSIONS),
    "perm_defaultquota 0",
)
SAME_TEXT = Deviation(8, ("-ERR 8.206 Invalid Login",), ("-ERR 8.207 Invalid Login",))
ONLY_LISTS = Deviation(21, (".qmail-zero",), (), "list_lists")
INVALID = "-ERR 4.107 Invalid Command"

DEVIATIONS: dict[str, list[Deviation]] = {
    "008-login-errors": [SAME_TEXT],
    "023-long-line": [
        Deviation(16, (INVALID, INVALID, "+OK+"), ("+OK+",), "domain_count"),
        Deviation(16, (INVALID, "+OK+"), ("+OK+",), "domain_count"),
    ],
    "024-long-line-login": [
        SAME_TEXT,
        Deviation(
            16, ("-ERR 7.204 Password Required",), ("-ERR 8.207 Invalid Login",), "slogin a"
        ),
    ],
    "067-get-lastauth": [
        Deviation(
            5,
            ("-ERR 9.3701 Not Authorized",),
            ("+OK+", "time 1795333453", "ip 0.0.0.0", "."),
            "get_lastauth alice@example.com",
        )
    ],
    "068-get-user-size": [
        Deviation(21, ("size 0", "count 0"), ("size 102", "count 3"), "get_user_size carol"),
        Deviation(
            5,
            ("-ERR 3801 not authorized",),
            ("+OK+", "size 0", "count 0", "."),
            "get_user_size alice",
        ),
    ],
    "076-dom-info": [
        Deviation(
            5, ("-ERR 9.3401 Not Authorized",), ("+OK+", *NO_LIMITS, "."), "get_limits example.com"
        ),
        Deviation(
            5,
            ("-ERR 9.3001 Not Authorized",),
            ("+OK+", "127.0.0.9 example.com", "."),
            "get_ip_map",
        ),
    ],
    "082-list-users-pages": [
        Deviation(21, ("+OK+", *skipped), ("+OK+",), f"list_users example.com {page} 3")
        for page, skipped in ((2, [""] * 3), (3, [""] * 6), (4, [""] * 8))
    ],
    "084-list-lists": [
        Deviation(
            21,
            (".qmail-aaa", ".qmail-mylist"),
            (".qmail-mylist", ".qmail-mylist-default"),
            "list_lists example.com 1 2",
        ),
        Deviation(
            21,
            (".qmail-mylist-default", ".qmail-mylist-owner"),
            (".qmail-mylist-owner", ".qmail-mylist-return-default"),
            "list_lists example.com 2 2",
        ),
        ONLY_LISTS,
    ],
    "106-file-sa-outside": [
        Deviation(
            10,
            ("+OK+", *content, "."),
            ("-ERR 26.1510 Unauthorized Directory.",),
            command,
        )
        for command, content in (("list_dir", ["s file"]), ("read_file", ["secret"]))
    ],
    "108-ip-map-oob-get": [Deviation(19, ("-ERR 37.3002 (null)",), ("-ERR 37.3002 IP Required",))],
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


SETUPS: dict[str, Callable[[Path], object]] = {
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


@pytest.mark.parametrize("name", [n for n in names() if n not in NOT_YET | ELSEWHERE])
def test_a_recorded_conversation_goes_as_it_went(name: str, serve: Callable[..., Running]) -> None:
    daemon = serve("base", SETUPS.get(name, bool))

    compare(
        transcripts.read(transcripts.RECORDINGS / f"{name}.txt"),
        daemon,
        DEVIATIONS.get(name, []),
    )


def compare(steps: list[transcripts.Step], daemon: Running, deviations: list[Deviation]) -> None:
    """Hold a conversation again; every difference must be a deviation, every one must be met."""
    unused = list(deviations)
    differences = []

    def expect(command: bytes, recorded: list[bytes]) -> list[bytes]:
        for deviation in deviations:
            changed = deviation.apply(command, recorded)
            if changed is not None:
                unused.remove(deviation) if deviation in unused else None
                return changed
        return recorded

    for exchange in transcripts.replay(steps, daemon.address, expect):
        expected, received = exchange.expected, exchange.received
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
