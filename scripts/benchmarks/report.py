"""What came out, as a table for people and as JSON."""

import datetime as dt
import os
import platform
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from scripts.benchmarks.reference import c_in_m
from scripts.benchmarks.stage import Options, Run
from scripts.benchmarks.workloads import Unit, Workload
from vpopsql import __version__

STUB = "stub"
"""What stands for the database where only the driver is measured."""

_MILLI = 1e-3


@dataclass(frozen=True, slots=True)
class Result:
    """One workload on one database: the medians of its runs."""

    workload: str
    database: str
    unit: Unit
    value: float
    """Steps a second, or seconds."""
    in_m: float
    """The same in M: a rate divided by it, a time multiplied by it."""
    m_per_second: float
    c_in_m: float | None
    """What the C daemon did, where that was measured at this size."""
    ratio: float | None
    """Above 1 we are faster than the C daemon."""
    p50_ms: float
    """Of all steps of all runs."""
    p99_ms: float
    steps: int
    items_per_second: float | None
    """Mailboxes a second, of what handles a whole site."""
    runs: list[float]


def summarise(workload: Workload, database: str, options: Options, runs: Sequence[Run]) -> Result:
    """Return the result of the ``runs`` of a workload."""
    is_rate = workload.unit is Unit.PER_SECOND
    value = statistics.median(run.value for run in runs)
    in_m = statistics.median(run.value / run.m if is_rate else run.value * run.m for run in runs)
    theirs = None if database == STUB else c_in_m(workload.name, workload.size(options))
    latencies_ms = sorted(latency / _MILLI for run in runs for latency in run.latencies_s)
    return Result(
        workload=workload.name,
        database=database,
        unit=workload.unit,
        value=value,
        in_m=in_m,
        m_per_second=statistics.median(run.m for run in runs),
        c_in_m=theirs,
        ratio=None if theirs is None else in_m / theirs if is_rate else theirs / in_m,
        p50_ms=_percentile(latencies_ms, 50),
        p99_ms=_percentile(latencies_ms, 99),
        steps=len(latencies_ms),
        items_per_second=options.users / value if workload.is_bulk else None,
        runs=[run.value for run in runs],
    )


def document(options: Options, results: Sequence[Result]) -> dict[str, object]:
    """Return everything about a run, fit for JSON."""
    return {
        "format": 1,
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "vpopsql": __version__,
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "system": platform.system(),
            "load_average": os.getloadavg()[0],
        },
        "options": asdict(options),
        "results": [asdict(result) for result in results],
    }


def table(results: Sequence[Result]) -> Iterator[str]:
    """Give the lines of a Markdown table."""
    header = (
        *("workload", "database", "ours", "p50 ms", "p99 ms"),
        *("ours in M", "C cdb in M", "ratio"),
    )
    rows = [header, *map(_row, results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    for number, row in enumerate(rows):
        yield _line(row, widths)
        if number == 0:
            rules = [
                "-" * width if i < _WORDS else "-" * (width - 1) + ":"
                for i, width in enumerate(widths)
            ]
            yield f"| {' | '.join(rules)} |"


_WORDS = 2  # columns of words; the others are figures


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (
        text.ljust(width) if column < _WORDS else text.rjust(width)
        for column, (text, width) in enumerate(zip(row, widths, strict=True))
    )
    return f"| {' | '.join(cells)} |"


def _row(result: Result) -> tuple[str, ...]:
    return (
        result.workload,
        result.database,
        absolute(result),
        _figure(result.p50_ms),
        _figure(result.p99_ms),
        _figure(result.in_m),
        "" if result.c_in_m is None else _figure(result.c_in_m),
        "" if result.ratio is None else _figure(result.ratio),
    )


def absolute(result: Result) -> str:
    """Return what we did, in units of this machine."""
    if result.unit is Unit.PER_SECOND:
        return f"{_figure(result.value)} /s"
    if result.items_per_second is not None:
        return f"{_figure(result.value)} s ({_figure(result.items_per_second)} mailboxes/s)"
    return (
        f"{_figure(result.value)} s"
        if result.value >= 1
        else f"{_figure(result.value / _MILLI)} ms"
    )


def _figure(value: float) -> str:
    """Return three significant digits, with thousands set off."""
    if not value:
        return "0"
    digits = 3 - len(str(int(abs(value)))) if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}" if digits > 0 else f"{round(value, digits):,.0f}"


def _percentile(ordered: Sequence[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
