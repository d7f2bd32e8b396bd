"""Damage of the lines of vpasswd: the good ones are imported, of the others each is named."""

from pathlib import Path

import pytest

from tests import sites
from tests.importer import support
from tests.importer.damage import HOME, VPASSWD, Unpack, insert_second, mailboxes, of, user_line
from vpopsql.config import Config, Paths
from vpopsql.db import Database
from vpopsql.exporter.apply import apply
from vpopsql.importer.backend import Choices, Prefer
from vpopsql.importer.codes import Code, Severity
from vpopsql.model import Flag


def test_the_good_lines_around_bad_ones_are_read(unpack: Unpack) -> None:
    root = unpack("base")
    insert_second(root / VPASSWD, b"nothing\n\n:::\n")

    found, _ = support.read(root)

    (domain,) = [domain for domain in found.domains if domain.name.name == "example.com"]
    assert len(domain.mailboxes) == 8


def test_a_line_longer_than_vpopmails_own_tools_read_is_imported_and_said(unpack: Unpack) -> None:
    root = unpack("base")
    fits = user_line(b"fits").rstrip(b"\n").ljust(298, b"x") + b"\n"
    insert_second(root / VPASSWD, fits + fits.replace(b"fits", b"longer"))

    found, evidence = support.read(root)

    assert {"fits", "longer"} < mailboxes(found).keys()
    assert len(fits) == 299
    assert [(each.place, each.text, each.reason) for each in of(evidence, Code.LONG_LINE)] == [
        (f"{root}/{VPASSWD}:3", "longer:…", "it has 301 bytes with its newline, more than 299")
    ]


def test_a_last_line_that_is_cut_off_is_a_reject_and_the_others_are_read(unpack: Unpack) -> None:
    root = unpack("base")
    path = root / VPASSWD
    path.write_bytes(path.read_bytes().rpartition(b":NOQUOTA")[0][:-40])

    found, evidence = support.read(root)

    assert len(mailboxes(found)) == 7
    reason = "the file ends within this line: it has fewer than 7 fields"
    assert [(each.place, each.text, each.reason) for each in of(evidence, Code.CUT_OFF)] == [
        (f"{path}:8", "postmaster:…", reason)
    ]
    assert [each.place for each in of(evidence, Code.CDB_DIFFERS)] == [f"{path}:8"]
    assert evidence.of(Severity.REJECT) == of(evidence, Code.CUT_OFF)
    assert all(tally.adds_up for tally in evidence.tallies)


@pytest.mark.parametrize("end", [b"", b"postmas", b"postmaster:$6$EpLds2"])
def test_what_is_cut_off_is_in_the_cdb(unpack: Unpack, end: bytes) -> None:
    root = unpack("base")
    before, _ = support.read(root)
    path = root / VPASSWD
    path.write_bytes(path.read_bytes().rpartition(b"postmaster:$6$")[0] + end)

    found, evidence = support.read(root, Choices(store_clear_text=True, prefer=Prefer.CDB))

    assert found == before
    assert evidence.worst is Severity.WARNING
    assert all(tally.adds_up for tally in evidence.tallies)


def test_a_last_line_without_its_newline_is_imported_and_said(unpack: Unpack) -> None:
    root = unpack("base")
    path = root / VPASSWD
    path.write_bytes(path.read_bytes()[:-3])

    found, evidence = support.read(root)

    assert mailboxes(found)["postmaster"].clear_text == "expa"
    assert [each.place for each in of(evidence, Code.NO_FINAL_NEWLINE)] == [f"{path}:8"]
    assert [each.place for each in of(evidence, Code.CDB_DIFFERS)] == [f"{path}:8"]
    assert evidence.worst is Severity.WARNING


def test_lines_out_of_order_are_noted_once(unpack: Unpack) -> None:
    root = unpack("base")
    path = root / VPASSWD
    path.write_bytes(b"".join(sorted(path.read_bytes().splitlines(keepends=True), reverse=True)))

    _, evidence = support.read(root)

    assert [(str(each.code), each.place, each.reason) for each in evidence.findings] == [
        ("unsorted", f"{path}:2", "its name sorts before that of line 1")
    ]


def test_names_that_differ_only_in_case_are_one_and_both_named(unpack: Unpack) -> None:
    root = unpack("base")
    insert_second(root / VPASSWD, user_line(b"ALICE"))

    _, evidence = support.read(root)

    assert [(each.place, each.text, each.reason) for each in of(evidence, Code.SAME_USER)] == [
        (f"{root}/{VPASSWD}:3", "alice", "line 2 has this user already")
    ]


def test_a_comment_in_another_encoding_comes_back_byte_for_byte(
    database: Database, unpack: Unpack, tmp_path: Path
) -> None:
    root = unpack("base")
    path = root / VPASSWD
    path.write_bytes(path.read_bytes().replace(b":Alice Example:", b":J\xfcrgen \x80\xff\x01:"))
    support.compile_cdbs(root)
    exported = tmp_path / "exported"
    exported.mkdir()

    sites.import_tree(database, root)
    apply(database, Config(paths=Paths(root=str(exported))))

    assert (exported / VPASSWD).read_bytes() == path.read_bytes()
    assert (exported / f"{VPASSWD}.cdb").read_bytes() == (root / f"{VPASSWD}.cdb").read_bytes()


def test_lines_of_other_systems_are_those_of_ours(unpack: Unpack) -> None:
    root = unpack("base")
    before, _ = support.read(root)
    vpasswd = root / VPASSWD
    vpasswd.write_bytes(vpasswd.read_bytes().replace(b"\n", b"\r\n"))

    found, evidence = support.read(root)

    assert found == before
    assert [(odd.place, odd.reason) for odd in evidence.of(Severity.WARNING)] == [
        (f"{vpasswd}:1", "8 lines end in a carriage return")
    ]


def test_a_carriage_return_behind_the_quota_is_no_part_of_it(unpack: Unpack) -> None:
    root = unpack("base")
    insert_second(root / VPASSWD, b"x:*:1:0::" + HOME + b"/x:1000S\r\n")

    found, _ = support.read(root)

    (domain,) = [domain for domain in found.domains if domain.name.name == "example.com"]
    quotas = {mailbox.name: mailbox.quota_text for mailbox in domain.mailboxes}
    assert quotas["x"] == "1000S"


def test_a_hash_of_no_known_kind_is_named_with_its_line(unpack: Unpack) -> None:
    root = unpack("base")
    insert_second(root / VPASSWD, user_line(b"y").replace(b":*:", b":secret:"))
    insert_second(root / VPASSWD, user_line(b"x").replace(b":*:", b":{PLAIN}secret:"))

    _, evidence = support.read(root)

    assert [(each.place, each.text, each.reason) for each in of(evidence, Code.UNKNOWN_HASH)] == [
        (f"{root}/{VPASSWD}:2", "", "the password hash of x is of no known kind"),
        (f"{root}/{VPASSWD}:3", "", "the password hash of y is of no known kind"),
    ]


def test_hashes_that_are_read_in_another_way_are_counted(unpack: Unpack) -> None:
    root = unpack("base")
    insert_second(root / VPASSWD, user_line(b"z").replace(b":*:", b":{CRYPT}abJnggxhB/yWI:"))

    _, evidence = support.read(root)

    assert [each.reason for each in of(evidence, Code.HASH_PREFIX)] == [
        "1 password hashes have a prefix such as {CRYPT}"
    ]


def test_flags_of_indimail_are_counted_and_become_vpopmail_s(unpack: Unpack) -> None:
    root = unpack("base")
    path = root / VPASSWD
    path.write_bytes(path.read_bytes().replace(b":1:4096:dadmin:", b":1:128:dadmin:"))
    support.compile_cdbs(root)

    found, evidence = support.read(root, Choices(store_clear_text=True, is_indimail=True))

    assert mailboxes(found)["dadmin"].flags == Flag.QA_ADMIN
    assert str(path) in [each.place for each in of(evidence, Code.MAPPED_FLAGS)]


# --- quotas -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "quota",
    [
        b"NOQUOTA",
        b"",
        b"0",
        b"0S",
        b"10M",
        b"10m",
        b"10MS",
        b"10MB",
        b"20mbs",
        b"100K",
        b"100k",
        b"5B",
        b"1000000",
        b"1000000S",
        b"5000C",
        b"1000000S,100C",
        b"100C,1000000S",
        b"1073741824S,1000000C",
    ],
)
def test_a_quota_that_is_what_it_looks_like_is_kept_and_nothing_said(
    unpack: Unpack, quota: bytes
) -> None:
    root = unpack("base")
    path = root / VPASSWD
    path.write_bytes(path.read_bytes().replace(b":10000000S,100C:", b":" + quota + b":"))
    support.compile_cdbs(root)

    found, evidence = support.read(root)

    assert evidence.findings == []
    assert mailboxes(found)["carol"].quota_text == quota.decode()


@pytest.mark.parametrize(
    "quota, taken",
    [
        ("1G", "1S: what follows the number is not read"),
        ("10M!", "10485760S: what follows the number is not read"),
        ("10MC", "10485760S: what follows the number is not read"),
        ("5c", "5S: what follows the number is not read"),
        ("1.5M", "1S: what follows the number is not read"),
        ("rubbish", "no limit: it does not begin with a number"),
        ("noquota", "no limit: it does not begin with a number"),
        ("-5M", "no limit: it does not begin with a number"),
        ("10M,", "10485760S: it does not begin with a number"),
        ("10M,20M", "20971520S: of two sizes or two counts the last one holds"),
        ("1C,2C,5S", "5S,2C: of two sizes or two counts the last one holds"),
        ("9999999999999999999", "9223372036854775807S: the number is too large"),
        ("9000000000000000M", "9223372036854775807S: the number is too large"),
        ("1073741824S,10000000C", "1073741824S,10000000C: vpopmail's tables hold 20 characters"),
    ],
)
def test_a_quota_that_is_not_what_it_looks_like_is_kept_and_said(
    unpack: Unpack, quota: str, taken: str
) -> None:
    root = unpack("base")
    path = root / VPASSWD
    path.write_bytes(path.read_bytes().replace(b":10000000S,100C:", f":{quota}:".encode()))
    support.compile_cdbs(root)

    found, evidence = support.read(root)

    shown = {"10M!": "(4 characters)", "rubbish": "(7 characters)"}.get(quota, quota)
    assert mailboxes(found)["carol"].quota_text == quota
    assert [
        (str(each.code), each.place, each.text, each.reason) for each in evidence.findings
    ] == [("odd-quota", f"{path}:4", shown, f"the quota of carol is taken for {taken}")]
