"""``vpopsql import``: an existing vpopmail site into the database."""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vpopsql.cli import COULD_NOT_RUN, load_config

if TYPE_CHECKING:
    from vpopsql.importer.evidence import Finding, Tally
    from vpopsql.importer.plan import Plan

_WITH_WARNINGS = 1
_WITH_REJECTS = 2
_LISTED = 20  # findings of one kind that the table shows; rejects are all shown

_COUNTS = ("files", "lines", "imported", "merged", "foreign", "rejected", "blank")


class _Import(click.Group):
    """A group for which wrong usage is another exit code than what a source is rejected with."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:  # noqa: ANN401 - click's
        """Read the group's own options."""
        with _could_not_run():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's signature
        """Read the command's options, and run it."""
        with _could_not_run():
            return super().invoke(ctx)


@contextmanager
def _could_not_run() -> Iterator[None]:
    try:
        yield
    except click.UsageError as error:
        error.show()
        sys.exit(COULD_NOT_RUN)


@click.group("import", cls=_Import)
def import_() -> None:
    """Take an existing vpopmail site into the database.

    Exit codes: 0 clean, 1 with warnings, 2 with rejects (nothing is written), 3 could not run,
    wrong usage included.
    """


@import_.command()
@click.option(
    "--vpopmail",
    required=True,
    type=click.Path(path_type=Path),
    help="The directory that holds what is, or was, vpopmail's home.",
)
@click.option(
    "--qmail",
    required=True,
    type=click.Path(path_type=Path),
    help="The directory that holds what is, or was, /var/qmail.",
)
@click.option(
    "--apply",
    "really",
    is_flag=True,
    help="Write to the database; without it the plan is printed and nothing changes.",
)
@click.option(
    "--format",
    "output",
    type=click.Choice(["table", "json"]),
    default="table",
    help="A summary for people, or one JSON document.",
)
@click.pass_context
def tree(ctx: click.Context, vpopmail: Path, qmail: Path, *, really: bool, output: str) -> None:
    """Import a tree of vpopmail's cdb build: domains, accounts, dot-qmail files, limits.

    Exit codes: 0 clean, 1 with warnings, 2 with rejects (nothing is written), 3 could not run,
    wrong usage included.
    """
    from vpopsql.db import Database
    from vpopsql.importer.apply import apply_plan
    from vpopsql.importer.codes import Severity
    from vpopsql.importer.evidence import Evidence
    from vpopsql.importer.plan import make_plan
    from vpopsql.importer.scan import Source, scan

    config = load_config(ctx)
    source = Source(
        vpopmail=vpopmail,
        qmail=qmail,
        vpopmail_dir=config.paths.vpopmail,
        qmail_dir=config.paths.qmail,
        root=config.paths.root,
        store_clear_text=config.passwords.store_clear_text,
    )
    origin = {
        "imported_from_vpopmail": str(vpopmail.absolute()),
        "imported_from_qmail": str(qmail.absolute()),
    }
    url, timeout_s = config.database.url, config.database.busy_timeout_s
    with closing(Database(url, busy_timeout_s=timeout_s)) as database:
        database.require_schema()
        evidence = Evidence()
        found = scan(source, evidence)
        with database.writer() if really else database.reader() as session:
            plan = make_plan(session, found, evidence)
            applied = really and not plan.rejected
            if applied:
                apply_plan(session, plan, origin)

    if output == "json":
        click.echo(json.dumps({"applied": applied, "verified": applied} | plan.as_dict()))
    else:
        for line in _table(plan, really=really):
            click.echo(line)
    if plan.evidence.worst is not Severity.NOTE:
        ctx.exit(_WITH_REJECTS if plan.rejected else _WITH_WARNINGS)


def _table(plan: "Plan", *, really: bool) -> Iterator[str]:
    from vpopsql.importer.evidence import printable

    yield f"vpopmail's home in the data: {printable(plan.found.vpopmail_dir)}"
    yield ""
    yield from _sources(plan)
    yield ""
    yield from _parts(plan)
    yield ""
    yield from _left(plan)
    yield from _findings(plan)
    yield ""
    yield _result(plan, really=really)


def _sources(plan: "Plan") -> Iterator[str]:
    from vpopsql.importer.evidence import Tally

    tallies = plan.sources()
    total = Tally("all", "")
    for tally in tallies:
        total.add(tally)
    width = max(len(tally.kind) for tally in [total, *tallies])
    columns = [max(len(name), len(str(getattr(total, name)))) for name in _COUNTS]
    header = "  ".join(name.rjust(size) for name, size in zip(_COUNTS, columns, strict=True))
    yield f"{'read'.ljust(width)}  {header}"
    for tally in [*tallies, total]:
        yield f"{tally.kind.ljust(width)}  {_counts(tally, columns)}"
    yield (
        "Every line is accounted for: lines = imported + merged + foreign + rejected + blank."
        if all(tally.adds_up for tally in plan.evidence.tallies)
        else "THE LINES DO NOT ADD UP: please report this as a bug of the importer."
    )


def _counts(tally: "Tally", columns: list[int]) -> str:
    numbers = (str(getattr(tally, name)) for name in _COUNTS)
    return "  ".join(number.rjust(size) for number, size in zip(numbers, columns, strict=True))


def _parts(plan: "Plan") -> Iterator[str]:
    from vpopsql.importer.plan import State

    width = max(len(kind) for kind in plan.parts)
    yield f"{'database'.ljust(width)}  " + "  ".join(state.rjust(8) for state in State)
    for kind, part in plan.parts.items():
        numbers = "  ".join(str(part[state]).rjust(8) for state in State)
        yield f"{kind.ljust(width)}  {numbers}"


def _left(plan: "Plan") -> Iterator[str]:
    yield "Left in place, not imported:"
    yield f"  {plan.evidence.maildirs} Maildirs"
    for what, paths in sorted(plan.evidence.left.items()):
        yield f"  {len(paths)} {what}: {', '.join(sorted(paths)[:3])}" + (
            ", …" if len(paths) > 3 else ""  # noqa: PLR2004 - as many as are shown
        )


def _findings(plan: "Plan") -> Iterator[str]:
    from vpopsql.importer.codes import Severity

    for severity in (Severity.NOTE, Severity.WARNING, Severity.REJECT):
        findings = plan.evidence.of(severity)
        if findings:
            yield ""
            yield f"{len(findings)} {severity.name.lower()}{'s' if len(findings) > 1 else ''}:"
        seen: Counter[str] = Counter()
        for finding in findings:
            seen[str(finding.code)] += 1
            if severity is Severity.REJECT or seen[str(finding.code)] <= _LISTED:
                yield f"  {_finding(finding)}"
        for code, number in seen.items():
            if severity is not Severity.REJECT and number > _LISTED:
                yield f"  {number - _LISTED} more of {code}: see --format json"


def _finding(finding: "Finding") -> str:
    text = f"{finding.text}  " if finding.text else ""
    return f"{finding.place}: {text}{finding.reason} -> {finding.code.advice} [{finding.code}]"


def _result(plan: "Plan", *, really: bool) -> str:
    if plan.rejected:
        return "Nothing was written: repair what is rejected first."
    if not plan.adds:
        return "Nothing to do: the database has all of it already."
    if not really:
        return "Nothing was written, this is the plan: run it again with --apply."
    new = plan.new.domains
    return (
        f"Imported and verified: {len(new)} domains with"
        f" {sum(len(domain.mailboxes) for domain in new)} mailboxes;"
        " the database gives back what was read."
    )
