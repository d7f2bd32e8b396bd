"""One command on its way to its handler: who calls, in which transaction, with which words.

And what a handler can answer: a `Reply` at once; `Afterwards`, when files have to be read, which
is done when the transaction is over; `Write`, a job for a write transaction; or `Body`, when lines
of the client follow.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy.orm import Session

from vpopsql import errors
from vpopsql.config import Config, Export
from vpopsql.names import is_address, lower, split_address
from vpopsql.protocol import Reply, Words
from vpopsql.services import domains, paths, sight
from vpopsql.services.rights import Actor
from vpopsql.services.sight import Sight
from vpopsql.touched import Touched
from vpopsql.trash import Kept
from vpopsql.tree import Tree


@dataclass(slots=True)
class Call:
    """One command of one client."""

    session: Session
    caller: Actor
    """Who asks, for commands that only read."""
    request_id: str
    words: Words
    compact: bool
    """Whether flags are shown as one number, as after clogin and slogin."""
    config: Config
    local_ip: str
    """The address that the client connected to; empty when unknown."""
    _actor: Actor | None = None

    @property
    def actor(self) -> Actor:
        """Return who asks, as the audit log names him."""
        if self._actor is None:
            self._actor = replace(self.caller, request_id=self.request_id)
        return self._actor

    def word(self, missing: type[errors.MissingParameter]) -> str:
        """Take the next parameter, or raise ``missing``."""
        word = self.words.next()
        if not word:
            raise missing
        return word

    def rest(self, missing: type[errors.MissingParameter]) -> str:
        """Take all that is left, blanks included, or raise ``missing``."""
        text = self.words.rest()
        if not text:
            raise missing
        return text

    def domain(self, missing: type[errors.MissingParameter] = errors.DomainRequired) -> str:
        """Take the next parameter as a domain's name, or raise ``missing``."""
        return lower(self.word(missing))

    def address(self) -> tuple[str, str]:
        """Take the next parameter as (name, domain)."""
        return parse_address(self.session, self.word(errors.AddressRequired), self.local_ip)

    def path(self, missing: type[errors.MissingParameter]) -> tuple[Tree, str]:
        """Take the next parameter as a path that the caller may use."""
        owned = paths.resolve(self.session, self.caller, self.word(missing))
        return Tree(self.config.paths.root + owned.root), owned.below

    def tree(self) -> Tree:
        """Return the site's files."""
        return Tree(self.config.paths.root, self.config.paths.places)


@dataclass(frozen=True, slots=True)
class Afterwards:
    """A reply that is made when no transaction is open any more."""

    make: Callable[[], Reply]


Unsynced = tuple[Tree, Sequence[str]]
"""Directories that are to be on disk soon."""


@dataclass(slots=True)
class Effects:
    """What has to happen to files once a change is committed."""

    touched: Touched = field(default_factory=Touched)
    actions: list[Callable[[], object]] = field(default_factory=list)
    """Other steps, in their order, once the touched files are written."""
    unsynced: list[Unsynced] = field(default_factory=list)
    """What those have left for after the answer."""
    sight: Sight | None = None
    """What is seen of a mailbox, if that is all that changes."""

    def watch(self, session: Session, export: Export) -> None:
        """Have noted what becomes of the one mailbox that is changed, if files are made of it."""
        if export.has_accounts and export.delivery != "exact":
            self.sight = sight.watch(session)

    def trash(self, kept: Kept, tree: Tree) -> None:
        """Let a tree go to the trash.

        That is waited for after the answer: what power that fails leaves where it was is found
        there, and moved, as if the move had not been made.
        """
        self.actions.append(lambda: self.unsynced.append((tree, kept.rename(tree))))


Job = Callable[[Session, Effects], Reply | None]
"""A change: carried out in a write transaction, which is committed when it returns.

None is plain success. A job may run twice, if it loses a race with another session.
"""


@dataclass(frozen=True, slots=True)
class Write:
    """A change to be made."""

    job: Job
    expect: Callable[[Session], None] = lambda _session: None
    """Says what the job asks first: that goes to the database together with the rights."""


@dataclass(frozen=True, slots=True)
class Body:
    """A command whose lines follow, up to one with a single dot."""

    finish: Callable[[Sequence[bytes]], Write]
    """Makes the change of the lines, raw and without their LF."""
    greeting: Reply | None
    """What is answered at once; None: nothing until the last line."""
    is_file: bool = False
    """Whether the lines are a file's, which may be long and are swallowed when refused."""


Answer = Reply | Afterwards | Write | Body


def parse_address(session: Session, text: str, local_ip: str) -> tuple[str, str]:
    """Return (name, domain) of an address.

    One without a domain gets the domain that ``local_ip`` is mapped to, else the site's default,
    else an empty one.

    :raises InvalidAddress: it has characters that no address has.
    """
    name, domain = split_address(text)
    if not is_address(name, domain):
        raise errors.InvalidAddress(text)
    return name, domain or domains.default_domain(session, local_ip) or ""
