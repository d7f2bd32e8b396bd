"""Sites that were damaged before they were imported, and what a proof says of them."""

import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from tests.importer.changing import (
    ASSIGN,
    DOMAIN,
    IP_MAP,
    LOCALS,
    RCPTHOSTS,
    VIRTUALDOMAINS,
    VPASSWD,
    Changing,
    import_base,
)
from tests.proving import NOT, ON_SQLITE, OTHERWISE, accusations, files
from vpopsql.db import Database
from vpopsql.importer import plan, site, stored
from vpopsql.importer.backend import Choices
from vpopsql.importer.codes import Code
from vpopsql.importer.stored import read_domains
from vpopsql.model import (
    DotQmailLine,
    ForeignLine,
)

Unpack = Callable[[str], Path]


@pytest.fixture
def base(database: Database, unpack: Unpack) -> Changing:
    return import_base(database, unpack)


HOMES = "home/vpopmail/domains"
COUNTER = f"{DOMAIN[1:]}/.dir-control"


@pytest.fixture
def damaged(database: Database, unpack: Unpack) -> Changing:
    """The same, to be damaged before it is imported."""
    return Changing(database, unpack("base"))


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
