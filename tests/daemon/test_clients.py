"""What the clients in use send, byte for byte, and what they need back."""

import contextlib
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemon.conftest import Running
from tests.transcripts import Client

Connect = Callable[[], Client]

DOMAINS = "/home/vpopmail/domains"
EXAMPLE = f"{DOMAINS}/example.com"
HOME = f"{EXAMPLE}/alice"
GOOD = b"+OK \r\n"


@pytest.fixture
def connect(daemon: Running) -> Iterator[Connect]:
    """A function that connects and takes the greeting."""
    with contextlib.ExitStack() as opened:

        def connect_to() -> Client:
            client = opened.enter_context(contextlib.closing(Client(daemon.address)))
            assert client.line() == GOOD
            return client

        yield connect_to


def say(client: Client, *lines: str, ends: str = "\r\n") -> bytes:
    """Send lines in one piece; return the first line of the answer."""
    client.send("".join(line + ends for line in lines).encode())
    return client.line()


def rest(client: Client) -> list[str]:
    """Return the lines of a list, without its ends and its final dot."""
    return [line.rstrip(b"\r\n").decode() for line in iter(client.line, b".\r\n")]


def listed(client: Client, command: str) -> list[str]:
    """Return the lines that a command lists."""
    assert say(client, command) == b"+OK+\r\n"
    return rest(client)


def eventually(check: Callable[[], bool]) -> bool:
    """Wait for something that another thread does."""
    deadline = time.monotonic() + 10
    while not (true := check()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return true


def can_log_in(connect: Connect, account: str, password: str) -> bool:
    """Tell whether a password is the one."""
    client = connect()
    answer = say(client, f"slogin {account} {password}")
    client.close()
    return answer == GOOD


# --- Net_Vpopmaild ------------------------------------------------------------------------------


FLAGS = [
    "no_password_change",
    "no_pop",
    "no_webmail",
    "no_imap",
    "no_smtp",
    "bounce_mail",
    "no_relay",
    "no_dialup",
    "user_flag_0",
    "user_flag_1",
    "user_flag_2",
    "user_flag_3",
    "system_admin_privileges",
    "system_expert_privileges",
    "domain_admin_privileges",
    "override_domain_limits",
    "no_spamassassin",
    "no_maildrop",
    "delete_spam",
]
"""All that the library writes back, in its order."""


@pytest.mark.parametrize(
    "login",
    ["postmaster@test.com password", "dadmin@example.com dadminpw", "carol@example.com carolpw"],
)
def test_net_vpopmaild_writes_back_what_it_read_and_one_change(
    connect: Connect, login: str
) -> None:
    client, system = connect(), connect()
    say(system, "slogin postmaster@test.com password")
    before = listed(system, "user_info carol@example.com")
    assert say(client, f"clogin {login}") == b"+OK+\r\n"
    rest(client)

    assert say(client, "mod_user carol@example.com") == GOOD
    said = say(
        client,
        "quota 10000000S,100C",
        "comment Carol C.",
        "clear_text_password carolpw",
        *(f"{flag} {int(flag == 'delete_spam')}" for flag in FLAGS),
        ".",
    )
    client.send(b"quit\n\r\n")

    assert said == GOOD
    assert client.line() == GOOD
    assert client.line() == b""
    after = listed(system, "user_info carol@example.com")
    expected = {"comment Carol C.", "gidflags 32768"}
    assert {line for line in after if not line.startswith("encrypted")} - set(before) == expected
    assert can_log_in(connect, "carol@example.com", "carolpw")


def test_net_vpopmaild_writes_a_file_without_waiting(connect: Connect, root: Path) -> None:
    client = connect()
    assert say(client, "clogin postmaster@example.com expass") == b"+OK+\r\n"
    rest(client)

    client.send(b"write_file example.com/notes\r\n")
    client.send(b"one\r\n")
    client.send(b"+OK two\r\n")
    client.send(b".\r\n")

    assert client.line() == GOOD
    written = (root / EXAMPLE[1:] / "notes").read_bytes()
    assert written.replace(b"\r", b"") == b"one\n+OK two\n"
    assert say(client, "write_file /etc/no", "del_user al@example.com", ".") == (
        b"-ERR 26.1511 Unauthorized Directory.\r\n"
    )
    assert listed(client, "user_count example.com") == ["count 8"]


def test_net_vpopmaild_lists_everything_with_0_0(connect: Connect) -> None:
    client = connect()
    assert say(client, "clogin postmaster@test.com password") == b"+OK+\r\n"
    rest(client)

    users = listed(client, "list_users example.com 0 0")
    domains = listed(client, "list_domains 0 0")

    starts = [line for line in users if line.startswith("name ")]
    assert [line.split()[1] for line in starts] == [
        "al",
        "alice",
        "bob",
        "carol",
        "dadmin",
        "locked",
        "oadmin",
        "postmaster",
    ]
    assert len([line for line in users if line.startswith("gidflags ")]) == len(starts)
    assert [line for line in users if line and " " not in line] == []
    assert len(domains) == 6
    assert listed(client, "find_domain nosuch.example 0") == []


# --- ToasterAdmin -------------------------------------------------------------------------------


def test_toasteradmin_keeps_a_forward(connect: Connect, root: Path) -> None:
    client = connect()
    assert say(client, "clogin postmaster@example.com expass") == b"+OK+\r\n"
    rest(client)
    file = root / EXAMPLE[1:] / ".qmail-away"

    assert say(client, "read_file example.com/.qmail-away") == (
        b"-ERR 0.2102 No such file or directory\r\n"
    )
    assert say(client, "write_file example.com/.qmail-away", "&a@b.example", ".") == GOOD
    assert "away@example.com &a@b.example" in listed(client, "list_alias example.com")
    assert say(client, "read_file example.com/.qmail-away") == b"+OK+\r\n"
    assert [line.strip() for line in rest(client)] == ["&a@b.example"]
    edited = ["&a@b.example", "&c@d.example"]
    assert say(client, "write_file example.com/.qmail-away", *edited, ".") == GOOD
    shown = listed(client, "list_alias away@example.com")
    assert shown == [f"away@example.com {line}" for line in edited]
    assert file.read_bytes().replace(b"\r", b"") == b"&a@b.example\n&c@d.example\n"
    assert say(client, "rm_file example.com/.qmail-away") == GOOD

    assert listed(client, "list_alias away@example.com") == []
    assert not file.exists()


def test_toasteradmin_keeps_a_robot(connect: Connect, root: Path) -> None:
    client = connect()
    assert say(client, "clogin postmaster@test.com password") == b"+OK+\r\n"
    rest(client)
    info = listed(client, "dom_info example.com")
    path = next(line.split(" ")[1] for line in info if line.startswith("path "))
    line = f"|/usr/bin/autorespond 1000 3 {path}/HOLIDAY/message {path}/HOLIDAY"

    assert say(client, f"mk_dir {path}/HOLIDAY") == GOOD
    message = ["From: robot@example.com", "Subject: Away", "", "I am away"]
    assert say(client, f"write_file {path}/HOLIDAY/message", *message, ".") == GOOD
    assert say(client, f"write_file {path}/.qmail-holiday", line, "&bob@example.com", ".") == GOOD

    aliases = listed(client, "list_alias example.com")
    assert [each for each in aliases if each.startswith("holiday@")] == [
        f"holiday@example.com {line}",
        "holiday@example.com &bob@example.com",
    ]
    assert [
        each.strip() for each in listed(client, f"read_file {path}/HOLIDAY/message")
    ] == message
    assert say(client, f"rm_dir {path}/HOLIDAY") == GOOD
    assert say(client, f"rm_file {path}/.qmail-holiday") == GOOD
    assert not (root / EXAMPLE[1:] / ".qmail-holiday").exists()
    assert not (root / EXAMPLE[1:] / "HOLIDAY").exists()


def test_toasteradmin_keeps_a_vacation_with_the_users_own_login(
    connect: Connect, root: Path
) -> None:
    client = connect()
    assert say(client, "clogin alice@example.com alicepw") == b"+OK+\r\n"
    home = next(line.split(" ")[1] for line in rest(client) if line.startswith("user_dir "))
    mine = "alice@example.com"
    line = f"| /usr/bin/autorespond 86400 3 {home}/vacation/message {home}/vacation"

    assert say(client, f"read_file {mine}/.qmail") == b"-ERR 0.2102 No such file or directory\r\n"
    assert say(client, f"mk_dir {mine}/vacation") == GOOD
    assert say(client, f"write_file {mine}/vacation/message", "Subject: Out", "", ".") == GOOD
    assert say(client, f"write_file {mine}/.qmail", line, f"{home}/Maildir/", ".") == GOOD

    assert [each.strip() for each in listed(client, f"read_file {mine}/.qmail")] == [
        line,
        f"{home}/Maildir/",
    ]
    said = listed(client, f"read_file {home}/vacation/message")
    assert [each.strip() for each in said] == ["Subject: Out", ""]
    assert say(client, f"rm_file {mine}/.qmail") == GOOD
    assert say(client, f"rm_dir {mine}/vacation/") == GOOD
    assert not (root / HOME[1:] / ".qmail").exists()
    assert not (root / HOME[1:] / "vacation").exists()


# --- Haraka -------------------------------------------------------------------------------------


@pytest.fixture
def chunks(daemon: Running) -> Iterator[socket.socket]:
    """A connection that is read piece by piece, as Haraka does."""
    with socket.create_connection(daemon.address, timeout=10) as connection:
        yield connection


@pytest.mark.parametrize("password, begin", [("alicepw", b"+OK "), ("wrong", b"-ERR 8.207 ")])
def test_haraka_reads_an_answer_in_one_piece_and_waits_for_the_end(
    chunks: socket.socket, password: str, begin: bytes
) -> None:
    greeting = chunks.recv(4096)
    chunks.sendall(f"slogin alice@example.com {password}\n\r".encode())
    answer = chunks.recv(4096)
    chunks.sendall(b"quit\n\r")
    chunks.shutdown(socket.SHUT_WR)

    last = b"".join(iter(lambda: chunks.recv(4096), b""))

    assert greeting == GOOD
    assert answer.startswith(begin)
    assert answer.endswith(b"\r\n")
    assert last == GOOD


def test_haraka_reads_a_password_that_is_stored_in_one_piece(chunks: socket.socket) -> None:
    chunks.recv(4096)
    chunks.sendall(b"slogin postmaster@test.com password\n\r")
    chunks.recv(4096)

    chunks.sendall(b"user_info alice@example.com\n\r")
    answer = chunks.recv(65536)
    chunks.sendall(b"quit\n\r")

    assert b"clear_text_password alicepw\r\n" in answer
    assert answer.endswith(b".\r\n")
    assert chunks.recv(4096) == GOOD


# --- Roundcube ----------------------------------------------------------------------------------


@pytest.mark.parametrize("password", ["two words", "=a:b%c'\"", " ümläut "])
def test_roundcube_changes_a_password_and_reads_one_line_only(
    connect: Connect, password: str
) -> None:
    client = connect()
    assert say(client, "slogin alice@example.com alicepw") == GOOD

    client.send(b"mod_user alice@example.com\r\n")
    client.send(f"clear_text_password {password}\r\n".encode())
    client.send(b".\r\n")
    assert client.line() == GOOD
    client.send(b"quit\r\n")
    client.close()

    assert eventually(lambda: can_log_in(connect, "alice@example.com", password))


def test_roundcube_is_told_at_once_that_an_account_is_not_his(connect: Connect) -> None:
    client = connect()
    assert say(client, "slogin alice@example.com alicepw") == GOOD

    said = say(client, "mod_user bob@example.com", "clear_text_password mine", ".", "quit")

    assert said == b"-ERR 9.503 Not Authorized\r\n"
    assert client.line() == GOOD
    assert client.line() == b""
    assert can_log_in(connect, "bob@example.com", "bobpw")


def hang_up(connection: socket.socket) -> None:
    """Close with RST, as a kernel does when answers were not read."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # With the first answer all lines have been read: a reset would overtake others.
    assert select.select([connection], [], [], 10)[0]
    connection.close()


def test_roundcubes_change_survives_that_nobody_reads_and_the_connection_is_reset(
    daemon: Running, connect: Connect
) -> None:
    connection = socket.create_connection(daemon.address, timeout=10)
    connection.recv(4096)
    connection.sendall(b"slogin alice@example.com alicepw\r\n")
    connection.recv(4096)

    connection.sendall(b"mod_user alice@example.com\r\nclear_text_password new\r\n.\r\nquit\r\n")
    hang_up(connection)

    assert eventually(lambda: can_log_in(connect, "alice@example.com", "new"))


def test_spam_vpopmaild_reads_nothing_after_its_login(daemon: Running, connect: Connect) -> None:
    system = connect()
    say(system, "slogin postmaster@test.com password")
    connection = socket.create_connection(daemon.address, timeout=10)
    connection.recv(4096)
    connection.sendall(b"slogin alice@example.com alicepw\r\n")
    connection.recv(4096)

    connection.sendall(
        b"mod_user alice@example.com\r\nno_spamassassin 1\r\ndelete_spam 1\r\n.\r\nquit\r\n"
    )
    hang_up(connection)

    shown = f"gidflags {0x4000 | 0x8000}"
    assert eventually(lambda: shown in listed(system, "user_info alice@example.com"))


def test_spam_vpopmaild_finds_its_two_flags_in_the_long_form(connect: Connect) -> None:
    client = connect()

    assert say(client, "login alice@example.com alicepw") == b"+OK+\r\n"

    lines = rest(client)
    assert {"no_spamassassin 0", "delete_spam 0"} <= set(lines)
    assert [line for line in lines if line.startswith(".")] == []


# --- qpsmtpd ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "password, first", [("alicepw", b"+OK+\r\n"), ("wrong", b"-ERR 8.207 Invalid Login\r\n")]
)
def test_qpsmtpd_logs_in_twice_reads_one_line_and_leaves(
    connect: Connect, password: str, first: bytes
) -> None:
    client = connect()
    line = f"login alice@example.com {password}\n\r".encode()

    client.send(line)
    client.send(line)
    said = client.line()
    client.close()

    assert said == first
    assert can_log_in(connect, "alice@example.com", "alicepw")


# --- all of them --------------------------------------------------------------------------------


def test_a_password_with_blanks_at_its_ends_is_kept_as_it_is(connect: Connect) -> None:
    client = connect()
    say(client, "slogin postmaster@test.com password")

    assert say(client, "add_user eve@example.com  two  words ") == GOOD

    assert can_log_in(connect, "eve@example.com", " two  words ")
    assert not can_log_in(connect, "eve@example.com", "two  words")
    assert "clear_text_password  two  words " in listed(client, "user_info eve@example.com")
