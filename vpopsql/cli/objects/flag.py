"""``vpopsql flag``: what users may not do, and what they are."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from vpopsql.cli.objects import nouns
from vpopsql.cli.objects.nouns import ADDRESS, DOMAIN, FLAG, Noun

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from vpopsql.cli.objects.site import Effects
    from vpopsql.model import Flag
    from vpopsql.services.account_changes import Wishes

Names = tuple[str, str]


@click.group(cls=Noun)
def flag() -> None:
    """Add, list, show and delete flags of users, such as no_pop or domain_admin_privileges."""


@flag.command(examples=("vpopsql flag add alice@example.com no_pop no_imap",))
@click.argument("address", type=ADDRESS)
@click.argument("flags", metavar="FLAG...", type=FLAG, nargs=-1, required=True)
@nouns.changing
@click.pass_context
def add(
    ctx: click.Context,
    /,
    address: Names,
    flags: "Sequence[Flag]",
    **options: Any,  # noqa: ANN401 - as click gives them
) -> None:
    """Set flags of a user."""
    from vpopsql.cli.objects.fields import union
    from vpopsql.services.account_changes import Wishes

    _change(ctx, address, options, Wishes(set_flags=union(flags)))


@flag.command()
@click.argument("address", type=ADDRESS)
@click.argument("flags", metavar="FLAG...", type=FLAG, nargs=-1, required=True)
@nouns.changing
@click.pass_context
def delete(
    ctx: click.Context,
    /,
    address: Names,
    flags: "Sequence[Flag]",
    **options: Any,  # noqa: ANN401 - as click gives them
) -> None:
    """Clear flags of a user."""
    from vpopsql.cli.objects.fields import union
    from vpopsql.services.account_changes import Wishes

    _change(ctx, address, options, Wishes(clear_flags=union(flags)))


def _change(ctx: click.Context, address: Names, options: dict[str, Any], wishes: "Wishes") -> None:
    from vpopsql.cli.objects.site import opened
    from vpopsql.cli.objects.user import modify_user

    with opened(ctx) as site:

        def job(session: "Session", effects: "Effects", address: Names) -> None:
            modify_user(session, effects, site, address, wishes)

        site.print_each(job, [address], options)


@flag.command(name="list")
@click.argument("domain", type=DOMAIN, required=False)
@click.option("--flag", "only", type=FLAG, help="Only users that have this one.")
@nouns.listing
@click.pass_context
def list_(ctx: click.Context, domain: str | None, only: "Flag | None", output: str) -> None:
    """List the users of DOMAIN, or of all domains, that have flags."""
    from vpopsql.cli.objects.output import flag_names, print_rows
    from vpopsql.cli.objects.site import opened
    from vpopsql.model import Flag
    from vpopsql.reports.report import text
    from vpopsql.services import domains, listing

    columns = (text("address", "under the real domain"), text("flags", "by their names"))
    wanted = ~Flag(0) if only is None else only
    with opened(ctx) as site, site.database.snapshot() as session:
        of = domains.get_domain(session, domain).id if domain else None
        rows = (
            (f"{each.name}@{each.domain}", ",".join(flag_names(each.flags)))
            for each in listing.list_mailboxes(session, of, flags=wanted)
        )
        print_rows(output, "flags", columns, rows)


@flag.command()
@click.argument("address", type=ADDRESS)
@nouns.showing
@click.pass_context
def show(ctx: click.Context, address: Names, output: str) -> None:
    """Show every flag of a user, and whether it is set."""
    from vpopsql.cli.objects.output import print_thing
    from vpopsql.cli.objects.site import opened
    from vpopsql.flags import OPTIONS
    from vpopsql.services import accounts

    with opened(ctx) as site, site.database.reader() as session:
        found = accounts.get_account(session, *address)
    flags = {name: bool(found.flags & each) for name, each in OPTIONS.items()}
    print_thing(output, {"address": f"{found.name}@{found.domain}", **flags})
