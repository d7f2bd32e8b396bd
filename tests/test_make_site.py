"""scripts/make_site: what it makes up is a site, the same one again, in every form it has."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts.sites import shape
from scripts.sites.synthesis import PASSWORD, Size, Synthesis
from vpopsql import config, db
from vpopsql.cli import cli
from vpopsql.importer import site
from vpopsql.importer.origin import Origin, Store
from vpopsql.importer.tables.source import Layout
from vpopsql.passwords import scheme_of, verify

CHECKOUT = Path(__file__).parents[1]
SIZE = ("--domains", "30", "--mailboxes", "400")


def make_site(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "scripts.sites", *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of the cdb build, one of a SQL build, and dumps in both layouts; one site."""
    place = tmp_path_factory.mktemp("made")
    light = (*SIZE, "--homes", "light")

    dumps = ("--mysql", place / "one.mysql", "--pgsql", place / "one.pgsql")
    cdb = make_site(place / "cdb", *light, *dumps)
    dumps = ("--mysql", place / "many.mysql", "--pgsql", place / "many.pgsql")
    sql = make_site(place / "sql", *light, *dumps, "--build", "sql", "--layout", "per-domain")

    assert (cdb.returncode, cdb.stderr) == (0, "")
    assert (sql.returncode, sql.stderr) == (0, "")
    return place


def read(origin: Origin) -> list[site.Domain]:
    """Return the domains without the text of their limits, which no table has."""
    return [
        replace(each, limits=each.limits and replace(each.limits, source_text=None))
        for each in origin.read(config.load(None, {})).spool
    ]


def entries(directory: Path) -> Iterator[tuple[str, str]]:
    """Give each file's path and a digest of its content, and of lastauth also its time."""
    for path in sorted(directory.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        mtime = int(path.stat().st_mtime) if path.name == "lastauth" else 0
        digest = hashlib.sha256(content).hexdigest()
        yield str(path.relative_to(directory)), f"{mtime} {digest}"


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(
    made: Path, tmp_path: Path
) -> None:
    light = (*SIZE, "--homes", "light")

    make_site(tmp_path / "again", *light, "--mysql", tmp_path / "again.mysql")
    make_site(tmp_path / "other", *light, "--seed", "2")

    assert dict(entries(tmp_path / "again")) == dict(entries(made / "cdb"))
    assert (tmp_path / "again.mysql").read_bytes() == (made / "one.mysql").read_bytes()
    assert dict(entries(tmp_path / "other")) != dict(entries(made / "cdb"))


def test_the_tree_is_imported_without_a_warning(made: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/site.db"
    db.upgrade(url)
    source = ("--vpopmail", str(made / "cdb/vpopmail"), "--qmail", str(made / "cdb/qmail"))

    done = CliRunner().invoke(
        cli, ["import", "tree", *source, "--apply"], env={"VPOPSQL_DATABASE_URL": url}
    )

    assert done.exit_code == 0, done.output
    assert "Imported: 30 domains with 400 mailboxes." in done.output


@pytest.mark.parametrize("layout", ["one", "per-domain"])
@pytest.mark.parametrize("store", [Store.MYSQL, Store.PGSQL])
def test_tree_and_dumps_are_one_site(made: Path, store: Store, layout: str) -> None:
    tree = Origin(Store.TREE, made / "cdb/qmail", made / "cdb/vpopmail")
    dump = made / f"{'one' if layout == 'one' else 'many'}.{store}"
    tables = Origin(
        store, made / "sql/qmail", made / "sql/vpopmail", str(dump), layout=Layout(layout)
    )

    expected = read(tree)
    found = read(tables)

    # Of limits PostgreSQL has no table.
    without = [replace(each, limits=None) for each in expected]
    assert found == (expected if store is Store.MYSQL else without)


def test_there_is_something_of_everything(made: Path) -> None:
    domains = read(Origin(Store.TREE, made / "cdb/qmail", made / "cdb/vpopmail"))
    boxes = [box for domain in domains for box in domain.mailboxes]

    assert {domain.catchall.value for domain in domains} >= {"bounce", "delete", "directory"}
    assert {bool(domain.limits) for domain in domains} == {True, False}
    assert any(domain.aliases for domain in domains)
    assert {scheme_of(box.password_hash) for box in boxes} == {
        "md5-crypt",
        "sha512-crypt",
        "bcrypt",
    }
    assert {"NOQUOTA", "100M", "52428800S,1000C", ""} <= {box.quota_text for box in boxes}
    assert any(box.flags for box in boxes)
    assert any(box.files for box in boxes)
    assert not all(box.comment.isascii() for box in boxes)
    assert sum(len(file.lines) for domain in domains for file in domain.files) >= 1.2 * len(boxes)


def test_the_postmasters_have_a_password_that_is_known() -> None:
    domain = next(Synthesis(Size(domains=3, mailboxes=9)).domains())

    postmaster = next(box for box in domain.mailboxes if box.name == "postmaster")

    assert verify(PASSWORD, postmaster.password_hash)


def test_a_few_domains_have_most_of_the_mailboxes() -> None:
    site = Synthesis(Size(domains=200, mailboxes=4000, aliases=0))

    sizes = sorted((len(domain.mailboxes) for domain in site.domains()), reverse=True)

    assert (len(sizes), sum(sizes)) == (200, 4000)
    assert sum(sizes[:20]) > 1600
    assert sizes[100] < 20
    assert sizes[-1] >= 1


def test_full_homes_have_a_maildir_and_none_are_no_directories(tmp_path: Path) -> None:
    small = ("--domains", "1", "--mailboxes", "2")

    make_site(tmp_path / "full", *small)
    make_site(tmp_path / "none", *small, "--homes", "none")

    assert len(list((tmp_path / "full").glob("vpopmail/domains/*/*/Maildir/new"))) == 2
    assert not list((tmp_path / "none").glob("vpopmail/domains/*/*/"))


def test_buckets_are_vpopmails() -> None:
    found = {
        number: shape.bucket(number)
        for number in (1, 99, 100, 200, 6200, 6300, 12400, 12500, 390600, 390700)
    }

    assert found == {
        1: "",
        99: "",
        100: "0/",
        200: "1/",
        6200: "z/",
        6300: "0/0/",
        12400: "0/z/",
        12500: "1/0/",
        390600: "z/z/",
        390700: "0/0/0/",
    }


def test_what_is_there_is_not_written_over(made: Path) -> None:
    done = make_site(made / "cdb", *SIZE)

    assert done.returncode == 1
    assert "is there already" in done.stderr
