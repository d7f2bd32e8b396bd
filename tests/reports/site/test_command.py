"""``vpopsql report html`` as an administrator, or cron, runs it."""

from pathlib import Path

import pytest

from tests.exporter import verifying
from tests.reports.site.conftest import all_pages
from tests.reports.test_command import Command, vpopsql
from vpopsql.reports.site.paths import domain_path, report_path

__all__ = ["vpopsql"]  # a fixture

pytestmark = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)


def test_pages_are_written_and_written_again(vpopsql: Command, tmp_path: Path) -> None:
    site = tmp_path / "site"

    first = vpopsql("report", "html", str(site), "--title", "Ours", "--jobs", "1")
    second = vpopsql("report", "html", str(site), "--jobs", "1", "--domain", "alias.org")

    assert first[:2] == (0, f"29 pages, 2 of domains: {site}/index.html\n")
    assert second[:2] == (0, f"28 pages, 1 of domains: {site}/index.html\n")
    assert domain_path("example.com") in dict(all_pages(site))


def test_the_files_of_this_host_have_pages_on_demand(
    vpopsql: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VPOPSQL_PATHS_ROOT", str(tmp_path))
    (tmp_path / verifying.DOMAINS).mkdir(parents=True)

    code, _, _ = vpopsql("report", "html", str(tmp_path / "site"), "--files", "--jobs", "1")

    assert code == 0
    assert "dir-missing" in (tmp_path / "site" / report_path("missing-dirs")).read_text()


def test_a_directory_with_something_else_in_it_is_refused(
    vpopsql: Command, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")

    code, out, errors = vpopsql("report", "html", str(tmp_path))

    assert (code, out) == (3, "")
    assert "is not empty, and was not made by `vpopsql report html`" in errors


@pytest.mark.parametrize(
    "arguments, says",
    [
        (("html",), "Missing argument 'DIR'"),
        (("html", "x", "--format", "csv"), "No such option"),
        (("html", "x", "--rows", "0"), "0 is not in the range"),
        (("--domain", "example.com", "html"), "html comes before its options"),
    ],
)
def test_what_makes_no_sense_is_wrong_usage(
    vpopsql: Command, arguments: tuple[str, ...], says: str
) -> None:
    code, out, errors = vpopsql("report", *arguments)

    assert (code, out) == (2, "")
    assert says in errors


def test_both_have_help(vpopsql: Command) -> None:
    assert "vpopsql report html DIR" in vpopsql("report", "--help")[1]
    assert "Usage: vpopsql report html [OPTIONS] DIR" in vpopsql("report", "html", "--help")[1]
