"""What a vpopmail site consists of, as values, and where vpopmail puts directories."""

import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from vpopsql import names
from vpopsql.qmail.dircontrol import DirControl

HOME = "/home/vpopmail"
UID = GID = 89

RCPTHOSTS_MAX = 50
"""Domains in rcpthosts; vpopmail writes the others to morercpthosts."""

_PER_BUCKET = 100
_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase

Lines = tuple[str, ...]


class Login(NamedTuple):
    """The last login: the address as vpopmail spells it, and when, in Unix seconds."""

    address: str
    at: int


class Mailbox(NamedTuple):
    """An account; ``dotqmail`` are the lines of its ``.qmail``, if it has one."""

    name: str
    password_hash: str
    directory: str
    flags: int = 0
    comment: str = ""
    quota_text: str = "NOQUOTA"
    apop_uid: int = 1
    clear_text: str | None = None
    login: Login | None = None
    dotqmail: Lines = ()


@dataclass(frozen=True, slots=True)
class Domain:
    """A real domain. All directories are as vpopmail writes them, below `HOME`."""

    name: str
    directory: str
    mailboxes: tuple[Mailbox, ...]
    aliases: Lines = ()
    """The names of its alias domains."""
    forwards: Mapping[str, Lines] = field(default_factory=dict)
    """The lines of each alias that is in ``valias`` where vpopmail has such a table."""
    lists: Mapping[str, Lines] = field(default_factory=dict)
    """The lines of each alias of a mailing list, which is a file whatever the back end."""
    list_names: Lines = ()
    robots: Lines = ()
    """The directories of its autoresponders."""
    catchall: Lines = ()
    """The lines of ``.qmail-default``; without any there is no such file."""
    limits: Mapping[str, int | bool] | None = None
    counter: DirControl = field(default_factory=DirControl)
    free_buckets: Lines = ()

    @property
    def names(self) -> Lines:
        """Its own name and those of its alias domains."""
        return (self.name, *self.aliases)


@dataclass(frozen=True, slots=True)
class Frame:
    """What belongs to no domain, and what must be known of all domains at once."""

    heads: tuple["Head", ...]
    counter: DirControl
    ip_mappings: Mapping[str, str] = field(default_factory=dict)
    """The domain of each address."""

    @property
    def names(self) -> list[str]:
        """All names that mail arrives for, in the order of vpopmail's files."""
        found = (name for head in self.heads for name in (head.name, *head.aliases))
        return sorted(found, key=names.sort_key)


class Head(NamedTuple):
    """A domain before its mailboxes are known."""

    name: str
    directory: str
    aliases: Lines = ()


def bucket(added: int) -> str:
    """Return the path of the bucket for the directory that was added as the ``added``-th.

    :param added: from 1; directories that are gone count.
    :returns: empty for the first 99, then ``0/`` to ``z/``, ``0/0/`` …, a hundred in each.
    """
    path = ""
    number = added // _PER_BUCKET
    while number:
        number, digit = divmod(number - 1, len(_DIGITS))
        path = f"{_DIGITS[digit]}/{path}"
    return path


def counter(added: int, present: int) -> DirControl:
    """Return the counter of a directory to which ``added`` were added, ``present`` still there."""
    the_dir = bucket(added).removesuffix("/")
    digits = [_DIGITS.index(digit) for digit in the_dir.split("/") if digit]
    first, second, third = (*digits, 0, 0, 0)[:3]
    return DirControl(
        cur_users=present,
        level_cur=max(0, len(digits) - 1),
        mods=(0, 2, 2),
        indexes=(first, second, third),
        the_dir=the_dir,
    )
