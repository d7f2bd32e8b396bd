"""The manual: it is built without a warning, is whole by itself, and what it shows happens."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.examples import Reader

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
README = ROOT / "README.md"

FOLLOWED = (
    *("getting-started", "administration", "protocol", "reports", "usage", "explain"),
    *("files", "verify", "backup"),
)
"""The pages whose terminals are followed, in this order, on one host."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the manual, built as its readers do; a warning is an error."""
    site = tmp_path_factory.mktemp("manual") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", site],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return site


class Resources(HTMLParser):
    """What a page needs to be shown, and where it leads within the manual."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.needed: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in {"script", "img", "iframe"} and "src" in given:
            self.needed.append(given["src"])
        if tag == "link" and given.get("rel") in {"stylesheet", "shortcut icon"}:
            self.needed.append(given["href"])


@pytest.mark.slow
@pytest.mark.xdist_group("manual")
def test_the_manual_is_built_and_fetches_nothing_from_elsewhere(built: Path) -> None:
    pages = sorted(built.rglob("*.html"))

    missing = [
        (page.name, needed)
        for page in pages
        for needed in Resources(page.read_text(encoding="utf-8")).needed
        if page.name != "404.html" and not (page.parent / needed.partition("?")[0]).exists()
    ]

    assert missing == []
    assert {page.stem for page in pages} >= {page.stem for page in DOCS.rglob("*.md")}


@pytest.mark.slow
@pytest.mark.xdist_group("manual")
def test_no_block_and_no_table_of_a_page_is_shown_as_text(built: Path) -> None:
    """GitHub and the manual read Markdown differently; a page has to be good for both."""
    spoilt = re.compile(r"<p>(```|- |\| |[0-9]+\. )|\| ---|```")

    assert [
        page.name for page in built.rglob("*.html") if spoilt.search(page.read_text("utf-8"))
    ] == []


def test_the_readme_leads_to_what_there_is() -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README.read_text(encoding="utf-8"))

    assert len(links) > 20
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Path]:
    """Where a ``vpopsql`` is that starts at once."""
    where = tmp_path / "programs"
    where.mkdir()
    places = (str(tmp_path / "socket"), str(where / "vpopsql"))
    with subprocess.Popen([sys.executable, "-m", "tests.preloaded", *places], cwd=ROOT) as process:
        try:
            while not (where / "vpopsql").exists():
                assert process.poll() is None
                time.sleep(0.02)
            yield where
        finally:
            process.terminate()


@pytest.mark.slow
def test_what_the_manual_shows_happens(programs: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    reader = Reader(root, programs)

    try:
        counts = {page: reader.follow(DOCS / f"{page}.md") for page in FOLLOWED}
    finally:
        reader.close()

    assert reader.complaints == []
    assert min(counts.values()) > 0
    assert sum(counts.values()) > 60


def test_no_page_shows_a_terminal_that_is_not_followed() -> None:
    shown = {page.stem for page in DOCS.rglob("*.md") if "```console" in page.read_text("utf-8")}

    assert shown == set(FOLLOWED)


# --- the reader himself -------------------------------------------------------------------------


def test_a_page_that_is_wrong_is_complained_of(programs: Path, tmp_path: Path) -> None:
    page = tmp_path / "wrong.md"
    page.write_text(
        "```console\n$ echo one\ntwo\n$ false\n$ true    # exit code 1\n"
        "$ printf 'a\\nb\\nc\\n'\na\n…\n$ printf 'a\\nb\\n'\na\n```\n"
    )
    root = tmp_path / "root"
    root.mkdir()
    reader = Reader(root, programs)

    try:
        assert reader.follow(page) == 5
    finally:
        reader.close()

    assert [complaint.splitlines()[0] for complaint in reader.complaints] == [
        "wrong.md: $ echo one",
        "wrong.md: $ false: exit code 1: ",
        "wrong.md: $ true    # exit code 1: exit code 0: ",
        r"wrong.md: $ printf 'a\nb\n'",
    ]
