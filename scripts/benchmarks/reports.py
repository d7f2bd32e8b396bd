"""``scripts/bench_reports``: how soon each report has its first row, and when it has its last.

Measured is the whole program, ``vpopsql report NAME --format jsonl``, its start included, on a
site that is made up with a past: see `scripts.sites.database`. It runs to its end once; the other
runs are for the first row alone.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import make_url

from scripts.benchmarks import BenchFailed
from scripts.benchmarks.databases import BACKENDS
from scripts.benchmarks.programs import environment
from scripts.sites.database import fill
from scripts.sites.synthesis import Size
from vpopsql.db import Database
from vpopsql.reports.registry import REPORTS
from vpopsql.reports.report import Source

_VPOPSQL = (sys.executable, "-c", "from vpopsql.cli import main; main()")
_METRICS = "vpopsql metrics"


@dataclass(frozen=True, slots=True)
class Result:
    """A report on one database, in seconds."""

    report: str
    database: str
    rows: int
    first_s: float
    """To the first row, or to the end if there is none: the median."""
    all_s: float
    """To the last row; once."""
    first_runs_s: list[float]
    cpu_s: float
    """Of the program, for all rows; PostgreSQL's own is not in it."""


def main() -> int:
    """Measure, and print a table."""
    arguments = _parser().parse_args()
    databases = list(BACKENDS) if arguments.database == "both" else [arguments.database]
    results: list[Result] = []
    try:
        with tempfile.TemporaryDirectory(prefix="vpopsql-bench-", dir=arguments.place) as name:
            for database in databases:
                with BACKENDS[database](Path(name) / database) as backend:
                    url = backend.create()
                    _fill(url, Size(arguments.domains, arguments.mailboxes))
                    backend.settle(url)
                    results += _measure(database, url, arguments)
                    backend.drop(url)
    except BenchFailed as error:
        print(f"bench_reports: FAILED: {error}", file=sys.stderr)
        return 1
    print("\n".join(_table(results)))
    if arguments.json:
        document = [asdict(result) for result in results]
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")
    print(f"bench_reports: ok: {len(results)} rows, each the median of {arguments.repeat}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench_reports",
        description="Time every report on a large made-up site.",
    )
    parser.add_argument("--domains", type=int, default=10_000, help="default: 10000")
    parser.add_argument("--mailboxes", type=int, default=100_000, help="default: 100000")
    parser.add_argument("--database", choices=[*BACKENDS, "both"], default="both")
    parser.add_argument("--repeat", type=int, default=3, help="runs; the median counts")
    parser.add_argument("--only", action="append", metavar="REPORT", help="may be given again")
    parser.add_argument(
        "--place", type=Path, metavar="DIRECTORY", help="where the databases are (default: TMPDIR)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there too")
    return parser


def _fill(url: str, size: Size) -> None:
    _say(f"making {size.domains:,} domains with {size.mailboxes:,} mailboxes")
    begin = time.perf_counter()
    database = Database(url)
    try:
        made = fill(database, size)
    finally:
        database.close()
    _say(f"{sum(made.values()):,} rows in {time.perf_counter() - begin:.0f} s")


def _measure(database: str, url: str, arguments: argparse.Namespace) -> Iterator[Result]:
    commands = {
        each.name: ("report", each.name, "--format", "jsonl")
        for each in REPORTS.values()
        if each.source is Source.VIEW
    }
    commands[_METRICS] = ("metrics",)
    for name, command in commands.items():
        if arguments.only and name not in arguments.only:
            continue
        rows, all_s, cpu_s, first = _run(url, command)
        runs = [first, *(_first_row(url, command) for _ in range(arguments.repeat - 1))]
        result = Result(name, database, rows, statistics.median(runs), all_s, runs, cpu_s)
        _say(_row(result))
        yield result


def _start(url: str, command: Sequence[str]) -> "subprocess.Popen[bytes]":
    settings = {"DATABASE_URL": make_url(url).render_as_string(hide_password=False)}
    return subprocess.Popen(
        [*_VPOPSQL, *command],
        env=environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _run(url: str, command: Sequence[str]) -> tuple[int, float, float, float]:
    """Return the number of rows, the seconds for all, those of CPU, and those for the first."""
    begin, used = time.perf_counter(), _cpu_s()
    first, rows = None, 0
    with _start(url, command) as process:
        if process.stdout is None or process.stderr is None:
            raise BenchFailed("no pipe")
        for _ in process.stdout:
            first = first or time.perf_counter() - begin
            rows += 1
        problem = process.stderr.read().decode(errors="replace")
    seconds = time.perf_counter() - begin
    if process.returncode:
        raise BenchFailed(f"{' '.join(command)} ended with {process.returncode}: {problem}")
    return rows, seconds, _cpu_s() - used, first or seconds


def _first_row(url: str, command: Sequence[str]) -> float:
    """Return the seconds to the first row, and let the program go then."""
    begin = time.perf_counter()
    with _start(url, command) as process:
        if process.stdout is None:
            raise BenchFailed("no pipe")
        process.stdout.readline()
        seconds = time.perf_counter() - begin
        process.kill()
    return seconds


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _table(results: Sequence[Result]) -> Iterator[str]:
    yield "| report                    | database   |      rows | first row s |   all s | CPU s |"
    yield "| ------------------------- | ---------- | --------: | ----------: | ------: | ----: |"
    yield from map(_row, results)
    yield f"The load average is {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors."


def _row(result: Result) -> str:
    return (
        f"| {result.report:25} | {result.database:10} | {result.rows:9,} |"
        f" {result.first_s:11.2f} | {result.all_s:7.1f} | {result.cpu_s:5.1f} |"
    )


def _say(text: str) -> None:
    print(f"bench_reports: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
