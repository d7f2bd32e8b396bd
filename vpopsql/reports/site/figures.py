"""What is added up on the way through all mailboxes and domains, for the overview."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

Row = Sequence[object]

BUCKETS = 11
"""Of how full mailboxes are: ten of 10 %, and one for those that are full."""
LARGEST = 8
"""Domains that are named; the rest is one sum."""
LOGIN_DAYS = 30
"""Days of which logins are counted one by one."""
WEAK = frozenset({"des", "md5-crypt"})
_DAY = timedelta(days=1)


@dataclass(slots=True)
class Figures:
    """The sums."""

    domains: int = 0
    alias_domains: int = 0
    mailboxes: int = 0
    aliases: int = 0
    """Aliases and forwards of domains, without those of mailboxes."""
    robots: int = 0
    lists: int = 0
    used_bytes: int = 0
    """What the measured mailboxes held."""
    measured: int = 0
    """Mailboxes that were ever measured."""
    fill: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    fill_unknown: int = 0
    """Mailboxes with a quota that were never measured."""
    without_quota: int = 0
    schemes: Counter[str] = field(default_factory=Counter)
    never: int = 0
    """Mailboxes of which no login is known."""
    logins: Counter[date] = field(default_factory=Counter)
    """Mailboxes by the day of their last login."""
    largest: list[tuple[int, str]] = field(default_factory=list)
    """Sizes and names of the largest domains, as a heap until `sort` is called."""
    sizes_known: int = 0
    """Domains of which the size is known."""
    domain_bytes: int = 0

    def add_mailbox(
        self, used: object, pct: float | None, login: object, scheme: object, *, has_quota: bool
    ) -> None:
        """Count a mailbox.

        :param used: bytes; None: never measured.
        :param pct: how full it is; None: unknown, or it has no quota.
        :param login: when the last one was; None: none is known.
        """
        self.mailboxes += 1
        if isinstance(used, int):
            self.measured += 1
            self.used_bytes += used
        if not has_quota:
            self.without_quota += 1
        elif pct is None:
            self.fill_unknown += 1
        else:
            self.fill[min(int(pct // 10), BUCKETS - 1)] += 1
        self.schemes[str(scheme)] += 1
        if isinstance(login, datetime):
            self.logins[login.date()] += 1
        else:
            self.never += 1

    def add_domain(self, row: Row) -> None:
        """Count a domain, a row of ``domain-overview``."""
        name, alias_domains, _, aliases, forwards, robots, lists, _, used = row[:9]
        self.domains += 1
        self.alias_domains += _int(alias_domains)
        self.aliases += _int(aliases) + _int(forwards)
        self.robots += _int(robots)
        self.lists += _int(lists)
        if isinstance(used, int):
            self.sizes_known += 1
            self.domain_bytes += used
            # The first of two names of the same size stays.
            keep = heapq.heappush if len(self.largest) < LARGEST else heapq.heappushpop
            keep(self.largest, (used, _Last(str(name))))

    def sort(self) -> None:
        """Put the largest domains in order."""
        self.largest.sort(reverse=True)

    @property
    def full(self) -> int:
        """Return how many mailboxes are at their quota, or beyond it."""
        return self.fill[-1]

    @property
    def weak(self) -> int:
        """Return how many passwords are hashed in a way that is easily broken."""
        return sum(self.schemes[scheme] for scheme in WEAK)

    def logins_by_day(self, today: date) -> Iterator[tuple[date, int]]:
        """Give the last 30 days, and how many mailboxes had their last login on each."""
        for before in reversed(range(LOGIN_DAYS)):
            day = today - before * _DAY
            yield day, self.logins[day]


class _Last(str):
    """A name that is the less the later it comes in the alphabet."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)

    def __gt__(self, other: str) -> bool:
        return str.__lt__(self, other)


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was known at the end of a day."""

    on: date
    domains: int
    """Domains measured until then."""
    mailboxes: int
    bytes: int | None
    """None: of no domain."""


class Timeline:
    """The growth of the site, put together of that of its domains.

    What was measured of a domain holds until it is measured again; of one that is gone, until the
    day after its last measurement.
    """

    def __init__(self) -> None:
        self._domains: defaultdict[date, int] = defaultdict(int)
        self._mailboxes: defaultdict[date, int] = defaultdict(int)
        self._bytes: defaultdict[date, int] = defaultdict(int)
        self._sized: defaultdict[date, int] = defaultdict(int)

    def add(self, measured: Iterable[Measurement], *, is_gone: bool) -> None:
        """Add a domain's measurements, the oldest first."""
        mailboxes = size = 0
        is_known = is_sized = False
        last = None
        for each in measured:
            self._domains[each.on] += not is_known
            self._mailboxes[each.on] += each.mailboxes - mailboxes
            is_known, mailboxes, last = True, each.mailboxes, each.on
            if each.bytes is not None:
                self._bytes[each.on] += each.bytes - size
                self._sized[each.on] += not is_sized
                is_sized, size = True, each.bytes
        if is_gone and last is not None:
            after = last + _DAY
            self._domains[after] -= 1
            self._mailboxes[after] -= mailboxes
            self._bytes[after] -= size
            self._sized[after] -= is_sized

    def points(self, at_most: int) -> list[Measurement]:
        """Return the days on which something changed, thinned out evenly, with the last one."""
        found = []
        domains = mailboxes = size = sized = 0
        for on in sorted(self._domains.keys() | self._mailboxes.keys()):
            domains += self._domains[on]
            mailboxes += self._mailboxes[on]
            size += self._bytes[on]
            sized += self._sized[on]
            found.append(Measurement(on, domains, mailboxes, size if sized else None))
        step = -(-len(found) // at_most) or 1
        return found[::-1][::step][::-1]
