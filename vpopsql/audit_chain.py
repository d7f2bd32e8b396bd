"""The chains of the audit log: every row has a hash that depends on all rows before it.

A row's hash is the SHA-256 of a JSON array: the hash of the row before it in its chain (empty for
the first), the number of the chain, the row's place in it, its id, time, actor, address, channel,
request, action, type and name of the object, and the changes. It is written as PostgreSQL writes
JSON, with names in the order of their lengths, so that either database's rows prove good on the
other one.

On PostgreSQL a trigger chains each row as it is inserted, whoever inserts it. There is a chain for
each writer at a time, so that none waits for another one's commit. SQLite knows no SHA-256 and has
one writer: `chain_new` runs last in each of vpopsql's write transactions, and takes in what other
programs have written since the last one.

Whoever can write to the table can also compute hashes. What he cannot change is a `Head` that was
noted down elsewhere: rows that it covers must be there, and as they were.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import starmap
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

if TYPE_CHECKING:
    from sqlite3 import Connection

_COLUMNS = (
    "id, at, actor, actor_ip, channel, request_id, action, object_type, object,"
    " CAST(changes AS text) AS changes"
)
_CHAINED_AT_ONCE = 10_000
_NEW = f"SELECT {_COLUMNS} FROM audit_log WHERE chain IS NULL ORDER BY id LIMIT {_CHAINED_AT_ONCE}"  # noqa: S608
_LAST = "SELECT link, hash FROM audit_log WHERE chain = 1 ORDER BY link DESC LIMIT 1"
_CHAIN = "UPDATE audit_log SET chain = 1, link = ?, hash = ? WHERE id = ?"
_ALL = text(
    f"SELECT {_COLUMNS}, chain, link, hash FROM audit_log ORDER BY chain, link, id"  # noqa: S608
)
_AT_ONCE = 5000
_SHOWN_MAX = 100
"""Findings that are kept; a broken log may have as many as it has rows."""

_to_json = json.JSONEncoder(ensure_ascii=False).encode  # `json.dumps` makes one each time

_HEAD = re.compile(r"(\d{1,18}(?:\.\d{1,18})*)-([0-9a-f]{64})")


class _Entry(NamedTuple):
    """A row of the log, as the driver has it."""

    id: int
    at: str | datetime
    actor: str
    actor_ip: str | None
    channel: str
    request_id: str | None
    action: str
    object_type: str
    object: str
    changes: str
    chain: int | None = None
    link: int | None = None
    hash: str | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """How far the log has come: the text to note down, and to compare with later."""

    links: tuple[int, ...]
    """The last place of each chain, from chain 1; 0: it has no row."""
    hash: str
    """Of the hashes at these places."""

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.links))}-{self.hash}"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was written."""

    entry: int | None
    """The id of the row where it shows; None: a row that is not there."""
    chain: int | None
    link: int | None
    what: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What a look at the whole log found."""

    entries: int
    unchained: int
    """Rows that other programs wrote to SQLite since vpopsql's last change."""
    head: Head
    findings: tuple[Finding, ...]
    """The first of them, at most a hundred."""
    found: int
    """How many there are in all."""


def parse_head(said: str) -> Head:
    """Return a head from its text.

    :raises ValueError: it is none.
    """
    match = _HEAD.fullmatch(said.strip())
    if not match:
        raise ValueError(
            f"{said!r} is no head of the audit log, which looks like 1204.37-6b0c…: the last line"
            " that `vpopsql audit verify` prints"
        )
    return Head(tuple(map(int, match[1].split("."))), match[2])


def chain_new(connection: "Connection") -> None:
    """Chain the rows that are in no chain yet.

    :param connection: the driver's own, in a write transaction: through SQLAlchemy the same takes
        three times as long, and every change has to wait for it.
    :raises sqlite3.Error: it cannot be written.
    """
    while rows := connection.execute(_NEW).fetchall():
        link, previous = connection.execute(_LAST).fetchone() or (0, "")
        chained = []
        for row in starmap(_Entry, rows):
            link += 1
            previous = _hash(previous, 1, link, row)
            chained.append((link, previous, row.id))
        connection.executemany(_CHAIN, chained)
        if len(rows) < _CHAINED_AT_ONCE:
            break


def verify(session: Session, expected: Head | None = None) -> Verified:
    """Look whether every row is there, and as it was written.

    :param session: one that sees the database of one moment.
    :param expected: a head of an earlier time; what it covers must still be there.
    """
    noted: dict[int | None, int] = dict(enumerate(expected.links, 1)) if expected else {}
    hashes: dict[int, str] = {}
    heads: dict[int, tuple[int, str]] = {}
    findings: list[Finding] = []
    entries = unchained = found = 0
    for row in _rows(session):
        entries += 1
        if row.chain is None and row.hash is None:
            unchained += 1
            continue
        finding = _look(row, *heads.get(row.chain or 0, (0, "")))
        if finding:
            found += 1
            findings += [finding] if len(findings) < _SHOWN_MAX else []
        if row.chain and row.link and row.hash:
            heads[row.chain] = (row.link, row.hash)
            if noted.get(row.chain) == row.link:
                hashes[row.chain] = row.hash
    links = tuple(heads.get(chain, (0, ""))[0] for chain in range(1, max(heads, default=0) + 1))
    head = _head(links, {chain: hash_ for chain, (_, hash_) in heads.items()})
    if expected and _head(expected.links, hashes) != expected:
        found += 1
        findings.append(_lost(expected, hashes))
    return Verified(entries, unchained, head, tuple(findings), found)


def _rows(session: Session) -> Iterator[_Entry]:
    rows = session.connection().execute(_ALL, execution_options={"yield_per": _AT_ONCE})
    return starmap(_Entry, rows)


def _look(row: _Entry, link: int, previous: str) -> Finding | None:
    """Compare a row with its hash, and with the last one of its chain."""
    at = (row.id, row.chain, row.link)
    if row.chain is None or row.link is None or row.hash is None:
        return Finding(*at, "its place in its chain was taken from it")
    if row.link != link + 1:
        before = f"place {link}" if link else "the begin"
        gone = row.link - link - 1
        return Finding(*at, f"removed between {before} of chain {row.chain} and this one: {gone}")
    try:
        is_good = _hash(previous, row.chain, row.link, row) == row.hash
    except (ValueError, TypeError, AttributeError):
        is_good = False
    if is_good:
        return None
    return Finding(
        *at, "it does not fit its hash: it was altered, or the one before it was, hash and all"
    )


def _lost(expected: Head, hashes: dict[int, str]) -> Finding:
    """Say what of an earlier head is not as it was."""
    for chain, link in enumerate(expected.links, 1):
        if link and chain not in hashes:
            return Finding(None, chain, link, "the expected head has it, and it was removed")
    return Finding(None, None, None, "the hashes are others than those of the expected head")


def _head(links: Sequence[int], hashes: dict[int, str]) -> Head:
    lines = "".join(
        f"{chain}:{link}:{hashes.get(chain, '')}\n" for chain, link in enumerate(links, 1) if link
    )
    return Head(tuple(links) or (0,), hashlib.sha256(lines.encode()).hexdigest())


def _hash(previous: str, chain: int, link: int, row: _Entry) -> str:
    at = row.at if isinstance(row.at, datetime) else datetime.fromisoformat(row.at)
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    said = [
        *(previous, chain, link, row.id, f"{at:%Y-%m-%dT%H:%M:%S.%fZ}"),
        *(row.actor, row.actor_ip, row.channel, row.request_id),
        *(row.action, row.object_type, row.object, json.loads(row.changes)),
    ]
    return hashlib.sha256(_canonical(said).encode("utf-8", "surrogatepass")).hexdigest()


def _canonical(value: Any) -> str:  # noqa: ANN401 - what JSON can hold
    """Return a JSON value as PostgreSQL writes it down."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: (len(name.encode()), name.encode()))
        pairs = (f"{_canonical(name)}: {_canonical(value[name])}" for name in names)
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_canonical, value))}]"
    return _to_json(value)
