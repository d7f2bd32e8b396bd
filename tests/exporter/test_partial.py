"""The site's files after changes of a few names, beside the same files rendered anew."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sqlalchemy import Select, delete, false, insert, literal, select, true
from sqlalchemy.orm import Session

from tests import factories
from tests.exporter.conftest import files_below
from vpopsql.config import Config, Export, Paths
from vpopsql.db import Database, upgrade
from vpopsql.errors import ExportFailed
from vpopsql.exporter import render
from vpopsql.exporter.apply import Applied, apply, follow
from vpopsql.exporter.snapshot import take
from vpopsql.model import Domain, DomainName, ForeignLine, Mailbox, Revision
from vpopsql.names import sort_key
from vpopsql.touched import Touched

FOREIGN = [
    *(("control/rcpthosts", f"f{number:02}.example") for number in range(46)),
    ("control/morercpthosts", "n.example"),
    ("control/virtualdomains", "list.example:lists"),
    ("control/locals", "A.example"),
    ("control/locals", "localhost"),
    ("users/assign", "=b.example-joe:root:0:0:/root:::"),
    ("users/assign", "+lists-:lists:1:2:/lists:-::"),
]
DOMAINS = ["a.example", "a.example-b.test", "b.example", "e.example", "m.example", "z.test"]
ALIASES = ["c.example", "a.example-x.test", "www.m.example"]
EXACT = Export(delivery="exact")


def populate(session: Session) -> None:
    """Give lines of others to a site: rcpthosts has room for four names."""
    for position, (file, line) in enumerate(FOREIGN, 1):
        key = sort_key(line.strip("+=").partition(":")[0].removesuffix("-"))
        session.add(ForeignLine(file=file, position=position, line=line, sort_key=key))


def domain_id(name: str) -> Select[int]:
    return select(DomainName.domain_id).where(DomainName.name == name)


class Site(RuleBasedStateMachine):
    """A site in which names come and go, each change followed."""

    def __init__(self) -> None:
        super().__init__()
        self._place = Path(tempfile.mkdtemp(prefix="vpopsql-"))
        root = self._place / "root"
        root.mkdir()
        upgrade(url := f"sqlite:///{self._place}/site.db")
        self._database = Database(url)
        self._config = Config(paths=Paths(root=str(root)), export=EXACT)
        with self._database.writer() as session:
            populate(session)
        apply(self._database, self._config)

    def _change(self, change: Callable[[Session], set[str]], *domains: str) -> None:
        with self._database.writer() as session:
            changed = change(session)
            session.add(Revision(topic="test"))
        of = set(domains)
        follow(self._database, self._config, Touched(of, of, of, names=changed))

    @rule(name=st.sampled_from(DOMAINS), is_made=st.booleans(), in_more=st.booleans())
    def put_domain(self, name: str, *, is_made: bool, in_more: bool) -> None:
        """Add a domain with mailboxes, in the place of the one that was there."""

        def put(session: Session) -> set[str]:
            names = take_away(session, name)
            made = factories.at(2026, 11, 25) if is_made else None
            domain = factories.domain(session, name, created_at=made)
            session.get_one(DomainName, name).in_morercpthosts = in_more
            factories.mailbox(session, domain, "joe")
            factories.mailbox(session, domain, "b.test-joe")
            return {name, *names}

        self._change(put, name)

    @rule(alias=st.sampled_from(ALIASES), real=st.sampled_from(DOMAINS))
    def put_alias(self, alias: str, real: str) -> None:
        """Make a name an alias domain, of another one than before; or take it away."""

        def put(session: Session) -> set[str]:
            session.execute(delete(DomainName).where(DomainName.name == alias))
            row = select(
                literal(alias), DomainName.domain_id, true(), literal(sort_key(alias)), false()
            ).where(DomainName.name == real)
            columns = ["name", "domain_id", "is_alias", "sort_key", "in_morercpthosts"]
            session.execute(insert(DomainName).from_select(columns, row))
            return {alias}

        self._change(put)

    @rule(name=st.sampled_from(DOMAINS))
    def remove_domain(self, name: str) -> None:
        """Remove a domain with its aliases."""
        self._change(lambda session: take_away(session, name))

    @rule(name=st.sampled_from(DOMAINS))
    def remove_mailbox(self, name: str) -> None:
        """Remove a mailbox."""

        def remove(session: Session) -> set[str]:
            ids = domain_id(name)
            session.execute(
                delete(Mailbox).where(Mailbox.domain_id.in_(ids), Mailbox.name == "joe")
            )
            return set()

        self._change(remove, name)

    @invariant()
    def files_are_as_rendered(self) -> None:
        """Compare the site's files with those of all rows."""
        assert there_and_wanted(self._database, self._config) == (True, {})

    def teardown(self) -> None:
        """Leave nothing behind."""
        self._database.close()
        shutil.rmtree(self._place)


def take_away(session: Session, name: str) -> set[str]:
    ids = domain_id(name)
    names = set(session.scalars(select(DomainName.name).where(DomainName.domain_id.in_(ids))))
    session.execute(delete(Domain).where(Domain.id.in_(ids)))
    return names


def there_and_wanted(database: Database, config: Config) -> tuple[bool, dict[str, object]]:
    """Return whether rcpthosts is there, and what differs from the files of all rows."""
    with database.snapshot() as session:
        snapshot = take(session, config.paths, export=config.export)
    wanted = render.site_files(snapshot)
    there = files_below(Path(config.paths.root))
    differs = {path: there.get(path) for path in wanted if there.get(path) != wanted[path]}
    return "/var/qmail/control/rcpthosts" in there, dict(differs)


TestSite = Site.TestCase
TestSite.settings = settings(max_examples=8, stateful_step_count=15, deadline=None)


# --- what is asked of the database ------------------------------------------------------------


@pytest.fixture
def site(database: Database, root: Path) -> tuple[Database, Config]:
    """The same site with some names, exported."""
    with database.writer() as session:
        populate(session)
        factories.mailbox(session, factories.domain(session, "b.example", "c.example"), "ann")
        factories.domain(session, "z.test", created_at=factories.at(2026, 11, 25))
    config = Config(paths=Paths(root=str(root)), export=EXACT)
    apply(database, config)
    return database, config


def follow_in_part(database: Database, config: Config, touched: Touched) -> Applied:
    """Follow a change; fail if the files of the whole site are rendered."""

    def refuse(_: object) -> render.SiteFiles:
        raise ExportFailed("the whole site is rendered")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "site_files", refuse)
        return follow(database, config, touched)


def test_a_new_name_needs_no_other_names(site: tuple[Database, Config]) -> None:
    database, config = site
    with database.writer() as session:
        factories.domain(session, "a.example", created_at=factories.at(2026, 11, 25))
        session.add(Revision(topic="test"))

    one = {"a.example"}
    applied = follow_in_part(database, config, Touched(one, one, names=one))

    assert applied.changed == (
        "/home/vpopmail/domains/a.example/.qmail-default",
        "/home/vpopmail/domains/a.example/vpasswd",
        "/home/vpopmail/domains/a.example/vpasswd.cdb",
        "/var/qmail/users/assign",
        "/var/qmail/users/cdb",
        "/var/qmail/control/virtualdomains",
        "/var/qmail/control/locals",
        "/var/qmail/control/rcpthosts",
    )
    assert there_and_wanted(database, config) == (True, {})


def test_a_name_that_goes_needs_no_other_names(site: tuple[Database, Config]) -> None:
    database, config = site
    with database.writer() as session:
        gone = take_away(session, "b.example")
        session.add(Revision(topic="test"))

    follow_in_part(database, config, Touched(names=gone))

    assert gone == {"b.example", "c.example"}
    assert there_and_wanted(database, config) == (True, {})


def test_a_name_that_somebody_else_added_is_found_by_the_number_of_names(
    site: tuple[Database, Config], root: Path
) -> None:
    database, config = site
    with database.writer() as session:
        factories.domain(session, "m.example")
        factories.domain(session, "e.example")
        session.add(Revision(topic="test"))

    follow(database, config, Touched(names={"e.example"}))

    assert (root / "home/vpopmail/domains/m.example/vpasswd").exists()
    assert there_and_wanted(database, config) == (True, {})
