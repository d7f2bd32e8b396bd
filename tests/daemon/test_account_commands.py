"""Adding, modifying and deleting mailboxes, over the wire, with rows and files looked at."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.daemon.conftest import Running, Talk
from vpopsql.model import AuditEntry, DirCounter, LastAuth, Mailbox

Serve = Callable[..., Running]
TalkTo = Callable[..., Talk]
SYSTEM = ("postmaster@test.com", "password")
ADMIN = ("dadmin@example.com", "dadminpw")
OVERRIDE = ("oadmin@example.com", "oadminpw")
ALICE = ("alice@example.com", "alicepw")
EXAMPLE = "home/vpopmail/domains/example.com"


@pytest.fixture
def daemon(serve: Serve) -> Running:
    return serve("base")


def root_of(daemon: Running) -> Path:
    return Path(daemon.config.paths.root)


def flags_of(talk: Talk, address: str) -> int:
    (line,) = (line for line in talk.ask(f"user_info {address}") if line.startswith("gidflags"))
    return int(line.split()[1])


def field(talk: Talk, address: str, name: str) -> str:
    (line,) = (line for line in talk.ask(f"user_info {address}") if line.startswith(f"{name} "))
    return line.removeprefix(f"{name} ")


def test_a_new_user_has_rows_a_home_and_can_log_in(daemon: Running, talk_to: TalkTo) -> None:
    talk = talk_to(daemon, *SYSTEM)

    assert talk.ask("add_user Joe@Example-Alias.org pass word") == ["+OK "]

    talk_to(daemon, "joe@example.com", "pass word")
    home = root_of(daemon) / EXAMPLE / "joe"
    assert {path.name for path in home.iterdir()} == {"Maildir", "lastauth"}
    assert {path.name for path in (home / "Maildir").iterdir()} == {"cur", "new", "tmp"}
    assert stat.S_IMODE((home / "Maildir/new").stat().st_mode) == 0o700
    assert (home / "lastauth").read_bytes() == b"0.0.0.0"
    with daemon.database.reader() as session:
        joe = session.scalars(select(Mailbox).where(Mailbox.name == "joe")).one()
        assert joe.comment == "joe"
        assert session.get(LastAuth, (joe.id, "any")) is not None
        counter = session.scalars(
            select(DirCounter).where(DirCounter.domain_id == joe.domain_id)
        ).one()
        assert counter.cur_users == 9


def test_a_new_user_gets_the_domains_default_quota(daemon: Running, talk_to: TalkTo) -> None:
    talk = talk_to(daemon, *SYSTEM)

    assert talk.ask("add_user u1@limited.net pw") == ["+OK "]

    assert field(talk, "u1@limited.net", "quota") == "1048576S,100C"
    maildirsize = root_of(daemon) / "home/vpopmail/domains/limited.net/u1/Maildir/maildirsize"
    assert maildirsize.read_bytes() == b"1048576S,100C\n0 0\n"


def test_limits_bind_domain_administrators_and_not_the_system_administrator(
    daemon: Running, talk_to: TalkTo
) -> None:
    admin = talk_to(daemon, "postmaster@limited.net", "limpass")

    assert admin.ask("add_user u1@limited.net pw") == ["+OK "]
    assert admin.ask("add_user u2@limited.net pw") == ["-ERR 0.305 Limit reached"]
    assert talk_to(daemon, *SYSTEM).ask("add_user u2@limited.net pw") == ["+OK "]


def test_a_permission_that_is_denied_binds_all_but_postmaster(
    daemon: Running, talk_to: TalkTo
) -> None:
    system = talk_to(daemon, *SYSTEM)
    assert system.change("set_limits example.com", "perm_account 5") == "+OK "
    admin = talk_to(daemon, *ADMIN)

    assert admin.ask("add_user new@example.com pw") == ["-ERR 9.304 Not Authorized"]
    assert admin.ask("del_user bob@example.com") == ["-ERR 9.404 Not Authorized"]
    postmaster = talk_to(daemon, "postmaster@example.com", "expass")
    assert postmaster.ask("add_user new@example.com pw") == ["+OK "]
    assert talk_to(daemon, *OVERRIDE).ask("del_user new@example.com") == ["+OK "]


def test_a_deleted_user_is_gone_and_its_mail_is_in_the_trash(
    daemon: Running, talk_to: TalkTo
) -> None:
    talk = talk_to(daemon, *SYSTEM)
    (root_of(daemon) / EXAMPLE / "bob/Maildir/new/1.mail").write_text("keep me")

    assert talk.ask("del_user bob@example.com") == ["+OK "]

    assert talk.ask("user_info bob@example.com") == ["-ERR 12.605 User does not exist"]
    assert not (root_of(daemon) / EXAMPLE / "bob").exists()
    kept = list((root_of(daemon) / "home/vpopmail").rglob("1.mail"))
    assert [path.read_text() for path in kept] == ["keep me"]
    assert talk.ask("add_user bob@example.com pw") == ["+OK "]


@pytest.mark.parametrize(
    "line, answer",
    [
        ("del_user postmaster@example.com", "-ERR 0.405 can't delete postmaster"),
        ("del_user nobody@example.com", "-ERR 0.405 User does not exist"),
        ("del_user a@nosuch.invalid", "-ERR 0.405 Domain does not exist"),
        ("add_user .dot@example.com pw", "-ERR 0.305 Illegal username"),
        ("add_user a/b@example.com pw", "-ERR 0.305 Illegal username"),
        ("add_user ../x@example.com pw", "-ERR 0.305 Illegal username"),
        ("add_user -x@example.com pw", "-ERR 0.305 Illegal username"),
        ("add_user vpasswd@example.com pw", "-ERR 0.305 Illegal username"),
        ("add_user alice@example.com pw", "-ERR 0.305 Username exists"),
    ],
)
def test_what_cannot_be_is_refused(
    daemon: Running, talk_to: TalkTo, line: str, answer: str
) -> None:
    assert talk_to(daemon, *SYSTEM).ask(line) == [answer]


def test_a_domain_administrator_manages_his_own_domain_only(
    daemon: Running, talk_to: TalkTo
) -> None:
    admin = talk_to(daemon, *ADMIN)

    assert admin.ask("add_user x@example.company pw") == ["-ERR 11.304 Not Authorized for domain"]
    assert admin.ask("del_user eve@example.company") == ["-ERR 11.404 Not Authorized for domain"]
    assert admin.ask("mod_user eve@example.company") == ["-ERR 11.504 Not Authorized for domain"]
    assert admin.ask("domain_count") == ["-ERR 4.107 Invalid Command"]


def test_a_user_changes_what_everybody_may_and_nothing_else(
    daemon: Running, talk_to: TalkTo
) -> None:
    alice, system = talk_to(daemon, *ALICE), talk_to(daemon, *SYSTEM)
    before = field(system, "alice@example.com", "encrypted_password")

    said = alice.change(
        "mod_user alice@example.com",
        "comment Alice Two",
        "quota 5M",
        "no_pop 1",
        "user_flag_2 1",
        "domain_admin_privileges 1",
        "system_admin_privileges 1",
        "encrypted_password $1$abcdefgh$G//4keteveJp0qb8z2DxG/",
        "nonsense 1",
        "no_spamassassin 1",
        "delete_spam 1",
        "no_maildrop 1",
    )

    assert said == "+OK "
    assert flags_of(system, "alice@example.com") == 0x4000 | 0x8000 | 0x40000
    assert field(system, "alice@example.com", "comment") == "Alice Two"
    assert field(system, "alice@example.com", "quota") == "NOQUOTA"
    assert field(system, "alice@example.com", "encrypted_password") == before


@pytest.mark.parametrize(
    "who, flags",
    [
        (ADMIN, 0x4000 | 0x8000 | 0x40000),
        (OVERRIDE, 0x1 | 0x4000 | 0x8000 | 0x40000 | 0x400 | 0x1000),
        (SYSTEM, 0x1 | 0x4000 | 0x8000 | 0x40000 | 0x400 | 0x1000 | 0x20000),
    ],
)
def test_each_level_sets_its_own_flags(
    daemon: Running, talk_to: TalkTo, who: tuple[str, str], flags: int
) -> None:
    said = talk_to(daemon, *who).change(
        "mod_user bob@example.com",
        "no_password_change 1",
        "user_flag_3 1",
        "domain_admin_privileges 1",
        "system_expert_privileges 1",
        "no_spamassassin 1",
        "delete_spam 1",
        "no_maildrop 1",
    )

    assert said == "+OK "
    assert flags_of(talk_to(daemon, *SYSTEM), "bob@example.com") == flags


def test_all_flags_can_be_cleared_and_some_set_again(daemon: Running, talk_to: TalkTo) -> None:
    system = talk_to(daemon, *SYSTEM)

    said = system.change("mod_user locked@example.com", "clear_all_flags 1", "no_imap 1")

    assert said == "+OK "
    assert flags_of(system, "locked@example.com") == 0x8


def test_a_new_password_works_at_once_and_the_old_one_no_more(
    daemon: Running, talk_to: TalkTo
) -> None:
    alice = talk_to(daemon, *ALICE)

    assert alice.change("mod_user alice@example.com", "clear_text_password  new=pa:ss ") == "+OK "

    talk_to(daemon, "alice@example.com", " new=pa:ss ")
    old = Talk(daemon.address)
    assert old.ask("slogin alice@example.com alicepw") == ["-ERR 8.207 Invalid Login"]
    old.client.close()


def test_without_waiting_for_answers_a_password_is_changed_too(
    daemon: Running, talk_to: TalkTo
) -> None:
    alice = talk_to(daemon, *ALICE)

    first = alice.ask("mod_user alice@example.com", "clear_text_password n", ".", "quit")

    assert [first, alice.answer(), alice.answer()] == [["+OK "]] * 3
    talk_to(daemon, "alice@example.com", "n")


def test_a_forbidden_password_change_changes_nothing(daemon: Running, talk_to: TalkTo) -> None:
    locked, system = talk_to(daemon, "locked@example.com", "lockedpw"), talk_to(daemon, *SYSTEM)

    said = locked.change("mod_user locked@example.com", "comment x", "clear_text_password new")

    assert said == "-ERR 9.506 Not Authorized"
    assert field(system, "locked@example.com", "comment") == "locked"
    talk_to(daemon, "locked@example.com", "lockedpw")


def test_writing_back_the_present_password_is_no_change(daemon: Running, talk_to: TalkTo) -> None:
    locked, system = talk_to(daemon, "locked@example.com", "lockedpw"), talk_to(daemon, *SYSTEM)

    said = locked.change(
        "mod_user locked@example.com", "comment y", "clear_text_password lockedpw"
    )

    assert said == "+OK "
    assert field(system, "locked@example.com", "comment") == "y"


def test_a_domain_can_forbid_its_users_to_change_passwords(
    daemon: Running, talk_to: TalkTo
) -> None:
    system = talk_to(daemon, *SYSTEM)
    system.change("set_limits example.com", "disable_password_changing 1")

    said = talk_to(daemon, *ALICE).change("mod_user alice@example.com", "clear_text_password n")

    assert said == "-ERR 9.506 Not Authorized"
    assert (
        talk_to(daemon, *ADMIN).change("mod_user alice@example.com", "clear_text_password n")
        == "+OK "
    )


def test_an_empty_clear_text_password_is_left_alone(daemon: Running, talk_to: TalkTo) -> None:
    alice = talk_to(daemon, *ALICE)

    assert alice.change("mod_user alice@example.com", "clear_text_password ") == "+OK "

    talk_to(daemon, *ALICE)


@pytest.mark.parametrize(
    "option, reason",
    [
        ("comment a:b", "comment has a character that is not allowed"),
        ("comment a\x01b", "comment has a character that is not allowed"),
        ("comment " + "c" * 65, "gecos too long (max=64)"),
        ("clear_text_password " + "c" * 129, "clear password too long (max=128)"),
        ("encrypted_password " + "c" * 129, "password too long (max=128)"),
        ("encrypted_password nonsense", "encrypted_password is no hash that can be verified"),
        ("encrypted_password *:0", "encrypted_password has a character that is not allowed"),
        ("no_pop yes", "no_pop needs 0 or 1"),
        ("quota 1G", "quota is not understood: use 10M, 10485760S,1000C or NOQUOTA"),
        ("quota \u0661\u0662M", "quota is not understood: use 10M, 10485760S,1000C or NOQUOTA"),
        ("quota 10\u017f", "quota is not understood: use 10M, 10485760S,1000C or NOQUOTA"),
        ("quota 100c", "quota is not understood: use 10M, 10485760S,1000C or NOQUOTA"),
    ],
)
def test_a_bad_value_spoils_the_whole_change(
    daemon: Running, talk_to: TalkTo, option: str, reason: str
) -> None:
    system = talk_to(daemon, *SYSTEM)
    before = system.ask("user_info bob@example.com")

    said = system.change("mod_user bob@example.com", "comment changed", option)

    assert said == f"-ERR 0.507 {reason}"
    assert system.ask("user_info bob@example.com") == before


@pytest.mark.parametrize(
    "sent, stored",
    [
        ("20971520", "20971520S"),
        ("20MB", "20971520S"),
        ("5M", "5242880S"),
        ("100K", "102400S"),
        ("1000S,10C", "1000S,10C"),
        ("10C", "10C"),
        ("NOQUOTA", "NOQUOTA"),
    ],
)
def test_a_quota_is_read_in_each_form_and_shown_in_one(
    daemon: Running, talk_to: TalkTo, sent: str, stored: str
) -> None:
    system = talk_to(daemon, *SYSTEM)

    assert system.change("mod_user carol@example.com", f"quota {sent}") == "+OK "

    assert field(system, "carol@example.com", "quota") == stored


def test_options_after_a_refusal_are_dropped_and_a_command_is_not(
    daemon: Running, talk_to: TalkTo
) -> None:
    system = talk_to(daemon, *SYSTEM)
    refused = ["-ERR 12.505 User does not exist"]

    assert system.ask("mod_user nobody@example.com", "comment x", "quit", ".", "q1") == refused
    assert system.answer() == ["-ERR 4.107 Invalid Command"]
    assert system.ask("mod_user nobody@example.com") == refused
    assert system.ask("domain_count") == ["+OK+", "count 6", "."]


def test_the_end_of_input_inside_options_changes_nothing(daemon: Running, talk_to: TalkTo) -> None:
    system, other = talk_to(daemon, *SYSTEM), talk_to(daemon, *SYSTEM)
    assert other.ask("mod_user bob@example.com") == ["+OK "]

    other.client.send(b"comment Half Way\r\n")
    other.client.half_close()

    assert other.answer() == ["-ERR 3.106 Read Timeout"]
    assert field(system, "bob@example.com", "comment") == "bob"


def test_two_sessions_that_change_different_fields_lose_nothing(
    daemon: Running, talk_to: TalkTo
) -> None:
    one, two = talk_to(daemon, *SYSTEM), talk_to(daemon, *SYSTEM)
    assert one.ask("mod_user bob@example.com") == ["+OK "]
    assert two.ask("mod_user bob@example.com") == ["+OK "]

    assert one.ask("comment One", ".") == ["+OK "]
    assert two.ask("quota 5M", ".") == ["+OK "]

    assert field(one, "bob@example.com", "comment") == "One"
    assert field(one, "bob@example.com", "quota") == "5242880S"


def test_each_change_is_in_the_audit_log_without_secrets(daemon: Running, talk_to: TalkTo) -> None:
    talk = talk_to(daemon, *ADMIN)

    talk.ask("add_user new@example.com secret1")
    talk.change("mod_user new@example.com", "comment N", "clear_text_password secret2")
    talk.ask("del_user new@example.com")

    with daemon.database.reader() as session:
        entries = session.scalars(
            select(AuditEntry).where(AuditEntry.channel == "daemon").order_by(AuditEntry.id)
        ).all()
        said = [(entry.actor, entry.action, entry.object) for entry in entries]
        assert said == [
            ("dadmin@example.com", action, "new@example.com")
            for action in ("add_user", "mod_user", "del_user")
        ]
        assert entries[1].changes["comment"] == ["new", "N"]
        assert "secret" not in str([entry.changes for entry in entries])
        assert entries[0].actor_ip == "127.0.0.1"


def test_a_long_line_of_a_file_is_one_line(daemon: Running, talk_to: TalkTo) -> None:
    alice = talk_to(daemon, *ALICE)
    long = "A" * 20_000

    assert alice.ask("write_file alice@example.com/long.txt", long, "tail", ".") == ["+OK "]

    assert alice.ask("read_file alice@example.com/long.txt") == ["+OK+", long, "tail", "."]


def test_the_body_of_a_refused_file_is_never_run(daemon: Running, talk_to: TalkTo) -> None:
    system = talk_to(daemon, *SYSTEM)

    refused = system.ask(
        "write_file /etc/x", "del_domain example.com", "quit", ".", "domain_count"
    )

    assert refused == ["-ERR 26.1510 Unauthorized Directory."]
    assert system.answer() == ["+OK+", "count 6", "."]
    assert system.ask("dom_info example.com")[0] == "+OK+"
