"""``vpopsql verify``: whether the files are what the database says."""

import json
import os
import shlex
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from vpopsql.cli import load_config, wrong_usage_is_no_result
from vpopsql.shown import printable

if TYPE_CHECKING:
    from vpopsql.exporter.drift.codes import Code
    from vpopsql.exporter.drift.finding import Finding
    from vpopsql.exporter.drift.repair import Repaired
    from vpopsql.exporter.drift.survey import Report

_JOBS_MAX = 64
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
    "--role",
    type=click.Choice(["mail", "relay"]),
    default="mail",
    help="relay: this host only takes mail for others; it has rcpthosts and morercpthosts.",
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
    role: str,
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
    from vpopsql.exporter.drift.repair import repair

    codes = _codes(fixes)
    config = load_config(ctx)
    url, timeout_s = config.database.url, config.database.busy_timeout_s
    key_file = config.passwords.key_file
    with (
        collecting_seldom(),
        closing(Progress()) as progress,
        closing(Database(url, busy_timeout_s=timeout_s, key_file=key_file)) as database,
    ):
        database.require_schema()
        show = progress.of("looking", "domains")
        repaired = repair(
            database,
            config,
            codes,
            domain=domain,
            is_relay=role == "relay",
            jobs=jobs,
            progress=lambda done, total: show(done, total, done),
        )
    worst = repaired.report.worst
    if not (quiet and worst is Severity.NOTE and not repaired.refused):
        program = ("vpopsql", *(("--config", str(ctx.obj)) if ctx.obj else ()))
        caller = _Caller(program, domain, is_relay=role == "relay")
        if output == "json":
            click.echo(json.dumps(_as_dict(repaired, caller), indent=2))
        else:
            for line in _lines(repaired, caller):
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


@dataclass(frozen=True, slots=True)
class _Caller:
    """How vpopsql was called, so that a command to copy concerns the same site."""

    program: tuple[str, ...]
    domain: str | None
    is_relay: bool

    def command(self, code: "Code", domain: str | None) -> str:
        """Return what mends a finding; empty: there is no such command."""
        arguments = code.command(domain, is_relay=self.is_relay)
        return printable(shlex.join([*self.program, *arguments])) if arguments else ""


def _lines(repaired: "Repaired", caller: _Caller) -> Iterator[str]:
    for finding in repaired.mended:
        yield f"mended      {finding.code}  {printable(finding.path)}"
    for finding, reason in repaired.refused:
        yield f"not mended  {finding.code}  {printable(finding.path)}: {printable(reason)}"
    if repaired.mended or repaired.refused:
        yield ""
    for code, found in groupby(repaired.report.findings, lambda each: each.code):
        findings = list(found)
        yield f"{code.severity.name.lower()}  {code}, {len(findings):,}: {code.meaning}"
        for finding in findings[:_SHOWN]:
            reason = f": {printable(finding.reason)}" if finding.reason else ""
            yield f"  {printable(finding.path)}{reason}"
        if len(findings) > _SHOWN:
            yield f"  and {len(findings) - _SHOWN:,} more: see --format json"
        if command := caller.command(code, caller.domain):
            yield f"  mended by: {command}"
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


def _as_dict(repaired: "Repaired", caller: _Caller) -> dict[str, Any]:
    report = repaired.report
    return {
        "revision": report.revision,
        "domains": report.domains,
        "findings": [_finding(each, caller) for each in report.findings],
        "mended": [{"code": str(e.code), "path": printable(e.path)} for e in repaired.mended],
        "not_mended": [
            {"code": str(e.code), "path": printable(e.path), "reason": printable(reason)}
            for e, reason in repaired.refused
        ],
    }


def _finding(finding: "Finding", caller: _Caller) -> dict[str, Any]:
    return {
        "severity": finding.code.severity.name.lower(),
        "code": str(finding.code),
        "path": printable(finding.path),
        "domain": finding.domain,
        "details": [printable(each.text) for each in finding.details],
        "more": finding.more,
        "meaning": finding.code.meaning,
        "command": caller.command(finding.code, finding.domain or None),
        "advice": finding.code.advice,
    }
