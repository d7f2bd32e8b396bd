"""Which lines of dot-qmail files anybody may write."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.services.test_rights import actor
from vpopsql import config
from vpopsql.daemon.delivery import make_rules
from vpopsql.errors import LineNotPermitted
from vpopsql.model import Flag, LineKind
from vpopsql.services import programs

HOME = "/home/vpopmail/domains/example.com/alice"
PROGRAMS = config.DotQmail().programs
CLASSIFY = make_rules("/home/vpopmail", PROGRAMS).classify
METACHARACTERS = "|&;<>()$`\\\"'*?[]#~=%{}!^\n\r\0"
COMMAND = f"|/usr/bin/autorespond 1000 3 {HOME}/vacation/message {HOME}/vacation"


def is_permitted(line: str) -> bool:
    return programs.is_permitted(line, CLASSIFY(line), HOME, PROGRAMS)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "# a remark |/bin/sh",
        "bob@example.com",
        "&bob@elsewhere.example",
        "./Maildir/",
        f"{HOME}/Maildir/",
        f"{HOME}/Maildir/.Lists/ ",
        COMMAND,
        COMMAND.replace("|", "| "),
        "|/usr/local/bin/autorespond 1000 3 ./vacation/message ./vacation",
        "|/usr/bin/vacation alice",
        f"|/usr/bin/ezmlm/ezmlm-send {HOME}/list",
        "|/usr/bin/ezmlm/ezmlm-reject",
    ],
)
def test_a_line_of_everyday_use_is_permitted(line: str) -> None:
    assert is_permitted(line)


@pytest.mark.parametrize(
    "line",
    [
        "|",
        "| ",
        "|/bin/sh -c id",
        "|id",
        "|autorespond 1000 3 ./m ./d",
        "|/usr/bin/autorespond/../sh",
        "|/usr/bin/autorespond2 1 2 ./m ./d",
        "|/usr/bin/ezmlm/ezmlm-",
        "|/usr/bin/ezmlm/ezmlm-x/../../sh",
        f"|/usr/bin/ezmlm/ezmlm-make -C ./rc {HOME}/l {HOME}/.q",
        f"|/usr/bin/ezmlm/ezmlm-send {HOME}x/list",
        f"|/usr/bin/ezmlm/ezmlm-send {HOME}/../bob/list",
        "|/usr/bin/autorespond 1000 3 /etc/passwd ./d",
        "|/usr/bin/autorespond 1000 3 message/../../vpasswd ./d",
        "|/usr/bin/autorespond 1000 3 .. ./d",
        "|/usr/bin/autorespond -m/etc/passwd",
        "|/usr/bin/autorespond 1000 3 ./vpasswd ./d",
        "|/usr/bin/autorespond 1000 3 vpasswd ./d",
        f"{COMMAND}; id",
        f"{COMMAND} && id",
        f"{COMMAND} > /tmp/x",
        f"{COMMAND} `id`",
        f"{COMMAND} $(id)",
        f"{COMMAND}\nid",
        "/etc/passwd/",
        "/home/vpopmail/domains/example.com/bob/Maildir/",
        "./../bob/Maildir/",
        f"{HOME}/../bob/Maildir/",
        "../bob/Maildir/",
        "./.qmail-x/",
        "./mbox",
        "./.qmail-x",
        f"{HOME}/mbox",
        "/etc/cron.d/x",
        " |/bin/sh -c id",
        "& |/bin/sh -c id",
        "&/etc/cron.d/x",
        "./Mail\0dir/",
    ],
)
def test_a_line_that_runs_or_reaches_something_else_is_refused(line: str) -> None:
    assert not is_permitted(line)


@given(
    st.text(st.sampled_from("ab/. -"), max_size=20),
    st.sampled_from(METACHARACTERS),
    st.text(st.sampled_from("ab/. -|;$"), max_size=20),
    st.sampled_from([f"{COMMAND} ", "|/usr/bin/vacation ", "|", "|/usr/bin/ezmlm/ezmlm-"]),
)
@example("", ";", "id", "|/usr/bin/vacation ")
def test_no_command_with_a_metacharacter_of_the_shell_is_permitted(
    before: str, metacharacter: str, after: str, command: str
) -> None:
    assert not programs.is_permitted(
        command + before + metacharacter + after, LineKind.PROGRAM, HOME, PROGRAMS
    )


@given(st.text(st.sampled_from("./a "), max_size=24))
def test_no_path_that_is_permitted_leaves_the_home(path: str) -> None:
    permitted = programs.is_below(path, HOME)

    assert not permitted or ".." not in path.split("/")
    assert not permitted or path.startswith((f"{HOME}/", "./"))


@pytest.mark.parametrize("flags", [Flag.SA_ADMIN, Flag.SA_EXPERT])
def test_experts_write_what_they_like(flags: Flag) -> None:
    lines = [("|/bin/sh -c id", LineKind.PROGRAM), ("/var/mail/x", LineKind.MBOX)]

    programs.require_permitted(actor("alice", flags), lines, HOME, [])


@pytest.mark.parametrize("flags", [Flag(0), Flag.QA_ADMIN | Flag.V_OVERRIDE])
def test_others_are_told_which_line_is_refused(flags: Flag) -> None:
    lines = [("ok@example.com", LineKind.FORWARD), ("|/bin/sh", LineKind.PROGRAM)]

    with pytest.raises(LineNotPermitted, match="/bin/sh"):
        programs.require_permitted(actor("alice", flags), lines, HOME, PROGRAMS)


def test_without_a_list_no_program_is_permitted() -> None:
    assert not programs.is_permitted(COMMAND, LineKind.PROGRAM, HOME, [])
