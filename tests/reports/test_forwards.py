"""What the reports on aliases and forwards answer, every column of it."""

import pytest

from tests.reports.conftest import Ask, ago

pytestmark = pytest.mark.usefixtures("forwards")

ONE, TWO = "example.com", "two.net"
THROUGH_CHAIN = f"all@{ONE} > chain@{ONE} > bob@{ONE} > out@gone.org"


def test_dangling_aliases_are_listed_with_the_reason(ask: Ask) -> None:
    assert ask("dangling-aliases") == [
        (f"all@{ONE}", ONE, "alias", 3, "nobody@example.com", "no-user", None),
        (f"all@{ONE}", ONE, "alias", 4, "shut@example.com", "disabled", None),
        (f"bob@{ONE}", ONE, "mailbox", 2, "out@gone.org", "no-domain", ago(8)),
        (f"ring@{ONE}", ONE, "alias", 2, "deleted@example.com", "deleted", ago(9)),
        (f"info@{TWO}", TWO, "alias", 2, "x@three.net", "discarded", None),
    ]


def test_loops_are_found_once_and_under_the_real_domain(ask: Ask) -> None:
    assert ask("alias-loops") == [
        (1, ONE, f"bob@{ONE} > bob@{ONE}", 1, True, 2),
        (2, ONE, f"gnir@{ONE} > ring@{ONE} > gnir@{ONE}", 2, False, 1),
    ]


def test_depth_goes_through_wildcards_and_catch_alls(ask: Ask) -> None:
    assert ask("alias-depth", domain=TWO) == [
        (f"*@{TWO}", TWO, 32, True),
        (f"info@{TWO}", TWO, 32, True),
    ]


def test_external_forwards_tell_who_made_them(ask: Ask) -> None:
    assert ask("external-forwards") == [
        (f"bob@{ONE}", ONE, "mailbox", "out@gone.org", "gone.org", False, None, None, False),
        (f"boss@{ONE}", ONE, "alias", "x@elsewhere.net", "elsewhere.net", True, ago(7),
         "boss@example.com", True),
    ]  # fmt: skip


def test_duplicate_forwards_are_found_along_chains(ask: Ask) -> None:
    assert ask("duplicate-forwards") == [
        (f"all@{ONE}", ONE, "out@gone.org", 2,
         f"all@{ONE} > bob@{ONE} > out@gone.org; {THROUGH_CHAIN}"),
    ]  # fmt: skip


def test_shadowed_mailboxes_are_listed_with_what_hides_them(ask: Ask) -> None:
    assert ask("shadowed") == [
        (f"boss@{ONE}", ONE, ".qmail-boss", 2, True),
        (f"team-red@{ONE}", ONE, ".qmail-team-default", 1, False),
    ]
