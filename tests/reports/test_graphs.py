"""On sites made by chance, SQL follows aliases to where an obvious walk in Python comes."""

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import factories
from vpopsql.db import Database
from vpopsql.model import CatchAll, Domain
from vpopsql.reports.query import Question, rows
from vpopsql.reports.registry import REPORTS

HOST, ALIAS = "one.test", "alias.test"
DEEPEST = 32

NAMES = ["a", "b", "c", "a-x", "a-default", "d"]
users = st.sampled_from(NAMES)
addresses = st.builds("{}@{}".format, users, st.sampled_from([HOST, ALIAS, "One.Test"]))


@dataclass(frozen=True)
class Site:
    """Who forwards to whom, who has a mailbox, and what happens to the rest."""

    aliases: dict[str, list[str]]
    mailboxes: set[str]
    catchall: str | None

    def next_of(self, address: str) -> str | None:
        """Who gets mail for an address: a key of `edges`, ``box`` and its name, or nobody."""
        user = address.partition("@")[0]
        if user in self.aliases:
            return user
        if user.startswith("a-") and "a-default" in self.aliases:
            return "a-default"
        if user in self.mailboxes:
            return f"box {user}"
        return None if self.catchall is None else "*"

    @property
    def edges(self) -> dict[str, set[str]]:
        lines = self.aliases | ({} if self.catchall is None else {"*": [self.catchall]})
        return {
            name: {found for each in to if (found := self.next_of(each)) in lines}
            for name, to in lines.items()
        }

    def dangling(self) -> list[tuple[str, int]]:
        return sorted(
            (f"{name}@{HOST}", number)
            for name, to in self.aliases.items()
            for number, each in enumerate(to, 1)
            if self.next_of(each) is None
        )

    def circles(self) -> set[tuple[str, ...]]:
        """Each circle once, from the address on that is the first by its bytes."""
        return {
            path
            for name in self.edges
            for path in self._ways_back(name, (name,))
            if name == min(path, key="{}@".format)
        }

    def _ways_back(self, start: str, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        for found in self.edges[path[-1]]:
            if found == start:
                yield path
            elif found not in path:
                yield from self._ways_back(start, (*path, found))

    def depths(self) -> dict[str, int]:
        """How often each forwards, at most, of those who forward to others who do."""
        found = {}
        for name in self.edges:
            reached, depth = {name}, 0
            while reached and depth < DEEPEST:
                reached = {each for one in reached for each in self.edges[one]}
                depth += 1
            found[name] = depth
        return {name: depth for name, depth in found.items() if depth > 1}


site_of = st.builds(
    Site,
    aliases=st.dictionaries(users, st.lists(addresses, min_size=1, max_size=3), max_size=6),
    mailboxes=st.sets(users, max_size=3),
    catchall=st.none() | addresses,
)


def make(database: Database, site: Site) -> None:
    with database.writer() as session:
        session.execute(sa.delete(Domain))
        kind = CatchAll.BOUNCE if site.catchall is None else CatchAll.ADDRESS
        one = factories.domain(session, HOST, ALIAS, catchall=kind, catchall_target=site.catchall)
        for name in site.mailboxes:
            factories.mailbox(session, one, name)
        for name, to in site.aliases.items():
            factories.alias(session, one, name, *(f"&{each}" for each in to))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(site=site_of)
def test_sql_follows_aliases_as_python_does(database: Database, site: Site) -> None:
    make(database, site)

    with database.snapshot() as session:
        found = {
            name: list(rows(session, REPORTS[name], Question()))
            for name in ("dangling-aliases", "alias-loops", "alias-depth")
        }

    dangling = [(row[0], row[3]) for row in found["dangling-aliases"] if row[2] == "alias"]
    assert sorted(dangling) == site.dangling()
    assert sorted(str(row[2]) for row in found["alias-loops"]) == sorted(
        " > ".join(f"{name}@{HOST}" for name in (*path, path[0])) for path in site.circles()
    )
    assert {row[0]: row[2] for row in found["alias-depth"]} == {
        f"{name}@{HOST}": depth for name, depth in site.depths().items()
    }
