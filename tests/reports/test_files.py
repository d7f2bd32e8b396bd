"""What the reports that look at files answer."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.exporter import verifying as v
from vpopsql.db import Database
from vpopsql.errors import NoSuchDomain
from vpopsql.reports.files import find
from vpopsql.reports.query import Question, arrange
from vpopsql.reports.registry import REPORTS

pytestmark = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)

Row = tuple[Any, ...]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "exported"
    made.mkdir()
    return made


@pytest.fixture
def spoilt(database: Database, root: Path) -> Path:
    """A site without one of its Maildirs and of its files, and with a directory of nobody's."""
    v.make_site(database, root)
    v.make_dir(f"{v.EXAMPLE}/zed", "Maildir")(root)
    v.age(root / v.EXAMPLE / "zed")
    v.remove(v.BOB)(root)
    v.unlink(f"{v.EXAMPLE}/.qmail-info")(root)
    return root


def answer(name: str, database: Database, root: Path, domain: str | None = None) -> list[Row]:
    return list(find(REPORTS[name], database, v.config_of(root), domain))


def test_drift_says_what_mends_it(database: Database, spoilt: Path) -> None:
    found = answer("drift", database, spoilt)

    assert ("drift", found[0]) == (
        "drift",
        (
            f"/{v.EXAMPLE}/.qmail-info",
            "example.com",
            "harm",
            "dotqmail-missing",
            None,
            "vpopsql verify --domain example.com --fix dotqmail-missing",
        ),
    )
    assert [row[3] for row in found] == ["dotqmail-missing", "home-missing", "orphan-home"]


def test_orphan_dirs_say_how_old_they_are_and_whose(database: Database, spoilt: Path) -> None:
    ((path, domain, code, mtime, owner),) = answer("orphan-dirs", database, spoilt)

    assert (path, domain, code) == (f"/{v.EXAMPLE}/zed", "example.com", "orphan-home")
    assert mtime == datetime(1970, 1, 1, tzinfo=UTC)
    assert owner == (spoilt / v.EXAMPLE / "zed").owner()


def test_missing_dirs_are_listed(database: Database, spoilt: Path) -> None:
    assert answer("missing-dirs", database, spoilt) == [
        (f"/{v.BOB}", "example.com", "home-missing"),
    ]


def test_files_of_one_domain_only_are_looked_at(database: Database, spoilt: Path) -> None:
    assert answer("drift", database, spoilt, "test.com") == []
    with pytest.raises(NoSuchDomain):
        answer("drift", database, spoilt, "nowhere.net")


def test_rows_of_files_are_sorted_and_cut_like_others(database: Database, spoilt: Path) -> None:
    found = iter(answer("drift", database, spoilt))

    arranged = arrange(REPORTS["drift"], Question(sort=("code", True), limit=2), found)

    assert [row[3] for row in arranged] == ["orphan-home", "home-missing"]


def test_drift_tells_what_differs(database: Database, root: Path) -> None:
    v.make_site(database, root)
    v.write(f"{v.EXAMPLE}/.qmail-info", "&somebody@elsewhere.net\n")(root)

    assert answer("drift", database, root) == [
        (
            f"/{v.EXAMPLE}/.qmail-info",
            "example.com",
            "harm",
            "dotqmail-differs",
            "line 1 differs; has 1 line, not 2",
            "vpopsql verify --domain example.com --fix dotqmail-differs",
        ),
    ]
