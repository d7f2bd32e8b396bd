"""What an apply asks of the database: the site, and what was exported before."""

from collections.abc import Callable, Collection, Container, Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy import select
from sqlalchemy.orm import Session

from vpopsql.config import Config
from vpopsql.db import Database
from vpopsql.errors import ExportFailed
from vpopsql.exporter import sharing
from vpopsql.exporter.history import Mark
from vpopsql.exporter.snapshot import ExactLines, Snapshot, at_once, take
from vpopsql.model import UNFINISHED_IMPORT, Export, SiteSetting
from vpopsql.touched import Touched

_UNFINISHED = select(SiteSetting.key).where(SiteSetting.key == UNFINISHED_IMPORT)

FILES_ARE_OURS = "files_are_ours"
"""The site setting that says since when this database's files are the site's."""


def is_stranger(database: Database) -> bool:
    """Tell whether the database was neither filled from a site nor ever exported to one."""
    known = select(SiteSetting.key).where(SiteSetting.key.in_([FILES_ARE_OURS, "imported_at"]))
    with database.reader() as session:
        return session.scalar(known.limit(1)) is None


def newest_export(database: Database) -> int | None:
    """Return the revision of the newest export; None: there was none."""
    with database.reader() as session:
        return session.scalar(select(Export.revision).order_by(Export.id.desc()).limit(1))


@contextmanager
def reading(
    database: Database,
    config: Config,
    touched: Touched | None = None,
    known: Callable[[], Container[str]] = frozenset,
    rcpthosts: Collection[str] = (),
    written: Mapping[str, Mark] | None = None,
) -> Iterator[Snapshot]:
    """Give the site as the database has it; the arguments are those of `take`.

    Its exact lines must be asked for within the block. Of a large site another process makes them
    meanwhile: whatever else there is to do is best done before.

    :param known: asked once that process is at work.
    :raises ExportFailed: an import has not come to its end.
    """
    with _moment(database, config, touched) as (session, exact_lines):
        if session.connection().execute(_UNFINISHED).first():
            raise ExportFailed(
                "an import has begun and not come to its end, so the database holds a part of a"
                " site only: run the same import again, with --apply"
            )
        yield take(
            session,
            config.paths,
            touched,
            known(),
            config.export,
            rcpthosts,
            written or {},
            exact_lines,
        )


@contextmanager
def _moment(
    database: Database, config: Config, touched: Touched | None
) -> Iterator[tuple[Session, ExactLines]]:
    if touched is None or touched.site:
        with sharing.moment_of(database, config.export) as found:
            yield found
        return
    with database.snapshot() as session:
        yield session, at_once
