"""What a command says and returns when it cannot run, and where its output goes."""

import contextlib
import errno
import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.compat.conftest import Site
from vpopsql import errors, homes
from vpopsql.compat.main import main
from vpopsql.compat.site import Site as Opened
from vpopsql.tree import UnsafePath

REPOSITORY = Path(__file__).parents[2]
COMMAND = """
import sys
from vpopsql.compat.main import main
sys.exit(main(sys.argv.pop(1)))
"""
SQLITE = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)


@pytest.mark.parametrize(
    "variable, value, said",
    [
        ("VPOPSQL_DATABASE_URL", "sqlite:////nowhere/at/all.db", "no such database file"),
        ("VPOPSQL_DATABASE_URL", "mysql://x", "database.url is not of the form allowed"),
        ("VPOPSQL_CONFIG", "/nowhere/at/all.toml", "cannot be read"),
    ],
)
def test_an_outage_is_told_on_standard_error(
    variable: str,
    value: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(variable, value)

    status = main("vuserinfo", ["alice@example.com"])
    printed = capsys.readouterr()

    assert (status, printed.out) == (3, "")
    assert printed.err.startswith("vuserinfo: ")
    assert said in printed.err


@SQLITE
def test_a_defect_is_told_on_standard_error(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Opened, "address", broken)
    result = site.run("vdeluser", "alice@example.com")

    assert (result.status, result.out) == (3, b"")
    assert "ZeroDivisionError" in result.err
    assert result.err.endswith("vdeluser: this is a defect: please report what stands above\n")


@SQLITE
@pytest.mark.parametrize(
    "error, said",
    [
        (OSError(errno.ENOSPC, "No space left on device", "/home/x"), "/home/x: No space left on"),
        (UnsafePath("a link is in the way"), "a link is in the way"),
    ],
)
def test_files_that_cannot_be_made_leave_everything_as_it_was(
    site: Site, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(homes, "make_home", full)
    result = site.run("vadduser", "new@example.com", "secret")

    assert (result.status, result.out) == (3, b"")
    assert result.err.startswith(f"vadduser: {said}")
    assert site.mailbox("new@example.com") is None


@SQLITE
def test_what_is_saved_and_not_in_the_files_is_told(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not by its mode: root writes anywhere.
    file = site.path("/home/vpopmail/domains/example.com/vpasswd")
    file.unlink()
    file.mkdir()
    result = site.run("vmoduser", "-c", "Changed", "alice@example.com")

    assert (result.status, result.out) == (3, b"")
    assert "saved, but not all files could be written" in result.err
    assert site.got("alice@example.com").comment == "Changed"


@SQLITE
def test_a_change_that_loses_a_race_is_made_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, tried = Opened._commit, []

    def first_loses(self: Opened, job: object) -> object:
        tried.append(job)
        if len(tried) == 1:
            raise errors.Conflict("another session was quicker")
        return commit(self, job)  # type: ignore[arg-type]

    monkeypatch.setattr(Opened, "_commit", first_loses)
    result = site.run("vmoduser", "-c", "Changed", "alice@example.com")

    assert (result.status, len(tried)) == (0, 2)
    assert site.got("alice@example.com").comment == "Changed"


@SQLITE
def test_any_bytes_go_to_a_file_and_none_that_a_terminal_obeys_to_one(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.run("valias", "-i", "# \udce9\x1b[2J", "odd@example.com")
    to_file = site.run("valias", "-s", "odd@example.com").out
    screen = io.StringIO()
    screen.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdout", screen)

    assert main("valias", ["odd@example.com"]) == 0
    assert to_file == b"odd@example.com -> # \xe9\x1b[2J\n"
    assert screen.getvalue() == "odd@example.com -> # \\udce9\\x1b[2J\n"


def type_in(*passwords: bytes) -> tuple[int, bytes]:
    """Run vpasswd on a terminal; return its status, and what the terminal showed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "vpasswd", "alice@example.com"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        # A terminal of its own: passwords are asked for on that of the session.
        start_new_session=True,
        cwd=REPOSITORY,
    )
    os.close(theirs)
    seen = b""
    for number, password in enumerate(passwords, 1):
        while seen.count(b": ") < number:
            seen += os.read(ours, 1024)
        os.write(ours, password + b"\n")
    status = process.wait(timeout=60)
    with contextlib.suppress(OSError):
        # The end of a terminal that nobody has any more is an error.
        while more := os.read(ours, 1024):
            seen += more
    os.close(ours)
    return status, seen


@SQLITE
def test_a_password_is_asked_for_twice_on_a_terminal_and_not_shown(site: Site) -> None:
    good = type_in(b"typed in", b"typed in")
    bad = type_in(b"typed in", b"typed out")

    assert good[0] == 0
    assert good[1].startswith(b"Please enter password for alice@example.com: ")
    assert b"typed" not in good[1] + bad[1]
    assert bad[0] == 1
    assert bad[1].endswith(b"Error: the two passwords that were entered differ\r\n")
    assert site.run("vuserinfo", "-C", "alice@example.com").lines == ["typed in"]


@SQLITE
def test_a_password_is_the_first_line_of_an_input_that_stays_open(site: Site) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "vpasswd", "alice@example.com"],
        stdin=subprocess.PIPE,
        cwd=REPOSITORY,
    )
    assert process.stdin is not None
    process.stdin.write(b"piped in\n")
    process.stdin.flush()

    assert process.wait(timeout=60) == 0
    process.stdin.close()
    assert site.run("vuserinfo", "-C", "alice@example.com").lines == ["piped in"]


@SQLITE
def test_hooks_hear_of_a_change(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = site.root / "heard"
    monkeypatch.setenv("VPOPSQL_HOOKS_COMMANDS", f"/bin/cp /dev/stdin {heard}\n/bin/false")
    monkeypatch.setenv("VPOPSQL_HOOKS_RETRIES", "0")
    result = site.run("vmoduser", "-c", "Changed", "alice@example.com")

    assert result.status == 0
    assert "/home/vpopmail/domains/example.com/vpasswd" in heard.read_text()
    assert "see `vpopsql export hooks list`" in result.err


@SQLITE
def test_who_reads_only_a_part_is_no_trouble(site: Site) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "vdominfo"],
        stdout=writer,
        stderr=subprocess.PIPE,
        cwd=REPOSITORY,
        check=False,
        timeout=60,
    )
    os.close(writer)

    assert done.stderr == b""
    assert done.returncode == 3


@SQLITE
def test_the_audit_log_names_who_stands_behind_sudo(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "carol")
    site.run("vmoduser", "-c", "Changed", "alice@example.com")

    assert site.last_audit() == (
        "vmoduser (carol as root)",
        "cli",
        "mod_user",
        "alice@example.com",
    )
