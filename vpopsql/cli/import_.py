"""``vpopsql import``: an existing vpopmail site into the database."""

import functools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from vpopsql.cli import COULD_NOT_RUN, load_config

if TYPE_CHECKING:
    from vpopsql.cli.progress import Progress
    from vpopsql.config import Config
    from vpopsql.db import Database
    from vpopsql.importer.codes import Code
    from vpopsql.importer.evidence import Finding, Tally
    from vpopsql.importer.origin import Origin
    from vpopsql.importer.plan import Plan
    from vpopsql.importer.scan import Scanned
    from vpopsql.proof import Proof

_WITH_WARNINGS = 1
_WITH_REJECTS = 2
_COUNTS = ("files", "lines", "imported", "merged", "foreign", "rejected")
_JOBS_MAX = 64


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

    Without --apply the plan is shown and nothing changes.

    Exit codes: 0 clean, 1 with warnings, 2 with rejects (nothing is written), 3 could not run,
    wrong usage included. What is accepted with --accept does not count.
    """


@dataclass(frozen=True, slots=True)
class _Options:
    """What all imports have in common."""

    qmail: Path
    apply: bool
    update: bool
    accept: tuple[str, ...]
    jobs: int
    homes: bool
    dialect: str
    output: str
    plan: Path | None

    def accepted(self) -> "frozenset[Code]":
        """Return the codes that are accepted.

        :raises click.BadParameter: there is no such code.
        """
        from vpopsql.importer.codes import Code

        codes = {str(code): code for code in Code}
        unknown = [text for text in self.accept if text not in codes]
        if unknown:
            raise click.BadParameter(
                f"{unknown[0]}: no such code: docs/import-codes.md lists them",
                param_hint="--accept",
            )
        return frozenset(codes[text] for text in self.accept)


def _path(name: str, help_: str, *, required: bool) -> Callable[[Any], Any]:
    kind = click.Path(path_type=Path)
    return click.option(name, required=required, type=kind, help=help_)


_JOBS = click.option(
    "--jobs",
    type=click.IntRange(1, _JOBS_MAX),
    default=lambda: min(os.cpu_count() or 1, 8),
    show_default="one for each processor, at most 8",
    help="How many processes read domains.",
)

_COMMON = [
    _path("--qmail", "The directory that holds what is, or was, /var/qmail.", required=True),
    click.option(
        "--apply/--dry-run",
        help="Write to the database. Without it the plan is printed and nothing changes.",
    ),
    click.option(
        "--update",
        is_flag=True,
        help="Carry over what has changed in the source since the last import, removals included."
        " What was changed in the database meanwhile stays, and is listed.",
    ),
    click.option(
        "--accept",
        multiple=True,
        metavar="CODE",
        help="Take findings of this code as they are: rejected lines are left out, and the exit"
        " code does not count them. Can be given several times.",
    ),
    _JOBS,
    click.option(
        "--homes/--no-homes",
        default=True,
        help="Whether to open every mailbox's directory, for lastauth and .qmail files.",
    ),
    click.option(
        "--dialect",
        type=click.Choice(["vpopmail", "indimail"]),
        default="vpopmail",
        help="Whose flags the accounts have: indimail gives some bits another meaning.",
    ),
    click.option(
        "--format",
        "output",
        type=click.Choice(["table", "json"]),
        default="table",
        help="A summary for people, or the whole plan as JSON objects, one a line.",
    ),
    click.option(
        "--plan",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Also write the whole plan to this file, as JSON objects, one a line.",
    ),
]


def _importing(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of all imports, as one `_Options`."""

    @functools.wraps(command)
    def with_options(*args: Any, **values: Any) -> None:  # noqa: ANN401 - click's
        options = _Options(**{name: values.pop(name) for name in _Options.__slots__})
        command(*args, options=options, **values)

    for option in reversed(_COMMON):
        with_options = option(with_options)
    return with_options


_VPOPMAIL = "The directory that holds what is, or was, vpopmail's home."
_LAYOUT = click.option(
    "--layout",
    type=click.Choice(["auto", "one", "per-domain"]),
    default="auto",
    help="Whether all accounts are in one table, vpopmail, or each domain has a table of its own.",
)
_PASSWORD_FILE = click.option(
    "--password-file",
    type=click.File(encoding="utf-8"),
    help="A file whose first line is the password of the database, - for standard input: on the"
    " command line everybody could read it.",
)


@import_.command()
@_path("--vpopmail", _VPOPMAIL, required=True)
@_importing
@click.pass_context
def tree(ctx: click.Context, /, vpopmail: Path, options: _Options) -> None:
    """Import a tree of vpopmail's cdb build: domains, accounts, dot-qmail files, limits.

    Exit codes: 0 clean, 1 with warnings, 2 with rejects (nothing is written), 3 could not run,
    wrong usage included. What is accepted with --accept does not count.
    """
    _import(ctx, options, "tree", vpopmail=vpopmail)


@import_.command()
@click.argument("url")
@_path("--vpopmail", f"{_VPOPMAIL} For dot-qmail files and homes.", required=False)
@_LAYOUT
@_PASSWORD_FILE
@_importing
@click.pass_context
def mysql(ctx: click.Context, /, options: _Options, **values: Any) -> None:  # noqa: ANN401 - click's
    """Import vpopmail's tables from MySQL or MariaDB, with the domains of qmail's users/assign.

    URL is that of the database, mysql://USER@HOST/DATABASE, or the path of a dump of it. Nothing
    is written to it.

    Exit codes: 0 clean, 1 with warnings, 2 with rejects (nothing is written), 3 could not run,
    wrong usage included. What is accepted with --accept does not count.
    """
    _import(ctx, options, "mysql", **values)


@import_.command()
@click.argument("url")
@_path("--vpopmail", f"{_VPOPMAIL} For dot-qmail files and homes.", required=False)
@_LAYOUT
@_PASSWORD_FILE
@_importing
@click.pass_context
def pgsql(ctx: click.Context, /, options: _Options, **values: Any) -> None:  # noqa: ANN401 - click's
    """Import vpopmail's tables from PostgreSQL, with the domains of qmail's users/assign.

    URL is that of the database, postgresql://USER@HOST/DATABASE, or the path of a plain dump of
    it. Nothing is written to it.

    Exit codes: 0 clean, 1 with warnings, 2 with rejects (nothing is written), 3 could not run,
    wrong usage included. What is accepted with --accept does not count.
    """
    _import(ctx, options, "pgsql", **values)


@import_.command()
@_path("--vpopmail", "Where the tree is now, if it is not where it was.", required=False)
@_path("--qmail", "Where qmail's directory is now, if it is not where it was.", required=False)
@click.option("--url", help="Where the database or the dump is now, if not where it was.")
@_PASSWORD_FILE
@_JOBS
@click.option(
    "--format",
    "output",
    type=click.Choice(["table", "json"]),
    default="table",
    help="A summary for people, or all differences as one JSON document.",
)
@click.pass_context
def verify(ctx: click.Context, /, jobs: int, output: str, **values: Any) -> None:  # noqa: ANN401
    """Compare what an export would write with the source of the last import.

    Everything is rendered in memory; nothing is written. The source is read again, from where it
    was imported unless it is said where it is now, and each of its files is compared.

    Exit codes: 0 nothing differs, or only as the import said it would; 2 with differences that
    nothing explains; 3 could not run.
    """
    from vpopsql.cli.progress import Progress
    from vpopsql.importer.crew import collecting_seldom
    from vpopsql.importer.stored import read_settings
    from vpopsql.proof import prove

    config = load_config(ctx)
    with (
        collecting_seldom(),
        closing(Progress()) as progress,
        _database(config) as database,
    ):
        with database.reader() as session:
            settings = read_settings(session)
        origin = _remembered(settings, **values)
        scanned = _read(config, origin, jobs, progress)
        with database.snapshot() as session:
            source = origin.source(config)
            proof = prove(session, source, scanned, config.paths, progress.of("comparing"))
    if output == "json":
        click.echo(json.dumps(proof.as_dict()))
    else:
        for line in _proof(proof, origin.name):
            click.echo(line)
    if proof.unexplained:
        ctx.exit(_WITH_REJECTS)


def _remembered(
    settings: dict[str, str],
    vpopmail: Path | None,
    qmail: Path | None,
    url: str | None,
    password_file: TextIO | None,
) -> "Origin":
    """Return the source of the last import, with what the user says of where it is now."""
    from vpopsql.errors import ImportFailed
    from vpopsql.importer.apply import REMEMBERED
    from vpopsql.importer.origin import recall

    if REMEMBERED not in settings:
        raise ImportFailed("the database was never filled by an import: there is nothing to prove")
    origin = recall(settings[REMEMBERED])
    origin = replace(
        origin,
        vpopmail=vpopmail or origin.vpopmail,
        qmail=qmail or origin.qmail,
        tables=url or origin.tables,
    )
    return _with_password(origin, password_file)


def _with_password(origin: "Origin", file: TextIO | None) -> "Origin":
    from vpopsql.importer.origin import with_password

    if file is None:
        return origin
    return with_password(origin, file.readline().rstrip("\r\n"))


def _import(
    ctx: click.Context,
    options: _Options,
    store: str,
    *,
    vpopmail: Path | None,
    url: str | None = None,
    layout: str = "auto",
    password_file: TextIO | None = None,
) -> None:
    """Read, plan, apply if that is wanted and possible, say what happened, and exit."""
    from vpopsql.cli.progress import Progress
    from vpopsql.importer.apply import REMEMBERED, apply_plan
    from vpopsql.importer.codes import Severity
    from vpopsql.importer.crew import collecting_seldom
    from vpopsql.importer.listing import as_objects
    from vpopsql.importer.origin import Dialect, Origin, Store
    from vpopsql.importer.plan import make_plan
    from vpopsql.importer.tables.source import Layout

    config = load_config(ctx)
    accepted = options.accepted()
    origin = Origin(
        store=Store(store),
        qmail=options.qmail.absolute(),
        vpopmail=vpopmail and vpopmail.absolute(),
        tables=url,
        layout=Layout(layout),
        dialect=Dialect(options.dialect),
        read_homes=options.homes,
    )
    origin = _with_password(origin, password_file)
    with (
        collecting_seldom(),
        closing(Progress()) as progress,
        _database(config) as database,
    ):
        scanned = _read(config, origin, options.jobs, progress)
        with database.reader() as session:
            plan = make_plan(
                session,
                scanned,
                origin.name,
                update=options.update,
                accepted=accepted,
                progress=progress.of("comparing"),
            )
        applied = options.apply and not plan.rejected
        if options.plan is not None:
            with options.plan.open("w", encoding="utf-8") as file:
                file.writelines(_lines(as_objects(plan, applied=applied)))
        if applied:
            show = progress.of("writing")
            apply_plan(
                database,
                plan,
                {REMEMBERED: origin.remembered()},
                lambda done, total: show(done, total, done),
            )
    if options.output == "json":
        for line in _lines(as_objects(plan, applied=applied)):
            click.echo(line, nl=False)
    else:
        for line in _table(plan, really=options.apply):
            click.echo(line)
    if plan.report.worst is not Severity.NOTE:
        ctx.exit(_WITH_REJECTS if plan.rejected else _WITH_WARNINGS)


def _read(config: "Config", origin: "Origin", jobs: int, progress: "Progress") -> "Scanned":
    return origin.read(
        config, jobs=jobs, progress=progress.of("reading"), copying=progress.of("copying", "rows")
    )


@contextmanager
def _database(config: "Config") -> "Iterator[Database]":
    from vpopsql.db import Database

    url, timeout_s = config.database.url, config.database.busy_timeout_s
    with closing(Database(url, busy_timeout_s=timeout_s)) as database:
        database.require_schema()
        yield database


def _lines(objects: Iterable[dict[str, Any]]) -> Iterator[str]:
    return (json.dumps(each) + "\n" for each in objects)


def _table(plan: "Plan", *, really: bool) -> Iterator[str]:
    from vpopsql.importer.evidence import printable

    yield f"vpopmail's home in the data: {printable(plan.found.vpopmail_dir)}"
    yield ""
    yield from _sources(plan)
    yield ""
    yield from _parts(plan)
    yield from _changes(plan)
    yield ""
    yield from _left(plan)
    yield from _findings(plan)
    yield ""
    yield _result(plan, really=really)


def _sources(plan: "Plan") -> Iterator[str]:
    from vpopsql.importer.evidence import Tally

    tallies = plan.report.sources
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
        "Every line is accounted for: lines = imported + merged + foreign + rejected."
        if plan.report.adds_up
        else "THE LINES DO NOT ADD UP: please report this as a bug of the importer."
    )


def _counts(tally: "Tally", columns: list[int]) -> str:
    numbers = (str(getattr(tally, name)) for name in _COUNTS)
    return "  ".join(number.rjust(size) for number, size in zip(numbers, columns, strict=True))


def _parts(plan: "Plan") -> Iterator[str]:
    from vpopsql.importer.plan import State

    width = max(len(kind) for kind in ["database", *plan.parts])
    yield f"{'database'.ljust(width)}  " + "  ".join(state.rjust(8) for state in State)
    for kind, part in plan.parts.items():
        numbers = "  ".join(str(part[state]).rjust(8) for state in State)
        yield f"{kind.ljust(width)}  {numbers}"


def _changes(plan: "Plan") -> Iterator[str]:
    from vpopsql.importer.evidence import printable
    from vpopsql.importer.report import SHOWN

    if not plan.update or not plan.changes:
        return
    yield ""
    yield f"{len(plan.changes)} differences between the source and the database:"
    for change in plan.changes[:SHOWN]:
        yield f"  {change.domain}: {printable(str(change))}"
    if len(plan.changes) > SHOWN:
        yield f"  {len(plan.changes) - SHOWN} more: see --format json"


def _left(plan: "Plan") -> Iterator[str]:
    report = plan.report
    yield "Left in place, not imported:"
    yield f"  {report.maildirs} Maildirs"
    for what, number in sorted(report.left.items()):
        shown = report.left_shown[what]
        more = ", …" if number > len(shown) else ""
        yield f"  {number} {what}: {', '.join(shown)}{more}"


def _findings(plan: "Plan") -> Iterator[str]:
    from vpopsql.importer.codes import Severity

    report = plan.report
    for severity in Severity:
        shown = report.shown(severity)
        numbers = {code: n for code, n in report.codes.items() if code.severity is severity}
        if shown:
            total = sum(numbers.values())
            yield ""
            yield f"{total} {severity.name.lower()}{'s' if total > 1 else ''}:"
        for finding in shown:
            accepted = " (accepted)" if report.is_accepted(finding.code) else ""
            yield f"  {_finding(finding)}{accepted}"
        for code, number in numbers.items():
            hidden = number - sum(finding.code is code for finding in shown)
            if hidden:
                yield f"  {hidden} more of {code}: see --format json"


def _finding(finding: "Finding") -> str:
    text = f"{finding.text}  " if finding.text else ""
    return f"{finding.place}: {text}{finding.reason} -> {finding.code.advice} [{finding.code}]"


def _result(plan: "Plan", *, really: bool) -> str:
    from vpopsql.importer.plan import State

    if plan.rejected:
        return "Nothing was written: repair what is rejected first, or accept it: --accept CODE."
    if not plan.does_anything:
        return "Nothing to do: the database has all of it already."
    if not really:
        return "Nothing was written, this is the plan: run it again with --apply."
    domains, mailboxes = (plan.parts[kind][State.NEW] for kind in ("domains", "mailboxes"))
    changed, gone = (len(plan.domains(state)) for state in (State.CHANGED, State.GONE))
    updated = f" {changed} domains were updated, {gone} removed." if plan.update else ""
    return (
        f"Imported: {domains} domains with {mailboxes} mailboxes.{updated}"
        " `vpopsql import verify` compares the database with the source."
    )


def _proof(proof: "Proof", name: str) -> Iterator[str]:
    from vpopsql.importer.evidence import printable
    from vpopsql.proof import Kind

    yield f"compared with {printable(name, len(name))}: {proof.domains} domains"
    for kind in Kind:
        yield f"  {proof.files[kind]:8} files {kind}"
    for reason, number in proof.reasons.most_common():
        yield ""
        yield f"{number} {reason}:"
        shown = [each for each in proof.explained if each.reason == reason]
        for each in shown:
            yield f"  {each.place}"
        if number > len(shown):
            yield f"  {number - len(shown)} more"
    yield ""
    if proof.unexplained:
        yield f"{len(proof.unexplained)} DIFFERENCES THAT NOTHING EXPLAINS:"
        for each in proof.unexplained:
            yield f"  {each.place}: {each.reason}"
        return
    yield "Nothing differs that is not explained: the export writes what the source has."
