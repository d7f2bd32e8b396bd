"""``vpopsql import``: an existing vpopmail site into the database."""

import functools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from vpopsql.cli import COULD_NOT_RUN, load_config, wrong_usage_is_no_result

if TYPE_CHECKING:
    from vpopsql.cli.progress import Progress
    from vpopsql.config import Config
    from vpopsql.db import Database
    from vpopsql.importer.codes import Code
    from vpopsql.importer.origin import Origin
    from vpopsql.importer.scan import Scanned

_WITH_WARNINGS = 1
_WITH_REJECTS = 2
_JOBS_MAX = 64


class _Import(click.Group):
    """A group for which wrong usage is another exit code than what a source is rejected with."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:  # noqa: ANN401 - click's
        """Read the group's own options."""
        with wrong_usage_is_no_result():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's signature
        """Read the command's options, and run it."""
        with wrong_usage_is_no_result():
            return super().invoke(ctx)


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
@click.option(
    "--prefer",
    type=click.Choice(["vpasswd", "cdb"]),
    default="vpasswd",
    show_default=True,
    help="Which of the two counts where vpasswd and vpasswd.cdb of a domain differ. vpopmail makes"
    " the cdb anew from vpasswd at each change; until then logins see the cdb.",
)
@_importing
@click.pass_context
def tree(ctx: click.Context, /, vpopmail: Path, prefer: str, options: _Options) -> None:
    """Import a tree of vpopmail's cdb build: domains, accounts, dot-qmail files, limits.

    Exit codes: 0 clean, 1 with warnings, 2 with rejects (nothing is written), 3 could not run,
    wrong usage included. What is accepted with --accept does not count.
    """
    _import(ctx, options, "tree", vpopmail=vpopmail, prefer=prefer)


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
    nothing explains; 3 could not run, wrong usage included.
    """
    from vpopsql.cli.import_lines import proof_lines
    from vpopsql.cli.progress import Progress
    from vpopsql.crew import collecting_seldom
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
        remembered = _remembered(settings)
        origin = _where_it_is_now(remembered, **values)
        scanned = _read(config, origin, jobs, progress)
        with database.snapshot() as session:
            proof = prove(
                session,
                origin,
                config,
                scanned,
                name=remembered.name,
                progress=progress.of("comparing"),
            )
    if output == "json":
        click.echo(json.dumps(proof.as_dict()))
    else:
        for line in proof_lines(proof, origin.name):
            click.echo(line)
    if proof.accused:
        ctx.exit(_WITH_REJECTS)


def _remembered(settings: dict[str, str]) -> "Origin":
    """Return the source of the last import."""
    from vpopsql.errors import ImportFailed
    from vpopsql.importer.apply import REMEMBERED
    from vpopsql.importer.origin import recall

    if REMEMBERED not in settings:
        raise ImportFailed("the database was never filled by an import: there is nothing to prove")
    return recall(settings[REMEMBERED])


def _where_it_is_now(
    origin: "Origin",
    vpopmail: Path | None,
    qmail: Path | None,
    url: str | None,
    password_file: TextIO | None,
) -> "Origin":
    origin = replace(
        origin,
        vpopmail=vpopmail.absolute() if vpopmail else origin.vpopmail,
        qmail=qmail.absolute() if qmail else origin.qmail,
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
    prefer: str = "vpasswd",
) -> None:
    """Read, plan, apply if that is wanted and possible, say what happened, and exit."""
    from vpopsql.cli.import_lines import plan_lines
    from vpopsql.cli.progress import Progress
    from vpopsql.crew import collecting_seldom
    from vpopsql.importer.apply import REMEMBERED, apply_plan
    from vpopsql.importer.backend import Prefer
    from vpopsql.importer.codes import Severity
    from vpopsql.importer.listing import as_objects
    from vpopsql.importer.origin import Dialect, Origin, Store
    from vpopsql.importer.plan import make_plan
    from vpopsql.importer.stored import read_settings
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
        prefer=Prefer(prefer),
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
            _require_as_much(read_settings(session), origin, update=options.update)
        applied = False
        try:
            if options.apply and not plan.rejected:
                show = progress.of("writing")
                apply_plan(
                    database,
                    plan,
                    {REMEMBERED: origin.remembered()},
                    lambda done, total: show(done, total, done),
                )
                applied = True
        finally:
            if options.plan is not None:
                with options.plan.open("w", encoding="utf-8") as file:
                    file.writelines(_lines(as_objects(plan, applied=applied)))
    if options.output == "json":
        for line in _lines(as_objects(plan, applied=applied)):
            click.echo(line, nl=False)
    else:
        for line in plan_lines(plan, wanted=options.apply):
            click.echo(line)
    if not plan.report.adds_up:
        ctx.exit(COULD_NOT_RUN)
    if plan.report.worst is not Severity.NOTE:
        ctx.exit(_WITH_REJECTS if plan.rejected else _WITH_WARNINGS)


def _require_as_much(settings: dict[str, str], origin: "Origin", *, update: bool) -> None:
    """Refuse to update from less than was imported: what is not read would be taken for gone."""
    from vpopsql.errors import ImportFailed
    from vpopsql.importer.apply import REMEMBERED
    from vpopsql.importer.origin import recall

    if not update or REMEMBERED not in settings:
        return
    last = recall(settings[REMEMBERED])
    if last.name == origin.name and last.vpopmail and not origin.vpopmail:
        raise ImportFailed(
            "the last import had --vpopmail: without it an update would remove all that it"
            " read there"
        )


def _read(config: "Config", origin: "Origin", jobs: int, progress: "Progress") -> "Scanned":
    return origin.read(
        config, jobs=jobs, progress=progress.of("reading"), copying=progress.of("copying", "rows")
    )


@contextmanager
def _database(config: "Config") -> "Iterator[Database]":
    from vpopsql.db import Database

    url, timeout_s = config.database.url, config.database.busy_timeout_s
    key_file = config.passwords.key_file
    with closing(Database(url, busy_timeout_s=timeout_s, key_file=key_file)) as database:
        database.require_schema()
        yield database


def _lines(objects: Iterable[dict[str, Any]]) -> Iterator[str]:
    return (json.dumps(each) + "\n" for each in objects)
