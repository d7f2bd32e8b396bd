"""Rows as a table, CSV, JSON and a page."""

import csv
import io
import json
from datetime import UTC, datetime

import pytest

from vpopsql.reports import text
from vpopsql.reports.report import Column, Kind, Report

REPORT = Report(
    "example",
    "How is it shown?",
    (
        Column("name", Kind.TEXT, "a <name>"),
        Column("size", Kind.BYTES, "its size"),
        Column("pct", Kind.PERCENT, "how full", "no limit"),
        Column("at", Kind.TIME, "when"),
        Column("on", Kind.BOOLEAN, "whether"),
    ),
    ("name",),
)
AT = datetime(2026, 3, 2, 10, 30, 1, 999, tzinfo=UTC)
ROWS = [
    ("joe <j@x>", 1_572_864, 12.5, AT, True),
    ("=1+1", 0, None, None, False),
    ("\x1b[2J\udcff", None, 100.0, AT, None),
]


def test_a_table_is_for_people() -> None:
    assert list(text.table(REPORT, ROWS)) == [
        "name              size       pct  at                    on",
        "-------------  -------  --------  --------------------  -------",
        "joe <j@x>      1.5 MiB    12.5 %  2026-03-02T10:30:01Z  yes",
        "=1+1               0 B  no limit  unknown               no",
        "\\x1b[2J\\udcff  unknown   100.0 %  2026-03-02T10:30:01Z  unknown",
    ]


def test_an_empty_table_says_so() -> None:
    assert list(text.table(REPORT, [])) == ["nothing"]


def test_csv_is_for_spreadsheets_which_run_nothing_of_it() -> None:
    assert list(text.comma_separated(REPORT, ROWS)) == [
        "name,size,pct,at,on",
        "joe <j@x>,1572864,12.5,2026-03-02T10:30:01Z,true",
        "'=1+1,0,,,false",
        "\x1b[2J\\udcff,,100.0,2026-03-02T10:30:01Z,",
    ]


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r"])
def test_no_text_is_a_formula(begin: str) -> None:
    rows = [(f"{begin}cmd, x", -1, None, None, None)]

    lines = "\n".join(text.comma_separated(REPORT, rows))

    assert list(csv.reader(io.StringIO(lines, newline="")))[1] == [
        f"'{begin}cmd, x",
        "-1",
        "",
        "",
        "",
    ]


def test_json_is_one_document_and_null_is_unknown() -> None:
    document = json.loads("\n".join(text.document(REPORT, ROWS[:2])))

    assert document == {
        "name": "example",
        "version": 1,
        "columns": [
            {"name": "name", "type": "text"},
            {"name": "size", "type": "bytes"},
            {"name": "pct", "type": "percent"},
            {"name": "at", "type": "time"},
            {"name": "on", "type": "boolean"},
        ],
        "rows": [
            {
                "name": "joe <j@x>",
                "size": 1_572_864,
                "pct": 12.5,
                "at": "2026-03-02T10:30:01Z",
                "on": True,
            },
            {"name": "=1+1", "size": 0, "pct": None, "at": None, "on": False},
        ],
    }


def test_json_without_rows_is_a_document_too() -> None:
    assert json.loads("".join(text.document(REPORT, [])))["rows"] == []


def test_json_lines_are_an_object_each() -> None:
    lines = [json.loads(line) for line in text.json_lines(REPORT, ROWS)]

    assert [line["name"] for line in lines] == ["joe <j@x>", "=1+1", "\x1b[2J\\udcff"]


def test_a_page_shows_text_as_text() -> None:
    page = "\n".join(text.page(REPORT, ROWS))

    assert "<td>joe &lt;j@x&gt;</td><td class=n>1.5 MiB</td><td class=n>12.5 %</td>" in page
    assert 'title="a &lt;name&gt;"' in page
    assert "<script" not in page


def test_rows_come_out_before_all_have_come_in() -> None:
    many = ((f"name {number}", 1, 1.0, AT, True) for number in range(10_000))

    lines = text.table(REPORT, many)

    assert next(lines).startswith("name")
    assert next(many)[0] == "name 200"
