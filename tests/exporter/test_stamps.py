"""Which changes of a large domain are written line by line, and which let all be written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from tests import factories
from tests.prepared import counting_ways, require_server
from vpopsql.config import Config, Paths
from vpopsql.db import Database
from vpopsql.exporter import stamps
from vpopsql.exporter.apply import Applied, follow, plan
from vpopsql.libpq import LibpqDriver
from vpopsql.model import Domain, DomainName, Mailbox, Revision
from vpopsql.names import sort_key
from vpopsql.touched import Touched

VPASSWD = "home/vpopmail/domains/example.com/vpasswd"
DOMAIN = "example.com"


@pytest.fixture
def config(root: Path) -> Config:
    return Config(paths=Paths(root=str(root)))


@pytest.fixture
def site(
    database: Database,
    config: Config,
    export: Callable[..., Applied],
    monkeypatch: pytest.MonkeyPatch,
) -> Database:
    """A domain whose files have a stamp."""
    monkeypatch.setattr(stamps, "LARGE", 1)
    with database.writer() as session:
        made = factories.domain(session, DOMAIN, "alias.org")
        for name in ("alice", "bob", "carol", "dave"):
            factories.mailbox(session, made, name)
    export()
    follow(database, config, Touched(accounts={DOMAIN}, revisions={revise(database)}))
    return database


def revise(database: Database, domain: str | None = DOMAIN) -> int:
    with database.writer() as session:
        session.add(made := Revision(domain=domain, topic="test"))
        session.flush()
        return made.id


def set_comment(database: Database, name: str, comment: str) -> None:
    with database.writer() as session:
        session.execute(update(Mailbox).where(Mailbox.name == name).values(comment=comment))


def change(database: Database, name: str, comment: str) -> Touched:
    """Change a mailbox as the daemon does; return what has to follow."""
    set_comment(database, name, comment)
    return Touched(mailboxes={(DOMAIN, name)}, revisions={revise(database)})


def lines(root: Path) -> dict[str, str]:
    """Return the comment of each mailbox in the file."""
    fields = [line.split(":") for line in (root / VPASSWD).read_text().splitlines()]
    return {line[0]: line[4] for line in fields}


def test_what_follows_a_change_is_asked_in_few_ways(site: Database, config: Config) -> None:
    require_server(site)
    touched = change(site, "carol", "new")
    with site.writer() as session:
        factories.domain(session, "b.example")

    with counting_ways() as of_mailbox:
        follow(site, config, touched)
    with counting_ways() as of_domain:
        follow(site, config, Touched({"b.example"}, {"b.example"}, names={"b.example"}))

    # The site and what hangs on nothing else, its rows; the names beside a new one; and what ends
    # it, which nobody waits for.
    assert (len(of_mailbox), len(of_domain)) == (3, 3)


@pytest.mark.parametrize(
    "touched",
    [
        Touched(accounts={DOMAIN}, limits={DOMAIN}),
        Touched(mailboxes={(DOMAIN, "bob"), (DOMAIN, "alice")}),
        Touched(dotqmail={DOMAIN}, removed={f"/{DOMAIN}/.qmail-x"}),
        Touched(settings=True),
        Touched(names={DOMAIN, "alias.org"}),
        Touched(dotqmail={DOMAIN, "gone.example"}, names={"gone.example"}),
    ],
)
def test_nothing_is_expected_in_vain(
    site: Database, config: Config, touched: Touched, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_server(site)
    left: list[object] = []
    forget = LibpqDriver.forget

    def forget_all(driver: LibpqDriver) -> None:
        left.extend(driver._expected)
        forget(driver)

    monkeypatch.setattr(LibpqDriver, "forget", forget_all)

    follow(site, config, touched)

    assert left == []


def files_are_right(database: Database, config: Config) -> bool:
    return not [*plan(database, config).changes()]


def test_of_a_stamped_domain_only_the_line_of_the_change_is_read(
    site: Database, config: Config, root: Path
) -> None:
    set_comment(site, "bob", "unseen")

    follow(site, config, change(site, "carol", "new"))
    follow(site, config, change(site, "alice", "new too"))

    found = lines(root)
    assert (found["carol"], found["alice"]) == ("new", "new too")
    assert found["bob"] != "unseen"


def test_a_mailbox_that_comes_or_goes_is_as_in_a_whole_export(
    site: Database, config: Config, root: Path
) -> None:
    with site.writer() as session:
        of_it = select(DomainName.domain_id).where(DomainName.name == DOMAIN)
        domain = session.get_one(Domain, session.scalar(of_it))
        for name in ("aaron", "carla", "zoe"):
            factories.mailbox(session, domain, name)
        session.delete(session.scalars(select(Mailbox).where(Mailbox.name == "dave")).one())
    names = {(DOMAIN, name) for name in ("aaron", "carla", "zoe", "dave", "nobody")}

    follow(site, config, Touched(mailboxes=names, revisions={revise(site)}))

    assert [*lines(root)] == ["aaron", "alice", "bob", "carla", "carol", "zoe"]
    assert files_are_right(site, config)


@pytest.mark.parametrize("domain", [DOMAIN, None])
def test_what_somebody_committed_and_did_not_write_is_written_with_the_next_change(
    site: Database, config: Config, domain: str | None
) -> None:
    set_comment(site, "bob", "killed before the files")
    revise(site, domain)

    follow(site, config, change(site, "carol", "new"))

    assert files_are_right(site, config)


def test_a_change_of_another_domain_is_no_reason_to_write_all(
    site: Database, config: Config, root: Path
) -> None:
    set_comment(site, "bob", "unseen")
    revise(site, "test.com")

    follow(site, config, change(site, "carol", "new"))

    assert lines(root)["bob"] != "unseen"


@pytest.mark.parametrize("file", [VPASSWD, f"{VPASSWD}.cdb"])
@pytest.mark.parametrize(
    "do",
    [
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-9]), id="written"),
        pytest.param(lambda path: path.unlink(), id="removed"),
        pytest.param(lambda path: path.chmod(0o640), id="of other rights"),
    ],
)
def test_files_that_somebody_else_has_touched_are_written_whole(
    site: Database, config: Config, root: Path, file: str, do: Callable[[Path], Any]
) -> None:
    set_comment(site, "bob", "written")
    do(root / file)

    follow(site, config, change(site, "carol", "new"))

    assert lines(root)["bob"] == "written"
    assert files_are_right(site, config)


def test_another_database_of_the_same_numbers_is_noticed(site: Database, config: Config) -> None:
    set_comment(site, "bob", "restored")
    with site.writer() as session:
        session.execute(update(Revision).values(at=factories.at(2020, 1, 1)))

    follow(site, config, change(site, "carol", "new"))

    assert files_are_right(site, config)


@pytest.mark.parametrize(
    "stamp",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"mark": 1, "directory": 2}',
        b'{"mark": ["x", "y"], "directory": "/home"}',
        b'{"mark": [1, "y"], "directory": 2}',
    ],
)
def test_a_damaged_stamp_is_none(site: Database, config: Config, root: Path, stamp: bytes) -> None:
    set_comment(site, "bob", "written")
    (root / "var/qmail/users/.vpopsql-stamps" / DOMAIN).write_bytes(stamp)

    follow(site, config, change(site, "carol", "new"))

    assert files_are_right(site, config)


def test_all_domains_of_a_run_get_a_stamp(site: Database, config: Config, root: Path) -> None:
    with site.writer() as session:
        factories.mailbox(session, factories.domain(session, "test.com"), "erin")
    revisions = {revise(site), revise(site, "test.com")}

    follow(site, config, Touched(accounts={DOMAIN, "test.com"}, revisions=revisions))

    stamps = root / "var/qmail/users/.vpopsql-stamps"
    assert {path.name for path in stamps.iterdir()} >= {DOMAIN, "test.com"}


def test_a_stamp_that_cannot_be_written_is_none(
    site: Database, config: Config, root: Path
) -> None:
    place = root / "var/qmail/users/.vpopsql-stamps"
    for each in place.iterdir():
        each.unlink()
    place.rmdir()
    place.write_bytes(b"")

    follow(site, config, change(site, "carol", "new"))

    assert lines(root)["carol"] == "new"
    assert files_are_right(site, config)


@pytest.mark.parametrize("of_names", [True, False])
def test_a_domain_that_goes_leaves_no_stamp(
    site: Database, config: Config, root: Path, of_names: bool
) -> None:
    stamp = root / "var/qmail/users/.vpopsql-stamps" / DOMAIN
    assert stamp.exists()
    with site.writer() as session:
        factories.domain(session, "another.example")
        name = session.get_one(DomainName, DOMAIN)
        session.delete(session.get_one(Domain, name.domain_id))

    # By the daemon that has deleted it, and by a follower on another host.
    names = {DOMAIN, "alias.org", "another.example"}
    follow(site, config, Touched(names=names) if of_names else Touched({DOMAIN}, site=True))

    assert not stamp.exists()


def test_a_domain_that_gets_another_name_keeps_its_stamp(
    site: Database, config: Config, root: Path
) -> None:
    with site.writer() as session:
        domain = session.get_one(DomainName, DOMAIN).domain_id
        name = {"name": "another.org", "sort_key": sort_key("another.org")}
        session.add(DomainName(domain_id=domain, is_alias=True, **name))

    follow(site, config, Touched(names={DOMAIN, "another.org"}))

    assert (root / "var/qmail/users/.vpopsql-stamps" / DOMAIN).exists()
