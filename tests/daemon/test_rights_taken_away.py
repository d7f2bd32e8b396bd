"""Rights that are taken away from those who are logged in."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemon.accounts import (
    ADMIN,
    ALICE,
    POSTMASTER,
    ROOT,
    SYSTEM,
    UNKNOWN,
    contents,
    fields,
)
from tests.daemon.conftest import Running, Talk

TalkTo = Callable[..., Talk]


def test_who_is_deleted_can_do_nothing_any_more(
    daemon: Running, talk_to: TalkTo, root: Path
) -> None:
    system, admin = talk_to(daemon, *SYSTEM), talk_to(daemon, *ADMIN)
    system.ask("del_user dadmin@example.com")
    before = contents(root)

    said = [
        admin.ask("add_user evil@example.com pw"),
        admin.ask("user_info alice@example.com"),
        admin.ask("get_limits example.com"),
        admin.ask("write_file example.com/.qmail-x", "bob@example.com", "."),
        admin.ask("write_file /home/vpopmail/domains/example.com/x", "text", "."),
        admin.ask("mod_user alice@example.com"),
    ]

    assert [answer[0][:5] for answer in said] == ["-ERR "] * len(said)
    assert contents(root) == before


@pytest.mark.parametrize("again", ["add_user alice@example.com new", ""])
def test_who_gets_a_name_later_is_somebody_else(
    daemon: Running, talk_to: TalkTo, root: Path, again: str
) -> None:
    system, alice = talk_to(daemon, *SYSTEM), talk_to(daemon, *ALICE)
    assert system.ask("del_user alice@example.com") == ["+OK "]
    assert not again or system.ask(again) == ["+OK "]
    before = contents(root)

    said = [
        alice.ask("list_dir alice@example.com/"),
        alice.ask("write_file alice@example.com/.qmail", "evil@example.com", "."),
        alice.ask("write_file /home/vpopmail/domains/example.com/alice/x", "text", "."),
        alice.ask("get_lastauth alice@example.com"),
        alice.ask("get_user_size alice@example.com"),
        alice.ask("mod_user alice@example.com", "clear_text_password taken", "."),
    ]

    assert [answer[0] for answer in said] == [
        "-ERR 25.1506 Invalid Directory. Unknown email address",
        "-ERR 25.1506 Invalid Directory. Unknown email address",
        "-ERR 0.2002 No such file or directory",
        "-ERR 12.3705 User does not exist",
        "-ERR 3805 user does not exist",
        "-ERR 12.505 User does not exist",
    ]
    assert contents(root) == before


def test_who_administers_a_domain_does_not_administer_the_next_of_its_name(
    daemon: Running, talk_to: TalkTo
) -> None:
    system, postmaster = talk_to(daemon, *SYSTEM), talk_to(daemon, *POSTMASTER)
    system.ask("del_domain example.com")
    assert postmaster.ask("user_count example.com") == ["+OK+", "count 0", "."]
    system.ask("add_domain example.com new")

    assert postmaster.ask("add_user evil@example.com pw") == [UNKNOWN]
    assert postmaster.ask("user_info postmaster@example.com") == [UNKNOWN]


@pytest.mark.parametrize(
    "who, option, command",
    [
        (ADMIN, "domain_admin_privileges 0", "add_user evil@example.com pw"),
        (ROOT, "system_admin_privileges 0", "del_domain empty.org"),
    ],
)
def test_rights_that_are_taken_away_are_gone_at_once(
    daemon: Running,
    talk_to: TalkTo,
    with_root: object,
    who: tuple[str, str],
    option: str,
    command: str,
) -> None:
    system, demoted = talk_to(daemon, *SYSTEM), talk_to(daemon, *who)
    assert system.change(f"mod_user {who[0]}", option) == "+OK "

    assert demoted.ask(command) == [UNKNOWN]
    assert system.ask("domain_count") == ["+OK+", "count 6", "."]


def test_other_rights_that_suffice_are_no_reason_to_refuse(
    daemon: Running, talk_to: TalkTo
) -> None:
    system, admin = talk_to(daemon, *SYSTEM), talk_to(daemon, *ADMIN)
    assert system.change("mod_user dadmin@example.com", "no_pop 1") == "+OK "

    assert admin.ask("add_user new@example.com pw") == ["+OK "]
    assert admin.ask("add_user new@example.com pw") != ["+OK "]
    assert fields(system, "new@example.com")["name"] == "new"


def test_rights_are_looked_at_again_when_the_lines_of_a_change_are_complete(
    daemon: Running, talk_to: TalkTo
) -> None:
    system, admin = talk_to(daemon, *SYSTEM), talk_to(daemon, *ADMIN)
    assert admin.ask("mod_user bob@example.com") == ["+OK "]
    system.change("mod_user dadmin@example.com", "domain_admin_privileges 0")

    assert admin.ask("clear_text_password mine", ".") == [UNKNOWN]
    assert fields(system, "bob@example.com")["clear_text_password"] == "bobpw"


def test_a_deleted_system_administrator_is_none_any_more(
    daemon: Running, talk_to: TalkTo, with_root: object
) -> None:
    system, other = talk_to(daemon, *SYSTEM), talk_to(daemon, *ROOT)
    system.ask("del_user root@example.com")

    assert other.ask("add_user backdoor@test.com pw") == [UNKNOWN]


def test_a_domain_administrator_does_not_take_over_who_may_run_programs(
    daemon: Running, talk_to: TalkTo
) -> None:
    system, admin = talk_to(daemon, *SYSTEM), talk_to(daemon, *ADMIN)
    system.change("mod_user bob@example.com", "system_expert_privileges 1")

    shown = fields(admin, "bob@example.com")
    said = admin.change("mod_user bob@example.com", "clear_text_password mine")

    assert (shown["encrypted_password"], shown["clear_text_password"]) == ("", "")
    assert said == "-ERR 9.503 Not Authorized"
    bob = talk_to(daemon, "bob@example.com", "bobpw")
    assert bob.change("mod_user bob@example.com", "clear_text_password new") == "+OK "
