"""``vpopsql limits``: what domains may have."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from vpopsql.cli.objects import nouns
from vpopsql.cli.objects.nouns import DOMAIN, Noun, guessed

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from vpopsql.cli.objects.site import Effects

_DEFAULT = click.option(
    "--default", "is_default", is_flag=True, help="Those of domains without limits of their own."
)


@click.group(cls=Noun)
def limits() -> None:
    """List, show, modify and delete limits of domains.

    The names are those of the protocol: max_popaccounts, disk_quota (megabytes), default_quota
    (bytes), disable_pop, perm_account, … A maximum of -1 is no limit.
    """


@limits.command(name="list")
@nouns.listing
@click.pass_context
def list_(ctx: click.Context, output: str) -> None:
    """List the domains that have limits of their own."""
    from vpopsql.cli.objects.output import print_rows
    from vpopsql.cli.objects.site import opened
    from vpopsql.model import LIMIT_SETTINGS
    from vpopsql.reports.report import Column, number, text, truth
    from vpopsql.services import listing
    from vpopsql.services.limits import BUILT_IN

    def column(name: str) -> Column:
        kind = truth if name.startswith("disable_") or name == "delete_spam" else number
        return kind(name, "as in the protocol")

    columns = [text("domain", "its name"), *map(column, LIMIT_SETTINGS)]
    with opened(ctx) as site, site.database.snapshot() as session:
        rows = listing.list_limits(session)
        if output == "table":
            changed = ((name, _differing(values, BUILT_IN)) for name, *values in rows)
            columns = [text("domain", "its name"), text("limits", "that limit anything", "-")]
            print_rows(output, "limits", columns, changed)
        else:
            print_rows(output, "limits", columns, rows)


def _differing(values: Sequence[int | bool], usual: Mapping[str, int | bool]) -> str | None:
    pairs = zip(usual.items(), values, strict=True)
    found = [f"{name}={int(value)}" for (name, without), value in pairs if value != without]
    return " ".join(found) or None


@limits.command()
@click.argument("domain", type=DOMAIN, required=False)
@_DEFAULT
@nouns.showing
@click.pass_context
def show(ctx: click.Context, domain: str | None, *, is_default: bool, output: str) -> None:
    """Show every limit that holds for DOMAIN, be it its own or the site's."""
    from vpopsql.cli.objects.output import print_thing
    from vpopsql.cli.objects.site import opened
    from vpopsql.services import domains
    from vpopsql.services.limits import get_default_limits, get_limits

    _require_one(domain, is_default=is_default)
    with opened(ctx) as site, site.database.reader() as session:
        if domain is None:
            print_thing(output, get_default_limits(session))
        else:
            found = domains.get_domain(session, domain)
            print_thing(output, {"domain": found.name, **get_limits(session, found.id)})


@limits.command(examples=("vpopsql limits modify example.com max_popaccounts=50 disable_pop=1",))
@click.argument("words", metavar="[DOMAIN] NAME=NUMBER...", nargs=-1, required=True)
@_DEFAULT
@nouns.changing
@click.pass_context
def modify(
    ctx: click.Context,
    /,
    words: Sequence[str],
    *,
    is_default: bool,
    dry_run: bool,
    output: str,
) -> None:
    """Change limits of DOMAIN; those that are not named stay as they are."""
    from vpopsql.cli.objects.output import print_outcome
    from vpopsql.cli.objects.site import opened
    from vpopsql.services.limits import set_default_limits, set_limits

    domain = None if "=" in words[0] else DOMAIN.convert(words[0], None, ctx)
    _require_one(domain, is_default=is_default)
    settings = _settings(words if domain is None else words[1:])
    with opened(ctx) as site:

        def job(session: "Session", effects: "Effects") -> None:
            if domain is None:
                set_default_limits(session, site.actor, settings)
                effects.touched.settings = True
            else:
                found = set_limits(session, site.actor, domain, settings)
                effects.touched.limits.add(found.name)

        print_outcome(output, site.change(job, dry_run=dry_run))


@limits.command()
@click.argument("domain", type=DOMAIN)
@nouns.changing
@click.pass_context
def delete(ctx: click.Context, domain: str, *, dry_run: bool, output: str) -> None:
    """Let DOMAIN have the site's limits."""
    from vpopsql.cli.objects.output import print_outcome
    from vpopsql.cli.objects.site import opened
    from vpopsql.services.limits import delete_limits

    with opened(ctx) as site:

        def job(session: "Session", effects: "Effects") -> None:
            found = delete_limits(session, site.actor, domain)
            effects.touched.limits.add(found.name)
            effects.touched.removed.add(f"{found.directory}/.qmailadmin-limits")

        print_outcome(output, site.change(job, dry_run=dry_run))


def _require_one(domain: Any, *, is_default: bool) -> None:  # noqa: ANN401 - a name or None
    if bool(domain) == is_default:
        raise click.UsageError("name a domain, or give --default")


def _settings(words: Sequence[str]) -> dict[str, int | bool]:
    """Return the settings of words like ``max_aliases=5``."""
    from vpopsql.daemon.options import limit_settings
    from vpopsql.model import LIMIT_SETTINGS

    found: dict[str, int | bool] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise click.UsageError(f"{word!r} is not of the form NAME=NUMBER")
        if name not in LIMIT_SETTINGS:
            raise click.UsageError(f"there is no limit {name!r}.{guessed(name, LIMIT_SETTINGS)}")
        settings, _ = limit_settings([f"{name} {value}".encode()])
        if not settings:
            raise click.UsageError(f"{name} cannot be {value!r}")
        found |= settings
    if not found:
        raise click.UsageError("say which limit is to change, as NAME=NUMBER")
    return found
