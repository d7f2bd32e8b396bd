"""Damaged input: each bad line is named with its file and number, nothing is dropped silently."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.importer import support
from vpopsql.importer.codes import Severity

Unpack = Callable[[str], Path]

ASSIGN = "var/qmail/users/assign"
RCPTHOSTS = "var/qmail/control/rcpthosts"
VIRTUALDOMAINS = "var/qmail/control/virtualdomains"
LOCALS = "var/qmail/control/locals"
IP_MAP = "home/vpopmail/etc/ip_alias_map"
DEFAULT_LIMITS = "home/vpopmail/etc/vlimits.default"
DOMAIN = "home/vpopmail/domains/example.com"
VPASSWD = f"{DOMAIN}/vpasswd"
HOME = b"/home/vpopmail/domains/example.com"
TEST = b"/home/vpopmail/domains/test.com"


def domain_line(name: bytes, real: bytes, directory: bytes, ids: bytes = b"89:89") -> bytes:
    return b"+" + name + b"-:" + real + b":" + ids + b":" + directory + b":-::\n"


def user_line(name: bytes, directory: bytes = HOME + b"/x", ids: bytes = b"1:0") -> bytes:
    return name + b":*:" + ids + b":comment:" + directory + b":NOQUOTA:secret\n"


@pytest.mark.parametrize(
    "file, line, code, severity",
    [
        (ASSIGN, b"no assignment\n", "malformed", "reject"),
        (ASSIGN, b"+short.org-:short.org:89\n", "malformed", "reject"),
        (ASSIGN, b"\n", "malformed", "reject"),
        (ASSIGN, b"# a comment\n", "malformed", "reject"),
        (ASSIGN, domain_line(b"n.org", b"n.org", b"/h", b"x:89"), "malformed", "reject"),
        (ASSIGN, domain_line(b"n.org", b"n.org", b"/h", b"4000000000:1"), "malformed", "reject"),
        (ASSIGN, domain_line(b"a_b.org", b"a_b.org", b"/h"), "bad-name", "reject"),
        (ASSIGN, domain_line(b"a..org", b"a..org", b"/h"), "bad-name", "reject"),
        (ASSIGN, domain_line(b"stray.org", b"gone.org", HOME), "no-real-domain", "reject"),
        (ASSIGN, domain_line(b"al.org", b"example-alias.org", HOME), "no-real-domain", "reject"),
        (ASSIGN, domain_line(b"al.org", b"example.com", b"/h"), "alias-differs", "reject"),
        (ASSIGN, domain_line(b"r.org", b"r.org", b"relative"), "bad-path", "reject"),
        (ASSIGN, domain_line(b"r.org", b"r.org", b"/home/../etc"), "bad-path", "reject"),
        (ASSIGN, domain_line(b"r.org", b"r.org", b"/home/./r"), "bad-path", "reject"),
        (ASSIGN, domain_line(b"r.org", b"r.org", b"//"), "bad-path", "reject"),
        (ASSIGN, domain_line(b"al.org", b"test.com", TEST + b"/"), "not-plain-path", "warning"),
        (ASSIGN, domain_line(b"r.org", b"r.org", b"/home//r"), "not-plain-path", "warning"),
        (VIRTUALDOMAINS, b"no colon\n", "malformed", "reject"),
        (VIRTUALDOMAINS, b"nul.org:nul\0.org\n", "malformed", "reject"),
        (VIRTUALDOMAINS, b"test.com:joe\n", "other-prepend", "warning"),
        (RCPTHOSTS, b"nul\0.org\n", "malformed", "reject"),
        (LOCALS, b"nul\0.org\n", "malformed", "reject"),
        (LOCALS, b"Test.com\n", "in-locals", "warning"),
        (IP_MAP, b"192.0.2.9\n", "malformed", "reject"),
        (IP_MAP, b"300.0.2.9 test.com\n", "malformed", "reject"),
        (IP_MAP, b"fe80::1%eth0 test.com\n", "malformed", "reject"),
        (IP_MAP, b"192.0.2.9 unknown.org\n", "unknown-domain", "reject"),
        (IP_MAP, b"127.0.0.9 test.com\n", "duplicate", "warning"),
        (IP_MAP, b"192.0.2.9 example-alias.org\n", "respelled", "note"),
        (DEFAULT_LIMITS, b"maxpopaccounts many\n", "malformed", "reject"),
        (DEFAULT_LIMITS, b"max_everything 1\n", "unknown-setting", "warning"),
        (VPASSWD, b"nothing\n", "malformed", "reject"),
        (VPASSWD, user_line(b"x", ids=b"one:0"), "malformed", "reject"),
        (VPASSWD, user_line(b"x", ids=b"4000000000:0"), "malformed", "reject"),
        (VPASSWD, user_line(b"x\0"), "malformed", "reject"),
        (VPASSWD, user_line(b"x y"), "bad-name", "reject"),
        (VPASSWD, user_line(b"caf\xe9"), "bad-name", "reject"),
        (VPASSWD, user_line(b".."), "bad-name", "reject"),
        (VPASSWD, user_line(b"x/../y"), "bad-name", "reject"),
        (VPASSWD, user_line(b""), "malformed", "reject"),
        (VPASSWD, user_line(b"x", ids=b"1:-1"), "malformed", "reject"),
        (VPASSWD, user_line(b"x", ids=b"1:2147483648"), "malformed", "reject"),
        (VPASSWD, user_line(b"x", ids=b"1:524289"), "unknown-flags", "warning"),
        (VPASSWD, user_line(b"x", b"/"), "bad-path", "reject"),
        (VPASSWD, user_line(b"x", b"/home"), "bad-path", "reject"),
        (VPASSWD, user_line(b"x", b"/home/vpopmail/domains/"), "bad-path", "reject"),
        (VPASSWD, user_line(b"x", HOME), "bad-path", "reject"),
        (VPASSWD, user_line(b"x", TEST), "bad-path", "reject"),
        (VPASSWD, user_line(b"x", b"/srv/x"), "home-outside", "warning"),
        (VPASSWD, user_line(b"x", HOME + b"-x/x"), "home-outside", "warning"),
        (VPASSWD, user_line(b"x", TEST + b"/x"), "home-outside", "warning"),
        (VPASSWD, user_line(b"x", b""), "bad-path", "reject"),
        (VPASSWD, user_line(b"x", b"/home/../../etc"), "bad-path", "reject"),
        (VPASSWD, user_line(b"x", HOME + b"/./x"), "bad-path", "reject"),
        (VPASSWD, user_line(b"x", HOME + b"/x/"), "not-plain-path", "warning"),
        (VPASSWD, user_line(b"x", HOME + b"//x"), "not-plain-path", "warning"),
        (VPASSWD, user_line(b"Xaver"), "upper-case", "warning"),
        (VPASSWD, b"\n", "blank-line", "warning"),
        (f"{DOMAIN}/.dir_control_free", b"0\0\n", "malformed", "reject"),
        (f"{DOMAIN}/.qmailadmin-limits", b"quota: lots\n", "malformed", "reject"),
    ],
)
def test_a_bad_line_is_named_with_its_file_and_number(
    unpack: Unpack, file: str, line: bytes, code: str, severity: str
) -> None:
    root = unpack("base")
    path = root / file
    number = insert_second(path, line)

    _, evidence = support.read(root)

    found = [finding for finding in evidence.findings if str(finding.code) == code]
    assert [finding.place for finding in found] == [f"{path}:{number}"]
    assert found[0].code.severity.name.lower() == severity
    assert all(tally.adds_up for tally in evidence.tallies)


@pytest.mark.parametrize(
    "file, line, code",
    [
        (ASSIGN, domain_line(b"twin.org", b"twin.org", HOME), "shared-directory"),
        (ASSIGN, domain_line(b"example.com", b"example.com", HOME), "duplicate"),
        (VIRTUALDOMAINS, b"test.com:test.com\n", "duplicate"),
        (RCPTHOSTS, b"test.com\n", "duplicate"),
        (VPASSWD, user_line(b"alice"), "same-user"),
        (VPASSWD, user_line(b"Alice"), "same-user"),
        (VPASSWD, user_line(b"x", HOME + b"/alice/"), "shared-home"),
    ],
)
def test_of_two_lines_that_say_the_same_the_later_one_is_named(
    unpack: Unpack, file: str, line: bytes, code: str
) -> None:
    root = unpack("base")
    path = root / file
    content = path.read_bytes()
    end = b".\n" if content.endswith(b"\n.\n") else b""
    path.write_bytes(content.removesuffix(end) + line + end)

    found = support.findings(root, code)

    number = content.removesuffix(end).count(b"\n") + 1
    assert [finding.place for finding in found] == [f"{path}:{number}"]


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


def test_a_missing_final_dot_is_a_reject(unpack: Unpack) -> None:
    root = unpack("base")
    assign = root / ASSIGN
    assign.write_bytes(assign.read_bytes().removesuffix(b".\n"))

    _, evidence = support.read(root)

    assert [finding.place for finding in evidence.of(Severity.REJECT)] == [f"{assign}:7"]
    assert all(tally.adds_up for tally in evidence.tallies)


def test_a_damaged_counter_is_named_with_its_line(unpack: Unpack) -> None:
    root = unpack("base")
    counter = root / DOMAIN / ".dir-control"
    counter.write_bytes(b"5\n0\nthree\n0 0 0\n61 61 61\n0 2 2\n0 0 0\n\n")

    _, evidence = support.read(root)

    assert [finding.place for finding in evidence.of(Severity.REJECT)] == [f"{counter}:3"]


def test_a_setting_said_twice_is_named(unpack: Unpack) -> None:
    root = unpack("base")
    limits = root / "home/vpopmail/domains/limited.net/.qmailadmin-limits"
    limits.write_bytes(b"maxaliases: 1\nmaxaliases: 2\n")

    assert [found.place for found in support.findings(root, "duplicate")] == [f"{limits}:1"]


@pytest.mark.parametrize(
    "file, code",
    [
        (DOMAIN, "missing"),
        (f"{DOMAIN}/alice", "no-home"),
        (ASSIGN, "missing"),
        (RCPTHOSTS, "no-rcpthosts"),
        (VIRTUALDOMAINS, "not-in-virtualdomains"),
    ],
)
def test_what_is_missing_is_named(unpack: Unpack, file: str, code: str) -> None:
    root = unpack("base")
    (root / file).rename(root / "away")

    assert support.findings(root, code) != []


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


def test_what_may_not_be_read_is_named(unpack: Unpack, monkeypatch: pytest.MonkeyPatch) -> None:
    root = unpack("base")
    real_open = os.open

    def denied(path: Any, *arguments: Any, **options: Any) -> int:
        if path == b"vpasswd":
            raise PermissionError(13, "Permission denied", path)
        return real_open(path, *arguments, **options)

    monkeypatch.setattr(os, "open", denied)

    assert len(support.findings(root, "unreadable")) == 5


@pytest.mark.parametrize(
    "path",
    [
        "var/qmail/users/assign",
        "home/vpopmail/domains/example.com",
        "home/vpopmail/domains/example.com/vpasswd",
        "home/vpopmail/domains/example.com/alice",
        "home/vpopmail/domains/limited.net/.qmailadmin-limits",
        "home/vpopmail/domains/example.com/.dir-control",
    ],
)
def test_a_link_in_place_of_something_that_is_needed_is_a_reject(
    unpack: Unpack, path: str
) -> None:
    root = unpack("base")
    real = root / path
    real.rename(root / "elsewhere")
    real.symlink_to(root / "elsewhere")

    _, evidence = support.read(root)

    first = evidence.of(Severity.REJECT)[0]
    assert (first.file, str(first.code)) == (str(real), "symbolic-link")


@pytest.mark.parametrize(
    "path", ["var/qmail/control", "var/qmail/users", "home/vpopmail/etc", "home/vpopmail/domains"]
)
def test_directories_that_administrators_move_may_be_links(unpack: Unpack, path: str) -> None:
    root = unpack("base")
    before, _ = support.read(root)
    real = root / path
    real.rename(root / "elsewhere")
    real.symlink_to(root / "elsewhere")

    found, evidence = support.read(root)

    assert evidence.of(Severity.REJECT) == []
    assert found == before


def test_files_that_nothing_reads_are_named_and_left(unpack: Unpack) -> None:
    root = unpack("base")
    (root / DOMAIN / ".qmail-with.dot").write_bytes(b"&a@b.example\n")
    (root / DOMAIN / ".qmail-folder").mkdir()
    (root / DOMAIN / ".over-quota.msg").write_bytes(b"full\n")
    (root / DOMAIN / "orphan").mkdir()
    (root / "home/vpopmail/domains/nobodys.example").mkdir()
    (root / "home/vpopmail/users").mkdir()
    (root / "home/vpopmail/users/vpasswd").write_bytes(b"")

    _, evidence = support.read(root)

    left = {Path(path).name for paths in evidence.left.values() for path in paths}
    assert left > {".qmail-with.dot", ".qmail-folder", ".over-quota.msg", "orphan"}
    assert left > {"nobodys.example", "users", "tcp.smtp", "me", "note.txt", "mylist"}
    assert {str(finding.code) for finding in evidence.findings} == {
        "no-file",
        "users-without-domain",
    }


@pytest.mark.parametrize("place", [DOMAIN, f"{DOMAIN}/alice"])
@pytest.mark.parametrize("name", ["q\nr", "q\rr", "q\x1br", "q\x7fr"])
def test_a_dot_qmail_file_with_a_control_character_in_its_name_is_a_reject(
    unpack: Unpack, place: str, name: str
) -> None:
    root = unpack("base")
    (root / place / f".qmail-{name}").write_bytes(b"&a@b.example\n")

    _, evidence = support.read(root)

    escaped = name.encode("unicode_escape").decode()
    assert [finding.place for finding in evidence.of(Severity.REJECT)] == [
        f"{root}/{place}/.qmail-{escaped}"
    ]


@pytest.mark.parametrize("place", [DOMAIN, f"{DOMAIN}/alice"])
def test_a_dot_qmail_file_in_upper_case_is_left_since_qmail_does_not_read_it(
    unpack: Unpack, place: str
) -> None:
    root = unpack("base")
    before, _ = support.read(root)
    (root / place / ".qmail-UPPER").write_bytes(b"&a@b.example\n")

    found, evidence = support.read(root)

    assert found == before
    assert [(str(odd.code), odd.file) for odd in evidence.of(Severity.WARNING)] == [
        ("no-file", f"{root}/{place}/.qmail-UPPER")
    ]
    assert evidence.left["dot-qmail files that nothing reads"] == [f"{root}/{place}/.qmail-UPPER"]


def test_paths_with_slashes_that_say_nothing_are_those_without(unpack: Unpack) -> None:
    root = unpack("base")
    before, _ = support.read(root)
    assign, vpasswd = root / ASSIGN, root / VPASSWD
    assign.write_bytes(assign.read_bytes().replace(HOME + b":", b"/" + HOME + b"/:"))
    vpasswd.write_bytes(vpasswd.read_bytes().replace(HOME + b"/", HOME + b"///"))
    support.compile_cdbs(root)

    found, evidence = support.read(root)

    assert found == before
    assert {str(odd.code) for odd in evidence.of(Severity.WARNING)} == {"not-plain-path"}


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


@pytest.mark.parametrize("name", ["no domain", "a..org", "-?-"])
def test_a_default_domain_that_is_none_is_not_imported(unpack: Unpack, name: str) -> None:
    root = unpack("base")
    default = root / "home/vpopmail/etc/defaultdomain"
    default.write_text(f"{name}\n")

    found, evidence = support.read(root)

    assert found.default_domain is None
    assert [(str(odd.code), odd.place) for odd in evidence.of(Severity.WARNING)] == [
        ("odd-defaultdomain", f"{default}:1")
    ]
    assert all(tally.adds_up for tally in evidence.tallies)


@pytest.mark.parametrize(
    "text, findings",
    [("192.0.2.1", 0), ("2001:db8::1", 0), ("2001_db8__1", 0), ("gateway", 1), ("300.0.2.1", 1)],
)
def test_of_a_last_login_only_an_address_is_beyond_doubt(
    unpack: Unpack, text: str, findings: int
) -> None:
    root = unpack("base")
    (root / DOMAIN / "alice/lastauth").write_text(text)

    assert len(support.findings(root, "odd-lastauth")) == findings


def test_a_lastauth_that_is_no_address_is_kept_with_a_warning(unpack: Unpack) -> None:
    root = unpack("base")
    lastauth = root / DOMAIN / "alice/lastauth"
    lastauth.write_bytes(b"not an address, but something\n that goes on\n")

    found, _ = support.read(root)

    assert [odd.file for odd in support.findings(root, "odd-lastauth")] == [str(lastauth)]
    (domain,) = [domain for domain in found.domains if domain.name.name == "example.com"]
    logins = {mailbox.name: mailbox.last_auth for mailbox in domain.mailboxes}
    assert logins["alice"] is not None
    assert logins["alice"].remote_ip == "not an address, but something\n that goes on"


def test_another_home_of_vpopmail_is_found_and_said(unpack: Unpack) -> None:
    root = unpack("base")
    for path in [root / ASSIGN, *root.glob("home/vpopmail/domains/*/vpasswd")]:
        path.write_bytes(path.read_bytes().replace(b"/home/vpopmail/", b"/srv/mail/"))

    found, _ = support.read(root)

    assert found.vpopmail_dir == "/srv/mail"
    assert len(found.domains) == 5
    assert [finding.text for finding in support.findings(root, "other-home")] == ["/srv/mail"]


def insert_second(path: Path, line: bytes) -> int:
    """Put ``line`` behind the first line of a file, or into a new one; return its number."""
    first, newline, rest = (path.read_bytes() if path.exists() else b"").partition(b"\n")
    path.write_bytes(first + newline + line + rest)
    return 2 if newline else 1
