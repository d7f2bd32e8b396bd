"""Damage of domains' and accounts' directories, and of the small files in them."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.importer import support
from tests.importer.damage import DOMAIN, DOMAINS, HOME, Unpack, mailboxes, of
from vpopsql.importer.codes import Code, Severity

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("place", [DOMAIN, f"{DOMAIN}/alice"])
@pytest.mark.parametrize("name", ["q\nr", "q\rr", "q\x1br", "q\x7fr"])
def test_a_dot_qmail_file_with_a_control_character_in_its_name_is_a_reject(
    unpack: Unpack, place: str, name: str
) -> None:
    root = unpack("base")
    (root / place / f".qmail-{name}").write_bytes(b"&a@b.example\n")

    _, evidence = support.read(root)

    escaped = name.encode("unicode_escape").decode()
    assert [(each.code, each.place) for each in evidence.of(Severity.REJECT)] == [
        (Code.BAD_FILE_NAME, f"{root}/{place}/.qmail-{escaped}")
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


# --- homes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "replace, reason",
    [
        (Path.exists, "the directory of alice is missing"),
        (Path.touch, "the directory of alice is no directory, but a file"),
    ],
)
def test_an_account_without_its_directory_is_imported_and_said(
    unpack: Unpack, replace: Callable[[Path], object], reason: str
) -> None:
    root = unpack("base")
    home = root / DOMAIN / "alice"
    home.rename(root / "away")
    replace(home)

    found, evidence = support.read(root)

    assert "alice" in mailboxes(found)
    (finding,) = of(evidence, Code.NO_HOME)
    assert (finding.text, finding.reason) == (f"{HOME.decode()}/alice", reason)
    assert evidence.worst is Severity.WARNING


def test_a_link_in_place_of_an_account_s_directory_says_where_it_leads(unpack: Unpack) -> None:
    root = unpack("base")
    home = root / DOMAIN / "alice"
    home.rename(root / "away")
    home.symlink_to("/disk2/alice")

    _, evidence = support.read(root)

    assert [(str(each.code), each.place, each.text) for each in evidence.of(Severity.REJECT)] == [
        ("symbolic-link", str(home), "-> /disk2/alice")
    ]


@pytest.mark.parametrize("place", [DOMAIN, f"{DOMAIN}/alice"])
@pytest.mark.parametrize(
    "mode, reason",
    [
        (0o702, "it is writable for everybody"),
        (0o1700, "it is sticky"),
        (0o1777, "it is sticky and writable for everybody"),
    ],
)
def test_a_directory_that_qmail_does_not_deliver_from_is_said(
    unpack: Unpack, place: str, mode: int, reason: str
) -> None:
    root = unpack("base")
    (root / place).chmod(mode)

    _, evidence = support.read(root)

    assert [
        (str(each.code), each.place, each.text, each.reason) for each in evidence.findings
    ] == [("unsafe-home", f"{root}/{place}", f"{mode:04o}", reason)]


@pytest.mark.parametrize(
    "inside, what", [("Maildir/new", "it has a Maildir"), ("lastauth", "it has a lastauth")]
)
@pytest.mark.parametrize("place", ["gone", "0/gone", "A/b/gone", "0/1/2/gone"])
def test_a_directory_that_belongs_to_no_account_any_more_is_said(
    unpack: Unpack, place: str, inside: str, what: str
) -> None:
    root = unpack("base")
    before, _ = support.read(root)
    (root / DOMAIN / place / inside).mkdir(parents=True)

    found, evidence = support.read(root)

    assert found == before
    assert [(str(each.code), each.place, each.reason) for each in evidence.findings] == [
        (
            "orphan-home",
            f"{root}/{DOMAIN}/{place}",
            f"{what}, and no account that is imported has it",
        )
    ]
    top = place.partition("/")[0]
    assert f"{root}/{DOMAIN}/{top}" in evidence.left["in domain directories"]


def test_an_orphan_beside_accounts_in_their_bucket_is_said(unpack: Unpack) -> None:
    root = unpack("small")
    home = next((root / DOMAINS / "crowd.example").glob("0/*/Maildir")).parent
    orphan = home.with_name("orphan")
    (orphan / "Maildir").mkdir(parents=True)

    _, evidence = support.read(root)

    assert [each.place for each in of(evidence, Code.ORPHAN_HOME)] == [str(orphan)]


@pytest.mark.parametrize("place", ["other", "other/Maildir/Maildir", "0/1/2/3/deep/Maildir"])
def test_directories_that_are_no_homes_are_listed_and_nothing_more(
    unpack: Unpack, place: str
) -> None:
    root = unpack("base")
    (root / DOMAIN / place).mkdir(parents=True)

    _, evidence = support.read(root)

    top = place.partition("/")[0]
    assert f"{root}/{DOMAIN}/{top}" in evidence.left["in domain directories"]


# --- domains ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target", ["/home/vpopmail/domains/example.com", "example.com", "./example.com/", "{shown}"]
)
def test_a_link_to_another_domain_s_directory_may_be_an_alias_domain(
    unpack: Unpack, target: str
) -> None:
    root = unpack("base")
    link = root / DOMAINS / "test.com"
    link.rename(root / "away")
    link.symlink_to(target.format(shown=root / DOMAIN))

    found, evidence = support.read(root)

    (finding,) = of(evidence, Code.LINKED_DOMAIN)
    line = "+test.com-:example.com:89:89:/home/vpopmail/domains/example.com:-::"
    assert finding.place == str(link)
    assert finding.reason == (
        f"it leads to example.com: as an alias domain of that it has the line {line}"
    )
    assert "test.com" not in [domain.name.name for domain in found.domains]


def test_the_line_that_a_linked_domain_is_told_to_have_makes_it_an_alias(unpack: Unpack) -> None:
    root = unpack("base")
    link = root / DOMAINS / "test.com"
    link.rename(root / "away")
    link.symlink_to("example.com")
    (finding,) = of(support.read(root)[1], Code.LINKED_DOMAIN)
    path = root / "var/qmail/users/assign"
    old = b"+test.com-:test.com:89:89:/home/vpopmail/domains/test.com:-::"
    path.write_bytes(path.read_bytes().replace(old, finding.reason.rpartition(" ")[2].encode()))
    support.compile_cdbs(root)

    found, evidence = support.read(root)

    aliases = {each.name.name: [alias.name for alias in each.aliases] for each in found.domains}
    assert "test.com" in aliases["example.com"]
    assert evidence.of(Severity.REJECT) == []


def test_a_link_to_another_place_says_where_it_leads(unpack: Unpack) -> None:
    root = unpack("base")
    link = root / DOMAINS / "test.com"
    link.rename(root / "away")
    link.symlink_to("/disk2/test.com")

    (finding,) = of(support.read(root)[1], Code.LINKED_DOMAIN)

    assert finding.text == "-> /disk2/test.com"
    assert finding.reason == "it leads to no directory of a domain in users/assign"


def test_a_link_above_a_domain_s_directory_is_a_link(unpack: Unpack) -> None:
    root = unpack("small")
    bucket = root / DOMAINS / "0"
    bucket.rename(root / "away")
    bucket.symlink_to("/disk2/0")

    rejects = support.read(root)[1].of(Severity.REJECT)

    assert {(str(each.code), each.place, each.text) for each in rejects} == {
        ("symbolic-link", str(bucket), "-> /disk2/0")
    }


# --- what delivers ----------------------------------------------------------------------------

CATCH = f"{DOMAINS}/catch.example"


def test_sound_lists_and_robots_are_no_findings(unpack: Unpack) -> None:
    root = unpack("small")

    _, evidence = support.read(root)

    # The sample has a Maildir that never was, and a link, both on purpose.
    assert [(str(each.code), each.place) for each in evidence.of(Severity.WARNING)] == [
        ("link", f"{root}/{CATCH}/.qmail-crew-link"),
        ("no-maildir", f"{root}/{CATCH}/.qmail-mixed:6"),
    ]


def test_what_a_lost_list_left_is_said(unpack: Unpack) -> None:
    root = unpack("small")
    (root / CATCH / ".qmail-crew").unlink()

    found = of(support.read(root)[1], Code.ORPHAN_LIST)

    assert sorted(Path(each.file).name for each in found) == [
        ".qmail-crew-accept-default",
        ".qmail-crew-default",
        ".qmail-crew-digest-owner",
        ".qmail-crew-digest-return-default",
        ".qmail-crew-owner",
        ".qmail-crew-reject-default",
        ".qmail-crew-return-default",
    ]
    reason = "it is part of the list crew, which has no dot-qmail file of its own"
    assert {each.reason for each in found} == {reason}


@pytest.mark.parametrize(
    "target, lost",
    [("{}/lost/owner", True), ("lost/owner", True), ("crew/owner", False), ("owner", False)],
)
def test_a_link_into_a_list_s_directory_is_part_of_it(
    unpack: Unpack, target: str, lost: bool
) -> None:
    root = unpack("small")
    (root / CATCH / ".qmail-lost-owner").symlink_to(target.format(f"/{CATCH}"))

    found = of(support.read(root)[1], Code.ORPHAN_LIST)

    assert bool(found) == lost


@pytest.mark.parametrize("name", ["sales-owner", "lost-default", "crew-request"])
def test_a_forward_that_is_called_like_a_part_of_a_list_is_none(unpack: Unpack, name: str) -> None:
    root = unpack("small")
    (root / CATCH / f".qmail-{name}").write_bytes(b"&a@b.example\n")

    assert of(support.read(root)[1], Code.ORPHAN_LIST) == []


def test_a_list_without_its_directory_is_said(unpack: Unpack) -> None:
    root = unpack("small")
    (root / CATCH / "crew").rename(root / "away")

    found = of(support.read(root)[1], Code.ORPHAN_LIST)

    assert f"{root}/{CATCH}/.qmail-crew:1" in [each.place for each in found]
    assert {each.reason for each in found} == {f"there is no /{CATCH}/crew"}


@pytest.mark.parametrize(
    "gone, file, missing",
    [
        ("ROBOT/message", ".qmail-robot:1", "ROBOT/message"),
        ("ROBOT", ".qmail-robot:1", "ROBOT/message"),
        ("away/vacation", "away/.qmail:1", "away/vacation/message"),
    ],
)
def test_a_robot_without_its_text_is_said(
    unpack: Unpack, gone: str, file: str, missing: str
) -> None:
    root = unpack("small")
    (root / CATCH / "away/vacation/message").write_bytes(b"")
    (root / CATCH / gone).rename(root / "gone")

    found = of(support.read(root)[1], Code.ORPHAN_ROBOT)

    assert [(each.place, each.reason) for each in found] == [
        (f"{root}/{CATCH}/{file}", f"there is no /{CATCH}/{missing}")
    ]


@pytest.mark.parametrize(
    "gone, places",
    [
        ("away/Maildir", ["away/.qmail:2"]),
        ("copy/Maildir", ["copy/.qmail:2"]),
        ("everything/Maildir", [".qmail-default:1", ".qmail-dotted:name:1"]),
    ],
)
def test_a_delivery_into_a_maildir_that_is_not_there_is_said(
    unpack: Unpack, gone: str, places: list[str]
) -> None:
    root = unpack("small")
    (root / CATCH / gone).rename(root / "gone")

    found = of(support.read(root)[1], Code.NO_MAILDIR)

    assert [each.place.removeprefix(f"{root}/{CATCH}/") for each in found] == sorted(
        [".qmail-mixed:6", *places], key=lambda place: ("/" in place, place)
    )


def test_a_copy_without_mail_misses_no_maildir(unpack: Unpack) -> None:
    root = unpack("small")
    for maildir in (root / DOMAINS).glob("**/Maildir"):
        shutil.rmtree(maildir)

    assert of(support.read(root)[1], Code.NO_MAILDIR) == []


@pytest.mark.parametrize(
    "line", [b"/var/spool/other/Maildir/", b"./../up/", b"|preline 'unclosed autorespond /x"]
)
def test_what_is_not_to_be_known_is_not_said(unpack: Unpack, line: bytes) -> None:
    root = unpack("base")
    (root / DOMAIN / ".qmail-info").write_bytes(line + b"\n")

    assert support.read(root)[1].findings == []


def test_what_stands_behind_a_link_is_taken_to_be_there(unpack: Unpack) -> None:
    root = unpack("base")
    (root / DOMAIN / "linked").symlink_to("/disk2")
    (root / DOMAIN / ".qmail-info").write_bytes(b"./linked/Maildir/\n")

    assert support.read(root)[1].findings == []


# --- rights -----------------------------------------------------------------------------------

UNPRIVILEGED = """
import json, os, sys
from pathlib import Path
from tests.importer import support

if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
_, evidence = support.read(Path("."))
found = [(str(each.code), each.place) for each in evidence.findings]
print(json.dumps([os.geteuid(), found]))
"""


def test_what_may_not_be_read_is_named(unpack: Unpack) -> None:
    root = unpack("base")
    for path in [root, *root.rglob("*")]:
        path.chmod(path.lstat().st_mode | 0o055 if path.is_dir() else 0o644)
    limits = f"{DOMAINS}/limited.net/.qmailadmin-limits"
    closed = [f"{DOMAIN}/alice", f"{DOMAIN}/bob/lastauth", f"{DOMAIN}/.qmail-info", limits]
    closed += [f"{DOMAINS}/test.com/vpasswd", f"{DOMAINS}/empty.org"]
    for place in closed:
        (root / place).chmod(0)

    # A process of its own: rights cannot be taken back.
    ran = subprocess.run(
        [sys.executable, "-c", UNPRIVILEGED],
        cwd=root,
        env={"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        check=True,
    )

    user, found = json.loads(ran.stdout)
    assert user != 0
    assert {place for code, place in found if code == "unreadable"} == set(closed)


def test_the_lines_of_a_domain_that_cannot_be_read_are_rejected_wherever_it_is_named(
    unpack: Unpack,
) -> None:
    root = unpack("small")
    shutil.rmtree(root / DOMAINS / "multi.example")  # it has three alias domains

    _, evidence = support.read(root)

    files = ["assign", "rcpthosts", "virtualdomains"]
    tallies = {tally.kind: tally for tally in evidence.tallies}
    assert [tallies[file].rejected for file in files] == [4, 4, 4]
    assert all(tally.adds_up for tally in evidence.tallies)
