"""The proof of an import: what differs is explained, or found."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Executable, delete, insert, update

from tests.importer.changing import (
    DEFAULT_DOMAIN,
    DEFAULT_LIMITS,
    DOMAIN,
    IP_MAP,
    LOCALS,
    NEW_DOMAINS,
    SECRET,
    VPASSWD,
    Changing,
    import_base,
)
from tests.proving import NOT, ON_SQLITE, OTHERWISE, accusations, files
from vpopsql.db import Database
from vpopsql.importer import site
from vpopsql.importer.cdb_build import CdbBuild
from vpopsql.importer.dotqmails import DotQmailReader
from vpopsql.model import (
    CatchAll,
    DefaultLimits,
    DirCounter,
    Domain,
    DomainLimits,
    DomainName,
    DotQmailFile,
    DotQmailLine,
    ForeignLine,
    IpMapping,
    LastAuth,
    LineKind,
    Mailbox,
    SiteSetting,
)
from vpopsql.names import sort_key
from vpopsql.proof import Kind
from vpopsql.services import account_changes, domain_changes, ipmaps, limits
from vpopsql.services.account_changes import Wishes

Unpack = Callable[[str], Path]


@pytest.fixture
def base(database: Database, unpack: Unpack) -> Changing:
    return import_base(database, unpack)


@pytest.mark.parametrize("name, domains, number", [("base", 5, 35), ("small", 10, 69)])
def test_nothing_differs_right_after_an_import(
    database: Database, unpack: Unpack, name: str, domains: int, number: int
) -> None:
    site = Changing(database, unpack(name))
    site.update()

    proof = site.prove()

    assert accusations(proof) == []
    assert proof.domains == domains
    assert files(proof) == {"identical": number}
    assert not proof.reasons


# --- behind the services' back ----------------------------------------------------------------


EXAMPLE = 2
"""The id of example.com: domains are imported by name."""
TAMPERINGS: dict[str, tuple[Executable, str]] = {
    "a hash": (
        update(Mailbox).where(Mailbox.name == "alice").values(password_hash="$1$x$y"),
        f"example.com: alice: {NOT}: change mailbox alice (password_hash)",
    ),
    "a deleted account": (
        delete(Mailbox).where(Mailbox.name == "bob"),
        f"example.com: bob: {NOT}: add mailbox bob",
    ),
    "a clear password": (
        update(Mailbox).where(Mailbox.name == "bob").values(clear_text="x"),
        f"example.com: bob: {NOT}: change mailbox bob (clear_text)",
    ),
    "an account of nobody": (
        insert(Mailbox).values(
            domain_id=EXAMPLE,
            name="mallory",
            password_hash="*",
            flags=0,
            comment="",
            directory=f"{DOMAIN}/mallory",
            quota_text="NOQUOTA",
        ),
        f"example.com: mallory: {NOT}: remove mailbox mallory",
    ),
    "flags": (
        update(Mailbox).where(Mailbox.name == "bob").values(flags=4096),
        f"example.com: bob: {NOT}: change mailbox bob (flags)",
    ),
    "a quota": (
        update(Mailbox).where(Mailbox.name == "carol").values(quota_bytes=1, quota_messages=2),
        f"example.com: carol: {NOT}: change mailbox carol (quota_bytes, quota_messages)",
    ),
    "a home": (
        update(Mailbox).where(Mailbox.name == "bob").values(directory="/x"),
        f"example.com: bob: {NOT}: change mailbox bob (directory)",
    ),
    "a deleted login": (
        delete(LastAuth),
        f"empty.org: postmaster: {NOT}: change last login postmaster",
    ),
    "the address of a login": (
        update(LastAuth).values(remote_ip="192.0.2.99"),
        f"empty.org: postmaster: {NOT}: change last login postmaster",
    ),
    "a line of a forward": (
        update(DotQmailLine).where(DotQmailLine.kind == LineKind.FORWARD).values(line="&x@y.org"),
        f"example.com: .qmail-info: {NOT}: change dot-qmail file .qmail-info",
    ),
    "a deleted forward": (
        delete(DotQmailFile).where(DotQmailFile.name == "info"),
        f"example.com: .qmail-info: {NOT}: add dot-qmail file .qmail-info",
    ),
    "the newline of a forward": (
        update(DotQmailFile).where(DotQmailFile.name == "info").values(final_newline=False),
        f"example.com: .qmail-info: {NOT}: change dot-qmail file .qmail-info",
    ),
    "a forward of nobody": (
        insert(DotQmailFile).values(domain_id=EXAMPLE, name="spy"),
        f"example.com: .qmail-spy: {NOT}: remove dot-qmail file .qmail-spy",
    ),
    "a catch-all": (
        update(Domain).where(Domain.id == EXAMPLE).values(catchall=CatchAll.BOUNCE),
        f"example.com: example.com: {NOT}: change domain example.com (catch-all)",
    ),
    "a domain's directory": (
        update(Domain).where(Domain.id == EXAMPLE).values(directory="/x"),
        f"example.com: example.com: {NOT}: change domain example.com (directory)",
    ),
    "a domain's ids": (
        update(Domain).where(Domain.id == EXAMPLE).values(uid=1),
        f"example.com: example.com: {NOT}: change domain example.com (uid)",
    ),
    "a deleted domain": (
        delete(Domain).where(Domain.id == EXAMPLE),
        "example.com: the database has no such domain",
    ),
    "a deleted alias domain": (
        delete(DomainName).where(DomainName.name == "example-alias.org"),
        f"example.com: example-alias.org: {NOT}: add alias domain example-alias.org",
    ),
    "an alias domain of nobody": (
        insert(DomainName).values(
            name="evil.org", domain_id=EXAMPLE, is_alias=True, sort_key=sort_key("evil.org")
        ),
        f"example.com: evil.org: {NOT}: remove alias domain evil.org",
    ),
    "where a name stands": (
        update(DomainName).where(DomainName.name == "test.com").values(in_morercpthosts=True),
        f"test.com: test.com: {NOT}: change domain test.com (name)",
    ),
    "limits": (
        update(DomainLimits).values(max_popaccounts=99),
        f"limited.net: limited.net: {NOT}: change limits limited.net",
    ),
    "the text of limits": (
        update(DomainLimits).values(source_text="x"),
        f"limited.net: limited.net: {NOT}: change limits limited.net",
    ),
    "deleted limits": (
        delete(DomainLimits),
        f"limited.net: limited.net: {NOT}: add limits limited.net",
    ),
    "default limits": (
        update(DefaultLimits).values(max_popaccounts=99),
        f"/home/vpopmail/etc/vlimits.default: {OTHERWISE}",
    ),
    "deleted default limits": (
        delete(DefaultLimits),
        f"/home/vpopmail/etc/vlimits.default: {OTHERWISE}",
    ),
    "a counter": (
        update(DirCounter).where(DirCounter.domain_id == EXAMPLE).values(cur_users=99),
        f"example.com: example.com: {NOT}: change directory counter example.com",
    ),
    "the site's counter": (
        update(DirCounter).where(DirCounter.domain_id.is_(None)).values(cur_users=99),
        f"/home/vpopmail/domains/.dir-control: {OTHERWISE}",
    ),
    "a foreign line": (
        update(ForeignLine).where(ForeignLine.file == "control/locals").values(line="evil.org"),
        f"/var/qmail/control/locals: {OTHERWISE}",
    ),
    "a deleted foreign line": (delete(ForeignLine), f"/var/qmail/control/locals: {OTHERWISE}"),
    "a foreign line of nobody": (
        insert(ForeignLine).values(
            file="control/rcpthosts", position=99, line="evil.org", sort_key="x"
        ),
        f"/var/qmail/control/rcpthosts: {OTHERWISE}",
    ),
    "a mapping": (
        update(IpMapping).values(domain_id=1),
        f"/home/vpopmail/etc/ip_alias_map: {OTHERWISE}",
    ),
    "a deleted mapping": (delete(IpMapping), f"/home/vpopmail/etc/ip_alias_map: {OTHERWISE}"),
    "a setting": (
        update(SiteSetting).where(SiteSetting.key == "vpopmail_dir").values(value="/x"),
        f"/home/vpopmail/domains/empty.org/.qmail-default: {OTHERWISE}",
    ),
    "a default domain of nobody": (
        insert(SiteSetting).values(key="default_domain", value="evil.org"),
        f"default_domain: a setting of the database is {NOT}",
    ),
}


@ON_SQLITE
@pytest.mark.parametrize("what", TAMPERINGS)
def test_what_changed_behind_the_services_back_is_found(base: Changing, what: str) -> None:
    statement, expected = TAMPERINGS[what]
    base.sql(statement)

    proof = base.prove()

    assert accusations(proof)[0] == expected
    assert proof.files[Kind.UNEXPLAINED] or what in WITHOUT_A_FILE


WITHOUT_A_FILE = {
    "a deleted login",
    "the address of a login",
    "the text of limits",
    "a default domain of nobody",
}


# --- on purpose -------------------------------------------------------------------------------


def change_all(changing: Changing) -> None:
    """Do one of everything that clients of the daemon do."""
    changing.do(account_changes.modify_account, "alice", "example.com", Wishes(comment="Ally"))
    changing.do(account_changes.delete_account, "bob", "example.com")
    changing.do(account_changes.add_account, "dora", "example.com", SECRET)
    changing.write_file("info", "&carol@example.com")
    changing.write_file("default", "| /home/vpopmail/bin/vdelivermail '' bounce-no-mailbox")
    changing.do(limits.set_limits, "limited.net", {"max_popaccounts": 3})
    changing.do(domain_changes.add_domain, "made.org", SECRET, NEW_DOMAINS)
    changing.do(domain_changes.add_alias_domain, "test.com", "new-alias.org")
    changing.do(domain_changes.delete_domain, "example-alias.org")
    changing.do(domain_changes.delete_domain, "empty.org")
    changing.do(ipmaps.add_mapping, "192.0.2.8", "test.com")
    changing.do(ipmaps.delete_mapping, "127.0.0.9", "example.com")


def test_what_was_changed_on_purpose_is_explained(base: Changing) -> None:
    change_all(base)

    proof = base.prove()

    assert accusations(proof) == []
    assert proof.reasons == {
        "deleted in the database since": 1,
        "changed in the database since": 15,
        "changed in the database since: alias domain": 2,
        "changed in the database since: domain": 1,
        "changed in the database since: dot-qmail file": 1,
        "changed in the database since: limits": 1,
        "changed in the database since: mailbox": 3,
    }
    assert proof.files[Kind.EXPLAINED] == 14


@ON_SQLITE
@pytest.mark.parametrize(
    "what",
    ["a hash", "a line of a forward", "a deleted alias domain", "a mapping", "a foreign line"],
)
def test_changes_on_purpose_are_no_excuse_for_others(base: Changing, what: str) -> None:
    base.do(account_changes.modify_account, "postmaster", "test.com", Wishes(comment="Boss"))
    base.do(domain_changes.add_domain, "made.org", SECRET, NEW_DOMAINS)
    base.do(domain_changes.delete_domain, "example.company")
    base.do(ipmaps.add_mapping, "192.0.2.8", "test.com")
    base.sql(TAMPERINGS[what][0])

    proof = base.prove()

    assert proof.unexplained


# --- the source afterwards --------------------------------------------------------------------


SOURCE_CHANGES: dict[str, tuple[Callable[[Changing], None], str]] = {
    "vpasswd": (
        lambda site: site.replace(VPASSWD, b"Alice Example", b"Alice"),
        f"example.com: alice: {NOT}: change mailbox alice (comment)",
    ),
    "a dot-qmail file": (
        lambda site: site.append(f"{DOMAIN[1:]}/.qmail-info", b"&bob@example.com"),
        f"example.com: .qmail-info: {NOT}: change dot-qmail file .qmail-info",
    ),
    "users/assign": (
        lambda site: site.add_domain(b"new-alias.org", b"example.com", DOMAIN),
        f"example.com: new-alias.org: {NOT}: add alias domain new-alias.org",
    ),
    "a domain that is gone": (
        lambda site: site.drop_domain(b"empty.org"),
        "empty.org: the database has this domain, the source has not",
    ),
    "locals": (
        lambda site: site.append(LOCALS, b"mail.example.net"),
        f"/var/qmail/control/locals: {OTHERWISE}",
    ),
    "default limits": (
        lambda site: site.append(DEFAULT_LIMITS, b"maxpopaccounts 7"),
        f"/home/vpopmail/etc/vlimits.default: {OTHERWISE}",
    ),
    "ip_alias_map": (
        lambda site: site.append(IP_MAP, b"192.0.2.9 test.com"),
        f"/home/vpopmail/etc/ip_alias_map: {OTHERWISE}",
    ),
    "defaultdomain": (
        lambda site: site.write(DEFAULT_DOMAIN, b"test.com\n"),
        "default_domain: a setting of the database is not as in the source",
    ),
}


@ON_SQLITE
@pytest.mark.parametrize("what", SOURCE_CHANGES)
def test_what_the_source_changed_since_is_found(base: Changing, what: str) -> None:
    change, expected = SOURCE_CHANGES[what]
    change(base)

    proof = base.prove()

    assert accusations(proof)[0] == expected


def test_an_update_settles_it(base: Changing) -> None:
    base.replace(VPASSWD, b"Alice Example", b"Alice")
    base.append(LOCALS, b"mail.example.net")
    base.drop_domain(b"empty.org")
    base.update()

    proof = base.prove()

    assert accusations(proof) == []


# --- what would be lost in reading ------------------------------------------------------------


def test_a_line_that_the_import_does_not_take_over_is_found(
    base: Changing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the reader of dot-qmail files had a fault."""
    reading = DotQmailReader._file

    def without_last_line(*arguments: Any) -> site.DotQmailFile | None:
        file = reading(*arguments)
        return file and file._replace(lines=file.lines[:-1])

    monkeypatch.setattr(DotQmailReader, "_file", without_last_line)
    base.update()

    proof = base.prove()

    assert {each.path.rpartition("/")[2] for each in proof.unexplained} == {
        ".qmail-default",
        ".qmail-info",
        ".qmail-multi",
        ".qmail-mylist",
        ".qmail-mylist-default",
        ".qmail-mylist-owner",
        ".qmail-mylist-return-default",
    }


def test_a_file_that_the_import_does_not_see_is_found(
    base: Changing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CdbBuild, "limits", lambda *_: None)
    base.update()

    proof = base.prove()

    assert [each.path.rpartition("/")[2] for each in proof.unexplained] == [".qmailadmin-limits"]
