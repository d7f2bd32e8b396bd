"""``vpopsql trash``: what was deleted, and how to get it back or rid of it."""

import contextlib
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from vpopsql.cli import load_config
from vpopsql.shown import printable

if TYPE_CHECKING:
    from vpopsql.config import Config
    from vpopsql.db import Database
    from vpopsql.tree import Tree


@click.group()
def trash() -> None:
    """List, restore and purge deleted mailboxes, domains, aliases and directories."""


@trash.command(name="list")
@click.option(
    "--format",
    "output",
    type=click.Choice(["table", "json"]),
    default="table",
    help="How the entries are listed.",
)
@click.pass_context
def list_(ctx: click.Context, output: str) -> None:
    """List what was deleted, the newest first."""
    from vpopsql import trash as bin_

    with _site(ctx) as (_, database, tree), database.reader() as session:
        entries = bin_.list_entries(session, tree)
    if output == "json":
        shown = [
            {
                "id": entry.id,
                "at": entry.at.isoformat(),
                "actor": entry.actor,
                "kind": entry.kind,
                "name": entry.name,
                "path": entry.path,
                "state": entry.state,
            }
            for entry in entries
        ]
        click.echo(json.dumps(shown, indent=2))
        return
    for entry in entries:
        line = (
            f"{entry.id:>6}  {entry.at:%Y-%m-%d %H:%M}  {entry.state:<13}  {entry.kind:<9}"
            f"  {entry.name}  {entry.path}"
        )
        click.echo(printable(line))


@trash.command()
@click.argument("entry_id", metavar="ID", type=int)
@click.pass_context
def restore(ctx: click.Context, entry_id: int) -> None:
    """Put back the entry with the number ID, rows and files."""
    from vpopsql import trash as bin_
    from vpopsql.cli.objects.site import Site
    from vpopsql.exporter.projector import Projector

    with _site(ctx) as (config, database, tree):
        actor = Site(config, database).actor
        with database.writer() as session:
            restored = bin_.restore(session, tree, entry_id, actor)
        Projector(database, config).follow(restored.touched)
    click.echo(printable(f"{restored.name} is back in {restored.path}"))
    if not restored.has_files:
        click.echo("there were no files in the trash: its directory has to be made", err=True)
        ctx.exit(1)


@trash.command()
@click.pass_context
def finish(ctx: click.Context) -> None:
    """Move to the trash what a crash left where it was; finish renaming that was cut off."""
    from vpopsql import trash as bin_
    from vpopsql.exporter import moving

    with _site(ctx) as (config, database, tree):
        renamed = moving.finish(database, config)
        with database.writer() as session:
            moved = bin_.finish(session, tree)
    for path in renamed + moved:
        click.echo(printable(path))
    click.echo(f"{len(moved)} moved")


@trash.command()
@click.option(
    "--older-than",
    "days",
    type=click.IntRange(min=0),
    help="Days since the deletion; else trash.retention_days.",
)
@click.option("--id", "entry_id", type=int, help="Only the entry with this number, of any age.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def purge(ctx: click.Context, days: int | None, entry_id: int | None, *, yes: bool) -> None:
    """Remove what was deleted long ago, for good."""
    from vpopsql import trash as bin_
    from vpopsql.cli.objects.site import Site
    from vpopsql.columns import utc_now
    from vpopsql.errors import NotInTrash

    with _site(ctx) as (config, database, tree):
        if days is None and entry_id is None:
            days = config.trash.retention_days or None
        before = None if days is None else utc_now() - timedelta(days=days)
        due = None if before is None and entry_id is None else bin_.Due(before, entry_id)
        with database.reader() as session:
            found = bin_.find_due(session, due) if due else ()
        if entry_id is not None and not found:
            raise NotInTrash(f"there is nothing in the trash with the number {entry_id}")
        for entry in found:
            click.echo(printable(f"{entry.id:>6}  {entry.kind:<9}  {entry.name}"))
        if found and not yes:
            click.confirm(f"Remove these {len(found)} for good?", abort=True)
        actor = Site(config, database).actor
        with database.writer() as session:
            bin_.finish(session, tree)
        with database.writer() as session:
            claimed = bin_.claim(session, actor, due)
        for entry in claimed:
            bin_.remove(tree, entry)
            with database.writer() as session:
                bin_.forget(session, entry)
    click.echo(f"{len(claimed)} purged")


@contextlib.contextmanager
def _site(ctx: click.Context) -> Iterator[tuple["Config", "Database", "Tree"]]:
    """Give what a command works on; say of an error which file it concerns."""
    from vpopsql.db import Database
    from vpopsql.errors import ExportFailed
    from vpopsql.tree import Tree, UnsafePath

    config = load_config(ctx)
    database = Database(
        config.database.url,
        busy_timeout_s=config.database.busy_timeout_s,
        key_file=config.passwords.key_file,
    )
    try:
        database.require_schema()
        yield config, database, Tree(config.paths.root, config.paths.places)
    except OSError as error:
        raise ExportFailed(f"{config.paths.root}{error.filename}: {error.strerror}") from error
    except UnsafePath as error:
        raise ExportFailed(str(error)) from error
    finally:
        database.close()
