"""A small site with Maildirs, in a database and on disk."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests import factories
from vpopsql import config
from vpopsql.cli import cli
from vpopsql.db import Database
from vpopsql.model import CatchAll


def maildir(root: Path, directory: str, *sizes: int) -> Path:
    """Make a Maildir in a mailbox's directory, with messages of these sizes."""
    box = Path(f"{root}{directory}/Maildir")
    for part in ("cur", "new", "tmp"):
        (box / part).mkdir(parents=True)
    for number, size in enumerate(sizes):
        (box / f"cur/{number}.a,S={size}:2,S").touch()
    return box


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the site's files are."""
    made = tmp_path / "root"
    made.mkdir()
    return made


@pytest.fixture
def site(database: Database, root: Path) -> Database:
    """Three domains: two mailboxes and an alias, one whose Maildir is missing, none at all."""
    with database.writer() as session:
        full = factories.domain(session, "full.example", "also.example")
        factories.mailbox(session, full, "alice", quota_bytes=400, quota_text="400S")
        factories.mailbox(session, full, "bob")
        factories.alias(session, full, "info", "&alice@full.example", "&bob@full.example")
        factories.alias(session, full, "default", "&alice@full.example")
        half = factories.domain(session, "half.example", catchall=CatchAll.DELETE)
        factories.mailbox(session, half, "carol")
        factories.mailbox(session, half, "dave")
        factories.domain(session, "none.example")
    maildir(root, "/home/vpopmail/domains/full.example/alice", 100, 200)
    maildir(root, "/home/vpopmail/domains/full.example/bob")
    maildir(root, "/home/vpopmail/domains/half.example/carol", 1000)
    return database


@pytest.fixture
def settings(database_url: str, root: Path) -> config.Config:
    """The site's configuration."""
    defaults = config.load(None, {})
    return replace(
        defaults,
        database=replace(defaults.database, url=database_url),
        paths=replace(defaults.paths, root=str(root)),
    )


@pytest.fixture
def run(database_url: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """A function that runs `vpopsql`."""
    monkeypatch.setenv("VPOPSQL_DATABASE_URL", database_url)
    monkeypatch.setenv("VPOPSQL_PATHS_ROOT", str(root))
    return lambda *words: CliRunner().invoke(cli, words)
