"""Facts about the whole site."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from vpopsql.model import SiteSetting


def site_directory(session: Session, otherwise: str) -> str:
    """Return vpopmail's home, as a site path.

    :param otherwise: for a database that does not know it.
    """
    found = session.scalar(select(SiteSetting.value).where(SiteSetting.key == "vpopmail_dir"))
    return found or otherwise
