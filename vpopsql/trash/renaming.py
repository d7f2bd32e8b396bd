"""What was deleted from a domain that has another name by now."""

from typing import Any

from sqlalchemy.orm import Session

from vpopsql.columns import to_database_text
from vpopsql.model import TrashEntry, TrashKind
from vpopsql.names import split_address
from vpopsql.services.kept_rows import Rows
from vpopsql.trash.entries import PRESENT


def follow_rename(
    session: Session, names: tuple[str, str], directories: tuple[str, str] | None
) -> None:
    """Let what was deleted from a domain come back to it under its new name.

    :param names: the domain's old name and its new one.
    :param directories: likewise; None: it stays where it is.
    """
    old, new = names
    query = PRESENT.where(
        TrashEntry.kind.in_((TrashKind.USER, TrashKind.DOTQMAIL)),
        TrashEntry.name.endswith(f"@{old}", autoescape=True),
    )
    for entry in session.scalars(query.with_for_update()):
        entry.name = f"{split_address(entry.name)[0]}@{new}"
        if directories:
            entry.original_path = _below(entry.original_path, *directories)
            entry.payload = _rows_moved(entry.payload or {}, *directories)
    session.flush()


def _rows_moved(rows: Rows, old: str, new: str) -> Rows:
    plain_old, plain_new = to_database_text(old), to_database_text(new)

    def moved(row: dict[str, Any], column: str) -> dict[str, Any]:
        return row | {column: _below(row[column], plain_old, plain_new)}

    changed = {"mailboxes": [moved(row, "directory") for row in rows.get("mailboxes", ())]}
    lines = rows.get("dotqmail_lines")
    if lines:
        changed["dotqmail_lines"] = [moved(row, "line") for row in lines]
    return rows | changed


def _below(path: str, old: str, new: str) -> str:
    return f"{new}{path[len(old) :]}" if path.startswith(f"{old}/") else path
