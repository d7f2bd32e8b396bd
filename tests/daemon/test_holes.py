"""The known holes of the C daemon, each tried over a real socket: none of them works here."""

import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.daemon.accounts import (
    ADMIN,
    ALICE,
    EXAMPLE,
    HASH,
    NOT_WRITTEN,
    POSTMASTER,
    SYSTEM,
    UNKNOWN,
    blocks,
    contents,
    dotqmails,
    entries,
    fields,
    rows,
)
from tests.daemon.conftest import Running, Talk
from vpopsql.model import Mailbox

TalkTo = Callable[..., Talk]


# --- field injection ----------------------------------------------------------------------------


INJECTIONS: list[str | bytes] = [
    "comment x:/home/vpopmail:NOQUOTA",
    "comment x\x01y",
    b"comment x\0y",
    "comment x\ry",
    "quota 1S:/home",
    "quota NOQUOTA\ry",
    "encrypted_password $1$ab:65536:0:x",
    f"encrypted_password {HASH}:0:65536",
    "encrypted_password *\ry",
    "clear_text_password x\ry",
    "clear_text_password x\x02y",
    b"clear_text_password x\0y",
    "no_pop 1:65536",
]


def test_no_value_of_a_user_reaches_another_field(system: Talk, root: Path) -> None:
    before = entries(root)
    asked = [line if isinstance(line, bytes) else line.encode() for line in INJECTIONS]

    answers = []
    for option in asked:
        assert system.ask("mod_user bob@example.com") == ["+OK "]
        answers += system.ask(option, ".")

    assert [answer[:11] for answer in answers] == ["-ERR 0.507 "] * len(INJECTIONS)
    assert entries(root) == before


def test_a_password_with_a_colon_stays_a_password(
    daemon: Running, root: Path, talk_to: TalkTo
) -> None:
    before = entries(root)["alice"]
    password = "p:0:65536:root:/home:NOQUOTA"

    talk_to(daemon, *ALICE).change("mod_user alice@example.com", f"clear_text_password {password}")

    after = entries(root)["alice"]
    assert after.clear_text == password
    assert (after.apop_uid, after.flags, after.directory) == (
        before.apop_uid,
        before.flags,
        before.directory,
    )
    talk_to(daemon, "alice@example.com", password)


NAMES = [
    "add_user a:b@example.com pw",
    "add_user eve@example.com:0:65536 pw",
    "add_user ev\re@example.com pw",
    "add_domain a:b.org pw",
    "add_domain a\rb.org pw",
    "add_domain new.org pw\x01",
    "add_alias_domain example.com a:b.org",
    "add_alias_domain example.com a\rb.org",
    "add_alias a:b@example.com bob@example.com",
    "add_alias a\rb@example.com bob@example.com",
    "add_alias ab@example.com bob@example.com\rx",
    "add_ip_map 192.0.2.1:x example.com",
    "add_ip_map 192.0.2.1\rx example.com",
]


def test_no_name_reaches_another_field(system: Talk, root: Path) -> None:
    before = contents(root)

    answers = [system.ask(command) for command in NAMES]

    assert [
        command for command, said in zip(NAMES, answers, strict=True) if said == ["+OK "]
    ] == []
    assert contents(root) == before


# --- programs -----------------------------------------------------------------------------------


PROGRAMS = [
    "|/bin/sh -c 'id'",
    "| /usr/bin/autorespond 1 1 `id` x",
    "|/usr/bin/autorespond 1 1 x; id",
    "/etc/cron.d/x",
    "./../bob/Maildir/",
    " |/bin/sh",
    "&|/bin/sh",
    "/home/vpopmail/domains/example.company/eve/Maildir/",
]


@pytest.mark.parametrize(
    "who, path",
    [
        (ALICE, "alice@example.com/.qmail"),
        (ALICE, "alice@example.com/.qmail-ext"),
        (ADMIN, "example.com/.qmail-info"),
        (ADMIN, "example.com/.qmail-default"),
        (ADMIN, "alice@example.com/.qmail"),
        (POSTMASTER, "bob@example.com/.qmail"),
    ],
)
def test_nobody_writes_a_line_that_runs_a_program_or_leaves_his_place(
    daemon: Running, root: Path, talk_to: TalkTo, who: tuple[str, str], path: str
) -> None:
    talk = talk_to(daemon, *who)
    home = path.partition("/")[0]
    before = dotqmails(root)

    written = [talk.ask(f"write_file {path}", "&a@b.example", line, ".") for line in PROGRAMS]
    kept = [talk.ask(f"write_file {home}/plain", "&a@b.example", PROGRAMS[0], ".")]
    renamed = talk.ask(f"rename_file {home}/plain {path}")

    assert {said[0] for said in written} == {NOT_WRITTEN}
    assert kept == [["+OK "]]
    assert renamed == ["-ERR 0.3803 Operation not permitted"]
    assert dotqmails(root) == before


def test_no_alias_runs_a_program(
    daemon: Running, system: Talk, talk_to: TalkTo, root: Path
) -> None:
    admin, alice = talk_to(daemon, *ADMIN), talk_to(daemon, *ALICE)
    before = dotqmails(root)

    answers = [admin.ask(f"add_alias new@example.com {line}")[0] for line in PROGRAMS]

    assert {answer[:5] for answer in answers} == {"-ERR "}
    assert alice.ask("add_alias new@example.com |/bin/sh") == ["-ERR 4.107 Invalid Command"]
    assert dotqmails(root) == before
    assert system.ask("add_alias new@example.com |/bin/true") == ["+OK "]


def test_the_lines_of_a_refused_file_are_no_commands(
    daemon: Running, talk_to: TalkTo, root: Path
) -> None:
    before = contents(root)
    paths = ["/etc/x", "x", "a%b/c", "../x", "example.com/vpasswd", "no.example/x", "test.com/n/x"]
    talk = talk_to(daemon, *SYSTEM)

    answers = [
        talk.ask(f"write_file {path}", "del_domain example.com", "del_user al@example.com", ".")
        for path in paths
    ]

    assert [len(answer) for answer in answers] == [1] * len(paths)
    assert talk.ask("domain_count") == ["+OK+", "count 6", "."]
    assert contents(root) == before


def test_the_options_of_a_refused_change_are_no_commands(daemon: Running, talk_to: TalkTo) -> None:
    talk = talk_to(daemon, *SYSTEM)

    said = talk.ask("mod_user no@example.com", "comment x", "del_domain example.com", ".")
    assert said == ["-ERR 12.505 User does not exist"]
    said = talk.ask("set_limits no.example", "max_aliases 1", "del_domain example.com", ".")
    assert said == ["-ERR 34.3505 Could not get limits"]

    assert talk.ask("domain_count") == ["+OK+", "count 6", "."]


@pytest.mark.parametrize(
    "line",
    [
        b"write_file example.com/" + b"x" * 9000,
        b"write_file example.com/x\0",
        b"write_file\texample.com/x",
        b"\0write_file example.com/x",
        b"set_limits example.com" + b" " * 9000,
        b"MOD_USER bob@example.com\0",
    ],
    ids=["too long", "nul", "tab", "nul first", "options", "upper case"],
)
def test_the_lines_after_what_is_no_command_are_no_commands(system: Talk, line: bytes) -> None:
    said = system.ask(line, "x 1", "del_domain empty.org", ".")

    assert said == [UNKNOWN]
    assert system.ask("domain_count") == ["+OK+", "count 6", "."]


def test_a_client_that_waits_may_send_blank_lines_before_its_next_command(system: Talk) -> None:
    assert system.ask("mod_user no@example.com") == ["-ERR 12.505 User does not exist"]

    assert system.ask("", "domain_count") == ["+OK+", "count 6", "."]


# --- telling users apart ------------------------------------------------------------------------


def test_nobody_learns_from_a_failed_login_who_exists(daemon: Running) -> None:
    known, unknown = [], []

    for _ in range(9):
        known.append(failed_login(daemon, "alice@example.com"))
        unknown.append(failed_login(daemon, "nobody@example.com"))

    assert {answer for answer, _ in known + unknown} == {"-ERR 8.207 Invalid Login"}
    one, other = (statistics.median(spent for _, spent in each) for each in (known, unknown))
    assert 1 / 3 < one / other < 3


def failed_login(daemon: Running, address: str) -> tuple[str, float]:
    """Return what a wrong password is answered, and after how many seconds."""
    talk = Talk(daemon.address)
    started = time.perf_counter()
    (answer,) = talk.ask(f"slogin {address} wrong")
    spent = time.perf_counter() - started
    talk.client.close()
    return answer, spent


@pytest.mark.parametrize("command", ["user_info", "mod_user", "get_lastauth", "get_user_size"])
def test_a_user_learns_of_nobody_who_exists(
    daemon: Running, talk_to: TalkTo, command: str
) -> None:
    talk = talk_to(daemon, *ALICE)

    there, not_there = (talk.ask(f"{command} {name}@example.com") for name in ("bob", "nobody"))

    assert there == not_there
    assert there[0].startswith("-ERR ")


# --- lost updates -------------------------------------------------------------------------------


FLAG_NAMES = [
    "no_pop",
    "no_imap",
    "no_webmail",
    "no_smtp",
    "bounce_mail",
    "no_relay",
    "no_dialup",
    "user_flag_0",
    "user_flag_1",
    "user_flag_2",
    "user_flag_3",
    "no_spamassassin",
    "delete_spam",
    "no_maildrop",
]


def test_changes_of_many_sessions_are_all_there(
    daemon: Running, system: Talk, talk_to: TalkTo, root: Path
) -> None:
    options = [f"{name} 1" for name in FLAG_NAMES] + ["comment Many", "quota 5M"]
    talks = [talk_to(daemon, *SYSTEM) for _ in options]
    together = threading.Barrier(len(options))

    def change(talk: Talk, option: str) -> str:
        assert talk.ask("mod_user bob@example.com") == ["+OK "]
        together.wait()
        return talk.ask(option, ".")[0]

    with ThreadPoolExecutor(len(options)) as threads:
        answers = list(threads.map(change, talks, options))

    assert answers == ["+OK "] * len(options)
    bob = fields(system, "bob@example.com")
    assert bob["comment"] == "Many"
    assert bob["quota"] == "5242880S"
    assert int(bob["gidflags"]).bit_count() == len(FLAG_NAMES)
    line = entries(root)["bob"]
    assert (line.comment, line.flags, line.quota_text) == (
        "Many",
        int(bob["gidflags"]),
        "5242880S",
    )


# --- injection ----------------------------------------------------------------------------------


SQL = [
    "x' OR '1'='1",
    "'; DROP TABLE mailbox; --",
    "' UNION SELECT password_hash FROM mailbox --",
    "%",
    "al_ce",
    "\\'; DELETE FROM domain; --",
    "{0} %s %(name)s :name ? $1",
]


def test_sql_in_a_value_is_a_value(
    daemon: Running, system: Talk, talk_to: TalkTo, root: Path
) -> None:
    asked: list[str] = []
    for text in SQL:
        word = text.replace(" ", "/**/")
        asked += [
            f"user_info {word}@example.com",
            f"user_info alice@{word}",
            f"dom_info {word}",
            f"list_users {word} 0 0",
            f"find_domain {word} 10",
            f"list_alias {word}@example.com",
            f"get_limits {word}",
            f"get_ip_map {word}",
            f"del_user {word}@example.com",
            f"del_domain {word}",
            f"delete_alias {word}@example.com",
            f"read_file {word}@example.com/note.txt",
        ]
    before, counted = contents(root), rows(daemon)

    answers = [system.ask(line) for line in asked]

    assert not [said for said in answers if said[0].startswith(("-ERR 0.108", "-ERR 0.109"))]
    assert not [said for said in answers if any("password" in line for line in said)]
    assert contents(root) == before
    assert rows(daemon) == counted
    nobody = Talk(daemon.address)
    assert nobody.ask("slogin x'/**/OR/**/'1'='1@example.com x")[0].startswith("-ERR 8.20")
    nobody.client.close()
    for text in (each for each in SQL if ":" not in each):
        assert system.change("mod_user bob@example.com", f"comment {text}") == "+OK "
        assert fields(system, "bob@example.com")["comment"] == text
    assert rows(daemon) == counted


def test_a_line_end_that_sql_stored_forges_no_reply(daemon: Running, talk_to: TalkTo) -> None:
    forged = "x\r\n.\r\n+OK+\r\nname root\r\nclear_text_password stolen\r\n."
    with daemon.database.writer() as session:
        of_bob = Mailbox.directory == f"{EXAMPLE}/bob"
        session.execute(update(Mailbox).where(of_bob).values(comment=forged, clear_text=forged))
    talk = talk_to(daemon, *POSTMASTER)

    shown = talk.ask("user_info bob@example.com")
    listed = blocks(talk.ask("list_users example.com 0 0"))

    assert [line.partition(" ")[0] for line in shown] == [
        "+OK+",
        "name",
        "comment",
        "quota",
        "user_dir",
        "encrypted_password",
        "clear_text_password",
        "gidflags",
        ".",
    ]
    assert [each["name"] for each in listed] == sorted(
        ["al", "alice", "bob", "carol", "dadmin", "locked", "oadmin", "postmaster"]
    )
    assert talk.ask("user_count example.com") == ["+OK+", "count 8", "."]


def test_a_line_end_that_sql_stored_forges_no_line_of_a_file(
    daemon: Running, system: Talk, root: Path
) -> None:
    before = entries(root)
    with daemon.database.writer() as session:
        of_bob = Mailbox.directory == f"{EXAMPLE}/bob"
        forged = f"x\nroot:{HASH}:0:65536:root:/:NOQUOTA:"
        session.execute(update(Mailbox).where(of_bob).values(comment=forged))

    said = system.change("mod_user alice@example.com", "comment Changed")

    assert said == "-ERR 0.112 Saved, but not all files could be written"
    after = entries(root)
    assert after.keys() == before.keys()
    assert {name: entry.flags for name, entry in after.items()} == {
        name: entry.flags for name, entry in before.items()
    }
