"""Rows that are deleted, written down in the trash so that they can come back.

The files are `vpopsql.trash`'s, which shows, restores and purges what is written down here.
"""

import secrets
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, cast

from sqlalchemy import (
    Column,
    ColumnElement,
    LargeBinary,
    Table,
    bindparam,
    insert,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.orm import Session

from vpopsql.columns import (
    ExactText,
    SealedText,
    UtcDateTime,
    from_database_text,
    to_database_text,
    utc_now,
)
from vpopsql.model import DERIVED, Base, TrashEntry, TrashKind, table_of
from vpopsql.prepared import Change, Prepared
from vpopsql.services.rights import Actor

Rows = dict[str, list[dict[str, Any]]]
"""Rows by table, as JSON has them."""

_ENTRY = Change(insert(table_of(TrashEntry)), is_apart=True)


def write_down(
    session: Session, actor: Actor, kind: TrashKind, name: str, path: str, rows: Rows
) -> str:
    """Write down what is about to be deleted; return the entry's place for files.

    :param path: where the files are, without a slash at the end.
    """
    now = utc_now()
    place = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    target = f"{actor.site_directory}/trash/{place}/{path.rpartition('/')[2]}"
    _ENTRY.run(
        session,
        at=now,
        actor=actor.address,
        kind=kind,
        name=name,
        original_path=path,
        trash_path=target,
        payload=rows,
    )
    return target


def expect_below(session: Session, of: type[Base], row_id: int) -> None:
    """Say that `rows_below` will be called, see `Prepared.expect`."""
    for _, _, query in _hanging_from(of):
        query.expect(session, row_id=row_id)


def rows_below(session: Session, of: type[Base], row_id: int) -> Rows:
    """Return a row with all that would be deleted with it, whatever tables there are."""
    expect_below(session, of, row_id)
    return {
        name: [
            {column: _plain(value) for column, value in zip(columns, row, strict=True)}
            for row in query.all(session, row_id=row_id)
        ]
        for name, columns, query in _hanging_from(of)
    }


@cache
def _hanging_from(
    of: type[Base],
) -> Sequence[tuple[str, Sequence[str], Prepared[*tuple[Any, ...]]]]:
    """Return each table of which rows are deleted with one, its columns, and what selects them."""
    start = cast("Table", of.__table__)
    chosen: dict[Any, ColumnElement[bool]] = {start: start.c.id == bindparam("row_id")}
    for table in Base.metadata.sorted_tables:
        hanging = [
            key.parent.in_(select(key.column).where(chosen[key.column.table]))
            for key in table.foreign_keys
            if key.ondelete == "CASCADE" and key.column.table in chosen
        ]
        if hanging and table is not start and DERIVED not in table.info:
            chosen[table] = or_(*hanging)
    return [
        (
            table.name,
            table.columns.keys(),
            Prepared(
                select(*map(_as_stored, table.columns)).where(where).order_by(*table.primary_key)
            ),
        )
        for table, where in chosen.items()
    ]


def _as_stored(column: Column[Any]) -> ColumnElement[Any]:
    """Return a column to select; a password that is sealed stays so in the trash."""
    if not isinstance(column.type, SealedText):
        return column
    return type_coerce(column, ExactText).label(column.name)


def insert_rows(session: Session, rows: Rows, known: dict[str, dict[int, int]]) -> None:
    """Insert rows under new ids.

    :param known: by table, the present ids for those that the rows refer to and do not bring.
    """
    ids = dict(known)
    for table in Base.metadata.sorted_tables:
        wanted = rows.get(table.name)
        if not wanted:
            continue
        values = [_values(table, row, ids) for row in wanted]
        if "id" not in table.c:
            session.execute(insert(table), values)
            continue
        returning = insert(table).returning(table.c.id, sort_by_parameter_order=True)
        new = session.scalars(returning, values)
        ids[table.name] = dict(zip((row["id"] for row in wanted), new, strict=True))


def _values(table: Table, row: dict[str, Any], ids: dict[str, dict[int, int]]) -> dict[str, Any]:
    values = {
        column.name: _value(column, row[column.name])
        for column in table.columns
        if column.name in row and column.name != "id"
    }
    for key in table.foreign_keys:
        if (old := values[key.parent.name]) is not None:
            values[key.parent.name] = ids[key.column.table.name][old]
    return values


def _plain(value: Any) -> Any:  # noqa: ANN401 - what a column can hold
    match value:
        case datetime():
            return value.isoformat()
        case bytes():
            return value.hex()
        case str():
            return to_database_text(str(value))
    return value


def _value(column: Column[Any], plain: Any) -> Any:  # noqa: ANN401 - what JSON can hold
    if not isinstance(plain, str):
        return plain
    if isinstance(column.type, UtcDateTime):
        return datetime.fromisoformat(plain)
    if isinstance(column.type, LargeBinary):
        return bytes.fromhex(plain)
    return from_database_text(plain)
