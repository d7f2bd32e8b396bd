"""A site that is made and changed by commands alone."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.exporter.conftest import files_below
from vpopsql.cli import main
from vpopsql.config import Config, Paths
from vpopsql.config import Database as DatabaseSettings
from vpopsql.db import Database

HASH = "$1$Sa1tSa1t$jIAWQh25ZR2Tn11uDIhCr0"
PASSWORD = "right horse"
DOMAIN = "home/vpopmail/domains/example.com"

on_sqlite = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
"""For what has nothing to do with the database."""


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Done]


@dataclass(frozen=True, slots=True)
class Site:
    """Where the site is."""

    root: Path
    database: Database
    url: str
    run: Command

    @property
    def config(self) -> Config:
        database = DatabaseSettings(url=self.url)
        return Config(database=database, paths=Paths(root=str(self.root)))

    def ok(self, *arguments: str, stdin: str = "") -> Done:
        """Run what must be done."""
        done = self.run(*arguments, stdin=stdin)
        assert done.code == 0, done
        return done

    def refused(self, *arguments: str, stdin: str = "") -> str:
        """Run what must be refused; return what is said."""
        done = self.run(*arguments, stdin=stdin)
        assert done.code == 1, done
        return done.err

    def misused(self, *arguments: str, stdin: str = "") -> str:
        """Run what is wrong usage; return what is said."""
        done = self.run(*arguments, stdin=stdin)
        assert done.code == 2, done
        return done.err

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        """Return the rows of a list."""
        rows: list[dict[str, Any]] = self.ok(*arguments, "--format", "json").document["rows"]
        return rows

    def show(self, *arguments: str) -> dict[str, Any]:
        """Return one thing."""
        thing: dict[str, Any] = self.ok(*arguments, "--format", "json").document
        return thing

    def files(self) -> dict[str, bytes]:
        """Return all files, without those that locks and hooks need."""
        return {path: data for path, data in files_below(self.root).items() if ".lock" not in path}

    def add(self, *addresses: str) -> None:
        """Add users whose password is `PASSWORD`."""
        lines = "".join(f"{address},{HASH}\n" for address in addresses)
        self.ok("user", "add", "--from", "-", stdin=f"address,encrypted\n{lines}")


@pytest.fixture
def vpopsql(
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """A function that runs a command of a site that has nothing."""
    monkeypatch.setenv("VPOPSQL_DATABASE_URL", database_url)
    monkeypatch.setenv("VPOPSQL_PATHS_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("VPOPSQL_PASSWORDS_ROUNDS", "1000")
    (tmp_path / "root").mkdir()

    def run(*arguments: str, stdin: str = "") -> Done:
        monkeypatch.setattr("sys.argv", ["vpopsql", *arguments])
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def site(vpopsql: Command, database: Database, database_url: str, tmp_path: Path) -> Site:
    """A site with example.com, which is alias.org as well, and two users."""
    made = Site(tmp_path / "root", database, database_url, vpopsql)
    made.ok("export", "apply")
    hashed = tmp_path / "hash"
    hashed.write_text(f"{HASH}\n")
    made.ok("domain", "add", "example.com", "--alias=alias.org", f"--encrypted-file={hashed}")
    made.add("alice@example.com", "bob@example.com")
    return made
