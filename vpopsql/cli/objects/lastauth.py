"""``vpopsql lastauth``: when users last logged in."""

import click

from vpopsql.cli.objects import nouns
from vpopsql.cli.objects.nouns import ADDRESS, DOMAIN, Noun

Names = tuple[str, str]


@click.group(cls=Noun)
def lastauth() -> None:
    """List and show when users last logged in, by service, and from where."""


@lastauth.command(name="list")
@click.argument("domain", type=DOMAIN, required=False)
@nouns.listing
@click.pass_context
def list_(ctx: click.Context, domain: str | None, output: str) -> None:
    """List the last logins of DOMAIN's users, or of all; a row for each service."""
    from vpopsql.cli.objects.output import print_rows
    from vpopsql.cli.objects.site import opened
    from vpopsql.reports.report import text, time
    from vpopsql.services import domains, listing

    columns = (
        text("address", "under the real domain"),
        text("service", "imap, pop3, smtp, …; any where the source does not tell"),
        time("at", "when", "never"),
        text("ip", "from where", "-"),
    )
    with opened(ctx) as site, site.database.snapshot() as session:
        of = domains.get_domain(session, domain).id if domain else None
        rows = (
            (f"{each.name}@{each.domain}", each.service, each.at, each.remote_ip)
            for each in listing.list_logins(session, of)
        )
        print_rows(output, "lastauth", columns, rows)


@lastauth.command()
@click.argument("address", type=ADDRESS)
@nouns.showing
@click.pass_context
def show(ctx: click.Context, address: Names, output: str) -> None:
    """Show when a user last logged in by each service."""
    from vpopsql.cli.objects.output import print_thing
    from vpopsql.cli.objects.site import opened
    from vpopsql.services import accounts, domains, listing

    with opened(ctx) as site, site.database.snapshot() as session:
        found = accounts.get_account(session, *address)
        domain = domains.get_domain(session, address[1])
        logins = [
            each
            for each in listing.list_logins(session, domain.id, found.name)
            if each.at is not None
        ]
    newest = max(logins, key=lambda each: str(each.at), default=None)
    thing = {
        "address": f"{found.name}@{found.domain}",
        "last_auth_at": newest.at if newest else None,
        "ip": newest.remote_ip if newest else None,
        "services": {
            each.service: f"{each.at:%Y-%m-%dT%H:%M:%SZ} from {each.remote_ip}" for each in logins
        },
    }
    print_thing(output, thing)
