"""Files that could not be written: they are, as soon as they can be, without a further change."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from tests import factories
from vpopsql.config import Config, Paths
from vpopsql.db import Database
from vpopsql.errors import ExportFailed
from vpopsql.exporter.apply import Applied
from vpopsql.exporter.projector import Projector
from vpopsql.exporter.retrying import Retrying
from vpopsql.model import Domain
from vpopsql.touched import Touched

PLACE = "home/vpopmail/domains/example.com"
SOON_S = 30.0


@pytest.fixture
def config(root: Path) -> Config:
    return Config(paths=Paths(root=str(root)))


@pytest.fixture
def behind(database: Database, root: Path, export: Callable[..., Applied]) -> Touched:
    """A change whose files cannot be written: something else stands in the domain's place."""
    with database.writer() as session:
        made = factories.domain(session, "example.com")
        factories.mailbox(session, made, "alice")
    export()
    with database.writer() as session:
        factories.alias(session, made, "info", "&alice@example.com")
    (root / PLACE).rename(root / "aside")
    (root / PLACE).write_text("no directory")
    return Touched(accounts={"example.com"}, dotqmail={"example.com"})


@pytest.fixture
def retrying(database: Database, config: Config) -> Iterator[Retrying]:
    made = Retrying(Projector(database, config), first_s=0.05, longest_s=0.1)
    yield made
    made.stop()


def repair(root: Path) -> None:
    (root / PLACE).unlink()
    (root / "aside").rename(root / PLACE)


def await_file(path: Path) -> None:
    deadline = time.monotonic() + SOON_S
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.01)


def test_what_could_not_be_written_is_written_once_it_can_be(
    retrying: Retrying, behind: Touched, root: Path
) -> None:
    with capture_logs() as logs:
        with pytest.raises(ExportFailed):
            retrying.follow(behind)
        while not any(each["event"] == "files still behind" for each in logs):
            time.sleep(0.01)
        repair(root)
        await_file(root / PLACE / ".qmail-info")
        retrying.stop()

    assert [each["event"] for each in logs if each["log_level"] == "info"] == ["files caught up"]
    assert (root / PLACE / ".qmail-info").read_text() == "&alice@example.com\n"


def test_others_are_not_told_of_what_is_behind(
    retrying: Retrying, behind: Touched, database: Database, root: Path
) -> None:
    with pytest.raises(ExportFailed):
        retrying.follow(behind)
    with database.writer() as session:
        factories.domain(session, "example.net")
    (root / "home/vpopmail/domains/example.net").mkdir()

    retrying.follow(Touched(accounts={"example.net"}))

    assert (root / "home/vpopmail/domains/example.net/vpasswd").exists()


def test_what_was_deleted_meanwhile_is_behind_no_more(
    retrying: Retrying, behind: Touched, database: Database, root: Path
) -> None:
    with pytest.raises(ExportFailed):
        retrying.follow(behind)

    with capture_logs() as logs:
        with database.writer() as session:
            session.delete(session.scalars(select(Domain)).one())
        deadline = time.monotonic() + SOON_S
        while not any(each["event"] == "files caught up" for each in logs):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    assert (root / PLACE).read_text() == "no directory"


def test_it_ends_at_once_also_while_something_is_behind(
    database: Database, config: Config, behind: Touched
) -> None:
    made = Retrying(Projector(database, config), first_s=3600, longest_s=3600)
    with pytest.raises(ExportFailed):
        made.follow(behind)
    began = time.monotonic()

    made.stop()

    assert time.monotonic() - began < SOON_S
