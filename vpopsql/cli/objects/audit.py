"""``vpopsql audit``: who changed what."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from vpopsql.cli.objects import nouns
from vpopsql.cli.objects.nouns import Noun

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vpopsql.audit_chain import Verified

_NEWEST = 100


@click.group(cls=Noun)
def audit() -> None:
    """List, show and verify the audit log; `vpopsql history` tells all about one thing."""


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


@audit.command(
    examples=(
        "vpopsql audit verify",
        "vpopsql audit verify --expect 1204.37-6b0c2f9d… --format json",
    )
)
@click.option(
    "--expect",
    "expected",
    metavar="HEAD",
    help="A head that was printed earlier: all that it covers must be there.",
)
@nouns.showing
@click.pass_context
def verify(ctx: click.Context, expected: str | None, output: str) -> None:
    """Tell whether every entry is there, and as it was written; print how far the log has come.

    The head that is printed last belongs where nobody can write who can write to the database:
    only with --expect a log shows that its newest entries were removed, or all written anew.

    Exit codes: 0 all is as it was written, 1 it is not, 2 wrong usage, 3 could not run.
    """
    from vpopsql import audit_chain
    from vpopsql.cli.objects.site import opened

    try:
        head = audit_chain.parse_head(expected) if expected is not None else None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--expect") from None
    with opened(ctx) as site, site.database.snapshot() as session:
        verified = audit_chain.verify(session, head)
    if output == "json":
        click.echo(json.dumps(asdict(verified) | {"head": str(verified.head)}, indent=2))
    else:
        for line in _verified(verified):
            click.echo(line)
    if verified.found:
        ctx.exit(1)


def _verified(verified: "Verified") -> "Iterator[str]":
    for each in verified.findings:
        entry = "-" if each.entry is None else f"entry {each.entry}"
        place = "" if each.chain is None else f" (chain {each.chain}, place {each.link})"
        yield f"{entry}{place}: {each.what}"
    if verified.found > len(verified.findings):
        yield f"and {verified.found - len(verified.findings)} more"
    yield f"{verified.entries} entries, {verified.found} not as they were written"
    if verified.unchained:
        yield f"{verified.unchained} not in a chain yet: vpopsql's next change takes them in"
    yield f"head: {verified.head}"
