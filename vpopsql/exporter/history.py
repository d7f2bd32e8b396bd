"""Which changes of the domains at hand, and of their accounts, have been committed lately."""

from collections import defaultdict
from collections.abc import Mapping

from sqlalchemy import and_, bindparam, or_, select
from sqlalchemy.orm import Session

from vpopsql.model import Revision
from vpopsql.prepared import Prepared
from vpopsql.touched import OF_NO_ACCOUNT, Mark, Touched

_LATELY = 10_000
"""Revisions that are looked at: they have no index for a domain's."""

_SEVERAL = 100
"""Domains, and changes of theirs, up to which it is worth looking."""

_OF_ACCOUNTS = and_(*(Revision.topic != topic for topic in sorted(OF_NO_ACCOUNT)))

_OF_DOMAINS = Prepared(
    select(Revision.domain, Revision.id, Revision.at).where(
        Revision.id >= bindparam("since"),
        _OF_ACCOUNTS,
        or_(Revision.domain.is_(None), Revision.domain.in_(bindparam("domains", expanding=True))),
    ),
    ["domains"],
)
_NEWEST = Prepared(
    select(Revision.id, Revision.at)
    .where(Revision.id >= bindparam("since"), Revision.domain == bindparam("domain"), _OF_ACCOUNTS)
    .order_by(Revision.id.desc())
    .limit(1)
)


class History:
    """The newest revisions of the domains whose accounts were touched, if of accounts.

    One of a lower number may come to light later on PostgreSQL, but not of the same domain: who
    writes files after a change has the domain's lock before the change gets a number.
    """

    def __init__(
        self,
        session: Session,
        newest: int,
        touched: Touched | None,
        written: Mapping[str, Mark],
    ) -> None:
        self._written = written
        self._made = touched.revisions if touched else set()
        self._found: defaultdict[str | None, dict[int, str]] = defaultdict(dict)
        named: set[str] = set()
        if touched:
            named = touched.accounts | {domain for domain, _ in touched.mailboxes}
            named -= touched.names  # new ones get no stamp yet
        if not 0 < len(named) <= _SEVERAL:
            return
        stamped = [name for name in named if name in written]
        if stamped:
            since = max(min(written[name].revision for name in stamped), newest - _LATELY)
            for domain, number, at in _OF_DOMAINS.all(session, since=since, domains=stamped):
                self._found[domain][number] = at.isoformat()
        for name in named.difference(stamped):
            # Of files without a stamp, for the next one's sake.
            for number, at in _NEWEST.all(session, since=newest - _SEVERAL, domain=name):
                self._found[name][number] = at.isoformat()

    def has_others(self, name: str) -> bool:
        """Say whether a domain may have been changed by somebody else since it was written."""
        mark = self._written.get(name)
        own = self._found[name]
        if mark is None or own.get(mark.revision) != mark.at:
            return True
        later = {number for number in [*own, *self._found[None]] if number > mark.revision}
        return not later <= self._made

    def newest_of(self, name: str) -> Mark | None:
        """Return the newest revision of a domain's; None: it is not known."""
        own = self._found.get(name)
        return Mark(max(own), own[max(own)]) if own else None
