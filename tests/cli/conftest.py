"""A site that is made and changed by commands alone."""

import io
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

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

    def verified(self) -> None:
        """See to it that all is as the database says."""
        done = self.run("verify", "--jobs", "1")
        assert done.code == 0, done.out

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
def vpopsql(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """A function that runs a command as its process would."""
    monkeypatch.setenv("VPOPSQL_PASSWORDS_ROUNDS", "1000")

    def run(*arguments: str, stdin: str = "") -> Done:
        monkeypatch.setattr("sys.argv", ["vpopsql", *arguments])
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, *capsys.readouterr())

    return run


Prepared = Callable[[str, Callable[[Site], None]], Site]

_templates: dict[str, Path] = {}


@pytest.fixture
def prepared(
    vpopsql: Command,
    database_url: str,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Prepared]:
    """A function that makes a site by commands; on SQLite once, and a copy for each test."""
    opened: list[Database] = []

    def at(root: Path, url: str) -> Site:
        monkeypatch.setenv("VPOPSQL_DATABASE_URL", url)
        monkeypatch.setenv("VPOPSQL_PATHS_ROOT", str(root))
        root.mkdir(exist_ok=True)
        opened.append(Database(url))
        return Site(root, opened[-1], url, vpopsql)

    def make(name: str, build: Callable[[Site], None]) -> Site:
        path = make_url(database_url).database or ""
        if not database_url.startswith("sqlite"):
            made = at(tmp_path / "root", database_url)
            build(made)
            return made
        if name not in _templates:
            place = _templates[name] = tmp_path_factory.mktemp(name)
            shutil.copyfile(path, place / "db")
            build(at(place / "root", f"sqlite:///{place}/db"))
            opened.pop().close()
        # With owners and times.
        subprocess.run(["cp", "-a", _templates[name] / "root", tmp_path], check=True)
        shutil.copyfile(_templates[name] / "db", path)
        return at(tmp_path / "root", database_url)

    yield make
    for database in opened:
        database.close()


def small(site: Site) -> None:
    """Make a site with example.com, which is alias.org as well, and two users."""
    site.ok("export", "apply")
    hashed = site.root.with_name("hash")
    hashed.write_text(f"{HASH}\n")
    site.ok("domain", "add", "example.com", "--alias=alias.org", f"--encrypted-file={hashed}")
    site.add("alice@example.com", "bob@example.com")


@pytest.fixture
def site(prepared: Prepared) -> Site:
    """A site with example.com, which is alias.org as well, and two users."""
    return prepared("small", small)
