"""One command on its way to its handler: who calls, in which transaction, with which words."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from vpopsql import errors
from vpopsql.config import Config
from vpopsql.names import is_address, lower, split_address
from vpopsql.protocol import Words
from vpopsql.services import domains, paths
from vpopsql.services.rights import Actor
from vpopsql.tree import Tree


@dataclass(slots=True)
class Call:
    """One command of one client."""

    session: Session
    actor: Actor
    words: Words
    compact: bool
    """Whether flags are shown as one number, as after clogin and slogin."""
    config: Config
    local_ip: str
    """The address that the client connected to; empty when unknown."""

    def word(self, missing: type[errors.MissingParameter]) -> str:
        """Take the next parameter, or raise ``missing``."""
        word = self.words.next()
        if not word:
            raise missing
        return word

    def domain(self, missing: type[errors.MissingParameter] = errors.DomainRequired) -> str:
        """Take the next parameter as a domain's name, or raise ``missing``."""
        return lower(self.word(missing))

    def address(self) -> tuple[str, str]:
        """Take the next parameter as (name, domain)."""
        return parse_address(self.session, self.word(errors.AddressRequired), self.local_ip)

    def path(self, missing: type[errors.MissingParameter]) -> tuple[Tree, str]:
        """Take the next parameter as a path that the caller may use."""
        owned = paths.resolve(self.session, self.actor, self.word(missing))
        return Tree(self.config.paths.root + owned.root), owned.below

    def tree(self) -> Tree:
        """Return the site's files."""
        return Tree(self.config.paths.root)


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
