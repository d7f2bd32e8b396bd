"""What all renaming has in common: the directory moves, and forwards may follow."""

import sys
from collections.abc import Callable
from typing import Any

import click
from sqlalchemy.orm import Session

from vpopsql.cli.objects.output import print_outcome
from vpopsql.cli.objects.site import Effects, Site
from vpopsql.moves import Move
from vpopsql.services.renames import How, Renamed


def move(effects: Effects, done: Renamed) -> None:
    """Let the directory get its new name, if it has one."""
    if done.directory:
        names = tuple(sorted(done.names))
        effects.moves.append(Move(*done.directory, done.domain.id, done.domain.name, names))


def rename_with(
    site: Site, job: Callable[[Session, Effects, How], Renamed], options: dict[str, Any]
) -> None:
    """Rename something; ask about forwards if no option tells; say what was done."""
    leaves, rewrite = options.get("leave_forward", False), options["rewrite"]
    dry_run = options["dry_run"]
    if rewrite is None and not dry_run and sys.stdin.isatty():
        found = site.change(lambda s, e: job(s, e, How(leaves)), dry_run=True).result
        if found.forwards:
            question = f"forwards to {found.old}: {found.forwards}; let them lead to {found.new}?"
            rewrite = click.confirm(question, default=True, err=True)
    how = How(leaves, bool(rewrite))
    outcome = site.change(lambda s, e: job(s, e, how), dry_run=dry_run)
    print_outcome(options["output"], outcome)
    done = outcome.result
    for warning in done.warnings:
        click.echo(f"warning: {warning}", err=True)
    if done.forwards and not rewrite:
        click.echo(
            f"warning: forwards that still lead to {done.old}: {done.forwards};"
            " with --rewrite-forwards they lead to the new name",
            err=True,
        )
