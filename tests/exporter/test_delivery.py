"""Delivery without vdelivermail: every message ends where it did."""

import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from tests import factories
from tests.exporter.conftest import files_below
from tests.exporter.delivering import Host
from tests.importer.changing import Changing
from vpopsql.config import Config, Export, Paths
from vpopsql.db import Database, upgrade
from vpopsql.exporter.apply import apply, follow
from vpopsql.exporter.delivery import delivery_warnings
from vpopsql.exporter.render import COMPILE_MARKER, Unrenderable, site_files
from vpopsql.exporter.snapshot import take
from vpopsql.importer.codes import Code
from vpopsql.model import CatchAll, DomainLimits, Flag, ForeignLine, Mailbox, Revision
from vpopsql.qmail.lines import decode
from vpopsql.touched import Touched
from vpopsql.tree import Tree, Write

HOSTS = ["a.example", "a.example-b.org", "c.test", "alias.test", "deep.a.example", "other.test"]
USERS = ["alice", "bob", "carol", "b.org-dave", "first.last", "sales", "sales-eu", "x-y-z"]
USERS.append("default")
WORDS = [*USERS, "nobody", "alice-ext", "sales-us", "x-y", "x", "Alice", "FIRST.last"]
EXACT = Export(delivery="exact")


def populate(session: Session, seed: int) -> None:
    """Make domains with all that decides about delivery, in many combinations."""
    draw = random.Random(seed)
    factories.limits(session, None, delete_spam=draw.random() < 0.2)
    for name, *aliases in (HOSTS[:1], HOSTS[1:2], HOSTS[2:4], HOSTS[4:5]):
        target = draw.choice(
            [
                (CatchAll.BOUNCE, None),
                (CatchAll.DELETE, None),
                (CatchAll.ADDRESS, "all@other.test"),
                (CatchAll.NONE, None),
            ]
        )
        domain = factories.domain(
            session, name, *aliases, catchall=target[0], catchall_target=target[1]
        )
        if draw.random() < 0.3:
            factories.limits(session, domain, delete_spam=draw.random() < 0.5)
        for user in draw.sample(USERS, 7):
            quota = draw.choice([None, None, None, 1_000_000])
            flags = draw.choice([0, 0, 0, Flag.BOUNCE_MAIL, Flag.DELETE_SPAM, Flag.V_OVERRIDE])
            slash = draw.choice(["", "", "/"])
            box = factories.mailbox(
                session,
                domain,
                user,
                Flag(flags),
                directory=f"{domain.directory}/0/{user}{slash}",
                quota_bytes=quota,
                quota_text=f"{quota}S" if quota else "NOQUOTA",
            )
            if draw.random() < 0.15:
                factories.alias(session, domain, "", f"&{user}@other.test", mailbox_id=box.id)
        for alias in draw.sample([*USERS, "x-default", "x-y-default", "sales-default"], 3):
            factories.alias(session, domain, alias, f"&{alias}@other.test")
    lines = [
        ("users/assign", "=c.test-alice:root:0:0:/root:::", "c.test-alice"),
        ("users/assign", "+c.test-sales:lists:1:2:/var/lists:-:sales:", "c.test-sales"),
        ("control/virtualdomains", "other.test:deep.a.example", "other.test"),
    ]
    for position, (file, line, key) in enumerate(draw.sample(lines, draw.randrange(4)), 1):
        session.add(ForeignLine(file=file, position=position, line=line, sort_key=key))


@pytest.fixture(scope="module", params=range(6))
def hosts(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Host, Host]]:
    """The same site, exported both ways."""
    place = tmp_path_factory.mktemp("delivery")
    upgrade(url := f"sqlite:///{place}/site.db")
    database = Database(url)
    with database.writer() as session:
        populate(session, request.param)
    yield exported(database, place / "usual", Export()), exported(database, place / "exact", EXACT)
    database.close()


def exported(database: Database, root: Path, export: Export) -> Host:
    root.mkdir()
    apply(database, Config(paths=Paths(root=str(root)), export=export))
    return Host(files_below(root))


def test_a_message_ends_where_vdelivermail_would_put_it(hosts: tuple[Host, Host]) -> None:
    usual, exact = hosts
    addresses = list(itertools.product([*USERS, *WORDS], HOSTS))

    assert {to: exact.deliver(*to) for to in addresses} == {
        to: usual.deliver(*to) for to in addresses
    }


@given(st.text("abcelors.x-yY", min_size=1), st.sampled_from(HOSTS))
def test_any_message_ends_where_vdelivermail_would_put_it(
    hosts: tuple[Host, Host], local: str, domain: str
) -> None:
    usual, exact = hosts

    assert exact.deliver(local, domain) == usual.deliver(local, domain)


# --- who gets a line --------------------------------------------------------------------------


@pytest.fixture
def crowd(database: Database) -> Database:
    """A mailbox for each reason not to have an exact line, and some that have one."""
    with database.writer() as session:
        domain = factories.domain(session, "example.com", "alias.org")
        factories.limits(session, domain, delete_spam=True)
        above = Flag.V_OVERRIDE
        factories.mailbox(session, domain, "plain", above)
        factories.mailbox(session, domain, "slashed", above, directory="/v/slashed//")
        factories.mailbox(session, domain, "latin", above, directory="/v/caf\udce9")
        factories.mailbox(session, domain, "strict", Flag(0))
        factories.mailbox(session, domain, "spam", above | Flag.DELETE_SPAM)
        factories.mailbox(session, domain, "closed", above | Flag.BOUNCE_MAIL)
        factories.mailbox(session, domain, "large", above, quota_bytes=5, quota_text="5S")
        factories.mailbox(session, domain, "many", above, quota_messages=5, quota_text="5C")
        factories.mailbox(session, domain, "colon", above, directory="/v/a:b")
        factories.mailbox(session, domain, "line", above, directory="/v/a\nb")
        factories.mailbox(session, domain, "nul", above, directory="/v/a\0b")
        factories.mailbox(session, domain, "relative", above, directory="v/relative")
        factories.mailbox(session, domain, "root", above, directory="/")
        forwarded = factories.mailbox(session, domain, "forwarded", above)
        factories.alias(session, domain, "", "&a@b.example", mailbox_id=forwarded.id)
        extended = factories.mailbox(session, domain, "extended", above)
        factories.alias(session, domain, "ext", "&a@b.example", mailbox_id=extended.id)
        factories.mailbox(session, domain, "shared", above)
        factories.alias(session, domain, "shared", "&a@b.example")
        factories.mailbox(session, domain, "list-owner", above)
        factories.alias(session, domain, "list-default", "|/usr/bin/list")
        other = factories.domain(session, "loose.example", catchall=CatchAll.NONE)
        factories.mailbox(session, other, "alice")
    return database


def lines_of(database: Database, **settings: Any) -> list[str]:
    with database.snapshot() as session:
        snapshot = take(session, Paths(), export=Export(delivery="exact", **settings))
    content = site_files(snapshot)["/var/qmail/users/assign"] or b""
    return [line for line in decode(content).split("\n") if line.startswith("=")]


def test_a_domain_that_no_line_can_name_is_refused_by_the_files_name(database: Database) -> None:
    with database.writer() as session:
        domain = factories.domain(session, "example.com", directory="/home/a:b")
        factories.mailbox(session, domain, "alice", directory="/home/alice")

    with pytest.raises(Unrenderable, match="users/assign: a field has a colon"):
        lines_of(database)


def test_who_is_only_put_into_a_maildir_gets_a_line_in_every_domain(crowd: Database) -> None:
    assert lines_of(crowd) == [
        "=alias.org-extended:example.com:89:89:/home/vpopmail/domains/example.com/extended:::",
        "=alias.org-latin:example.com:89:89:/v/caf\udce9:::",
        "=alias.org-plain:example.com:89:89:/home/vpopmail/domains/example.com/plain:::",
        "=alias.org-slashed:example.com:89:89:/v/slashed:::",
        "=example.com-extended:example.com:89:89:/home/vpopmail/domains/example.com/extended:::",
        "=example.com-latin:example.com:89:89:/v/caf\udce9:::",
        "=example.com-plain:example.com:89:89:/home/vpopmail/domains/example.com/plain:::",
        "=example.com-slashed:example.com:89:89:/v/slashed:::",
    ]


def test_a_quota_may_be_left_unenforced(crowd: Database) -> None:
    more = set(lines_of(crowd, exact_despite_quota=True)) - set(lines_of(crowd))

    assert {line.partition(":")[0] for line in more} == {
        "=alias.org-large",
        "=alias.org-many",
        "=example.com-large",
        "=example.com-many",
    }


def test_the_sites_default_limits_hold_where_a_domain_has_none(crowd: Database) -> None:
    with crowd.writer() as session:
        session.execute(delete(DomainLimits))
    without = {line.partition(":")[0] for line in lines_of(crowd)}
    with crowd.writer() as session:
        factories.limits(session, None, delete_spam=True)

    limited = {line.partition(":")[0] for line in lines_of(crowd)}

    assert without - limited == {"=alias.org-strict", "=example.com-strict"}


def test_what_cannot_be_done_without_vdelivermail_is_said(crowd: Database) -> None:
    with crowd.snapshot() as session:
        warned = delivery_warnings(take(session, Paths(), export=EXACT))

    assert [(each.address, each.code) for each in warned] == [
        ("", "size-in-name"),
        ("", "maildir"),
        ("colon@example.com", "colon"),
        ("large@example.com", "quota"),
        ("line@example.com", "colon"),
        ("many@example.com", "quota"),
        ("nul@example.com", "colon"),
        ("relative@example.com", "directory"),
        ("root@example.com", "directory"),
        ("spam@example.com", "spam"),
        ("strict@example.com", "spam"),
        ("@loose.example", "default"),
    ]


def test_addresses_that_others_have_are_said(crowd: Database) -> None:
    with crowd.writer() as session:
        factories.domain(session, "example.com-list.example")
        lines = [
            ("users/assign", "=Example.com-plain:root:0:0:/root:::", "Example.com-plain"),
            ("control/virtualdomains", "x.example:alias.org", "x.example"),
        ]
        session.add_all(
            ForeignLine(file=file, position=1, line=line, sort_key=key)
            for file, line, key in lines
        )
    with crowd.snapshot() as session:
        warned = delivery_warnings(take(session, Paths(), export=EXACT))

    assert {each.address for each in warned if each.code == "diverted"} == {
        "@alias.org",
        "plain@example.com",
    }
    assert {line.partition(":")[0] for line in lines_of(crowd)} == {
        "=Example.com-plain",
        "=example.com-extended",
        "=example.com-latin",
        "=example.com-slashed",
    }


# --- in step with changes ---------------------------------------------------------------------


@pytest.fixture
def exact(crowd: Database, root: Path) -> Config:
    """The configuration with which the crowd was exported, but for what no file can hold."""
    with crowd.writer() as session:
        session.execute(delete(Mailbox).where(Mailbox.name.in_(["colon", "line", "nul"])))
    config = Config(paths=Paths(root=str(root)), export=EXACT)
    apply(crowd, config)
    return config


def close(database: Database, name: str) -> Touched:
    """Let a mailbox of example.com bounce its mail."""
    with database.writer() as session:
        box = session.scalars(select(Mailbox).where(Mailbox.name == name)).one()
        box.flags |= Flag.BOUNCE_MAIL
        session.add(Revision(topic="test"))
    return Touched(accounts={"example.com"})


def test_a_mailbox_that_changes_changes_its_domains_lines(
    crowd: Database, exact: Config, root: Path
) -> None:
    applied = follow(crowd, exact, close(crowd, "plain"))

    followed = files_below(root)
    assert applied.changed == (
        "/home/vpopmail/domains/example.com/vpasswd",
        "/home/vpopmail/domains/example.com/vpasswd.cdb",
        "/var/qmail/users/assign",
        "/var/qmail/users/cdb",
    )
    assert b"-plain:" not in followed["/var/qmail/users/assign"]
    assert apply(crowd, exact).changed == ()


def test_a_change_that_no_line_shows_leaves_users_assign_alone(
    crowd: Database, exact: Config
) -> None:
    applied = follow(crowd, exact, close(crowd, "large"))

    assert applied.changed == (
        "/home/vpopmail/domains/example.com/vpasswd",
        "/home/vpopmail/domains/example.com/vpasswd.cdb",
    )


def test_a_file_that_somebody_else_changed_is_rendered(
    crowd: Database, exact: Config, root: Path
) -> None:
    path = root / "var/qmail/users/assign"
    path.write_bytes(path.read_bytes().replace(b"+loose.example-", b"=loose.example-"))

    follow(crowd, exact, close(crowd, "plain"))

    assert b"+loose.example-" in path.read_bytes()
    assert apply(crowd, exact).changed == ()


def test_a_cdb_that_a_killed_process_left_behind_is_compiled(
    crowd: Database, exact: Config, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Tree.write_many

    def be_killed(tree: Tree, batch: Iterable[Write], *, durable: bool = True) -> tuple[str, ...]:
        writes = list(batch)
        first = [write for write in writes if not write.path.endswith("/cdb")]
        changed = real(tree, first, durable=durable)
        if len(first) < len(writes):
            raise KeyboardInterrupt
        return changed

    touched = close(crowd, "plain")
    with monkeypatch.context() as patch:
        patch.setattr(Tree, "write_many", be_killed)
        with pytest.raises(KeyboardInterrupt):
            follow(crowd, exact, touched)
    left = files_below(root)["/var/qmail/users/cdb"]

    follow(crowd, exact, Touched(accounts={"loose.example"}))

    files = files_below(root)
    assert files["/var/qmail/users/cdb"] != left
    assert apply(crowd, exact).changed == ()
    assert f"/var/qmail/{COMPILE_MARKER}" not in files


@pytest.mark.parametrize("seed", range(4))
def test_what_is_followed_is_as_if_exported(tmp_path: Path, seed: int) -> None:
    upgrade(url := f"sqlite:///{tmp_path}/site.db")
    database = Database(url)
    with database.writer() as session:
        populate(session, seed)
    (tmp_path / "followed").mkdir()
    config = Config(paths=Paths(root=str(tmp_path / "followed")), export=EXACT)
    apply(database, config)
    draw = random.Random(seed)
    with database.writer() as session:
        boxes = list(session.scalars(select(Mailbox).order_by(Mailbox.id)))
        for box in draw.sample(boxes, 8):
            box.flags = draw.choice([0, int(Flag.BOUNCE_MAIL)])
            box.quota_bytes = draw.choice([None, 5])
        for box in draw.sample(boxes, 4):
            session.delete(box)
    touched = {"a.example", "a.example-b.org", "c.test", "deep.a.example"}

    follow(database, config, Touched(accounts=touched, dotqmail=touched))

    exported(database, tmp_path / "anew", EXACT)
    assign_of = [
        files_below(tmp_path / place)[f"/var/qmail/users/{name}"]
        for place in ("followed", "anew")
        for name in ("assign", "cdb")
    ]
    database.close()
    assert assign_of[:2] == assign_of[2:]


def test_a_site_that_was_exported_so_is_imported_without_the_lines(
    database: Database, unpack: Callable[[str], Path]
) -> None:
    root = unpack("base")
    site = Changing(database, root)
    site.update()
    apply(database, Config(paths=Paths(root=str(root)), export=EXACT))
    written = files_below(root)["/var/qmail/users/assign"]

    changes = site.update()

    proof = site.prove()
    with database.reader() as session:
        foreign = [line.line for line in session.scalars(select(ForeignLine))]
    assert written.count(b"\n=") > len(foreign)
    assert [line for line in foreign if line.startswith("=example.com-")] == []
    assert changes is not None
    assert [each.place for each in proof.unexplained] == []
    assert str(Code.EXACT_LINES) in proof.reasons
