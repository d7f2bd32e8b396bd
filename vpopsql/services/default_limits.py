"""The site's default limits, which hold for domains without limits of their own."""

from collections.abc import Mapping

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from vpopsql.model import LIMIT_SETTINGS, DefaultLimits
from vpopsql.services.changes import record
from vpopsql.services.limits import BUILT_IN
from vpopsql.services.rights import Actor, require_system

_SETTINGS = select(*(getattr(DefaultLimits, name) for name in LIMIT_SETTINGS))


def get_defaults(session: Session) -> Mapping[str, int | bool]:
    """Return every setting, as `limits.get_limits` does; without any, those that are built in."""
    row = session.execute(_SETTINGS).first()
    return BUILT_IN if row is None else dict(zip(LIMIT_SETTINGS, row, strict=True))


def set_defaults(session: Session, actor: Actor, settings: Mapping[str, int | bool]) -> None:
    """Change the named settings; the others keep what held so far.

    :raises NotAuthorized: ``actor`` is no system administrator.
    """
    require_system(actor)
    query = _SETTINGS.with_for_update()
    row = session.execute(query).first()
    before = BUILT_IN if row is None else dict(zip(LIMIT_SETTINGS, row, strict=True))
    if row is None:
        session.execute(insert(DefaultLimits).values(**{**before, **settings}))
    else:
        session.execute(update(DefaultLimits).values(**settings))
    changes = {
        name: (before[name], value) for name, value in settings.items() if before[name] != value
    }
    record(session, actor, "set_limits", ("site", "default limits"), changes, domain=None)
