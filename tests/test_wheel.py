"""The wheel works where there is no checkout: what `pip install vpopsql` gives a site."""

import os
import socket
import sqlite3
import subprocess
import sys
import sysconfig
import time
from contextlib import closing
from pathlib import Path
from zipfile import ZipFile

import pytest

CHECKOUT = Path(__file__).parent.parent
INDEX_REQUIRED = os.environ.get("VPOPSQL_TEST_REQUIRE_INDEX") == "1"
NO_INDEX = ("error sending request", "Failed to fetch", "dns error", "client error (Connect)")
"""What uv says without a network."""

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]


def environment(**others: object) -> dict[str, str]:
    """Return this process's environment, without what concerns its own Python."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return ours | {name: str(value) for name, value in others.items()}


def run(*command: str | Path, cwd: Path, **variables: object) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution as for a release."""
    directory = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", directory, cwd=CHECKOUT)
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def commands(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of commands of a fresh environment with the wheel in it.

    It sees the dependencies installed here, by a path that hides an editable vpopsql.
    """
    directory = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", directory, cwd=directory)
    (packages,) = directory.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    pip = (sys.executable, "-m", "pip", "--python", directory / "bin/python")
    run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=directory)
    return directory / "bin"


def test_the_wheel_carries_the_package_its_migrations_and_nothing_else(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())

    versions = {path.name for path in (CHECKOUT / "migrations/versions").glob("*.py")}
    assert {Path(name).name for name in names if "_migrations/versions/" in name} == versions
    assert {"vpopsql/py.typed", "vpopsql/_migrations/env.py"} <= names
    templates = {
        str(path.relative_to(CHECKOUT))
        for path in (CHECKOUT / "vpopsql/mailservers").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert "vpopsql/mailservers/dovecot-2.4/vpopsql.conf" in templates <= names
    assert {f"vpopsql/reports/site/{name}" for name in ("style.css", "sort.js")} <= names
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"vpopsql"}
    assert not [name for name in names if name.endswith(".pyc")]


def test_the_installed_wheel_makes_a_database_from_anywhere(
    commands: Path, tmp_path: Path
) -> None:
    database = tmp_path / "mail" / "vpopsql.db"
    config = tmp_path / "vpopsql.toml"
    config.write_text(f'[database]\nurl = "sqlite:///{database}"\n')

    run(commands / "vpopsql", "--config", config, "db", "upgrade", cwd=tmp_path)

    with closing(sqlite3.connect(database)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    assert ("alembic_version",) in tables
    assert "_migrations" in run(
        commands / "python",
        "-c",
        "from vpopsql import db; print(db.migrations_directory())",
        cwd=tmp_path,
    )


@pytest.mark.parametrize("command", ["vpopsql", "vpopmaild", "vpopsql-checkpassword"])
def test_the_wheel_installs_its_commands(command: str, commands: Path) -> None:
    assert os.access(commands / command, os.X_OK)


# --- as docs/getting-started.md installs it ------------------------------------------------------


@pytest.fixture(scope="module")
def tool(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of commands that uv makes, with all dependencies from the index."""
    home = tmp_path_factory.mktemp("home")
    variables = {
        "HOME": home,
        "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR") or Path.home() / ".cache/uv",
        "UV_TOOL_DIR": home / "opt",
        "UV_TOOL_BIN_DIR": home / "bin",
        "UV_PYTHON": sys.executable,
    }
    uv = Path(sys.executable).with_name("uv")
    try:
        run(uv, "tool", "install", "--quiet", wheel, cwd=home, **variables)
    except AssertionError as error:
        if INDEX_REQUIRED or not any(each in str(error) for each in NO_INDEX):
            raise
        pytest.skip("no package index to install from: the tool is not tested")
    return home / "bin"


def test_a_tool_installed_by_uv_serves_a_new_site(tool: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = free.getsockname()
    config = tmp_path / "vpopsql.toml"
    config.write_text(
        f'[database]\nurl = "sqlite:///{tmp_path}/vpopsql.db"\n'
        f'[daemon]\nlisten = "127.0.0.1:{address[1]}"\n'
    )
    vpopsql = (tool / "vpopsql", "--config", config)

    assert run(tool / "vpopsql", "--version", cwd=tmp_path).startswith("vpopsql, version ")
    run(*vpopsql, "db", "upgrade", cwd=tmp_path)
    with subprocess.Popen(
        (*vpopsql, "serve"), env=environment(), stderr=subprocess.PIPE
    ) as daemon:
        try:
            greeting = greeted(address, daemon)
        finally:
            daemon.terminate()
            daemon.communicate()

    assert greeting == b"+OK \r\n"
    assert daemon.returncode == 0


def greeted(address: tuple[str, int], daemon: "subprocess.Popen[bytes]") -> bytes:
    """Return what a daemon says first, once it is there."""
    while daemon.poll() is None:
        try:
            with socket.create_connection(address, 30) as client:
                return client.recv(100)
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise AssertionError(daemon.communicate())


def test_the_units_run_the_tool_that_uv_has_installed(tool: Path, tmp_path: Path) -> None:
    run(tool / "vpopsql", "systemd", tmp_path, cwd=tmp_path)

    program = (tool / "vpopsql").resolve()
    assert f"\nExecStart={program} serve\n" in (tmp_path / "vpopsql.service").read_text()
    assert os.access(program, os.X_OK)
