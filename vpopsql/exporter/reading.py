"""What an apply asks of the database: the site, and what was exported before."""

from collections.abc import Collection, Container, Mapping

from sqlalchemy import select

from vpopsql.config import Config
from vpopsql.crew import collecting_seldom
from vpopsql.db import Database
from vpopsql.errors import ExportFailed
from vpopsql.exporter.history import Mark
from vpopsql.exporter.snapshot import Snapshot, take
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


def read(
    database: Database,
    config: Config,
    touched: Touched | None = None,
    known: Container[str] = frozenset(),
    rcpthosts: Collection[str] = (),
    written: Mapping[str, Mark] | None = None,
) -> Snapshot:
    """Return the site as the database has it; the arguments are those of `take`.

    :raises ExportFailed: an import has not come to its end.
    """
    with database.snapshot() as session, collecting_seldom():
        if session.connection().execute(_UNFINISHED).first():
            raise ExportFailed(
                "an import has begun and not come to its end, so the database holds a part of a"
                " site only: run the same import again, with --apply"
            )
        return take(session, config.paths, touched, known, config.export, rcpthosts, written or {})
