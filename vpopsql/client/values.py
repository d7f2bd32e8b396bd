"""What a daemon tells, as values; and how they are read from the lines of its lists.

No ``repr`` shows a password or its hash.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from vpopsql.client.failures import ProtocolError
from vpopsql.flags import OPTIONS, Flag


@dataclass(frozen=True, slots=True)
class User:
    """A mailbox."""

    name: str
    """The part before the at-sign."""
    comment: str
    quota: str
    """``NOQUOTA``, or bytes and messages as ``10000000S,100C``."""
    directory: str
    encrypted_password: str = field(repr=False)
    """A crypt(3) string; empty where the caller may not see it."""
    clear_text_password: str = field(repr=False)
    """Empty where it is not stored."""
    flags: Flag
    """Its own bits. Without SA_EXPERT after `login` with ``verb="login"``, which has none."""


@dataclass(frozen=True, slots=True)
class Session:
    """Who has logged in."""

    vpopmail_directory: str
    domain_directory: str
    uid: int
    """The numeric owner of the domain's files."""
    gid: int
    user: User


@dataclass(frozen=True, slots=True)
class Domain:
    """A real domain."""

    name: str
    directory: str
    uid: int
    gid: int
    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DomainName:
    """A name that mail is taken for."""

    real: str
    name: str

    @property
    def is_alias(self) -> bool:
        """Tell whether it is another name of the domain `real`."""
        return self.real != self.name


@dataclass(frozen=True, slots=True)
class AliasLine:
    """One line of an alias; an alias has one or more."""

    address: str
    line: str
    """A dot-qmail line, such as an address, ``|program`` or a path."""


@dataclass(frozen=True, slots=True)
class LastAuth:
    """When and from where somebody last logged in."""

    at: datetime | None
    """Aware UTC, whole seconds; None: never."""
    ip: str


@dataclass(frozen=True, slots=True)
class Size:
    """What a mailbox, or all of a domain, holds."""

    bytes: int
    messages: int


@dataclass(frozen=True, slots=True)
class DomainSize:
    """What each mailbox of a domain holds, and all of them."""

    users: dict[str, Size]
    """By address."""
    total: Size


@dataclass(frozen=True, slots=True)
class Entry:
    """What is in a directory."""

    name: str
    kind: str
    """``file``, ``dir``, ``chardev``, ``plkdev`` (a block device), ``fifo``, ``link``, ``sock``,
    ``unknown``."""


@dataclass(frozen=True, slots=True)
class IpMapping:
    """The domain that a login without one belongs to, by the address connected to."""

    ip: str
    domain: str


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that hold for a domain; the fields are called as in the protocol."""

    max_popaccounts: int = -1
    """``max_*``: how many; -1: no limit."""
    max_aliases: int = -1
    max_forwards: int = -1
    max_autoresponders: int = -1
    max_mailinglists: int = -1
    disk_quota: int = 0
    """Megabytes for the whole domain; 0: no limit."""
    max_msgcount: int = 0
    default_quota: int = 0
    """Bytes for a new mailbox; 0: no limit."""
    default_maxmsgcount: int = 0
    disable_pop: bool = False
    disable_imap: bool = False
    disable_dialup: bool = False
    disable_password_changing: bool = False
    disable_webmail: bool = False
    disable_external_relay: bool = False
    disable_smtp: bool = False
    disable_spamassassin: bool = False
    delete_spam: bool = False
    disable_maildrop: bool = False
    perm_account: int = 0
    """``perm_*``: what is denied to domain administrators: 1 to create, 2 modify, 4 delete."""
    perm_alias: int = 0
    perm_forward: int = 0
    perm_autoresponder: int = 0
    perm_maillist: int = 0
    perm_quota: int = 0
    perm_defaultquota: int = 0


LIMITS = {item.name: item.type for item in fields(Limits)}
"""The settings of a domain, and what each is."""


class Named:
    """The lines ``name value`` of a list, by name."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._values: dict[str, list[str]] = {}
        for line in lines:
            name, _, value = line.partition(" ")
            self._values.setdefault(name, []).append(value)

    def text(self, name: str) -> str:
        """Return a value. :raises ProtocolError: there is none."""
        try:
            return self._values[name][-1]
        except KeyError:
            raise ProtocolError(f"the daemon's answer lacks {name}") from None

    def number(self, name: str) -> int:
        """Return a value that is a number. :raises ProtocolError: there is none."""
        return to_number(self.text(name), name)

    def all(self, name: str) -> tuple[str, ...]:
        """Return every value of this name."""
        return tuple(self._values.get(name, ()))

    def has(self, name: str) -> bool:
        """Tell whether there is such a line."""
        return name in self._values


def to_number(text: str, name: str) -> int:
    """Return the number of a text. :raises ProtocolError: it is none."""
    try:
        return int(text)
    except ValueError:
        raise ProtocolError(f"the daemon's {name} is no number") from None


def user(lines: Iterable[str]) -> User:
    """Return the mailbox that lines are of, with flags in either form."""
    named = Named(lines)
    if named.has("gidflags"):
        flags = Flag(named.number("gidflags"))
    else:
        flags = Flag(0)
        for name, flag in OPTIONS.items():
            # The long form has no line for system_experts.
            if flag is not Flag.SA_EXPERT and named.number(name):
                flags |= flag
    return User(
        name=named.text("name"),
        comment=named.text("comment"),
        quota=named.text("quota"),
        directory=named.text("user_dir"),
        encrypted_password=named.text("encrypted_password"),
        clear_text_password=named.text("clear_text_password"),
        flags=flags,
    )


def users(lines: Iterable[str]) -> list[User]:
    """Return the mailboxes that lines are of: each begins with its name."""
    blocks: list[list[str]] = []
    for line in lines:
        if line.startswith("name "):
            blocks.append([])
        if line and not blocks:
            raise ProtocolError("the daemon's list of users does not begin with a name")
        if line:
            blocks[-1].append(line)
    return [user(block) for block in blocks]


def session(lines: Iterable[str]) -> Session:
    """Return what login and clogin tell."""
    said = list(lines)
    named = Named(said)
    return Session(
        vpopmail_directory=named.text("vpopmail_dir"),
        domain_directory=named.text("domain_dir"),
        uid=named.number("uid"),
        gid=named.number("gid"),
        user=user(said),
    )


def domain(lines: Iterable[str]) -> Domain:
    """Return what dom_info tells."""
    named = Named(lines)
    return Domain(
        name=named.text("domain"),
        directory=named.text("path"),
        uid=named.number("uid"),
        gid=named.number("gid"),
        aliases=named.all("alias"),
    )


def limits(lines: Iterable[str]) -> Limits:
    """Return what get_limits tells."""
    named = Named(lines)
    found: dict[str, Any] = {
        name: bool(named.number(name)) if kind is bool else named.number(name)
        for name, kind in LIMITS.items()
        if named.has(name)
    }
    if not found:
        raise ProtocolError("the daemon's answer has no limits")
    return Limits(**found)


def last_auth(lines: Iterable[str]) -> LastAuth:
    """Return what get_lastauth tells."""
    named = Named(lines)
    at, ip = named.number("time"), named.text("ip")
    is_never = not at or ip == "0.0.0.0"  # noqa: S104 - what the protocol calls never
    try:
        return LastAuth(None if is_never else datetime.fromtimestamp(at, UTC), ip)
    except (OverflowError, ValueError, OSError):
        raise ProtocolError("the daemon's time is none") from None


def size(lines: Iterable[str]) -> Size:
    """Return what get_user_size tells."""
    named = Named(lines)
    return Size(named.number("size"), named.number("count"))


def domain_size(lines: Iterable[str]) -> DomainSize:
    """Return what get_domain_size tells: three lines for each user, and three for the domain."""
    said = list(lines)
    sizes: dict[str, Size] = {}
    total = None
    for start in range(0, len(said), 3):
        kind, name = _pair(said[start])
        found = size(said[start + 1 : start + 3])
        if kind == "user":
            sizes[name] = found
        else:
            total = found
    if total is None:
        raise ProtocolError("the daemon's answer lacks the domain's size")
    return DomainSize(sizes, total)


def pairs(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Give the two halves of each line, cut at its first blank."""
    return map(_pair, lines)


def entries(lines: Iterable[str]) -> list[Entry]:
    """Return what list_dir tells; names may hold blanks, kinds do not."""
    return [Entry(name, kind) for name, kind in (_pair(line, last=True) for line in lines)]


def _pair(line: str, *, last: bool = False) -> tuple[str, str]:
    first, blank, second = line.rpartition(" ") if last else line.partition(" ")
    if not blank:
        raise ProtocolError("the daemon's list has a line of one word")
    return first, second
