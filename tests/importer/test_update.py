"""Importing again: only what has changed, never undoing what the database changed since."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import sites
from tests.importer import changing
from tests.importer.changing import (
    ASSIGN,
    DEFAULT_DOMAIN,
    DEFAULT_LIMITS,
    DOMAIN,
    IP_MAP,
    LOCALS,
    VPASSWD,
    Changing,
    import_base,
)
from tests.importer.updating import (
    LIMITED,
    ON_SQLITE,
    Change,
    account,
    everything,
    is_settled,
    mailboxes,
    make_alias_real,
)
from vpopsql.db import Database
from vpopsql.errors import ImportFailed
from vpopsql.importer.apply import apply_plan
from vpopsql.importer.backend import Choices
from vpopsql.importer.codes import Code
from vpopsql.importer.plan import make_plan
from vpopsql.importer.states import State
from vpopsql.importer.stored import read_settings
from vpopsql.services import account_changes
from vpopsql.services.account_changes import Wishes

ALIAS_LINE = b"+new-alias.org-:example.com:89:89:/home/vpopmail/domains/example.com:-::"


@pytest.fixture
def base(database: Database, unpack: Callable[[str], Path]) -> Changing:
    return import_base(database, unpack)


def move_alias(site: Changing) -> None:
    site.drop(ASSIGN, b"+example-alias.org")
    site.insert(ASSIGN, b"+example-alias.org-:test.com:89:89:/home/vpopmail/domains/test.com:-::")


def make_real_alias(site: Changing) -> None:
    site.drop(ASSIGN, b"+empty.org")
    site.insert(ASSIGN, b"+empty.org-:example.com:89:89:/home/vpopmail/domains/example.com:-::")


def rename_domain(site: Changing) -> None:
    site.drop_domain(b"empty.org")
    site.add_domain(b"full.org", b"full.org", "/home/vpopmail/domains/empty.org")


def swap_homes(site: Changing) -> None:
    homes = [f"{DOMAIN}/alice:".encode(), f"{DOMAIN}/bob:".encode()]
    site.replace(VPASSWD, homes[0], b"!")
    site.replace(VPASSWD, homes[1], homes[0])
    site.replace(VPASSWD, b"!", homes[1])


EXAMPLE = "example.com: "
SOURCE_CHANGES: dict[str, tuple[Change, list[str]]] = {
    "a domain's ids": (
        lambda site: site.replace(
            ASSIGN,
            b"test.com:89:89:/home/vpopmail/domains/test",
            b"test.com:90:91:/home/vpopmail/domains/test",
        ),
        ["test.com: change domain test.com (uid, gid)"],
    ),
    "a catch-all": (
        lambda site: site.write(f"{DOMAIN[1:]}/.qmail-default", b"./all/Maildir/\n"),
        [
            f"{EXAMPLE}change domain example.com (catch-all)",
            f"{EXAMPLE}add dot-qmail file .qmail-default",
        ],
    ),
    "a new alias domain": (
        lambda site: site.add_domain(b"new-alias.org", b"example.com", DOMAIN),
        [f"{EXAMPLE}add alias domain new-alias.org"],
    ),
    "an alias domain that is gone": (
        lambda site: site.drop_domain(b"example-alias.org"),
        [f"{EXAMPLE}remove alias domain example-alias.org"],
    ),
    "an alias domain of another domain": (
        move_alias,
        [
            f"{EXAMPLE}remove alias domain example-alias.org",
            "test.com: add alias domain example-alias.org",
        ],
    ),
    "an alias domain that is real now": (
        make_alias_real,
        [f"{EXAMPLE}remove alias domain example-alias.org"],
    ),
    "a real domain that is an alias now": (
        make_real_alias,
        [f"{EXAMPLE}add alias domain empty.org", "empty.org: remove domain empty.org"],
    ),
    "a renamed domain": (rename_domain, ["empty.org: remove domain empty.org"]),
    "a domain that is gone": (
        lambda site: site.drop_domain(b"empty.org"),
        ["empty.org: remove domain empty.org"],
    ),
    "a new account": (
        lambda site: site.append(VPASSWD, account(b"dora")),
        [f"{EXAMPLE}add mailbox dora"],
    ),
    "a changed account": (
        lambda site: site.replace(VPASSWD, b"Alice Example", b"Alice"),
        [f"{EXAMPLE}change mailbox alice (comment)"],
    ),
    "a changed password": (
        lambda site: site.replace(VPASSWD, b"bob:$6$", b"bob:$1$"),
        [f"{EXAMPLE}change mailbox bob (password_hash)"],
    ),
    "an account that is gone": (
        lambda site: site.drop(VPASSWD, b"bob:"),
        [f"{EXAMPLE}remove mailbox bob"],
    ),
    "two accounts that changed homes": (
        swap_homes,
        [
            f"{EXAMPLE}change mailbox alice (directory)",
            f"{EXAMPLE}change mailbox bob (directory)",
        ],
    ),
    "a later login": (
        lambda site: site.log_in(f"{DOMAIN}/bob", b"192.0.2.7\n", 4_000_000_000),
        [f"{EXAMPLE}change last login bob"],
    ),
    "a new dot-qmail file": (
        lambda site: site.write(f"{DOMAIN[1:]}/.qmail-new", b"&bob@example.com\n"),
        [f"{EXAMPLE}add dot-qmail file .qmail-new"],
    ),
    "a changed dot-qmail file": (
        lambda site: site.append(f"{DOMAIN[1:]}/.qmail-info", b"&bob@example.com"),
        [f"{EXAMPLE}change dot-qmail file .qmail-info"],
    ),
    "a dot-qmail file that is gone": (
        lambda site: site.remove(f"{DOMAIN[1:]}/.qmail-info"),
        [f"{EXAMPLE}remove dot-qmail file .qmail-info"],
    ),
    "a mailbox's dot-qmail file": (
        lambda site: site.write(f"{DOMAIN[1:]}/bob/.qmail", b"&alice@example.com\n"),
        [f"{EXAMPLE}add dot-qmail file bob/.qmail"],
    ),
    "changed limits": (
        lambda site: site.append(f"{LIMITED}/.qmailadmin-limits", b"maxpopaccounts 77"),
        ["limited.net: change limits limited.net"],
    ),
    "new limits": (
        lambda site: site.write(f"{DOMAIN[1:]}/.qmailadmin-limits", b"maxpopaccounts 7\n"),
        [f"{EXAMPLE}add limits example.com"],
    ),
    "limits that are gone": (
        lambda site: site.remove(f"{LIMITED}/.qmailadmin-limits"),
        ["limited.net: remove limits limited.net"],
    ),
    "a counter that is gone": (
        lambda site: site.remove(f"{DOMAIN[1:]}/.dir-control"),
        [f"{EXAMPLE}remove directory counter example.com"],
    ),
    "a new foreign line": (lambda site: site.append(LOCALS, b"mail.example.net"), []),
    "a foreign line that is gone": (lambda site: site.remove(LOCALS), []),
    "another mapping of an address": (
        lambda site: site.write(IP_MAP, b"127.0.0.9 test.com\n"),
        [],
    ),
    "a mapping that is gone": (lambda site: site.remove(IP_MAP), []),
    "new default limits": (
        lambda site: site.write(DEFAULT_LIMITS, b"maxpopaccounts 9\n"),
        [],
    ),
    "another default domain": (lambda site: site.write(DEFAULT_DOMAIN, b"test.com\n"), []),
}
ADDITIONS = {"another default domain", "a new foreign line"}
OF_NO_DOMAIN = {
    "a new foreign line": {"foreign lines": {"new": 1}},
    "a foreign line that is gone": {"foreign lines": {"gone": 1}},
    "another mapping of an address": {"IP mappings": {"changed": 1}},
    "a mapping that is gone": {"IP mappings": {"gone": 1}},
    "new default limits": {"default limits": {"changed": 1}},
    "another default domain": {"settings": {"new": 1}},
}


@ON_SQLITE
@pytest.mark.parametrize("name", SOURCE_CHANGES)
def test_a_changed_source_is_a_conflict_until_it_is_to_be_carried_over(
    base: Changing, name: str
) -> None:
    change, expected = SOURCE_CHANGES[name]
    change(base)

    without, done = base.plan(), base.update()

    assert without.rejected == (name not in ADDITIONS)
    assert changing.changes(done) == expected
    assert done.does_anything
    after = base.plan()
    assert is_settled(after)
    assert changing.kept(after) == []


@ON_SQLITE
@pytest.mark.parametrize("name", OF_NO_DOMAIN)
def test_what_belongs_to_no_domain_is_updated_too(base: Changing, name: str) -> None:
    SOURCE_CHANGES[name][0](base)

    plan = base.plan(update=True)

    assert changing.states(plan) == OF_NO_DOMAIN[name]


def test_nothing_is_written_while_the_source_differs(base: Changing) -> None:
    base.replace(VPASSWD, b"Alice Example", b"Alice")
    before = everything(base.database)
    plan = base.plan()

    with pytest.raises(ImportFailed):
        apply_plan(base.database, plan, {})

    assert everything(base.database) == before


TOGETHER = [
    "a domain's ids",
    "a catch-all",
    "a new alias domain",
    "a renamed domain",
    "a new account",
    "a changed account",
    "an account that is gone",
    "a changed dot-qmail file",
    "changed limits",
    "another mapping of an address",
    "new default limits",
]


def test_many_changes_at_once_are_carried_over_together(base: Changing) -> None:
    for name in TOGETHER:
        SOURCE_CHANGES[name][0](base)

    done = base.update()

    assert changing.changes(done) == [
        "example.com: change domain example.com (catch-all)",
        "example.com: add alias domain new-alias.org",
        "example.com: remove mailbox bob",
        "example.com: add mailbox dora",
        "example.com: change mailbox alice (comment)",
        "example.com: add dot-qmail file .qmail-default",
        "example.com: change dot-qmail file .qmail-info",
        "limited.net: change limits limited.net",
        "test.com: change domain test.com (uid, gid)",
        "empty.org: remove domain empty.org",
    ]
    assert changing.states(done) == {
        "domains": {"new": 1, "changed": 3, "gone": 1},
        "alias domains": {"new": 1},
        "mailboxes": {"new": 2, "changed": 1, "gone": 1},
        "dotqmail files": {"new": 1, "changed": 1},
        "IP mappings": {"changed": 1},
        "default limits": {"changed": 1},
    }
    assert is_settled(base.plan())


# --- what could not be read -------------------------------------------------------------------


def test_what_could_not_be_read_is_not_removed(base: Changing) -> None:
    base.replace(VPASSWD, b"bob:$6$", b"bob$6$")
    base.replace(VPASSWD, b"Alice Example", b"Alice")

    done = base.update(accepted=[Code.MALFORMED])

    assert changing.changes(done) == [
        "example.com: keep mailbox bob",
        "example.com: change mailbox alice (comment)",
    ]
    assert changing.kept(done) == [
        "example.com: bob: changed in the database, or not in what could be read: mailbox"
    ]
    assert mailboxes(base.database, "bob") == [("bob", "bob")]


def test_a_domain_that_could_not_be_read_is_not_removed(base: Changing) -> None:
    base.remove(VPASSWD)
    base.remove(f"{VPASSWD}.cdb")

    done = base.update(accepted=[Code.MISSING])

    assert done.states["example.com"] is State.KEPT
    assert changing.kept(done) == ["example.com: not in what could be read of the source"]
    assert not done.does_anything


def test_no_domain_is_removed_while_users_assign_has_lines_that_cannot_be_read(
    base: Changing,
) -> None:
    base.damage(ASSIGN, b"+empty.org-:", b"+empty.org-")
    base.damage(ASSIGN, b"+example-alias.org-:", b"+example-alias.org-")
    base.remove(LOCALS)

    done = base.update(accepted=[Code.MALFORMED, Code.UNASSIGNED])

    assert changing.changes(done) == [
        "example.com: keep alias domain example-alias.org",
        "empty.org: keep domain empty.org",
    ]
    assert changing.states(done) == {
        "domains": {"kept": 2},
        "alias domains": {"kept": 1},
        "foreign lines": {"kept": 1, "new": 4},
    }


def test_a_catch_all_that_could_not_be_read_is_not_removed(base: Changing) -> None:
    default = base.root / DOMAIN[1:] / ".qmail-default"
    default.unlink()
    base.append(VPASSWD, b"malformed")

    done = base.update(accepted=[Code.MALFORMED])

    assert changing.changes(done) == ["example.com: keep domain example.com (catch-all)"]


def test_homes_that_were_not_opened_are_not_taken_for_empty(base: Changing) -> None:
    base.write(f"{DOMAIN[1:]}/bob/.qmail", b"&alice@example.com\n")
    base.log_in(f"{DOMAIN}/bob", b"192.0.2.7\n", 1_800_000_000)
    base.update()

    done = base.update(choices=Choices(store_clear_text=True, read_homes=False))

    assert changing.changes(done) == []


# --- other sources ----------------------------------------------------------------------------


def test_what_came_from_another_source_is_not_taken_for_gone(
    base: Changing, unpack: Callable[[str], Path]
) -> None:
    scanned = sites.scan_tree(unpack("small"))
    with base.database.reader() as session:
        plan = make_plan(session, scanned, "tree /elsewhere", update=True, accepted=[Code.DIFFERS])

    apply_plan(base.database, plan, {})

    assert plan.domains(State.GONE) == []
    assert [finding.reason for finding in plan.evidence.findings] == [
        "5 domains that are not in this source were imported from elsewhere"
    ]
    assert changing.kept(base.plan()) == []
    assert changing.states(base.plan(update=True)) == {
        "default limits": {"changed": 1},
        "site counter": {"changed": 1},
    }


def test_an_import_that_finds_everything_equal_remembers_where_the_site_is_now(
    base: Changing,
) -> None:
    plan = base.plan()

    apply_plan(base.database, plan, {"imported_from": "here"})

    with base.database.reader() as session:
        assert read_settings(session)["imported_from"] == "here"


def test_a_domain_that_somebody_changes_while_the_plan_is_read_is_not_removed(
    base: Changing,
) -> None:
    base.drop_domain(b"empty.org")
    plan = base.plan(update=True)
    base.do(account_changes.modify_account, "postmaster", "empty.org", Wishes(comment="Boss"))

    apply_plan(base.database, plan, {})

    assert mailboxes(base.database, "postmaster", comment="Boss") == [("postmaster", "Boss")]
