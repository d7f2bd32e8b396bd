"""What an apply asks of the database: the site, and what was exported before."""

from collections.abc import Callable, Collection, Container, Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy import select
from sqlalchemy.orm import Session

from vpopsql.config import Config
from vpopsql.db import Database
from vpopsql.errors import ExportFailed
from vpopsql.exporter import sharing
from vpopsql.exporter.snapshot import IS_STRANGER, Snapshot, take
from vpopsql.model import Export
from vpopsql.prepared import Prepared
from vpopsql.touched import Mark, Touched

_IS_STRANGER = Prepared(select(IS_STRANGER))


def is_stranger(database: Database) -> bool:
    """Tell whether the database was neither filled from a site nor ever exported to one."""
    return bool(database.read(_IS_STRANGER.value))


def newest_export(database: Database) -> int | None:
    """Return the revision of the newest export; None: there was none."""
    with database.reader() as session:
        return session.scalar(select(Export.revision).order_by(Export.id.desc()).limit(1))


def read_some(
    database: Database,
    config: Config,
    touched: Touched,
    rcpthosts: Collection[str] = (),
    written: Mapping[str, Mark] | None = None,
) -> Snapshot:
    """Return what a change touched, other than the whole site; arguments and errors as `reading`.

    It takes a fourth of the time that `reading` would: what changes often is asked quickly.
    """

    def taken(session: Session) -> Snapshot:
        return _required_whole(
            take(
                session,
                config.paths,
                touched,
                export=config.export,
                rcpthosts=rcpthosts,
                written=written or {},
            )
        )

    return database.read(taken, one_moment=True)


@contextmanager
def reading(
    database: Database,
    config: Config,
    touched: Touched | None = None,
    known: Callable[[], Container[str]] = frozenset,
) -> Iterator[Snapshot]:
    """Give the site as the database has it; the arguments are those of `take`.

    Its exact lines must be asked for within the block. Of a large site another process makes them
    meanwhile: whatever else there is to do is best done before.

    :param known: asked once that process is at work.
    :raises ExportFailed: an import has not come to its end.
    """
    with sharing.moment_of(database, config.export) as (session, exact_lines):
        yield _required_whole(
            take(
                session,
                config.paths,
                touched,
                known(),
                config.export,
                exact_lines=exact_lines,
            )
        )


def _required_whole(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot of a whole site. :raises ExportFailed: it is of a part of one."""
    if snapshot.is_unfinished:
        raise ExportFailed(
            "an import has begun and not come to its end, so the database holds a part of a"
            " site only: run the same import again, with --apply"
        )
    return snapshot
