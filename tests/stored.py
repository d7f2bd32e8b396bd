"""What a database has of a site, in a form that two moments can be compared by."""

from typing import Any

from sqlalchemy import select

from vpopsql.db import Database
from vpopsql.model import Base, DomainName, DotQmailFile, Mailbox

_HISTORY = frozenset({"audit_log", "revisions", "exports", "trash", "hosts"})
"""Tables that tell what happened, not what is."""


def contents(database: Database) -> dict[str, list[Any]]:
    """Return all rows that are of the site, with names in the place of ids."""
    with database.reader() as session:
        names: dict[tuple[str, int], object] = {
            ("domains", id_): name
            for name, id_ in session.execute(
                select(DomainName.name, DomainName.domain_id).where(~DomainName.is_alias)
            )
        }
        names |= {("mailboxes", box.id): box.name for box in session.scalars(select(Mailbox))}
        names |= {
            ("dotqmail_files", file.id): (file.name, file.mailbox_id is None)
            for file in session.scalars(select(DotQmailFile))
        }
        found = {}
        for table in Base.metadata.sorted_tables:
            if table.name in _HISTORY:
                continue
            refers = {key.parent.name: key.column.table.name for key in table.foreign_keys}
            numbers = {"id", "usage_id"} & {*table.columns.keys()}
            found[table.name] = sorted(
                repr(
                    {
                        column: names.get((refers[column], value), value)
                        if column in refers
                        else value
                        for column, value in row._mapping.items()
                        if column not in numbers
                    }
                )
                for row in session.execute(select(table))
            )
    return found
