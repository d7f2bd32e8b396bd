"""Damaged input: each bad line is named with its file and number, nothing is dropped silently."""

from pathlib import Path

import pytest

from tests.importer import support
from tests.importer.damage import (
    DOMAIN,
    HOME,
    TEST,
    VPASSWD,
    Unpack,
    domain_line,
    insert_second,
    user_line,
)
from vpopsql.importer.codes import Severity

ASSIGN = "var/qmail/users/assign"
RCPTHOSTS = "var/qmail/control/rcpthosts"
VIRTUALDOMAINS = "var/qmail/control/virtualdomains"
LOCALS = "var/qmail/control/locals"
IP_MAP = "home/vpopmail/etc/ip_alias_map"
DEFAULT_LIMITS = "home/vpopmail/etc/vlimits.default"


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
        (DEFAULT_LIMITS, b"maxpopaccounts many\n", "odd-limit", "warning"),
        (DEFAULT_LIMITS, b"maxpopaccounts\n", "limit-without-value", "warning"),
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
        (f"{DOMAIN}/.qmailadmin-limits", b"quota: lots\n", "odd-limit", "warning"),
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


def test_a_missing_final_dot_is_a_reject(unpack: Unpack) -> None:
    root = unpack("base")
    assign = root / ASSIGN
    assign.write_bytes(assign.read_bytes().removesuffix(b".\n"))

    _, evidence = support.read(root)

    assert [finding.place for finding in evidence.of(Severity.REJECT)] == [f"{assign}:7"]
    assert all(tally.adds_up for tally in evidence.tallies)


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


@pytest.mark.parametrize(
    "path",
    [
        "var/qmail/users/assign",
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


def test_another_home_of_vpopmail_is_found_and_said(unpack: Unpack) -> None:
    root = unpack("base")
    for path in [root / ASSIGN, *root.glob("home/vpopmail/domains/*/vpasswd")]:
        path.write_bytes(path.read_bytes().replace(b"/home/vpopmail/", b"/srv/mail/"))

    found, _ = support.read(root)

    assert found.vpopmail_dir == "/srv/mail"
    assert len(found.domains) == 5
    assert [finding.text for finding in support.findings(root, "other-home")] == ["/srv/mail"]


def test_of_the_default_domain_only_the_first_line_counts(unpack: Unpack) -> None:
    root = unpack("base")
    default = root / "home/vpopmail/etc/defaultdomain"
    default.write_text("test.com\nexample.com\n\n")

    found, evidence = support.read(root)

    assert found.default_domain == "test.com"
    assert [(str(odd.code), odd.place) for odd in evidence.of(Severity.WARNING)] == [
        ("trailing-text", f"{default}:2")
    ]


def test_a_domain_that_no_mail_is_accepted_for_is_named(unpack: Unpack) -> None:
    root = unpack("base")
    hosts = root / RCPTHOSTS
    hosts.write_bytes(hosts.read_bytes().replace(b"test.com\n", b""))

    _, evidence = support.read(root)

    assert [(str(odd.code), odd.place, odd.text) for odd in evidence.findings] == [
        ("not-in-rcpthosts", str(hosts), "test.com")
    ]
