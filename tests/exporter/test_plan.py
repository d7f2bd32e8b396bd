"""Plans: what an apply would change, why, and that it changes just that."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import update

from tests import factories
from tests.exporter.conftest import files_below
from vpopsql.config import Config, Paths
from vpopsql.db import Database
from vpopsql.errors import ExportFailed
from vpopsql.exporter.apply import Applied, apply, plan
from vpopsql.exporter.diff import unified
from vpopsql.exporter.plan import Change, Kind
from vpopsql.exporter.reasons import Reasons
from vpopsql.exporter.render import Link
from vpopsql.model import AuditEntry, Mailbox, Revision

Exporter = Callable[..., Applied]

DIRECTORY = "/home/vpopmail/domains/example.com"


@pytest.fixture
def site(database: Database) -> Database:
    """A domain with an alias domain, an account and a forward."""
    with database.writer() as session:
        one = factories.domain(session, "example.com", "alias.org")
        factories.mailbox(session, one, "alice")
        factories.alias(session, one, "info", "&alice@example.com")
    return database


@pytest.fixture
def config(root: Path) -> Config:
    return Config(paths=Paths(root=str(root)))


def rename_alice(database: Database) -> None:
    """Change a comment as the daemon does: with its trace."""
    with database.writer() as session:
        session.execute(update(Mailbox).values(comment="Alice B."))
        session.add(
            AuditEntry(
                actor="postmaster@example.com",
                channel="daemon",
                action="mod_user",
                object_type="user",
                object="alice@example.com",
                changes={"comment": ["", "Alice B."]},
            )
        )
        session.add(Revision(domain="example.com", topic="mod_user"))


def changes_of(database: Database, config: Config) -> list[Change]:
    return list(plan(database, config).changes())


def test_a_plan_changes_nothing(site: Database, config: Config, root: Path) -> None:
    changes = changes_of(site, config)

    assert {change.kind for change in changes} == {Kind.NEW}
    assert list(root.iterdir()) == []


def test_an_apply_writes_what_was_planned(
    site: Database, config: Config, export: Exporter, root: Path
) -> None:
    planned = {change.path: change.after for change in changes_of(site, config)}

    applied = export()

    assert set(applied.changed) == set(planned)
    assert {path: content for path, content in files_below(root).items() if path in planned} == (
        planned
    )
    assert changes_of(site, config) == []


def test_only_what_differs_is_planned(
    site: Database, config: Config, export: Exporter, root: Path
) -> None:
    export()
    rename_alice(site)
    (root / "var/qmail/control/rcpthosts").write_text("alias.org\nexample.com\nevil.org\n")
    (root / DIRECTORY[1:] / ".qmail-info").unlink()

    changes = changes_of(site, config)

    assert [(change.kind, change.path) for change in changes] == [
        ("new", f"{DIRECTORY}/.qmail-info"),
        ("changed", f"{DIRECTORY}/vpasswd"),
        ("changed", f"{DIRECTORY}/vpasswd.cdb"),
        ("changed", "/var/qmail/control/rcpthosts"),
    ]


def test_a_link_in_the_place_of_a_file_is_a_change(
    site: Database, config: Config, export: Exporter, root: Path
) -> None:
    export()
    path = root / DIRECTORY[1:] / ".qmail-info"
    path.unlink()
    path.symlink_to("elsewhere")

    (change,) = changes_of(site, config)
    export()

    assert change.before == Link("elsewhere")
    assert change.after == b"&alice@example.com\n"
    assert path.read_bytes() == change.after
    assert not path.is_symlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_wrong_owner_is_a_change(
    site: Database, config: Config, export: Exporter, root: Path
) -> None:
    export()
    path = root / DIRECTORY[1:] / "vpasswd"
    os.chown(path, 0, 0)

    (change,) = changes_of(site, config)
    shown = list(unified(change))
    export()

    assert shown[2] == "owner 0:0 -> 89:89"
    assert (path.stat().st_uid, path.stat().st_gid) == (89, 89)


def test_a_missing_directory_is_to_be_made_with_all_its_files(
    site: Database, config: Config, export: Exporter, root: Path
) -> None:
    export()
    comparison = plan(site, config)
    shutil.rmtree(root / DIRECTORY[1:])

    changes = list(comparison.changes())

    assert comparison.dirty == {DIRECTORY}
    assert {change.kind for change in changes} == {Kind.NEW}


def test_a_link_in_the_place_of_a_directory_is_named_with_its_whole_path(
    site: Database, config: Config, export: Exporter, root: Path
) -> None:
    export()
    (root / DIRECTORY[1:]).rename(root / "moved")
    (root / DIRECTORY[1:]).symlink_to(root / "moved")

    with pytest.raises(ExportFailed, match=f"{DIRECTORY}: a symbolic link is not followed"):
        export()


def test_an_apply_of_an_outdated_plan_writes_nothing(
    site: Database, config: Config, export: Exporter, root: Path
) -> None:
    export()
    rename_alice(site)
    comparison = plan(site, config)
    list(comparison.changes())
    (root / DIRECTORY[1:] / ".qmail-info").unlink()
    before = files_below(root)

    with pytest.raises(ExportFailed, match=f"the plan {comparison.digest} is not what"):
        apply(site, config, planned=comparison.digest)

    assert files_below(root) == before


def test_an_apply_of_a_plan_that_still_holds_is_carried_out(
    site: Database, config: Config, export: Exporter
) -> None:
    export()
    rename_alice(site)
    comparison = plan(site, config)
    list(comparison.changes())

    applied = apply(site, config, planned=comparison.digest)

    assert applied.changed == (f"{DIRECTORY}/vpasswd", f"{DIRECTORY}/vpasswd.cdb")


# --- reasons ------------------------------------------------------------------------------------


def test_a_change_names_who_made_it(site: Database, config: Config, export: Exporter) -> None:
    export()
    rename_alice(site)
    changes = changes_of(site, config)

    with site.reader() as session:
        why = Reasons(session).of(changes[0])

    assert [(each.actor, each.action, each.object) for each in why.reasons] == [
        ("postmaster@example.com", "mod_user", "alice@example.com")
    ]
    assert why.note == ""


def test_a_change_that_somebody_else_made_says_so(
    site: Database, config: Config, export: Exporter, root: Path
) -> None:
    export()
    path = root / "var/qmail/control/rcpthosts"
    path.write_text("evil.org\n")
    os.utime(path, (2_000_000_000, 2_000_000_000))
    (change,) = changes_of(site, config)

    with site.reader() as session:
        why = Reasons(session).of(change)

    assert why.reasons == []
    assert why.note == (
        "something other than the last export wrote the file at 2033-05-18T03:33:20+00:00"
    )


def test_before_the_first_export_that_is_the_reason(site: Database, config: Config) -> None:
    change = changes_of(site, config)[0]

    with site.reader() as session:
        why = Reasons(session).of(change)

    assert why.note == "nothing was exported yet"


# --- differences --------------------------------------------------------------------------------


def difference(before: bytes | None, after: bytes | None, path: str = "/x/file") -> list[str]:
    return list(unified(Change(path, before, after)))


def test_text_is_shown_as_a_unified_diff() -> None:
    before = b"".join(b"line %d\n" % number for number in range(1, 21))
    after = before.replace(b"line 10\n", b"line ten\n")

    assert difference(before, after) == [
        "--- /x/file",
        "+++ /x/file",
        "@@ -7,7 +7,7 @@",
        " line 7",
        " line 8",
        " line 9",
        "-line 10",
        "+line ten",
        " line 11",
        " line 12",
        " line 13",
    ]


def test_a_file_without_its_last_newline_differs_visibly() -> None:
    assert difference(b"a\n", b"a")[2:] == ["@@ -1 +1 @@", "-a", "+a (no newline at the end)"]


def test_a_large_difference_names_every_line_of_one_side_only() -> None:
    before = b"".join(b"a%d\n" % number for number in range(5000))
    after = b"".join(b"b%d\n" % number for number in range(5000))

    shown = difference(before, after)

    assert shown[2] == "@@ -1,5000 +1,5000 @@"
    assert shown[3:] == [f"-a{n}" for n in range(5000)] + [f"+b{n}" for n in range(5000)]


def test_no_password_is_shown() -> None:
    before = b"joe:$1$old:1:0:Joe:/d/joe:NOQUOTA:secret\nann:$1$ann:1:0:Ann:/d/ann:NOQUOTA\n"
    after = b"joe:$1$new:1:0:Joe:/d/joe:NOQUOTA:secret\nann:$1$ann:1:0:Ann:/d/ann:1000S\n"

    shown = "\n".join(difference(before, after, "/x/vpasswd"))

    assert "$1$" not in shown
    assert "secret" not in shown
    assert "+joe:* (another one):1:0:Joe:/d/joe:NOQUOTA:*" in shown
    assert "-ann:*:1:0:Ann:/d/ann:NOQUOTA" in shown
    assert "+ann:*:1:0:Ann:/d/ann:1000S" in shown


def test_a_clear_password_with_colons_is_not_shown() -> None:
    line = "alice:$1$Grain$X:1:0:Alice:/d/alice:NOQUOTA:"
    change = Change("/d/vpasswd", f"{line}so:se cret\n".encode(), f"{line}so:other\n".encode())

    assert list(unified(change))[2:] == [
        "@@ -1 +1 @@",
        "-alice:*:1:0:Alice:/d/alice:NOQUOTA:*",
        "+alice:*:1:0:Alice:/d/alice:NOQUOTA:* (another one)",
    ]


def test_what_is_no_line_of_an_account_is_not_shown() -> None:
    line = "alice:*:1:0:Alice:/d/alice:NOQUOTA\n"
    change = Change("/d/vpasswd", b"$1$Grain$X:1:0\n" + line.encode(), line.encode())

    assert list(unified(change))[2:] == [
        "@@ -1,2 +1 @@",
        "-(no line of an account)",
        " alice:*:1:0:Alice:/d/alice:NOQUOTA",
    ]
