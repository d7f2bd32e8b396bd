"""The exact lines of a large site, made by two processes.

Asking for a million mailboxes and putting their lines together takes three times as long as
anything else that the site's files need. Both processes see the database of one moment and take
ranges of domains, in the order of their numbers, as the rows lie on disk.
"""

import struct
from array import array
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from itertools import accumulate, pairwise

from sqlalchemy import func, select
from sqlalchemy.engine import URL
from sqlalchemy.orm import Session

from vpopsql.config import Export
from vpopsql.crew import Pair
from vpopsql.db import Database
from vpopsql.exporter import direct
from vpopsql.exporter.routes import NO_ROUTES, Routes
from vpopsql.exporter.snapshot import Exact, ExactLines, at_once
from vpopsql.model import Domain, DomainName, Mailbox
from vpopsql.pieces import Buffer
from vpopsql.qmail.lines import decode, encode

WORTH_IT = 50_000
"""Mailboxes from which on two processes are quicker than one.

The second one takes 30 ms to be there, and saves 0.9 s of each million mailboxes.
"""

RANGES = 32
"""So many that neither process waits long for the other's last one."""


_MANY = 1000  # keys in a query


@contextmanager
def moment_of(database: Database, export: Export) -> Iterator[tuple[Session, ExactLines]]:
    """Give a session that sees one moment, and what makes the exact lines of all its domains.

    What it makes may be asked for within the block only; the later, the more the copy has done.
    """
    ranges = _ranges(database) if export.delivery == "exact" else []
    if not ranges or not Pair.is_possible() or not database.forget_connections():
        with database.moment() as moment:
            yield moment.session, at_once
        return
    begin = partial(_Copy, database.url, export)
    with Pair(begin, ranges) as pair, database.moment() as moment:
        pair.start(moment.name, moment.is_shared)
        yield moment.session, partial(_later, pair)


def _ranges(database: Database) -> list[range]:
    """Return ranges of domain ids, so many that all are contained; none if the site is small."""
    with database.reader() as session:
        if (session.scalar(select(func.max(Mailbox.id))) or 0) < WORTH_IT:
            return []
        last = session.scalar(select(func.max(Domain.id))) or 0
    bounds = [last * at // RANGES + 1 for at in range(RANGES)]
    return [range(start, stop) for start, stop in pairwise([*bounds, 2**62])]


def _later(pair: Pair[range], session: Session, export: Export, routes: Routes) -> Exact:
    """Let the copy go on alone until the lines are asked for."""
    return cache(partial(_lines, pair, session, export, routes))


def _lines(
    pair: Pair[range],
    session: Session,
    export: Export,
    routes: Routes,
) -> dict[str, Buffer]:
    found: dict[str, Buffer] = {}
    own = partial(direct.lines, session, export, NO_ROUTES)
    parts: list[Mapping[str, Buffer]] = pair.do(own, _unpacked)
    for part in parts:
        found |= part
    # The workers do not know what leads addresses elsewhere, which is rare.
    if odd := routes.odd(found):
        again = direct.lines(session, export, routes, _domains_of(session, odd))
        for name in odd:
            del found[name]
        found |= again
    return found


def _domains_of(session: Session, names: Collection[str]) -> set[int] | None:
    """Return the ids of the domains with these names; None: so many that all may be asked."""
    if len(names) > _MANY:
        return None
    query = select(DomainName.domain_id).where(DomainName.name.in_(names))
    return {*session.scalars(query)}


# The bytes that a process makes of a range: how many bytes of names there are and how many names,
# the names, each with a newline behind it, the sizes of their lines, and these lines.
_HEAD = struct.Struct("=QQ")
_SIZE = "I"


def _packed(lines: Mapping[str, bytes]) -> bytes:
    names = encode("".join([f"{name}\n" for name in lines]))
    sizes = array(_SIZE, map(len, lines.values())).tobytes()
    return b"".join([_HEAD.pack(len(names), len(lines)), names, sizes, *lines.values()])


def _unpacked(packed: memoryview) -> dict[str, memoryview]:
    size, number = _HEAD.unpack_from(packed)
    names = decode(bytes(packed[_HEAD.size : _HEAD.size + size])).split("\n")
    sizes = array(_SIZE)
    at = _HEAD.size + size + number * sizes.itemsize
    sizes.frombytes(packed[_HEAD.size + size : at])
    ends = [*accumulate(sizes, initial=at)]
    lines = map(packed.__getitem__, map(slice, ends, ends[1:]))
    return dict(zip(names, lines, strict=False))  # nothing stands behind the last newline


class _Copy:
    """Makes the exact lines of the domains in a range of ids, in another process.

    :param moment: that of the process that asks.
    """

    def __init__(self, url: URL, export: Export, moment: str) -> None:
        self._held = ExitStack()
        self._session = self._held.enter_context(Database(url).joined(moment))
        self._export = export

    def __call__(self, ids: range, /) -> bytes:
        return _packed(direct.lines(self._session, self._export, NO_ROUTES, ids))

    def close(self) -> None:
        """End its transaction."""
        self._held.close()
