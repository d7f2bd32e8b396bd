"""Rows as text: a table for people, CSV, JSON and a page for everything else.

All give line by line while rows still come. What is not known is "unknown", or what else its
column says, in tables and pages, null in JSON, and nothing in CSV; it is never 0.
"""

import csv
import html
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain, islice

from vpopsql.reports.registry import VERSION
from vpopsql.reports.report import Column, Kind, Report
from vpopsql.shown import human_size, iso, printable, storable

Row = Sequence[object]

_MEASURED = 200
"""Rows that tell how wide the columns of a table are."""
_WIDEST = 60
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet take a text for a formula."""
_RIGHT = frozenset({Kind.NUMBER, Kind.BYTES, Kind.PERCENT, Kind.RATIO})


def table(report: Report, rows: Iterable[Row]) -> Iterator[str]:
    """Give a table for people: sizes with units, times to the second.

    The first 200 rows tell how wide the columns are; what is longer stands out.
    """
    lines = ([_shown(*pair) for pair in zip(report.columns, row, strict=True)] for row in rows)
    first = list(islice(lines, _MEASURED))
    if not first:
        yield "nothing"
        return
    names = [column.name for column in report.columns]
    widths = [min(max(map(len, cells)), _WIDEST) for cells in zip(names, *first, strict=True)]
    for cells in chain([names, ["-" * width for width in widths]], first, lines):
        yield "  ".join(
            cell.rjust(width) if column.kind in _RIGHT else cell.ljust(width)
            for cell, width, column in zip(cells, widths, report.columns, strict=True)
        ).rstrip()


def comma_separated(report: Report, rows: Iterable[Row]) -> Iterator[str]:
    """Give CSV with a header: sizes in bytes, times as ISO 8601.

    A text that a spreadsheet would take for a formula has an apostrophe before it.
    """
    yield _csv_line([column.name for column in report.columns])
    for row in rows:
        yield _csv_line([_csv_cell(value) for value in row])


def document(report: Report, rows: Iterable[Row]) -> Iterator[str]:
    """Give one JSON document: ``name``, ``version``, ``columns`` and ``rows``, each an object."""
    head = {
        "name": report.name,
        "version": VERSION,
        "columns": [{"name": each.name, "type": each.kind.value} for each in report.columns],
    }
    yield json.dumps(head)[:-1] + ', "rows": ['
    before = ""
    for line in json_lines(report, rows):
        if before:
            yield before + ","
        before = line
    if before:
        yield before
    yield "]}"


def json_lines(report: Report, rows: Iterable[Row]) -> Iterator[str]:
    """Give a JSON object a row."""
    names = [column.name for column in report.columns]
    for row in rows:
        yield json.dumps(dict(zip(names, map(_plain, row), strict=True)))


def page(report: Report, rows: Iterable[Row]) -> Iterator[str]:
    """Give an HTML page with one table, which needs nothing else."""
    title = html.escape(report.name)
    yield (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body>"
    )
    yield f"<h1>{title}</h1><p>{html.escape(report.question)}</p>"
    heads = "".join(
        f'<th scope="col" title="{html.escape(each.meaning)}">{html.escape(each.name)}</th>'
        for each in report.columns
    )
    yield f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>'
    for row in rows:
        cells = "".join(
            f"<td{' class=n' if column.kind in _RIGHT else ''}>"
            f"{html.escape(_shown(column, value))}</td>"
            for column, value in zip(report.columns, row, strict=True)
        )
        yield f"<tr>{cells}</tr>"
    yield "</tbody></table></div></body></html>"


FORMATS: dict[str, Callable[[Report, Iterable[Row]], Iterator[str]]] = {
    "table": table,
    "csv": comma_separated,
    "json": document,
    "jsonl": json_lines,
    "html": page,
}

_STYLE = (
    ":root{color-scheme:light dark}body{font:1rem/1.4 system-ui,sans-serif;margin:1rem}"
    ".wide{overflow-x:auto}table{border-collapse:collapse}"
    "th,td{border-bottom:1px solid #8888;padding:.2rem .6rem;text-align:left;vertical-align:top}"
    ".n{text-align:right;font-variant-numeric:tabular-nums}"
)


def _shown(column: Column, value: object) -> str:
    if value is None:
        return column.null
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return iso(value)
    if column.kind is Kind.BYTES and isinstance(value, int):
        return human_size(value)
    if column.kind is Kind.PERCENT:
        return f"{value} %"
    if column.kind is Kind.NUMBER and column.name != "id":
        return f"{value:,}"
    return printable(str(value))


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return iso(value)
    return storable(value) if isinstance(value, str) else value


def _csv_cell(value: object) -> object:
    plain = _plain(value)
    if isinstance(plain, bool):
        return "true" if plain else "false"
    if isinstance(plain, str) and plain.startswith(_FORMULA):
        return f"'{plain}"
    return plain


def _csv_line(cells: Sequence[object]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(cells)
    return out.getvalue()
