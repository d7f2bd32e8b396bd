"""Names of domains and mailboxes for a shell that completes a word."""

from contextlib import closing
from pathlib import Path

import click
from sqlalchemy import select

from vpopsql.config import load
from vpopsql.db import Database
from vpopsql.model import DomainName, Mailbox

_PATIENCE_S = 1.0
_LAST = "\U0010ffff"


def names(ctx: click.Context, begin: str, addresses: bool, limit: int) -> list[str]:  # noqa: FBT001
    """Return names that begin so, in order: domains, or addresses if it has an at-sign.

    :param limit: how many at most.
    """
    config_file = ctx.find_root().params.get("config_file")
    config = load(Path(config_file) if config_file else None)
    database = Database(config.database.url, pool_size=1, patience_s=_PATIENCE_S)
    user, at, host = begin.partition("@")
    with closing(database), database.reader() as session:
        if addresses and not at:
            # Which domain is not known: whoever begins so, anywhere.
            query = (
                select(Mailbox.name, DomainName.name)
                .join(DomainName, DomainName.domain_id == Mailbox.domain_id)
                .where(~DomainName.is_alias, Mailbox.name >= user, Mailbox.name < user + _LAST)
                .order_by(Mailbox.name, DomainName.name)
                .limit(limit)
            )
            return [f"{name}@{domain}" for name, domain in session.execute(query)]
        wanted = host if addresses else begin
        domains = (
            select(DomainName.name)
            .where(DomainName.name >= wanted, DomainName.name < wanted + _LAST)
            .order_by(DomainName.name)
            .limit(limit)
        )
        found = session.scalars(domains).all()
    return [f"{user}@{each}" for each in found] if addresses else list(found)
