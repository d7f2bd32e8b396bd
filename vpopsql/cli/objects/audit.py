"""``vpopsql audit``: who changed what."""

from datetime import UTC, datetime

import click

from vpopsql.cli.objects import nouns
from vpopsql.cli.objects.nouns import Noun

_NEWEST = 100


@click.group(cls=Noun)
def audit() -> None:
    """List and show entries of the audit log; `vpopsql history` tells all about one thing."""


@audit.command(name="list", examples=("vpopsql audit list --actor alice@example.com",))
@click.option("--actor", help="Only what he or she did: an address, or a program.")
@click.option("--action", help="Only this, such as mod_user.")
@click.option("--object", "object_", help="Only what was done with it: an address, domain, path.")
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"]),
    help="Only what was done since then (UTC).",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=_NEWEST,
    show_default=True,
    help="So many, the newest.",
)
@nouns.listing
@click.pass_context
def list_(
    ctx: click.Context,
    /,
    actor: str | None,
    action: str | None,
    object_: str | None,
    since: datetime | None,
    limit: int,
    output: str,
) -> None:
    """List what was changed, the oldest first; a row for each field. Secrets are masked."""
    from vpopsql.cli.objects.output import print_rows
    from vpopsql.cli.objects.site import opened
    from vpopsql.reports import past

    wanted = past.Wanted(
        actor, action, object_, since.replace(tzinfo=UTC) if since is not None else None
    )
    with opened(ctx) as site, site.database.snapshot() as session:
        rows = past.changes(session, wanted, limit)
        print_rows(output, "audit", past.HISTORY.columns, rows)


@audit.command()
@click.argument("entry_id", metavar="ID", type=int)
@nouns.showing
@click.pass_context
def show(ctx: click.Context, entry_id: int, output: str) -> None:
    """Show one entry whole."""
    from vpopsql.cli.objects.output import print_thing
    from vpopsql.cli.objects.refusals import Refused
    from vpopsql.cli.objects.site import opened
    from vpopsql.model import AuditEntry

    with opened(ctx) as site, site.database.reader() as session:
        entry = session.get(AuditEntry, entry_id)
        if entry is None:
            raise Refused(f"there is no entry {entry_id} in the audit log")
    thing = {
        "id": entry.id,
        "at": entry.at,
        "actor": entry.actor,
        "actor_ip": entry.actor_ip,
        "channel": entry.channel,
        "action": entry.action,
        "type": entry.object_type,
        "object": entry.object,
        "changes": entry.changes,
    }
    print_thing(output, thing)
