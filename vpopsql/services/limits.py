"""Limits of domains, with the site's defaults behind them."""

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from vpopsql.model import LIMIT_SETTINGS, DefaultLimits, DomainLimits

_BUILT_IN: Mapping[str, int | bool] = {
    name: -1 if name.startswith("max_") and name != "max_msgcount" else 0
    for name in LIMIT_SETTINGS
}
_OF_DOMAIN = select(*(getattr(DomainLimits, name) for name in LIMIT_SETTINGS))
_DEFAULT = select(*(getattr(DefaultLimits, name) for name in LIMIT_SETTINGS))


def get_limits(session: Session, domain_id: int) -> Mapping[str, int | bool]:
    """Return every setting that holds for a domain: its own, else the site's, else none.

    ``disk_quota`` is in megabytes, ``default_quota`` in bytes, 0 meaning none; ``max_*`` are
    numbers of objects, -1 meaning unlimited.
    """
    row = (
        session.execute(_OF_DOMAIN.where(DomainLimits.domain_id == domain_id)).first()
        or session.execute(_DEFAULT).first()
    )
    return _BUILT_IN if row is None else dict(zip(LIMIT_SETTINGS, row, strict=True))
