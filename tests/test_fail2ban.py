"""The filter for fail2ban finds who failed to log in, in a log that a real daemon wrote."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests import factories
from vpopsql.cli import cli
from vpopsql.db import Database

FAIL2BAN = shutil.which("fail2ban-regex")

GUESSER, VICTIM = "2001:db8::25", "192.0.2.66"

needs_fail2ban = pytest.mark.skipif(not FAIL2BAN, reason="fail2ban is not installed")


@pytest.fixture
def log(database: Database, database_url: str, tmp_path: Path) -> Path:
    """What the daemon logs of right and wrong logins."""
    with database.writer() as session:
        factories.mailbox(session, factories.domain(session), "alice")
    path = tmp_path / "log"
    said = (
        "slogin alice@example.com wrong\n"
        "slogin nobody@example.com wrong\n"
        f"slogin alice@example.com {factories.PASSWORD}\n"
        "quit\n"
    )
    with path.open("wb") as errors:
        subprocess.run(
            [Path(sys.executable).with_name("vpopsql"), "serve", "--stdio"],
            env={
                "VPOPSQL_DATABASE_URL": database_url,
                "VPOPSQL_PATHS_ROOT": str(tmp_path),
                "TCPREMOTEIP": GUESSER,
            },
            input=said.encode(),
            stdout=subprocess.DEVNULL,
            stderr=errors,
            check=True,
            timeout=60,
        )
    return path


def matched(log: Path, directory: Path) -> list[str]:
    """Return the addresses that fail2ban finds in a log."""
    assert FAIL2BAN
    result = subprocess.run(
        [FAIL2BAN, "-o", "ip", str(log), str(directory / "filter.d/vpopsql.conf")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return result.stdout.split()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where fail2ban's files were written."""
    made = tmp_path / "fail2ban"
    made.mkdir()
    assert CliRunner().invoke(cli, ["fail2ban", str(made)]).exit_code == 0
    return made


@needs_fail2ban
def test_fail2ban_finds_failed_logins_and_nothing_else(log: Path, directory: Path) -> None:
    assert matched(log, directory) == [GUESSER, GUESSER]


@needs_fail2ban
@pytest.mark.parametrize("before", ["", "mail vpopsql[812]: "])
def test_nobody_can_have_another_host_shut_out(
    directory: Path, tmp_path: Path, before: str
) -> None:
    events: list[dict[str, str | None]] = [
        {"account": f'a@b", "peer": "{VICTIM}", "event": "login failed', "peer": GUESSER},
        {"peer": GUESSER, "account": f'a@b", "peer": "{VICTIM}'},
        {"account": f'a@b\\", "peer": "{VICTIM}", "event": "login failed"', "peer": GUESSER},
        {"account": f'a@b {{"peer": "{VICTIM}", "event": "login failed"}}', "peer": None},
    ]
    rest: dict[str, str | None] = {
        "event": "login failed",
        "level": "warning",
        "timestamp": "2026-11-29T20:15:31.5Z",
    }
    log = tmp_path / "log"
    log.write_text("".join(f"{before}{json.dumps(each | rest)}\n" for each in events))

    assert matched(log, directory) == [GUESSER, GUESSER, GUESSER]


@needs_fail2ban
def test_the_jail_is_one_that_fail2ban_reads(directory: Path) -> None:
    assert FAIL2BAN
    client = Path(FAIL2BAN).with_name("fail2ban-client")
    stock = Path("/etc/fail2ban")
    for name in ("fail2ban.conf", "jail.conf", "paths-common.conf", "paths-debian.conf"):
        (directory / name).write_bytes((stock / name).read_bytes())
    for name in ("action.d", "filter.d"):
        for file in (stock / name).iterdir():
            if not (directory / name / file.name).exists() and file.is_file():
                (directory / name).mkdir(exist_ok=True)
                (directory / name / file.name).write_bytes(file.read_bytes())

    dumped = subprocess.run(
        [client, "-c", str(directory), "-d"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout

    assert "['set', 'vpopsql', 'addignoreip', '127.0.0.1/8', '::1']" in dumped
    assert "['start', 'vpopsql']" in dumped
