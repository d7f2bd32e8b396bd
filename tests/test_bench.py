"""scripts/bench does what it says, in the small; what it measures is nobody's business here."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# One worker makes the tiny run for all of them.
pytestmark = pytest.mark.xdist_group("bench")

CHECKOUT = Path(__file__).parents[1]

FIGURES = {"value", "in_m", "m_per_second", "p50_ms", "p99_ms"}


def bench(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "scripts.benchmarks", *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def names(listing: str) -> list[str]:
    return [line.split()[0] for line in listing.splitlines()]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What a tiny run of everything on SQLite printed, and its JSON."""
    file = tmp_path_factory.mktemp("bench") / "bench.json"
    size = ("--users", "50", "--domains", "60")
    effort = ("--repeat", "1", "--seconds", "0.05")

    done = bench("--database", "sqlite", *size, *effort, "--json", file)

    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(file.read_text())


@pytest.mark.slow
def test_every_workload_is_measured_once_on_the_database(
    small: tuple[str, dict[str, Any]],
) -> None:
    _, document = small

    measured = [row["workload"] for row in document["results"] if row["database"] == "sqlite"]

    assert measured == names(bench("--list").stdout)


@pytest.mark.slow
def test_the_json_says_what_was_measured_and_how(small: tuple[str, dict[str, Any]]) -> None:
    _, document = small

    assert document["format"] == 1
    assert document["options"] == {"users": 50, "domains": 60, "repeat": 1, "seconds": 0.05}
    assert {row["database"] for row in document["results"]} == {"stub", "sqlite"}
    assert {row["unit"] for row in document["results"]} == {"per_second", "seconds"}
    assert all(row[figure] > 0 for row in document["results"] for figure in FIGURES)
    assert all(len(row["runs"]) == 1 for row in document["results"])


@pytest.mark.slow
def test_it_stands_beside_the_c_daemon_only_at_a_size_at_which_that_was_measured(
    small: tuple[str, dict[str, Any]],
) -> None:
    _, document = small

    compared = {row["workload"] for row in document["results"] if row["ratio"] is not None}

    # A login takes as long on a site of any size; the others were measured with more users.
    assert compared == {f"login-{kind}-{n}" for kind in ("md5", "sha512") for n in (1, 8, 32)}


@pytest.mark.slow
def test_the_table_has_a_line_for_each_result(small: tuple[str, dict[str, Any]]) -> None:
    printed, document = small

    rows = [line for line in printed.splitlines() if line.startswith("|")]

    assert len(rows) == 2 + len(document["results"])
    assert len({len(row) for row in rows}) == 1


def test_one_workload_is_chosen_by_its_name_or_a_pattern() -> None:
    assert names(bench("--list", "--only", "user_info").stdout) == ["user_info"]
    assert len(names(bench("--list", "--only", "login-*").stdout)) == 6


def test_an_unknown_workload_is_refused() -> None:
    done = bench("--only", "nonsense")

    assert done.returncode == 2
    assert "no workload is called nonsense" in done.stdout


def test_the_script_finds_its_environment() -> None:
    done = subprocess.run(
        [CHECKOUT / "scripts" / "bench", "--help"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "--only" in done.stdout


@pytest.mark.slow
def test_exports_are_measured_beside_our_own_writer(tmp_path: Path) -> None:
    file = tmp_path / "exports.json"
    small = ("--domains", "60", "--lines", "150", "--repeat", "1", "--json", file)

    done = subprocess.run(
        [sys.executable, "-m", "scripts.benchmarks.exports", *small],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    measured = [row["what"] for row in json.loads(file.read_text())]
    assert measured == ["export", "our writer", "one mailbox", "one domain"]
    assert done.stdout.endswith("bench_export: ok: 4 rows, each the median of 1\n")


@pytest.mark.slow
def test_reports_are_timed_on_a_site_with_a_past(tmp_path: Path) -> None:
    size = ("--domains", "20", "--mailboxes", "200", "--repeat", "1", "--database", "sqlite")
    wanted = ("--only", "over-quota", "--only", "changes", "--json", tmp_path / "reports.json")

    done = subprocess.run(
        [sys.executable, "-m", "scripts.benchmarks.reports", *size, *wanted],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "reports.json").read_text())
    assert [row["report"] for row in results] == ["over-quota", "changes"]
    assert all(0 < row["first_s"] <= row["all_s"] and row["rows"] > 0 for row in results)
