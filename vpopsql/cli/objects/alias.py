"""``vpopsql alias``: addresses that lead elsewhere."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from vpopsql.cli.objects import nouns
from vpopsql.cli.objects.nouns import ADDRESS, DOMAIN, Noun

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from vpopsql.cli.objects.site import Effects, Site

Names = tuple[str, str]

_DESTINATION = "DESTINATION..."


@click.group(cls=Noun)
def alias() -> None:
    """Add, list, show, modify, rename and delete aliases: addresses that lead elsewhere.

    A destination is an address, or a line of a dot-qmail file: |PROGRAM, or a path.
    """


class _New(NamedTuple):
    address: Names
    lines: Sequence[str]


@alias.command(
    examples=(
        "vpopsql alias add info@example.com alice@example.com bob@example.org",
        "vpopsql alias add --from aliases.csv",
    )
)
@click.argument("address", type=ADDRESS, required=False)
@click.argument("destinations", metavar=_DESTINATION, nargs=-1)
@nouns.in_bulk("address", "destinations")
@nouns.changing
@click.pass_context
def add(
    ctx: click.Context,
    /,
    address: Names | None,
    destinations: Sequence[str],
    source: str | None,
    **options: Any,  # noqa: ANN401 - as click gives them
) -> None:
    """Add destinations to an alias, which is made if need be.

    With --from, a line of CSV has blanks or commas between destinations.
    """
    from vpopsql.cli.objects import batch
    from vpopsql.cli.objects.dotqmail import line_of
    from vpopsql.cli.objects.fields import address_of, words_of
    from vpopsql.cli.objects.site import opened

    nouns.one_or_many(ctx, address, "an alias and its destinations")
    if address and not destinations:
        raise click.UsageError("say where the alias leads to")
    with opened(ctx) as site:

        def job(session: "Session", effects: "Effects", new: _New) -> None:
            _add(session, effects, site, new)

        if address:
            new = _New(address, tuple(map(line_of, destinations)))
            site.print_each(job, [new], options)
            return

        def understand(fields: dict[str, Any]) -> _New:
            words = words_of(fields, "destinations")
            return _New(address_of(fields), tuple(map(line_of, words)))

        columns = ("address", "destinations")
        lines = batch.read(source or "", columns, columns, understand)
        asked = batch.Asked.of(source or "", options)
        batch.carry_out(site, asked, lines, batch.one_by_one(job), "aliases added")


def _add(session: "Session", effects: "Effects", site: "Site", new: _New) -> None:
    from vpopsql.services import accounts, dotqmail_changes
    from vpopsql.services.domains import get_domain

    name, domain = new.address[0], get_domain(session, new.address[1]).name
    for line in new.lines:
        place = dotqmail_changes.add_alias(session, site.actor, site.rules, name, domain, line)
        effects.touched.dotqmail.add(place.domain.name)
    if accounts.find_account(session, name, domain):
        click.echo(f"warning: mail for the user {name}@{domain} goes to the alias now", err=True)


@alias.command(name="list")
@click.argument("domain", type=DOMAIN, required=False)
@nouns.listing
@click.pass_context
def list_(ctx: click.Context, domain: str | None, output: str) -> None:
    """List the aliases of DOMAIN, or of all domains; a row for each destination."""
    from vpopsql.cli.objects.output import print_rows
    from vpopsql.cli.objects.site import opened
    from vpopsql.reports.report import text
    from vpopsql.services import domains, listing

    columns = (
        text("address", "under the real domain"),
        text("destination", "the line of the dot-qmail file"),
        text("kind", "forward, program, maildir, mbox or comment"),
    )
    with opened(ctx) as site, site.database.snapshot() as session:
        of = domains.get_domain(session, domain).id if domain else None
        rows = (
            (f"{each.name}@{each.domain}", each.line, each.kind.value)
            for each in listing.list_alias_lines(session, of)
        )
        print_rows(output, "aliases", columns, rows)


@alias.command()
@click.argument("address", type=ADDRESS)
@nouns.showing
@click.pass_context
def show(ctx: click.Context, address: Names, output: str) -> None:
    """Show where an alias leads to."""
    from vpopsql.cli.objects.output import print_thing
    from vpopsql.cli.objects.site import opened
    from vpopsql.errors import NoSuchAlias
    from vpopsql.services import domains, listing

    with opened(ctx) as site, site.database.snapshot() as session:
        domain = domains.get_domain(session, address[1])
        lines = list(listing.list_alias_lines(session, domain.id, address[0]))
        if not lines:
            raise NoSuchAlias(f"{address[0]}@{domain.name}")
    thing = {
        "address": f"{address[0]}@{domain.name}",
        "destinations": [each.line for each in lines],
    }
    print_thing(output, thing)


@alias.command(examples=("vpopsql alias modify info@example.com --to alice@example.com",))
@click.argument("address", type=ADDRESS)
@click.option("--to", multiple=True, metavar="DESTINATION", help="These, instead of all others.")
@click.option("--add", "more", multiple=True, metavar="DESTINATION", help="This one as well.")
@click.option("--remove", multiple=True, metavar="DESTINATION", help="This one no longer.")
@nouns.changing
@click.pass_context
def modify(
    ctx: click.Context,
    /,
    address: Names,
    *,
    to: Sequence[str],
    more: Sequence[str],
    remove: Sequence[str],
    **options: Any,  # noqa: ANN401 - as click gives them
) -> None:
    """Change where an alias leads to; each option can be given several times."""
    from vpopsql.cli.objects import dotqmail
    from vpopsql.cli.objects.site import opened
    from vpopsql.errors import InvalidValue

    if bool(to) == bool(more or remove):
        raise click.UsageError("give --to, or --add and --remove")
    with opened(ctx) as site:
        new, added, removed = (tuple(map(dotqmail.line_of, each)) for each in (to, more, remove))

        def job(session: "Session", effects: "Effects", address: Names) -> None:
            place, found = dotqmail.get_alias(session, site, address)
            lines = new or [*found.lines, *(each for each in added if each not in found.lines)]
            bare = {each.removeprefix("&") for each in lines}
            for each in removed:
                if each.removeprefix("&") not in bare:
                    raise InvalidValue(f"{'@'.join(address)} does not lead to {each}")
            gone = {each.removeprefix("&") for each in removed}
            left = [each for each in lines if each.removeprefix("&") not in gone]
            if not left:
                raise InvalidValue("nothing would be left: see `vpopsql alias delete`")
            dotqmail.write(session, effects, site, place, left)

        site.print_each(job, [address], options)


@alias.command()
@click.argument("address", type=ADDRESS)
@click.argument("new", metavar="NEW-ADDRESS", type=ADDRESS)
@nouns.changing
@click.pass_context
def rename(
    ctx: click.Context,
    /,
    address: Names,
    new: Names,
    **options: Any,  # noqa: ANN401 - as click gives them
) -> None:
    """Give an alias another name, in another domain, too."""
    from vpopsql.cli.objects import dotqmail
    from vpopsql.cli.objects.site import opened
    from vpopsql.daemon.delivery import path_of
    from vpopsql.errors import InvalidAlias, NameInUse
    from vpopsql.names import new_user_name_problem
    from vpopsql.services import accounts, dotqmail_changes

    with opened(ctx) as site:

        def job(session: "Session", effects: "Effects", new: Names) -> None:
            source, _ = dotqmail.get_alias(session, site, address)
            target = dotqmail.alias_place(session, site, new)
            if problem := new_user_name_problem(new[0]):
                raise InvalidAlias(f"{'@'.join(new)}: {problem}")
            if dotqmail_changes.has_file(session, target):
                raise NameInUse(f"{'@'.join(new)} is an alias")
            if accounts.find_account(session, *new):
                raise NameInUse(f"{'@'.join(new)} is a user")
            dotqmail_changes.rename_file(session, site.actor, site.rules, source, target)
            effects.touched.dotqmail |= {source.domain.name, target.domain.name}
            effects.touched.removed.add(path_of(source))

        site.print_each(job, [new], options)


@alias.command()
@click.argument("addresses", metavar="ADDRESS...", type=ADDRESS, nargs=-1)
@nouns.in_bulk("address")
@nouns.changing
@click.pass_context
def delete(
    ctx: click.Context,
    /,
    addresses: Sequence[Names],
    source: str | None,
    **options: Any,  # noqa: ANN401 - as click gives them
) -> None:
    """Delete aliases with all their destinations."""
    from vpopsql.cli.objects import batch, dotqmail
    from vpopsql.cli.objects.fields import address_of
    from vpopsql.cli.objects.site import opened

    nouns.one_or_many(ctx, addresses, "aliases")
    with opened(ctx) as site:

        def job(session: "Session", effects: "Effects", address: Names) -> None:
            place, _ = dotqmail.get_alias(session, site, address)
            dotqmail.write(session, effects, site, place, ())

        if source:
            lines = batch.read(source, ("address",), ("address",), address_of)
            asked = batch.Asked.of(source, options)
            batch.carry_out(site, asked, lines, batch.one_by_one(job), "aliases deleted")
        else:
            site.print_each(job, addresses, options)
