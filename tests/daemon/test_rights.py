"""Who may do what in the daemon, and how much of it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemon.accounts import (
    ADMIN,
    ALICE,
    DOMAINS,
    EXAMPLE,
    HASH,
    NOT_WRITTEN,
    OVERRIDE,
    POSTMASTER,
    ROOT,
    SYSTEM,
    blocks,
    dotqmails,
    fields,
    rows,
)
from tests.daemon.conftest import Running, Talk
from vpopsql.model import Flag

TalkTo = Callable[..., Talk]


# --- rights -------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", [ALICE, POSTMASTER, ADMIN, OVERRIDE])
def test_only_the_system_administrator_sets_a_hash(
    daemon: Running, system: Talk, talk_to: TalkTo, who: tuple[str, str]
) -> None:
    said = talk_to(daemon, *who).change(
        f"mod_user {who[0]}", "comment Seen", f"encrypted_password {HASH}"
    )

    after = fields(system, who[0])
    assert said == "+OK "
    assert after["comment"] == "Seen"
    assert after["encrypted_password"] != HASH
    talk_to(daemon, *who)


@pytest.mark.parametrize("who", [POSTMASTER, ADMIN, OVERRIDE])
def test_a_domain_administrator_cannot_become_the_system_administrator(
    with_root: Running, system: Talk, root: Path, talk_to: TalkTo, who: tuple[str, str]
) -> None:
    admin = talk_to(with_root, *who)
    before = fields(system, "root@example.com")

    assert admin.change("mod_user root@example.com", "clear_text_password mine") == (
        "-ERR 9.503 Not Authorized"
    )
    assert admin.ask("del_user root@example.com") == ["-ERR 9.404 Not Authorized"]
    assert admin.ask("add_user root@example.com mine")[0].startswith("-ERR 0.305 ")
    assert admin.change(f"mod_user {who[0]}", "system_admin_privileges 1") == "+OK "
    assert admin.change(f"mod_user {who[0]}", "system_expert_privileges 1") == "+OK "
    home = f"{EXAMPLE}/root"
    assert admin.ask(f"rm_dir {home}") == ["-ERR 26.1511 Unauthorized Directory."]
    assert admin.ask(f"rename_file {home} {EXAMPLE}/x") == ["-ERR 26.1511 Unauthorized Directory."]

    shown = [fields(admin, "root@example.com"), *blocks(admin.ask("list_users example.com"))]
    of_root = [each for each in shown if each["name"] == "root"]
    assert [(each["encrypted_password"], each["clear_text_password"]) for each in of_root] == [
        ("", "")
    ] * 2
    assert fields(system, "root@example.com") == before
    assert not int(fields(system, who[0])["gidflags"]) & int(Flag.SA_ADMIN | Flag.SA_EXPERT)
    talk_to(with_root, *ROOT)


def test_in_a_system_administrators_home_a_domain_administrator_runs_no_program(
    with_root: Running, talk_to: TalkTo, root: Path
) -> None:
    # Mail of his domain is his to forward; what runs with rights that he lacks is not.
    admin = talk_to(with_root, *ADMIN)

    said = admin.ask("write_file root@example.com/.qmail", "|/bin/sh -c id", ".")
    assert said == [NOT_WRITTEN]
    assert admin.ask("write_file root@example.com/.qmail", "bob@example.com", ".") == ["+OK "]

    assert (root / DOMAINS / "example.com/root/.qmail").read_text() == "bob@example.com\n"


# --- limits -------------------------------------------------------------------------------------


ROBOT = f"|/usr/bin/autorespond 1000 3 {EXAMPLE}/INFO/message {EXAMPLE}/INFO"
LIST = f"|/usr/bin/ezmlm/ezmlm-send {EXAMPLE}/mylist"


FULL = "-ERR 0.907 Limit reached"
FULL_FOR_FILES = "-ERR 0.2002 Limit reached"
DENIED = "-ERR 9.901 Not Authorized"
TO_ALIAS = "add_alias {}@example.com bob@example.com"
TO_FORWARD = "add_alias {}@example.com x@else.example"
WRITE = "write_file example.com/.qmail-{}"

LIMITS = [
    ("max_popaccounts 8", ["add_user {}@example.com pw"], "-ERR 0.305 Limit reached"),
    ("max_aliases 2", [TO_ALIAS], FULL),
    ("max_aliases 2", [WRITE, "bob@example.com", "."], FULL_FOR_FILES),
    ("max_forwards 0", [TO_FORWARD], FULL),
    ("max_forwards 0", [WRITE, "bob@example.com", "x@else.example", "."], FULL_FOR_FILES),
    ("max_autoresponders 0", [WRITE, ROBOT, "."], FULL_FOR_FILES),
    ("max_mailinglists 0", [WRITE, LIST, "."], FULL_FOR_FILES),
    ("perm_account 1", ["add_user {}@example.com pw"], "-ERR 9.304 Not Authorized"),
    (
        "perm_account 2",
        ["mod_user bob@example.com", "comment x", "."],
        "-ERR 9.503 Not Authorized",
    ),
    ("perm_account 4", ["del_user bob@example.com"], "-ERR 9.404 Not Authorized"),
    ("perm_alias 1", [TO_ALIAS], DENIED),
    ("perm_alias 2", ["add_alias info@example.com bob@example.com"], DENIED),
    ("perm_alias 4", ["delete_alias info@example.com"], "-ERR 9.1101 Not Authorized"),
    ("perm_alias 4", ["rm_file example.com/.qmail-info"], "-ERR 0.1902 Operation not permitted"),
    ("perm_forward 1", [TO_FORWARD], DENIED),
    ("perm_autoresponder 1", [WRITE, ROBOT, "."], NOT_WRITTEN),
    ("perm_maillist 1", [WRITE, LIST, "."], NOT_WRITTEN),
]


def test_each_limit_holds_for_domain_administrators(
    daemon: Running, system: Talk, talk_to: TalkTo, root: Path
) -> None:
    admin = talk_to(daemon, *ADMIN)
    before = dotqmails(root), rows(daemon)

    answers = [limited(system, admin, limit, lines) for limit, lines, _ in LIMITS]

    assert answers == [answer for _, _, answer in LIMITS]
    assert (dotqmails(root), rows(daemon)) == before


def limited(system: Talk, caller: Talk, limit: str, lines: list[str]) -> str:
    """Return what a command is answered while one limit holds."""
    system.ask("del_limits example.com")
    assert system.change("set_limits example.com", limit) == "+OK "
    return caller.ask(*(line.format("new") for line in lines))[0]


def test_no_limit_holds_for_those_above_limits(
    daemon: Running, system: Talk, talk_to: TalkTo
) -> None:
    callers = {"one": talk_to(daemon, *SYSTEM), "two": talk_to(daemon, *OVERRIDE)}

    answers = [
        limited(system, talk, limit, [line.replace("{}", f"{name}{number}") for line in lines])
        for name, talk in callers.items()
        for number, (limit, lines, _) in enumerate(LIMITS)
        if "bob" not in lines[0] and lines[0].startswith(("add_user", WRITE))
    ]

    assert set(answers) == {"+OK "}


def test_the_quotas_of_a_domain_share_what_it_has(
    daemon: Running, system: Talk, talk_to: TalkTo
) -> None:
    system.change("set_limits example.com", "disk_quota 30", f"default_quota {12 << 20}")
    admin = talk_to(daemon, *POSTMASTER)

    assert admin.ask("add_user one@example.com pw") == ["+OK "]

    # Carol has 10,000,000 bytes already.
    assert admin.ask("add_user two@example.com pw") == ["-ERR 0.305 Limit reached"]


def test_quotas_that_no_integer_can_sum_up_are_too_many(
    daemon: Running, system: Talk, talk_to: TalkTo
) -> None:
    system.change("set_limits example.com", "disk_quota 30", f"default_quota {2**63 - 1}")
    assert system.ask("add_user one@example.com pw") == ["+OK "]
    assert system.ask("add_user two@example.com pw") == ["+OK "]

    admin = talk_to(daemon, *POSTMASTER)

    assert admin.ask("add_user three@example.com pw") == ["-ERR 0.305 Limit reached"]
