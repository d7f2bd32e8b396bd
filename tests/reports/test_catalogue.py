"""Every report: its columns are what its view has, documented, and stay what they are."""

import ast
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.reports.conftest import Ask
from vpopsql.db import Database
from vpopsql.reports.page import reference
from vpopsql.reports.registry import REPORTS
from vpopsql.reports.report import Report, Source

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs/reports.md"
OF_VIEWS = [each for each in REPORTS.values() if each.source is Source.VIEW]


def named(report: Report) -> str:
    return report.name


def test_the_columns_are_what_they_were() -> None:
    found = [
        f"{report.name}: {', '.join(f'{each.name} {each.kind}' for each in report.columns)}"
        for report in REPORTS.values()
    ]

    assert found == (HERE / "columns.txt").read_text().splitlines()


def test_the_page_of_the_reports_is_what_the_reports_say() -> None:
    assert DOCUMENT.read_text(encoding="utf-8").endswith("-->\n\n" + reference())


@pytest.mark.parametrize("report", REPORTS.values(), ids=named)
def test_every_report_says_what_it_is_sorted_by_and_what_its_columns_are(report: Report) -> None:
    assert report.question.endswith("?")
    assert all(each.meaning for each in report.columns)
    assert {name.removeprefix("-") for name in report.sort} <= {c.name for c in report.columns}
    assert report.threshold is None or report.has(report.threshold.column)
    assert report.has("domain")


def test_every_view_has_the_columns_of_its_report(database: Database) -> None:
    with database.reader() as session:
        inspector = sa.inspect(session.connection())
        found = {
            report.view: [column["name"] for column in inspector.get_columns(report.view)]
            for report in OF_VIEWS
        }

    assert found == {report.view: [each.name for each in report.columns] for report in OF_VIEWS}


def test_no_report_has_a_row_on_an_empty_site(ask: Ask) -> None:
    found = {report.name: ask(report.name, threshold=0) for report in OF_VIEWS}

    assert set(map(len, found.values())) == {0}


def test_every_column_has_an_answer_that_somebody_worked_out() -> None:
    """A report that gains a column fails here until a row of its tests has a value there."""
    answered: dict[str, set[str]] = {name: set() for name in REPORTS}
    for path in HERE.glob("test_*.py"):
        for name, rows in answers(path).items():
            for row in rows:
                answered[name] |= set(row)

    assert {
        name: lacks
        for name, report in REPORTS.items()
        if (lacks := {column.name for column in report.columns} - answered[name])
    } == {}


def answers(path: Path) -> dict[str, list[list[str]]]:
    """The rows that each test expects of a report that it asks, as columns that have a value."""
    found: dict[str, list[list[str]]] = {}
    for test in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(test, ast.FunctionDef) or not test.name.startswith("test_"):
            continue
        nodes = list(ast.walk(test))
        asked = [
            str(node.args[0].value)
            for node in nodes
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in {"ask", "answer"}
            and isinstance(node.args[0], ast.Constant)
        ]
        rows = [node.elts for node in nodes if isinstance(node, ast.Tuple)]
        for name in filter(REPORTS.__contains__, asked):
            columns = REPORTS[name].columns
            found.setdefault(name, []).extend(
                [column.name for column, value in zip(columns, row, strict=True) if has(value)]
                for row in rows
                if len(row) == len(columns)
            )
    return found


def has(value: ast.expr) -> bool:
    """Whether an expected value is one: nobody wonders at what is not known."""
    is_none = isinstance(value, ast.Constant) and value.value is None
    return not is_none and not isinstance(value, ast.Starred)
