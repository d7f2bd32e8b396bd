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
DEEPEST, WALKED = 32, 16

NAMES = ["a", "b", "c", "a-x", "a-default", "d"]
users = st.sampled_from(NAMES)
addresses = st.builds("{}@{}".format, users, st.sampled_from([HOST, ALIAS, "One.Test"]))
anywhere = addresses | st.sampled_from(["x@out.test", "Y@Out.Test", "root"])
lines = st.lists(anywhere, min_size=1, max_size=3)


@dataclass(frozen=True)
class Site:
    """Who forwards to whom, who has a mailbox, and what happens to the rest."""

    aliases: dict[str, list[str]]
    mailboxes: dict[str, list[str]]
    """With the lines of the `.qmail` of each; none: it has none."""
    catchall: str | None

    def is_outside(self, address: str) -> bool:
        """Whether mail for it leaves the site, or is the system's own."""
        return address.rpartition("@")[2].lower() not in {HOST, ALIAS}

    def next_of(self, address: str) -> str | None:
        """Who gets mail for an address: a key of `lines`, ``box`` and its name, or nobody."""
        if self.is_outside(address):
            return f"out {address.lower()}"
        user = address.partition("@")[0]
        if user in self.aliases:
            return user
        if user.startswith("a-") and "a-default" in self.aliases:
            return "a-default"
        if user in self.mailboxes:
            return user if self.mailboxes[user] else f"box {user}"
        return None if self.catchall is None else "*"

    @property
    def lines(self) -> dict[str, list[str]]:
        """The lines of each who forwards and can be reached."""
        own = {name: to for name, to in self.mailboxes.items() if to}
        return own | self.aliases | ({} if self.catchall is None else {"*": [self.catchall]})

    @property
    def edges(self) -> dict[str, set[str]]:
        lines = self.lines
        return {
            name: {found for each in to if (found := self.next_of(each)) in lines}
            for name, to in lines.items()
        }

    def files(self) -> Iterator[tuple[str, str, list[str]]]:
        """Every file with its kind, those that nothing reaches as well."""
        yield from (("alias", *each) for each in self.aliases.items())
        yield from (("mailbox", name, to) for name, to in self.mailboxes.items() if to)
        if self.catchall is not None:
            yield "catchall", "*", [self.catchall]

    def dangling(self) -> list[tuple[str, str, int]]:
        return sorted(
            (kind, f"{name}@{HOST}", number)
            for kind, name, to in self.files()
            for number, each in enumerate(to, 1)
            if self.next_of(each) is None
        )

    def external(self) -> list[tuple[str, str, str]]:
        return sorted(
            (kind, f"{name}@{HOST}", each)
            for kind, name, to in self.files()
            for each in to
            if "@" in each and self.is_outside(each)
        )

    def shadowed(self) -> list[str]:
        return sorted(
            f"{name}@{HOST}"
            for name in self.mailboxes
            if name in self.aliases or (name.startswith("a-") and "a-default" in self.aliases)
        )

    def duplicates(self) -> dict[tuple[str, str], int]:
        """How often each gets a message of who forwards to more than one, if more than once."""
        found: dict[tuple[str, str], int] = {}
        for name, to in self.lines.items():
            if len(to) > 1:
                for end in self._ends(name, (name,)):
                    found[name, end] = found.get((name, end), 0) + 1
        return {
            (f"{name}@{HOST}", end): times for (name, end), times in found.items() if times > 1
        }

    def _ends(self, name: str, path: tuple[str, ...]) -> Iterator[str]:
        for each in self.lines[name]:
            found = self.next_of(each)
            if found in self.lines:
                if found not in path and len(path) < WALKED:
                    yield from self._ends(str(found), (*path, str(found)))
            elif self.is_outside(each):
                yield each.lower()
            else:
                yield f"{each.partition('@')[0]}@{HOST}"

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
    aliases=st.dictionaries(users, lines, max_size=6),
    mailboxes=st.dictionaries(users, lines | st.just([]), max_size=3),
    catchall=st.none() | addresses,
)


def make(database: Database, site: Site) -> None:
    with database.writer() as session:
        session.execute(sa.delete(Domain))
        kind = CatchAll.BOUNCE if site.catchall is None else CatchAll.ADDRESS
        one = factories.domain(session, HOST, ALIAS, catchall=kind, catchall_target=site.catchall)
        for name, own in site.mailboxes.items():
            box = factories.mailbox(session, one, name)
            if own:
                factories.alias(session, one, "", *own, mailbox_id=box.id)
        for name, to in site.aliases.items():
            factories.alias(session, one, name, *(f"&{each}" for each in to))


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(site=site_of)
def test_sql_follows_aliases_as_python_does(database: Database, site: Site) -> None:
    make(database, site)

    with database.snapshot() as session:
        found = {name: list(rows(session, REPORTS[name], Question())) for name in FOLLOWING}

    dangling = [(str(row[2]), str(row[0]), row[3]) for row in found["dangling-aliases"]]
    assert sorted(dangling) == site.dangling()
    assert sorted(str(row[2]) for row in found["alias-loops"]) == sorted(
        " > ".join(f"{name}@{HOST}" for name in (*path, path[0])) for path in site.circles()
    )
    assert {row[0]: row[2] for row in found["alias-depth"]} == {
        f"{name}@{HOST}": depth for name, depth in site.depths().items()
    }
    external = [(str(row[2]), str(row[0]), str(row[3])) for row in found["external-forwards"]]
    assert sorted(external) == site.external()
    assert [row[0] for row in found["shadowed"]] == site.shadowed()
    assert {(row[0], row[2]): row[3] for row in found["duplicate-forwards"]} == site.duplicates()


FOLLOWING = (
    *("dangling-aliases", "alias-loops", "alias-depth"),
    *("external-forwards", "shadowed", "duplicate-forwards"),
)
