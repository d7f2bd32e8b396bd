"""Reading a dump: the tables that are wanted, in one pass, into the scratch file.

The rows come out as those of the live database would, byte for byte: ``mysqldump`` turns all text
into one character set, which is undone here, and ``pg_dump`` fills CHAR columns up with blanks.
"""

import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

from vpopsql.errors import ImportFailed
from vpopsql.importer.codes import Code
from vpopsql.importer.evidence import Evidence
from vpopsql.importer.tables.schema import (
    MYSQL,
    PGSQL,
    Table,
    may_be_read,
    pack,
    table_of,
)
from vpopsql.importer.tables.sqltext import Column, Damaged, Readable, SqlText, Statement
from vpopsql.importer.tables.staging import Staging, owner_of

_BATCH = 5000

# Python's names for the character sets of MySQL that it calls otherwise.
_CODECS = {
    "latin1": "cp1252",
    "latin2": "iso8859-2",
    "latin5": "iso8859-9",
    "latin7": "iso8859-13",
    "greek": "iso8859-7",
    "hebrew": "iso8859-8",
    "utf8mb3": "utf-8",
    "utf8mb4": "utf-8",
    "koi8r": "koi8_r",
    "koi8u": "koi8_u",
    "sjis": "shift_jis",
    "ujis": "euc_jp",
    "eucjpms": "euc_jp",
}
_GZIP = b"\x1f\x8b"
_OTHER_FORMATS = {
    b"PGDMP": "make it so with pg_restore --file=dump.sql, or dump with --format=plain",
    b"BZh": "decompress it with bunzip2",
    b"\xfd7zXZ": "decompress it with unxz",
    b"\x28\xb5\x2f\xfd": "decompress it with unzstd",
    b"PK\x03\x04": "decompress it with unzip",
}
_RAW = {"", "binary"}
_DEFAULT_NAMES = "utf8mb4"  # what mysqldump writes if nobody says otherwise
_HEX = re.compile(rb"0[xX]((?:[0-9A-Fa-f]{2})+)|[xX]'((?:[0-9A-Fa-f]{2})*)'")
_MYSQL_ESCAPES = {b"0": b"\0", b"b": b"\b", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"Z": b"\x1a"}
_MYSQL_ESCAPE = re.compile(rb"\\(.)|''", re.DOTALL)
_COPY_ESCAPES = {
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"v": b"\v",
}
_COPY_ESCAPE = re.compile(rb"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_QUOTE, _DOUBLE_QUOTE = b"'\""

Convert = Callable[[bytes], bytes | None]
Values = tuple[
    Callable[[list[bool]], Iterator[tuple[int, tuple[bytes, ...]]]],
    list[Convert],
]
"""What gives line and values of each row, for the columns it is told to, and what reads them."""


@dataclass(slots=True)
class DumpReader:
    """Copies what is wanted; what cannot be read is in ``evidence``.

    :ivar tables: the columns of every table that the dump makes or fills, by name; empty if it
        does not say.
    """

    path: Path
    dialect: str
    staging: Staging
    evidence: Evidence
    tables: dict[str, list[Column]] = field(default_factory=dict)
    damage: Damaged | None = None
    """The first place that could not be read."""
    _text: SqlText = field(init=False)
    _file: FileIO = field(init=False)
    _database: str = ""
    _is_cut: bool = False
    _origins: dict[str, str] = field(default_factory=dict)

    def copy(self) -> None:
        """Read the dump to its end, or as far as it goes.

        :raises ImportFailed: it cannot be opened, or says too little to be understood.
        """
        with _opened(self.path) as (self._file, text):
            self._text = SqlText(text, self.dialect)
            try:
                for statement in self._text.statements():
                    self._statement(statement)
                if self._text.is_whole is None:
                    reason = "it does not say where it ends"
                    self.evidence.find(Code.UNMARKED_DUMP, str(self.path), 0, "", reason)
            except Damaged as damage:
                if not (damage.is_cut and self._is_cut):
                    self._report(damage)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                self._report(Damaged(self._text.line, f"the compressed file is damaged: {error}"))
            except OSError as error:
                raise ImportFailed(f"cannot read {self.path}: {error.strerror}") from error

    @property
    def position(self) -> tuple[int, int]:
        """How many bytes of the file have been read, and how many there are."""
        done = self._file.tell()
        return done, max(done, self.path.stat().st_size)

    def _statement(self, statement: Statement) -> None:
        if self._text.maker and (self._text.maker == "PostgreSQL") != (self.dialect == PGSQL):
            other = MYSQL if self.dialect == PGSQL else PGSQL
            raise ImportFailed(
                f"{self.path} is a dump of {self._text.maker}: vpopsql import {other}"
            )
        name = statement.name
        if statement.what == "use":
            self._database = name
        elif statement.what == "create":
            self._of_one_database(statement)
            self.tables[name] = self._text.definition()
        elif statement.what == "insert":
            self._rows(statement, self._text.values_head, self._inserted)
        else:
            self._rows(statement, self._text.copied_head, self._copied)

    def _rows(
        self,
        statement: Statement,
        head: Callable[[], list[str] | None],
        values: Callable[[list[Column]], Values],
    ) -> None:
        """Stage the rows of a statement, if they are of a table that is read.

        :param head: what comes before the rows: steps over it and returns the columns it names.
        :param values: what gives the rows' values.
        """
        known = self.tables.setdefault(statement.name, [])
        if known and table_of(statement.name, [column.name for column in known]) is None:
            return
        if not known and not may_be_read(statement.name):
            return  # of the columns nothing is known, but the name says enough
        self._of_one_database(statement)
        named = head()
        columns = known
        if named is not None:
            by_name = {column.name.lower(): column for column in known}
            columns = [by_name.get(name.lower(), Column(name)) for name in named]
            self.tables[statement.name] = known or columns
        if not columns:
            raise ImportFailed(
                f"{self.path}:{statement.line}: nothing says what the columns of"
                f" {statement.name} are: dump the definitions of tables as well"
            )
        table = table_of(statement.name, [column.name for column in columns])
        if table is None:
            self._text.pass_statement()
            return
        batch: list[tuple[str, int, bytes]] = []
        try:
            for row in _filed(table, statement.name, columns, values(columns)):
                batch.append(row)
                if len(batch) == _BATCH:
                    self.staging.add(table, batch)
                    batch = []
        except Damaged as damage:
            self._report(damage)
            with suppress(Damaged):  # to the end of the text, which is told already
                self._text.pass_statement()
        self.staging.add(table, batch)

    def _of_one_database(self, statement: Statement) -> None:
        """Refuse to take tables of one name from two databases for one."""
        origin = statement.schema or self._database
        if self._origins.setdefault(statement.name, origin) != origin and may_be_read(
            statement.name
        ):
            raise ImportFailed(
                f"{self.path}:{statement.line}: {statement.name} is in {origin} and in"
                f" {self._origins[statement.name]}: dump the one database of vpopmail only"
            )

    def _inserted(self, columns: list[Column]) -> Values:
        return self._text.rows, [self._converter(column) for column in columns]

    def _copied(self, columns: list[Column]) -> Values:
        def rows(wanted: list[bool]) -> Iterator[tuple[int, tuple[bytes, ...]]]:
            pick = [number for number, is_wanted in enumerate(wanted) if is_wanted]
            for number, line in self._text.copied():
                fields = line.split(b"\t")
                if len(fields) == len(wanted):
                    yield number, tuple([fields[column] for column in pick])
                else:
                    self._report(Damaged(number, f"a row without {len(wanted)} values"))

        return rows, [_unpadded(_of_copy) if column.is_padded else _of_copy for column in columns]

    def _converter(self, column: Column) -> Convert:
        """Return what makes the server's bytes of a value in an INSERT."""
        if self.dialect != MYSQL:
            return _unpadded(_of_pgsql) if column.is_padded else _of_pgsql
        source = _codec(self._text.names or _DEFAULT_NAMES)
        target = _codec(column.charset)
        same = not source or not target or source == target
        convert = _of_mysql if same else _recoded(source, target)
        return _unpadded(convert) if column.is_padded else convert

    def _report(self, damage: Damaged) -> None:
        self.damage = self.damage or damage
        self._is_cut = self._is_cut or damage.is_cut
        self.evidence.find(Code.DAMAGED_DUMP, str(self.path), damage.line, "", str(damage))


def _filed(
    table: Table, name: str, columns: list[Column], values: Values
) -> Iterator[tuple[str, int, bytes]]:
    """Give the rows of the table ``name`` as they are staged."""
    rows, converts = values
    own = {spelling: ours for ours, spelling in table.find([c.name for c in columns]).items()}
    wanted = [column.name in own for column in columns]
    read = [convert for convert, is_wanted in zip(converts, wanted, strict=True) if is_wanted]
    at = {own[c.name]: n for n, c in enumerate(c for c in columns if c.name in own)}
    domain = at.get(table.domain)
    order = [at.get(column) for column in table.columns]
    for line, texts in rows(wanted):
        fields = [convert(text) for convert, text in zip(read, texts, strict=True)]
        owner = name.encode() if domain is None else fields[domain] or b""
        yield owner_of(owner), line, pack([None if n is None else fields[n] for n in order])


@contextmanager
def _opened(path: Path) -> Iterator[tuple[FileIO, Readable]]:
    """Give the file, and what reads the text in it."""
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise ImportFailed(f"cannot open {path}: {error.strerror}") from error
    with file:
        try:
            begin = file.read(max(map(len, _OTHER_FORMATS)))
            file.seek(0)
        except OSError as error:
            raise ImportFailed(f"cannot open {path}: {error.strerror}") from error
        for magic, advice in _OTHER_FORMATS.items():
            if begin.startswith(magic):
                raise ImportFailed(f"{path} is no plain text: {advice}")
        yield file, gzip.GzipFile(fileobj=file) if begin.startswith(_GZIP) else file


# --- values -----------------------------------------------------------------------------------


def _of_mysql(text: bytes) -> bytes | None:
    """Return the value of a literal of MySQL."""
    first = text[0]
    if first in {_QUOTE, _DOUBLE_QUOTE}:
        inner = text[1:-1]
        if b"\\" not in inner and text[:1] not in inner:
            return inner
        if first == _DOUBLE_QUOTE:
            inner = inner.replace(b'""', b'"')
        return _MYSQL_ESCAPE.sub(_mysql_escape, inner)
    if text.upper() == b"NULL":
        return None
    if match := _HEX.fullmatch(text):
        return bytes.fromhex((match[1] or match[2]).decode("ascii"))
    if (quote := text.find(b"'")) > 0:  # _binary 'text'
        return _of_mysql(text[quote:])
    return text


def _mysql_escape(match: re.Match[bytes]) -> bytes:
    character: bytes | None = match[1]
    return b"'" if character is None else _MYSQL_ESCAPES.get(character, character)


def _of_pgsql(text: bytes) -> bytes | None:
    """Return the value of a literal of PostgreSQL."""
    if text[0] == _QUOTE:
        return text[1:-1].replace(b"''", b"'")
    if text[:2].lower() == b"e'":
        return _COPY_ESCAPE.sub(_copy_escape, text[2:-1].replace(b"''", b"'"))
    return None if text.upper() == b"NULL" else text


def _of_copy(text: bytes) -> bytes | None:
    """Return the value of a field of COPY."""
    if b"\\" not in text:
        return text
    return None if text == b"\\N" else _COPY_ESCAPE.sub(_copy_escape, text)


def _copy_escape(match: re.Match[bytes]) -> bytes:
    code = match[1]
    if code[:1] == b"x" and len(code) > 1:
        return bytes([int(code[1:], 16)])
    if code.isdigit() and code < b"8":
        return bytes([int(code, 8) & 0xFF])
    return _COPY_ESCAPES.get(code, code)


def _unpadded(convert: Convert) -> Convert:
    """Return a conversion that leaves out the blanks that fill a CHAR column up."""

    def strip(text: bytes) -> bytes | None:
        value = convert(text)
        return value and value.rstrip(b" ")

    return strip


def _recoded(source: str, target: str) -> Convert:
    """Return a conversion to the character set of the column from that of the dump."""

    def recode(text: bytes) -> bytes | None:
        value = _of_mysql(text)
        if value is None or value.isascii() or text[:1] == b"_":
            return value
        try:
            return _encode(value.decode(source), target)
        except (UnicodeError, LookupError):  # no such text, or no such set: as it stands there
            return value

    return recode


def _encode(text: str, target: str) -> bytes:
    if target != "cp1252":
        return text.encode(target)
    # Quirk: MySQL's latin1 is cp1252, whose five holes stand for themselves.
    return b"".join(
        [c.encode("latin-1") if c in "\x81\x8d\x8f\x90\x9d" else c.encode(target) for c in text]
    )


def _codec(charset: str) -> str:
    """Return Python's name for a character set of MySQL; empty: text is not touched."""
    return "" if charset in _RAW else _CODECS.get(charset, charset)
