"""Which addresses of a domain other lines of users/assign or virtualdomains lead elsewhere.

That may be a line that was there before ours, the line of a domain whose name begins like the
address (``a.b-c.org`` and ``c.org-x@a.b``), or a virtual domain of somebody else that leads to the
same place.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import repeat
from operator import contains

from vpopsql import names
from vpopsql.exporter.rows import Foreign

_ASSIGN = "users/assign"
_VIRTUALDOMAINS = "control/virtualdomains"

Diverted = tuple[tuple[str, ...], Collection[str]]
"""Addresses, as users/assign has them: how they begin, and whole ones."""

NOBODY: Diverted = ((), frozenset())
"""What `Routes.diverted` returns of most names."""


def is_diverted(local: str, diverted: Diverted) -> bool:
    """Say whether an address is among those."""
    begins, whole = diverted
    return local.startswith(begins) or local in whole


class Routes:
    """What may lead an address that begins like a domain's elsewhere.

    :param own: names of the site's domains, in any order.
    :param foreign: lines of others, by file.
    """

    def __init__(self, own: Iterable[str], foreign: Mapping[str, Sequence[Foreign]]) -> None:
        taken = [line.line for line in foreign.get(_ASSIGN, ())]
        self._foreign_wildcards = {_local(line) for line in taken if line.startswith("+")}
        self._foreign_exact = sorted(_local(line) for line in taken if line.startswith("="))
        self._longer = _longer({*own}, self._foreign_wildcards)
        self._prepends = sorted(
            {
                f"{names.lower(line.line.rstrip().partition(':')[2])}-"
                for line in foreign.get(_VIRTUALDOMAINS, ())
                if ":" in line.line and not line.line.startswith("#")
            }
            - {"-"}
        )

    def is_closed(self, name: str) -> bool:
        """Say whether all addresses of a domain may be led elsewhere, or others to them."""
        if not (self._foreign_wildcards or self._prepends):
            return False
        begin = f"{name}-"
        if begin in self._foreign_wildcards or _beginning_with(begin, self._prepends):
            return True
        dashes = (at for at, character in enumerate(begin, 1) if character == "-")
        return any(_has(begin[:end], self._prepends) for end in dashes)

    def odd(self, of_them: Collection[str]) -> set[str]:
        """Return the names of which any address is led elsewhere."""
        if not (self._foreign_wildcards or self._foreign_exact or self._prepends):
            return {begin[:-1] for begin in self._longer}.intersection(of_them)
        return {name for name in of_them if self.is_closed(name) or any(self.diverted(name))}

    def diverted(self, name: str) -> Diverted:
        """Return which addresses of a domain others have: beginnings, and whole ones."""
        if not (self._foreign_exact or self._longer):
            return NOBODY
        begin = f"{name}-"
        if not self._foreign_exact and begin not in self._longer:
            return NOBODY
        return (
            tuple(self._longer.get(begin, ())),
            frozenset(_beginning_with(begin, self._foreign_exact)),
        )


def _longer(own: set[str], foreign: set[str]) -> dict[str, list[str]]:
    """Return which beginnings of addresses go on where that of a name ends, by the latter."""
    longer: defaultdict[str, list[str]] = defaultdict(list)
    # Dashes are common before the first dot, where a name hardly ever ends.
    if all(map(contains, own, repeat("."))):
        long = {f"{name}-" for name in own if "-" in name[name.index(".") :]}
    else:
        long = {f"{name}-" for name in own}
    for begin in long | foreign:
        end = begin.find("-")
        while 0 <= end < len(begin) - 1:
            if begin[:end] in own:
                longer[begin[: end + 1]].append(begin)
            end = begin.find("-", end + 1)
    return {begin: sorted(others) for begin, others in longer.items()}


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


NO_ROUTES = Routes((), {})
"""Those of a domain that is alone."""
