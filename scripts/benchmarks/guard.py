"""What a change must not lose: figures of one run beside those of an earlier one.

Seconds of two runs do not compare, on machines that others use as well. What is kept is the
processor's time of a step, all of the daemon's processes together, in MD5-crypt hashes by the
processor's own clock: both are measured within a second of each other, and neither counts the time
of others.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmarks.report import Result
from scripts.benchmarks.stage import Options

GUARD = Path(__file__).with_name("guard.json")

LOSS = 0.3
"""How much dearer a step may have become."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What was measured, at which size."""

    users: int
    domains: int
    cpu_hashes: dict[str, dict[str, float]]
    """Of a step, by workload and database."""

    @property
    def workloads(self) -> frozenset[str]:
        """Return the workloads that are guarded."""
        return frozenset(self.cpu_hashes)


def read_guard(path: Path = GUARD) -> Guard:
    """Return what was written down last."""
    return Guard(**json.loads(path.read_text()))


def save_guard(options: Options, results: Sequence[Result], path: Path = GUARD) -> None:
    """Write down what of a run there is to guard."""
    rows: dict[str, dict[str, float]] = {}
    for each in results:
        if each.cpu_hashes:
            rows.setdefault(each.workload, {})[each.database] = round(each.cpu_hashes, 3)
    document = {"users": options.users, "domains": options.domains, "cpu_hashes": rows}
    path.write_text(json.dumps(document, indent=2) + "\n")


def losses(guard: Guard, options: Options, results: Sequence[Result]) -> Iterator[str]:
    """Say what has become dearer, or cannot be compared."""
    if (options.users, options.domains) != (guard.users, guard.domains):
        yield f"the sites have other sizes than {guard.users} users and {guard.domains} domains"
        return
    for each in results:
        before = guard.cpu_hashes.get(each.workload, {}).get(each.database)
        if before and each.cpu_hashes and each.cpu_hashes > before * (1 + LOSS):
            yield (
                f"{each.workload} on {each.database}: a step costs {each.cpu_hashes:.2f} hashes,"
                f" it cost {before:.2f}"
            )
