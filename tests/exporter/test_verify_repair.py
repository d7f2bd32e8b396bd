"""Mending: what is named and nothing else, nothing lost, and what is left is said."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, select

from tests import factories
from tests.exporter import verifying as v
from tests.exporter.conftest import files_below
from vpopsql.columns import utc_now
from vpopsql.config import Config, Paths
from vpopsql.db import Database
from vpopsql.exporter.apply import apply
from vpopsql.exporter.drift import survey
from vpopsql.exporter.drift.codes import Code
from vpopsql.exporter.drift.repair import Repaired, repair
from vpopsql.model import Domain, Mailbox, TrashEntry, TrashKind

pytestmark = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again at once: nobody else changes these sites."""
    monkeypatch.setattr(survey, "_PAUSES_S", (0.0, 0.0))


@pytest.fixture
def site(database: Database, root: Path) -> Database:
    """A site whose files are what the database says."""
    v.make_site(database, root)
    return database


def mend(site: Database, root: Path, *codes: str, domain: str | None = None) -> Repaired:
    return repair(site, v.config_of(root), [v.CODES[code] for code in codes], domain=domain)


def mended(repaired: Repaired) -> list[tuple[str, str]]:
    return [(str(each.code), each.path) for each in repaired.mended]


def refused(repaired: Repaired) -> list[tuple[str, str]]:
    return [(each.path, reason) for each, reason in repaired.refused]


def test_only_what_is_named_is_mended(site: Database, root: Path) -> None:
    v.chmod(v.BOB, 0o1777)(root)
    v.write(f"{v.EXAMPLE}/.qmail-info", "mine\n")(root)

    repaired = mend(site, root, "dir-sticky")

    assert mended(repaired) == [("dir-sticky", f"/{v.BOB}")]
    assert v.found(repaired.report) == [
        ("dir-writable", f"/{v.BOB}"),
        ("dotqmail-differs", f"/{v.EXAMPLE}/.qmail-info"),
    ]
    assert (root / v.BOB).stat().st_mode & 0o7777 == 0o777
    assert (root / v.EXAMPLE / ".qmail-info").read_text() == "mine\n"


def test_what_somebody_wrote_is_not_overwritten_along_with_what_is_named(
    site: Database, root: Path
) -> None:
    v.write(f"{v.EXAMPLE}/.qmail-info", "mine\n")(root)
    v.unlink(f"{v.EXAMPLE}/.qmail-robot")(root)

    first = mend(site, root, "dotqmail-missing")
    second = mend(site, root, "dotqmail-missing", "dotqmail-differs")

    assert refused(first) == [
        (
            f"/{v.EXAMPLE}/.qmail-robot",
            f"/{v.EXAMPLE}/.qmail-info would be written along with it: name dotqmail-differs, too",
        )
    ]
    assert v.found(first.report) == [
        ("dotqmail-differs", f"/{v.EXAMPLE}/.qmail-info"),
        ("dotqmail-missing", f"/{v.EXAMPLE}/.qmail-robot"),
    ]
    assert len(second.mended) == 2
    assert v.found(second.report) == []


def test_a_name_that_is_accepted_anew_would_bring_its_domains_files(
    site: Database, root: Path
) -> None:
    v.write(f"{v.CONTROL}/rcpthosts", "alias.org\nexample.com\n")(root)
    v.write(f"{v.DOMAINS}/test.com/.qmail-default", "mine\n")(root)
    v.write(f"{v.EXAMPLE}/.qmail-info", "mine\n")(root)

    repaired = mend(site, root, "control-differs")

    path = f"/{v.DOMAINS}/test.com/.qmail-default"
    assert refused(repaired) == [
        (
            f"/{v.CONTROL}/rcpthosts",
            f"{path} would be written along with it: name dotqmail-differs, too",
        )
    ]


def test_the_sites_files_are_not_written_for_one_domain(site: Database, root: Path) -> None:
    v.unlink(f"{v.USERS}/cdb")(root)
    v.unlink(f"{v.EXAMPLE}/vpasswd.cdb")(root)

    repaired = mend(site, root, "cdb-missing", domain="example.com")

    assert mended(repaired) == [("cdb-missing", f"/{v.EXAMPLE}/vpasswd.cdb")]
    assert refused(repaired) == [
        (f"/{v.USERS}/cdb", "the site's files are written together: not with --domain")
    ]


def test_a_whole_domain_is_made_anew_in_one_go(site: Database, root: Path) -> None:
    whole = files_below(root)
    v.remove(v.EXAMPLE)(root)

    repaired = mend(site, root, "dir-missing", "home-missing")

    assert mended(repaired) == [
        ("dir-missing", f"/{v.EXAMPLE}"),
        ("home-missing", f"/{v.BOB}"),
    ]
    assert v.found(repaired.report) == []
    assert files_below(root).keys() == whole.keys() - {f"/{v.ALICE}/lastauth"}


def test_what_is_extra_waits_in_the_trash(site: Database, root: Path) -> None:
    v.write(f"{v.EXAMPLE}/.qmail-old", "&mine@example.net\n")(root)
    v.make_dir(f"{v.EXAMPLE}/carol", "Maildir")(root)
    v.write(f"{v.EXAMPLE}/carol/Maildir/mail", "From you\n")(root)
    v.age(root / v.EXAMPLE / "carol")

    mend(site, root, "dotqmail-extra", "orphan-home")

    with site.reader() as session:
        entries = session.scalars(select(TrashEntry).order_by(TrashEntry.original_path)).all()
    assert [(each.original_path, each.actor, each.kind) for each in entries] == [
        (f"/{v.EXAMPLE}/.qmail-old", "vpopsql verify", TrashKind.DIRECTORY),
        (f"/{v.EXAMPLE}/carol", "vpopsql verify", TrashKind.DIRECTORY),
    ]
    places = [Path(f"{root}{each.trash_path}") for each in entries]
    assert places[0].read_text() == "&mine@example.net\n"
    assert (places[1] / "Maildir/mail").read_text() == "From you\n"


def test_a_deletion_that_was_cut_off_is_finished(site: Database, root: Path) -> None:
    delete_bob(site, root, at=timedelta(hours=1))

    report = v.look(site, root)
    repaired = mend(site, root, "trash-unfinished")

    assert v.found(report) == [("trash-unfinished", f"/{v.BOB}")]
    assert report.findings[0].code.command() == ("trash", "finish")
    assert mended(repaired) == [("trash-unfinished", f"/{v.BOB}")]
    assert (root / "home/vpopmail/trash/1/bob/Maildir").is_dir()


def test_a_deletion_that_is_going_on_is_no_finding(site: Database, root: Path) -> None:
    delete_bob(site, root, at=timedelta())

    assert v.found(v.look(site, root)) == []


def delete_bob(site: Database, root: Path, at: timedelta) -> None:
    """Delete an account's rows, let the files follow, but do not move its directory."""
    with site.writer() as session:
        session.execute(delete(Mailbox).where(Mailbox.name == "bob"))
        session.add(
            TrashEntry(
                at=utc_now() - at,
                actor="postmaster@example.com",
                kind=TrashKind.USER,
                name="bob@example.com",
                original_path=f"/{v.BOB}",
                trash_path="/home/vpopmail/trash/1/bob",
                payload={},
            )
        )
    apply(site, v.config_of(root))
    v.age(root / v.BOB)


@pytest.fixture
def late_row(monkeypatch: pytest.MonkeyPatch, site: Database, root: Path) -> None:
    """Let somebody make a mailbox of an orphan right after it was found."""
    verify = survey.verify

    def verify_and_add(*args: object, **options: object) -> survey.Report:
        report = verify(*args, **options)  # type: ignore[arg-type]
        with site.writer() as session:
            if session.scalar(select(Mailbox).where(Mailbox.name == "carol")) is None:
                domain = session.scalars(select(Domain)).first()
                assert domain
                factories.mailbox(session, domain, "carol")
        return report

    monkeypatch.setattr("vpopsql.exporter.drift.repair.verify", verify_and_add)


def test_an_orphan_that_somebody_moved_into_stays(
    site: Database, root: Path, late_row: None
) -> None:
    v.make_dir(f"{v.EXAMPLE}/carol", "Maildir")(root)

    repaired = mend(site, root, "orphan-home")

    assert (root / v.EXAMPLE / "carol/Maildir").is_dir()
    assert "orphan-home" not in {code for code, _ in v.found(repaired.report)}


def test_a_database_that_is_not_this_sites_writes_nothing(database: Database, root: Path) -> None:
    (root / v.CONTROL).mkdir(parents=True)
    (root / v.USERS).mkdir(parents=True)
    v.write(f"{v.CONTROL}/rcpthosts", "somebody.example\n")(root)
    with database.writer() as session:
        factories.domain(session, "example.com")

    repaired = mend(database, root, "control-differs")

    assert [reason.partition(":")[0] for _, reason in refused(repaired)] == [
        (
            "/var/qmail/control/rcpthosts has 1 names that the database does not know, such as"
            " somebody.example"
        )
    ]
    assert (root / v.CONTROL / "rcpthosts").read_text() == "somebody.example\n"


def test_a_reload_that_no_command_is_known_for_is_left_to_people(
    site: Database, root: Path
) -> None:
    v.write(f"{v.CONTROL}/.vpopsql-reload", "")(root)

    repaired = repair(site, Config(paths=Paths(root=str(root))), [Code.RELOAD_PENDING])

    assert refused(repaired) == [
        (
            f"/{v.CONTROL}/.vpopsql-reload",
            "export.reload_command is not set: reload qmail-send, and remove the file",
        )
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_who_may_not_look_says_so(site: Database, root: Path, nobody: None) -> None:
    report = v.look(site, root)

    places = ("", "/example.com", "/many.net", "/test.com")
    assert v.found(report) == [
        *(("unreadable", f"/{v.DOMAINS}{place}") for place in places),
        ("unreadable", f"/{v.ETC}"),
    ]
    assert {each.reason for each in report.findings} == {"Permission denied"}
