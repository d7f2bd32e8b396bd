"""docs/migration.md: every command on the page is run, in its order, and does what it says."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import make_url

from tests.importer.changing import ADMIN, ASSIGN
from tests.importer.conftest import MakeMysql, PgSources, SampleSite
from tests.importer.sqlschemas import MYSQL, PGSQL
from tests.mariadb import MariaDB
from vpopsql.db import Database
from vpopsql.services import account_changes
from vpopsql.services.account_changes import Wishes

DOCUMENT = Path(__file__).parents[2] / "docs/migration.md"
FENCE = re.compile(r"^(?:<!-- ([^\n]*) -->\n\n)?```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXIT_CODE = re.compile(r"\s+# exit code (\d)$")
# What stands in the test's own directory instead of in the root.
OF_THE_ROOT = re.compile(
    r"(?:(?<![\w/.*])|(?<=sqlite:///))/(?=(?:home|srv|var|etc|service|usr/bin/svc)\b)"
)
URL = re.compile(r"\w+://vpopsql@localhost/vpopmail")
STAND_INS = ("svc", "qmail-newu")
PASSWORD = "of the reader"
NORTH = "home/vpopmail/domains/north.example/vpasswd"


class Block(NamedTuple):
    """What stands between two fences."""

    kind: str
    """What is behind the first fence, and in a comment before it."""
    text: str

    @property
    def commands(self) -> list[str]:
        return self.text.replace("\\\n", "").splitlines()


class Page:
    """The page, to be followed below a directory.

    :param url: of the source, in place of the page's.
    """

    def __init__(self, root: Path, url: str = "") -> None:
        self.root = root
        self.complaints: list[str] = []
        self._url = url
        self._exported: list[str] = []
        self._printed: list[str] = []
        programs = root / "bin"
        programs.mkdir()
        for name in STAND_INS:
            program = programs / name
            program.write_text(f'#!/bin/sh\necho "{name} $*" >> {root}/called\n')
            program.chmod(0o755)
        (root / "usr/bin").mkdir(parents=True)
        (root / "usr/bin/svc").symlink_to(programs / "svc")
        self._environ = {
            "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "VPOPSQL_PATHS_ROOT": str(root),
        }

    def follow(self, blocks: list[Block], kind: str = "sh") -> None:
        """Do what the blocks say: write files, run commands, compare what they print."""
        for block in blocks:
            if block.kind == "toml":
                self._write(block.text)
            elif block.kind == kind:
                self._printed.append("".join(map(self._run, block.commands)))
            elif block.kind == "text":
                self._compare(block.text, self._printed[-1])
            elif block.kind == "text of the first run":
                self._compare(block.text, self._printed[1])

    def called(self) -> list[str]:
        """Return how the stand-ins were called."""
        lines = (self.root / "called").read_text().splitlines()
        return [line.replace(str(self.root), "") for line in lines]

    def _here(self, text: str) -> str:
        return OF_THE_ROOT.sub(f"{self.root}/", URL.sub(lambda _: self._url, text))

    def _write(self, text: str) -> None:
        path = Path(self._here(text.splitlines()[0].removeprefix("# ")))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._here(text))

    def _run(self, command: str) -> str:
        expected = EXIT_CODE.search(command)
        command = self._here(EXIT_CODE.sub("", command))
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", "\n".join([*self._exported, command])],
            env=self._environ,
            cwd=self.root,
            capture_output=True,
            text=True,
            check=False,
        )
        if command.startswith("export "):
            self._exported.append(command)
        wanted = int(expected[1]) if expected else 0
        if done.returncode != wanted:
            self.complaints.append(
                f"{command}: exit code {done.returncode}: {done.stdout}{done.stderr}"
            )
        return done.stdout.replace(str(self.root), "")

    def _compare(self, text: str, printed: str) -> None:
        lines = printed.splitlines()
        for wanted in text.splitlines():
            if not any(line.startswith(wanted) for line in lines):
                self.complaints.append(f"{wanted!r} is not in {printed}")


def blocks() -> list[Block]:
    found = FENCE.findall(DOCUMENT.read_text(encoding="utf-8"))
    return [Block(f"{kind} {note}".strip(), text) for note, kind, text in found]


def before_the_return() -> int:
    """Return the number of blocks in front of the way back."""
    text = DOCUMENT.read_text(encoding="utf-8").partition("## Back to vpopmail")[0]
    return len(FENCE.findall(text))


@pytest.fixture
def page(unpack: Callable[[str], Path]) -> Page:
    """The page for the sample site, with the two faults that it tells of."""
    root = unpack("small")
    assign, vpasswd = root / ASSIGN, root / NORTH
    stray = b"+stray.example-:gone.example:89:89:/home/vpopmail/domains/gone.example:-::\n"
    assign.write_bytes(stray + assign.read_bytes())
    vpasswd.write_bytes(b"broken account\n"[:13] + b"\n" + vpasswd.read_bytes())
    return Page(root)


def test_the_page_leads_from_vpopmail_to_vpopsql_and_back(page: Page) -> None:
    there, back = blocks()[: before_the_return()], blocks()[before_the_return() :]

    page.follow(there)
    with closing(Database(f"sqlite:///{page.root}/var/lib/vpopsql/vpopsql.db")) as database:
        change(database)
    page.follow(back)

    assert page.complaints == []
    assert page.called() == [
        "qmail-newu ",
        "svc -d /service/vpopmaild",
        "svc -u /service/vpopsql",
        "svc -d /service/vpopsql",
        "svc -u /service/vpopmaild",
    ]
    assert b":Changed by vpopsql:" in (page.root / NORTH).read_bytes()


def change(database: Database) -> None:
    """Change an account as a client of the daemon does it."""
    with database.writer() as session:
        account_changes.modify_account(
            session, ADMIN, "postmaster", "north.example", Wishes(comment="Changed by vpopsql")
        )


def test_the_page_imports_from_mysql(
    mysql_of: MakeMysql, utf8_site: SampleSite, mariadb_server: MariaDB, tmp_path: Path
) -> None:
    url = mysql_of(MYSQL, utf8_site.sample)
    with mariadb_server.connect(url) as connection:
        connection.exec_driver_sql(f"CREATE USER vpopsql IDENTIFIED BY '{PASSWORD}'")
        connection.exec_driver_sql("GRANT SELECT ON *.* TO vpopsql")
    reader = make_url(url).set(username="vpopsql").render_as_string()

    page = follow_tables(tmp_path, utf8_site, reader, "sh mysql")

    assert page.complaints == []


def test_the_page_imports_from_postgresql(
    pgsql: PgSources, pgsql_site: SampleSite, tmp_path: Path
) -> None:
    url = pgsql.of(PGSQL, pgsql_site.sample)
    name = pgsql.make_reader(PASSWORD)
    pgsql.execute(url, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}")
    reader = make_url(url).set(username=name).render_as_string()

    page = follow_tables(tmp_path, pgsql_site, reader, "sh pgsql")

    assert page.complaints == []


def follow_tables(tmp_path: Path, site: SampleSite, url: str, kind: str) -> Page:
    page = Page(tmp_path, url)
    for place in ("home", "var/qmail"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).symlink_to(site.sample.root / place)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/vpopmail.password").write_text(f"{PASSWORD}\n")
    page.follow(blocks()[:2])
    page.follow([block for block in blocks() if block.kind == kind], kind)
    return page
