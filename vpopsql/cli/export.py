"""``vpopsql export``: the files that qmail and vpopmail read."""

import contextlib
import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vpopsql.cli import load_config
from vpopsql.cli.follow import follow
from vpopsql.cli.hooks import hooks, tell
from vpopsql.shown import printable

if TYPE_CHECKING:
    from vpopsql.exporter.apply import Applied
    from vpopsql.exporter.delivery import Warned
    from vpopsql.exporter.plan import Change, Comparison
    from vpopsql.exporter.reasons import Reasons

F = TypeVar("F", bound=Callable[..., Any])

PLAN_FORMAT = "vpopsql-export-plan/1"

_REASONS_SHOWN = 5
_ADDRESSES_SHOWN = 5  # of those that a warning concerns; --format json has all


def _format(*choices: str) -> Callable[[F], F]:
    return click.option(
        "--format",
        "output",
        type=click.Choice(choices),
        default=choices[0],
        help="What is printed.",
        show_default=True,
    )


@click.group()
def export() -> None:
    """Write the files that qmail and vpopmail read."""


export.add_command(follow)
export.add_command(hooks)


@export.command()
@click.option("--summary", is_flag=True, help="Only name the files, without what differs.")
@_format("text", "json")
@click.pass_context
def plan(ctx: click.Context, output: str, *, summary: bool) -> None:
    """Show what `apply` would change, and why; change nothing.

    Exit status: 0 when the files are as the database says, 1 when `apply` would change some.
    """
    from vpopsql.db import Database
    from vpopsql.exporter import apply as exporter
    from vpopsql.exporter.locking import explained
    from vpopsql.exporter.reasons import Reasons

    config = load_config(ctx)
    database = Database(
        config.database.url,
        busy_timeout_s=config.database.busy_timeout_s,
        key_file=config.passwords.key_file,
    )
    try:
        database.require_schema()
        with explained(config.paths):
            comparison = exporter.plan(database, config)
            with database.reader() as session:
                reasons = Reasons(session)
            show = _plan_as_json if output == "json" else _plan_as_text
            number = show(comparison, reasons, summary=summary)
    finally:
        database.close()
    ctx.exit(1 if number else 0)


@export.command()
@click.option(
    "--plan",
    "planned",
    metavar="ID",
    help="Write nothing unless this plan, as `plan` names it, is what is to be done now.",
)
@_format("table", "json")
@click.pass_context
def apply(ctx: click.Context, output: str, planned: str | None) -> None:
    """Bring every file to what the database says, and list those that changed."""
    from vpopsql.db import Database
    from vpopsql.exporter import apply as exporter
    from vpopsql.exporter import moving

    config = load_config(ctx)
    database = Database(
        config.database.url,
        busy_timeout_s=config.database.busy_timeout_s,
        key_file=config.passwords.key_file,
    )
    try:
        database.require_schema()
        moving.finish(database, config)
        applied = exporter.apply(database, config, planned=planned)
        failures = tell(database, config)
    finally:
        database.close()
    if output == "json":
        _print_json(_described(applied))
    else:
        _print_applied(applied)
        click.echo(f"{_counted(applied)}; at revision {applied.revision}")
    ctx.exit(1 if failures else 0)


@export.command()
@click.argument("generation", type=click.IntRange(min=0), required=False)
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option(
    "--force", is_flag=True, help="Even if mail of names that are accepted now would bounce then."
)
@_format("table", "json")
@click.pass_context
def rollback(
    ctx: click.Context, generation: int | None, output: str, *, dry_run: bool, force: bool
) -> None:
    """Give every file the content it had at the end of GENERATION, of the one before by default.

    The database is not asked and not changed: the next `apply` brings the files back to it.
    """
    from vpopsql.db import Database
    from vpopsql.exporter import rollback as exporter

    config = load_config(ctx)
    if dry_run:
        changes = exporter.plan_back(config, generation)
        if output == "json":
            _print_json({"changes": [_change(change, summary=False) for change in changes]})
            return
        for change in changes:
            _print_change(change, summary=False)
        click.echo(f"{_files(len(changes))} would change")
        return
    number, applied = exporter.roll_back(config, generation, may_strand=force)
    if output == "json":
        described = _described(applied)
        # Files may be of several.
        del described["revision"]
        _print_json({"generation": number} | described)
    else:
        _print_applied(applied)
        click.echo(
            f"{_counted(applied)}, back at generation {number}. The database says otherwise"
            " still: see `vpopsql export plan`"
        )
    with contextlib.closing(Database(config.database.url)) as database:
        ctx.exit(1 if tell(database, config) else 0)


@export.command()
@_format("table", "json")
@click.pass_context
def generations(ctx: click.Context, output: str) -> None:
    """List the applies that can be taken back, the newest last."""
    from vpopsql.exporter.rollback import generations as all_generations

    found = all_generations(load_config(ctx))
    if output == "json":
        _print_json(
            [
                {
                    "generation": each.number,
                    "at": each.at.isoformat(),
                    "revision": each.revision,
                    "what": each.what,
                    "replaced": each.replaced,
                    "made": each.made,
                }
                for each in found
            ]
        )
        return
    for each in found:
        at = f"{each.at:%Y-%m-%d %H:%M:%S}Z"
        files = f"{len(each.replaced)} replaced, {len(each.made)} made"
        click.echo(f"{each.number:>6}  {at}  revision {each.revision}  {each.what}: {files}")


def _plan_as_text(comparison: "Comparison", reasons: "Reasons", *, summary: bool) -> int:
    number = 0
    for number, change in enumerate(comparison.changes(), 1):  # noqa: B007 - counted
        _print_change(change, summary=summary)
        why = reasons.of(change)
        for reason in why.reasons[:_REASONS_SHOWN]:
            at = f"{reason.at:%Y-%m-%d %H:%M:%S}Z"
            click.echo(
                printable(f"  because: {at} {reason.actor}: {reason.action} {reason.object}")
            )
        if len(why.reasons) > _REASONS_SHOWN:
            click.echo(f"  because: and {len(why.reasons) - _REASONS_SHOWN} more changes before")
        if why.note:
            click.echo(f"  note: {why.note}")
    for path in comparison.extra:
        click.echo(f"{printable(path)}: not in the database, stays as it is", err=True)
    for (code, text), addresses in _grouped(comparison.warnings()).items():
        click.echo(f"warning: {code}: {text}")
        if shown := [address for address in addresses if address][:_ADDRESSES_SHOWN]:
            more = (
                f" and {len(addresses) - len(shown)} more" if len(addresses) > len(shown) else ""
            )
            click.echo(printable(f"  {', '.join(shown)}{more}"))
    if pending := comparison.reload_is_pending:
        click.echo("the reload command is still to be run: `vpopsql export apply`")
    at = f"at revision {comparison.snapshot.revision}"
    click.echo(
        f"{_files(number)} would change, {at}: `vpopsql export apply --plan {comparison.digest}`"
        if number
        else f"the files are as the database says, {at}"
    )
    return number + pending


def _plan_as_json(comparison: "Comparison", reasons: "Reasons", *, summary: bool) -> int:
    """Print a line for the plan, one for each change, and one for the end."""
    number = 0
    click.echo(json.dumps({"format": PLAN_FORMAT, "revision": comparison.snapshot.revision}))
    for number, change in enumerate(comparison.changes(), 1):  # noqa: B007 - counted
        why = reasons.of(change)
        because = [
            {"at": each.at.isoformat(), "actor": each.actor, "action": each.action}
            | {"object": each.object}
            for each in why.reasons
        ]
        described = _change(change, summary=summary)
        click.echo(json.dumps(described | {"reasons": because, "note": why.note}))
    end = {
        "changes": number,
        "plan": comparison.digest,
        "extra": comparison.extra,
        "warnings": [warned._asdict() for warned in comparison.warnings()],
        "reload_pending": comparison.reload_is_pending,
    }
    click.echo(json.dumps(end))
    return number + comparison.reload_is_pending


def _grouped(warnings: Iterable["Warned"]) -> dict[tuple[str, str], list[str]]:
    groups: dict[tuple[str, str], list[str]] = {}
    for warned in warnings:
        groups.setdefault((warned.code, warned.text), []).append(warned.address)
    return groups


def _change(change: "Change", *, summary: bool) -> dict[str, Any]:
    from vpopsql.exporter.diff import unified

    described: dict[str, Any] = {
        "path": change.path,
        "kind": change.kind.value,
        "domain": change.domain,
    }
    return described if summary else described | {"diff": list(unified(change))}


def _print_change(change: "Change", *, summary: bool) -> None:
    from vpopsql.exporter.diff import unified

    click.echo(printable(f"{change.kind}: {change.path}"))
    for line in () if summary else unified(change):
        click.echo(printable(line))


def _described(applied: "Applied") -> dict[str, Any]:
    return {
        "changed": applied.changed,
        "extra": applied.extra,
        "reloaded": applied.reloaded,
        "revision": applied.revision,
        "swept": applied.swept,
    }


def _print_applied(applied: "Applied") -> None:
    for path in applied.changed:
        click.echo(printable(path))
    for path in applied.extra:
        click.echo(f"{printable(path)}: not in the database, left as it is", err=True)
    for path in applied.swept:
        click.echo(f"{printable(path)}: half-written by a killed process, removed", err=True)


def _counted(applied: "Applied") -> str:
    reloaded = ", qmail-send reloaded" if applied.reloaded else ""
    return f"{_files(len(applied.changed))} changed{reloaded}"


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number} files"


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2))
