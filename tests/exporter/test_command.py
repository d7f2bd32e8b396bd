"""``vpopsql export apply`` as an administrator runs it."""

import json
import os
from pathlib import Path

import pytest

from tests import factories
from tests.commands import Command, run
from vpopsql.db import Database


@pytest.fixture
def vpopsql(
    database: Database, database_url: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> Command:
    """A function that runs the command over a site with one domain."""
    with database.writer() as session:
        factories.domain(session, "example.com")
    site = {"VPOPSQL_DATABASE_URL": database_url, "VPOPSQL_PATHS_ROOT": str(root)}
    return lambda *arguments, **settings: run(capsys, *arguments, **site, **settings)


def test_an_export_lists_what_changed_and_sums_up(vpopsql: Command) -> None:
    first = vpopsql("export", "apply")
    second = vpopsql("export", "apply")

    assert first.returncode == second.returncode == 0
    assert first.stdout.splitlines() == [
        "/home/vpopmail/domains/example.com/.qmail-default",
        "/home/vpopmail/domains/example.com/vpasswd",
        "/home/vpopmail/domains/example.com/vpasswd.cdb",
        "/var/qmail/users/assign",
        "/var/qmail/users/cdb",
        "/var/qmail/control/virtualdomains",
        "/var/qmail/control/rcpthosts",
        "7 files changed; at revision 0",
    ]
    assert second.stdout == "0 files changed; at revision 0\n"


def test_what_has_no_row_is_said_aside(vpopsql: Command, root: Path) -> None:
    vpopsql("export", "apply")
    (root / "home/vpopmail/domains/example.com/.qmail-old").touch()

    done = vpopsql("export", "apply")

    path = "/home/vpopmail/domains/example.com/.qmail-old"
    assert done.stderr == f"{path}: not in the database, left as it is\n"
    assert done.returncode == 0


def test_a_path_does_not_reach_the_terminal_as_it_is(vpopsql: Command, root: Path) -> None:
    vpopsql("export", "apply")
    directory = f"{root}/home/vpopmail/domains/example.com"
    (Path(os.fsdecode(os.fsencode(directory) + b"/.qmail-\xff\x1b[2J\n"))).touch()

    planned = vpopsql("export", "plan")
    applied = vpopsql("export", "apply")

    shown = "/home/vpopmail/domains/example.com/.qmail-\\udcff\\x1b[2J\\n: not in the database,"
    assert planned.stderr == f"{shown} stays as it is\n"
    assert applied.stderr == f"{shown} left as it is\n"


def test_what_a_killed_process_left_is_removed_and_said_aside(
    vpopsql: Command, root: Path
) -> None:
    vpopsql("export", "apply")
    left = root / "home/vpopmail/domains/example.com/.vpopsql-tmp-0"
    left.touch()
    os.utime(left, (0, 0))

    done = vpopsql("export", "apply")

    path = "/home/vpopmail/domains/example.com/.vpopsql-tmp-0"
    assert done.stderr == f"{path}: half-written by a killed process, removed\n"
    assert not left.exists()


def test_the_same_as_json(vpopsql: Command, root: Path) -> None:
    vpopsql("export", "apply")
    (root / "var/qmail/users/cdb").unlink()

    done = vpopsql("export", "apply", "--format", "json")

    assert json.loads(done.stdout) == {
        "changed": ["/var/qmail/users/cdb"],
        "extra": [],
        "reloaded": False,
        "revision": 0,
        "swept": [],
    }


# --- plan, rollback, generations ----------------------------------------------------------------


def test_a_plan_shows_what_would_change_and_an_apply_of_it_leaves_nothing(
    vpopsql: Command, root: Path
) -> None:
    vpopsql("export", "apply")
    (root / "var/qmail/control/rcpthosts").write_text("evil.org\nexample.com\n")

    planned = vpopsql("export", "plan")
    name = planned.stdout.split()[-1].rstrip("`")
    applied = vpopsql("export", "apply", "--plan", name)
    after = vpopsql("export", "plan")

    assert planned.stdout.splitlines()[:6] == [
        "changed: /var/qmail/control/rcpthosts",
        "--- /var/qmail/control/rcpthosts",
        "+++ /var/qmail/control/rcpthosts",
        "@@ -1,2 +1 @@",
        "-evil.org",
        " example.com",
    ]
    assert (planned.returncode, applied.returncode, after.returncode) == (1, 0, 0)
    assert after.stdout == "the files are as the database says, at revision 0\n"


def test_another_plan_is_refused(vpopsql: Command, root: Path) -> None:
    done = vpopsql("export", "apply", "--plan", "0123456789abcdef")

    assert done.returncode == 3
    assert done.stderr.startswith(
        "vpopsql: the plan 0123456789abcdef is not what is to be done any more, that is "
    )
    assert not (root / "var/qmail/control/rcpthosts").exists()


def test_a_plan_as_json_has_a_line_for_each_change(vpopsql: Command, root: Path) -> None:
    vpopsql("export", "apply")
    (root / "var/qmail/users/cdb").unlink()

    first, change, last = map(
        json.loads, vpopsql("export", "plan", "--format", "json").stdout.split("\n")[:-1]
    )

    assert first == {"format": "vpopsql-export-plan/1", "revision": 0}
    assert change == {
        "path": "/var/qmail/users/cdb",
        "kind": "new",
        "domain": None,
        "diff": ["--- /dev/null", "+++ /var/qmail/users/cdb", "+''", "+'!example.com-'"],
        "reasons": [],
        "note": "the file was removed, or its directory is not the one that was written",
    }
    assert last == {
        "changes": 1,
        "plan": last["plan"],
        "extra": [],
        "warnings": [],
        "reload_pending": False,
    }


def test_a_plan_tells_of_a_reload_that_failed(vpopsql: Command) -> None:
    failed = vpopsql("export", "apply", VPOPSQL_EXPORT_RELOAD_COMMAND="/bin/false")
    planned = vpopsql("export", "plan", VPOPSQL_EXPORT_RELOAD_COMMAND="/bin/true")
    applied = vpopsql("export", "apply", VPOPSQL_EXPORT_RELOAD_COMMAND="/bin/true")
    after = vpopsql("export", "plan", VPOPSQL_EXPORT_RELOAD_COMMAND="/bin/true")

    assert (failed.returncode, applied.returncode) == (3, 0)
    assert planned.returncode == 1
    assert "the reload command is still to be run: `vpopsql export apply`\n" in planned.stdout
    assert (after.returncode, "reload" in after.stdout) == (0, False)


def test_a_plan_warns_of_what_exact_delivery_cannot_do(
    vpopsql: Command, database: Database
) -> None:
    with database.writer() as session:
        full = factories.domain(session, "full.org")
        factories.mailbox(session, full, "alice", quota_bytes=1000, quota_text="1000S")

    done = vpopsql("export", "plan", "--summary", VPOPSQL_EXPORT_DELIVERY="exact")

    assert done.stdout.splitlines()[-4:-1] == [
        "warning: maildir: qmail-start has to be given ./Maildir/ as the default delivery",
        "warning: quota: it has a quota, which vdelivermail enforces: vdelivermail delivers",
        "  alice@full.org",
    ]


def test_a_plan_says_why_files_of_accounts_go_and_who_will_miss_them(
    vpopsql: Command, database: Database
) -> None:
    with database.writer() as session:
        factories.mailbox(session, factories.domain(session, "full.org"), "alice")
    vpopsql("export", "apply")

    done = vpopsql("export", "plan", "--summary", VPOPSQL_EXPORT_ACCOUNTS="database")

    assert "vpasswd" in done.stdout
    assert "with export.accounts = database there is none" in done.stdout
    assert (
        "warning: no-vpasswd: its .qmail-default runs vdelivermail, which finds no mailbox without"
        " vpasswd\n  @full.org\n"
    ) in done.stdout


def test_going_back_says_what_it_did_and_that_the_database_differs(
    vpopsql: Command, root: Path
) -> None:
    vpopsql("export", "apply")
    (root / "var/qmail/control/rcpthosts").write_text("evil.org\n")
    vpopsql("export", "apply")

    dry = vpopsql("export", "rollback", "--dry-run")
    done = vpopsql("export", "rollback")
    listed = vpopsql("export", "generations", "--format", "json")

    assert dry.stdout.splitlines()[-1] == "1 file would change"
    assert done.stdout == (
        "/var/qmail/control/rcpthosts\n"
        "1 file changed, back at generation 1. The database says otherwise still: see"
        " `vpopsql export plan`\n"
    )
    assert (root / "var/qmail/control/rcpthosts").read_text() == "evil.org\n"
    assert [(each["generation"], each["what"]) for each in json.loads(listed.stdout)] == [
        (1, "apply"),
        (2, "apply"),
        (3, "rollback to 1"),
    ]


def test_going_back_as_json_says_what_it_did(vpopsql: Command, root: Path) -> None:
    vpopsql("export", "apply")
    (root / "var/qmail/control/rcpthosts").write_text("evil.org\n")
    vpopsql("export", "apply")

    done = vpopsql("export", "rollback", "--format", "json")

    assert json.loads(done.stdout) == {
        "generation": 1,
        "changed": ["/var/qmail/control/rcpthosts"],
        "extra": [],
        "reloaded": False,
        "swept": [],
    }


def test_going_back_to_what_is_not_kept_says_what_is(vpopsql: Command) -> None:
    vpopsql("export", "apply")

    done = vpopsql("export", "rollback", "7")

    assert done.returncode == 3
    assert "generation 7 is none that can be gone back to (0 to 0)" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
def test_who_may_not_write_is_told_where(vpopsql: Command, root: Path, nobody: None) -> None:
    done = vpopsql("export", "apply")

    assert done.returncode == 3
    assert done.stderr == f"vpopsql: {root}/var/qmail/users: Permission denied\n"
