"""``vpopsql alias-domain``: other names of domains."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from vpopsql.cli.objects import nouns
from vpopsql.cli.objects.nouns import DOMAIN, Noun

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from vpopsql.cli.objects.site import Effects, Site
    from vpopsql.services.domains import FoundDomain
    from vpopsql.services.renames import Renamed


@click.group(name="alias-domain", cls=Noun)
def alias_domain() -> None:
    """Add, list, show, modify, rename and delete alias domains: other names of a domain."""


@alias_domain.command(examples=("vpopsql alias-domain add example.org example.com",))
@click.argument("alias", type=DOMAIN)
@click.argument("domain", type=DOMAIN)
@nouns.changing
@click.pass_context
def add(ctx: click.Context, alias: str, domain: str, *, dry_run: bool, output: str) -> None:
    """Make ALIAS another name of DOMAIN."""
    from vpopsql.cli.objects.output import print_outcome
    from vpopsql.cli.objects.site import opened
    from vpopsql.services import domain_changes, domains

    with opened(ctx) as site:

        def job(session: "Session", effects: "Effects") -> None:
            # The service takes the two names in any order; a person's order is meant.
            real = domains.get_domain(session, domain).name
            domain_changes.add_alias_domain(session, site.actor, real, alias)
            effects.touched.names |= {alias, real}

        print_outcome(output, site.change(job, dry_run=dry_run))


@alias_domain.command(name="list")
@click.argument("domain", type=DOMAIN, required=False)
@nouns.listing
@click.pass_context
def list_(ctx: click.Context, domain: str | None, output: str) -> None:
    """List the alias domains, of DOMAIN or all."""
    from vpopsql.cli.objects.output import print_rows
    from vpopsql.cli.objects.site import opened
    from vpopsql.reports.report import text
    from vpopsql.services import domains, listing

    columns = (text("alias", "its name"), text("domain", "what it stands for"))
    with opened(ctx) as site, site.database.snapshot() as session:
        of = domains.get_domain(session, domain).id if domain else None
        print_rows(output, "alias-domains", columns, listing.list_alias_domains(session, of))


@alias_domain.command()
@click.argument("alias", type=DOMAIN)
@nouns.showing
@click.pass_context
def show(ctx: click.Context, alias: str, output: str) -> None:
    """Show what an alias domain stands for."""
    from vpopsql.cli.objects.output import print_thing
    from vpopsql.cli.objects.site import opened

    with opened(ctx) as site, site.database.reader() as session:
        found = _get(session, alias)
    print_thing(output, {"alias": alias, "domain": found.name, "directory": found.directory})


@alias_domain.command(examples=("vpopsql alias-domain modify example.org --domain example.net",))
@click.argument("alias", type=DOMAIN)
@click.option("--domain", type=DOMAIN, required=True, help="What it shall stand for.")
@nouns.changing
@click.pass_context
def modify(ctx: click.Context, alias: str, *, domain: str, dry_run: bool, output: str) -> None:
    """Let an alias domain stand for another domain."""
    from vpopsql.cli.objects.output import print_outcome
    from vpopsql.cli.objects.site import opened
    from vpopsql.services import domain_changes, domains

    with opened(ctx) as site:

        def job(session: "Session", effects: "Effects") -> None:
            real = domains.get_domain(session, domain).name
            if _get(session, alias).name == real:
                return
            _delete(session, effects, site, alias)
            domain_changes.add_alias_domain(session, site.actor, real, alias)

        print_outcome(output, site.change(job, dry_run=dry_run))


@alias_domain.command()
@click.argument("alias", type=DOMAIN)
@click.argument("new", metavar="NEW-NAME", type=DOMAIN)
@nouns.rewriting
@nouns.changing
@click.pass_context
def rename(
    ctx: click.Context,
    /,
    alias: str,
    new: str,
    **options: Any,  # noqa: ANN401 - as click gives them
) -> None:
    """Give an alias domain another name."""
    from vpopsql.cli.objects.renaming import rename_with
    from vpopsql.cli.objects.site import opened
    from vpopsql.services import renames

    with opened(ctx) as site:

        def job(session: "Session", effects: "Effects", how: renames.How) -> "Renamed":
            rewrites = how.rewrites_forwards
            done = renames.rename_alias_domain(
                session, site.actor, alias, new, rewrites_forwards=rewrites
            )
            effects.touched.names |= done.names
            effects.touched.dotqmail |= done.rewritten
            return done

        rename_with(site, job, options)


@alias_domain.command()
@click.argument("aliases", metavar="ALIAS...", type=DOMAIN, nargs=-1, required=True)
@nouns.changing
@click.pass_context
def delete(
    ctx: click.Context,
    /,
    aliases: Sequence[str],
    **options: Any,  # noqa: ANN401 - as click gives them
) -> None:
    """Delete alias domains; what they stand for stays."""
    from vpopsql.cli.objects.site import opened

    with opened(ctx) as site:

        def job(session: "Session", effects: "Effects", alias: str) -> None:
            _delete(session, effects, site, alias)

        site.print_each(job, aliases, options)


def _delete(session: "Session", effects: "Effects", site: "Site", alias: str) -> None:
    from vpopsql.services import domain_changes

    _get(session, alias)
    deleted = domain_changes.delete_domain(session, site.actor, alias)
    effects.touched.names |= deleted.names


def _get(session: "Session", alias: str) -> "FoundDomain":
    """Return what an alias domain stands for. :raises NoSuchDomain: it is none."""
    from vpopsql.errors import NoSuchDomain
    from vpopsql.services import domains

    found = domains.get_domain(session, alias)
    if found.name == alias:
        raise NoSuchDomain(f"{alias} is a domain of its own")
    return found
