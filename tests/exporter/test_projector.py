"""Following changes: what is shared, what is left alone, what is removed, and failures."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, select

from tests import factories
from tests.exporter.conftest import files_below
from vpopsql.config import Config, Paths
from vpopsql.db import Database
from vpopsql.errors import DatabaseUnavailable, ExportFailed
from vpopsql.exporter import projector as projector_module
from vpopsql.exporter.apply import Applied, follow
from vpopsql.exporter.projector import Projector
from vpopsql.model import Domain, DomainLimits, DomainName, DotQmailFile, Export, Revision
from vpopsql.pieces import whole
from vpopsql.touched import Touched
from vpopsql.tree import Tree, Write, writing

DOMAINS = "home/vpopmail/domains"
ASSIGN = "var/qmail/users/assign"
RCPTHOSTS = "var/qmail/control/rcpthosts"


@pytest.fixture
def config(root: Path) -> Config:
    return Config(paths=Paths(root=str(root)))


@pytest.fixture
def projector(database: Database, config: Config) -> Projector:
    return Projector(database, config)


@pytest.fixture
def site(database: Database, export: Callable[..., Applied]) -> Database:
    """Two exported domains, each with a mailbox, a forward, a mailbox's file, and limits."""
    with database.writer() as session:
        for name in ("example.com", "test.com"):
            made = factories.domain(session, name)
            box = factories.mailbox(session, made, "alice")
            factories.alias(session, made, "info", f"&alice@{name}")
            session.add(DotQmailFile(domain_id=made.id, mailbox_id=box.id, name=""))
            factories.limits(session, made, max_popaccounts=5)
    export()
    return database


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Touched]:
    """What each run followed."""
    seen: list[Touched] = []

    def counted(database: Database, config: Config, touched: Touched, **options: Any) -> Applied:
        seen.append(touched)
        return follow(database, config, touched, **options)

    monkeypatch.setattr(projector_module, "follow", counted)
    return seen


def change(database: Database, name: str, do: Callable[[Any, Domain], object]) -> None:
    with database.writer() as session:
        of_it = select(DomainName.domain_id).where(DomainName.name == name)
        do(session, session.get_one(Domain, session.scalar(of_it)))
        session.add(Revision(domain=name, topic="test"))


def add_domain(database: Database, name: str) -> None:
    with database.writer() as session:
        factories.mailbox(session, factories.domain(session, name), "postmaster")
        session.add(Revision(topic="test"))


def delete_file(name: str, *, of_mailbox: bool = False) -> Callable[[Any, Domain], object]:
    def do(session: Any, domain: Domain) -> None:
        session.execute(
            delete(DotQmailFile).where(
                DotQmailFile.domain_id == domain.id,
                DotQmailFile.name == name,
                DotQmailFile.mailbox_id.is_not(None) == of_mailbox,
            )
        )

    return do


def new_box(session: Any, domain: Domain) -> None:
    factories.mailbox(session, domain, "bob")


def ages(root: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(root)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    }


def differing(root: Path, before: dict[str, tuple[int, int]]) -> set[str]:
    after = ages(root)
    return {path for path in before | after if before.get(path) != after.get(path)}


# --- what is written --------------------------------------------------------------------------


def test_a_new_mailbox_touches_the_files_of_its_domains_accounts_only(
    site: Database, projector: Projector, root: Path
) -> None:
    before = ages(root)
    change(site, "example.com", new_box)
    change(site, "test.com", new_box)

    projector.follow(Touched(accounts={"example.com"}))

    directory = f"{DOMAINS}/example.com"
    assert differing(root, before) == {f"{directory}/vpasswd", f"{directory}/vpasswd.cdb"}
    assert b"bob:" in (root / directory / "vpasswd").read_bytes()


def test_a_new_forward_touches_its_file_only(
    site: Database, projector: Projector, root: Path
) -> None:
    before = ages(root)
    change(site, "example.com", new_box)
    change(site, "example.com", lambda s, d: factories.alias(s, d, "sales", "&x@y.example"))

    projector.follow(Touched(dotqmail={"example.com"}))

    assert differing(root, before) == {f"{DOMAINS}/example.com/.qmail-sales"}


def test_new_limits_touch_their_file_only(
    site: Database, projector: Projector, root: Path
) -> None:
    before = ages(root)
    change(site, "example.com", new_box)
    change(
        site,
        "example.com",
        lambda s, d: s.get_one(DomainLimits, d.id).__setattr__("max_popaccounts", 7),
    )

    projector.follow(Touched(limits={"example.com"}))

    assert differing(root, before) == {f"{DOMAINS}/example.com/.qmailadmin-limits"}


def test_the_sites_files_are_written_whole_and_other_domains_left_alone(
    site: Database, projector: Projector, root: Path
) -> None:
    before = ages(root)
    change(site, "test.com", new_box)
    add_domain(site, "new.net")

    projector.follow(Touched(site=True))

    assert differing(root, before) == {
        f"{DOMAINS}/new.net/.qmail-default",
        f"{DOMAINS}/new.net/vpasswd",
        f"{DOMAINS}/new.net/vpasswd.cdb",
        ASSIGN,
        "var/qmail/users/cdb",
        "var/qmail/control/virtualdomains",
        RCPTHOSTS,
    }


def test_a_change_of_the_ip_map_or_of_defaults_leaves_qmails_files_alone(
    site: Database, projector: Projector, root: Path, export: Callable[..., Applied]
) -> None:
    before = ages(root)
    change(site, "test.com", lambda s, d: factories.ip_mapping(s, "192.0.2.1", d))
    with site.writer() as session:
        factories.limits(session, None, max_popaccounts=7)

    projector.follow(Touched(settings=True))

    assert differing(root, before) == {
        "home/vpopmail/etc/ip_alias_map",
        "home/vpopmail/etc/vlimits.default",
    }
    assert export().changed == ()


@pytest.mark.parametrize(
    "more", [Touched(names={"new.net"}, accounts={"new.net"}), Touched(accounts={"test.com"})]
)
def test_the_ip_map_is_written_together_with_other_changes(
    site: Database,
    projector: Projector,
    more: Touched,
    root: Path,
    export: Callable[..., Applied],
) -> None:
    change(site, "test.com", new_box)
    if more.names:
        add_domain(site, "new.net")
        (root / DOMAINS / "new.net").mkdir()
        more.dotqmail.add("new.net")
        more.accounts.add("test.com")
    change(site, "test.com", lambda s, d: factories.ip_mapping(s, "192.0.2.1", d))
    touched = Touched(settings=True)
    touched.add(more)

    projector.follow(touched)

    assert (root / "home/vpopmail/etc/ip_alias_map").read_text() == "192.0.2.1 test.com\n"
    assert export().changed == ()


def test_following_everything_gives_the_files_of_a_full_export(
    site: Database, projector: Projector, root: Path, export: Callable[..., Applied]
) -> None:
    change(site, "example.com", new_box)
    change(site, "test.com", lambda s, d: factories.alias(s, d, "sales", "&x@y.example"))
    add_domain(site, "new.net")

    projector.follow(Touched(accounts={"example.com"}, dotqmail={"test.com"}, site=True))

    assert export().changed == ()


def test_a_domain_is_named_by_the_site_only_when_its_files_are_there(
    site: Database, projector: Projector, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_many = Tree.write_many
    seen: list[bool] = []

    def watched(self: Tree, batch: Iterable[Write], **options: Any) -> tuple[str, ...]:
        writes = [*batch]
        naming = [
            each
            for each in writes
            if b"new.net" in whole(each.data) and "new.net" not in each.path
        ]
        seen.extend((root / DOMAINS / "new.net/vpasswd.cdb").exists() for _ in naming)
        return write_many(self, writes, **options)

    monkeypatch.setattr(Tree, "write_many", watched)
    add_domain(site, "new.net")

    projector.follow(Touched(accounts={"new.net"}, site=True))

    assert seen == [True] * 4
    assert (root / DOMAINS / "new.net").stat().st_mode & 0o777 == 0o700


def test_a_deleted_domain_leaves_the_sites_files_and_its_tree_stays(
    site: Database, projector: Projector, root: Path
) -> None:
    before = ages(root)
    change(site, "test.com", lambda session, domain: session.delete(domain))

    projector.follow(
        Touched(accounts={"test.com"}, dotqmail={"test.com"}, limits={"test.com"}, site=True)
    )

    assert b"test.com" not in (root / RCPTHOSTS).read_bytes()
    assert b"test.com" not in (root / ASSIGN).read_bytes()
    assert not {path for path in differing(root, before) if path.startswith(DOMAINS)}


def test_more_domains_than_a_query_takes_are_each_written_in_their_parts(
    site: Database, projector: Projector, root: Path
) -> None:
    before = ages(root)
    change(site, "example.com", new_box)
    change(site, "test.com", new_box)
    change(site, "test.com", lambda s, d: factories.alias(s, d, "sales", "&x@y.example"))
    many = {f"d{number}.example" for number in range(2000)}

    projector.follow(Touched(accounts={"example.com"} | many, dotqmail={"test.com"} | many))

    assert differing(root, before) == {
        f"{DOMAINS}/example.com/vpasswd",
        f"{DOMAINS}/example.com/vpasswd.cdb",
        f"{DOMAINS}/test.com/.qmail-sales",
    }


def test_nothing_touched_is_no_run(
    site: Database, projector: Projector, runs: list[Touched]
) -> None:
    projector.follow(Touched())

    assert runs == []


# --- what is removed --------------------------------------------------------------------------

INFO = f"/{DOMAINS}/example.com/.qmail-info"
OWN = f"/{DOMAINS}/example.com/alice/.qmail"
LIMITS = f"/{DOMAINS}/example.com/.qmailadmin-limits"


def test_a_file_whose_rows_are_gone_is_removed_when_it_is_named(
    site: Database, projector: Projector, root: Path
) -> None:
    change(site, "example.com", delete_file("info"))
    change(site, "example.com", delete_file("", of_mailbox=True))

    projector.follow(Touched(dotqmail={"example.com"}, removed={INFO, OWN}))

    assert not (root / INFO[1:]).exists()
    assert not (root / OWN[1:]).exists()


def test_limits_without_a_row_are_removed_when_they_are_named(
    site: Database, projector: Projector, root: Path
) -> None:
    change(site, "example.com", lambda s, d: s.delete(s.get_one(DomainLimits, d.id)))

    projector.follow(Touched(limits={"example.com"}, removed={LIMITS}))

    assert not (root / LIMITS[1:]).exists()


def test_a_file_whose_rows_are_gone_stays_when_it_is_not_named(
    site: Database, projector: Projector, root: Path
) -> None:
    change(site, "example.com", delete_file("info"))

    projector.follow(Touched(dotqmail={"example.com"}))

    assert (root / INFO[1:]).exists()


def test_what_has_rows_again_is_not_removed(
    site: Database, projector: Projector, root: Path
) -> None:
    change(site, "example.com", delete_file("info"))
    change(site, "example.com", lambda s, d: factories.alias(s, d, "info", "&new@y.example"))

    projector.follow(
        Touched(dotqmail={"example.com"}, limits={"example.com"}, removed={INFO, OWN, LIMITS})
    )

    assert (root / INFO[1:]).read_bytes() == b"&new@y.example\n"
    assert (root / OWN[1:]).exists()
    assert (root / LIMITS[1:]).exists()


@pytest.mark.parametrize(
    "path",
    [
        f"/{DOMAINS}/test.com/.qmail-info",
        f"/{DOMAINS}/example.com/vpasswd",
        f"/{DOMAINS}/example.com/.qmailadmin-limits",
        f"/{DOMAINS}/example.com/elsewhere/.qmail",
    ],
)
def test_what_was_not_looked_up_or_is_no_dot_qmail_file_is_not_removed(
    site: Database, projector: Projector, root: Path, path: str
) -> None:
    (root / DOMAINS / "example.com/elsewhere").mkdir()
    (root / path[1:]).touch()
    change(site, "test.com", delete_file("info"))

    projector.follow(Touched(dotqmail={"example.com"}, removed={path}))

    assert (root / path[1:]).exists()


def test_what_is_gone_already_is_no_failure(site: Database, projector: Projector) -> None:
    projector.follow(
        Touched(dotqmail={"example.com"}, removed={f"/{DOMAINS}/example.com/.qmail-never"})
    )


# --- many at once -----------------------------------------------------------------------------


def test_64_domains_added_at_once_share_runs_and_each_is_there_when_its_call_returns(
    database: Database, projector: Projector, root: Path, runs: list[Touched]
) -> None:
    def add(number: int) -> tuple[bool, bool, bool]:
        name = f"d{number:02}.example"
        add_domain(database, name)
        projector.follow(Touched(accounts={name}, dotqmail={name}, site=True))
        few = (root / RCPTHOSTS).read_text().split()
        return (
            name in few,
            f"+{name}-:" in (root / ASSIGN).read_text(),
            (root / DOMAINS / name / "vpasswd.cdb").exists(),
        )

    with ThreadPoolExecutor(64) as threads:
        seen = list(threads.map(add, range(64)))

    assert seen == [(True, True, True)] * 64
    assert len(runs) < 32


def test_a_change_that_comes_while_a_run_goes_on_waits_for_the_next_one(
    site: Database, projector: Projector, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(database: Database, config: Config, touched: Touched, **options: Any) -> Applied:
        done = follow(database, config, touched, **options)
        begun.set()
        assert go_on.wait(30)
        return done

    monkeypatch.setattr(projector_module, "follow", slow)
    first = threading.Thread(target=projector.follow, args=(Touched(accounts={"test.com"}),))
    first.start()
    assert begun.wait(30)
    change(site, "test.com", new_box)
    second = threading.Thread(target=projector.follow, args=(Touched(accounts={"test.com"}),))
    second.start()

    second.join(0.1)
    waited = second.is_alive()
    go_on.set()
    first.join(30)
    second.join(30)

    assert waited
    assert b"bob:" in (root / DOMAINS / "test.com/vpasswd").read_bytes()


def test_what_comes_while_a_run_waits_for_another_process_is_part_of_it(
    site: Database, projector: Projector, root: Path, runs: list[Touched]
) -> None:
    names = ("test.com", "example.com")

    with ThreadPoolExecutor(2) as threads:
        with Tree(root).lock("/var/qmail/users/assign"):
            waiting = []
            for name in names:
                change(site, name, new_box)
                waiting.append(threads.submit(projector.follow, Touched(accounts={name})))
                while name not in projector._next.touched.accounts:
                    threading.Event().wait(0.01)
        for each in waiting:
            each.result()

    assert [run.accounts for run in runs] == [{*names}]
    assert all(b"bob:" in (root / DOMAINS / name / "vpasswd").read_bytes() for name in names)


# --- failures ---------------------------------------------------------------------------------


def test_an_error_goes_to_all_who_waited_for_the_run_and_to_nobody_else(
    site: Database, projector: Projector, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    waiting = 4

    def first_slow_then_failing(
        database: Database,
        config: Config,
        touched: Touched,
        begin: Callable[[], object],
        **_: object,
    ) -> None:
        begin()
        if not begun.is_set():
            begun.set()
            assert go_on.wait(30)
            return
        raise ExportFailed(f"/some/path: full, for {len(touched.accounts)}")

    def ask(name: str) -> str:
        try:
            projector.follow(Touched(accounts={name}))
        except ExportFailed as error:
            return str(error)
        return "done"

    monkeypatch.setattr(projector_module, "follow", first_slow_then_failing)
    with ThreadPoolExecutor(1 + waiting) as threads:
        first = threads.submit(ask, "first.example")
        assert begun.wait(30)
        others = [threads.submit(ask, f"d{number}.example") for number in range(waiting)]
        while len(projector._next.touched.accounts) < waiting:
            threading.Event().wait(0.01)
        go_on.set()

        assert first.result() == "done"
        assert [other.result() for other in others] == ["/some/path: full, for 4"] * waiting


def test_a_database_that_is_away_means_that_files_are_behind(
    site: Database, projector: Projector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(database: Database, config: Config, touched: Touched, **_: object) -> None:
        raise DatabaseUnavailable("the database does not answer")

    monkeypatch.setattr(projector_module, "follow", away)

    with pytest.raises(ExportFailed, match="does not answer"):
        projector.follow(Touched(site=True))


def test_a_defect_in_a_run_does_not_leave_the_others_waiting(
    site: Database, projector: Projector, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(projector_module, "follow", None)
        with pytest.raises(TypeError):
            projector.follow(Touched(site=True))

    projector.follow(Touched(site=True))


def test_a_file_that_cannot_be_written_is_named_and_the_next_run_writes_it(
    site: Database, projector: Projector, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(site, "example.com", new_box)
    before = files_below(root)

    def full(fd: int, data: bytes) -> None:
        os.write(fd, data[:3])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writing, "write_all", full)
        with pytest.raises(ExportFailed, match=r"example.com/vpasswd: No space left"):
            projector.follow(Touched(accounts={"example.com"}))
    assert files_below(root) == before

    projector.follow(Touched(accounts={"example.com"}))
    assert b"bob:" in (root / DOMAINS / "example.com/vpasswd").read_bytes()


@pytest.fixture
def power(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """A function that ends the process, as it were, at the n-th rename."""
    rename = os.rename

    def cut(left: int) -> None:
        used = iter(range(1000))

        def limited(*arguments: Any, **options: Any) -> None:
            if next(used) >= left:
                raise KeyboardInterrupt
            rename(*arguments, **options)

        monkeypatch.setattr(os, "rename", limited)

    yield cut
    monkeypatch.undo()


@pytest.mark.parametrize("left", range(9))
def test_a_run_that_was_cut_off_is_completed_by_catching_up(
    site: Database,
    config: Config,
    export: Callable[..., Applied],
    left: int,
    power: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add_domain(site, "new.net")
    change(site, "example.com", new_box)
    power(left)
    with pytest.raises(KeyboardInterrupt):
        Projector(site, config).follow(Touched(accounts={"new.net", "example.com"}, site=True))
    monkeypatch.undo()

    Projector(site, config).catch_up()

    assert export().changed == ()


def test_following_is_not_recorded_as_an_export(site: Database, projector: Projector) -> None:
    with site.reader() as session:
        before = session.scalar(select(func.count()).select_from(Export))
    add_domain(site, "new.net")

    projector.follow(Touched(site=True))

    with site.reader() as session:
        assert session.scalar(select(func.count()).select_from(Export)) == before


def test_nothing_is_caught_up_on_a_site_that_was_never_exported(
    database: Database, projector: Projector, root: Path
) -> None:
    add_domain(database, "new.net")

    projector.catch_up()

    assert files_below(root) == {}
