"""Damage of vpasswd and vpasswd.cdb: an account must not be lost because one of them lost it."""

from tests.importer import support
from tests.importer.damage import HOME, VPASSWD, Unpack, insert_second, user_line
from vpopsql.importer.codes import Severity


def test_the_good_lines_around_bad_ones_are_read(unpack: Unpack) -> None:
    root = unpack("base")
    insert_second(root / VPASSWD, b"nothing\n\n:::\n")

    found, _ = support.read(root)

    (domain,) = [domain for domain in found.domains if domain.name.name == "example.com"]
    assert len(domain.mailboxes) == 8


def test_a_line_longer_than_vpopmails_own_tools_read_is_imported(unpack: Unpack) -> None:
    root = unpack("base")
    insert_second(root / VPASSWD, user_line(b"long").replace(b"comment", b"c" * 5000))

    found, evidence = support.read(root)

    (domain,) = [domain for domain in found.domains if domain.name.name == "example.com"]
    assert {mailbox.name: len(mailbox.comment) for mailbox in domain.mailboxes}["long"] == 5000
    assert evidence.worst is Severity.WARNING


def test_a_domain_without_any_password_file_is_a_reject(unpack: Unpack) -> None:
    root = unpack("base")
    (root / VPASSWD).unlink()
    (root / f"{VPASSWD}.cdb").unlink()

    assert [found.file for found in support.findings(root, "missing")] == [str(root / VPASSWD)]


def test_a_damaged_cdb_in_place_of_vpasswd_is_a_reject(unpack: Unpack) -> None:
    root = unpack("base")
    (root / VPASSWD).unlink()
    (root / f"{VPASSWD}.cdb").write_bytes(b"no cdb")

    assert [found.file for found in support.findings(root, "malformed")] == [
        str(root / f"{VPASSWD}.cdb")
    ]


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


def test_hashes_that_are_read_in_another_way_or_not_at_all_are_counted(unpack: Unpack) -> None:
    root = unpack("base")
    des = b"{CRYPT}abJnggxhB/yWI"
    for name, password_hash in [(b"x", b"{PLAIN}secret"), (b"y", b"secret"), (b"z", des)]:
        line = user_line(name, HOME + b"/" + name).replace(b":*:", b":" + password_hash + b":")
        insert_second(root / VPASSWD, line)

    _, evidence = support.read(root)

    reasons = {str(finding.code): finding.reason for finding in evidence.findings}
    assert reasons["hash-prefix"] == "1 password hashes have a prefix such as {CRYPT}"
    assert reasons["unknown-hash"] == "2 password hashes are of no known kind"
