"""Damage of a site's own files: a domain must not be lost because one of several lists lost it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.importer import support
from vpopsql.importer.codes import Code
from vpopsql.importer.evidence import Evidence, Finding
from vpopsql.qmail import assign, cdb, control

Unpack = Callable[[str], Path]

ASSIGN = "var/qmail/users/assign"
CDB = "var/qmail/users/cdb"
CONTROL = "var/qmail/control"
DOMAINS = "home/vpopmail/domains"
TEST_LINE = "+test.com-:test.com:89:89:/home/vpopmail/domains/test.com:-::"


def lines_of(root: Path) -> list[str]:
    """Return the lines of users/assign without the final dot."""
    return (root / ASSIGN).read_text().splitlines()[:-1]


def write_assign(root: Path, lines: list[str]) -> None:
    (root / ASSIGN).write_bytes(assign.render(lines))


def write_cdb(root: Path, lines: list[str]) -> None:
    (root / CDB).write_bytes(assign.compile_cdb(lines))


def of(evidence: Evidence, *codes: Code) -> list[Finding]:
    return [finding for finding in evidence.findings if finding.code in codes]


# --- users/cdb --------------------------------------------------------------------------------


def test_a_domain_that_only_the_cdb_has_is_a_reject_with_the_line_to_add(unpack: Unpack) -> None:
    root = unpack("base")
    write_assign(root, [line for line in lines_of(root) if line != TEST_LINE])

    found, evidence = support.read(root)

    (lost,) = of(evidence, Code.UNASSIGNED)
    assert (lost.place, lost.text) == (f"{root}/{CDB}", TEST_LINE)
    assert lost.reason.startswith("qmail delivers to the domain test.com")
    assert "test.com" not in [domain.name.name for domain in found.domains]
    assert all(tally.adds_up for tally in evidence.tallies)


def test_a_domain_that_only_the_cdb_has_without_its_directory_is_a_warning(
    unpack: Unpack,
) -> None:
    root = unpack("base")
    write_assign(root, [line for line in lines_of(root) if line != TEST_LINE])
    (root / DOMAINS / "test.com").rename(root / "away")

    _, evidence = support.read(root)

    assert of(evidence, Code.UNASSIGNED) == []
    assert [finding.text for finding in of(evidence, Code.IN_CDB_ONLY)] == [TEST_LINE]


def test_an_entry_of_others_that_only_the_cdb_has_is_a_warning(unpack: Unpack) -> None:
    root = unpack("base")
    write_cdb(root, [*lines_of(root), "=joe:joe:1001:1001:/home/joe:::"])

    _, evidence = support.read(root)

    assert [finding.text for finding in of(evidence, Code.IN_CDB_ONLY)] == ["joe"]


def test_a_line_that_the_cdb_has_not_is_imported_and_said(unpack: Unpack) -> None:
    root = unpack("base")
    write_cdb(root, [line for line in lines_of(root) if line != TEST_LINE])

    found, evidence = support.read(root)

    number = lines_of(root).index(TEST_LINE) + 1
    assert [finding.place for finding in of(evidence, Code.NOT_IN_CDB)] == [
        f"{root}/{ASSIGN}:{number}"
    ]
    assert "test.com" in [domain.name.name for domain in found.domains]


def test_a_line_that_the_cdb_has_with_other_values_is_imported_and_said(unpack: Unpack) -> None:
    root = unpack("base")
    write_cdb(root, [line.replace(":89:89:", ":90:90:", 1) for line in lines_of(root)])

    found, evidence = support.read(root)

    assert len(of(evidence, Code.CDB_DIFFERS)) == 6
    assert {domain.uid for domain in found.domains} == {89}


def test_the_first_of_two_records_counts_as_it_does_for_qmail(unpack: Unpack) -> None:
    root = unpack("base")
    write_cdb(root, [*lines_of(root), TEST_LINE.replace(":89:89:", ":90:90:")])

    _, evidence = support.read(root)

    assert of(evidence, Code.CDB_DIFFERS, Code.IN_CDB_ONLY, Code.UNASSIGNED) == []


@pytest.mark.parametrize("content", [b"", b"no cdb", b"\0" * 2048 + b"x"])
def test_a_damaged_cdb_is_a_warning_and_the_text_is_read(unpack: Unpack, content: bytes) -> None:
    root = unpack("base")
    (root / CDB).write_bytes(content)

    found, evidence = support.read(root)

    assert [finding.place for finding in of(evidence, Code.CDB_DAMAGED)] == [f"{root}/{CDB}"]
    assert len(found.domains) == 5


def test_a_missing_cdb_is_a_warning(unpack: Unpack) -> None:
    root = unpack("base")
    (root / CDB).unlink()

    _, evidence = support.read(root)

    assert [finding.place for finding in of(evidence, Code.CDB_MISSING)] == [f"{root}/{CDB}"]


def test_the_cdb_may_have_the_name_that_s_qmail_gives_it(unpack: Unpack) -> None:
    root = unpack("base")
    (root / CDB).rename(root / "var/qmail/users/assign.cdb")

    _, evidence = support.read(root)

    assert evidence.findings == []


def test_without_the_text_the_cdb_tells_every_line_to_restore(unpack: Unpack) -> None:
    root = unpack("base")
    lines = lines_of(root)
    (root / ASSIGN).unlink()

    _, evidence = support.read(root)

    assert [finding.text for finding in of(evidence, Code.UNASSIGNED)] == lines


# --- control files ----------------------------------------------------------------------------


def test_a_host_that_only_the_cdb_of_morercpthosts_has_is_said(unpack: Unpack) -> None:
    root = unpack("base")
    (root / CONTROL / "morercpthosts").write_text("more.example\nlost.example\n")
    (root / CONTROL / "morercpthosts.cdb").write_bytes(
        control.compile_morercpthosts(["more.example", "stale.example"])
    )

    _, evidence = support.read(root)

    cdb_file = f"{root}/{CONTROL}/morercpthosts.cdb"
    assert [(odd.place, odd.text) for odd in of(evidence, Code.IN_CDB_ONLY)] == [
        (cdb_file, "stale.example")
    ]
    assert [odd.place for odd in of(evidence, Code.NOT_IN_CDB)] == [
        f"{root}/{CONTROL}/morercpthosts:2"
    ]


def test_a_cdb_of_morercpthosts_without_its_text_is_read(unpack: Unpack) -> None:
    root = unpack("base")
    (root / CONTROL / "morercpthosts.cdb").write_bytes(cdb.make([(b"stale.example", b"")]))

    _, evidence = support.read(root)

    (stale,) = of(evidence, Code.IN_CDB_ONLY)
    assert (stale.text, stale.reason.rpartition("; ")[2]) == ("stale.example", "there is no text")


def test_morercpthosts_without_its_cdb_is_said(unpack: Unpack) -> None:
    root = unpack("base")
    (root / CONTROL / "morercpthosts").write_text("more.example\n")

    _, evidence = support.read(root)

    assert len(of(evidence, Code.CDB_MISSING)) == 1


@pytest.mark.parametrize("line", ["lost.example:lost.example", "Lost.Example:lost.example"])
def test_a_host_that_only_virtualdomains_has_is_kept_and_said(unpack: Unpack, line: str) -> None:
    root = unpack("base")
    with (root / CONTROL / "virtualdomains").open("a") as file:
        file.write(f"{line}\n")

    found, evidence = support.read(root)

    assert [(odd.place, odd.text) for odd in of(evidence, Code.VIRTUAL_ONLY)] == [
        (f"{root}/{CONTROL}/virtualdomains:7", line)
    ]
    assert [kept.line for kept in found.foreign_lines["control/virtualdomains"]] == [line]


@pytest.mark.parametrize(
    "line, assigned",
    [
        ("lists.example:alias-lists", ""),  # to a user of the host
        ("other.example:other.example", "+other.example-:joe:1001:1001:/home/joe:-::"),
        ("joe@a.example:joe@a.example", ""),
        (".example:.example", ""),
    ],
)
def test_a_host_that_is_virtual_in_another_way_is_kept_without_a_word(
    unpack: Unpack, line: str, assigned: str
) -> None:
    root = unpack("base")
    lines = [*lines_of(root), *filter(None, [assigned])]
    write_assign(root, lines)
    write_cdb(root, lines)
    with (root / CONTROL / "virtualdomains").open("a") as file:
        file.write(f"{line}\n")

    _, evidence = support.read(root)

    assert evidence.findings == []


def test_a_host_that_only_rcpthosts_has_is_kept_and_noted(unpack: Unpack) -> None:
    root = unpack("base")
    with (root / CONTROL / "rcpthosts").open("a") as file:
        file.write("backup.example\nlocalhost\nsub.virtual.example\n")
    with (root / CONTROL / "virtualdomains").open("a") as file:
        file.write(".virtual.example:joe\n")

    found, evidence = support.read(root)

    assert [(odd.place, odd.text) for odd in evidence.findings] == [
        (f"{root}/{CONTROL}/rcpthosts:7", "backup.example")
    ]
    assert of(evidence, Code.RELAYED) == evidence.findings
    assert len(found.foreign_lines["control/rcpthosts"]) == 3


# --- directories without a line ---------------------------------------------------------------


@pytest.mark.parametrize("bucket", ["", "0/", "0/z/"])
@pytest.mark.parametrize("mark", ["vpasswd", "vpasswd.cdb", ".qmail-default"])
def test_a_directory_that_may_be_a_lost_domain_is_said(
    unpack: Unpack, bucket: str, mark: str
) -> None:
    root = unpack("base")
    orphan = root / DOMAINS / f"{bucket}lost.example"
    orphan.mkdir(parents=True)
    (orphan / mark).write_bytes(b"a:b\nc:d\n")

    _, evidence = support.read(root)

    assert [odd.place for odd in of(evidence, Code.ORPHAN_DOMAIN)] == [str(orphan)]


def test_the_accounts_of_a_lost_domain_are_counted(unpack: Unpack) -> None:
    root = unpack("base")
    write_assign(root, [line for line in lines_of(root) if line != TEST_LINE])
    support.compile_cdbs(root)

    _, evidence = support.read(root)

    (lost,) = of(evidence, Code.ORPHAN_DOMAIN)
    assert lost.reason == "users/assign has no line for test.com: its vpasswd has 1 lines"


def test_a_link_without_a_line_is_said_as_it_may_be_an_alias_domain(unpack: Unpack) -> None:
    root = unpack("base")
    (root / DOMAINS / "alias.example").symlink_to("example.com")

    _, evidence = support.read(root)

    (link,) = of(evidence, Code.ORPHAN_DOMAIN)
    assert (link.place, link.text) == (f"{root}/{DOMAINS}/alias.example", "-> example.com")


def test_other_directories_beside_domains_are_listed_and_nothing_more(unpack: Unpack) -> None:
    root = unpack("base")
    (root / DOMAINS / "backup/2019").mkdir(parents=True)
    (root / DOMAINS / "backup/2019/vpasswd").touch()
    (root / DOMAINS / "notes.txt").touch()

    _, evidence = support.read(root)

    assert evidence.findings == []
    assert {Path(path).name for path in evidence.left["in the domains directory"]} == {
        "backup",
        "notes.txt",
    }


# --- aliases to nobody ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file, address",
    [
        (f"{DOMAINS}/example.com/.qmail-lost", "nobody@example.com"),
        (f"{DOMAINS}/example.com/.qmail-lost", "Nobody@Example.COM"),
        (f"{DOMAINS}/example.com/.qmail-lost", "nobody@example-alias.org"),
        (f"{DOMAINS}/example.com/.qmail-lost", "nobody@limited.net"),
        (f"{DOMAINS}/example.com/alice/.qmail", "nobody@limited.net"),
        (f"{DOMAINS}/example.com/alice/.qmail-ext", "no-body@example.com"),
    ],
)
def test_a_forward_to_an_address_of_the_site_that_nobody_has_is_said(
    unpack: Unpack, file: str, address: str
) -> None:
    root = unpack("base")
    (root / file).write_text(f"# lost\n&{address}\n")

    _, evidence = support.read(root)

    assert [(odd.place, odd.text) for odd in of(evidence, Code.ALIAS_TO_NOBODY)] == [
        (f"{root}/{file}:2", address)
    ]


@pytest.mark.parametrize(
    "address",
    [
        "alice@example.com",
        "ALICE@example-alias.org",
        "alice-holiday@example.com",  # what follows the dash is the account's to use
        "info@example.com",  # a dot-qmail file
        "mylist-subscribe@example.com",  # .qmail-mylist-default
        "postmaster@limited.net",
        "somebody@elsewhere.example",
        "local",
    ],
)
def test_a_forward_to_somebody_is_none(unpack: Unpack, address: str) -> None:
    root = unpack("base")
    (root / DOMAINS / "example.com/.qmail-found").write_text(f"&{address}\n")

    _, evidence = support.read(root)

    assert of(evidence, Code.ALIAS_TO_NOBODY) == []


def test_a_domain_with_a_catch_all_has_every_address(unpack: Unpack) -> None:
    root = unpack("base")
    default = root / DOMAINS / "example.com/.qmail-default"
    default.write_text("| /home/vpopmail/bin/vdelivermail '' alice@example.com\n")
    (root / DOMAINS / "test.com/.qmail-lost").write_text("&anybody@example.com\n")

    _, evidence = support.read(root)

    assert of(evidence, Code.ALIAS_TO_NOBODY) == []
