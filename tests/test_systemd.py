"""As systemd runs it: the socket it hands over, what it is told, the units."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.transcripts import Client
from vpopsql import db
from vpopsql.cli import cli
from vpopsql.config import Config, Database, Lists, Paths
from vpopsql.errors import ConfigError
from vpopsql.systemd import units

ANALYZE = shutil.which("systemd-analyze")
VPOPSQL = str(Path(sys.executable).with_name("vpopsql"))
needs_systemd = pytest.mark.skipif(not ANALYZE, reason="systemd-analyze is not installed")

Started = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Started]:
    """A function that starts a daemon as systemd would, with sockets from descriptor 3 on."""
    url = f"sqlite:///{tmp_path}/site.db"
    db.upgrade(url)
    with contextlib.ExitStack() as cleanup:

        def run(
            *handed: socket.socket, listen_pid: str = "$$", **environment: str
        ) -> "subprocess.Popen[bytes]":
            # A shell gives them their numbers, and knows which process it becomes; dash takes
            # numbers of one digit only.
            moves = " ".join(f"{3 + n}<&{each.fileno()}" for n, each in enumerate(handed))
            process = subprocess.Popen(
                ["/bin/bash", "-c", f'LISTEN_PID={listen_pid} exec "$0" serve {moves}', VPOPSQL],
                env={
                    **os.environ,
                    "VPOPSQL_DATABASE_URL": url,
                    "VPOPSQL_PATHS_ROOT": str(tmp_path),
                    "VPOPSQL_DAEMON_LISTEN": "127.0.0.1:0",
                    "LISTEN_FDS": str(len(handed)),
                    **environment,
                },
                pass_fds=[each.fileno() for each in handed],
                stderr=subprocess.PIPE,
            )
            cleanup.callback(process.communicate)
            cleanup.callback(process.kill)
            return process

        yield run


def test_it_takes_the_socket_and_says_when_it_is_ready(start: Started, tmp_path: Path) -> None:
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with contextlib.closing(told), socket.create_server(("127.0.0.1", 0)) as listener:
        told.bind(f"{tmp_path}/notify")
        told.settimeout(60)
        process = start(listener, NOTIFY_SOCKET=f"{tmp_path}/notify")
        address = listener.getsockname()
        listener.close()

        assert told.recv(100) == b"READY=1"
        with contextlib.closing(Client(address)) as client:
            assert client.line() == b"+OK \r\n"
        process.terminate()
        assert told.recv(100) == b"STOPPING=1"
        assert process.wait(60) == 0


def test_a_socket_that_is_meant_for_another_process_is_left_alone(
    start: Started, tmp_path: Path
) -> None:
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with contextlib.closing(told), socket.create_server(("127.0.0.1", 0)) as listener:
        told.bind(f"\0{tmp_path}")
        told.settimeout(60)
        process = start(listener, listen_pid="1", NOTIFY_SOCKET=f"@{tmp_path}")

        assert told.recv(100) == b"READY=1"
        process.terminate()
        assert process.stderr
        assert f'"port": {listener.getsockname()[1]}'.encode() not in process.stderr.read()


@pytest.mark.parametrize("kind", ["two", "unix", "not listening"])
def test_what_it_cannot_serve_on_is_refused(kind: str, start: Started) -> None:
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        unix = opened.enter_context(socket.socket(socket.AF_UNIX))
        plain = opened.enter_context(socket.socket())
        handed = {"two": [listener, plain], "unix": [unix], "not listening": [plain]}[kind]

        process = start(*handed)
        _, errors = process.communicate(timeout=60)

    assert process.returncode == 3
    assert b"systemd has handed over" in errors


@needs_systemd
@pytest.mark.parametrize("user", ["root", "daemon"])
def test_systemd_finds_nothing_wrong_with_the_units(
    user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "vpopsql.toml"
    file.write_text(
        f'[database]\nurl = "sqlite:///{tmp_path}/site.db"\n'
        f'[daemon]\nauth_socket = "{tmp_path}/run/auth"\n'
    )
    monkeypatch.setenv("VPOPSQL_CONFIG", str(file))
    there = tmp_path / "units"
    there.mkdir()

    result = CliRunner().invoke(cli, ["systemd", "--user", user, str(there)])

    assert result.exit_code == 0
    names = sorted(path.name for path in there.iterdir())
    assert names == sorted([*units(Config(), Path(VPOPSQL), None, user)])
    service = (there / "vpopsql.service").read_text()
    assert f"ExecStart={VPOPSQL} --config {file} serve\n" in service
    assert f" -{tmp_path} -{tmp_path}/run\n" in service
    assert ANALYZE
    verified = subprocess.run(
        [ANALYZE, "verify", "--man=no", *(str(there / name) for name in names)],
        capture_output=True,
        text=True,
        check=False,
    )
    # It complains of the host's own units, too.
    assert "vpopsql" not in verified.stderr
    for name in names:
        if name.endswith(".service"):
            subprocess.run(
                [ANALYZE, "security", "--offline=true", "--threshold=45", str(there / name)],
                stdout=subprocess.DEVNULL,
                check=True,
            )


def test_who_becomes_another_user_is_allowed_to() -> None:
    few, more = Config(), Config(lists=Lists(ezmlm_make="/usr/bin/ezmlm-make"))

    services = [
        units(each, Path(VPOPSQL), None, "root")["vpopsql.service"] for each in (few, more)
    ]

    assert ["CAP_SETUID" in each for each in services] == [False, True]


def test_units_of_others_are_kept(tmp_path: Path) -> None:
    (tmp_path / "vpopsql.service").write_text("mine")

    refused = CliRunner().invoke(cli, ["systemd", str(tmp_path)])
    assert "vpopsql.service; see --force" in str(refused.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["vpopsql.service"]

    assert CliRunner().invoke(cli, ["systemd", "--force", str(tmp_path)]).exit_code == 0
    assert "ExecStart=" in (tmp_path / "vpopsql.service").read_text()
    assert CliRunner().invoke(cli, ["systemd", str(tmp_path)]).exit_code == 0


def test_a_program_that_its_user_cannot_get_to_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    for name in ("python", "vpopsql"):
        (home / "bin" / name).touch()
    home.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(home / "bin/python"))
    (tmp_path / "units").mkdir()

    other = CliRunner().invoke(cli, ["systemd", "--user", "daemon", str(tmp_path / "units")])
    own = CliRunner().invoke(cli, ["systemd", "--force", str(tmp_path / "units")])

    assert f"daemon cannot run {home}/bin/vpopsql: " in other.stderr
    assert "cannot run" not in own.stderr


@pytest.mark.parametrize("path", ["/srv/100%", "/srv/a b", '/srv/a"b', "/srv/$HOME"])
def test_paths_that_mean_something_else_in_a_unit_are_refused(path: str) -> None:
    config = Config(paths=Paths(vpopmail=path), database=Database())

    with pytest.raises(ConfigError, match="characters that a unit of systemd takes for its own"):
        units(config, Path(VPOPSQL), None, "root")
