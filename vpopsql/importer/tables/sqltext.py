r"""Reading a dump's SQL piece by piece, whatever its size and however long its lines are.

Two dialects: what ``mysqldump`` and ``mariadb-dump`` write, and what ``pg_dump`` writes as plain
text. Statements that nobody wants are passed over without being looked at, except for where they
end. Only so much of the file is in memory as a block and one row need.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from vpopsql.importer.tables.schema import MYSQL

_BLOCK = 1 << 20
_AHEAD = 1 << 16  # of the longest head of a statement, such as an INSERT that lists its columns
_ROW_MAX = 64 << 20  # what is longer is no row but a quote that nobody closed

_IDENTIFIER = rb'(?:`(?:[^`]|``)+`|"(?:[^"]|"")+"|[\w$]+)'
_NAME = rb"(?:" + _IDENTIFIER + rb"\s*\.\s*)?" + _IDENTIFIER
_NAMES = rb"\(\s*" + _IDENTIFIER + rb"(?:\s*,\s*" + _IDENTIFIER + rb")*\s*\)"
# Quoted text in which a backslash means something, and in which it does not.
_ESCAPED = rb"'[^'\\]*+(?:(?:\\.|'')[^'\\]*+)*+'"
_PLAIN = rb"'[^']*+(?:''[^']*+)*+'"
_DOUBLE = rb'"[^"\\]*+(?:(?:\\.|"")[^"\\]*+)*+"'
_WORD = rb"[^'\"(),;\s]++"
_VALUES = {
    True: rb"(?:(?:_\w+\s*|[xXnNbB])?" + _ESCAPED + rb"|" + _DOUBLE + rb"|" + _WORD + rb")",
    False: rb"(?:[eE]" + _ESCAPED + rb"|[xXbB]?" + _PLAIN + rb"|" + _WORD + rb")",
}

_BLANKS = re.compile(rb"\s+")
_COMMENT = re.compile(rb"(?:--[ \t][^\n]*|--(?=\n)|#[^\n]*)(?:\n|\Z)")
_META = re.compile(rb"\\[^\n]*(?:\n|\Z)")  # of psql, such as \restrict
# MySQL runs what is in such a comment; what only newer clients understand is nothing to us.
_CONDITION = re.compile(rb"/\*M?!(?!999999)\d*|\*/")
_HEAD = re.compile(
    rb"(?:(?P<insert>(?:INSERT|REPLACE)\s+(?:(?:IGNORE|LOW_PRIORITY|DELAYED)\s+)*(?:INTO\s+)?)"
    rb"|(?P<create>CREATE\s+(?:UNLOGGED\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?)"
    rb"|(?P<copy>COPY\s+)"
    rb"|(?P<use>USE\s+))(?P<name>" + _NAME + rb")",
    re.IGNORECASE,
)
_SET_NAMES = re.compile(rb"SET\s+NAMES\s+'?(\w+)", re.IGNORECASE)
# What dumps note in their first statements and put back in their last ones.
_FIRST = re.compile(rb"SET\s+@OLD_(?:SQL_NOTES|CHARACTER_SET_CLIENT)\s*=", re.IGNORECASE)
_LAST = re.compile(rb"SET\s+(?:SQL_NOTES|CHARACTER_SET_CLIENT)\s*=\s*@OLD_", re.IGNORECASE)
# Before version 10 nothing told the end.
_TOP = re.compile(rb"-- (?:(MySQL|MariaDB) dump (?!\d\.)|(PostgreSQL) database dump\s*$)")
_BOTTOM = re.compile(rb"-- (?:Dump completed|PostgreSQL database dump complete)")
_DELIMITER = re.compile(rb"DELIMITER[ \t]+(\S+)[^\n]*\n", re.IGNORECASE)
_COLUMNS = re.compile(rb"\s*(" + _NAMES + rb")")
_INTO_VALUES = re.compile(
    rb"\s*(?P<columns>" + _NAMES + rb")?\s*(?:OVERRIDING\s+\w+\s+VALUE\s+)?VALUES\s*",
    re.IGNORECASE,
)
_FROM_STDIN = re.compile(rb"\s*(?P<columns>" + _NAMES + rb")?\s+FROM\s+stdin;\n", re.IGNORECASE)
_COMMA = re.compile(rb"\s*,\s*")
_DOLLAR = re.compile(rb"\$(?:[A-Za-z_]\w*)?\$")
_QUOTES = {True: b"'\"`", False: b"'\""}
# One step through what is passed over; a quote that is not closed yet is left to `_pass_quote`.
_PASS = {
    True: re.compile(
        rb"(?:[^'\"`;/#-]++|'(?:[^'\\]++|\\.)*+'|\"(?:[^\"\\]++|\\.)*+\"|`[^`]*+`"
        rb"|/\*(?!M?!).*?\*/|/(?=\*M?!)|/(?=[^*])|-(?=[^-])|--(?=[^\s-])|--\s[^\n]*\n|\#[^\n]*\n)++",
        re.DOTALL,
    ),
    False: re.compile(
        rb"(?:[^'\";/$-]++|(?<![eE])'[^']*+'|\"[^\"]*+\"|/\*.*?\*/|/(?=[^*])|-(?=[^-])"
        rb"|--[^\n]*\n|\$(?=[^\w$]))++",
        re.DOTALL,
    ),
}
_QUOTE = 0x27
_QUOTED = {
    (True, 0x27): re.compile(rb"(?:[^'\\]++|\\.)*+", re.DOTALL),
    (True, 0x22): re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL),
    (True, 0x60): re.compile(rb"[^`]*+"),
    (False, 0x27): re.compile(rb"[^']*+"),
    (False, 0x22): re.compile(rb'[^"]*+'),
}


class Damaged(Exception):
    """The text is not as a dump is, from the line ``line`` on; ``is_cut``: it ends there."""

    def __init__(self, line: int, reason: str, *, is_cut: bool = False) -> None:
        super().__init__(reason)
        self.line = line
        self.is_cut = is_cut


class Readable(Protocol):
    """A file, or what decompresses one."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes, none at the end."""


@dataclass(frozen=True, slots=True)
class Statement:
    """The beginning of a statement of interest: ``insert``, ``create``, ``copy``, ``use``."""

    what: str
    schema: str
    name: str
    line: int


@dataclass(frozen=True, slots=True)
class Column:
    """A column as its table's definition has it.

    ``is_padded``: its values may be filled up with blanks; ``charset``: of its text, if said.
    """

    name: str
    is_padded: bool = False
    charset: str = ""


@dataclass(slots=True)
class SqlText:
    """A dump while it is read from its beginning to its end.

    :ivar names: the character set that the text is in, as far as it says.
    :ivar maker: whose dump it says it is, empty if it does not.
    :ivar is_whole: whether the end that a dump's own beginning promises has been seen; None: it
        promises none.
    """

    file: Readable
    dialect: str
    names: str = ""
    maker: str = ""
    is_whole: bool | None = None
    _data: bytes = b""
    _at: int = 0
    _line: int = 1
    _counted_to: int = 0
    _held: int | None = None
    _taken: bool = False
    _at_end: bool = False
    _escapes: bool = field(init=False)

    def __post_init__(self) -> None:
        self._escapes = self.dialect == MYSQL

    @property
    def line(self) -> int:
        """The number of the line that is being read."""
        self._count_lines()
        return self._line

    def statements(self) -> Iterator[Statement]:
        """Give each statement of interest; the rest of one that nobody reads is passed over.

        :raises Damaged: the text ends within a statement, or too early.
        """
        while self._to_statement():
            if self._passed_delimiter():
                continue
            if found := _SET_NAMES.match(self._data, self._at):
                self.names = found[1].decode().lower()
            elif _FIRST.match(self._data, self._at):
                self.is_whole = False
            elif _LAST.match(self._data, self._at):
                self.is_whole = True
            elif found := _HEAD.match(self._data, self._at):
                *schema, name = _identifiers(found["name"])
                what = next(w for w in ("insert", "create", "copy", "use") if found[w])
                line = self.line
                self._at = found.end()
                self._taken = False
                yield Statement(what, "".join(schema), name, line)
                if what == "copy" and not self._taken:
                    self._pass_copied()
                if self._taken:
                    continue
            self.pass_statement()
        if self.is_whole is False:
            raise self._cut("before the line that says it is complete")

    def definition(self) -> list[Column]:
        """Return the columns of the table whose CREATE has just begun.

        :raises Damaged: the text ends within it.
        """
        self._taken = True
        self._held = self._at
        try:
            self.pass_statement()
            text = self._data[self._held : self._at]
        finally:
            self._held = None
        return _columns(text)

    def values_head(self) -> list[str] | None:
        """Step to the first row of an INSERT; return the columns that it names, None if none.

        :raises Damaged: there are no rows.
        """
        self._taken = True
        match = _INTO_VALUES.match(self._data, self._at)
        if match is None:
            raise Damaged(self.line, "an INSERT without VALUES")
        self._at = match.end()
        return _identifiers(match["columns"]) if match["columns"] else None

    def rows(self, wanted: list[bool]) -> Iterator[tuple[int, tuple[bytes, ...]]]:
        """Give line and values, as they are written, of each row of an INSERT.

        :param wanted: for each column whether its value is to be given.
        :raises Damaged: a row is not whole, or has another number of values.
        """
        value = _VALUES[self._escapes]
        pattern = re.compile(
            rb"\(\s*"
            + rb"\s*,\s*".join(b"(%b)" % value if w else value for w in wanted)
            + rb"\s*\)",
            re.DOTALL,
        )
        any_row = re.compile(rb"\(\s*%b(?:\s*,\s*%b)*+\s*\)" % (value, value), re.DOTALL)
        comma: re.Match[bytes] | None = None
        while True:
            while (match := pattern.match(self._data, self._at)) is None:
                if blanks := _BLANKS.match(self._data, self._at):
                    self._at = blanks.end()
                elif len(self._data) - self._at > _ROW_MAX or not self._more():
                    begins = self._data[self._at : self._at + 1] in {b"", b"("}
                    if begins and self._at_end and not any_row.match(self._data, self._at):
                        raise self._cut("within a row")
                    raise Damaged(self.line, "a row of other values")
            line = self.line
            self._at = match.end()
            yield line, match.groups()
            while (comma := _COMMA.match(self._data, self._at)) is None:
                if self._data[self._at : self._at + _AHEAD].strip() or not self._more():
                    break
            if comma is None:
                break
            self._at = comma.end()
        self.pass_statement()

    def copied_head(self) -> list[str] | None:
        """Step to the first line of a COPY; return the columns that it names, None if none.

        :raises Damaged: it is no COPY from the dump itself.
        """
        self._taken = True
        match = _FROM_STDIN.match(self._data, self._at)
        if match is None:
            raise Damaged(self.line, "a COPY without its rows")
        self._at = match.end()
        return _identifiers(match["columns"]) if match["columns"] else None

    def copied(self) -> Iterator[tuple[int, bytes]]:
        """Give number and text of each line of a COPY.

        :raises Damaged: the end is missing.
        """
        number = self.line
        while True:
            end = self._data.find(b"\n", self._at)
            while end < 0:
                if len(self._data) - self._at > _ROW_MAX or not self._more():
                    raise self._cut("within the rows of a table")
                end = self._data.find(b"\n", self._at)
            line = self._data[self._at : end]
            self._at = end + 1
            if line == b"\\.":
                return
            yield number, line
            number += 1

    def pass_statement(self) -> None:
        """Go behind the semicolon that ends the statement.

        :raises Damaged: there is none.
        """
        pattern, quotes = _PASS[self._escapes], _QUOTES[self._escapes]
        while True:
            if match := pattern.match(self._data, self._at):
                self._at = match.end()
            character = self._data[self._at : self._at + 1]
            if character == b";":
                self._at += 1
                return
            if not character:
                if not self._more():
                    raise self._cut("within a statement")
            elif character in quotes:
                self._pass_quote(character[0])
            elif character == b"$" and (tag := self._dollar()):
                self._at += len(tag)
                self._pass_to(tag)
            elif self._data.startswith(b"/*", self._at):
                self._pass_to(b"*/")
            elif not self._need(_AHEAD):
                # Not the beginning of anything after all.
                self._at += 1

    # --- between statements -------------------------------------------------------------------

    def _to_statement(self) -> bool:
        """Go to the next statement; return False at the end of the text."""
        while True:
            self._need(_AHEAD)
            data, at = self._data, self._at
            if at >= len(data):
                return False
            if match := _BLANKS.match(data, at):
                self._at = match.end()
            elif match := _COMMENT.match(data, at):
                self._note(match[0])
                self._at = match.end()
            elif self._escapes and (match := _CONDITION.match(data, at)):
                self._at = match.end()
            elif data.startswith(b"/*", at):
                self._pass_to(b"*/")
            elif not self._escapes and (match := _META.match(data, at)):
                self._at = match.end()
            elif data[at : at + 1] == b";":
                self._at += 1
            else:
                return True

    def _note(self, comment: bytes) -> None:
        """Note whether a dump that says where it begins also says where it ends."""
        if match := _TOP.match(comment):
            self.maker = self.maker or (match[1] or match[2]).decode()
            self.is_whole = False
        elif _BOTTOM.match(comment):
            self.is_whole = True

    def _passed_delimiter(self) -> bool:
        """Pass over functions and triggers, which have statements of their own inside."""
        match = _DELIMITER.match(self._data, self._at) if self._escapes else None
        if match is None:
            return False
        self._at = match.end()
        if match[1] != b";":
            self._pass_to(b"DELIMITER ;")
        return True

    # --- passing over -------------------------------------------------------------------------

    def _pass_quote(self, quote: int) -> None:
        """Go behind the next quote; a doubled one ends a text and begins another."""
        # Quirk: in PostgreSQL the letter before the quote decides what a backslash is.
        escapes = self._escapes or (
            quote == _QUOTE and self._data[max(self._at - 1, 0) : self._at] in {b"E", b"e"}
        )
        pattern = _QUOTED[(escapes, quote)]
        self._at += 1
        while True:
            if match := pattern.match(self._data, self._at):
                self._at = match.end()
            if self._data[self._at : self._at + 1] == bytes([quote]):
                self._at += 1
                return
            if not self._more():
                raise self._cut("within a quoted text")

    def _pass_copied(self) -> None:
        self.copied_head()
        while True:
            self._need(3)
            if self._data.startswith(b"\\.\n", self._at):
                self._at += 3
                return
            end = self._data.find(b"\n\\.\n", self._at)
            if end >= 0:
                self._at = end + 4
                return
            self._at = max(len(self._data) - 3, self._at)
            if not self._more():
                raise self._cut("within the rows of a table")

    def _pass_to(self, end: bytes) -> None:
        while (found := self._data.find(end, self._at)) < 0:
            self._at = max(len(self._data) - len(end) + 1, self._at)
            if not self._more():
                raise self._cut(f"before {end.decode()}")
        self._at = found + len(end)

    def _dollar(self) -> bytes:
        """Return the dollars that quote a text of PostgreSQL here, empty if none do."""
        self._need(_AHEAD)
        match = None if self._escapes else _DOLLAR.match(self._data, self._at)
        return match[0] if match else b""

    def _cut(self, where: str) -> Damaged:
        return Damaged(self.line, f"the dump ends {where}", is_cut=True)

    def _count_lines(self) -> None:
        self._line += self._data.count(b"\n", self._counted_to, self._at)
        self._counted_to = self._at

    # --- the text in memory -------------------------------------------------------------------

    def _need(self, size: int) -> bool:
        """Have ``size`` bytes in memory; return whether there was less and there is more now."""
        more = False
        while len(self._data) - self._at < size and self._more():
            more = True
        return more

    def _more(self) -> bool:
        """Read another block, and let go of what has been read; return False at the end."""
        block = b"" if self._at_end else self.file.read(max(_BLOCK, len(self._data) - self._at))
        if not block:
            self._at_end = True
            return False
        # The character before tells what a quote means.
        start = max(self._at - 1, 0) if self._held is None else self._held
        self._count_lines()
        self._data = self._data[start:] + block
        self._at -= start
        self._counted_to -= start
        self._held = None if self._held is None else 0
        return True


# --- the small parts --------------------------------------------------------------------------

_ONE_IDENTIFIER = re.compile(_IDENTIFIER)
_PADDED = re.compile(r"\s*(?:character|char|bpchar)\s*(?:\(|[,\s]|$)(?!\s*varying)", re.IGNORECASE)
_CHARSET = re.compile(
    r"(?:(?:CHARACTER SET|CHARSET)[ =]+|COLLATE[ =]+)(\w+?)(?:_\w+)?(?!\w)", re.IGNORECASE
)
_BYTES = re.compile(r"\s*(?:(?:var)?binary|(?:tiny|medium|long)?blob)\b", re.IGNORECASE)
_NO_COLUMN = re.compile(
    r"(?:PRIMARY|KEY|UNIQUE|INDEX|CONSTRAINT|FOREIGN|CHECK|FULLTEXT|SPATIAL|EXCLUDE|LIKE|PERIOD)\b",
    re.IGNORECASE,
)
_PIECE = re.compile(rb"'(?:[^'\\]|\\.)*'|`[^`]*`|\"[^\"]*\"|[(),]|[^'`\"(),]+", re.DOTALL)


def _identifiers(text: bytes) -> list[str]:
    """Return the names in a list or a dotted name, without their quotes."""
    return [_unquoted(found) for found in _ONE_IDENTIFIER.findall(text)]


def _unquoted(name: bytes) -> str:
    text = name.decode("utf-8", "surrogateescape")
    return text[1:-1].replace(text[0] * 2, text[0]) if text[0] in '`"' else text


def _columns(definition: bytes) -> list[Column]:
    """Return the columns of what stands behind the name in CREATE TABLE."""
    parts, options = _parts(definition)
    default = _charset(options)
    columns = []
    for part in parts:
        if _NO_COLUMN.match(part) or (match := _ONE_IDENTIFIER.match(part.encode())) is None:
            continue
        rest = part[len(match[0].decode()) :]
        padded = _PADDED.match(rest) is not None
        charset = "binary" if _BYTES.match(rest) else _charset(rest) or default
        columns.append(Column(_unquoted(match[0]), padded, charset))
    return columns


def _parts(definition: bytes) -> tuple[list[str], str]:
    """Return what stands between the outermost parentheses, by commas, and what follows."""
    depth = 0
    parts = [""]
    for match in _PIECE.finditer(definition):
        piece = match[0].decode("utf-8", "replace")
        depth += (piece == "(") - (piece == ")")
        if piece == ")" and depth == 0:
            return [part.strip() for part in parts], definition[match.end() :].decode(
                "utf-8", "replace"
            )
        if piece == "," and depth == 1:
            parts.append("")
        elif piece != "(" or depth > 1:
            parts[-1] += piece
    return [], ""


def _charset(text: str) -> str:
    match = _CHARSET.search(text)
    return match[1].lower() if match else ""
