"""What the files must say for a step to happen, as plain values; `files` compares them.

Paths are site paths. A claim may hold a password hash, to compare it; only `files` looks inside.
"""

from dataclasses import dataclass, field

from vpopsql.quota import Quota


@dataclass(frozen=True, slots=True)
class Accepts:
    """qmail-smtpd takes mail for ``host``: rcpthosts names it, or morercpthosts.cdb."""

    rcpthosts: str
    morercpthosts: str
    host: str
    wanted: bool = True


@dataclass(frozen=True, slots=True)
class NamesHost:
    """A file with a host a line names ``host``, or does not."""

    path: str
    host: str
    wanted: bool


@dataclass(frozen=True, slots=True)
class Routes:
    """virtualdomains gives ``name`` this prepend; None: it does not name it."""

    path: str
    name: str
    prepend: str | None


@dataclass(frozen=True, slots=True)
class Assigns:
    """users/assign and its cdb have ``line``, and nothing that wins over it for ``local``."""

    assign: str
    cdb: str
    line: str
    local: str
    """The address as qmail-lspawn looks it up; empty: any that the line is for."""


@dataclass(frozen=True, slots=True)
class Contains:
    """A file has exactly this content, or is a link to this target; None: it is not there."""

    path: str
    content: bytes | str | None


@dataclass(frozen=True, slots=True)
class HasLine:
    """A file's line of this number is this text."""

    path: str
    number: int
    text: str


@dataclass(frozen=True, slots=True)
class HasAccount:
    """vpasswd and its cdb have this line. There is a hash in it."""

    path: str
    name: str
    line: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class IsDirectory:
    """A directory is there, of this owner."""

    path: str
    uid: int
    gid: int
    by_qmail: bool = False
    """Whether qmail-local itself delivers from it, and looks at its mode."""


@dataclass(frozen=True, slots=True)
class IsMaildir:
    """A directory is there with cur, new and tmp."""

    path: str


@dataclass(frozen=True, slots=True)
class Measures:
    """maildirsize, if it is there, has this quota, and the mailbox has room left."""

    path: str
    quota: Quota


@dataclass(frozen=True, slots=True)
class DefaultDelivery:
    """control/defaultdelivery, if it is there, leaves the mail to vdelivermail."""

    path: str


Claim = (
    Accepts
    | NamesHost
    | Routes
    | Assigns
    | Contains
    | HasLine
    | HasAccount
    | IsDirectory
    | IsMaildir
    | Measures
    | DefaultDelivery
)
