"""``vpopsql metrics``: figures of a site that Prometheus's own parser reads."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from prometheus_client.parser import text_string_to_metric_families

from tests import factories
from vpopsql import passwords
from vpopsql.cli import cli
from vpopsql.columns import utc_now
from vpopsql.db import Database
from vpopsql.errors import ExportFailed
from vpopsql.exposition import render
from vpopsql.metrics import site_families
from vpopsql.model import Export, Host, HostRole, MailboxUsage, Revision, UsageSource

Figures = dict[tuple[str, tuple[tuple[str, str], ...]], float]
Run = Callable[..., Result]

HASHES = {
    "": "empty",
    "!$1$Sa1tSa1t$jIAWQh25ZR2Tn11uDIhCr0": "locked",
    "*": "locked",
    "abJnggxhB/yWI": "des",
    factories.PASSWORD_HASH: "md5-crypt",
    "$5$" + "s" * 8 + "$" + "h" * 43: "sha256-crypt",
    "$6$" + "s" * 8 + "$" + "h" * 86: "sha512-crypt",
    "$2b$10$" + "h" * 53: "bcrypt",
    "$y$j9T$" + "s" * 22 + "$" + "h" * 43: "yescrypt",
    "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaA": "argon2",
    "rubbish": "unknown",
}


def parsed(text: str) -> Figures:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def figures(database: Database) -> Figures:
    with database.reader() as session:
        return parsed(render(site_families(session)))


def plain(database: Database) -> dict[str, float]:
    """Return the figures that have no labels, without "vpopsql_"."""
    return {
        name.removeprefix("vpopsql_"): value
        for (name, labels), value in figures(database).items()
        if not labels
    }


@pytest.fixture
def site(database: Database) -> Database:
    """Two domains, an alias domain, four mailboxes of which three were measured."""
    with database.writer() as session:
        big = factories.domain(session, "big.example", "also.example")
        small = factories.domain(session, "small.example")
        factories.alias(session, big, "info", "&alice@big.example", "|program")
        factories.alias(session, big, "default", "&alice@big.example")
        usage = [
            (factories.mailbox(session, big, "alice", quota_bytes=1000), (5, 899)),
            (factories.mailbox(session, big, "bob", quota_bytes=1000), (900, 1)),
            (factories.mailbox(session, small, "carol", quota_messages=1, clear_text="x"), (2, 2)),
        ]
        factories.mailbox(session, small, "dave", quota_bytes=1, clear_text="")
        session.add_all(
            MailboxUsage(
                mailbox_id=mailbox.id,
                measured_at=factories.at(2026, 1, day),
                bytes=size,
                messages=messages,
                source=UsageSource.COUNT,
            )
            for mailbox, (size, messages) in usage
            for day, size, messages in [(1, 10**6, 10**6), (3, size, messages)]
        )
    return database


@pytest.fixture
def run(site: Database, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that runs `vpopsql metrics`."""
    monkeypatch.setenv("VPOPSQL_DATABASE_URL", database_url)
    return lambda *words: CliRunner().invoke(cli, ["metrics", *words])


def test_a_site_is_told_in_numbers(site: Database) -> None:
    found = plain(site)

    collected = found.pop("collected_timestamp_seconds")
    assert utc_now().timestamp() - collected < 60
    assert found == {
        "domains": 2,
        "alias_domains": 1,
        "mailboxes": 4,
        "aliases": 1,
        "forward_lines": 2,
        "mailboxes_with_clear_text": 1,
        "mailboxes_measured": 3,
        "usage_bytes": 907,
        "usage_messages": 902,
        "mailboxes_nearly_full": 2,
        "mailboxes_over_quota": 1,
        "usage_timestamp_seconds": factories.at(2026, 1, 3).timestamp(),
        "revision": 0,
    }


def test_what_was_never_measured_or_exported_has_no_number(database: Database) -> None:
    with database.writer() as session:
        factories.mailbox(session, factories.domain(session), "alice")

    found = plain(database)

    assert found["mailboxes_measured"] == 0
    assert not {"usage_bytes", "mailboxes_nearly_full", "export_revision"} & set(found)


def test_mailboxes_are_counted_by_scheme_as_logins_see_it(database: Database) -> None:
    with database.writer() as session:
        domain = factories.domain(session)
        for number, stored in enumerate(HASHES):
            factories.mailbox(session, domain, f"user{number}", password_hash=stored)

    found = figures(database)

    assert {stored: passwords.scheme_of(stored) for stored in HASHES} == HASHES
    assert {
        labels[0][1]: value
        for (name, labels), value in found.items()
        if name == "vpopsql_mailboxes_by_scheme"
    } == {scheme: list(HASHES.values()).count(scheme) for scheme in HASHES.values()}


def test_the_newest_export_and_what_came_after_it_are_told(database: Database) -> None:
    now = utc_now()
    with database.writer() as session:
        session.add_all(Revision(topic="test", at=now - timedelta(seconds=99)) for _ in range(5))
        session.flush()
        session.add_all(Export(revision=n, files_changed=1, at=now) for n in (1, 3))

    found = plain(database)

    assert [
        found[name]
        for name in ("revision", "export_generation", "export_revision", "export_lag_revisions")
    ] == [5, 2, 3, 2]
    assert found["export_timestamp_seconds"] == pytest.approx(now.timestamp(), abs=0.01)
    assert 99 <= found["export_lag_seconds"] < 200


def test_the_hosts_are_told_each(database: Database) -> None:
    now = utc_now()
    with database.writer() as session:
        session.add_all(Revision(topic="test", at=now - timedelta(seconds=90)) for _ in range(3))
        session.flush()
        session.add_all(
            Host(name=name, role=HostRole.MAIL, revision=revision, reported_at=now)
            for name, revision in [("mx1", 3), ("mx2", 1)]
        )

    found = figures(database)

    mx1, mx2 = (("host", "mx1"), ("role", "mail")), (("host", "mx2"), ("role", "mail"))
    assert found["vpopsql_host_lag_revisions", mx1] == 0
    assert found["vpopsql_host_lag_revisions", mx2] == 2
    assert found["vpopsql_host_lag_seconds", mx2] >= 90
    assert (found["vpopsql_host_stale", mx1], found["vpopsql_host_stale", mx2]) == (0, 1)


@pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
def test_the_figures_are_printed(run: Run) -> None:
    printed = run()

    assert printed.exit_code == 0
    assert parsed(printed.stdout)["vpopsql_domains", ()] == 2
    assert factories.PASSWORD_HASH not in printed.stdout


@pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
def test_the_textfile_is_written_whole_and_readable_by_others(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "collector/vpopsql.prom"
    path.parent.mkdir()
    path.write_text("old")
    path.chmod(0o600)

    written = run("--textfile", str(path))

    assert (written.exit_code, written.stdout) == (0, "")
    assert parsed(path.read_text())["vpopsql_mailboxes", ()] == 4
    assert path.stat().st_mode & 0o777 == 0o644
    assert [each.name for each in path.parent.iterdir()] == ["vpopsql.prom"]


@pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
def test_a_textfile_that_is_a_link_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "link.prom").symlink_to(tmp_path / "elsewhere")

    written = run("--textfile", str(tmp_path / "link.prom"))

    assert isinstance(written.exception, ExportFailed)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
def test_a_textfile_in_no_directory_is_refused_with_its_path(run: Run, tmp_path: Path) -> None:
    written = run("--textfile", str(tmp_path / "no/x.prom"))

    assert str(written.exception) == f"{tmp_path}/no/x.prom: No such file or directory"
