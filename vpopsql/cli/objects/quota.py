"""``vpopsql quota``: how much users may hold."""

from typing import TYPE_CHECKING, Any

import click

from vpopsql.cli.objects import nouns
from vpopsql.cli.objects.nouns import ADDRESS, DOMAIN, QUOTA, Noun

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from vpopsql.cli.objects.site import Effects
    from vpopsql.quota import Quota

Names = tuple[str, str]


@click.group(cls=Noun)
def quota() -> None:
    """List, show, modify and delete quotas of users: see `vpopsql usage` for what they hold."""


@quota.command(name="list")
@click.argument("domain", type=DOMAIN, required=False)
@nouns.listing
@click.pass_context
def list_(ctx: click.Context, domain: str | None, output: str) -> None:
    """List the quotas of DOMAIN's users, or of all."""
    from vpopsql.cli.objects.output import print_rows
    from vpopsql.cli.objects.site import opened
    from vpopsql.reports.report import number, size, text
    from vpopsql.services import domains, listing

    columns = (
        text("address", "under the real domain"),
        size("quota_bytes", "how much it may hold", "no limit"),
        number("quota_messages", "how many messages it may hold", "no limit"),
    )
    with opened(ctx) as site, site.database.snapshot() as session:
        of = domains.get_domain(session, domain).id if domain else None
        rows = (
            (f"{each.name}@{each.domain}", each.quota_bytes, each.quota_messages)
            for each in listing.list_mailboxes(session, of)
        )
        print_rows(output, "quotas", columns, rows)


@quota.command()
@click.argument("address", type=ADDRESS)
@nouns.showing
@click.pass_context
def show(ctx: click.Context, address: Names, output: str) -> None:
    """Show the quota of a user."""
    from vpopsql.cli.objects.output import print_thing
    from vpopsql.cli.objects.site import opened
    from vpopsql.quota import Quota
    from vpopsql.services import accounts

    with opened(ctx) as site, site.database.reader() as session:
        found = accounts.get_account(session, *address)
    meant = Quota.parse(found.quota_text)
    thing = {
        "address": f"{found.name}@{found.domain}",
        "quota": found.quota_text,
        "bytes": meant.bytes,
        "messages": meant.messages,
    }
    print_thing(output, thing)


@quota.command(examples=("vpopsql quota modify alice@example.com 500M",))
@click.argument("address", type=ADDRESS)
@click.argument("new", metavar="QUOTA", type=QUOTA)
@nouns.changing
@click.pass_context
def modify(
    ctx: click.Context,
    /,
    address: Names,
    new: "Quota",
    **options: Any,  # noqa: ANN401 - as click gives them
) -> None:
    """Change the quota of a user: 500M, 10485760S,1000C (bytes and messages), or none."""
    _change(ctx, address, new, options)


@quota.command()
@click.argument("address", type=ADDRESS)
@nouns.changing
@click.pass_context
def delete(
    ctx: click.Context,
    /,
    address: Names,
    **options: Any,  # noqa: ANN401 - as click gives them
) -> None:
    """Let a user hold as much as there is room."""
    from vpopsql.quota import Quota

    _change(ctx, address, Quota(), options)


def _change(ctx: click.Context, address: Names, new: "Quota", options: dict[str, Any]) -> None:
    from vpopsql.cli.objects.site import opened
    from vpopsql.cli.objects.user import modify_user
    from vpopsql.services.account_changes import Wishes

    with opened(ctx) as site:

        def job(session: "Session", effects: "Effects", address: Names) -> None:
            modify_user(session, effects, site, address, Wishes(quota=new))

        site.print_each(job, [address], options)
