"""The proof of an import: what differs is explained, or found."""

import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Executable, delete, insert, update
from sqlalchemy.orm import Session

from tests.importer.changing import (
    ASSIGN,
    DEFAULT_DOMAIN,
    DEFAULT_LIMITS,
    DOMAIN,
    IP_MAP,
    LOCALS,
    NEW_DOMAINS,
    RCPTHOSTS,
    SECRET,
    VIRTUALDOMAINS,
    VPASSWD,
    Changing,
)
from vpopsql.db import Database
from vpopsql.importer import plan, site, stored
from vpopsql.importer.backend import Choices
from vpopsql.importer.cdb_build import CdbBuild
from vpopsql.importer.codes import Code
from vpopsql.importer.dotqmails import DotQmailReader
from vpopsql.importer.stored import read_domains
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
from vpopsql.proof import Kind, Proof
from vpopsql.services import account_changes, domain_changes, ipmaps, limits
from vpopsql.services.account_changes import Wishes

Unpack = Callable[[str], Path]

ON_SQLITE = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
HOMES = "home/vpopmail/domains"
COUNTER = f"{DOMAIN[1:]}/.dir-control"


@pytest.fixture
def base(database: Database, unpack: Unpack) -> Changing:
    """The sample site `base`, imported."""
    site = Changing(database, unpack("base"))
    site.update()
    return site


@pytest.fixture
def damaged(database: Database, unpack: Unpack) -> Changing:
    """The same, to be damaged before it is imported."""
    return Changing(database, unpack("base"))


def files(proof: Proof) -> dict[str, int]:
    return {kind.value: number for kind, number in proof.files.items() if number}


def accusations(proof: Proof) -> list[str]:
    return [f"{each.place}: {each.reason}" for each in proof.unexplained]


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
OTHERWISE = "the export would write something else than the source has"
NOT = "not as in the source"
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


# --- damage -----------------------------------------------------------------------------------


def test_clear_passwords_that_are_left_out_are_explained(damaged: Changing) -> None:
    damaged.update(choices=Choices())

    proof = damaged.prove(clear_text=False)

    assert accusations(proof) == []
    assert proof.reasons == {"clear-text-left-out": 18}
    assert files(proof) == {"identical": 25, "explained": 10}


DAMAGE: dict[str, tuple[Callable[[Changing], object], set[Code], list[str]]] = {
    "carriage returns": (
        lambda site: site.damage(VPASSWD, b"\n", b"\r\n"),
        set(),
        ["carriage-returns"],
    ),
    "a duplicate line of assign": (
        lambda site: site.insert(ASSIGN, line_of(site, ASSIGN, b"+test.com")),
        set(),
        ["duplicate"],
    ),
    "a blank line": (
        lambda site: site.damage(VPASSWD, b"\nbob:", b"\n\nbob:"),
        set(),
        ["blank-line"],
    ),
    "a line that is no account": (
        lambda site: site.damage(VPASSWD, b"bob:$6$", b"bob$6$"),
        {Code.MALFORMED},
        ["malformed", "in-cdb-only"],
    ),
    "a line that says nothing": (
        lambda site: site.append(IP_MAP, b"# a comment"),
        set(),
        ["says-nothing"],
    ),
    "no final dot": (
        lambda site: site.damage(ASSIGN, b"\n.\n", b"\n"),
        {Code.MALFORMED},
        ["malformed"],
    ),
    "lines behind the dot": (
        lambda site: site.damage(ASSIGN, b"\n.\n", b"\n.\n+late.org-:late.org:1:1:/l:-::\n"),
        {Code.MALFORMED},
        ["malformed"],
    ),
    "no users/cdb": (lambda site: site.remove("var/qmail/users/cdb"), set(), []),
    "an old users/cdb": (
        lambda site: site.damage(ASSIGN, b"test.com:89:89", b"test.com:90:90"),
        set(),
        ["cdb-differs"],
    ),
    "no vpasswd.cdb": (lambda site: site.remove(f"{VPASSWD}.cdb"), set(), []),
    "no vpasswd": (lambda site: site.remove(VPASSWD), set(), ["cdb-only"]),
    "neither of them": (
        lambda site: [site.take(file) for file in (VPASSWD, f"{VPASSWD}.cdb")],
        {Code.MISSING},
        ["missing"],
    ),
    "no rcpthosts": (
        lambda site: site.remove(RCPTHOSTS),
        set(),
        ["no-rcpthosts"],
    ),
    "a line that is missing from rcpthosts": (
        lambda site: site.drop(RCPTHOSTS, b"test.com"),
        set(),
        ["not-in-rcpthosts"],
    ),
    "no virtualdomains": (
        lambda site: site.remove(VIRTUALDOMAINS),
        set(),
        ["not-in-virtualdomains"],
    ),
    "another prepend": (
        lambda site: site.replace(VIRTUALDOMAINS, b"test.com:test.com", b"test.com:joe"),
        set(),
        ["other-prepend"],
    ),
    "a domain that is local": (
        lambda site: site.append(LOCALS, b"test.com"),
        set(),
        ["in-locals"],
    ),
    "only domains that are local": (
        lambda site: site.write(LOCALS, b"test.com\n"),
        set(),
        ["in-locals"],
    ),
    "other spellings": (
        lambda site: site.replace(RCPTHOSTS, b"test.com", b"Test.COM"),
        set(),
        ["respelled"],
    ),
    "an alias of an unknown domain": (
        lambda site: site.insert(ASSIGN, b"+stray.org-:gone.org:89:89:/home/x:-::"),
        {Code.NO_REAL_DOMAIN},
        ["no-real-domain"],
    ),
    "a link in place of a dot-qmail file": (
        lambda site: (site.root / DOMAIN[1:] / ".qmail-link").symlink_to(".qmail-info"),
        set(),
        [],
    ),
    "a directory in place of a dot-qmail file": (
        lambda site: (site.root / DOMAIN[1:] / ".qmail-dir").mkdir(),
        set(),
        ["no-file"],
    ),
    "a dot-qmail file that nothing reads": (
        lambda site: site.write(f"{DOMAIN[1:]}/.qmail-a.b", b"&x@example.org\n"),
        set(),
        ["no-file"],
    ),
    "a dot-qmail file with a control character in its name": (
        lambda site: site.write(f"{DOMAIN[1:]}/.qmail-\x01", b"&x@example.org\n"),
        {Code.BAD_FILE_NAME},
        ["bad-file-name"],
    ),
    "a linked vpasswd": (
        lambda site: link_away(site.root / VPASSWD),
        {Code.LINKED},
        ["symbolic-link"],
    ),
    "a missing domain": (
        lambda site: shutil.rmtree(site.root / HOMES / "empty.org"),
        {Code.MISSING},
        ["missing"],
    ),
    "a missing home": (
        lambda site: shutil.rmtree(site.root / DOMAIN[1:] / "bob"),
        set(),
        [],
    ),
    "a broken counter": (
        lambda site: site.write(f"{DOMAIN[1:]}/.dir-control", b"x\ny\n"),
        set(),
        ["damaged-counter"],
    ),
    "a list of free buckets alone": (
        lambda site: site.write(f"{DOMAIN[1:]}/.dir_control_free", site.take(COUNTER)),
        set(),
        [],
    ),
    "unsorted lines": (
        lambda site: site.append(
            VPASSWD, b"aa:*:1:0:late:/home/vpopmail/domains/example.com/aa:NOQUOTA:"
        ),
        set(),
        ["the same lines in another order", "the same records in another order"],
    ),
    "no newline at the end": (
        lambda site: site.damage(VPASSWD, b"expass\n", b"expass"),
        set(),
        ["the newline at its end"],
    ),
    "limits of no meaning": (
        lambda site: site.append(f"{HOMES}/limited.net/.qmailadmin-limits", b"nonsense 1"),
        set(),
        [],
    ),
}


def line_of(site: Changing, file: str, beginning: bytes) -> bytes:
    return next(line for line in site.read(file).splitlines() if line.startswith(beginning))


def link_away(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@ON_SQLITE
@pytest.mark.parametrize("what", DAMAGE)
def test_every_damage_that_was_imported_is_explained(damaged: Changing, what: str) -> None:
    damage, accepted, expected = DAMAGE[what]
    damage(damaged)
    damaged.update(accepted=accepted)

    proof = damaged.prove()

    assert accusations(proof) == []
    assert list(proof.reasons) == expected


def test_a_source_that_was_moved_is_found_where_it_is(base: Changing, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    base.root.rename(moved)

    proof = base.prove(root=moved)

    assert accusations(proof) == []
    assert files(proof) == {"identical": 35}


def test_a_lost_name_is_not_excused_by_a_source_that_was_moved(
    base: Changing, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    base.root.rename(moved)
    base.sql(delete(ForeignLine))

    proof = base.prove(root=moved)

    assert accusations(proof) == [f"/var/qmail/control/locals: {OTHERWISE}"]


@ON_SQLITE
@pytest.mark.parametrize(
    "damage, kinds",
    [
        (lambda _: None, {"identical": 35}),
        (lambda site: site.remove(f"{VPASSWD}.cdb"), {"identical": 34, "new": 1}),
        (
            lambda site: site.write(VPASSWD, b"".join(reversed(site.lines(VPASSWD)))),
            {"identical": 33, "order": 2},
        ),
        (
            lambda site: site.replace(RCPTHOSTS, b"test.com", b"Test.com"),
            {"identical": 34, "explained": 1},
        ),
    ],
)
def test_files_are_counted_by_how_they_compare(
    damaged: Changing, damage: Callable[[Changing], object], kinds: dict[str, int]
) -> None:
    damage(damaged)
    damaged.update()

    assert files(damaged.prove()) == kinds


def test_the_lines_of_a_dot_qmail_file_are_obeyed_in_their_order(damaged: Changing) -> None:
    damaged.write(f"{DOMAIN[1:]}/.qmail-info", b"&bob@example.com\n&al@example.com\n")
    damaged.update()
    damaged.sql(
        update(DotQmailLine).where(DotQmailLine.line == "&bob@example.com").values(position=9)
    )

    proof = damaged.prove()

    assert accusations(proof)[0] == (
        f"example.com: .qmail-info: {NOT}: change dot-qmail file .qmail-info"
    )


def test_domains_of_another_site_are_named_as_such(base: Changing, unpack: Unpack) -> None:
    other = Changing(base.database, unpack("small"))
    other.update(accepted=[Code.DIFFERS])

    proof = base.prove()

    assert proof.reasons["from-elsewhere"] == 10
    assert accusations(proof) == []


def test_one_batch_of_domains_is_held_at_a_time(
    base: Changing, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[list[str]] = []

    def recorded(session: Session, names: Collection[str]) -> Iterator[site.Domain]:
        read.append(list(names))
        return read_domains(session, names)

    monkeypatch.setattr(plan, "_MAILBOXES_AT_ONCE", 3)
    monkeypatch.setattr(stored, "read_domains", recorded)

    proof = base.prove()

    assert accusations(proof) == []
    assert read == [["empty.org", "example.com"], ["example.company"], ["limited.net", "test.com"]]


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
