"""Programs that are told of changed files: what they hear, and that nothing is lost."""

import contextlib
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.conversations import EXAMPLE, SYSTEM, Site, Talk, make_site
from tests.exporter.following import at, eventually, files, wanted
from vpopsql.config import Config, Hooks
from vpopsql.db import Database
from vpopsql.errors import DatabaseUnavailable
from vpopsql.exporter import apply as exporter
from vpopsql.exporter.apply import apply
from vpopsql.exporter.hooks import Courier, CourierThread
from vpopsql.exporter.outbox import DIRECTORY
from vpopsql.model import HostRole

VPASSWD = [f"{EXAMPLE}/vpasswd", f"{EXAMPLE}/vpasswd.cdb"]


on_sqlite = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
"""For what has nothing to do with the database."""


class Hook:
    """A hook that writes down what it hears; it fails while a file of its own is there."""

    def __init__(self, directory: Path, name: str) -> None:
        self._heard = directory / f"{name}.heard"
        self._fault = directory / f"{name}.fault"
        script = 'cat >> "$0"; if [ -e "$1" ]; then echo out of order >&2; exit 3; fi'
        self.command = ("/bin/sh", "-c", script, str(self._heard), str(self._fault))

    def fail(self, *, fails: bool = True) -> None:
        if fails:
            self._fault.touch()
        else:
            self._fault.unlink()

    @property
    def heard(self) -> list[dict[str, Any]]:
        lines = self._heard.read_text().splitlines() if self._heard.exists() else []
        return [json.loads(line) for line in lines]


@pytest.fixture
def hook(tmp_path: Path) -> Hook:
    return Hook(tmp_path, "hook")


@pytest.fixture
def other(tmp_path: Path) -> Hook:
    return Hook(tmp_path, "other")


@pytest.fixture
def site(
    database: Database, database_url: str, unpack: Callable[[str], Path], hook: Hook, other: Hook
) -> Site:
    """The sample site, whose files are as the database says, with two hooks."""
    hooks = Hooks(commands=(hook.command, other.command), timeout_s=20, retries=0)
    made = make_site(database, database_url, unpack, hooks=hooks)
    apply(database, replace(made.config, hooks=Hooks()))
    return made


@pytest.fixture
def talk(site: Site) -> Talk:
    """A system administrator, whose changes make the daemon write files."""
    return site.talk(SYSTEM)


def courier(site: Site, role: HostRole = HostRole.MAIL, **hooks: Any) -> Courier:
    config = replace(site.config, hooks=replace(site.config.hooks, **hooks))
    return Courier(site.database, config, "mx1.example", role)


def outbox(site: Site) -> Path:
    return site.root / "var/qmail/users" / DIRECTORY


# --- what they hear ---------------------------------------------------------------------------


def test_a_hook_hears_which_files_and_which_objects_have_changed(
    site: Site, talk: Talk, hook: Hook
) -> None:
    talk.ask("mod_user alice@example.com", "comment New", ".")
    courier(site).deliver()
    talk.ask("mod_user bob@example.com", "comment New", ".")

    failures = courier(site).deliver()

    assert failures == []
    assert hook.heard[1] == {
        "format": 1,
        "host": "mx1.example",
        "role": "mail",
        "revision": hook.heard[0]["revision"] + 1,
        "events": [2, 2],
        "files": VPASSWD,
        "objects": [{"type": "user", "name": "bob@example.com"}],
    }


def test_what_waits_is_heard_at_once(site: Site, talk: Talk, hook: Hook) -> None:
    courier(site).deliver()
    talk.ask("mod_user alice@example.com", "comment New", ".")
    courier(site).deliver()
    talk.ask("mod_user bob@example.com", "comment New", ".")
    talk.ask("add_domain new.example pw")

    courier(site).deliver()

    assert [each["events"] for each in hook.heard] == [[1, 1], [2, 3]]
    assert hook.heard[1]["files"][:2] == VPASSWD
    assert "/var/qmail/control/rcpthosts" in hook.heard[1]["files"]
    assert hook.heard[1]["objects"] == [
        {"type": "user", "name": "bob@example.com"},
        {"type": "domain", "name": "new.example"},
    ]


@on_sqlite
def test_without_a_change_no_hook_runs(site: Site, hook: Hook) -> None:
    apply(site.database, site.config)

    courier(site).deliver()

    assert hook.heard == []


@on_sqlite
def test_a_file_that_is_removed_is_a_change(site: Site, talk: Talk, hook: Hook) -> None:
    talk.ask("add_alias gone@example.com joe@example.com")
    courier(site).deliver()
    talk.ask("delete_alias gone@example.com")

    courier(site).deliver()

    assert hook.heard[1]["files"] == [f"{EXAMPLE}/.qmail-gone"]


def test_the_hooks_of_a_relay_hear_nothing_of_mailboxes(
    site: Site, talk: Talk, hook: Hook, root: Path
) -> None:
    config = at(root, site.config)
    relay = Courier(site.database, config, "relay.example", HostRole.RELAY)
    exporter.relay(site.database, config)
    relay.deliver()
    talk.ask("mod_user alice@example.com", "comment New", ".", "add_domain new.example pw")
    exporter.relay(site.database, config)

    relay.deliver()

    assert hook.heard[1]["files"] == ["/var/qmail/control/rcpthosts"]
    assert hook.heard[1]["objects"] == [{"type": "domain", "name": "new.example"}]


@on_sqlite
def test_a_hook_runs_while_nobody_holds_the_lock_of_the_site(
    site: Site, talk: Talk, tmp_path: Path
) -> None:
    lock = site.root / "var/qmail/users/assign.lock"
    take = f"import fcntl; fcntl.lockf(open({str(lock)!r}, 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    talk.ask("mod_user alice@example.com", "comment New", ".")

    failures = courier(site, commands=((sys.executable, "-c", take),)).deliver()

    assert failures == []


@on_sqlite
def test_a_hook_that_reads_nothing_is_fine(site: Site, talk: Talk) -> None:
    talk.ask("mod_user alice@example.com", "comment New", ".")

    assert courier(site, commands=(("/bin/true",),)).deliver() == []
    assert list(outbox(site).glob("*.json")) == []


# --- that fail --------------------------------------------------------------------------------


@on_sqlite
def test_a_hook_that_fails_hears_it_again_with_what_has_come_since(
    site: Site, talk: Talk, hook: Hook
) -> None:
    hook.fail()
    talk.ask("mod_user alice@example.com", "comment New", ".")
    failures = courier(site).deliver()
    talk.ask("add_alias info2@example.com joe@example.com")
    hook.fail(fails=False)

    courier(site).deliver()
    courier(site).deliver()

    assert failures == ["/bin/sh ended with status 3: out of order"]
    assert [each["events"] for each in hook.heard] == [[1, 1], [1, 2]]
    assert hook.heard[1]["files"] == [*VPASSWD, f"{EXAMPLE}/.qmail-info2"]


@on_sqlite
def test_it_does_not_hold_up_another_one(site: Site, talk: Talk, hook: Hook, other: Hook) -> None:
    hook.fail()
    talk.ask("mod_user alice@example.com", "comment New", ".")
    courier(site).deliver()
    talk.ask("add_alias info2@example.com joe@example.com")
    courier(site).deliver()

    assert [each["events"] for each in other.heard] == [[1, 1], [2, 2]]
    assert [len(each.events) for each in courier(site).waiting()] == [2, 0]


@on_sqlite
def test_a_hook_that_takes_too_long_is_ended_with_what_it_started(
    site: Site, talk: Talk, tmp_path: Path
) -> None:
    late = tmp_path / "late"
    slow = ("/bin/sh", "-c", f"(sleep 1; touch {late}) & sleep 30")
    talk.ask("mod_user alice@example.com", "comment New", ".")

    failures = courier(site, commands=(slow,), timeout_s=0.2).deliver()
    time.sleep(1.2)

    assert failures == ["/bin/sh did not end within 0.2 s"]
    assert not late.exists()


@on_sqlite
def test_a_hook_that_is_not_there_has_failed(site: Site, talk: Talk) -> None:
    talk.ask("mod_user alice@example.com", "comment New", ".")

    failures = courier(site, commands=(("/no/such", "program"),)).deliver()

    assert failures == ["/no/such cannot be run: No such file or directory"]
    assert len(list(outbox(site).glob("*.json"))) == 1


@on_sqlite
def test_a_hook_that_is_configured_no_more_is_waited_for_no_more(
    site: Site, talk: Talk, hook: Hook, other: Hook
) -> None:
    hook.fail()
    talk.ask("mod_user alice@example.com", "comment New", ".")
    courier(site).deliver()

    talk.ask("mod_user bob@example.com", "comment New", ".")
    courier(site, commands=(other.command,)).deliver()

    assert list(outbox(site).glob("*.json")) == []


@on_sqlite
def test_numbers_go_on_when_nothing_waits(site: Site, talk: Talk, other: Hook) -> None:
    talk.ask("mod_user alice@example.com", "comment New", ".")
    courier(site).deliver()
    courier(site, commands=(other.command,)).deliver()
    talk.ask("mod_user bob@example.com", "comment New", ".")

    courier(site, commands=(other.command,)).deliver()

    assert [each["events"] for each in other.heard] == [[1, 1], [2, 2]]


@on_sqlite
def test_without_a_database_what_was_complete_is_heard(site: Site, talk: Talk, hook: Hook) -> None:
    hook.fail()
    talk.ask("mod_user alice@example.com", "comment New", ".")
    courier(site).deliver()
    talk.ask("add_alias info2@example.com joe@example.com")
    hook.fail(fails=False)
    away = Database("sqlite:////nowhere/at.all")

    with contextlib.closing(away), pytest.raises(DatabaseUnavailable):
        Courier(away, site.config, "mx1.example").deliver()
    courier(site).deliver()

    assert [each["events"] for each in hook.heard[1:]] == [[1, 1], [2, 2]]


@on_sqlite
def test_in_the_background_a_hook_is_tried_until_it_works(
    site: Site, talk: Talk, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vpopsql.exporter.hooks.RETRY_FIRST_S", 0.05)
    hook.fail()
    thread = CourierThread(courier(site))
    talk.ask("mod_user alice@example.com", "comment New", ".")
    thread.wake()
    eventually(lambda: len(hook.heard) >= 2, "it is not tried again")

    hook.fail(fails=False)
    eventually(lambda: not any(each.events for each in courier(site).waiting()), "it fails")
    thread.stop()

    assert {json.dumps(each) for each in hook.heard} == {json.dumps(hook.heard[0])}


# --- processes that are killed ----------------------------------------------------------------

DYING = """
import os, sys
rename, left = os.rename, [int(sys.argv.pop(1))]
def dying(*names, **options):
    left[0] -= 1
    if not left[0]:
        os._exit(9)
    rename(*names, **options)
os.rename = dying
from vpopsql.cli import main
main()
"""


def environment(config: Config, root: Path) -> dict[str, str]:
    return {
        "PYTHONPATH": ".",
        "PATH": os.environ["PATH"],
        "VPOPSQL_DATABASE_URL": config.database.url,
        "VPOPSQL_PATHS_ROOT": str(root),
        "VPOPSQL_HOOKS_COMMANDS": "/bin/true",
    }


@on_sqlite
@pytest.mark.parametrize("renames", [5, 20])
def test_what_a_killed_apply_has_changed_is_heard_of(
    site: Site, hook: Hook, root: Path, tmp_path: Path, renames: int
) -> None:
    config = at(root, site.config)
    words = [sys.executable, "-c", DYING, str(renames), "export", "apply"]
    killed = subprocess.run(words, env=environment(config, root), check=False)
    changed = set(files(root))

    apply(site.database, config)
    Courier(site.database, config).deliver()

    assert killed.returncode == 9
    assert changed
    expected = set(wanted(site.database, site.config, tmp_path / "fresh"))
    assert changed < expected
    (message,) = hook.heard
    assert message["events"] == [1, 2]
    assert set(message["files"]) == expected


@on_sqlite
def test_a_change_that_cannot_be_written_down_is_not_made(
    site: Site, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(site.root)
    outbox(site).parent.joinpath(DIRECTORY).touch()

    (answer,) = talk.ask("add_alias info2@example.com joe@example.com")

    assert answer.startswith("-ERR")
    assert files(site.root) == before


# --- the commands -----------------------------------------------------------------------------

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(site: Site) -> Run:
    """A function that runs the command line with one hook."""

    def command(*words: str, hook: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-c", "from vpopsql.cli import main; main()", *words],
            env=environment(site.config, site.root)
            | {"VPOPSQL_HOOKS_COMMANDS": hook, "VPOPSQL_HOOKS_RETRIES": "0"},
            capture_output=True,
            text=True,
            check=False,
        )

    return command


@on_sqlite
def test_an_export_whose_hook_fails_says_so_and_what_waits_can_be_seen_and_told(
    site: Site, run: Run, hook: Hook
) -> None:
    (site.root / "var/qmail/users/cdb").unlink()
    words = shlex.join(hook.command)
    hook.fail()

    applied = run("export", "apply", hook=words)
    listed = run("export", "hooks", "list", "--format", "json", hook=words)
    hook.fail(fails=False)
    told = run("export", "hooks", "run", hook=words)
    empty = run("export", "hooks", "list", hook=words)

    assert applied.returncode == listed.returncode == 1
    assert "/bin/sh ended with status 3: out of order" in applied.stderr
    (waiting,) = json.loads(listed.stdout)
    assert waiting["events"][0]["files"] == ["/var/qmail/users/cdb"]
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")
    assert (empty.returncode, empty.stdout.split()[:2]) == (0, ["0", "/bin/sh"])
    assert [each["files"] for each in hook.heard] == [["/var/qmail/users/cdb"]] * 2
