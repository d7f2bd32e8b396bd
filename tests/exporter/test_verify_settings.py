"""Verifying sites whose files are written in another way than by default."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.exporter import verifying as v
from vpopsql.config import Config
from vpopsql.db import Database
from vpopsql.exporter.apply import apply
from vpopsql.exporter.drift import survey
from vpopsql.exporter.drift.codes import Code
from vpopsql.exporter.drift.repair import repair
from vpopsql.exporter.drift.survey import verify
from vpopsql.qmail import assign, cdb

pytestmark = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)

USERS_CDB = f"/{v.USERS}/cdb"


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again at once: nobody else changes these sites."""
    monkeypatch.setattr(survey, "_PAUSES_S", (0.0, 0.0))


@pytest.fixture
def site(database: Database, root: Path) -> Database:
    """A site whose files are what the database says."""
    v.make_site(database, root)
    return database


def with_export(root: Path, **settings: str | tuple[str, ...]) -> Config:
    config = v.config_of(root)
    return replace(config, export=replace(config.export, **settings))  # type: ignore[arg-type]


def test_the_lines_of_exact_delivery_are_compared(site: Database, root: Path) -> None:
    config = with_export(root, delivery="exact")
    before = verify(site, config)
    apply(site, config)
    after = verify(site, config)
    records = cdb.read((root / v.USERS / "cdb").read_bytes())
    without_bob = [record for record in records if b"bob" not in record[0]]
    (root / v.USERS / "cdb").write_bytes(cdb.make(without_bob))
    spoilt = verify(site, config)

    assert [(each.path, each.reason) for each in before.findings] == [
        (USERS_CDB, "lacks alias.org-bob; lacks example.com-bob"),
        (f"/{v.USERS}/assign", "lacks alias.org-bob; lacks example.com-bob"),
    ]
    assert v.found(after) == []
    assert [(each.path, each.reason) for each in spoilt.findings] == [
        (USERS_CDB, "lacks alias.org-bob; lacks example.com-bob")
    ]


def test_with_exact_delivery_the_sites_files_stand_in_the_way_of_a_domains(
    site: Database, root: Path
) -> None:
    config = with_export(root, delivery="exact")
    apply(site, config)
    v.append(f"{v.CONTROL}/locals", "mine.example\n")(root)
    v.unlink(f"{v.EXAMPLE}/vpasswd")(root)

    repaired = repair(site, config, [Code.TEXT_MISSING])

    assert [reason for _, reason in repaired.refused] == [
        f"/{v.CONTROL}/locals would be written along with it: name control-differs, too"
    ]


def test_the_cdb_has_the_name_that_is_configured(site: Database, root: Path) -> None:
    config = with_export(root, assign_cdb="assign.cdb")

    before = verify(site, config)
    apply(site, config)
    after = verify(site, config)

    assert v.found(before) == [("cdb-missing", f"/{v.USERS}/assign.cdb")]
    assert v.found(after) == []


def test_what_qmail_newu_compiled_is_compared_by_what_it_answers(
    site: Database, root: Path
) -> None:
    text = (root / v.USERS / "assign").read_text().splitlines()[:-1]
    (root / v.USERS / "cdb").write_bytes(assign.compile_cdb(text[::-1]))

    report = verify(site, with_export(root, newu_command=("/bin/false",)))

    assert v.found(report) == []


def test_qmail_newu_is_run_for_a_cdb_that_is_wrong_though_its_text_is_right(
    site: Database, root: Path, tmp_path: Path
) -> None:
    newu = tmp_path / "newu"
    (tmp_path / "good").write_bytes((root / v.USERS / "cdb").read_bytes())
    newu.write_text(f"#!/bin/sh\ncp {tmp_path}/good {root}/{v.USERS}/cdb\n")
    newu.chmod(0o700)
    v.cut(f"{v.USERS}/cdb", 100)(root)

    repaired = repair(site, with_export(root, newu_command=(str(newu),)), [Code.CDB_DAMAGED])

    assert [(each.code, each.path) for each in repaired.mended] == [(Code.CDB_DAMAGED, USERS_CDB)]
    assert v.found(repaired.report) == []


def test_a_qmail_newu_that_fails_is_the_reason_why_a_cdb_stays_wrong(
    site: Database, root: Path
) -> None:
    v.cut(f"{v.USERS}/cdb", 100)(root)

    repaired = repair(site, with_export(root, newu_command=("/bin/false",)), [Code.CDB_DAMAGED])

    assert [each.path for each, _ in repaired.refused] == [USERS_CDB]
    assert repaired.refused[0][1].startswith("/bin/false ended with status 1")
