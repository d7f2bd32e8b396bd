"""Nothing from a database is taken for markup, nor for a way to another place."""

from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reports.site.conftest import EVIL
from vpopsql.reports.registry import REPORTS
from vpopsql.reports.report import date, number, percent, size, text, time, truth
from vpopsql.reports.site.frame import Frame, escape
from vpopsql.reports.site.paths import domain_path
from vpopsql.reports.site.tables import Table, code, label, value
from vpopsql.shown import printable

COLUMNS = (
    text("address", "who"),
    size("used_bytes", "what", "not measured"),
    percent("pct", "of it"),
    number("count", "how many"),
    number("id", "which"),
    time("at", "when"),
    date("on", "which day"),
    truth("weak", "whether"),
)
AT = datetime(2026, 1, 31, 23, 59, 58, 999, tzinfo=UTC)


class Seen(HTMLParser):
    """What a browser sees: elements, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def cells(row: tuple[object, ...]) -> list[str]:
    line = Table(COLUMNS).line(row)
    return line.removeprefix("<tr>").removesuffix("</tr>").replace("><", ">\n<").split("\n")


@given(st.text())
def test_text_is_text_in_an_element_and_in_an_attribute(anything: str) -> None:
    seen = Seen(f'<p title="{escape(anything)}">{escape(anything)}</p>')

    assert seen.elements == [("p", {"title": printable(anything)})]
    assert seen.text == printable(anything)


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_every_text_can_be_written(anything: str) -> None:
    assert escape(anything).encode().decode().isprintable()


def test_what_turns_the_direction_of_text_is_shown() -> None:
    assert escape("a\u202eb\x00c\udcff") == "a\\u202eb\\x00c\\udcff"


@given(st.text(), st.text())
def test_every_domain_has_a_page_of_its_own_below_domains(one: str, other: str) -> None:
    place, shard, file = domain_path(one).split("/")

    assert place == "domains"
    assert len(shard) == 2
    assert "." not in shard
    assert file.isascii()
    assert 5 < len(file) <= 255
    assert not file.startswith(".")
    assert (domain_path(one) == domain_path(other)) == (one == other)


@pytest.mark.parametrize(
    "name, path",
    [
        ("example.com", "domains/ex/example.com.html"),
        ("a.b", "domains/a_/a.b.html"),
        ("a", "domains/a_/a.html"),
        ("..", "domains/=2/=2e..html"),
        ("../x", "domains/=2/=2e.=2fx.html"),
        ("", "domains/=_/=.html"),
        ("=", "domains/=3/=3d.html"),
        ("é.example", "domains/=c/=c3=a9.example.html"),
    ],
)
def test_the_page_of_a_domain_is_named_after_it(name: str, path: str) -> None:
    assert domain_path(name) == path


def test_long_names_that_begin_alike_have_pages_of_their_own() -> None:
    paths = {domain_path(255 * "/" + end) for end in ("", "a", "b")}

    assert len(paths) == 3
    assert max(map(len, paths)) < 220


def test_a_row_is_what_the_database_says() -> None:
    assert cells(("joe", 1536, 12.5, 1234, 1234, AT, "2026-01-31", True)) == [
        '<th scope="row">joe</th>',
        '<td class=n title="1,536 bytes">1.5 KiB</td>',
        "<td class=n>12.5 %</td>",
        "<td class=n>1,234</td>",
        "<td class=n>1234</td>",
        "<td>2026-01-31T23:59:58Z</td>",
        "<td>2026-01-31</td>",
        "<td>yes</td>",
    ]


def test_a_text_without_end_is_cut() -> None:
    (cell,) = [Table(COLUMNS[:1]).line([1001 * "<"])]

    assert cell == f'<tr><th scope="row" class=w>{1000 * "&lt;"}…</th></tr>'


def test_unknown_is_what_the_column_says_and_never_0() -> None:
    assert cells(8 * (None,)) == [
        '<th scope="row" class=u>unknown</th>',
        '<td class="n u">not measured</td>',
        *3 * ['<td class="n u">unknown</td>'],
        *3 * ["<td class=u>unknown</td>"],
    ]


def test_nothing_is_0_and_known() -> None:
    assert cells(("-", 0, 0.0, 0, 0, AT, "-", False))[1:4] == [
        '<td class=n title="0 bytes">0 B</td>',
        "<td class=n>0.0 %</td>",
        "<td class=n>0</td>",
    ]


@pytest.mark.parametrize("row", [("x", 7, 8.5, 9, 10, AT, "day", False), 8 * (None,)])
def test_a_fact_is_said_like_a_cell(row: tuple[object, ...]) -> None:
    said = [value(column, each) for column, each in zip(COLUMNS, row, strict=True)]

    assert said == [Seen(cell).text for cell in cells(row)]


def test_only_the_cells_with_a_page_are_links() -> None:
    table = Table(COLUMNS[:1], {"address": lambda name: "x.html" if name == "a" else None})

    assert table.line(["a"]) == '<tr><th scope="row"><a href="x.html">a</a></th></tr>'
    assert table.line(["b"]) == '<tr><th scope="row">b</th></tr>'


def test_headings_are_words() -> None:
    names = {each.name for report in REPORTS.values() for each in report.columns}
    labels = [[label(each) for each in report.columns] for report in REPORTS.values()]

    assert {"last_auth_at", "used_bytes", "pct"} <= names
    assert all(len(set(of_one)) == len(of_one) for of_one in labels)
    assert not any("_" in each for of_one in labels for each in of_one)


def test_code_stands_between_backquotes() -> None:
    assert code("see `a<b`, not c") == "see <code>a&lt;b</code>, not c"


def test_a_page_has_its_title_and_its_place() -> None:
    seen = Seen(
        Frame(EVIL, AT, 9).page(EVIL, "<h1>x</h1>", path="domains/x/y.html", here="domains")
    )
    links = [each.get("href") for tag, each in seen.elements if tag == "a"]

    assert [tag for tag, _ in seen.elements if tag == "script"] == ["script"]
    assert links == [
        "#content",
        "../../index.html",
        "../../domains/index.html",
        "../../index.html#reports",
    ]
    assert [each.get("href") for _, each in seen.elements if "aria-current" in each] == [
        "../../domains/index.html"
    ]
    assert "2026-01-31T23:59:58Z" in seen.text
