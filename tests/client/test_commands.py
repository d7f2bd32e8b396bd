"""What commands send, and what they make of the answers of real daemons."""

import dataclasses
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from tests import transcripts
from vpopsql.client import (
    AliasLine,
    Domain,
    DomainName,
    Entry,
    Flag,
    IpMapping,
    LastAuth,
    ProtocolError,
    Refused,
    Size,
    commands,
)
from vpopsql.client.commands import Command
from vpopsql.client.replies import Reply, ReplyReader
from vpopsql.daemon.commands import COMMANDS

ARGUMENTS: dict[str, tuple[object, ...]] = {
    "login": ("a@b.example", "pw"),
    "help": (),
    "list_domains": (),
    "find_domain": ("b.example", 10),
    "domain_count": (),
    "dom_info": ("b.example",),
    "add_domain": ("b.example", "pw"),
    "add_alias_domain": ("b.example", "c.example"),
    "del_domain": ("b.example",),
    "get_domain_size": ("b.example",),
    "get_limits": ("b.example",),
    "set_limits": ("b.example",),
    "del_limits": ("b.example",),
    "user_info": ("a@b.example",),
    "list_users": ("b.example",),
    "user_count": ("b.example",),
    "add_user": ("a@b.example", "pw"),
    "del_user": ("a@b.example",),
    "mod_user": ("a@b.example",),
    "get_lastauth": ("a@b.example",),
    "get_user_size": ("a@b.example",),
    "list_alias": ("b.example",),
    "add_alias": ("a@b.example", "c@d.example"),
    "remove_alias": ("a@b.example", "c@d.example"),
    "delete_alias": ("a@b.example",),
    "list_lists": ("b.example",),
    "add_list": ("b.example", "list"),
    "mod_list": ("b.example", "list"),
    "del_list": ("b.example", "list"),
    "get_ip_map": ("192.0.2.1",),
    "show_ip_map": (),
    "add_ip_map": ("192.0.2.1", "b.example"),
    "del_ip_map": ("192.0.2.1", "b.example"),
    "list_dir": ("b.example/",),
    "mk_dir": ("b.example/x",),
    "rm_dir": ("b.example/x",),
    "read_file": ("b.example/x",),
    "write_file": ("b.example/x", ()),
    "rename_file": ("b.example/x", "b.example/y"),
    "rm_file": ("b.example/x",),
    "stat_file": ("b.example/x",),
    "quit": (),
}


def make(name: str, *arguments: object, **options: object) -> Command[object]:
    """Return a command by its function's name."""
    made: Command[object] = getattr(commands, name)(*(arguments or ARGUMENTS[name]), **options)
    return made


def answered(verb: str, text: str) -> object:
    """Return what a command makes of an answer."""
    (reply,) = ReplyReader().feed(text.encode())
    return make(verb).read(reply)


def test_there_is_a_function_for_every_verb_of_the_daemon() -> None:
    assert ARGUMENTS.keys() >= COMMANDS.keys()
    assert all(make(verb).verb == verb for verb in ARGUMENTS if verb != "login")


# --- what real daemons answered ------------------------------------------------------------------


def exchanges() -> Iterator[tuple[str, bytes]]:
    """Give every recorded command with the bytes of its answer, the bodies of commands left out.

    Those recordings are left out in which the answers have got out of step.
    """
    for path in sorted(transcripts.RECORDINGS.glob("*.txt")):
        verb, answer = "", b""
        for step in transcripts.read(path):
            if step.kind == "S":
                answer += step.data
                continue
            yield verb, answer
            words = step.data.split() if step.kind == "C" else []
            verb, answer = (words[0].decode("latin-1") if words else ""), b""
        yield verb, answer


def replies_to(*verbs: str) -> Iterator[tuple[str, Reply]]:
    for verb, answer in exchanges():
        if verb in verbs and (found := list(ReplyReader().feed(answer))):
            yield verb, found[0]


LISTING = {
    *("clogin", "login", "list_domains", "domain_count", "dom_info", "get_limits", "user_info"),
    *("list_users", "user_count", "get_lastauth", "get_user_size", "get_domain_size", "help"),
    *("list_alias", "list_lists", "get_ip_map", "show_ip_map", "list_dir", "read_file"),
    *("find_domain", "stat_file"),
}

COMMANDS_BY_VERB: dict[str, Command[object]] = {
    verb: make("login", "a@b.example", "pw", verb=verb) if "login" in verb else make(verb)
    for verb in LISTING
}


def test_every_list_of_a_real_daemon_is_understood() -> None:
    understood, codes = set(), set()
    for verb, reply in replies_to(*LISTING):
        try:
            COMMANDS_BY_VERB[verb].read(reply)
            understood.add(verb)
        except Refused as refusal:
            codes.add(refusal.code)

    assert understood == LISTING
    assert codes >= {"8.207", "12.605", "0.2102", "3805"}
    assert [code for code in codes if not re.fullmatch(r"\d+(\.\d+)?", code)] == []


def test_a_user_is_the_same_in_both_forms() -> None:
    in_lines, in_one = (
        next(reply for _, reply in replies_to(verb) if reply.is_good)
        for verb in ("login", "clogin")
    )

    assert COMMANDS_BY_VERB["login"].read(in_lines) == COMMANDS_BY_VERB["clogin"].read(in_one)


NEVER = "0.0.0.0"  # noqa: S104 - what the protocol calls never

USER = """+OK+\r
name carol\r
comment Carol  C. \r
quota 10000000S,100C\r
user_dir /home/vpopmail/domains/example.com/carol\r
encrypted_password $6$salt$hash\r
clear_text_password  two words \r
gidflags 133122\r
.\r
"""


def test_a_user_has_what_was_said() -> None:
    user = answered("user_info", USER)

    assert dataclasses.astuple(user) == (  # type: ignore[call-overload]
        "carol",
        "Carol  C. ",
        "10000000S,100C",
        "/home/vpopmail/domains/example.com/carol",
        "$6$salt$hash",
        " two words ",
        Flag.SA_EXPERT | Flag.NO_SMTP | Flag.NO_POP,
    )
    assert "two words" not in repr(user)
    assert "salt" not in repr(user)


@pytest.mark.parametrize(
    "verb, answer, value",
    [
        (
            "list_domains",
            "+OK+\na.example a.example\na.example b.example\n.\n",
            [DomainName("a.example", "a.example"), DomainName("a.example", "b.example")],
        ),
        ("find_domain", "+OK+\npage 3\n.\n", 3),
        ("find_domain", "+OK+\n.\n", None),
        ("user_count", "+OK+\ncount 12\n.\n", 12),
        (
            "dom_info",
            "+OK+\ndomain a.x\npath /d\nuid 89\ngid 90\nalias b.x\nalias c.x\n.\n",
            Domain("a.x", "/d", 89, 90, ("b.x", "c.x")),
        ),
        (
            "get_lastauth",
            "+OK+\ntime 1700000000\nip 192.0.2.1\n.\n",
            LastAuth(datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), "192.0.2.1"),
        ),
        ("get_lastauth", f"+OK+\ntime 1700000000\nip {NEVER}\n.\n", LastAuth(None, NEVER)),
        ("get_user_size", "+OK+\nsize 5\ncount 2\n.\n", Size(5, 2)),
        (
            "list_alias",
            "+OK+\na@b.example |/bin/x y\na@b.example c@d.example\n.\n",
            [AliasLine("a@b.example", "|/bin/x y"), AliasLine("a@b.example", "c@d.example")],
        ),
        ("list_alias", ".\r\n", []),
        (
            "list_dir",
            "+OK+\na file dir\nb file\n.\n",
            [Entry("a file", "dir"), Entry("b", "file")],
        ),
        ("show_ip_map", "+OK+\n::1 a.example\n.\n", [IpMapping("::1", "a.example")]),
        ("get_ip_map", "+OK+\n192.0.2.1 a.example\n.\n", "a.example"),
        ("read_file", "+OK+\none\r\n...\n two \n.\n", ["one\r", "..", " two "]),
        ("stat_file", "+OK+\nuid: 89\n.\n", 89),
    ],
)
def test_answers_become_values(verb: str, answer: str, value: object) -> None:
    assert answered(verb, answer) == value


@pytest.mark.parametrize(
    "verb, answer",
    [
        ("user_info", "+OK \n"),
        ("user_info", "+OK+\nname a\n.\n"),
        ("list_users", "+OK+\ncomment a\n.\n"),
        ("domain_count", "+OK+\ncount many\n.\n"),
        ("list_domains", "+OK+\nword\n.\n"),
        ("get_limits", "+OK+\n.\n"),
        ("get_lastauth", "+OK+\ntime 99999999999999999999\nip 192.0.2.1\n.\n"),
        ("get_domain_size", "+OK+\nuser a@b.example\nsize 1\n.\n"),
        ("get_ip_map", "+OK+\n.\n"),
        ("add_user", "+OK+\n.\n"),
    ],
)
def test_an_answer_that_is_none_to_the_command_is_told_from_a_refusal(
    verb: str, answer: str
) -> None:
    with pytest.raises(ProtocolError):
        answered(verb, answer)


def test_a_warning_of_set_limits_is_no_success() -> None:
    with pytest.raises(Refused, match="Warning: invalid value"):
        answered("set_limits", "  Warning: invalid value\r\n+OK \r\n")


# --- what is sent -------------------------------------------------------------------------------


def test_options_follow_a_command_line_by_line() -> None:
    command = make(
        "mod_user",
        "a@b.example",
        comment="A B",
        password=" s p ",
        set_flags=Flag.NO_POP,
        clear_flags=Flag.NO_IMAP | Flag.SA_EXPERT,
    )

    assert command.line == b"mod_user a@b.example\r\n"
    assert command.body == (
        b"comment A B\r\nclear_text_password  s p \r\nno_pop 1\r\nno_imap 0\r\n"
        b"system_expert_privileges 0\r\n.\r\n"
    )


def test_limits_follow_by_name() -> None:
    command = make("set_limits", "b.example", max_popaccounts=-1, disable_pop=True)

    assert command.body == b"max_popaccounts -1\r\ndisable_pop 1\r\n.\r\n"
    with pytest.raises(ValueError, match="there is no limit max_users"):
        make("set_limits", "b.example", max_users=1)


def test_a_line_of_dots_cannot_end_a_file() -> None:
    command = make("write_file", "b.example/x", ["one", ".", "..", ".x", ""])

    assert command.body == b"one\n..\n...\n.x\n\n.\n"


@pytest.mark.parametrize("end", ["\n", "\r", "\0"])
@pytest.mark.parametrize(
    "verb, arguments, options",
    [
        ("user_info", ("a@b.example{}",), {}),
        ("login", ("a@b.example", "sec{}ret"), {}),
        ("add_user", ("a@b.example", "sec{}ret"), {}),
        ("add_alias", ("a@b.example", "c@d.example{}del_domain x"), {}),
        ("mod_user", ("a@b.example",), {"password": "sec{}ret"}),
        ("mod_user", ("a@b.example",), {"comment": "a{}b"}),
        ("mod_user", ("a@b.example",), {"encrypted_password": "sec{}ret"}),
    ],
)
def test_no_parameter_can_end_its_line(
    verb: str, arguments: tuple[str, ...], options: dict[str, str], end: str
) -> None:
    with pytest.raises(ValueError, match="has a line end or a NUL") as refused:
        make(
            verb,
            *(each.replace("{}", end) for each in arguments),
            **{name: value.replace("{}", end) for name, value in options.items()},
        )

    assert "sec" not in str(refused.value)


@pytest.mark.parametrize(
    "attempt, why",
    [
        (lambda: commands.user_info("a b"), "address has a blank"),
        (lambda: commands.user_info(""), "address is empty"),
        (lambda: commands.add_user("a@b.example", ""), "password is empty"),
        (lambda: commands.add_user("a@b.example", "x" * 8200), "at most 8192 bytes"),
        (lambda: commands.list_users("b.example", -1, 5), "below 0"),
        (lambda: commands.login("a@b.example", "pw", verb="quit"), "verb is none of"),
        (lambda: commands.write_file("b.example/x", ["a\nb"]), "has a line end"),
        (
            lambda: commands.mod_user(
                "a@b.example", set_flags=Flag.NO_POP, clear_flags=Flag.NO_POP
            ),
            "set and cleared at once",
        ),
    ],
)
def test_what_cannot_be_sent_is_refused_before(attempt: Callable[[], object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        attempt()


def test_a_command_does_not_show_its_password() -> None:
    assert "secret" not in repr(commands.login("a@b.example", "secret"))
    assert "secret" not in repr(commands.mod_user("a@b.example", password="secret"))
