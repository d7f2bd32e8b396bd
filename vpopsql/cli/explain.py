"""``vpopsql explain``: what happens to mail for an address, and who may log in how."""

import json
import sys
from typing import Any

import click

from vpopsql.cli import COULD_NOT_RUN, load_config


class _Explain(click.Command):
    """A command of which wrong usage is another exit code than a defect of the site."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:  # noqa: ANN401 - click's
        """Read the command's options."""
        try:
            return super().make_context(*args, **options)
        except click.UsageError as error:
            error.show()
            sys.exit(COULD_NOT_RUN)


@click.command(cls=_Explain)
@click.argument("address", metavar="ADDRESS")
@click.option(
    "--format",
    "output",
    type=click.Choice(["text", "json"]),
    default="text",
    help="How it is shown; docs/explain.schema.json describes the JSON.",
)
@click.option("--no-files", is_flag=True, help="Do not compare files: this host has none.")
@click.option(
    "--qmail-ext",
    is_flag=True,
    help="vpopmail was built with --enable-qmail-ext: NAME-EXT is NAME's.",
)
@click.pass_context
def explain(
    ctx: click.Context, address: str, output: str, *, no_files: bool, qmail_ext: bool
) -> None:
    """Show what happens to mail for ADDRESS, and who may log in how.

    ADDRESS is USER@DOMAIN or USER@[IP]; a DOMAIN alone stands for the names that it does not have.

    Exit codes: 0 somebody gets the mail; 1 nobody does, or the domain is not ours; 2 something is
    wrong, such as a loop or a file that says otherwise than the database; 3 could not run.
    """
    from vpopsql.cli.explain_lines import lines_of
    from vpopsql.db import Database
    from vpopsql.explain import explanation, files, rows
    from vpopsql.explain.listing import as_object
    from vpopsql.shown import printable
    from vpopsql.tree import Tree

    config = load_config(ctx)
    paths = config.paths
    database = Database(
        config.database.url,
        busy_timeout_s=config.database.busy_timeout_s,
        key_file=config.passwords.key_file,
    )
    try:
        database.require_schema()
        with database.snapshot() as session:
            build = rows.Build(
                qmail_ext=qmail_ext,
                exact=config.export.delivery == "exact",
                exact_despite_quota=config.export.exact_despite_quota,
                has_accounts=config.export.has_accounts,
                assign_cdb=config.export.assign_cdb,
            )
            site = rows.read_site(session, paths.vpopmail, paths.qmail, build)
            found = explanation.explain(session, address, site)
    finally:
        database.close()
    if not no_files:
        found = files.examine(found, Tree(paths.root, paths.places))
    if output == "json":
        click.echo(json.dumps(as_object(found, files_read=not no_files), indent=2))
    else:
        for line in lines_of(found):
            click.echo(printable(line))
    ctx.exit(found.exit_code)
