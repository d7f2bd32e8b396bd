"""Damage of limits files and directory counters: nothing that keeps a site from its import."""

from pathlib import Path

import pytest

from tests import sites
from tests.importer import support
from tests.importer.damage import DOMAIN, DOMAINS, Unpack, of
from vpopsql.config import Config, Paths
from vpopsql.db import Database
from vpopsql.exporter.apply import apply
from vpopsql.importer import site
from vpopsql.importer.codes import Code, Severity
from vpopsql.importer.evidence import Evidence
from vpopsql.qmail import limits
from vpopsql.qmail.dircontrol import DirControl

LIMITS = f"{DOMAINS}/limited.net/.qmailadmin-limits"
COUNTER = f"{DOMAIN}/.dir-control"


def domain_of(found: site.Site, name: str) -> site.Domain:
    (domain,) = [domain for domain in found.domains if domain.name.name == name]
    return domain


def said(evidence: Evidence) -> list[tuple[str, int, str, str]]:
    return [(str(each.code), each.line, each.text, each.reason) for each in evidence.findings]


# --- limits -----------------------------------------------------------------------------------

DAMAGED_LIMITS = b"""\
# ours
max_everything: 1
maxaliases: 1
maxaliases: 2
maxforwards
maxpopaccounts: many
quota: 10MB
perm_account: 15
perm_quota: 273
disable_pop: no
"""


def test_each_doubt_about_a_limits_file_is_said(unpack: Unpack) -> None:
    root = unpack("base")
    (root / LIMITS).write_bytes(DAMAGED_LIMITS)

    found, evidence = support.read(root)

    packed = "it is taken apart: 1 for quotas, 2 for list users, 4 for list moderators"
    assert said(evidence) == [
        ("unknown-setting", 2, "max_everything: 1", "its key is unknown"),
        ("duplicate", 3, "maxaliases: 1", "line 4 says it again and wins"),
        ("limit-without-value", 5, "maxforwards", "its key has no value"),
        ("odd-limit", 6, "maxpopaccounts: many", "it is taken for 0"),
        ("odd-limit", 7, "quota: 10MB", "it is taken for 10"),
        ("odd-limit", 8, "perm_account: 15", "it is taken for 7"),
        ("packed-permissions", 9, "perm_quota: 273", packed),
    ]
    own = domain_of(found, "limited.net").limits
    assert own is not None
    assert own.values == {
        **limits.DEFAULTS,
        "max_aliases": 2,
        "max_popaccounts": 0,
        "disk_quota": 10,
        "perm_account": 7,
        "perm_quota": 1,
        "perm_maillist_users": 2,
        "perm_maillist_moderators": 4,
        "disable_pop": True,
    }
    (tally,) = [each for each in evidence.tallies if each.place == str(root / LIMITS)]
    assert (tally.lines, tally.imported, tally.merged, tally.foreign) == (10, 6, 3, 1)
    assert tally.adds_up


@pytest.mark.parametrize(
    "content, line, merged",
    [
        (b"#".ljust(2047) + b"\nmaxaliases 1\nmaxforwards 1\n", 1, 3),
        (b"maxpopaccounts 5\n\0\nmaxaliases 1\n", 1, 2),
        (b"\0maxaliases 1\n", 0, 1),
    ],
)
def test_what_vpopmail_does_not_read_of_a_limits_file_is_said(
    unpack: Unpack, content: bytes, line: int, merged: int
) -> None:
    root = unpack("base")
    (root / LIMITS).write_bytes(content)

    found, evidence = support.read(root)

    assert [(str(each.code), each.line) for each in evidence.findings] == [("unread-limits", line)]
    own = domain_of(found, "limited.net").limits
    assert own is not None
    assert own.values["max_aliases"] == -1
    (tally,) = [each for each in evidence.tallies if each.place == str(root / LIMITS)]
    assert (tally.merged, tally.adds_up) == (merged, True)


@pytest.mark.parametrize(
    "content", [DAMAGED_LIMITS, b"#".ljust(2047) + b"\nmaxaliases 1\n", b"\0quota 1", b"\xff\n"]
)
def test_a_damaged_limits_file_comes_back_as_it_is(
    database: Database, unpack: Unpack, tmp_path: Path, content: bytes
) -> None:
    root = unpack("base")
    (root / LIMITS).write_bytes(content)
    exported = tmp_path / "exported"
    exported.mkdir()

    sites.import_tree(database, root)
    apply(database, Config(paths=Paths(root=str(exported))))

    assert (exported / LIMITS).read_bytes() == content


# --- counters ---------------------------------------------------------------------------------


def test_a_counter_that_miscounts_is_noted_and_kept(unpack: Unpack) -> None:
    root = unpack("base")
    path = root / COUNTER
    path.write_bytes(path.read_bytes().replace(b"8\n", b"107\n", 1))

    found, evidence = support.read(root)

    assert [(str(each.code), each.place, each.reason) for each in evidence.findings] == [
        ("miscounted", f"{path}:1", "it counts 107 accounts, there are 8")
    ]
    assert evidence.worst is Severity.NOTE
    counter = domain_of(found, "example.com").counter
    assert counter is not None
    assert counter.control.cur_users == 107


@pytest.mark.parametrize(
    "content, text, reason",
    [
        (
            b"5\n0\nthree\n0 0 0\n61 61 61\n0 2 2\n0 0 0\n\n",
            "three",
            "line 3: it is not 1 number(s)",
        ),
        (
            b"5\n0\n3\n0 0\n61 61 61\n0 2 2\n0 0 0\n\n",
            "0 0",
            "line 4: it is not 3 number(s)",
        ),
        (b"", "", "the file has 0 lines instead of 8"),
        (b"5\n0\n", "", "the file has 2 lines instead of 8"),
    ],
)
def test_a_new_counter_takes_the_place_of_a_damaged_one(
    unpack: Unpack, content: bytes, text: str, reason: str
) -> None:
    root = unpack("base")
    (root / COUNTER).write_bytes(content)

    found, evidence = support.read(root)

    (finding,) = evidence.findings
    assert (finding.code, finding.place) == (Code.DAMAGED_COUNTER, str(root / COUNTER))
    assert finding.text == text
    assert finding.reason == f"{reason}; a new one takes its place"
    counter = domain_of(found, "example.com").counter
    assert counter == site.Counter(DirControl())
    assert all(tally.adds_up for tally in evidence.tallies)


def test_a_domain_without_a_counter_has_none_that_miscounts(unpack: Unpack) -> None:
    root = unpack("base")
    (root / COUNTER).unlink()
    (root / f"{DOMAIN}/.dir_control_free").write_bytes(b"0\n")

    _, evidence = support.read(root)

    assert of(evidence, Code.MISCOUNTED) == []


def test_a_counter_of_the_site_that_the_database_does_not_share_is_said(
    database: Database, unpack: Unpack
) -> None:
    root = unpack("base")
    sites.import_tree(database, root)
    path = root / DOMAINS / ".dir-control"
    path.write_bytes(path.read_bytes().replace(b"5\n", b"7\n", 1))

    plan = support.plan(database, root)

    assert [each.code for each in plan.evidence.findings] == [Code.COUNTER_KEPT]
    assert not plan.does_anything
