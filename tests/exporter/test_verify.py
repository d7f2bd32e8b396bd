"""Every way in which files can differ from the database: found, and mended where that is meant."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from tests import factories, sites
from tests.exporter import verifying as v
from tests.exporter.conftest import files_below
from tests.exporter.spoilt import CANNOT, SPOILT, Spoilt, cases
from vpopsql.db import Database
from vpopsql.exporter.apply import apply
from vpopsql.exporter.drift import survey
from vpopsql.exporter.drift.codes import Code, Mend, Severity
from vpopsql.exporter.drift.codes_page import reference
from vpopsql.exporter.drift.repair import repair
from vpopsql.exporter.drift.survey import verify
from vpopsql.model import Domain, DomainLimits

DOCUMENT = Path(__file__).parents[2] / "docs/verify-codes.md"

# As vpopmail's tools leave it when root runs them; an export gives it to vpopmail's user.
OWNED_BY_ROOT = [("file-owner", "/home/vpopmail/etc/ip_alias_map")]

on_sqlite = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again at once: nobody else changes these sites."""
    monkeypatch.setattr(survey, "_PAUSES_S", (0.0, 0.0))


@pytest.fixture
def site(database: Database, root: Path) -> Database:
    """A site whose files are what the database says."""
    v.make_site(database, root)
    return database


@on_sqlite
@pytest.mark.parametrize("spoilt", cases())
def test_what_is_spoilt_is_found_and_said(site: Database, root: Path, spoilt: Spoilt) -> None:
    spoilt.spoil(root)

    report = v.look(site, root)

    assert v.found(report) == [(spoilt.code, f"/{spoilt.path}")]
    assert report.findings[0].reason == spoilt.said


@on_sqlite
@pytest.mark.parametrize("spoilt", cases(without=CANNOT))
def test_what_is_found_is_mended_by_its_code(site: Database, root: Path, spoilt: Spoilt) -> None:
    whole = files_below(root)
    spoilt.spoil(root)

    repaired = repair(site, v.config_of(root), [v.CODES[spoilt.code]])

    files = {path: data for path, data in files_below(root).items() if "/trash/" not in path}
    assert repaired.refused == []
    assert [(str(each.code), each.path) for each in repaired.mended] == [
        (spoilt.code, f"/{spoilt.path}")
    ]
    assert v.found(repaired.report) == []
    assert files.keys() == whole.keys()
    assert [path for path in files if files[path] != whole[path]] == []


@on_sqlite
@pytest.mark.parametrize("spoilt", cases(only=CANNOT))
def test_what_cannot_be_mended_says_why(site: Database, root: Path, spoilt: Spoilt) -> None:
    spoilt.spoil(root)

    repaired = repair(site, v.config_of(root), [v.CODES[spoilt.code]])

    assert repaired.mended == []
    assert [(each.path, reason) for each, reason in repaired.refused] == [
        (f"/{spoilt.path}", f"there is no way to do so here: {v.CODES[spoilt.code].advice}")
    ]
    assert v.found(repaired.report) == [(spoilt.code, f"/{spoilt.path}")]


def test_a_site_as_it_was_exported_is_clean(site: Database, root: Path) -> None:
    before = files_below(root)

    report = v.look(site, root)

    assert v.found(report) == []
    assert report.worst is Severity.NOTE
    assert report.domains == 3
    assert files_below(root) == before


def test_several_things_at_once_are_found_on_each_database(site: Database, root: Path) -> None:
    v.write(f"{v.EXAMPLE}/.qmail-old", "x")(root)
    v.unlink(f"{v.CONTROL}/rcpthosts")(root)
    v.remove(v.BOB)(root)

    report = v.look(site, root)
    repaired = repair(site, v.config_of(root), [each.code for each in report.findings])

    assert v.found(report) == [
        ("dotqmail-extra", f"/{v.EXAMPLE}/.qmail-old"),
        ("home-missing", f"/{v.BOB}"),
        ("rcpthosts-missing", f"/{v.CONTROL}/rcpthosts"),
    ]
    assert report.worst is Severity.HARM
    assert v.found(repaired.report) == []
    assert len(repaired.mended) == 3


@on_sqlite
@pytest.mark.parametrize("name", ["base", "small"])
def test_real_sites_are_clean_where_they_are(
    name: str, database: Database, unpack: Callable[[str], Path]
) -> None:
    root = unpack(name)
    sites.import_tree(database, root)

    before = v.look(database, root)
    apply(database, v.config_of(root))
    after = v.look(database, root)

    assert v.found(before) == OWNED_BY_ROOT[: v.is_root()]
    assert v.found(after) == []


# --- rows ---------------------------------------------------------------------------------------


@on_sqlite
def test_a_row_that_no_file_can_hold_is_named_without_its_password(
    site: Database, root: Path
) -> None:
    with site.writer() as session:
        domain = factories.domain(session, "bad.net")
        factories.mailbox(session, domain, "eve", password_hash="$1$sec:ret")
    (root / v.DOMAINS / "bad.net").mkdir()

    report = v.look(site, root)

    mine = [each for each in report.findings if each.domain == "bad.net"]
    assert [(str(each.code), each.path) for each in mine] == [
        ("unrenderable", f"/{v.DOMAINS}/bad.net")
    ]
    assert mine[0].reason == (
        f"/{v.DOMAINS}/bad.net/vpasswd: a field of eve has a colon, newline or NUL"
    )


@on_sqlite
def test_an_unfinished_import_is_all_that_is_said(site: Database, root: Path) -> None:
    with site.writer() as session:
        factories.setting(session, "unfinished_import", "tree /x")
    v.unlink(f"{v.CONTROL}/rcpthosts")(root)

    report = v.look(site, root)

    assert v.found(report) == [("unfinished-import", "/home/vpopmail")]
    assert report.worst is Severity.WARNING


@on_sqlite
def test_a_site_that_was_never_exported_lacks_everything(database: Database, root: Path) -> None:
    with database.writer() as session:
        factories.domain(session, "example.com")

    report = v.look(database, root)

    assert v.found(report) == [
        ("cdb-missing", "/var/qmail/users/cdb"),
        ("control-missing", "/var/qmail/control/virtualdomains"),
        ("dir-missing", f"/{v.EXAMPLE}"),
        ("rcpthosts-missing", "/var/qmail/control/rcpthosts"),
        ("text-missing", "/var/qmail/users/assign"),
    ]
    assert not (root / "var").exists()


@on_sqlite
def test_rows_that_are_gone_make_their_files_extra(site: Database, root: Path) -> None:
    with site.writer() as session:
        session.execute(delete(DomainLimits))

    assert v.found(v.look(site, root)) == [("settings-extra", f"/{v.EXAMPLE}/.qmailadmin-limits")]


@on_sqlite
@as_root
def test_the_owner_is_the_one_that_the_domain_has(site: Database, root: Path) -> None:
    with site.writer() as session:
        session.execute(
            update(Domain).where(Domain.directory == f"/{v.DOMAINS}/test.com").values(uid=1001)
        )

    codes = {code for code, path in v.found(v.look(site, root)) if "test.com" in path}
    assert codes == {"dir-owner", "file-unreadable"}


@on_sqlite
def test_paths_may_lie_behind_links_of_the_administrator(site: Database, root: Path) -> None:
    (root / "etc").mkdir()
    (root / v.CONTROL).rename(root / "etc/qmail")
    (root / v.CONTROL).symlink_to(root / "etc/qmail")

    assert v.found(v.look(site, root)) == []


# --- what is nobody's ---------------------------------------------------------------------------


@on_sqlite
def test_what_is_being_made_is_no_orphan(site: Database, root: Path) -> None:
    (root / v.EXAMPLE / "carol/Maildir").mkdir(parents=True)
    (root / v.DOMAINS / "new.net").mkdir()
    (root / v.DOMAINS / "new.net/vpasswd").touch()

    assert v.found(v.look(site, root)) == []


@on_sqlite
def test_a_home_of_another_domain_is_no_orphan(site: Database, root: Path) -> None:
    path = f"{v.EXAMPLE}/guest"
    v.make_dir(path, "Maildir")(root)
    v.chown(path, 89, 89)(root)
    with site.writer() as session:
        domain = factories.domain(session, "guests.net")
        factories.mailbox(session, domain, "zoe", directory=f"/{path}")
    apply(site, v.config_of(root))
    v.age(root / path)

    assert v.found(v.look(site, root)) == []


@on_sqlite
def test_a_half_written_file_of_a_writer_at_work_is_no_finding(site: Database, root: Path) -> None:
    (root / v.EXAMPLE / ".vpopsql-tmp-1").touch()

    assert v.found(v.look(site, root)) == []


@on_sqlite
def test_files_of_others_are_nobodys_business(site: Database, root: Path) -> None:
    v.write(f"{v.EXAMPLE}/.quotawarn.msg", "x")(root)
    v.write(f"{v.BOB}/Maildir/new/1", "x")(root)
    v.write(f"{v.CONTROL}/me", "x")(root)
    v.write(f"{v.ETC}/tcp.smtp", "x")(root)

    assert v.found(v.look(site, root)) == []


# --- the catalogue ------------------------------------------------------------------------------


def test_every_code_is_made_by_a_test() -> None:
    spoilt = {each.code for each in SPOILT}
    elsewhere = {"unrenderable", "unfinished-import", "trash-unfinished", "unreadable"}
    elsewhere |= {"accounts-extra"}

    assert {str(code) for code in Code} == spoilt | elsewhere


@pytest.mark.parametrize("code", list(Code), ids=str)
def test_every_code_says_what_is_the_case_and_what_to_do(code: Code) -> None:
    assert code.meaning
    assert bool(code.command()) == (code.mend is not Mend.NOT)
    assert code.command() or code.advice


def test_the_page_of_the_codes_is_what_the_codes_say() -> None:
    assert DOCUMENT.read_text(encoding="utf-8").endswith("-->\n\n" + reference())


def test_no_finding_shows_a_secret(site: Database, root: Path) -> None:
    hash_ = v.PASSWORD_HASH
    text = (root / v.EXAMPLE / "vpasswd").read_text()
    swapped = text.replace(hash_, "$1$other$hash", 1) + f"{hash_}:1:0:Alice:/x:NOQUOTA:\n"
    v.write(f"{v.EXAMPLE}/vpasswd", swapped)(root)

    report = v.look(site, root)

    assert [[each.text for each in found.details] for found in report.findings] == [
        [
            "has a line without a plain name besides",
            "alice differs: password",
            "line 3: its uid or gid is no number",
        ]
    ]
    assert hash_ not in repr(report)


def test_one_domain_is_looked_at_alone(site: Database, root: Path) -> None:
    v.unlink(f"{v.EXAMPLE}/.qmail-info")(root)
    v.unlink(f"{v.DOMAINS}/test.com/.qmail-default")(root)
    v.write(f"{v.CONTROL}/rcpthosts", "evil.example\n")(root)
    v.make_dir(f"{v.DOMAINS}/backup")(root)

    report = verify(site, v.config_of(root), domain="ALIAS.org")

    assert [(each.path, each.reason) for each in report.findings] == [
        (f"/{v.CONTROL}/rcpthosts", "lacks alias.org; lacks example.com"),
        (f"/{v.EXAMPLE}/.qmail-info", ""),
    ]
    assert report.domains == 1
