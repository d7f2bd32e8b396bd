"""scripts/bench does what it says, in the small; what it measures is nobody's business here."""

import itertools
import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from scripts.benchmarks.guard import Guard, losses, read_guard, save_guard
from scripts.benchmarks.reference import C_IN_M
from scripts.benchmarks.report import Result
from scripts.benchmarks.stage import Options
from scripts.benchmarks.workloads import WORKLOADS

# One worker makes the tiny run for all of them.
pytestmark = pytest.mark.xdist_group("bench")

CHECKOUT = Path(__file__).parents[1]

FIGURES = {"value", "in_m", "m_per_second", "p50_ms", "p99_ms"}

MEASURED = (
    "export",
    "login-md5-[18]",
    "login-md5-new-8",
    "user_info",
    "list_users-*",
    "add_user-0",
    "floor-add_user-0",
)
"""A workload of each kind; all of them take minutes."""


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
    """What a tiny run on SQLite printed, and its JSON."""
    file = tmp_path_factory.mktemp("bench") / "bench.json"
    size = ("--users", "50", "--domains", "60")
    effort = ("--repeat", "1", "--seconds", "0.05")

    which = itertools.chain(*(("--only", each) for each in (*MEASURED, "memory-idle")))

    done = bench("--database", "sqlite", *which, *size, *effort, "--json", file, "--cold")

    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(file.read_text())


@pytest.mark.slow
def test_every_chosen_workload_is_measured_once_on_the_database(
    small: tuple[str, dict[str, Any]],
) -> None:
    _, document = small

    measured = [row["workload"] for row in document["results"] if row["database"] == "sqlite"]

    assert measured == [
        *("export", "login-md5-1", "login-md5-8", "login-md5-new-8", "user_info"),
        *("list_users-expanded", "list_users-compact", "list_users-last-page"),
        *("add_user-0", "floor-add_user-0", "memory-idle"),
    ]


@pytest.mark.slow
def test_the_json_says_what_was_measured_and_how(small: tuple[str, dict[str, Any]]) -> None:
    _, document = small

    rows = document["results"]
    timed = [row for row in rows if row["unit"] != "bytes"]
    assert document["format"] == 2
    assert document["options"] == {
        "users": 50,
        "domains": 60,
        "repeat": 1,
        "seconds": 0.05,
        "mailboxes": 1_000_000,
        "cold": True,
    }
    assert {row["database"] for row in rows} == {"stub", "sqlite"}
    assert {row["unit"] for row in rows} == {"per_second", "seconds", "bytes"}
    assert all(row[figure] > 0 for row in timed for figure in FIGURES)
    assert all(len(row["runs"]) == 1 and row["value"] > 0 for row in rows)
    cold = {row["workload"] for row in rows if row["cold_ms"]}
    assert cold >= {"login-md5-1", "user_info", "list_users-compact"}


@pytest.mark.slow
def test_it_stands_beside_the_c_daemon_only_at_a_size_at_which_that_was_measured(
    small: tuple[str, dict[str, Any]],
) -> None:
    _, document = small

    compared = {row["workload"] for row in document["results"] if row["ratio"] is not None}

    # These do not depend on the size of the site; the others were measured with more users.
    assert compared == {
        *("login-md5-1", "login-md5-8", "login-md5-new-8"),
        *("add_user-0", "floor-add_user-0"),
    }


@pytest.mark.slow
def test_the_table_has_a_line_for_each_result(small: tuple[str, dict[str, Any]]) -> None:
    printed, document = small

    rows = [line for line in printed.splitlines() if line.startswith("|")]

    assert len(rows) == 2 + len(document["results"])
    assert len({len(row) for row in rows}) == 1


def test_one_workload_is_chosen_by_its_name_or_a_pattern() -> None:
    assert names(bench("--list", "--only", "user_info").stdout) == ["user_info"]
    assert len(names(bench("--list", "--only", "login-*").stdout)) == 10


def test_what_takes_minutes_to_make_is_measured_only_when_asked_for() -> None:
    usual, all_ = names(bench("--list").stdout), names(bench("--list", "--large").stdout)

    assert {name.partition("-")[0] for name in set(all_) - set(usual)} == {"small", "large"}
    assert set(usual) < set(all_)


def test_the_workloads_have_different_names_and_every_figure_of_the_c_daemon_is_used() -> None:
    used = {each.c_name or each.name for each in WORKLOADS}

    assert len({each.name for each in WORKLOADS}) == len(WORKLOADS)
    assert set(C_IN_M) - used == set()


def test_the_guard_knows_the_workloads_that_it_guards() -> None:
    assert read_guard().workloads <= {each.name for each in WORKLOADS}


def result(cpu_hashes: float | None) -> Result:
    row: dict[str, Any] = dict.fromkeys(field.name for field in fields(Result))
    row |= {"workload": "user_info", "database": "sqlite", "cpu_hashes": cpu_hashes}
    return Result(**row)


@pytest.mark.parametrize("now, lost", [(0.5, 0), (0.64, 0), (0.66, 1), (None, 0)])
def test_the_guard_allows_a_third_more_and_no_more(now: float | None, lost: int) -> None:
    guard = Guard(users=50, domains=60, cpu_hashes={"user_info": {"sqlite": 0.5}})
    options = Options(50, 60, 1, 0.05, 1000, cold=False)

    found = list(losses(guard, options, [result(now)]))

    assert len(found) == lost


def test_the_guard_compares_nothing_with_sites_of_other_sizes() -> None:
    guard = Guard(users=50, domains=60, cpu_hashes={"user_info": {"sqlite": 0.5}})
    options = Options(51, 60, 1, 0.05, 1000, cold=False)

    (found,) = losses(guard, options, [result(0.5)])

    assert "other sizes than 50 users" in found


def test_what_was_written_down_is_what_is_guarded(tmp_path: Path) -> None:
    options = Options(50, 60, 1, 0.05, 1000, cold=False)
    save_guard(options, [result(0.5), result(None)], tmp_path / "guard.json")

    found = read_guard(tmp_path / "guard.json")

    assert found == Guard(users=50, domains=60, cpu_hashes={"user_info": {"sqlite": 0.5}})


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
