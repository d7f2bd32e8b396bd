"""An explanation as plain values: steps, deliveries, defects, logins, limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import NamedTuple

from vpopsql.explain.claims import Claim


class Address(NamedTuple):
    """An address in lower case. Without a user it stands for every name its domain has not."""

    user: str
    domain: str

    def __str__(self) -> str:
        """Return ``user@domain``, or the part that there is."""
        return (
            f"{self.user}@{self.domain}" if self.user and self.domain else self.user + self.domain
        )


class StepKind(StrEnum):
    """What a step is about, in the order in which qmail and vpopmail take them."""

    ADDRESS = "address"
    """How what was asked for became an address."""
    ACCEPT = "accept"
    """qmail-smtpd: rcpthosts, morercpthosts."""
    ROUTE = "route"
    """qmail-send: locals, virtualdomains."""
    DOMAIN = "domain"
    """The domain's own name, if an alias domain was asked for."""
    ASSIGN = "assign"
    """qmail-lspawn: users/assign."""
    DOTQMAIL = "dotqmail"
    """Which dot-qmail file is found."""
    LINE = "line"
    """One line of it."""
    MAILBOX = "mailbox"
    """vdelivermail: the mailbox of the name."""
    CATCHALL = "catchall"
    """vdelivermail: what the domain does with names that it does not have."""
    QUOTA = "quota"
    FILTER = "filter"
    """SpamAssassin and maildrop."""
    AGAIN = "again"
    """The address was explained before."""


class State(StrEnum):
    """What a file says, compared with the database."""

    AGREES = "agrees"
    DIFFERS = "differs"
    MISSING = "missing"
    UNEXPECTED = "unexpected"
    """It is there, and the database does not know it."""
    UNREADABLE = "unreadable"


class DefectCode(StrEnum):
    """What is wrong, and not meant to be so by anybody."""

    LOOP = "loop"
    DANGLING = "dangling"
    """Mail is forwarded to an address of this site that there is not."""
    DANGLING_LINK = "dangling-link"
    NO_VDELIVERMAIL = "no-vdelivermail"
    """There is a mailbox, and nothing delivers to it."""
    NO_VPASSWD = "no-vpasswd"
    """There is a mailbox, and vdelivermail cannot know of it."""
    BAD_LINE = "bad-line"
    """A line that makes qmail or vdelivermail defer."""
    UNWRITABLE = "unwritable"
    """The database has something that no file can hold, so that no export is made."""
    TOO_MANY = "too-many"
    """More addresses or hops than are followed."""
    UNFINISHED_IMPORT = "unfinished-import"
    DRIFT = "drift"
    """A file says otherwise than the database."""
    OPEN_RELAY = "open-relay"
    """There is no rcpthosts."""
    MISSING_DIRECTORY = "missing-directory"
    UNSAFE_DIRECTORY = "unsafe-directory"
    """A directory for which qmail defers."""
    OVER_QUOTA = "over-quota"


class DeliveryKind(StrEnum):
    """Where a message ends, as far as this site decides it."""

    MAILDIR = "maildir"
    MBOX = "mbox"
    PROGRAM = "program"
    REMOTE = "remote"
    SYSTEM = "system"
    """A user of qmail that is none of vpopmail's."""
    DISCARD = "discard"
    BOUNCE = "bounce"
    DEFER = "defer"
    REFUSED = "refused"
    """qmail-smtpd does not take it."""


class Verdict(StrEnum):
    """What comes of it in a word."""

    DELIVERED = "delivered"
    """At least one copy reaches a Maildir, a program or another host."""
    DEFERRED = "deferred"
    BOUNCED = "bounced"
    DISCARDED = "discarded"
    """Accepted, and nobody gets it."""
    FOREIGN = "foreign"
    """The domain is none of this database's."""


class ExitCode(IntEnum):
    """What `vpopsql explain` ends with, unless it could not run."""

    DELIVERABLE = 0
    NOT_DELIVERABLE = 1
    DEFECT = 2


@dataclass(frozen=True, slots=True)
class Source:
    """The row that a step follows from."""

    table: str
    row: str
    """What finds it: a name, an address, a file; of a file with the line."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a file says."""

    path: str
    state: State
    line: int | None = None
    """From 1."""
    text: str | None = None
    """What stands there, without passwords and hashes."""
    reason: str = ""
    defect: DefectCode | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens."""

    kind: StepKind
    address: Address
    what: str
    result: str
    source: Source | None = None
    claims: tuple[Claim, ...] = ()
    """What the files have to say for this to happen."""
    evidence: tuple[Evidence, ...] = ()
    """What they do say; empty until they were read."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One end of a message's way."""

    kind: DeliveryKind
    target: str
    reason: str
    via: tuple[Address, ...]
    """The addresses on the way, beginning with the one that was asked for."""


@dataclass(frozen=True, slots=True)
class Defect:
    """Something wrong, and what to do about it."""

    code: DefectCode
    address: Address
    what: str
    advice: str


@dataclass(frozen=True, slots=True)
class Login:
    """Whether an account may use a service."""

    service: str
    allowed: bool
    flag: str
    """The bit of ``pw_gid`` that forbids it; empty: none does."""
    own: bool
    """Whether the account has the bit itself."""
    domain: bool
    """Whether the domain's limits add it."""
    overridden: bool
    """Whether the account's ``V_OVERRIDE`` keeps the domain's limits off."""
    reason: str


@dataclass(frozen=True, slots=True)
class Account:
    """What a mailbox is to somebody who logs in."""

    address: str
    """Under the domain's own name."""
    directory: str
    flags: tuple[str, ...]
    """The names of its own bits."""
    level: str
    """``user``, ``domain`` or ``system``."""
    level_reason: str
    kind: str
    """``normal``, ``apop``, or the number in the column."""
    password: str
    """The scheme of the hash, ``empty``, ``locked`` or ``unknown``; never the hash."""
    clear_text: bool
    """Whether the password is also stored as it is."""
    can_log_in: bool
    logins: tuple[Login, ...]
    last_logins: tuple[tuple[str, datetime, str], ...]
    """Service, time and address, the newest first."""
    quota_bytes: int | None
    quota_messages: int | None
    claims: tuple[Claim, ...] = ()
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that hold for the domain."""

    source: str
    """``domain_limits``, ``default_limits`` or ``built-in``."""
    settings: Mapping[str, int | bool]
    claims: tuple[Claim, ...] = ()
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that there is to say about an address."""

    asked: str
    address: Address
    real: str | None
    """The domain's own name; None: it is not ours."""
    verdict: Verdict
    steps: tuple[Step, ...]
    deliveries: tuple[Delivery, ...]
    defects: tuple[Defect, ...]
    account: Account | None = None
    limits: Limits | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def exit_code(self) -> ExitCode:
        """Return 2 for any defect, else 1 unless somebody gets the mail."""
        if self.defects:
            return ExitCode.DEFECT
        if self.verdict is Verdict.DELIVERED:
            return ExitCode.DELIVERABLE
        return ExitCode.NOT_DELIVERABLE
