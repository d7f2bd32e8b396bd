"""`vpopsql compat install`: launchers that run, and files of others that are left alone."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.compat.conftest import Site
from vpopsql.cli import cli
from vpopsql.compat.install import ASIDE, MARK, launcher
from vpopsql.compat.main import PROGRAMS

SQLITE = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)


@pytest.fixture
def bin_(tmp_path: Path) -> Path:
    made = tmp_path / "bin"
    made.mkdir()
    return made


def install(directory: Path, *options: str, config: Path | None = None) -> Result:
    before = [] if config is None else ["--config", str(config)]
    return CliRunner().invoke(cli, [*before, "compat", "install", str(directory), *options])


@SQLITE
def test_an_installed_command_finds_the_sites_configuration(
    site: Site, database_url: str, bin_: Path, tmp_path: Path
) -> None:
    config = tmp_path / "a site's.toml"
    config.write_text(f'[database]\nurl = "{database_url}"\n[paths]\nroot = "{site.root}"\n')
    (bin_ / "vpopsql.py").write_text("raise SystemExit('not this one')")

    made = install(bin_, config=config)
    done = subprocess.run(
        [bin_ / "vuserinfo", "-d", "alice@example.com"],
        capture_output=True,
        cwd=bin_,
        env={"PYTHONPATH": str(bin_)},
        check=False,
        timeout=60,
    )

    assert made.exit_code == 0
    assert made.output.splitlines() == [f"{bin_ / name}: made" for name in PROGRAMS]
    assert {path.name for path in bin_.iterdir()} == {*PROGRAMS, "vpopsql.py"}
    assert {(bin_ / name).stat().st_mode & 0o7777 for name in PROGRAMS} == {0o755}
    assert (done.stdout, done.stderr, done.returncode) == (
        b"/home/vpopmail/domains/example.com/alice\n",
        b"",
        0,
    )


def test_a_launcher_works_wherever_its_python_lies(tmp_path: Path) -> None:
    home = tmp_path / ("it's far " + "x" * 120)
    home.mkdir()
    python = home / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    script = tmp_path / "vadduser"
    script.write_bytes(launcher("vadduser", str(python), None))
    script.chmod(0o755)

    done = subprocess.run([script, "-v"], capture_output=True, check=True, timeout=60)

    assert done.stdout.startswith(b"version: ")
    assert MARK in script.read_text().splitlines()[:4]


def test_installing_again_renews_what_is_old_and_removing_takes_ours_alone(bin_: Path) -> None:
    install(bin_)
    old = bin_ / "vadduser"
    old.write_text(old.read_text().replace("-I", ""))
    (bin_ / "vipmap").unlink()
    (bin_ / "vconvert").write_text("#!/bin/sh\n")
    (bin_ / "vchkpw").write_text("another program")

    planned = install(bin_, "--dry-run", "--force")
    removed = install(bin_, "--remove")

    assert f"{bin_}/vadduser: renewed" in planned.output
    assert f"{bin_}/vpasswd: as it was" in planned.output
    assert f"{bin_}/vipmap: made" in planned.output
    assert f"{bin_}/vadduser: removed" in removed.output
    assert f"{bin_}/vipmap: not there" in removed.output
    assert f"{bin_}/vconvert: not ours, left as it is" in removed.output
    assert {path.name for path in bin_.iterdir()} == {"vconvert", "vchkpw"}


def test_what_is_not_ours_stays_unless_it_is_forced_aside_and_comes_back(bin_: Path) -> None:
    real = bin_ / "vadduser"
    real.write_text("the real one")
    link = bin_ / "vpasswd"
    link.symlink_to("/nowhere/vpasswd")

    refused = install(bin_)
    alone = sorted(path.name for path in bin_.iterdir())
    forced = install(bin_, "--force")
    aside = (bin_ / f"vadduser{ASIDE}").read_text()
    link_is_aside = (bin_ / f"vpasswd{ASIDE}").is_symlink()
    removed = install(bin_, "--remove")

    assert refused.exit_code != 0
    assert "these are no launchers: vadduser, vpasswd" in str(refused.exception)
    assert alone == ["vadduser", "vpasswd"]
    assert f"{real}: made, what was there is vadduser{ASIDE}" in forced.output
    assert aside == "the real one"
    assert link_is_aside
    assert f"{real}: removed, vadduser{ASIDE} is back" in removed.output
    assert real.read_text() == "the real one"
    assert link.readlink() == Path("/nowhere/vpasswd")
    assert sorted(path.name for path in bin_.iterdir()) == ["vadduser", "vpasswd"]


def test_nothing_that_was_moved_aside_is_overwritten(bin_: Path) -> None:
    (bin_ / "vadduser").write_text("another one")
    (bin_ / f"vadduser{ASIDE}").write_text("the real one")

    refused = install(bin_, "--force")

    assert "these have been moved aside before: vadduser" in str(refused.exception)
    assert (bin_ / "vadduser").read_text() == "another one"
    assert len(list(bin_.iterdir())) == 2


def test_a_directory_that_cannot_be_written_is_named() -> None:
    refused = install(Path("/proc/self"))

    assert str(refused.exception).startswith("/proc/self/vadddomain: ")


def test_a_dry_run_changes_nothing(bin_: Path) -> None:
    planned = install(bin_, "--dry-run")

    assert planned.exit_code == 0
    assert list(bin_.iterdir()) == []
