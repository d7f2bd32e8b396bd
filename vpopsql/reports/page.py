"""The reference of docs/reports.md, written from the reports themselves."""

from collections.abc import Iterator

from vpopsql.reports.registry import REPORTS
from vpopsql.reports.report import Kind, Report, Source


def reference() -> str:
    """Return the reference of all reports: question, options, columns."""
    return "\n".join(line for report in REPORTS.values() for line in _lines(report))


def _lines(report: Report) -> Iterator[str]:
    yield f"### {report.name}"
    yield ""
    yield report.question
    yield ""
    if report.source is Source.VIEW:
        yield f"View `{report.view}`, sorted by {_sorted(report)}."
    else:
        yield f"From the files of this host, sorted by {_sorted(report)}."
    if report.threshold:
        least = report.threshold
        unknown = ", and those of which it is not known" if least.with_unknown else ""
        unless = f", and where `{least.or_if}` is yes" if least.or_if else ""
        is_time = report.column(least.column).kind is Kind.TIME
        yield (
            f"`--{least.option} N` (default {least.default}): `{least.column}` at least N"
            f"{' days ago' if is_time else ''}{unknown}{unless}; 0: all."
        )
    if report.without_postmaster:
        yield "`postmaster` is left out without `--postmaster`."
    if report.as_of:
        yield "`--as-of DATE` asks for the past."
    if report.notes:
        yield report.notes
    yield ""
    yield "| column | type | meaning | no value |"
    yield "| --- | --- | --- | --- |"
    for each in report.columns:
        yield f"| `{each.name}` | {each.kind} | {each.meaning} | {each.null} |"
    yield ""


def _sorted(report: Report) -> str:
    return ", ".join(
        f"`{name[1:]}` downwards" if name.startswith("-") else f"`{name}`" for name in report.sort
    )
