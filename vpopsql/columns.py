"""What columns hold: text byte for byte, sealed passwords, names, and aware times."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, DateTime, String, Text, TypeDecorator
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.visitors import InternalTraversal

from vpopsql.sealed import Keyring, is_sealed

# Bytes that no database text can hold (NUL, invalid UTF-8) become characters of this private
# range, one a byte; characters that really are of the range are spelled byte by byte as well, so
# that the way back is unique.
_ESCAPE_BASE = 0x10F800
_ESCAPES = {
    0: chr(_ESCAPE_BASE),
    **{0xDC00 + byte: chr(_ESCAPE_BASE + byte) for byte in range(0x80, 0x100)},
    **{
        char: "".join(chr(_ESCAPE_BASE + byte) for byte in chr(char).encode())
        for char in range(_ESCAPE_BASE, _ESCAPE_BASE + 0x100)
    },
}
_UNESCAPES = {_ESCAPE_BASE: "\0"} | {
    _ESCAPE_BASE + byte: chr(0xDC00 + byte) for byte in range(0x80, 0x100)
}


def to_database_text(value: str) -> str:
    """Return ``value`` (decoded with surrogateescape) in a form that every database stores."""
    if value.isascii() and "\0" not in value:
        return value
    return value.translate(_ESCAPES)


def from_database_text(value: str) -> str:
    """Return the exact text that `to_database_text` was given."""
    if value.isascii():
        return value
    plain = value.translate(_UNESCAPES)
    return plain.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def unescaped(value: str | None) -> str | None:
    """Return the exact text of a column's; plain ASCII is its own."""
    return value if value is None or value.isascii() else from_database_text(value)


class ExactText(TypeDecorator[str]):
    """Text that comes back byte for byte, whatever bytes a flat file or a client gave.

    In Python it is UTF-8 decoded with ``surrogateescape``; in SQL it is readable text, with the
    few bytes that text cannot hold as private-use characters U+10F800 + byte.
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:  # noqa: ANN401 - SQLAlchemy's signature
        """Compare and sort by bytes on PostgreSQL too, as SQLite and vpopmail do."""
        if dialect.name == "postgresql":
            return Text(collation="C")
        return Text()

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Escape what text cannot hold."""
        del dialect
        return None if value is None else to_database_text(value)

    def result_processor(
        self, dialect: Dialect, coltype: object
    ) -> Callable[[str | None], str | None]:
        """Return what undoes the escape: without two more calls for each text of each row."""
        del dialect, coltype
        return unescaped


class SealedText(ExactText):
    """A readable password: sealed on its way in, if the engine's dialect has a keyring.

    Whoever selects the column wants the password, and gets it opened. Who wants it as it is stored
    selects it coerced to `ExactText`.
    """

    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Seal."""
        keyring = keyring_of(dialect)
        if value and keyring:
            value = keyring.seal(value)
        return super().process_bind_param(value, dialect)

    def result_processor(
        self, dialect: Dialect, coltype: object
    ) -> Callable[[str | None], str | None]:
        """Return what opens what is sealed; it raises `PasswordSealed` where that cannot be."""
        del coltype
        keyring = keyring_of(dialect) or _NO_KEYS

        def opened(value: str | None) -> str | None:
            stored = unescaped(value)
            return keyring.open(stored) if stored and is_sealed(stored) else stored

        return opened


_NO_KEYS = Keyring(())
_KEYRING = "vpopsql_keyring"


def keyring_of(dialect: Dialect) -> Keyring | None:
    """Return the keys that an engine's passwords are sealed with; None: they are not."""
    return getattr(dialect, _KEYRING, None)


def set_keyring(dialect: Dialect, keyring: Keyring) -> None:
    """Let an engine seal and open passwords."""
    setattr(dialect, _KEYRING, keyring)


class ByBytes(ColumnElement[str]):
    """A text to sort by, byte by byte on both databases, as an index on an `ExactText` has it."""

    inherit_cache = True
    _traverse_internals = [("value", InternalTraversal.dp_clauseelement)]  # noqa: RUF012 - SQLAlchemy's name
    type = ExactText()

    def __init__(self, value: ColumnElement[str]) -> None:
        self.value = value


@compiles(ByBytes)
def _by_bytes(element: ByBytes, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401
    collation = 'COLLATE "C"' if compiler.dialect.name == "postgresql" else ""
    return f"{compiler.process(element.value, **options)} {collation}".rstrip()


class NameText(ExactText):
    """A name, compared and sorted by bytes.

    Names are plain text, but they are looked up by whatever a client sends.

    :param length: characters.
    """

    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> Any:  # noqa: ANN401 - SQLAlchemy's signature
        """Compare and sort by bytes on PostgreSQL too."""
        return String(self.length, collation="C" if dialect.name == "postgresql" else None)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time; SQLite, which knows no zones, stores it without one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times; store UTC."""
        del dialect
        if value is None:
            return None
        if value.tzinfo is None:
            message = f"a time without a zone: {value!r}"
            raise ValueError(message)
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return an aware time."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def utc_now() -> datetime:
    """Return the present time as aware UTC."""
    return datetime.now(UTC)
