"""``vpopsql ipmap``: the domains that logins without one belong to."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from vpopsql.cli.objects import nouns
from vpopsql.cli.objects.nouns import DOMAIN, Noun

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from vpopsql.cli.objects.site import Effects


@click.group(cls=Noun)
def ipmap() -> None:
    """Add, list, show, modify and delete mappings of IP addresses to domains.

    A login without a domain belongs to the domain of the address that the client connected to.
    """


@ipmap.command(examples=("vpopsql ipmap add 192.0.2.1 example.com",))
@click.argument("ip", metavar="IP")
@click.argument("domain", type=DOMAIN)
@nouns.changing
@click.pass_context
def add(ctx: click.Context, ip: str, domain: str, *, dry_run: bool, output: str) -> None:
    """Map an IP address to a domain."""
    _map(ctx, (ip, domain), {"dry_run": dry_run, "output": output}, is_new=True)


@ipmap.command()
@click.argument("ip", metavar="IP")
@click.argument("domain", type=DOMAIN)
@nouns.changing
@click.pass_context
def modify(ctx: click.Context, ip: str, domain: str, *, dry_run: bool, output: str) -> None:
    """Map an IP address to another domain."""
    _map(ctx, (ip, domain), {"dry_run": dry_run, "output": output}, is_new=False)


def _map(
    ctx: click.Context, pair: tuple[str, str], options: dict[str, Any], *, is_new: bool
) -> None:
    from vpopsql.cli.objects.site import opened
    from vpopsql.errors import NameInUse
    from vpopsql.services import domains, ipmaps

    with opened(ctx) as site:

        def job(session: "Session", effects: "Effects", pair: tuple[str, str]) -> None:
            ip, domain = pair[0], domains.get_domain(session, pair[1]).name
            if not is_new:
                ipmaps.get_mapping(session, ip)
            elif found := ipmaps.find_mapping(session, ip):
                raise NameInUse(f"{ip} is mapped to {found[1]}: see `vpopsql ipmap modify`")
            ipmaps.add_mapping(session, site.actor, ip, domain)
            effects.touched.settings = True

        site.print_each(job, [pair], options)


@ipmap.command(name="list")
@nouns.listing
@click.pass_context
def list_(ctx: click.Context, output: str) -> None:
    """List the mappings, by number."""
    from vpopsql.cli.objects.output import print_rows
    from vpopsql.cli.objects.site import opened
    from vpopsql.reports.report import text
    from vpopsql.services import ipmaps

    columns = (text("ip", "the address"), text("domain", "its domain"))
    with opened(ctx) as site, site.database.reader() as session:
        print_rows(output, "ipmap", columns, ipmaps.list_mappings(session))


@ipmap.command()
@click.argument("ip", metavar="IP")
@nouns.showing
@click.pass_context
def show(ctx: click.Context, ip: str, output: str) -> None:
    """Show which domain an IP address is mapped to."""
    from vpopsql.cli.objects.output import print_thing
    from vpopsql.cli.objects.site import opened
    from vpopsql.services import ipmaps

    with opened(ctx) as site, site.database.reader() as session:
        address, domain = ipmaps.get_mapping(session, ip)
    print_thing(output, {"ip": address, "domain": domain})


@ipmap.command()
@click.argument("ips", metavar="IP...", nargs=-1, required=True)
@nouns.changing
@click.pass_context
def delete(
    ctx: click.Context,
    /,
    ips: Sequence[str],
    **options: Any,  # noqa: ANN401 - as click gives them
) -> None:
    """Forget mappings."""
    from vpopsql.cli.objects.site import opened
    from vpopsql.services import ipmaps

    with opened(ctx) as site:

        def job(session: "Session", effects: "Effects", ip: str) -> None:
            address, domain = ipmaps.get_mapping(session, ip)
            ipmaps.delete_mapping(session, site.actor, address, domain)
            effects.touched.settings = True

        site.print_each(job, ips, options)
