"""``vpopsql verify``: whether the files are what the database says."""

import json
import os
import shlex
from collections.abc import Iterator
from contextlib import closing
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from vpopsql.cli import load_config, wrong_usage_is_no_result

if TYPE_CHECKING:
    from vpopsql.exporter.drift.codes import Code
    from vpopsql.exporter.drift.finding import Finding
    from vpopsql.exporter.drift.repair import Repaired
    from vpopsql.exporter.drift.survey import Report

_JOBS_MAX = 64
_PATH_MAX = 4096  # of Linux
_SHOWN = 20
"""Findings of one code that people are shown."""


class _Verify(click.Command):
    """A command for which wrong usage is another exit code than what was found."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:  # noqa: ANN401 - click's
        """Read the options."""
        with wrong_usage_is_no_result():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's signature
        """Run the command."""
        with wrong_usage_is_no_result():
            return super().invoke(ctx)


@click.command(cls=_Verify)
@click.option(
    "--domain",
    metavar="NAME",
    help="Only this domain: its directory, and what the site's files say of it.",
)
@click.option(
    "--fix",
    "fixes",
    multiple=True,
    metavar="CODE",
    help="Mend what has this code, then verify again. Can be given several times.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, _JOBS_MAX),
    default=lambda: min(os.cpu_count() or 1, 8),
    show_default="one for each processor, at most 8",
    help="How many processes look at domains.",
)
@click.option(
    "--format",
    "output",
    type=click.Choice(["table", "json"]),
    default="table",
    help="A list for people, or all findings as one JSON document.",
)
@click.option("--quiet", is_flag=True, help="Print nothing when there are at most notes.")
@click.pass_context
def verify(
    ctx: click.Context,
    *,
    domain: str | None,
    fixes: tuple[str, ...],
    jobs: int,
    output: str,
    quiet: bool,
) -> None:
    """Compare qmail's and vpopmail's files and directories with the database.

    Nothing is changed without --fix. docs/verify-codes.md explains every code.

    Exit codes: 0 clean, notes aside; 1 with findings that do not harm mail; 2 with findings that
    do; 3 could not run, wrong usage included.
    """
    from vpopsql.cli.progress import Progress
    from vpopsql.crew import collecting_seldom
    from vpopsql.db import Database
    from vpopsql.exporter.drift.codes import Severity
    from vpopsql.exporter.drift.repair import Repaired, repair
    from vpopsql.exporter.drift.survey import verify as survey

    codes = _codes(fixes)
    config = load_config(ctx)
    url, timeout_s = config.database.url, config.database.busy_timeout_s
    with (
        collecting_seldom(),
        closing(Progress()) as progress,
        closing(Database(url, busy_timeout_s=timeout_s)) as database,
    ):
        database.require_schema()
        show = progress.of("looking", "domains")
        if codes:
            repaired = repair(database, config, codes, domain=domain, jobs=jobs)
        else:
            repaired = Repaired(
                survey(
                    database,
                    config,
                    domain=domain,
                    jobs=jobs,
                    progress=lambda done, total: show(done, total, done),
                )
            )
    worst = repaired.report.worst
    if not (quiet and worst is Severity.NOTE and not repaired.refused):
        program = _program(ctx)
        if output == "json":
            click.echo(json.dumps(_as_dict(repaired, program), indent=2))
        else:
            for line in _lines(repaired, program, domain):
                click.echo(line)
    ctx.exit(int(worst))


def _codes(texts: tuple[str, ...]) -> "frozenset[Code]":
    from vpopsql.exporter.drift.codes import Code

    known = {str(code): code for code in Code}
    unknown = [text for text in texts if text not in known]
    if unknown:
        raise click.BadParameter(
            f"{unknown[0]}: no such code: docs/verify-codes.md lists them", param_hint="--fix"
        )
    return frozenset(known[text] for text in texts)


def _program(ctx: click.Context) -> list[str]:
    """Return how vpopsql was called, so that a command to copy uses the same configuration."""
    return ["vpopsql", *(["--config", str(ctx.obj)] if ctx.obj else [])]


def _lines(repaired: "Repaired", program: list[str], domain: str | None) -> Iterator[str]:
    for finding in repaired.mended:
        yield f"mended      {finding.code}  {_printable(finding.path)}"
    for finding, reason in repaired.refused:
        yield f"not mended  {finding.code}  {_printable(finding.path)}: {_printable(reason)}"
    if repaired.mended or repaired.refused:
        yield ""
    for code, found in groupby(repaired.report.findings, lambda each: each.code):
        findings = list(found)
        yield f"{code.severity.name.lower()}  {code}, {len(findings):,}: {code.meaning}"
        for finding in findings[:_SHOWN]:
            reason = f": {_printable(finding.reason)}" if finding.reason else ""
            yield f"  {_printable(finding.path)}{reason}"
        if len(findings) > _SHOWN:
            yield f"  and {len(findings) - _SHOWN:,} more: see --format json"
        if command := code.command(domain):
            yield f"  mended by: {_printable(shlex.join([*program, *command]))}"
        if code.advice:
            yield f"  {'but' if command else 'to do'}: {code.advice}"
        yield ""
    yield _sum(repaired.report)


def _sum(report: "Report") -> str:
    domains = _count(report.domains, "domain")
    if not report.findings:
        return f"{domains}: all is as the database says; at revision {report.revision}"
    parts = [
        f"{number:,} harmful" if each.name == "HARM" else _count(number, each.name.lower())
        for each, number in report.counts().items()
    ]
    return f"{domains}: {', '.join(parts)}; at revision {report.revision}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _as_dict(repaired: "Repaired", program: list[str]) -> dict[str, Any]:
    report = repaired.report
    return {
        "revision": report.revision,
        "domains": report.domains,
        "findings": [_finding(each, program) for each in report.findings],
        "mended": [{"code": str(e.code), "path": _printable(e.path)} for e in repaired.mended],
        "not_mended": [
            {"code": str(e.code), "path": _printable(e.path), "reason": _printable(reason)}
            for e, reason in repaired.refused
        ],
    }


def _finding(finding: "Finding", program: list[str]) -> dict[str, Any]:
    command = finding.code.command(finding.domain or None)
    return {
        "severity": finding.code.severity.name.lower(),
        "code": str(finding.code),
        "path": _printable(finding.path),
        "domain": finding.domain,
        "details": [_printable(each.text) for each in finding.details],
        "more": finding.more,
        "meaning": finding.code.meaning,
        "command": _printable(shlex.join([*program, *command])) if command else "",
        "advice": finding.code.advice,
    }


def _printable(text: str) -> str:
    from vpopsql.importer.evidence import printable

    return printable(text, _PATH_MAX)
