"""``vpopsql usage``: measure what mailboxes hold, thin out what was measured, and show it."""

import contextlib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from vpopsql.cli import load_config
from vpopsql.shown import human_size, iso, printable

if TYPE_CHECKING:
    from vpopsql.config import Config
    from vpopsql.db import Database
    from vpopsql.usage.scan import Summary
    from vpopsql.usage.snapshots import DomainFigures, MailboxFigures

_JOBS_MAX = 64
_RATE_MAX = 1_000_000
_SHOWN = 20
"""Mailboxes that could not be measured and that people are shown."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

_FORMAT = click.option(
    "--format",
    "output",
    type=click.Choice(["table", "json"]),
    default="table",
    help="Text for people, or JSON.",
)


class _Span(click.ParamType[timedelta]):
    """A length of time: ``90m``, ``12h``, ``7d``; a number alone is seconds."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Return it."""
        if not isinstance(value, str):
            self.fail(f"{value!r} is no time", param, ctx)
        number, unit = (value[:-1], value[-1]) if value[-1:] in _UNITS else (value, "s")
        try:
            return timedelta(seconds=int(number) * _UNITS[unit])
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time such as 90m, 12h or 7d", param, ctx)


def _require_number(
    _ctx: click.Context, _parameter: click.Parameter, rate: float | None
) -> float | None:
    """Refuse ``nan``, which is in every range."""
    if rate is not None and math.isnan(rate):
        raise click.BadParameter("nan is no number")
    return rate


@click.group()
def usage() -> None:
    """Measure what mailboxes hold, and show it."""


@usage.command()
@click.option("--domain", metavar="NAME", help="Only this domain.")
@click.option(
    "--max-age",
    type=_Span(),
    help="Leave out mailboxes that were measured since: 90m, 12h, 7d.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, _JOBS_MAX),
    default=lambda: min(os.cpu_count() or 1, 8),
    show_default="one for each processor, at most 8",
    help="How many processes measure.",
)
@click.option("--nice", type=click.IntRange(0, 19), default=0, help="As nice(1) has it.")
@click.option(
    "--rate",
    type=click.FloatRange(0, _RATE_MAX, min_open=True),
    callback=_require_number,
    metavar="N",
    help="At most so many mailboxes a second.",
)
@_FORMAT
@click.pass_context
def scan(
    ctx: click.Context,
    *,
    domain: str | None,
    max_age: timedelta | None,
    jobs: int,
    nice: int,
    rate: float | None,
    output: str,
) -> None:
    """Measure Maildirs, and keep what they hold.

    Exit codes: 0 all mailboxes were measured, 1 some could not be, 3 could not run.
    """
    from vpopsql.cli.progress import Progress
    from vpopsql.crew import collecting_seldom
    from vpopsql.usage.scan import Wanted
    from vpopsql.usage.scan import scan as scan_

    if nice:
        os.nice(nice)
    with (
        _site(ctx) as (config, database),
        collecting_seldom(),
        contextlib.closing(Progress()) as progress,
    ):
        show = progress.of("measuring")
        summary = scan_(
            database,
            config,
            Wanted(domain, max_age, jobs, rate),
            lambda done, total: show(done, total, done),
        )
    if output == "json":
        click.echo(json.dumps(_summary_as_data(summary), indent=2))
    else:
        for line in _summary_lines(summary):
            click.echo(printable(line))
    ctx.exit(1 if summary.failures else 0)


@usage.command()
@click.pass_context
def prune(ctx: click.Context) -> None:
    """Delete snapshots that are too many or too old, as the settings in [usage] say."""
    from vpopsql.columns import utc_now
    from vpopsql.usage.prune import prune as prune_

    with _site(ctx) as (config, database):
        pruned = prune_(database, config.usage, utc_now())
    click.echo(f"{pruned.mailboxes:,} of mailboxes, {pruned.domains:,} of domains deleted")


@usage.command()
@click.argument("name", metavar="[DOMAIN|ADDRESS]", required=False)
@_FORMAT
@click.pass_context
def show(ctx: click.Context, name: str | None, output: str) -> None:
    """Show what was measured last: of all domains, of a domain's mailboxes, of a mailbox."""
    from vpopsql.usage import snapshots

    with _site(ctx) as (_, database), database.reader() as session:
        if name is None:
            domains = snapshots.list_domains(session)
            lines = _json_lines(domains) if output == "json" else map(_domain_line, domains)
        else:
            mailboxes = (
                iter([snapshots.get_mailbox(session, name)])
                if "@" in name
                else snapshots.list_mailboxes(session, name)
            )
            lines = _json_lines(mailboxes) if output == "json" else map(_mailbox_line, mailboxes)
        for line in lines:
            click.echo(printable(line))


@contextlib.contextmanager
def _site(ctx: click.Context) -> Iterator[tuple["Config", "Database"]]:
    from vpopsql.db import Database

    config = load_config(ctx)
    settings = config.database
    database = Database(settings.url, busy_timeout_s=settings.busy_timeout_s)
    with contextlib.closing(database):
        database.require_schema()
        yield config, database


def _summary_as_data(summary: "Summary") -> dict[str, Any]:
    return {
        "began_at": iso(summary.began_at),
        "ended_at": iso(summary.ended_at),
        "mailboxes": summary.mailboxes,
        "skipped": summary.skipped,
        "measured": summary.measured,
        "by_maildirsize": summary.by_maildirsize,
        "by_count": summary.by_count,
        "bytes": summary.bytes,
        "messages": summary.messages,
        "domains": summary.domains,
        "failures": [
            {"address": each.address, "reason": printable(each.reason)}
            for each in summary.failures
        ],
    }


def _summary_lines(summary: "Summary") -> Iterator[str]:
    for failure in summary.failures[:_SHOWN]:
        yield f"not measured: {failure.address}: {failure.reason}"
    if (more := len(summary.failures) - _SHOWN) > 0:
        yield f"and {more:,} more: see --format json"
    yield (
        f"{summary.measured:,} of {summary.mailboxes:,} mailboxes measured"
        f" ({summary.by_maildirsize:,} by maildirsize, {summary.by_count:,} by counting),"
        f" {summary.skipped:,} left out, {len(summary.failures):,} could not be measured;"
        f" {human_size(summary.bytes)} in {summary.messages:,} messages"
    )


def _domain_line(figures: "DomainFigures") -> str:
    if figures.bytes is None or figures.measured_at is None:
        return f"{figures.domain}  unknown"
    # What could not be measured may be anything.
    partly = "" if figures.measured == figures.mailboxes else "at least "
    return (
        f"{figures.domain}  {partly}{human_size(figures.bytes)} in {figures.messages:,} messages"
        f"  {figures.measured:,} of {figures.mailboxes:,} mailboxes"
        f"  at {iso(figures.measured_at)}"
    )


def _mailbox_line(figures: "MailboxFigures") -> str:
    if figures.bytes is None or figures.messages is None or figures.measured_at is None:
        return f"{figures.address}  unknown"
    share = ""
    if figures.quota_bytes:
        share = f"  {100 * figures.bytes / figures.quota_bytes:.1f} % of bytes"
    if figures.quota_messages:
        share += f"  {100 * figures.messages / figures.quota_messages:.1f} % of messages"
    return (
        f"{figures.address}  {human_size(figures.bytes)} in {figures.messages:,} messages{share}"
        f"  at {iso(figures.measured_at)}, by {figures.source}"
    )


def _json_lines(figures: "Iterator[DomainFigures | MailboxFigures]") -> Iterator[str]:
    """Return a JSON list, an object a line, without holding all of it."""
    before = "["
    for each in figures:
        data = asdict(each)
        data["measured_at"] = data["measured_at"] and iso(data["measured_at"])
        yield before + json.dumps(data)
        before = ","
    yield "]" if before == "," else "[]"
