"""A whole database in one file, and back: of one moment, with checksums, for either database.

The file is a ZIP archive. ``manifest.json`` says which schema it is of and lists the tables: their
columns, how many rows, the SHA-256 of what they are stored as. ``tables/NAME.jsonl`` has a row a
line, a JSON array of the columns' values as the database has them: times as ISO 8601 in UTC,
bytes as base64. Views, indexes and triggers are not in it; they come with the schema.

What is restored comes with the schema that it was saved with and is brought up to date then, so an
older backup serves a newer vpopsql.
"""

import base64
import hashlib
import json
import os
import secrets
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
    select,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

from vpopsql import __version__, db
from vpopsql.bulk import continue_ids, insert_rows
from vpopsql.columns import UtcDateTime, utc_now
from vpopsql.db import Database
from vpopsql.errors import BackupFailed
from vpopsql.model import (
    DERIVED,
    Base,
    DovecotLogin,
    Revision,
    SchemaGuard,
)

FORMAT = 1
"""Of the archive; it changes when older code could not read it."""

MANIFEST = "manifest.json"

_NOT_SAVED = frozenset({SchemaGuard.__tablename__, DovecotLogin.__tablename__})
"""Tables that migrations fill, or that never have a row; nor are those that triggers fill."""

_BATCH = 10_000  # rows that are in memory at once
_MANIFEST_MAX_BYTES = 16 * 2**20

# RuntimeError: a method or an encryption that zipfile does not know.
_DAMAGE = (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError, RuntimeError)

Shown = Callable[[int, int, int], None]
"""Tables done, tables in all, rows done."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """What the values of a column are, and how JSON has them."""

    type: TypeEngine[Any]
    to_json: Callable[[Any], Any] | None = None
    from_json: Callable[[Any], Any] | None = None


_KINDS: Mapping[str, _Kind] = {
    "bool": _Kind(Boolean()),
    "bytes": _Kind(LargeBinary(), lambda b: base64.b64encode(b).decode(), base64.b64decode),
    "float": _Kind(Float()),
    "int": _Kind(BigInteger()),
    "json": _Kind(JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")),
    "text": _Kind(Text()),
    "time": _Kind(UtcDateTime(), datetime.isoformat, datetime.fromisoformat),
}


@dataclass(frozen=True, slots=True)
class StoredTable:
    """A table as the manifest has it."""

    name: str
    columns: dict[str, str]
    """Kinds by name."""
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup is of."""

    vpopsql: str
    """The version that made it."""
    schema: str
    """The revision of the schema, as ``vpopsql db current`` says it."""
    made_at: str
    """ISO 8601, UTC."""
    revision: int
    """The newest change of the site that it has."""
    tables: list[StoredTable]
    """In an order in which they can be filled."""

    @property
    def rows(self) -> int:
        """How many rows it has in all."""
        return sum(table.rows for table in self.tables)


def save(database: Database, path: Path, shown: Shown, *, overwrite: bool = False) -> Manifest:
    """Write the database as it is at one moment; others may go on writing to it.

    The file appears when it is complete and on disk, for its owner alone: it has all password
    hashes.

    :raises BackupFailed: it cannot be written, or there is a file of this name and ``overwrite``
        is false; what was there stays.
    """
    if not overwrite and path.exists():
        raise BackupFailed(f"{path}: there is such a file already: name another, or use --force")
    try:
        return _write(database, path, shown, overwrite=overwrite)
    except OSError as error:
        raise BackupFailed(f"{path}: cannot be written: {error.strerror or error}") from error


def _write(database: Database, path: Path, shown: Shown, *, overwrite: bool) -> Manifest:
    temp = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(fd, "wb") as file:  # noqa: PTH123 - of a descriptor
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive:
                manifest = _save(database, archive, shown)
            file.flush()
            os.fsync(fd)
        if overwrite:
            temp.replace(path)
        else:
            _publish(temp, path)
    finally:
        temp.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return manifest


def check(path: Path) -> Manifest:
    """Read a whole backup and compare it with its checksums; touch no database.

    :raises BackupFailed: it is none, or damaged.
    """
    with _opened(path) as archive:
        manifest = _manifest(archive, path)
        for stored in manifest.tables:
            for _ in _rows(archive, path, stored):
                pass
    return manifest


def restore(url: str, path: Path, shown: Shown) -> Manifest:
    """Fill an empty database from a backup, all or nothing, and bring its schema up to date.

    :param url: of a database without rows; with no schema, or with that of the backup. A SQLite
        file is made if it is missing.
    :raises BackupFailed: the file is none or damaged, or the database is not empty or not fit.
    """
    with _opened(path) as archive:
        manifest = _manifest(archive, path)
        _require_known(manifest, path)
        _prepare(url, manifest)
        database = Database(url)
        try:
            with database.writer(chains=False) as session:
                _require_empty(session, manifest)
                _fill(session, archive, path, manifest, shown)
        finally:
            database.close()
    db.upgrade(url)
    return manifest


# --- out --------------------------------------------------------------------------------------


def _save(database: Database, archive: zipfile.ZipFile, shown: Shown) -> Manifest:
    tables = [
        table
        for table in Base.metadata.sorted_tables
        if table.name not in _NOT_SAVED and not table.info.get(DERIVED)
    ]
    stored: list[StoredTable] = []
    with database.snapshot() as session:
        done = 0
        for number, table in enumerate(tables):
            show = partial(_show_further, shown, number, len(tables), done)
            stored.append(_save_table(session, archive, table, show))
            done += stored[-1].rows
        manifest = Manifest(
            vpopsql=__version__,
            schema=db.current(str(database.url.render_as_string(hide_password=False))) or "",
            made_at=utc_now().isoformat(timespec="seconds"),
            revision=session.scalar(select(func.max(Revision.id))) or 0,
            tables=stored,
        )
    archive.writestr(MANIFEST, _to_text(manifest))
    return manifest


def _save_table(
    session: Session, archive: zipfile.ZipFile, table: Table, shown: Callable[[int], None]
) -> StoredTable:
    kinds = {column.name: _kind_of(column.type) for column in table.columns}
    converters = [_KINDS[kind].to_json for kind in kinds.values()]
    query = select(
        *(type_coerce(table.c[name], _KINDS[kind].type) for name, kind in kinds.items())
    ).order_by(*table.primary_key.columns)
    rows = session.connection().execute(query, execution_options={"yield_per": _BATCH})
    digest = hashlib.sha256()
    count = 0
    with archive.open(_member(table.name), "w", force_zip64=True) as file:
        for batch in rows.partitions():
            text = "".join(
                json.dumps(_converted(row, converters), separators=(",", ":")) + "\n"
                for row in batch
            )
            data = text.encode()
            digest.update(data)
            file.write(data)
            count += len(batch)
            shown(count)
    return StoredTable(table.name, kinds, count, digest.hexdigest())


def _show_further(shown: Shown, table: int, tables: int, before: int, rows: int) -> None:
    shown(table, tables, before + rows)


def _kind_of(type_: TypeEngine[Any]) -> str:
    for base, kind in (
        (UtcDateTime, "time"),
        (Boolean, "bool"),
        (Integer, "int"),
        (Float, "float"),
        (LargeBinary, "bytes"),
        (JSON, "json"),
    ):
        if isinstance(type_, base):
            return kind
    return "text"


def _converted(row: Iterable[Any], converters: list[Callable[[Any], Any] | None]) -> list[Any]:
    return [
        value if value is None or convert is None else convert(value)
        for value, convert in zip(row, converters, strict=True)
    ]


def _publish(temp: Path, path: Path) -> None:
    try:
        path.hardlink_to(temp)
    except FileExistsError:
        raise BackupFailed(f"{path}: somebody has just made such a file") from None


# --- back -------------------------------------------------------------------------------------


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except _DAMAGE as error:
        raise BackupFailed(f"{path}: no backup, or a damaged one: {error}") from None


def _manifest(archive: zipfile.ZipFile, path: Path) -> Manifest:
    try:
        if archive.getinfo(MANIFEST).file_size > _MANIFEST_MAX_BYTES:
            raise BackupFailed(f"{path}: its {MANIFEST} is too long to be one of vpopsql's")
        said = json.loads(archive.read(MANIFEST))
        if said["format"] != FORMAT:
            raise BackupFailed(
                f"{path}: a backup of format {said['format']}, this vpopsql reads {FORMAT}:"
                " install a newer one"
            )
        tables = [StoredTable(**each) for each in said["tables"]]
        if not all({*table.columns.values()} <= _KINDS.keys() for table in tables):
            raise BackupFailed(f"{path}: it has columns of unknown kinds")
        fields = {name: said[name] for name in ("vpopsql", "schema", "made_at", "revision")}
        return Manifest(tables=tables, **fields)
    except (KeyError, TypeError, AttributeError, ValueError, *_DAMAGE) as error:
        raise BackupFailed(f"{path}: no backup of vpopsql: {MANIFEST}: {error}") from None


def _to_text(manifest: Manifest) -> str:
    said = {
        "format": FORMAT,
        "vpopsql": manifest.vpopsql,
        "schema": manifest.schema,
        "made_at": manifest.made_at,
        "revision": manifest.revision,
        "tables": [
            {"name": t.name, "columns": t.columns, "rows": t.rows, "sha256": t.sha256}
            for t in manifest.tables
        ],
    }
    return json.dumps(said, indent=1) + "\n"


def _rows(archive: zipfile.ZipFile, path: Path, stored: StoredTable) -> Iterator[list[list[Any]]]:
    """Return the rows of a table, many at a time; the last come when all are known to be right."""
    member = _member(stored.name)
    converters = [_KINDS[kind].from_json for kind in stored.columns.values()]
    digest = hashlib.sha256()
    count = 0

    def lines(file: IO[bytes]) -> Iterator[bytes]:
        for line in file:
            digest.update(line)
            yield line

    held: list[list[Any]] = []
    try:
        with archive.open(member) as file:
            coming = lines(file)
            while batch := list(islice(coming, _BATCH)):
                if held:
                    yield held
                held = [_converted(json.loads(line), converters) for line in batch]
                count += len(held)
    except (KeyError, TypeError, ValueError, *_DAMAGE) as error:
        raise BackupFailed(f"{path}: {member} is damaged after line {count}: {error}") from None
    if (count, digest.hexdigest()) != (stored.rows, stored.sha256):
        raise BackupFailed(
            f"{path}: {member} is damaged: it has {count} rows of {stored.rows}, or their checksum"
            " is another than when they were saved; use another backup"
        )
    if held:
        yield held


def _require_known(manifest: Manifest, path: Path) -> None:
    if manifest.schema not in db.revisions():
        raise BackupFailed(
            f"{path}: made by vpopsql {manifest.vpopsql} with schema {manifest.schema}, which this"
            f" one ({__version__}) does not know: install that version or a newer one"
        )


def _prepare(url: str, manifest: Manifest) -> None:
    found = db.current(url) if db.exists(url) else None
    if found is None:
        db.upgrade(url, manifest.schema)
    elif found != manifest.schema:
        raise BackupFailed(
            f"the database's schema is at {found}, the backup is of {manifest.schema}: name a"
            " database without a schema, one of that age is made then and brought up to date"
        )


def _require_empty(session: Session, manifest: Manifest) -> None:
    for stored in manifest.tables:
        table = _table(stored)
        if session.execute(select(func.count()).select_from(table)).scalar():
            raise BackupFailed(
                f"the database is not empty: {stored.name} has rows; name another, nothing was"
                " changed in this one"
            )


def _fill(
    session: Session, archive: zipfile.ZipFile, path: Path, manifest: Manifest, shown: Shown
) -> None:
    done = 0
    for number, stored in enumerate(manifest.tables):
        table = _table(stored)
        for rows in _rows(archive, path, stored):
            insert_rows(session, table, [*stored.columns], rows)
            done += len(rows)
            shown(number, len(manifest.tables), done)
        if "id" in stored.columns and stored.rows:
            continue_ids(session, table)


def _table(stored: StoredTable) -> Table:
    """Return a table as it was when it was saved, whatever the model has become since."""
    columns = (Column(name, _KINDS[kind].type) for name, kind in stored.columns.items())
    return Table(stored.name, MetaData(), *columns)


def _member(table: str) -> str:
    return f"tables/{table}.jsonl"
