"""What the files say, beside the database: a sound site, and each way to damage it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import databases, factories
from tests.conftest import SHARED
from tests.explain.conftest import Sample
from tests.explain.crossing import own_file
from vpopsql.config import Config, Paths
from vpopsql.db import Database
from vpopsql.explain.result import Evidence, Explanation
from vpopsql.exporter.apply import apply
from vpopsql.model import ForeignLine
from vpopsql.qmail import assign, cdb

DOMAIN = "/home/vpopmail/domains/example.com"
CONTROL = "/var/qmail/control"
USERS = "/var/qmail/users"
ASSIGNED = f"+example.com-:example.com:{os.geteuid()}:{os.getegid()}:{DOMAIN}:-::"

needs_owners = pytest.mark.skipif(os.geteuid() != 0, reason="only root unpacks with the owners")


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sample]:
    """A site that was exported, with its directories."""
    root = tmp_path / "site"
    url = databases.SQLite(request.config.stash[SHARED], tmp_path).create(migrated=True)
    database = Database(url)
    with database.writer() as session:
        domain = factories.domain(
            session, "example.com", "example.org", uid=os.geteuid(), gid=os.getegid()
        )
        factories.mailbox(session, domain, "alice", clear_text="right horse")
        factories.mailbox(
            session, domain, "full", quota_bytes=1000, quota_messages=10, quota_text="1000S,10C"
        )
        own_file(session, factories.mailbox(session, domain, "carol"), "./Maildir/")
        factories.alias(session, domain, "info", "&alice@example.com")
        factories.limits(session, domain, max_aliases=7)
        session.add(ForeignLine(file="control/locals", position=1, line="me", sort_key="me"))
    root.mkdir()
    for name in ("alice", "full", "carol"):
        for box in ("cur", "new", "tmp"):
            (root / f".{DOMAIN}/{name}/Maildir/{box}").mkdir(parents=True)
    apply(database, Config(paths=Paths(root=str(root))))
    yield Sample(url, database, root)
    database.close()


def evidence(found: Explanation) -> list[Evidence]:
    of_steps = [each for step in found.steps for each in step.evidence]
    of_account = found.account.evidence if found.account else ()
    of_limits = found.limits.evidence if found.limits else ()
    return [*of_steps, *of_account, *of_limits]


def told(found: Explanation) -> set[tuple[str, str]]:
    return {
        (each.path, each.state.value) for each in evidence(found) if each.state.value != "agrees"
    }


def at(site: Sample, path: str) -> Path:
    return site.root / path.removeprefix("/")


@pytest.mark.parametrize(
    "address",
    [
        *("alice@example.com", "info@example.org", "carol@example.com", "full@example.org"),
        *("example.com", "example.org"),
    ],
)
def test_of_a_sound_site_every_file_agrees(site: Sample, address: str) -> None:
    found = site.explain(address, read_files=True)

    assert told(found) == set()
    assert found.defects == ()


def test_each_step_is_shown_where_it_stands(site: Sample) -> None:
    found = site.explain("alice@example.org", read_files=True)

    assigned = ASSIGNED.replace("+example.com", "+example.org")
    assert [(each.path, each.line, each.text) for each in evidence(found)] == [
        (f"{CONTROL}/rcpthosts", 2, "example.org"),
        (f"{CONTROL}/virtualdomains", 2, "example.org:example.org"),
        (f"{USERS}/assign", 2, assigned),
        (f"{USERS}/cdb", None, assigned),
        (DOMAIN, None, f"uid {os.geteuid()}, gid {os.getegid()}, mode {mode(site, DOMAIN)}"),
        (f"{DOMAIN}/.qmail-default", None, None),
        (
            f"{DOMAIN}/.qmail-default",
            1,
            "| /home/vpopmail/bin/vdelivermail '' bounce-no-mailbox",
        ),
        (
            f"{DOMAIN}/alice",
            None,
            f"uid {os.geteuid()}, gid {os.getegid()}, mode {mode(site, f'{DOMAIN}/alice')}",
        ),
        (f"{DOMAIN}/alice/Maildir", None, None),
        (f"{DOMAIN}/vpasswd", 1, f"alice:***:1:0:Alice:{DOMAIN}/alice:NOQUOTA:***"),
        (f"{DOMAIN}/vpasswd.cdb", None, f"alice:***:1:0:Alice:{DOMAIN}/alice:NOQUOTA:***"),
        (f"{DOMAIN}/.qmailadmin-limits", None, None),
    ]


def mode(site: Sample, path: str) -> str:
    return f"{at(site, path).stat().st_mode & 0o7777:04o}"


def rewrite(path: str, old: bytes, new: bytes) -> Callable[[Sample], None]:
    def damage(site: Sample) -> None:
        data = at(site, path).read_bytes()
        assert old in data
        at(site, path).write_bytes(data.replace(old, new))

    return damage


def remove(path: str) -> Callable[[Sample], object]:
    return lambda site: at(site, path).unlink()


def write(path: str, data: bytes) -> Callable[[Sample], object]:
    return lambda site: at(site, path).write_bytes(data)


def directory_instead(path: str) -> Callable[[Sample], object]:
    def damage(site: Sample) -> None:
        at(site, path).unlink()
        at(site, path).mkdir()

    return damage


def file_instead(path: str) -> Callable[[Sample], object]:
    def damage(site: Sample) -> None:
        at(site, path).rename(site.root / "aside")
        at(site, path).touch()

    return damage


def compiled(*lines: str) -> Callable[[Sample], object]:
    return write(f"{USERS}/cdb", assign.compile_cdb(lines))


def rename(path: str, target: str) -> Callable[[Sample], object]:
    return lambda site: at(site, path).rename(at(site, target))


def change_mode(path: str, mode: int) -> Callable[[Sample], object]:
    return lambda site: at(site, path).chmod(mode)


@pytest.mark.parametrize(
    "damage, expected, codes",
    [
        pytest.param(
            remove(f"{CONTROL}/rcpthosts"),
            {(f"{CONTROL}/rcpthosts", "missing")},
            ["open-relay"],
            id="no rcpthosts",
        ),
        pytest.param(
            directory_instead(f"{CONTROL}/rcpthosts"),
            {(f"{CONTROL}/rcpthosts", "unreadable")},
            [],
            id="a directory for rcpthosts",
        ),
        pytest.param(
            directory_instead(f"{CONTROL}/locals"),
            {(f"{CONTROL}/locals", "unreadable")},
            [],
            id="a directory for locals",
        ),
        pytest.param(
            directory_instead(f"{CONTROL}/virtualdomains"),
            {(f"{CONTROL}/virtualdomains", "unreadable")},
            [],
            id="a directory for virtualdomains",
        ),
        pytest.param(
            directory_instead(f"{DOMAIN}/vpasswd"),
            {(f"{DOMAIN}/vpasswd", "unreadable")},
            [],
            id="a directory for vpasswd",
        ),
        pytest.param(
            rewrite(f"{CONTROL}/rcpthosts", b"example.com\n", b""),
            {(f"{CONTROL}/rcpthosts", "missing")},
            ["drift"],
            id="a name missing in rcpthosts",
        ),
        pytest.param(
            write(f"{CONTROL}/locals", b"me\nExample.com \n"),
            {(f"{CONTROL}/locals", "unexpected")},
            ["drift"],
            id="the domain in locals",
        ),
        pytest.param(
            rewrite(f"{CONTROL}/virtualdomains", b"example.com:example.com\n", b""),
            {(f"{CONTROL}/virtualdomains", "missing")},
            ["drift"],
            id="the domain not in virtualdomains",
        ),
        pytest.param(
            rewrite(f"{CONTROL}/virtualdomains", b"example.com:example.com", b"example.com:joe"),
            {(f"{CONTROL}/virtualdomains", "differs")},
            ["drift"],
            id="another prepend",
        ),
        pytest.param(
            rewrite(f"{CONTROL}/virtualdomains", b"example.org:", b"alice@example.com:joe\norg:"),
            {(f"{CONTROL}/virtualdomains", "unexpected")},
            ["drift"],
            id="the address in virtualdomains",
        ),
        pytest.param(
            rewrite(f"{USERS}/assign", b":example.com:", b":example.net:"),
            {(f"{USERS}/assign", "differs")},
            ["drift"],
            id="another line in assign",
        ),
        pytest.param(
            rewrite(f"{USERS}/assign", b"+example.com-", b"+example.net-"),
            {(f"{USERS}/assign", "missing")},
            ["drift"],
            id="no line in assign",
        ),
        pytest.param(
            compiled(ASSIGNED.replace("example.com:-", "example.net:-")),
            {(f"{USERS}/cdb", "differs")},
            ["drift"],
            id="another line in the cdb",
        ),
        pytest.param(
            compiled(), {(f"{USERS}/cdb", "missing")}, ["drift"], id="no line in the cdb"
        ),
        pytest.param(
            compiled(ASSIGNED, "=example.com-alice:joe:1:1:/home/joe:::"),
            {(f"{USERS}/cdb", "unexpected")},
            ["drift"],
            id="the address in the cdb",
        ),
        pytest.param(
            compiled(ASSIGNED, "+example.com-al:joe:1:1:/home/joe:-::"),
            {(f"{USERS}/cdb", "unexpected")},
            ["drift"],
            id="a longer beginning in the cdb",
        ),
        pytest.param(
            write(f"{USERS}/cdb", b""), {(f"{USERS}/cdb", "unreadable")}, [], id="an empty cdb"
        ),
        pytest.param(
            remove(f"{USERS}/cdb"), {(f"{USERS}/cdb", "missing")}, ["drift"], id="no cdb"
        ),
        pytest.param(
            write(f"{DOMAIN}/.qmail-alice", b"&joe@else.example\n"),
            {(f"{DOMAIN}/.qmail-alice", "unexpected")},
            ["drift"],
            id="a dot-qmail file that is in no row",
        ),
        pytest.param(
            write(f"{DOMAIN}/alice/.qmail", b"&joe@else.example\n"),
            {(f"{DOMAIN}/alice/.qmail", "unexpected")},
            ["drift"],
            id="a dot-qmail file of the mailbox that is in no row",
        ),
        pytest.param(
            rewrite(f"{DOMAIN}/.qmail-default", b"bounce-no-mailbox", b"delete"),
            {(f"{DOMAIN}/.qmail-default", "differs")},
            ["drift"],
            id="another catch-all",
        ),
        pytest.param(
            remove(f"{DOMAIN}/.qmail-default"),
            {(f"{DOMAIN}/.qmail-default", "missing")},
            ["drift"],
            id="no catch-all",
        ),
        pytest.param(
            rewrite(f"{DOMAIN}/vpasswd", b"alice:$1$", b"alice:$1$x"),
            {(f"{DOMAIN}/vpasswd", "differs")},
            ["drift"],
            id="another hash",
        ),
        pytest.param(
            write(f"{DOMAIN}/vpasswd.cdb", cdb.make([])),
            {(f"{DOMAIN}/vpasswd.cdb", "missing")},
            ["drift"],
            id="no record of the mailbox",
        ),
        pytest.param(
            write(f"{DOMAIN}/vpasswd", b"alice:damaged\n"),
            {(f"{DOMAIN}/vpasswd", "differs")},
            ["drift"],
            id="a damaged vpasswd",
        ),
        pytest.param(
            rewrite(f"{DOMAIN}/.qmailadmin-limits", b"maxaliases: 7", b"maxaliases: 8"),
            {(f"{DOMAIN}/.qmailadmin-limits", "differs")},
            ["drift"],
            id="other limits",
        ),
        pytest.param(
            change_mode(DOMAIN, 0o1700),
            {(DOMAIN, "differs")},
            ["unsafe-directory"],
            id="a sticky directory",
        ),
        pytest.param(
            change_mode(DOMAIN, 0o777),
            {(DOMAIN, "differs")},
            ["unsafe-directory"],
            id="a directory that everybody may write",
        ),
        pytest.param(
            rename(f"{DOMAIN}/alice", f"{DOMAIN}/gone"),
            {(f"{DOMAIN}/alice", "missing"), (f"{DOMAIN}/alice/Maildir", "missing")},
            ["missing-directory", "missing-directory"],
            id="no home",
        ),
        pytest.param(
            file_instead(f"{DOMAIN}/alice"),
            {(f"{DOMAIN}/alice", "differs"), (f"{DOMAIN}/alice/Maildir", "missing")},
            ["missing-directory", "missing-directory"],
            id="a file for a home",
        ),
        pytest.param(
            lambda site: at(site, f"{DOMAIN}/alice/Maildir/new").rmdir(),
            {(f"{DOMAIN}/alice/Maildir/new", "missing")},
            ["missing-directory"],
            id="half a Maildir",
        ),
        pytest.param(
            write(f"{CONTROL}/defaultdelivery", b"# dovecot\n|/usr/libexec/dovecot-lda\n"),
            {(f"{CONTROL}/defaultdelivery", "unexpected")},
            [],
            id="another default delivery",
        ),
    ],
)
def test_what_a_file_says_otherwise_is_told(
    site: Sample,
    damage: Callable[[Sample], object],
    expected: set[tuple[str, str]],
    codes: list[str],
) -> None:
    damage(site)

    found = site.explain("alice@example.com", read_files=True)

    assert told(found) == expected
    assert [defect.code.value for defect in found.defects] == codes
    assert found.exit_code == (2 if codes else 0)


def test_a_line_of_a_file_that_differs_is_shown_as_it_is(site: Sample) -> None:
    write(f"{DOMAIN}/.qmail-info", b"&joe@else.example\n")(site)

    found = site.explain("info@example.com", read_files=True)

    line = next(each for each in evidence(found) if each.path.endswith("info") and each.line)
    assert (line.line, line.text, line.state.value) == (1, "&joe@else.example", "differs")


@pytest.mark.parametrize(
    "content, text, states, codes",
    [
        (
            b"1000S,10C\n900 9\n",
            "900 bytes, 9 messages of 1000S,10C",
            set(),
            [],
        ),
        (
            b"1000S,10C\n900 9\n100 0\n",
            "1000 bytes, 9 messages of 1000S,10C",
            set(),
            ["over-quota"],
        ),
        (
            b"1000S,10C\n90 10\n",
            "90 bytes, 10 messages of 1000S,10C",
            set(),
            ["over-quota"],
        ),
        (
            b"2000S\n1500 20\n",
            "1500 bytes, 20 messages of 2000S",
            {("differs")},
            ["drift"],
        ),
    ],
)
def test_the_use_of_the_quota_is_what_maildirsize_says(
    site: Sample, content: bytes, text: str, states: set[str], codes: list[str]
) -> None:
    write(f"{DOMAIN}/full/Maildir/maildirsize", content)(site)

    found = site.explain("full@example.com", read_files=True)

    assert [e.text for e in evidence(found) if e.path.endswith("maildirsize")] == [text]
    assert {state for _, state in told(found)} == states
    assert [defect.code.value for defect in found.defects] == codes


def test_a_name_is_accepted_by_morercpthosts_as_well(site: Sample) -> None:
    rewrite(f"{CONTROL}/rcpthosts", b"example.com\n", b"")(site)
    write(f"{CONTROL}/morercpthosts.cdb", cdb.make([(b"example.com", b"")]))(site)

    found = site.explain("alice@example.com", read_files=True)

    assert evidence(found)[0].path == f"{CONTROL}/morercpthosts.cdb"
    assert found.defects == ()


def test_a_foreign_domain_that_rcpthosts_names_is_told(site: Sample) -> None:
    write(f"{CONTROL}/rcpthosts", b"example.com\n.else.example\n")(site)

    found = site.explain("joe@mail.else.example", read_files=True)

    assert told(found) == {(f"{CONTROL}/rcpthosts", "unexpected")}
    assert [defect.what for defect in found.defects] == [
        f"{CONTROL}/rcpthosts: it names mail.else.example"
    ]


def test_links_are_not_followed(site: Sample) -> None:
    rename(f"{DOMAIN}/alice", f"{DOMAIN}/real")(site)
    at(site, f"{DOMAIN}/alice").symlink_to("real")

    found = site.explain("alice@example.com", read_files=True)

    assert told(found) == {
        (f"{DOMAIN}/alice", "unreadable"),
        (f"{DOMAIN}/alice/.qmail", "unreadable"),
        (f"{DOMAIN}/alice/Maildir", "unreadable"),
        (f"{DOMAIN}/alice/Maildir/maildirsize", "unreadable"),
    }
    assert found.defects == ()


def test_fields_that_differ_are_named_without_what_is_in_them(site: Sample) -> None:
    rewrite(f"{DOMAIN}/vpasswd", b":1:0:Alice:", b":1:16:Alicia:")(site)
    rewrite(f"{DOMAIN}/vpasswd", b"right horse", b"wrong horse")(site)

    found = site.explain("alice@example.com", read_files=True)

    assert [defect.what for defect in found.defects] == [
        f"{DOMAIN}/vpasswd: the database has another flags, comment, readable password, or none"
    ]


def test_without_any_file_each_is_said_to_be_missing(site: Sample, tmp_path: Path) -> None:
    empty = Sample(site.url, site.database, tmp_path / "empty")
    empty.root.mkdir()

    found = empty.explain("alice@example.com", read_files=True)

    assert {state for _, state in told(found)} == {"missing"}
    assert found.exit_code == 2


@needs_owners
@pytest.mark.parametrize(
    "address",
    [
        "alice@example-alias.org",
        "multi@example.com",
        "carol@example.com",
        "postmaster@limited.net",
    ],
)
def test_what_vpopmail_wrote_agrees_with_what_was_imported(base: Sample, address: str) -> None:
    found = base.explain(address, read_files=True)

    assert told(found) == set()
    assert found.exit_code == 0


@needs_owners
@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "address",
    [
        "away@catch.example",
        "dotted.name@catch.example",
        "anybody@fwdall.example",
        "o'brien@north.example",
        "taro@north.example",
        "web@www.multi.example",
        "a1@small.example",
    ],
)
def test_so_does_a_site_with_more_of_everything(small: Sample, address: str) -> None:
    found = small.explain(address, read_files=True)

    assert told(found) == set()
    assert found.exit_code == 0
