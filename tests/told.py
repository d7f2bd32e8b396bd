"""What was told while a test ran, and the search for secrets in it.

Whatever vpopsql prints, logs, answers, and writes to files and tables is for more eyes than
passwords, hashes and keys are. `tests.listening` hears it during each test; here it is searched.

Secrets are known in two ways. By form (`FORMS`): a hash, a sealed password, a key, a URL with a
password. And because they came by in the test's process: passwords that were hashed, verified,
sealed or stored, keys that were read, hashes of DES; of these, `is_distinctive` leaves alone what
may stand anywhere. Where secrets belong is named in `BY_DESIGN`, place by place.
"""

import contextlib
import functools
import html
import json
import os
import re
import sqlite3
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from psycopg.sql import SQL, Composed, Identifier, Literal
from sqlalchemy import JSON, Enum, String

import vpopsql
from tests import factories
from tests.archives import TREES
from vpopsql.columns import ExactText
from vpopsql.model import Base

# Of crypt(3): letters and digits of a digest, and what a salt may be of.
_DIGIT, _SALT = "[./0-9A-Za-z]", "[!-#%-9;-~]"
_BASE64 = "[A-Za-z0-9+/]"
_HASHES = (
    rf"1\${_SALT}{{0,8}}\${_DIGIT}{{22}}",
    rf"[56]\$(?:rounds=\d+\$)?{_SALT}{{0,16}}\$(?:{_DIGIT}{{86}}|{_DIGIT}{{43}})",
    rf"2[abxy]\$\d\d\${_DIGIT}{{53}}",
    rf"y\${_DIGIT}+\${_DIGIT}{{0,86}}\${_DIGIT}{{43}}",
    rf"argon2(?:id|i|d)\$v=\d+\$m=\d+,t=\d+,p=\d+\${_BASE64}+\${_BASE64}+",
)
# Each begins with what is found fast; a group, where there is one, is the secret.
FORMS = {
    "hash": rf"\$(?<!sealed\$)(?:{'|'.join(_HASHES)})",
    "sealed password": rf"\$sealed\$\d\$[0-9a-f]{{8}}\${_BASE64}{{38,}}",
    # The word itself is what examples have.
    "URL with a password": r"://[^\s/:@'\"<>]*:(?!(?i:password|\*\*\*)@)[^\s/:@'\"<>]+@",
    # 32 bytes. A page's policy has such digests, too, as sha256-...
    "key": rf"=(?<=(?<![A-Za-z0-9+/=-])({_BASE64}{{43}}=))(?![A-Za-z0-9+/=])",
}
_FORMS = {kind: re.compile(form.encode()) for kind, form in FORMS.items()}
WORD = "secret that came by"
ANY = (*FORMS, WORD)


class Exemption(NamedTuple):
    """A place where a secret belongs."""

    place: str
    """A regular expression that the whole name of the place matches."""
    kinds: tuple[str, ...]
    why: str
    tests: str = ""
    """How the names of the only tests begin that it holds for."""

    def holds(self, place: str, kind: str, test: str) -> bool:
        """Tell whether a secret of a kind belongs in a place."""
        return (
            kind in self.kinds
            and test.startswith(self.tests)
            and re.fullmatch(self.place, place, re.DOTALL) is not None
        )


def _file(name: str) -> str:
    return f"file (.*/)?{name}"


BY_DESIGN = (
    # What vpopsql is for.
    Exemption(r"table mailboxes\.(password_hash|clear_text)", ANY, "passwords are kept here"),
    Exemption(r"table trash\.payload", ANY, "who is restored has his password again"),
    Exemption(_file(r"vpasswd[^/]*"), ANY, "vpopmail's accounts, with passwords"),
    Exemption(_file(r"\.vpopsql-tmp-[0-9a-f]+"), ("hash", WORD), "vpasswd, before it is in place"),
    Exemption(_file(r"[^/]+\.db-(wal|shm|journal)"), ANY, "pages of SQLite's databases"),
    Exemption(_file(r"[^/]+\.backup"), ANY, "all that is in a database"),
    Exemption(_file(r"[^/]*keys?"), ("key", WORD), "the file of passwords.key_file"),
    Exemption(_file(r"vpopsql\.toml"), ("URL with a password",), "the configuration"),
    # What vpopsql is asked for.
    Exemption(r"output of vpopsql (user|domain) .*--generate\b.*", (WORD,), "made to be told"),
    Exemption(r"output of v(adddomain|adduser|passwd) (.* )?-r.*", (WORD,), "made to be told"),
    Exemption(r"output of vpopsql passwords new-key", ("key", WORD), "made to be told"),
    Exemption(r"output of vuserinfo .*", ("hash", WORD), "vpopmail's shows them"),
    # What tests make of passwords, for vpopsql to read.
    Exemption(r"output of (mariadb-dump|pg_dump) .*", ANY, "a table of accounts"),
    Exemption(_file(r"((dump|cut)\.sql|again\.mysql)"), ANY, "a dump to import"),
    Exemption(
        _file(r"(hash(ed)?|secret|password|users\.csv)"), ("hash", WORD), "given to vpopsql"
    ),
    Exemption(_file(r"elsewhere"), ANY, "vpasswd, moved"),
    Exemption(_file(r"image"), ANY, "a disk with a database and vpasswd"),
    Exemption(_file(r"other"), ("key", WORD), "a file of keys", "tests/test_sealed.py"),
    Exemption(
        r"output of cdb -d .*|file made", ANY, "vpasswd.cdb", "tests/exporter/test_sample_trees.py"
    ),
    Exemption(
        r"table mailboxes\.comment", ANY, "a line of vpasswd, forged", "tests/daemon/test_holes.py"
    ),
    Exemption(
        r"table audit_log\.changes",
        (WORD,),
        "no page shows it",
        "tests/reports/site/test_write.py",
    ),
    Exemption(r".*", ANY, "planted to be found", "tests/test_told.py"),
)
"""Where secrets belong, and why; nothing else is excused."""

_MOST_WORDS = 1000
"""Of more passwords in one test, the first ones prove as much as all."""
_SHORTEST = 6
_FEWEST = 4
_AROUND = 40
_LARGEST_BYTES = 1 << 24


class Finding(NamedTuple):
    """A secret where it does not belong."""

    place: str
    kind: str
    excerpt: str
    """What stands around it, without it."""

    def __str__(self) -> str:
        return f"{self.place}: {self.kind}: {self.excerpt}"


class Watch:
    """What is told, and the secrets that came by, between `begin` and `findings`."""

    def __init__(self) -> None:
        # Dictionaries, for they keep the order.
        self._words: dict[bytes, None] = {}
        self._told: dict[tuple[str, bytes], None] = {}
        self._test = ""

    # --- What is heard ------------------------------------------------------------------------

    def begin(self, test: str = "") -> None:
        """Forget everything; a test of this name begins."""
        self._test = test
        self._words = {}
        self._told = {}

    def know(self, secret: str | bytes | None) -> None:
        """Take note of a secret that came by."""
        if secret and len(self._words) < _MOST_WORDS:
            self._words[_bytes(secret)] = None

    def hear(self, place: str, text: str | bytes) -> None:
        """Take note of what was told."""
        if text:
            self._told[place, _bytes(text)] = None

    def look_below(self, directory: Path) -> None:
        """Hear what all files below a directory tell, and the tables of SQLite's databases."""
        start = len(str(directory)) + 1
        for path in _files(directory):
            place = f"file {path[start:]}"
            if _is_at_home(place):
                continue
            with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:  # noqa: PTH123 - for speed
                # Of what is larger, the beginning.
                data = file.read(_LARGEST_BYTES)
                if data.startswith(b"SQLite format 3\0"):
                    self.look_into_file(path)
                else:
                    self.hear(place, data)

    def look_into_file(self, path: str) -> None:
        """Hear what the tables of a SQLite database tell; a damaged or foreign one is silent."""
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(path, timeout=0)) as database,
        ):
            database.text_factory = bytes
            for table, names in _texts().items():
                columns = ", ".join(f'"{name}"' for name in names)
                for row in database.execute(f"SELECT {columns} FROM {table}"):
                    self._hear_row(table, row)

    def look_into(self, url: str) -> None:
        """Hear what the tables of a PostgreSQL database tell; another revision's are silent."""
        with (
            contextlib.suppress(psycopg.OperationalError, psycopg.ProgrammingError),
            psycopg.connect(url, autocommit=True) as database,
        ):
            for table, row in database.execute(_texts_query()):
                self._hear_row(table, row)

    def _hear_row(self, table: str, row: Iterable[Any]) -> None:
        for name, value in zip(_texts()[table], row, strict=True):
            if value:
                self.hear(f"table {table}.{name}", value)

    # --- What is found ------------------------------------------------------------------------

    def findings(self) -> list[Finding]:
        """Return the secrets that were told and have no business to be."""
        spellings = {
            spelling: None
            for word in (*_constants(), *self._words)
            if is_distinctive(word)
            for spelling in _spellings(word)
        }
        told = list(self._told)  # threads of the test may still tell something
        everything = b"\n".join(text for _, text in told)
        words = [word for word in spellings if word in everything]
        kinds = [kind for kind, form in _FORMS.items() if form.search(everything)]
        if not words and not kinds:
            return []
        found = []
        for place, text in told:
            spans = [
                (kind, *match.span(match.re.groups))
                for kind in kinds
                for match in _FORMS[kind].finditer(text)
            ] + [(WORD, at, at + len(word)) for word in words if (at := text.find(word)) >= 0]
            found += [
                Finding(place, kind, _excerpt(text, start, end))
                for kind, start, end in spans
                if not _belongs(place, kind, self._test)
            ]
        return found


def _belongs(place: str, kind: str, test: str) -> bool:
    return any(each.holds(place, kind, test) for each in BY_DESIGN)


def _is_at_home(place: str) -> bool:
    """Tell whether secrets of all kinds belong in a place: nobody has to look there."""
    return _homes().fullmatch(place) is not None


@functools.cache
def _homes() -> re.Pattern[str]:
    homes = [each.place for each in BY_DESIGN if each.kinds == ANY and not each.tests]
    return re.compile("|".join(homes), re.DOTALL)


def is_distinctive(word: bytes) -> bool:
    """Tell whether a word that is found somewhere was told, and does not stand there by chance.

    Short ones, those of few different characters, and those that vpopsql's own messages may have
    (its source has them) say nothing.
    """
    return len(word) >= _SHORTEST and len(set(word)) >= _FEWEST and not _is_ours(word)


@functools.lru_cache(maxsize=4096)
def _is_ours(word: bytes) -> bool:
    return word in _source()


@functools.cache
def _source() -> bytes:
    files = sorted(Path(vpopsql.__file__).parent.rglob("*.py"))
    return b"\n".join(path.read_bytes() for path in files)


@functools.cache
def _constants() -> tuple[bytes, ...]:
    """Return the passwords of the accounts that most tests have."""
    found = {factories.PASSWORD.encode(): None}
    with tarfile.open(TREES / "base.tar.gz") as archive:
        for member in archive:
            if member.name.endswith("/vpasswd") and (file := archive.extractfile(member)):
                found |= {line.split(b":")[7]: None for line in file.read().splitlines()}
    return tuple(found)


def _spellings(word: bytes) -> set[bytes]:
    """Return a word as it is, and as logs, JSON and HTML write it."""
    text = word.decode("utf-8", "surrogateescape")
    spelled = (text, repr(text)[1:-1], json.dumps(text)[1:-1], html.escape(text))
    return {_bytes(each) for each in spelled}


@functools.cache
def _texts() -> dict[str, list[str]]:
    """Return the columns with text of all tables, but for those where passwords are kept."""
    found = {
        table.name: [
            column.name
            for column in table.columns
            if isinstance(column.type, String | ExactText | JSON)
            and not isinstance(column.type, Enum)
            and not _is_at_home(f"table {table.name}.{column.name}")
        ]
        for table in Base.metadata.sorted_tables
    }
    return {table: names for table, names in found.items() if names}


@functools.cache
def _texts_query() -> Composed:
    return SQL(" UNION ALL ").join(
        SQL("SELECT {}, ARRAY[{}] FROM {}").format(
            Literal(table),
            SQL(", ").join(SQL("{}::text").format(Identifier(name)) for name in names),
            Identifier(table),
        )
        for table, names in _texts().items()
    )


def _files(directory: str | os.PathLike[str]) -> Iterator[str]:
    """Return the paths of the plain files below a directory; links are not followed."""
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(entry.path)
            elif entry.is_file(follow_symlinks=False):
                yield entry.path


def _bytes(text: str | bytes) -> bytes:
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


def _excerpt(text: bytes, start: int, end: int) -> str:
    before, after = text[max(0, start - _AROUND) : start], text[end : end + _AROUND]
    return f"{before!r} <{end - start} bytes> {after!r}"
