"""How many names of domains there are is counted as they come and go, and always right."""

import contextlib
import string
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from functools import partial

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from tests import factories
from vpopsql import bulk, db
from vpopsql.db import Database
from vpopsql.errors import Conflict
from vpopsql.model import Base, Domain, DomainName, DomainNameCount
from vpopsql.names import sort_key
from vpopsql.services import domains

PART, MOST = 512, 1024
NAMES = Base.metadata.tables["domain_names"]
CHARACTERS = string.ascii_lowercase + string.digits + "-"


def add(session: Session, names: Iterable[str]) -> None:
    """Add names in one go, as imports do: all aliases of one domain."""
    home = session.scalars(sa.select(Domain.id)).first() or factories.domain(session, "home").id
    bulk.insert_rows(
        session,
        NAMES,
        ("name", "domain_id", "is_alias", "sort_key", "in_morercpthosts"),
        [(name, home, True, sort_key(name), False) for name in names],
    )


def remove(session: Session, names: Iterable[str]) -> None:
    session.execute(sa.delete(DomainName).where(DomainName.name.in_([*names])))


def parts(database: Database) -> dict[str, int]:
    """Return how many names each part has, as it was counted, if that is right."""
    with database.reader() as session:
        keys = sorted(session.scalars(sa.select(DomainName.sort_key)))
        counted: Counter[str] = Counter()
        for key, number in session.execute(
            sa.select(DomainNameCount.from_key, DomainNameCount.names)
        ):
            counted[key] += number
    begins = [bisect_left(keys, key) for key in sorted(counted)]
    ends = [*begins[1:], len(keys)]
    right = dict(zip(sorted(counted), map(int.__sub__, ends, begins), strict=True))
    assert counted == right
    assert "" in counted
    return right


class Undone(Exception):
    """Ends a transaction without what it did."""


def end(*, is_kept: bool) -> None:
    if not is_kept:
        raise Undone


def numbered(numbers: Iterable[int]) -> list[str]:
    return [f"customer{number:06}.example" for number in numbers]


@pytest.fixture
def large(database: Database) -> Database:
    """A site of four parts."""
    with database.writer() as session:
        add(session, numbered(range(0, 4 * PART * 2, 2)))
    return database


# --- reading ------------------------------------------------------------------------------------


def test_an_empty_site_has_no_names(database: Database) -> None:
    assert database.read(domains.count_domains) == 0
    assert database.read(lambda s: domains.page_of_domain(s, "none.example", 10)) is None
    assert parts(database) == {"": 0}


def test_pages_are_those_of_the_list(large: Database) -> None:
    listed = [name for _, name in large.read(domains.list_domains)]
    few = [*listed[:3], *listed[PART - 2 : PART + 2], *listed[700::500], *listed[-2:]]

    pages = [large.read(partial(page_of, name)) for name in few]

    assert pages == [listed.index(name) // 7 + 1 for name in few]
    assert large.read(partial(page_of, "no.example")) is None
    assert large.read(domains.count_domains) == len(listed) == 4 * PART + 1


def page_of(name: str, session: Session) -> int | None:
    return domains.page_of_domain(session, name, 7)


# --- writing ------------------------------------------------------------------------------------

names = st.builds(
    "{}.{}".format,
    st.text(CHARACTERS, min_size=1, max_size=4),
    st.sampled_from(["example.com", "a.b.example", "zz", "customer.example"]),
)
changes = st.one_of(
    st.tuples(st.just("add"), st.lists(names, max_size=30, unique=True)),
    st.tuples(st.just("remove"), st.lists(names, max_size=30, unique=True)),
    st.tuples(st.just("add many"), st.integers(0, 50)),
    st.tuples(st.just("remove many"), st.integers(0, 50)),
    st.tuples(st.just("rename"), st.tuples(names, names)),
)


def carry_out(session: Session, change: str, what: object) -> None:
    """Make a change, as far as that is possible."""
    present = set(session.scalars(sa.select(DomainName.name)))
    match change, what:
        case "add", list():
            add(session, set(what) - present)
        case "remove", list():
            remove(session, what)
        case (("add many" | "remove many"), int()):
            some = set(numbered(range(what * 40, what * 40 + 700)))
            if change == "add many":
                add(session, some - present)
            else:
                remove(session, some)
        case "rename", (str() as old, str() as new):
            if new not in present:
                session.execute(
                    sa.update(DomainName)
                    .where(DomainName.name == old)
                    .values(name=new, sort_key=sort_key(new))
                )


@given(
    together=st.lists(st.tuples(st.lists(changes, max_size=4), st.booleans()), max_size=4),
)
@example(together=[([("add many", 0), ("add many", 10), ("add many", 17)], True)])
@example(together=[([("add many", 0), ("add many", 17), ("remove many", 0)], True)])
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_they_are_right_after_any_changes(
    large: Database, together: list[tuple[list[tuple[str, object]], bool]]
) -> None:
    for some, is_kept in together:
        with contextlib.suppress(Undone), large.writer() as session:
            for change, what in some:
                carry_out(session, change, what)
            end(is_kept=is_kept)

    assert max(parts(large).values()) <= MOST


def test_a_domain_that_goes_takes_its_names_out(large: Database) -> None:
    with large.writer() as session:
        session.execute(sa.delete(Domain))

    assert set(parts(large).values()) == {0}
    assert large.read(domains.count_domains) == 0


def test_a_part_that_has_become_large_is_divided(database: Database) -> None:
    for number in range(4):
        with database.writer() as session:
            add(session, numbered(range(number * 300, number * 300 + 300)))

    found = parts(database)

    assert len(found) > 1
    assert max(found.values()) <= MOST


def test_an_upgrade_counts_what_is_there(large: Database, database_url: str) -> None:
    large.close()
    db.downgrade(database_url, "0015")

    db.upgrade(database_url)

    again = Database(database_url)
    assert [*parts(again).values()] == [PART] * 4 + [1]
    assert again.read(domains.count_domains) == 4 * PART + 1
    again.close()


def test_a_check_finds_what_was_written_past_the_triggers(
    large: Database, database_url: str
) -> None:
    assert db.check(database_url) == []
    with large.writer() as session:
        session.add(DomainNameCount(from_key="x", names=1))

    (found,) = db.check(database_url)

    assert f"counted {4 * PART + 2} names, `domain_names` has {4 * PART + 1}" in found


# --- several at once ----------------------------------------------------------------------------


@pytest.fixture
def shared(large: Database) -> Database:
    """A site on a server with several writers at once."""
    if large.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    return large


def test_nobody_waits_for_others_who_add_names(shared: Database) -> None:
    with shared.writer() as first:
        add(first, ["customer000001.example"])
        with shared.writer() as second:
            second.execute(sa.text("SET LOCAL lock_timeout = '2s'"))
            add(second, ["customer000003.example"])
            remove(second, ["customer000002.example"])
        assert sum(parts(shared).values()) == 4 * PART + 1
    assert sum(parts(shared).values()) == 4 * PART + 2


def test_a_part_that_others_write_to_is_divided_later(shared: Database) -> None:
    many = [f"a{number}.example" for number in range(3 * PART)]
    with shared.writer() as first:
        add(first, ["b.example"])
        with shared.writer() as second:
            add(second, many)
        assert max(parts(shared).values()) > MOST
    with shared.writer() as third:
        add(third, ["c.example"])

    assert max(parts(shared).values()) <= MOST


def test_what_is_undone_is_not_counted_and_what_others_did_meanwhile_is(
    shared: Database,
) -> None:
    with contextlib.suppress(Undone), shared.writer() as first:
        add(first, ["b.example"])
        with shared.writer() as second:
            add(second, ["c.example"])
        end(is_kept=False)

    assert sum(parts(shared).values()) == 4 * PART + 2


def test_who_sees_an_older_state_cannot_count_by_it(shared: Database, database_url: str) -> None:
    plain = sa.make_url(database_url).render_as_string(hide_password=False)
    with psycopg.connect(plain) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT count(*) FROM domain_name_counts")
        with shared.writer() as session:
            add(session, [f"a{number}.example" for number in range(3 * PART)])

        with pytest.raises(psycopg.errors.SerializationFailure):
            connection.execute(
                "INSERT INTO domain_names (name, domain_id, is_alias, sort_key, in_morercpthosts)"
                " SELECT 'a7x.example', domain_id, true, 'a7x.example', false"
                " FROM domain_names LIMIT 1"
            )
    assert sum(parts(shared).values()) == 7 * PART + 1


def test_many_at_once_are_all_counted(shared: Database) -> None:
    def work(number: int) -> None:
        for turn in range(30):
            mine = [f"{letter}{number}-{turn}.example" for letter in "abcdefghijklmnopqrst"]
            with contextlib.suppress(Undone, Conflict), shared.writer() as session:
                add(session, mine)
                remove(session, [f"a{number}-{turn - 1}.example", *mine[: turn % 5]])
                end(is_kept=turn % 7 > 0)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(parts(shared).values()) == shared.read(domains.count_domains) > 6 * PART


def test_a_table_that_is_emptied_has_no_names(shared: Database) -> None:
    with shared.writer() as session:
        session.execute(sa.text("TRUNCATE domain_names"))

    assert parts(shared) == {"": 0}
