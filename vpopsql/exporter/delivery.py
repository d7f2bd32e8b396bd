"""Delivery without vdelivermail: the exact lines of users/assign, and who gets none.

::

    +example.com-:example.com:89:89:/…/example.com:-::              all names of the domain
    =example.com-alice:example.com:89:89:/…/example.com/alice:::    alice, into her own Maildir

An exact line stands only where it comes to the same as what vdelivermail would do; for everybody
else the line of the domain decides, as it did. A domain's exact lines follow that line, one for
each direct mailbox; an alias domain has its own. They name the real domain as the user, as the
line before them does, so that programs find the same environment.

Not for a name whose mail goes elsewhere because of another line: one that was there before ours,
a domain whose name begins like the address (``a.b-c.org`` and ``c.org-x@a.b``), or a virtual
domain of somebody else that leads to the same place.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from vpopsql import names
from vpopsql.config import Export
from vpopsql.exporter.direct import BY_VDELIVERMAIL
from vpopsql.exporter.snapshot import (
    Account,
    DomainState,
    Foreign,
    Limits,
    Name,
    Snapshot,
)
from vpopsql.model import Flag
from vpopsql.qmail import assign

ASSIGN = "users/assign"
VIRTUALDOMAINS = "control/virtualdomains"


_Diverted = tuple[tuple[str, ...], frozenset[str]]
_NOBODY: _Diverted = ((), frozenset())


class Warned(NamedTuple):
    """What exact delivery does otherwise than one may think."""

    address: str
    """An address, ``@domain``, or empty for the whole site."""
    code: str
    text: str


class Routes:
    """What may lead an address that begins like a domain's elsewhere.

    :param own: names of the site's domains, in any order.
    :param foreign: lines of others, by file.
    """

    def __init__(self, own: Iterable[str], foreign: Mapping[str, Sequence[Foreign]]) -> None:
        taken = [line.line for line in foreign.get(ASSIGN, ())]
        self._foreign_wildcards = {_local(line) for line in taken if line.startswith("+")}
        self._foreign_exact = sorted(_local(line) for line in taken if line.startswith("="))
        wildcards = sorted({f"{name}-" for name in own} | self._foreign_wildcards)
        self._longer = {
            begin: _beginning_with(begin, wildcards)[1:]
            for begin, other in pairwise(wildcards)
            if other.startswith(begin)
        }
        self._prepends = sorted(
            {
                f"{names.lower(line.line.rstrip().partition(':')[2])}-"
                for line in foreign.get(VIRTUALDOMAINS, ())
                if ":" in line.line and not line.line.startswith("#")
            }
            - {"-"}
        )

    def is_closed(self, name: str) -> bool:
        """Say whether all addresses of a domain may be led elsewhere, or others to them."""
        begin = f"{name}-"
        if not (self._foreign_wildcards or self._prepends):
            return False
        if begin in self._foreign_wildcards or _beginning_with(begin, self._prepends):
            return True
        dashes = (at for at, character in enumerate(begin, 1) if character == "-")
        return any(_has(begin[:end], self._prepends) for end in dashes)

    def diverted(self, name: str) -> "_Diverted":
        """Return which addresses of a domain others have: beginnings, and whole ones."""
        begin = f"{name}-"
        if not self._foreign_exact and begin not in self._longer:
            return _NOBODY
        return (
            tuple(self._longer.get(begin, ())),
            frozenset(_beginning_with(begin, self._foreign_exact)),
        )


def lines_of(name: Name, direct: Sequence[str], routes: Routes) -> str:
    """Return all lines of a name in users/assign, joined by newlines.

    :param direct: ``mailbox:directory`` for each mailbox that may have an exact line.
    """
    line = assign.domain_line(name.name, name.real, name.uid, name.gid, name.directory)
    if not direct or routes.is_closed(name.name):
        return line
    begins, whole = routes.diverted(name.name)
    if begins or whole:
        direct = [*_undiverted(name.name, direct, begins, whole)]
        if not direct:
            return line
    # A million of them: what they share is put between and into all of a domain in one step each.
    # No colon but an item's own stands before a slash.
    begin = f"\n={name.name}-"
    items = f":::{begin}".join(direct)
    fields = items.replace(":/", f":{name.real}:{name.uid}:{name.gid}:/")
    return f"{line}{begin}{fields}:::"


def delivery_warnings(snapshot: Snapshot) -> list[Warned]:
    """Return what exact delivery cannot do, whose mail still goes through vdelivermail and why.

    Of a snapshot of the whole site, taken with the settings that it will be exported with.
    Mailboxes that are forwarded, bounced or have a ``.qmail`` are none to warn of: what happens
    to their mail is what the administrator said, and stays so.
    """
    warned = list(_of_site(snapshot.export))
    routes = Routes((name.name for name in snapshot.names), snapshot.foreign)
    names_of: dict[str, list[str]] = {}
    for name in snapshot.names:
        names_of.setdefault(name.real, []).append(name.name)
        if routes.is_closed(name.name):
            text = "another line of users/assign or virtualdomains leads here too: no exact lines"
            warned.append(Warned(f"@{name.name}", "diverted", text))
    for domain in snapshot.domains:
        warned += _of_domain(domain, names_of.get(domain.name, []), snapshot, routes)
    return warned


def _of_site(export: Export) -> Iterator[Warned]:
    yield Warned(
        "",
        "size-in-name",
        "qmail does not put ,S=SIZE into the names of messages: who measures a Maildir has to"
        " look at every file",
    )
    yield Warned("", "maildir", "qmail-start has to be given ./Maildir/ as the default delivery")
    if export.exact_despite_quota:
        yield Warned("", "quota", "the quotas of mailboxes are not enforced at delivery")


def _of_domain(
    domain: DomainState, own: Sequence[str], snapshot: Snapshot, routes: Routes
) -> Iterator[Warned]:
    if domain.catchall not in BY_VDELIVERMAIL:
        if domain.accounts:
            text = "its .qmail-default does not run vdelivermail, which its mailboxes would need"
            yield Warned(f"@{domain.name}", "default", text)
        return
    limits = domain.limits or snapshot.default_limits
    for account in domain.accounts:
        if obstacle := _obstacle(account, limits, snapshot.export):
            yield Warned(f"{account.name}@{domain.name}", *obstacle)
    for name in own:
        begins, whole = routes.diverted(name)
        for account in domain.accounts if begins or whole else ():
            if _is_diverted(f"{name}-{account.name}", begins, whole):
                text = "another line of users/assign has this address"
                yield Warned(f"{account.name}@{name}", "diverted", text)


def _obstacle(account: Account, limits: Limits | None, export: Export) -> tuple[str, str] | None:
    """Return code and text of what vdelivermail has to see to at each delivery."""
    directory = account.directory.rstrip("/")
    if ":" in directory or "\n" in directory or "\0" in directory:
        return "colon", "users/assign cannot have its directory: vdelivermail delivers"
    if not directory.startswith("/"):
        return "directory", "its directory is no absolute path: vdelivermail delivers"
    if account.name != names.lower(account.name):
        return "capitals", "qmail knows no capital letters in addresses"
    has_quota = account.quota_bytes is not None or account.quota_messages is not None
    if has_quota and not export.exact_despite_quota:
        return "quota", "it has a quota, which vdelivermail enforces: vdelivermail delivers"
    if _deletes_spam(account, limits):
        return "spam", "its spam is deleted by vdelivermail: vdelivermail delivers"
    return None


def _deletes_spam(account: Account, limits: Limits | None) -> bool:
    if account.flags & Flag.DELETE_SPAM:
        return True
    of_domain = limits is not None and bool(limits.values.get("delete_spam"))
    return of_domain and not account.flags & Flag.V_OVERRIDE


def _undiverted(
    name: str, direct: Iterable[str], begins: tuple[str, ...], whole: frozenset[str]
) -> Iterator[str]:
    for item in direct:
        if not _is_diverted(f"{name}-{item.partition(':')[0]}", begins, whole):
            yield item


def _is_diverted(local: str, begins: tuple[str, ...], whole: frozenset[str]) -> bool:
    return local.startswith(begins) or local in whole


def _local(line: str) -> str:
    return names.lower(line[1:].partition(":")[0])


def _has(text: str, ordered: Sequence[str]) -> bool:
    at = bisect_left(ordered, text)
    return at < len(ordered) and ordered[at] == text


def _beginning_with(begin: str, ordered: Sequence[str]) -> Sequence[str]:
    first = end = bisect_left(ordered, begin)
    while end < len(ordered) and ordered[end].startswith(begin):
        end += 1
    return ordered[first:end]
