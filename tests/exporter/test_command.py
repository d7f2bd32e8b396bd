"""``vpopsql export apply`` as an administrator runs it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import factories
from vpopsql.cli import main
from vpopsql.db import Database

RUN = "from vpopsql.cli import main; main()"
NOBODY = 65534


@pytest.fixture
def vpopsql(
    database: Database, database_url: str, root: Path
) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """A function that runs the command in a process of its own, over a site with one domain."""
    with database.writer() as session:
        factories.domain(session, "example.com")

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-c", RUN, *arguments],
            env={
                "PYTHONPATH": ".",
                "PATH": os.environ["PATH"],
                "VPOPSQL_DATABASE_URL": database_url,
                "VPOPSQL_PATHS_ROOT": str(root),
            },
            capture_output=True,
            text=True,
            check=False,
        )

    return run


Command = Callable[..., "subprocess.CompletedProcess[str]"]


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


@pytest.fixture
def nobody(database_url: str, root: Path, tmp_path: Path) -> Iterator[None]:
    """Let the test be a user who can use the database and look at the place, no more."""
    for directory in (root, *root.parents[:-2]):
        directory.chmod(0o755)
    tmp_path.chmod(0o777)
    for file in tmp_path.glob("*.db*"):
        file.chmod(0o666)
    os.seteuid(NOBODY)
    yield
    os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
def test_who_may_not_write_is_told_where(
    database_url: str,
    root: Path,
    nobody: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("VPOPSQL_DATABASE_URL", database_url)
    monkeypatch.setenv("VPOPSQL_PATHS_ROOT", str(root))
    monkeypatch.setattr("sys.argv", ["vpopsql", "export", "apply"])

    with pytest.raises(SystemExit) as caught:
        main()

    assert caught.value.code == 3
    assert capsys.readouterr().err == f"vpopsql: {root}/var/qmail/users: Permission denied\n"
