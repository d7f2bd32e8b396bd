"""``vpopsql report``: the questions that administrators ask."""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from vpopsql.cli import load_config

if TYPE_CHECKING:
    from vpopsql.config import Config
    from vpopsql.db import Database
    from vpopsql.reports.query import Question
    from vpopsql.reports.report import Report

_NUMBER_MAX = 2**63 - 1
"""Of what both databases can compare."""
_DAYS_MAX = 366 * 1000
_EVERY = 1000
"""Rows after which progress is shown."""


class _Report(click.Command):
    """A command of which one NAME is a command of its own, with other options."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,  # noqa: ANN401 - as click gives them
    ) -> click.Context:
        """Return the context of ``html`` if that is the first argument, else our own."""
        if args[:1] == ["html"]:
            from vpopsql.cli.report_html import html

            return html.make_context(f"{info_name} html", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


@click.command(cls=_Report)
@click.argument("name", required=False)
@click.option("--list", "lists", is_flag=True, help="List all reports and end.")
@click.option(
    "--format",
    "output",
    type=click.Choice(["table", "csv", "json", "jsonl", "html"]),
    default="table",
    help="How the rows are printed.",
)
@click.option("--domain", metavar="NAME", help="Rows of this domain only.")
@click.option("--limit", type=click.IntRange(1, _NUMBER_MAX), help="At most so many rows.")
@click.option("--sort", metavar="COLUMN[:desc]", help="By which column they are sorted first.")
@click.option("--days", type=click.IntRange(0, _DAYS_MAX), help="At least so many days; 0: all.")
@click.option(
    "--percent", type=click.IntRange(0, _NUMBER_MAX), help="At least so many percent; 0: all."
)
@click.option(
    "--length", type=click.IntRange(0, _NUMBER_MAX), help="At least so many bytes; 0: all."
)
@click.option("--postmaster", is_flag=True, help="List postmasters, too, where they are left out.")
@click.option(
    "--as-of",
    type=click.DateTime(["%Y-%m-%d"]),
    help="As it was at the end of this day (UTC), where the audit log tells.",
)
@click.option("--fail-if-rows", is_flag=True, help="Exit with 1 if there is a row.")
@click.pass_context
def report(
    ctx: click.Context,
    /,
    name: str | None,
    output: str,
    *,
    lists: bool,
    **options: Any,  # noqa: ANN401 - as click gives them
) -> None:
    """Answer the question NAME about the site; docs/reports.md explains all of them.

    `vpopsql report html DIR` writes pages with all answers, and charts; see its --help.

    Exit codes: 0 done, 1 there are rows and --fail-if-rows was given, 2 wrong usage, 3 could not
    run.
    """
    from vpopsql.db import Database
    from vpopsql.reports.registry import REPORTS
    from vpopsql.reports.text import FORMATS

    if lists:
        _list(output)
        return
    if name is None:
        raise click.UsageError("name a report, or see --list")
    if name == "html":
        raise click.UsageError("html comes before its options: vpopsql report html DIR ...")
    if name not in REPORTS:
        raise click.BadParameter(f"{name}: no such report: see --list", param_hint="NAME")
    asked = REPORTS[name]
    question = _question(asked, options)
    config = load_config(ctx)
    settings = config.database
    counted = _Counted()
    with closing(Database(settings.url, busy_timeout_s=settings.busy_timeout_s)) as database:
        database.require_schema()
        for line in FORMATS[output](
            asked, counted.count(_rows(database, config, asked, question))
        ):
            click.echo(line)
    ctx.exit(1 if counted.rows and options["fail_if_rows"] else 0)


class _Counted:
    """Counts rows on their way, and shows on a terminal that they still come."""

    def __init__(self) -> None:
        self.rows = 0

    def count(self, rows: "Iterable[tuple[object, ...]]") -> "Iterator[tuple[object, ...]]":
        """Give the same rows."""
        shows = sys.stderr.isatty() and not sys.stdout.isatty()
        for row in rows:
            self.rows += 1
            if shows and self.rows % _EVERY == 0:
                click.echo(f"\r{self.rows:,} rows", err=True, nl=False)
            yield row
        if shows and self.rows >= _EVERY:
            click.echo("\r\x1b[K", err=True, nl=False)


def _rows(
    database: "Database", config: "Config", asked: "Report", question: "Question"
) -> "Iterator[tuple[object, ...]]":
    from vpopsql.cli.progress import Progress
    from vpopsql.reports import files, query
    from vpopsql.reports.report import Source

    if asked.source is Source.VIEW:
        with database.survey() as session:
            yield from query.rows(session, asked, question)
        return
    with closing(Progress()) as progress:
        show = progress.of("looking", "domains")
        found = files.find(
            asked,
            database,
            config,
            question.domain,
            lambda done, total: show(done, total, done),
        )
        yield from query.arrange(asked, question, found)


def _question(asked: "Report", options: dict[str, Any]) -> "Question":
    from vpopsql.reports.query import CannotAsk, Question, require_sense
    from vpopsql.reports.report import Option

    given = {
        option: options[option.value] for option in Option if options[option.value] is not None
    }
    takes = asked.threshold.option if asked.threshold else None
    for option in given:
        if option is not takes:
            raise click.BadParameter(f"{asked.name} takes none", param_hint=f"--{option}")
    sort = None
    if options["sort"]:
        column, _, direction = options["sort"].partition(":")
        if direction not in {"", "asc", "desc"}:
            raise click.BadParameter("COLUMN, COLUMN:asc or COLUMN:desc", param_hint="--sort")
        sort = column, direction == "desc"
    question = Question(
        domain=options["domain"],
        sort=sort,
        limit=options["limit"],
        threshold=next(iter(given.values()), None),
        with_postmaster=options["postmaster"],
        as_of=options["as_of"] and options["as_of"].date(),
    )
    try:
        require_sense(asked, question)
    except CannotAsk as refusal:
        raise click.UsageError(str(refusal)) from None
    return question


def _list(output: str) -> None:
    from vpopsql.reports.registry import REPORTS, VERSION

    if output != "table":
        if output != "json":
            raise click.BadParameter("a list is a table or json", param_hint="--format")
        described = [_described(each) for each in REPORTS.values()]
        click.echo(json.dumps({"version": VERSION, "reports": described}, indent=2))
        return
    width = max(map(len, REPORTS))
    for each in REPORTS.values():
        click.echo(f"{each.name:<{width}}  {each.question}")


def _described(asked: "Report") -> dict[str, object]:
    from vpopsql.reports.report import Source

    threshold = asked.threshold
    return {
        "name": asked.name,
        "question": asked.question,
        "view": asked.view if asked.source is Source.VIEW else None,
        "columns": [
            {
                "name": each.name,
                "type": each.kind.value,
                "meaning": each.meaning,
                "null": each.null,
            }
            for each in asked.columns
        ],
        "sort": list(asked.sort),
        "threshold": threshold
        and {
            "option": threshold.option.value,
            "column": threshold.column,
            "default": threshold.default,
        },
        "as_of": bool(asked.as_of),
        "notes": asked.notes,
    }
