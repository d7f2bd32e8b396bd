"""Generations: what an apply replaced comes back, in an order that loses no mail."""

import gzip
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from tests import factories
from tests.exporter.conftest import files_below
from vpopsql.config import Config, Paths
from vpopsql.db import Database
from vpopsql.errors import ExportFailed
from vpopsql.exporter.apply import Applied, follow
from vpopsql.exporter.generations import DIRECTORY as GENERATIONS
from vpopsql.exporter.plan import Change
from vpopsql.exporter.rollback import generations, plan_back, roll_back
from vpopsql.model import Domain, DomainName, DotQmailFile
from vpopsql.touched import Touched

Exporter = Callable[..., Applied]

KEPT = f"var/qmail/users/{GENERATIONS}"
DIRECTORY = "home/vpopmail/domains/example.com"


@pytest.fixture
def site(database: Database) -> Database:
    """A domain with an account and a forward."""
    with database.writer() as session:
        one = factories.domain(session, "example.com")
        factories.mailbox(session, one, "alice")
        factories.alias(session, one, "info", "&alice@example.com")
    return database


@pytest.fixture
def config(root: Path) -> Config:
    return Config(paths=Paths(root=str(root)))


def add_domain(database: Database, name: str) -> None:
    with database.writer() as session:
        factories.domain(session, name)


def remove_name(database: Database, name: str) -> None:
    with database.writer() as session:
        session.execute(delete(DomainName).where(DomainName.name == name))


def test_an_apply_without_changes_makes_no_generation(
    site: Database, export: Exporter, config: Config
) -> None:
    export()
    export()

    (only,) = generations(config)

    assert (only.number, only.what) == (1, "apply")
    assert len(only.made) == 8
    assert only.replaced == ()


def test_going_back_brings_every_file_back(
    site: Database, export: Exporter, config: Config, root: Path
) -> None:
    export()
    first = files_below(root)
    add_domain(site, "new.net")
    export()
    second = files_below(root)
    add_domain(site, "newer.net")
    export()

    number, applied = roll_back(config)
    after_one = files_below(root)
    roll_back(config, 1)

    assert number == 2
    assert "/var/qmail/control/rcpthosts" in applied.changed
    assert after_one == second
    assert files_below(root) == first


def test_going_back_can_be_taken_back(
    site: Database, export: Exporter, config: Config, root: Path
) -> None:
    export()
    add_domain(site, "new.net")
    export()
    before = files_below(root)
    roll_back(config, 1)

    roll_back(config)

    assert files_below(root) == before
    assert [each.what for each in generations(config)] == [
        "apply",
        "apply",
        "rollback to 1",
        "rollback to 2",
    ]


def test_the_next_apply_brings_the_files_to_the_database_again(
    site: Database, export: Exporter, config: Config, root: Path
) -> None:
    export()
    add_domain(site, "new.net")
    export()
    wanted = files_below(root)
    roll_back(config)

    export()

    assert files_below(root) == wanted


def test_modes_owners_and_links_come_back(
    site: Database, export: Exporter, config: Config, root: Path
) -> None:
    export()
    forward = root / DIRECTORY / ".qmail-info"
    forward.unlink()
    forward.symlink_to("elsewhere")
    passwords = root / DIRECTORY / "vpasswd"
    passwords.write_bytes(b"mallory::1:0::/:NOQUOTA\n")
    passwords.chmod(0o640)
    export()

    roll_back(config)

    assert forward.readlink() == Path("elsewhere")
    assert passwords.read_bytes() == b"mallory::1:0::/:NOQUOTA\n"
    assert stat.S_IMODE(passwords.stat().st_mode) == 0o640


def test_rcpthosts_never_goes(
    site: Database, export: Exporter, config: Config, root: Path
) -> None:
    export()

    roll_back(config, 0, may_strand=True)

    assert set(files_below(root)) == {
        "/var/qmail/control/rcpthosts",
        "/var/qmail/users/assign.lock",
    }


def test_what_is_in_a_directory_that_is_gone_stays_away(
    site: Database, export: Exporter, config: Config, root: Path
) -> None:
    export()
    with site.writer() as session:
        session.execute(delete(DotQmailFile))
        factories.alias(session, factories.domain(session, "new.net"), "info", "&a@b.org")
    export()
    domain = root / "home/vpopmail/domains/new.net"
    domain.rename(root / "trash")

    roll_back(config)

    assert not domain.exists()


def test_a_dry_run_says_what_would_change(
    site: Database, export: Exporter, config: Config, root: Path
) -> None:
    export()
    add_domain(site, "new.net")
    export()
    before = files_below(root)

    changes: list[Change] = plan_back(config)

    assert ("removed", "/home/vpopmail/domains/new.net/vpasswd") in [
        (change.kind, change.path) for change in changes
    ]
    assert files_below(root) == before


def test_only_so_many_generations_are_kept(
    site: Database, root: Path, export: Exporter, config: Config
) -> None:
    for number in range(4):
        add_domain(site, f"d{number}.example")
        export(generations=2)

    assert [each.number for each in generations(config)] == [3, 4]
    assert sorted(path.name for path in (root / KEPT).iterdir()) == [
        "000003.json",
        "000003.tar.gz",
        "000004.json",
        "000004.tar.gz",
    ]
    with pytest.raises(ExportFailed, match=r"generation 1 .* \(2 to 3\)"):
        roll_back(config, 1)


def test_without_an_apply_there_is_nothing_to_go_back_to(config: Config, root: Path) -> None:
    with pytest.raises(ExportFailed, match="nothing was applied yet"):
        roll_back(config)


def test_what_is_kept_is_for_its_owner_alone(
    site: Database, export: Exporter, config: Config, root: Path
) -> None:
    export()

    modes = {stat.S_IMODE(path.stat().st_mode) for path in (root / KEPT).iterdir()}

    assert stat.S_IMODE((root / KEPT).stat().st_mode) == 0o700
    assert modes == {0o600}


def test_a_damaged_archive_is_named_and_nothing_is_written(
    site: Database, export: Exporter, config: Config, root: Path
) -> None:
    export()
    add_domain(site, "new.net")
    export()
    before = files_below(root)
    archive = root / KEPT / "000002.tar.gz"
    archive.write_bytes(gzip.compress(b"no archive"))

    with pytest.raises(ExportFailed, match=r"000002\.tar\.gz: the archive cannot be read"):
        roll_back(config)

    assert files_below(root) == before


def test_a_name_that_goes_leaves_rcpthosts_before_users_assign(
    site: Database, export: Exporter, config: Config, root: Path
) -> None:
    export()
    add_domain(site, "new.net")
    export()

    _, applied = roll_back(config)

    rcpthosts = applied.changed.index("/var/qmail/control/rcpthosts")
    assert rcpthosts < applied.changed.index("/var/qmail/users/assign")


def test_names_that_came_since_are_not_left_without_delivery(
    site: Database, export: Exporter, config: Config, root: Path
) -> None:
    export()
    with site.writer() as session:
        session.execute(update(Domain).values(uid=90))
    export()
    add_domain(site, "new.net")
    follow(site, config, Touched(site=True))
    before = files_below(root)

    with pytest.raises(ExportFailed, match=r"no delivery for 1 names .* such as new\.net"):
        roll_back(config)

    assert files_below(root) == before
    roll_back(config, may_strand=True)
    assert b"new.net" not in files_below(root)["/var/qmail/users/assign"]
