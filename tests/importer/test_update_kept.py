"""Updates of a database that its own administrators have changed, or others share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.importer import changing
from tests.importer.changing import (
    ASSIGN,
    DOMAIN,
    IP_MAP,
    LOCALS,
    NEW_DOMAINS,
    SECRET,
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
from vpopsql.importer.codes import Code
from vpopsql.importer.states import State
from vpopsql.services import account_changes, domain_changes, ipmaps, limits
from vpopsql.services.account_changes import Wishes


@pytest.fixture
def base(database: Database, unpack: Callable[[str], Path]) -> Changing:
    return import_base(database, unpack)


# --- what the database's own administrators did -----------------------------------------------


def make_bob_anew(site: Changing) -> None:
    site.do(account_changes.delete_account, "bob", "example.com")
    site.do(account_changes.add_account, "bob", "example.com", SECRET)


def change_home_of_bob(site: Changing) -> None:
    site.write(f"{DOMAIN[1:]}/bob/.qmail", b"&spy@example.net\n")
    site.log_in(f"{DOMAIN}/bob", b"192.0.2.7\n", 4_000_000_000)


def make_empty_anew(site: Changing) -> None:
    site.do(domain_changes.delete_domain, "empty.org")
    site.do(domain_changes.add_domain, "empty.org", SECRET, NEW_DOMAINS)


SINCE = "changed in the database since the last import"
COUNTED = f"example.com: example.com: {SINCE}: directory counter"
ANEW = [
    f"empty.org: empty.org: {SINCE}: domain (catch-all)",
    f"empty.org: postmaster: {SINCE}: mailbox (password_hash, clear_text, comment)",
    f"empty.org: empty.org: {SINCE}: directory counter",
]
DATABASE_CHANGES: dict[str, tuple[Change, Change, list[str]]] = {
    "an account": (
        lambda site: site.do(
            account_changes.modify_account, "alice", "example.com", Wishes(comment="Ally")
        ),
        lambda site: site.replace(VPASSWD, b"Alice Example", b"Alice"),
        [f"example.com: alice: {SINCE}: mailbox (comment)"],
    ),
    "a deleted account": (
        lambda site: site.do(account_changes.delete_account, "bob", "example.com"),
        lambda site: site.replace(VPASSWD, b":bob:", b":Robert:"),
        [f"example.com: bob: {SINCE}: mailbox", COUNTED],
    ),
    "a new account": (
        lambda site: site.do(account_changes.add_account, "dora", "example.com", SECRET),
        lambda site: site.append(VPASSWD, account(b"dora")),
        [
            f"example.com: dora: {SINCE}: mailbox (password_hash, clear_text, comment)",
            COUNTED,
        ],
    ),
    "an account that was made anew": (
        make_bob_anew,
        change_home_of_bob,
        [
            f"example.com: bob: {SINCE}: mailbox (password_hash, clear_text)",
            f"example.com: bob: {SINCE}: last login",
            f"example.com: bob/.qmail: {SINCE}: dot-qmail file",
        ],
    ),
    "a dot-qmail file": (
        lambda site: site.write_file("info", "&carol@example.com"),
        lambda site: site.append(f"{DOMAIN[1:]}/.qmail-info", b"&bob@example.com"),
        [f"example.com: .qmail-info: {SINCE}: dot-qmail file"],
    ),
    "a catch-all": (
        lambda site: site.write_file(
            "default", "| /home/vpopmail/bin/vdelivermail '' bounce-no-mailbox"
        ),
        lambda site: site.write(f"{DOMAIN[1:]}/.qmail-default", b"./all/Maildir/\n"),
        [
            f"example.com: example.com: {SINCE}: domain (catch-all)",
            f"example.com: .qmail-default: {SINCE}: dot-qmail file",
        ],
    ),
    "limits": (
        lambda site: site.do(limits.set_limits, "limited.net", {"max_popaccounts": 3}),
        lambda site: site.append(f"{LIMITED}/.qmailadmin-limits", b"maxpopaccounts 77"),
        [f"limited.net: limited.net: {SINCE}: limits"],
    ),
    "deleted limits": (
        lambda site: site.do(limits.delete_limits, "limited.net"),
        lambda site: site.append(f"{LIMITED}/.qmailadmin-limits", b"maxpopaccounts 77"),
        [f"limited.net: limited.net: {SINCE}: limits"],
    ),
    "an alias domain": (
        lambda site: site.do(domain_changes.delete_domain, "example-alias.org"),
        lambda site: site.add_domain(b"new-alias.org", b"example.com", DOMAIN),
        [
            f"example.com: example-alias.org: {SINCE}: alias domain",
            f"example.com: new-alias.org: {SINCE}: alias domain",
        ],
    ),
    "a deleted domain": (
        lambda site: site.do(domain_changes.delete_domain, "empty.org"),
        lambda site: site.replace("home/vpopmail/domains/empty.org/vpasswd", b"Post", b"Gost"),
        [
            "empty.org: imported before, and deleted in the database since: it stays deleted",
        ],
    ),
    "a domain that was made anew": (
        make_empty_anew,
        lambda site: site.replace("home/vpopmail/domains/empty.org/vpasswd", b"Post", b"Gost"),
        ANEW,
    ),
    "a domain that is gone from the source": (
        lambda site: site.do(
            account_changes.modify_account, "postmaster", "empty.org", Wishes(comment="Boss")
        ),
        lambda site: site.drop_domain(b"empty.org"),
        ["empty.org: gone from the source, but changed in the database since"],
    ),
    "a mapping": (
        lambda site: site.do(ipmaps.add_mapping, "127.0.0.9", "test.com"),
        lambda site: site.write(IP_MAP, b"127.0.0.9 limited.net\n"),
        [f"127.0.0.9: IP mappings: {SINCE}"],
    ),
    "a deleted mapping": (
        lambda site: site.do(ipmaps.delete_mapping, "127.0.0.9", "example.com"),
        lambda site: site.write(IP_MAP, b"127.0.0.9 limited.net\n"),
        [f"127.0.0.9: IP mappings: {SINCE}"],
    ),
}


@ON_SQLITE
@pytest.mark.parametrize("name", DATABASE_CHANGES)
def test_what_was_changed_in_the_database_stays_and_is_said(base: Changing, name: str) -> None:
    in_database, in_source, expected = DATABASE_CHANGES[name]
    in_database(base)
    in_source(base)
    before = everything(base.database)

    without, done = base.plan(), base.update()

    assert not without.rejected
    assert changing.kept(without) == changing.kept(done) == expected
    assert everything(base.database) == before


@ON_SQLITE
@pytest.mark.parametrize("name", ["an account", "a dot-qmail file", "a mapping"])
def test_it_still_stays_after_another_update_of_its_domain(base: Changing, name: str) -> None:
    in_database, in_source, expected = DATABASE_CHANGES[name]
    in_database(base)
    in_source(base)
    base.append(VPASSWD, account(b"zoe"))
    base.append("home/vpopmail/domains/limited.net/vpasswd", account(b"zoe", b"/x/zoe"))
    base.append(LOCALS, b"mail.example.net")

    done, again = base.update(), base.update()

    assert done.does_anything
    assert not again.does_anything
    assert changing.kept(again) == expected


# --- names and directories that others have ---------------------------------------------------


def test_a_name_that_the_database_gave_away_meanwhile_keeps_a_domain_from_its_update(
    base: Changing,
) -> None:
    base.do(domain_changes.add_alias_domain, "test.com", "new-alias.org")
    base.add_domain(b"new-alias.org", b"example.com", DOMAIN)
    base.replace(VPASSWD, b"Alice Example", b"Alice")

    refused, done = base.plan(update=True), base.update(accepted=[Code.TAKEN])

    assert changing.conflicts(refused) == [
        "new-alias.org: example.com needs new-alias.org, which another domain has"
    ]
    assert refused.rejected
    assert done.states["example.com"] is State.CONFLICT
    assert not done.does_anything
    assert mailboxes(base.database, "alice") == [("alice", "Alice Example")]


def test_two_domains_cannot_change_directories(base: Changing) -> None:
    directories = [b"/home/vpopmail/domains/empty.org", b"/home/vpopmail/domains/limited.net"]
    base.replace(ASSIGN, directories[0], b"/!")
    base.replace(ASSIGN, directories[1], directories[0])
    base.replace(ASSIGN, b"/!", directories[1])

    plan = base.plan(update=True)

    empty, limited = (directory.decode() for directory in directories)
    assert changing.conflicts(plan) == [
        f"{limited}: empty.org needs {limited}, which another domain has",
        f"{empty}: limited.net needs {empty}, which another domain has",
    ]


def test_an_alias_domain_can_become_a_real_one(
    base: Changing,
) -> None:
    make_alias_real(base)

    refused, done = base.plan(), base.update()

    with_alias = "add the domain, with example-alias.org of another one"
    assert changing.conflicts(refused) == [
        "example.com: to be as in the source: remove alias domain example-alias.org",
        f"example-alias.org: to be as in the source: {with_alias}",
    ]
    assert done.states["example-alias.org"] is State.NEW
    assert is_settled(base.plan())
