"""Making a site up: how many there are of what follows what large sites look like.

A few domains have most of the mailboxes, most have a few dozen; a third of the aliases lead
elsewhere; hashes and quotas are as old and as mixed as administrators are. Each domain is made
from the seed and its own number alone, so they can be made in any order, one at a time, and the
same seed gives the same site on every machine.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from scripts.libcrypt import crypt
from scripts.sites import people
from scripts.sites.chance import Shares, happens, numbers
from scripts.sites.shape import (
    HOME,
    Domain,
    Frame,
    Head,
    Lines,
    Login,
    Mailbox,
    bucket,
    counter,
)
from vpopsql.model import Flag

PASSWORD = "correct horse"  # noqa: S105 - of every postmaster of every made-up site
"""Nobody knows the other passwords: their hashes are of nothing."""

_FLATNESS = 5
"""How flat the top is: domain n has a share of 1 / (n + this). The largest has a fortieth."""

NOW = 1_790_000_000  # 21 September 2026: a site must not change with the day it is made
_YEAR_S = 365 * 24 * 3600
_ALIAS_NAME_MAX = 32  # of the column in valias

# Of a hundred, what there are of each kind.
_SCHEMES = Shares({"$1$": 55, "$6$": 35, "$2b$": 10})
_QUOTAS = Shares(
    {
        "NOQUOTA": 45,
        "104857600S": 18,
        "1073741824S": 10,
        "52428800S,1000C": 10,
        "100M": 5,
        "": 5,
        "10240K": 3,
        "20000000": 2,
        "5000C": 1,
        "0": 1,
    }
)
_FLAGS = Shares(
    {
        Flag(0): 90,
        Flag.NO_POP: 2,
        Flag.NO_IMAP: 1,
        Flag.NO_PASSWD_CHNG: 2,
        Flag.BOUNCE_MAIL: 1,
        Flag.NO_WEBMAIL | Flag.NO_RELAY: 1,
        Flag.NO_SPAMASSASSIN: 2,
        Flag.QA_ADMIN: 1,
    }
)
_LOGINS = Shares({"ipv4": 80, "ipv6": 5, "never": 10, "unknown": 5})
_DOTQMAILS = Shares({"none": 95, "forward": 2, "copy": 2, "vacation": 1})
_ALIAS_DOMAINS = Shares({0: 80, 1: 13, 2: 5, 5: 2})
_CATCH_ALLS = Shares(
    {"delete": 35, "bounce": 35, "address": 8, "directory": 10, "dotqmail": 4, "none": 8}
)
_FORWARDS = Shares(
    {
        "here": 50,
        "here, without &": 10,
        "elsewhere": 33,
        "mailbox": 3,
        "robot": 1,
        "nowhere": 1,
        "program": 2,
    }
)
_FORWARD_LINES = Shares({1: 85, 2: 8, 3: 4, 8: 3})
_MEAN_FORWARD_LINES = 1.37

_MAILBOXES_A_LIST = 2000
_FREE_BUCKETS = 20
_SALT = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LISTS = ("", "-accept-default", "-default", "-digest-owner", "-owner", "-reject-default")


@dataclass(frozen=True, slots=True)
class Size:
    """What is wanted.

    :ivar aliases: lines in dot-qmail files of domains, for each mailbox.
    :ivar clear_text: whether accounts have readable passwords, too.
    """

    domains: int
    mailboxes: int
    seed: int = 1
    aliases: float = 1.5
    clear_text: bool = False


class Synthesis:
    """A site that is made up."""

    def __init__(self, size: Size) -> None:
        self._size = size
        self._shares = list(_shares(size))
        numbers(size.seed, "sizes").shuffle(self._shares)
        self.frame = self._frame()

    def domains(self) -> Iterator[Domain]:
        """Give the domains one after the other; one is in memory at a time."""
        for number, head in enumerate(self.frame.heads):
            yield _DomainMaker(self._size, number, head).make(self._shares[number])

    def _frame(self) -> Frame:
        draw = numbers(self._size.seed, "names")
        heads = []
        for number in range(self._size.domains):
            name = people.domain_name(draw, number)
            aliases = _ALIAS_DOMAINS.pick(draw)
            others = tuple(sorted(people.alias_domain(name, at) for at in range(aliases)))
            directory = f"{HOME}/domains/{bucket(number + 1)}{name}"
            heads.append(Head(name, directory, others))
        mapped = {f"192.0.2.{host}": head.name for host, head in enumerate(heads[::50][:250], 1)}
        number = self._size.domains
        return Frame(tuple(heads), counter(number, number), mapped)


def _shares(size: Size) -> Iterator[int]:
    """Give the number of mailboxes of each domain, the largest first; each has a postmaster."""
    weights = [1 / (rank + _FLATNESS) for rank in range(size.domains)]
    left, weight_left = size.mailboxes - size.domains, sum(weights)
    for weight in weights:
        own = round(left * weight / weight_left) if weight_left > 0 else 0
        own = min(own, left)
        left -= own
        weight_left -= weight
        yield own + 1


class _DomainMaker:
    """Makes one domain up."""

    def __init__(self, size: Size, number: int, head: Head) -> None:
        self._size = size
        self._head = head
        self._draw = numbers(size.seed, f"domain {number}")
        self._robots: list[str] = []

    def make(self, mailboxes: int) -> Domain:
        draw, head = self._draw, self._head
        added = 1
        accounts = [self._postmaster(f"{head.directory}/postmaster")]
        freed = []
        for name in people.user_names(draw, mailboxes - 1):
            added += 1
            if happens(draw, 8):  # somebody came and went
                freed.append(bucket(added).removesuffix("/"))
                added += 1
            accounts.append(self._mailbox(name, f"{head.directory}/{bucket(added)}{name}"))
        accounts.sort(key=lambda account: account.name)
        forwards = self._forwards(accounts)
        list_names = [
            f"list{n}" for n in range(1 + mailboxes // _MAILBOXES_A_LIST) if happens(draw, 10)
        ]
        return Domain(
            name=head.name,
            directory=head.directory,
            mailboxes=tuple(accounts),
            aliases=head.aliases,
            forwards=forwards,
            lists={
                name + suffix: self._list_lines(name) for name in list_names for suffix in _LISTS
            },
            list_names=tuple(list_names),
            robots=tuple(self._robots),
            catchall=self._catchall(accounts),
            limits=self._limits(),
            counter=counter(added, mailboxes),
            free_buckets=tuple(path for path in freed if path)[:_FREE_BUCKETS],
        )

    # --- accounts -----------------------------------------------------------------------------

    def _postmaster(self, directory: str) -> Mailbox:
        setting = f"$1${_letters(self._draw, 8)}$"
        password_hash = crypt(PASSWORD.encode(), setting.encode()).decode()
        return Mailbox(
            "postmaster",
            password_hash,
            directory,
            comment="Postmaster",
            clear_text=PASSWORD if self._size.clear_text else None,
            login=self._login(),
        )

    def _mailbox(self, name: str, directory: str) -> Mailbox:
        draw = self._draw
        return Mailbox(
            name,
            _hash(draw),
            directory,
            flags=_FLAGS.pick(draw).value,
            comment=people.full_name(draw, name),
            quota_text=_QUOTAS.pick(draw),
            apop_uid=2 if happens(draw, 1) else 1,
            clear_text=_letters(draw, 10) if self._size.clear_text else None,
            login=self._login(),
            dotqmail=self._dotqmail(directory),
        )

    def _login(self) -> Login | None:
        draw = self._draw
        at = NOW - int(draw.expovariate(4 / _YEAR_S))
        match _LOGINS.pick(draw):
            case "unknown":
                return None
            case "never":
                return Login("0.0.0.0", at)  # noqa: S104 - as vpopmail notes it
            case "ipv6":
                # Quirk: colons are written as underscores.
                return Login(f"2001_db8__{draw.randrange(1, 0x10000):x}", at)
        network = draw.choice(("192.0.2", "198.51.100", "203.0.113", "10.0.0", "172.16.1"))
        return Login(f"{network}.{draw.randrange(1, 255)}", at)

    def _dotqmail(self, directory: str) -> Lines:
        draw = self._draw
        maildir = f"{directory}/Maildir/"
        match _DOTQMAILS.pick(draw):
            case "forward":
                return (f"&{people.address_elsewhere(draw)}",)
            case "copy":
                return (f"&{people.address_elsewhere(draw)}", maildir)
            case "vacation":
                vacation = f"{directory}/vacation"
                self._robots.append(vacation)
                program = f"| /usr/bin/autorespond 86400 3 {vacation}/message {vacation}"
                return (program, maildir)
        return ()

    # --- the domain's own ---------------------------------------------------------------------

    def _forwards(self, accounts: list[Mailbox]) -> dict[str, Lines]:
        """Return as many aliases as make the wanted number of lines."""
        draw = self._draw
        taken = {account.name for account in accounts}
        wanted = len(accounts) * self._size.aliases / _MEAN_FORWARD_LINES
        whole = int(wanted) + (draw.random() < wanted % 1)
        forwards: dict[str, Lines] = {}
        for number in range(whole):
            if happens(draw, 1):  # an alias beats the mailbox of its name
                account = draw.choice(accounts)
                name = account.name
                lines = [f"{account.directory}/Maildir/", f"&{people.address_elsewhere(draw)}"]
            else:
                name = people.alias_name(draw, number)
                lines = [self._forward(name, accounts) for _ in range(_FORWARD_LINES.pick(draw))]
            if name not in forwards and (name not in taken or len(lines) > 1):
                forwards[name] = tuple(dict.fromkeys(lines))
        return dict(sorted(forwards.items()))

    def _forward(self, name: str, accounts: list[Mailbox]) -> str:
        draw = self._draw
        account = draw.choice(accounts)
        match _FORWARDS.pick(draw):
            case "here":
                return f"&{account.name}@{self._head.name}"
            case "here, without &":
                return f"{account.name}@{self._head.name}"
            case "mailbox":
                return f"{account.directory}/Maildir/"
            case "robot":
                robot = f"{self._head.directory}/{name.upper()}"
                if robot not in self._robots:
                    self._robots.append(robot)
                return f"|/usr/bin/autorespond 10000 5 {robot}/message {robot}"
            case "nowhere":
                return "#"
            case "program":
                return f"|/usr/local/bin/ticket --queue {name}"
        return f"&{people.address_elsewhere(draw)}"

    def _list_lines(self, name: str) -> Lines:
        directory = f"{self._head.directory}/{name}"
        return (
            f"|/usr/bin/ezmlm/ezmlm-reject '{directory}'",
            f"|/usr/bin/ezmlm/ezmlm-send '{directory}'",
        )

    def _catchall(self, accounts: list[Mailbox]) -> Lines:
        draw = self._draw
        command = f"| {HOME}/bin/vdelivermail '' "
        match _CATCH_ALLS.pick(draw):
            case "delete":
                return (f"{command}delete",)
            case "bounce":
                return (f"{command}bounce-no-mailbox",)
            case "address":
                return (f"{command}{people.address_elsewhere(draw)}",)
            case "directory":
                return (command + draw.choice(accounts).directory,)
            case "dotqmail":
                return ("# by hand", f"&{people.address_elsewhere(draw)}")
            case _:
                return ()

    def _limits(self) -> dict[str, int | bool] | None:
        draw = self._draw
        if happens(draw, 70):
            return None
        return {
            "max_popaccounts": draw.choice((-1, 10, 50, 100, 1000)),
            "max_aliases": draw.choice((-1, 20, 500)),
            "max_mailinglists": draw.choice((-1, 0, 2)),
            "disk_quota": draw.choice((0, 500, 10_000)),
            "default_quota": draw.choice((0, 52_428_800, 1_073_741_824)),
            "disable_webmail": happens(draw, 10),
            "disable_pop": happens(draw, 5),
        }


def _letters(draw: random.Random, number: int) -> str:
    return "".join(draw.choices(_SALT, k=number))


def _hash(draw: random.Random) -> str:
    """Return what has the form of a hash; a crypt() for each would take the time of all else."""
    scheme = _SCHEMES.pick(draw)
    if scheme == "$1$":
        return f"$1${_letters(draw, 8)}${_letters(draw, 21)}{draw.choice('./01')}"
    if scheme == "$6$":
        return f"$6${_letters(draw, 16)}${_letters(draw, 85)}{draw.choice('./01')}"
    # The last letters stand for two and four bits.
    salt = _letters(draw, 21) + draw.choice(".Oeu")
    return f"$2b$12${salt}{_letters(draw, 30)}{draw.choice('.CGKOSWaeimquy26')}"
