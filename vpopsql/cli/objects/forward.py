"""``vpopsql forward``: where a user's mail goes besides the mailbox, or instead of it."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from vpopsql.cli.objects import nouns
from vpopsql.cli.objects.nouns import ADDRESS, DOMAIN, Noun

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from vpopsql.cli.objects.site import Effects, Site
    from vpopsql.services.listing import LineRow

Names = tuple[str, str]

_COPY = click.option(
    "--copy/--no-copy",
    "copy",
    default=None,
    help="Whether a copy stays in the mailbox.  [default: as it is; none for a first forward]",
)


@click.group(cls=Noun)
def forward() -> None:
    """Add, list, show, modify and delete forwards of users, who have a mailbox.

    For an address without a mailbox see `vpopsql alias`.
    """


@forward.command(examples=("vpopsql forward add alice@example.com alice@example.org --copy",))
@click.argument("address", type=ADDRESS)
@click.argument("destinations", metavar="DESTINATION...", nargs=-1, required=True)
@_COPY
@nouns.changing
@click.pass_context
def add(
    ctx: click.Context,
    /,
    address: Names,
    destinations: Sequence[str],
    **options: Any,  # noqa: ANN401 - as click gives them
) -> None:
    """Let the mail of a user go to other addresses as well."""
    _change(ctx, address, destinations, options, keeps_others=True)


@forward.command(examples=("vpopsql forward modify alice@example.com --no-copy",))
@click.argument("address", type=ADDRESS)
@click.option("--to", multiple=True, metavar="DESTINATION", help="These, instead of all others.")
@_COPY
@nouns.changing
@click.pass_context
def modify(
    ctx: click.Context,
    /,
    address: Names,
    to: Sequence[str],
    **options: Any,  # noqa: ANN401 - as click gives them
) -> None:
    """Change where the mail of a user goes."""
    if not to and options["copy"] is None:
        raise click.UsageError("give --to, --copy or --no-copy")
    _change(ctx, address, to, options, keeps_others=not to)


def _change(
    ctx: click.Context,
    address: Names,
    destinations: Sequence[str],
    options: dict[str, Any],
    *,
    keeps_others: bool,
) -> None:
    from vpopsql.cli.objects import dotqmail
    from vpopsql.cli.objects.site import opened
    from vpopsql.errors import NoSuchAlias
    from vpopsql.model import LineKind

    with opened(ctx) as site:
        new = [dotqmail.line_of(each) for each in destinations]

        def job(session: "Session", effects: "Effects", address: Names) -> None:
            place = dotqmail.mailbox_place(session, address)
            found = _lines(session, site, place)
            if not destinations and not found:
                raise NoSuchAlias(f"{'@'.join(address)} has no forward")
            box = f"{place.home}/Maildir/"
            copy = _has_copy(found, box) if options["copy"] is None else options["copy"]
            # Robots and other programs stay, whatever becomes of the addresses.
            others = [each for each in found if not _is_copy(each, box)]
            if not keeps_others:
                others = [x for x in others if dotqmail.kind_of(site, x) is not LineKind.FORWARD]
            lines = [*others, *(each for each in new if each not in others)]
            dotqmail.write(session, effects, site, place, [*([box] if copy else []), *lines])

        site.print_each(job, [address], options)


@forward.command(name="list")
@click.argument("domain", type=DOMAIN, required=False)
@nouns.listing
@click.pass_context
def list_(ctx: click.Context, domain: str | None, output: str) -> None:
    """List the forwards of DOMAIN's users, or of all; a row for each destination."""
    from vpopsql.cli.objects.output import print_rows
    from vpopsql.cli.objects.site import opened
    from vpopsql.reports.report import text
    from vpopsql.services import domains, listing

    columns = (
        text("address", "the user, under the real domain"),
        text("destination", "the line of the dot-qmail file"),
        text("kind", "forward, program, maildir, mbox or comment"),
    )
    with opened(ctx) as site, site.database.snapshot() as session:
        of = domains.get_domain(session, domain).id if domain else None
        rows = (
            (f"{each.name}@{each.domain}", each.line, each.kind.value)
            for each in listing.list_forward_lines(session, of)
        )
        print_rows(output, "forwards", columns, rows)


@forward.command()
@click.argument("address", type=ADDRESS)
@nouns.showing
@click.pass_context
def show(ctx: click.Context, address: Names, output: str) -> None:
    """Show where the mail of a user goes."""
    from vpopsql.cli.objects.output import print_thing
    from vpopsql.cli.objects.site import opened
    from vpopsql.model import LineKind
    from vpopsql.services import accounts, domains, listing

    with opened(ctx) as site, site.database.snapshot() as session:
        found = accounts.get_account(session, *address)
        domain = domains.get_domain(session, address[1])
        lines = list(listing.list_forward_lines(session, domain.id, found.name))
    box = f"{found.directory.rstrip('/')}/Maildir/"
    to_addresses = _texts(lines, {LineKind.FORWARD})
    thing = {
        "address": f"{found.name}@{found.domain}",
        "forwards": [each.lstrip("&") for each in to_addresses],
        "others": [
            each
            for each in _texts(lines, {LineKind.PROGRAM, LineKind.MBOX, LineKind.MAILDIR})
            if not _is_copy(each, box)
        ],
        # Without a file the mailbox is where mail goes.
        "copy": not lines or _has_copy([each.line for each in lines], box),
    }
    print_thing(output, thing)


@forward.command()
@click.argument("address", type=ADDRESS)
@click.argument("destinations", metavar="[DESTINATION...]", nargs=-1)
@nouns.changing
@click.pass_context
def delete(
    ctx: click.Context,
    /,
    address: Names,
    destinations: Sequence[str],
    **options: Any,  # noqa: ANN401 - as click gives them
) -> None:
    """Delete forwards of a user, all unless some are named; without any, mail stays here."""
    from vpopsql.cli.objects import dotqmail
    from vpopsql.cli.objects.site import opened
    from vpopsql.errors import NoSuchAlias
    from vpopsql.model import LineKind

    with opened(ctx) as site:
        gone = {dotqmail.line_of(each).removeprefix("&") for each in destinations}

        def job(session: "Session", effects: "Effects", address: Names) -> None:
            place = dotqmail.mailbox_place(session, address)
            found = _lines(session, site, place)
            forwards = {
                each.removeprefix("&").strip()
                for each in found
                if dotqmail.kind_of(site, each) is LineKind.FORWARD
            }
            going = gone or forwards
            if missing := sorted(going - {each.removeprefix("&").strip() for each in found}):
                raise NoSuchAlias(f"{'@'.join(address)} has no forward to {missing[0]}")
            if not going:
                raise NoSuchAlias(f"{'@'.join(address)} has no forward")
            left = [each for each in found if each.removeprefix("&").strip() not in going]
            # A copy alone is what happens without a file.
            box = f"{place.home}/Maildir/"
            is_plain = all(_is_copy(each, box) or not each.strip() for each in left)
            dotqmail.write(session, effects, site, place, [] if is_plain else left)

        site.print_each(job, [address], options)


def _lines(session: "Session", site: "Site", place: Any) -> Sequence[str]:  # noqa: ANN401
    from vpopsql.services.dotqmail_changes import read_file

    content = read_file(session, site.rules, place)
    return content.lines if content else ()


def _has_copy(lines: Iterable[str], box: str) -> bool:
    return any(_is_copy(each, box) for each in lines)


def _is_copy(line: str, box: str) -> bool:
    return line.strip() in {box, "./Maildir/"}


def _texts(lines: "Iterable[LineRow]", kinds: set[Any]) -> list[str]:
    return [each.line for each in lines if each.kind in kinds]
