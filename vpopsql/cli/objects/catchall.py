"""``vpopsql catchall``: what happens to mail for names that a domain does not have."""

from typing import TYPE_CHECKING

import click

from vpopsql.cli.objects import nouns
from vpopsql.cli.objects.nouns import DOMAIN, Noun

if TYPE_CHECKING:
    from vpopsql.services.listing import DomainRow


@click.group(cls=Noun)
def catchall() -> None:
    """List, show and modify catch-alls: what happens to mail for unknown names."""


@catchall.command(name="list")
@nouns.listing
@click.pass_context
def list_(ctx: click.Context, output: str) -> None:
    """List the catch-alls of all domains."""
    from vpopsql.cli.objects.output import print_rows
    from vpopsql.cli.objects.site import opened
    from vpopsql.reports.report import text
    from vpopsql.services import listing

    columns = (
        text("domain", "its name"),
        text("catchall", "none, bounce, delete, address, directory or dotqmail"),
        text("target", "the address or directory", "-"),
    )
    with opened(ctx) as site, site.database.snapshot() as session:
        rows = (
            (each.name, each.catchall.value, each.catchall_target)
            for each in listing.list_domains(session)
        )
        print_rows(output, "catchalls", columns, rows)


@catchall.command()
@click.argument("domain", type=DOMAIN)
@nouns.showing
@click.pass_context
def show(ctx: click.Context, domain: str, output: str) -> None:
    """Show what happens to mail for names that DOMAIN does not have."""
    from vpopsql.cli.objects.output import print_thing
    from vpopsql.cli.objects.site import opened
    from vpopsql.services import domains, listing
    from vpopsql.services.dotqmail_changes import DEFAULT, Place, read_file

    with opened(ctx) as site, site.database.snapshot() as session:
        found = domains.get_domain(session, domain)
        row: DomainRow = next(
            each for each in listing.list_domains(session, found.name) if each.name == found.name
        )
        content = read_file(session, site.rules, Place(found, None, found.directory, DEFAULT))
    thing = {
        "domain": found.name,
        "catchall": row.catchall.value,
        "target": row.catchall_target,
        "lines": list(content.lines) if content else [],
    }
    print_thing(output, thing)


@catchall.command(
    examples=(
        "vpopsql catchall modify example.com bounce",
        "vpopsql catchall modify example.com alice@example.com",
    )
)
@click.argument("domain", type=DOMAIN)
@click.argument("what")
@nouns.changing
@click.pass_context
def modify(ctx: click.Context, domain: str, what: str, *, dry_run: bool, output: str) -> None:
    """Say what happens to mail for names that DOMAIN does not have.

    WHAT is bounce, delete, an address, the directory of a mailbox, or none: then there is no
    .qmail-default, and no mailbox gets mail either.
    """
    from vpopsql.cli.objects.dotqmail import set_catchall
    from vpopsql.cli.objects.output import print_outcome
    from vpopsql.cli.objects.site import opened

    with opened(ctx) as site:
        job = set_catchall(site, domain, what)
        print_outcome(output, site.change(job, dry_run=dry_run))
