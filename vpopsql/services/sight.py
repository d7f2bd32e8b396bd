"""What a change of one mailbox sees of what files are made of, so that nobody has to ask again.

It is noted in passing, if whoever has begun the transaction wants to know.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from vpopsql.touched import Mark, Seen

if TYPE_CHECKING:
    from vpopsql.services.domains import FoundDomain

_KEY = "vpopsql.sight"


@dataclass(slots=True)
class Sight:
    """What is noted while one mailbox is changed, whose domain is locked."""

    marks: Callable[[], tuple[Mark, Mark] | None] | None = None
    """Gives the domain's revision before the change and that of the change, as soon as both have
    come; None: the one before is not known."""
    mailbox: "tuple[FoundDomain, str, Mapping[str, Any] | None] | None" = field(
        default=None, repr=False
    )
    """The domain, the mailbox's name, and its columns; without columns, it goes."""
    counter: Mapping[str, Any] | None = None
    """The columns of the domain's directory counter, if that counts."""

    def seen(self) -> Seen | None:
        """Return what was seen; None: nothing changes, or it is not enough.

        To be called when all has been carried out, before the session is closed.
        """
        marks = self.marks and self.marks()
        if not marks or self.mailbox is None:
            return None
        domain, name, columns = self.mailbox
        owner = domain.uid, domain.gid
        return Seen(domain.name, domain.directory, owner, *marks, name, columns, self.counter)


def watch(session: Session) -> Sight:
    """Have noted what is seen in a session's transaction, which changes one mailbox."""
    sight = session.info[_KEY] = Sight()
    return sight


def of(session: Session) -> Sight | None:
    """Return where to note what is seen; None: nobody wants to know."""
    found: Sight | None = session.info.get(_KEY)
    return found
