"""A site whose accounts are in the database alone."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from tests import factories
from tests.exporter import verifying as v
from tests.exporter.conftest import files_below
from vpopsql.config import Config
from vpopsql.db import Database
from vpopsql.errors import ExportFailed
from vpopsql.exporter import projector as projector_module
from vpopsql.exporter.apply import apply, follow, plan
from vpopsql.exporter.drift import survey
from vpopsql.exporter.drift.codes import Code
from vpopsql.exporter.drift.repair import repair
from vpopsql.exporter.drift.survey import verify
from vpopsql.exporter.projector import Projector
from vpopsql.exporter.rollback import roll_back
from vpopsql.exporter.site import SiteWriter
from vpopsql.model import DirCounter, Domain, DomainName, Revision
from vpopsql.services import buckets
from vpopsql.touched import Touched

OF_ACCOUNTS = {"vpasswd", "vpasswd.cdb", ".dir-control", ".dir_control_free"}
"""What files of accounts are called."""


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again at once: nobody else changes these sites."""
    monkeypatch.setattr(survey, "_PAUSES_S", (0.0, 0.0))


@pytest.fixture
def site(database: Database, root: Path) -> Database:
    """A site whose files are what the database says, vpasswd among them."""
    with database.writer() as session:
        session.add(DirCounter(**buckets.new_counter(None)))
    v.make_site(database, root)
    return database


def accounts_in(paths: Iterable[str]) -> set[str]:
    """Return those of the paths that are files of accounts."""
    return {path for path in paths if path.rpartition("/")[2] in OF_ACCOUNTS}


@pytest.fixture
def config(root: Path) -> Config:
    usual = v.config_of(root)
    return replace(usual, export=replace(usual.export, accounts="database"))


def add(database: Database, name: str) -> Touched:
    """Add a mailbox to example.com, and return what that touches."""
    with database.writer() as session:
        of_it = select(DomainName.domain_id).where(DomainName.name == "example.com")
        home = f"/{v.EXAMPLE}/{name}"
        domain = session.get_one(Domain, session.scalar(of_it))
        factories.mailbox(session, domain, name, directory=home)
        session.add(made := Revision(domain="example.com", topic="add_user"))
        session.flush()
        return Touched(mailboxes={("example.com", name)}, revisions={made.id})


def test_an_apply_removes_the_files_of_accounts_and_no_others(
    site: Database, root: Path, config: Config
) -> None:
    before = files_below(root)
    comparison = plan(site, config)
    planned = {change.path: str(change.kind) for change in comparison.changes()}

    applied = apply(site, config)
    again = apply(site, config)

    after = files_below(root)
    gone = accounts_in(before)
    assert {path.rpartition("/")[2] for path in gone} == OF_ACCOUNTS
    assert f"/{v.DOMAINS}/.dir-control" in gone
    assert planned == dict.fromkeys(gone, "removed")
    assert set(applied.changed) == gone
    assert again.changed == ()
    assert after == {path: data for path, data in before.items() if path not in gone}
    assert verify(site, config).findings == []


def test_the_other_way_round_they_come_back(site: Database, root: Path, config: Config) -> None:
    before = files_below(root)
    apply(site, config)

    apply(site, v.config_of(root))

    assert files_below(root) == before


def test_going_back_brings_them_back(site: Database, root: Path, config: Config) -> None:
    before = files_below(root)
    apply(site, config)

    roll_back(config)

    assert files_below(root) == before


def test_of_a_change_of_accounts_nothing_is_written(
    site: Database, root: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(site, config)
    before = files_below(root)
    runs: list[Touched] = []
    monkeypatch.setattr(
        projector_module, "follow", lambda _database, _config, touched, **_: runs.append(touched)
    )

    Projector(site, config).follow(add(site, "carol"))
    Projector(site, config).follow(Touched(accounts={"example.com"}))

    assert runs == []
    assert files_below(root) == before


def test_what_else_changes_is_written(site: Database, root: Path, config: Config) -> None:
    apply(site, config)
    with site.writer() as session:
        new = factories.domain(session, "new.org")
        factories.mailbox(session, new, "postmaster")
        session.add(Revision(topic="add_domain"))
        of_it = select(DomainName.domain_id).where(DomainName.name == "example.com")
        old = session.get_one(Domain, session.scalar(of_it))
        factories.alias(session, old, "sales", "&alice@example.com")

    touched = Touched(names={"new.org"}, accounts={"new.org"}, dotqmail={"new.org", "example.com"})
    Projector(site, config).follow(touched)

    assert {path.name for path in (root / v.DOMAINS / "new.org").iterdir()} == {".qmail-default"}
    assert (root / v.EXAMPLE / ".qmail-sales").exists()
    assert "new.org" in (root / v.CONTROL / "rcpthosts").read_text()
    assert verify_codes(site, config) <= {Code.HOME_MISSING}


def verify_codes(site: Database, config: Config) -> set[Code]:
    return {each.code for each in verify(site, config).findings}


def test_with_exact_delivery_a_mailbox_comes_into_users_assign_only(
    site: Database, root: Path, config: Config
) -> None:
    exact = replace(config, export=replace(config.export, delivery="exact"))
    apply(site, exact)
    before = files_below(root)
    touched = add(site, "carol")

    Projector(site, exact).follow(touched)

    after = files_below(root)
    changed = {path for path in before | after if before.get(path) != after.get(path)}
    assert changed - {f"/{v.USERS}/.vpopsql-stamps/.site"} == {
        f"/{v.USERS}/assign",
        f"/{v.USERS}/cdb",
    }
    assert (
        f"=example.com-carol:example.com:89:89:/{v.EXAMPLE}/carol:::"
        in (root / v.USERS / "assign").read_text()
    )
    assert apply(site, exact).changed == ()


@pytest.mark.parametrize(
    "name, code",
    [
        (f"{v.EXAMPLE}/vpasswd", Code.ACCOUNTS_EXTRA),
        (f"{v.EXAMPLE}/vpasswd.cdb", Code.ACCOUNTS_EXTRA),
        (f"{v.EXAMPLE}/.dir-control", Code.SETTINGS_EXTRA),
    ],
)
def test_what_is_left_of_them_is_found_and_goes_to_the_trash(
    site: Database, root: Path, config: Config, name: str, code: Code
) -> None:
    apply(site, config)
    (root / name).write_bytes(b"postmaster:$1$stale:1:0:Postmaster:/home:NOQUOTA\n")
    found = verify(site, config)

    repaired = repair(site, config, [code])

    assert [(each.code, each.path, each.reason) for each in found.findings] == [
        (code, f"/{name}", "should not be there")
    ]
    assert repaired.report.findings == []
    assert not list(root.glob(name))
    (kept,) = (root / "home/vpopmail/trash").glob(f"*/{name.rpartition('/')[2]}")
    assert kept.read_bytes().startswith(b"postmaster:$1$stale")


def test_a_plan_says_that_vdelivermail_finds_nobody(
    site: Database, config: Config, root: Path
) -> None:
    warned = plan(site, config).warnings()

    assert {each.code for each in warned} == {"no-vpasswd"}
    assert "@example.com" in {each.address for each in warned}
    assert plan(site, v.config_of(root)).warnings() == []


def test_nothing_but_an_apply_removes_them(site: Database, root: Path, config: Config) -> None:
    usual = v.config_of(root)
    Projector(site, usual).follow(add(site, "carol"))
    before = files_below(root)

    # What a daemon does at its start, and with a change of the site's own settings.
    Projector(site, config).catch_up()
    Projector(site, config).follow(Touched(settings=True))
    follow(site, config, Touched({"example.com"}, {"example.com"}, {"example.com"}))

    assert files_below(root) == before
    apply(site, config)
    assert accounts_in(files_below(root)) == set()
    roll_back(config)
    assert files_below(root) == before


@pytest.mark.parametrize("newu", [(), ("/bin/false",)])
def test_they_go_last_when_exact_lines_do_without_them(
    site: Database,
    root: Path,
    config: Config,
    monkeypatch: pytest.MonkeyPatch,
    newu: tuple[str, ...],
) -> None:
    both = replace(config, export=replace(config.export, delivery="exact", newu_command=newu))
    there: list[bool] = []
    real = SiteWriter.publish

    def publish(writer: SiteWriter) -> None:
        there.append(accounts_in(files_below(root)) != set())
        real(writer)

    monkeypatch.setattr(SiteWriter, "publish", publish)

    if newu:
        with pytest.raises(ExportFailed):
            apply(site, both)
    else:
        apply(site, both)

    assert there == ([] if newu else [True])
    assert (accounts_in(files_below(root)) != set()) == bool(newu)


def test_a_directory_of_such_a_name_is_somebodys(
    site: Database, root: Path, config: Config
) -> None:
    apply(site, config)
    (root / v.EXAMPLE / "vpasswd").mkdir()

    assert apply(site, config).changed == ()


def test_files_of_a_site_that_goes_back_are_not_taken_for_new(
    site: Database, root: Path, config: Config
) -> None:
    """Files that were in step once, and missed changes since, are not patched."""
    usual = v.config_of(root)
    apply(site, config)
    Projector(site, config).follow(add(site, "carol"))

    follow(site, usual, add(site, "dave"))

    lines = (root / v.EXAMPLE / "vpasswd").read_text().splitlines()
    assert [line.partition(":")[0] for line in lines] == ["alice", "bob", "carol", "dave"]
