"""Relays that follow a site, and hosts whose files or place among the revisions were lost."""

import contextlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import delete, select, update

from tests.daemon.conversations import EXAMPLE, SYSTEM, Site, Talk, make_site
from tests.databases import Backend
from tests.exporter.following import (
    ACCEPTED,
    Follow,
    at,
    files,
    followers,
    on_postgresql,
    on_sqlite,
    only,
    pretend,
    standing,
    wanted,
)
from vpopsql.db import Database
from vpopsql.errors import DatabaseRefused, ExportFailed
from vpopsql.exporter.follower import Follower
from vpopsql.model import HostRole, Mailbox, Revision

RCPTHOSTS = "var/qmail/control/rcpthosts"


@pytest.fixture
def site(database: Database, database_url: str, unpack: Callable[[str], Path]) -> Site:
    """The sample site, which a daemon changes on a host of its own."""
    return make_site(database, database_url, unpack)


@pytest.fixture
def follower(site: Site, root: Path) -> Follow:
    return followers(site.database, at(root, site.config))


@pytest.fixture
def talk(site: Site) -> Talk:
    """A system administrator."""
    return site.talk(SYSTEM)


# --- relays -----------------------------------------------------------------------------------


def test_a_relay_gets_the_names_of_the_site_and_nothing_else(
    site: Site, follower: Follow, talk: Talk, root: Path, tmp_path: Path
) -> None:
    follower(HostRole.RELAY).catch_up()
    talk.ask("add_domain new.example pw", "add_alias_domain also.example new.example")
    talk.ask("del_domain example.com")
    follower(HostRole.RELAY).catch_up()

    expected = only(ACCEPTED, wanted(site.database, site.config, tmp_path / "fresh"))
    assert b"also.example" in expected["/var/qmail/control/rcpthosts"]
    assert files(root) == expected


def test_a_change_of_a_mailbox_is_none_of_a_relays_business(
    site: Site, follower: Follow, talk: Talk
) -> None:
    relay = follower(HostRole.RELAY)
    relay.catch_up()
    talk.ask("mod_user alice@example.com", "comment New", ".")

    assert relay.catch_up() is None
    relay.report()
    assert standing(site.database).behind == 0


@on_sqlite
def test_a_host_that_becomes_a_mail_host_gets_the_rest(
    site: Site, follower: Follow, root: Path, tmp_path: Path
) -> None:
    follower(HostRole.RELAY).catch_up()

    follower(HostRole.MAIL).catch_up()

    assert files(root) == wanted(site.database, site.config, tmp_path / "fresh")


@on_sqlite
@pytest.mark.parametrize("role", list(HostRole))
def test_a_new_host_keeps_names_that_the_database_does_not_know(
    follower: Follow, root: Path, role: HostRole
) -> None:
    names = root / RCPTHOSTS
    names.parent.mkdir(parents=True)
    names.write_text("mine.example\n")

    with pytest.raises(ExportFailed, match=r"1 names .* such as mine\.example: import the site"):
        follower(role).catch_up()

    assert names.read_text() == "mine.example\n"


@on_sqlite
@pytest.mark.parametrize("role", list(HostRole))
def test_they_go_where_the_administrator_says_so(
    follower: Follow, root: Path, role: HostRole
) -> None:
    names = root / RCPTHOSTS
    names.parent.mkdir(parents=True)
    names.write_text("mine.example\n")

    follower(role, adopts=True).catch_up()

    assert "mine.example" not in names.read_text()


@pytest.fixture
def mistaken(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database of the same kind, with no rows."""
    backend: Backend = request.getfixturevalue("_backend")
    with contextlib.closing(Database(backend.create(migrated=True))) as made:
        yield made


@on_sqlite
@pytest.mark.parametrize("role", list(HostRole))
def test_the_empty_database_of_a_mistaken_url_takes_no_names_away(
    site: Site, follower: Follow, root: Path, mistaken: Database, role: HostRole
) -> None:
    follower(role).catch_up()
    before = files(root)

    with pytest.raises(ExportFailed, match="or check the database's URL"):
        Follower(mistaken, at(root, site.config), "mx1.example", role, adopts=True).catch_up()

    assert files(root) == before


RELAY_ROLE = """
    CREATE ROLE {role} LOGIN;
    GRANT SELECT ON domains, domain_names, foreign_lines, site_settings, ip_mappings, dir_counters,
        default_limits, revisions, audit_log, schema_guard, alembic_version TO {role};
    GRANT SELECT, INSERT, UPDATE ON hosts TO {role}
    """


@pytest.fixture
def relay_url(site: Site) -> Iterator[sa.URL]:
    """The database as the role of a relay may use it: as docs/follow.md has it."""
    role = f"relay_{uuid.uuid4().hex}"
    engine = sa.create_engine(site.database.url, isolation_level="AUTOCOMMIT")
    with contextlib.closing(engine.connect()) as connection:
        connection.execute(sa.text(RELAY_ROLE.format(role=role)))
        yield site.database.url.set(username=role, password=None)
        connection.execute(sa.text(f"DROP OWNED BY {role}; DROP ROLE {role}"))
    engine.dispose()


@on_postgresql
def test_a_relay_needs_no_right_to_see_passwords(
    site: Site, relay_url: sa.URL, root: Path
) -> None:
    database = Database(relay_url)
    relay = Follower(database, at(root, site.config), "relay.example", HostRole.RELAY)

    with contextlib.closing(database):
        database.require_schema()
        relay.catch_up()
        relay.report()
        with pytest.raises(DatabaseRefused, match="permission denied"), database.reader() as s:
            s.scalars(select(Mailbox.password_hash)).all()

    assert standing(site.database).behind == 0
    assert list(files(root)) == ["/var/qmail/control/rcpthosts"]


def test_the_role_of_relays_is_the_one_in_the_manual() -> None:
    manual = (Path(__file__).parents[2] / "docs/follow.md").read_text(encoding="utf-8")

    assert " ".join(RELAY_ROLE.format(role="vpopsql_relay").split()) in " ".join(manual.split())


# --- hosts that are lost ----------------------------------------------------------------------


def test_after_revisions_were_pruned_everything_is_written(
    site: Site, follower: Follow, talk: Talk, root: Path, tmp_path: Path
) -> None:
    follower().catch_up()
    talk.ask("add_user joe@example.com pw")
    pretend(site.database, delete(Revision))
    talk.ask("add_domain new.example pw")

    follower().catch_up()

    assert files(root) == wanted(site.database, site.config, tmp_path / "fresh")


@on_sqlite
def test_a_file_whose_rows_were_deleted_goes_from_a_host_that_is_lost(
    site: Site, follower: Follow, talk: Talk, root: Path
) -> None:
    talk.ask("add_alias gone@example.com joe@example.com")
    follower().catch_up()
    forward = root / EXAMPLE[1:] / ".qmail-gone"
    by_hand = root / EXAMPLE[1:] / ".qmail-by-hand"
    by_hand.touch()
    was_there = forward.exists()
    talk.ask("delete_alias gone@example.com")
    pretend(site.database, delete(Revision))

    follower().catch_up()

    assert was_there
    assert not forward.exists()
    assert by_hand.exists()


def test_a_database_of_a_backup_that_went_on_differently_is_noticed(
    site: Site, follower: Follow, talk: Talk, root: Path, tmp_path: Path
) -> None:
    talk.ask("add_user joe@example.com pw")
    follower().catch_up()
    is_newest = Revision.id == select(sa.func.max(Revision.id)).scalar_subquery()
    pretend(
        site.database,
        update(Revision).where(is_newest).values(domain="test.com", at=sa.func.now()),
    )
    pretend(site.database, delete(Mailbox).where(Mailbox.name == "joe"))

    follower().catch_up()

    assert files(root) == wanted(site.database, site.config, tmp_path / "fresh")


@on_sqlite
@pytest.mark.parametrize("damage", ["", "{", "[]", '{"role": "other"}'])
def test_a_damaged_note_of_where_it_stands_is_none(
    follower: Follow, root: Path, damage: str
) -> None:
    follower().catch_up()
    (root / "var/qmail/users/.vpopsql-follow").write_text(damage)

    assert follower().catch_up() is not None
    assert follower().catch_up() is None


@pytest.fixture
def late(site: Site) -> Iterator[sa.Connection]:
    """A connection that has written a revision and not committed it; SQLite has one writer."""
    engine = sa.create_engine(site.database.url)
    with contextlib.closing(engine.connect()) as connection:
        connection.execute(
            sa.text("INSERT INTO revisions (at, domain, topic) VALUES (now(), 'test.com', 'sql')")
        )
        connection.execute(sa.text("UPDATE mailboxes SET comment = 'Late'"))
        yield connection
    engine.dispose()


@on_postgresql
def test_a_revision_that_comes_to_light_after_a_newer_one_is_followed(
    site: Site, follower: Follow, talk: Talk, late: sa.Connection, root: Path, tmp_path: Path
) -> None:
    here = follower()
    here.catch_up()
    talk.ask("add_alias info2@example.com joe@example.com")
    here.catch_up()
    was_settled = here.is_settled

    late.commit()
    here.catch_up()

    assert not was_settled
    assert here.is_settled
    assert b":Late:" in files(root)["/home/vpopmail/domains/test.com/vpasswd"]
    assert files(root)["/home/vpopmail/domains/example.com/.qmail-info2"] == b"joe@example.com\n"


@on_postgresql
def test_it_is_followed_by_one_that_was_started_anew_as_well(
    follower: Follow, talk: Talk, late: sa.Connection, root: Path
) -> None:
    follower().catch_up()
    talk.ask("add_alias info2@example.com joe@example.com")
    follower().catch_up()

    late.commit()
    follower().catch_up()

    assert b":Late:" in files(root)["/home/vpopmail/domains/test.com/vpasswd"]


@on_postgresql
def test_what_is_shown_already_is_not_written_again_while_an_older_one_is_awaited(
    follower: Follow, talk: Talk, late: sa.Connection
) -> None:
    here = follower()
    here.catch_up()
    talk.ask("add_alias info2@example.com joe@example.com")
    first = here.catch_up()

    assert first is not None
    assert here.catch_up() is None
