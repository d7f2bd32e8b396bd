"""The pages in a real browser: on a telephone, in the dark, without scripts, for everybody."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import Browser, install_axe, is_installed, opened
from tests.conftest import AXE_REQUIRED, CHROMIUM_REQUIRED
from tests.reports.site.conftest import EVIL_DOMAIN, all_pages
from vpopsql.reports.site.paths import domain_path, report_path

# One browser for all of them.
pytestmark = pytest.mark.xdist_group("browser")

SORTED = report_path("over-quota")
MANY = domain_path("many.example")
_AXE = """
axe.run(document, {preload: false, resultTypes: ["violations"]}).then(found =>
    found.violations.flatMap(each => each.nodes.map(node => [each.id, node.html])))
"""
_NAMES = """
[...document.querySelector("table.sortable").tBodies[0].rows].map(row => row.cells[0].textContent)
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The session's Chromium; the test is skipped where there is none."""
    if not is_installed():
        say = pytest.fail if CHROMIUM_REQUIRED else pytest.skip
        say("no chromium: the pages of reports are not tested in a browser")
    with opened(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """axe-core; the test is skipped where npm does not bring it."""
    program = install_axe(tmp_path_factory.mktemp("axe"))
    if not program:
        say = pytest.fail if AXE_REQUIRED else pytest.skip
        say("no axe-core from npm: accessibility is not tested")
    return program


@pytest.fixture
def tab(browser: Browser) -> Browser:
    """The browser's tab, as if nothing had been done with it."""
    browser.allow_scripts(are_allowed=True)
    browser.look(1280)
    browser.forget()
    return browser


def sort_by(tab: Browser, heading: str) -> list[str]:
    """Click a heading of the first table, and return the first column."""
    buttons = "document.querySelectorAll('table.sortable thead button')"
    tab.run(f"[...{buttons}].find(each => each.textContent === '{heading}').click()")
    found: list[str] = tab.run(_NAMES)
    return found


def test_no_page_says_anything_asks_for_anything_or_obeys_a_name(
    tab: Browser, pages: Path
) -> None:
    for path, _ in all_pages(pages):
        tab.open(pages / path)
        assert tab.run("typeof pwned") == "undefined"

    assert tab.complaints == []
    assert [url for url in tab.requests if not url.startswith((pages.as_uri(), "data:"))] == []


@pytest.mark.parametrize("path", ["index.html", SORTED, "domains/index.html", MANY])
def test_a_telephone_shows_every_page_without_scrolling_sideways(
    tab: Browser, pages: Path, path: str
) -> None:
    tab.look(390)
    tab.open(pages / path)

    assert tab.run("document.documentElement.scrollWidth") == 390


def test_a_hostile_name_does_not_push_the_page_aside(tab: Browser, pages: Path) -> None:
    tab.look(320)
    tab.open(pages / domain_path(EVIL_DOMAIN))

    assert tab.run("document.documentElement.scrollWidth") == 320


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["index.html", MANY])
def test_everybody_can_use_the_pages(
    tab: Browser, axe: str, pages: Path, path: str, scheme: str
) -> None:
    tab.look(1280, scheme=scheme)
    tab.open(pages / path)
    tab.run(f"{axe}; 0")

    assert tab.run(_AXE) == []


def test_a_dark_room_has_dark_pages(tab: Browser, pages: Path) -> None:
    tab.open(pages / "index.html")
    background = "getComputedStyle(document.body).backgroundColor"
    light = tab.run(background)
    tab.look(1280, scheme="dark")

    assert (light, tab.run(background)) == ("rgb(251, 251, 248)", "rgb(18, 22, 27)")


def test_columns_are_sorted_by_what_they_mean(tab: Browser, pages: Path) -> None:
    tab.open(pages / MANY)
    before = tab.run(_NAMES)

    assert before[:3] == ["user0", "user1", "user10"]
    # In the order of sizes, not of their texts: 0 B, 1024.0 KiB, 2.0 MiB, ..., 11.0 MiB.
    assert sort_by(tab, "used")[:3] == ["user0", "user1", "user2"]
    assert sort_by(tab, "used")[:3] == ["user11", "user10", "user7"]
    assert tab.run("document.querySelector('[aria-sort]').ariaSort") == "descending"
    assert sort_by(tab, "name") == before


def test_what_is_unknown_comes_last_either_way(tab: Browser, pages: Path) -> None:
    tab.open(pages / domain_path("example.com"))

    up, down = sort_by(tab, "used"), sort_by(tab, "used")

    assert up[:2] == ["carol", "alice"]
    assert down[:2] == ["alice", "carol"]
    assert up[2:4] == down[2:4]


def test_the_pages_lack_nothing_without_a_script(tab: Browser, pages: Path) -> None:
    tab.allow_scripts(are_allowed=False)
    tab.open(pages / MANY)

    shown: dict[str, Any] = tab.run(
        """({
            buttons: document.querySelectorAll("button").length,
            rows: document.querySelectorAll("tbody tr").length,
            charts: [...document.querySelectorAll("svg")].map(each => each.clientHeight > 100),
        })"""
    )
    assert shown["buttons"] == 0
    assert shown["rows"] >= 10
    assert shown["charts"] == [True, True]


def test_the_keyboard_skips_to_the_content(tab: Browser, pages: Path) -> None:
    tab.open(pages / "index.html")
    for kind in ("keyDown", "keyUp"):
        tab.call(
            "Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9
        )

    assert tab.run("document.activeElement.textContent") == "Skip to the content"
    assert tab.run("document.activeElement.getBoundingClientRect().left") >= 0


def test_paper_has_no_navigation_and_whole_tables(tab: Browser, pages: Path) -> None:
    tab.look(1000, media="print")
    tab.open(pages / SORTED)

    assert tab.run("getComputedStyle(document.querySelector('header')).display") == "none"
    assert tab.run("document.querySelector('.wide').scrollWidth") <= 1000
    assert len(tab.call("Page.printToPDF")["data"]) > 1000
