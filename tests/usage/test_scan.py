"""Scans: what is measured, what is kept, and what of a scan that did not end."""

import shutil
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, select

from tests import factories
from tests.usage.conftest import maildir
from vpopsql import trash
from vpopsql.columns import utc_now
from vpopsql.config import Config
from vpopsql.db import Database
from vpopsql.errors import NoSuchDomain
from vpopsql.model import DomainUsage, Flag, Mailbox, MailboxUsage, TrashEntry, UsageSource
from vpopsql.services.rights import Actor
from vpopsql.tree import Tree
from vpopsql.usage import scan as scanning
from vpopsql.usage.scan import Failure, Summary, Wanted, scan

ADMIN = Actor(1, "admin", 1, "root.example", "/d", "/d/admin", Flag.SA_ADMIN, "/home/vpopmail")
HOUR = timedelta(hours=1)
NO_CAROL = "/home/vpopmail/domains/half.example/dave/Maildir: No such file or directory"


def mailboxes(database: Database) -> list[tuple[str, int, int, UsageSource]]:
    with database.reader() as session:
        rows = session.execute(
            select(Mailbox.name, MailboxUsage.bytes, MailboxUsage.messages, MailboxUsage.source)
            .join(MailboxUsage, MailboxUsage.mailbox_id == Mailbox.id)
            .order_by(MailboxUsage.id)
        )
        return [(row[0], row[1], row[2], row[3]) for row in rows]


def domains(database: Database) -> list[tuple[str, int, int, int, int, int]]:
    with database.reader() as session:
        rows = session.scalars(select(DomainUsage).order_by(DomainUsage.id))
        return [
            (each.domain, each.mailboxes, each.measured, each.bytes, each.messages, each.aliases)
            for each in rows
        ]


def figures(summary: Summary) -> dict[str, int]:
    names = ("mailboxes", "skipped", "measured", "domains", "bytes", "messages")
    return {name: getattr(summary, name) for name in names}


def test_every_mailbox_gets_a_snapshot_and_every_domain(site: Database, settings: Config) -> None:
    before = utc_now()

    summary = scan(site, settings, Wanted())

    assert mailboxes(site) == [
        ("alice", 300, 2, UsageSource.COUNT),
        ("bob", 0, 0, UsageSource.COUNT),
        ("carol", 1000, 1, UsageSource.COUNT),
    ]
    assert domains(site) == [
        ("full.example", 2, 2, 300, 2, 1),
        ("half.example", 2, 1, 1000, 1, 0),
        ("none.example", 0, 0, 0, 0, 0),
    ]
    assert figures(summary) == {
        "mailboxes": 4,
        "skipped": 0,
        "measured": 3,
        "domains": 3,
        "bytes": 1300,
        "messages": 3,
    }
    with site.reader() as session:
        times = session.scalars(select(MailboxUsage.measured_at)).all()
    assert before <= min(times) <= max(times) <= utc_now()


def test_a_mailbox_that_cannot_be_measured_is_named_and_stays_unknown(
    site: Database, settings: Config
) -> None:
    summary = scan(site, settings, Wanted())

    assert summary.failures == [Failure("dave@half.example", NO_CAROL)]


def test_a_maildirsize_is_asked_first(site: Database, settings: Config, root: Path) -> None:
    time.sleep(0.02)
    box = root / "home/vpopmail/domains/full.example/alice/Maildir"
    (box / "maildirsize").write_bytes(b"400S\n399 2\n")

    summary = scan(site, settings, Wanted(domain="full.example"))

    assert mailboxes(site)[0] == ("alice", 399, 2, UsageSource.MAILDIRSIZE)
    assert (summary.by_maildirsize, summary.by_count) == (1, 1)


def test_one_domain_is_scanned_alone_by_any_of_its_names(site: Database, settings: Config) -> None:
    scan(site, settings, Wanted(domain="Also.Example"))

    assert domains(site) == [("full.example", 2, 2, 300, 2, 1)]


def test_an_unknown_domain_is_refused(site: Database, settings: Config) -> None:
    with pytest.raises(NoSuchDomain, match=r"no\.example: no such domain"):
        scan(site, settings, Wanted(domain="no.example"))


def test_what_was_measured_lately_is_left_out_and_still_counts_for_its_domain(
    site: Database, settings: Config, root: Path
) -> None:
    scan(site, settings, Wanted())
    maildir(root, "/home/vpopmail/domains/half.example/dave", 50)

    summary = scan(site, settings, Wanted(max_age=HOUR))

    assert mailboxes(site)[3:] == [("dave", 50, 1, UsageSource.COUNT)]
    assert domains(site)[3:] == [("half.example", 2, 2, 1050, 2, 0)]
    assert (summary.skipped, summary.measured) == (3, 1)


def test_what_was_measured_long_ago_is_measured_again(site: Database, settings: Config) -> None:
    scan(site, settings, Wanted(domain="full.example"))
    time.sleep(0.01)

    summary = scan(site, settings, Wanted("full.example", max_age=timedelta(0)))

    assert (summary.skipped, summary.measured) == (0, 2)


def test_a_scan_that_was_killed_has_kept_what_came_before_and_the_next_goes_on(
    site: Database, settings: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "_STORE_S", 0.0)
    killed_at = 3

    def die(done: int, _total: int) -> None:
        if done == killed_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(site, settings, Wanted(), die)
    kept = mailboxes(site), domains(site)
    summary = scan(site, settings, Wanted(max_age=HOUR))

    assert [row[0] for row in kept[0]] == ["alice", "bob", "carol"]
    assert [row[0] for row in kept[1]] == ["full.example"]
    assert [row[0] for row in mailboxes(site)] == ["alice", "bob", "carol"]
    assert [row[0] for row in domains(site)] == ["full.example", "half.example", "none.example"]
    assert (summary.skipped, len(summary.failures)) == (3, 1)


def test_a_mailbox_that_is_deleted_meanwhile_is_passed_over(
    site: Database, settings: Config
) -> None:
    def delete_bob(done: int, _total: int) -> None:
        with site.writer() as session:
            session.execute(delete(Mailbox).where(Mailbox.name == ["alice", "bob"][done > 1]))

    summary = scan(site, settings, Wanted(domain="full.example"), delete_bob)

    assert mailboxes(site) == []
    assert figures(summary)["mailboxes"] == 2


def test_several_processes_find_the_same(database: Database, settings: Config, root: Path) -> None:
    with database.writer() as session:
        domain = factories.domain(session, "big.example")
        for number in range(130):
            made = factories.mailbox(session, domain, f"user{number:03}")
            maildir(root, made.directory, number, 1)

    summary = scan(database, settings, Wanted(jobs=2))

    assert mailboxes(database) == [
        (f"user{number:03}", number + 1, 2, UsageSource.COUNT) for number in range(130)
    ]
    assert domains(database) == [("big.example", 130, 130, sum(range(130)) + 130, 260, 0)]
    assert summary.failures == []


def test_a_rate_is_kept(site: Database, settings: Config) -> None:
    began = time.monotonic()

    scan(site, settings, Wanted(rate=20))

    # Four mailboxes, three waits.
    assert time.monotonic() - began >= 3 / 20


def test_a_snapshot_goes_with_its_mailbox_and_a_domain_s_stays(
    site: Database, settings: Config
) -> None:
    scan(site, settings, Wanted(domain="full.example"))

    with site.writer() as session:
        session.execute(delete(Mailbox))

    assert mailboxes(site) == []
    assert len(domains(site)) == 1


def test_nothing_is_written_into_maildirs(site: Database, settings: Config, root: Path) -> None:
    def everything() -> list[tuple[str, int]]:
        return sorted((str(each), each.lstat().st_mtime_ns) for each in root.rglob("*"))

    before = everything()

    scan(site, settings, Wanted())

    assert everything() == before


def test_progress_is_told_in_mailboxes(site: Database, settings: Config) -> None:
    told: list[tuple[int, int]] = []

    scan(site, settings, Wanted(), lambda done, total: told.append((done, total)))

    assert told == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_scan_of_a_root_that_is_gone_measures_nothing(
    site: Database, settings: Config, root: Path
) -> None:
    shutil.rmtree(root)
    elsewhere = replace(settings, paths=replace(settings.paths, root=str(root)))

    summary = scan(site, elsewhere, Wanted())

    assert (summary.measured, len(summary.failures)) == (0, 4)
    assert mailboxes(site) == []


def test_a_mailbox_that_comes_back_from_the_trash_has_its_snapshots(
    site: Database, settings: Config, root: Path
) -> None:
    scan(site, settings, Wanted(domain="full.example"))
    tree = Tree(root)
    with site.writer() as session:
        _, kept = trash.delete_user(session, tree, ADMIN, "alice", "full.example")
    kept.move(tree)

    with site.writer() as session:
        entry = session.scalars(select(TrashEntry.id)).one()
        trash.restore(session, tree, entry, ADMIN)

    assert ("alice", 300, 2, UsageSource.COUNT) in mailboxes(site)
