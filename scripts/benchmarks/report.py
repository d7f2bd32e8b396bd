"""What came out, as a table for people and as JSON."""

import datetime as dt
import os
import platform
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from scripts.benchmarks.reference import InM, c_in_m
from scripts.benchmarks.stage import Options, Run
from scripts.benchmarks.workload import Unit, Workload
from vpopsql import __version__

STUB = "stub"
"""What stands for the database where only the driver is measured."""

_MILLI = 1e-3
_MICRO = 1e-6
_MB = 1e6


@dataclass(frozen=True, slots=True)
class Result:
    """One workload on one database: the medians of its runs."""

    workload: str
    database: str
    unit: Unit
    value: float
    """Steps a second, seconds, or bytes."""
    in_m: float | None
    """The same in M: a rate divided by it, a time multiplied by it; memory has none."""
    m_per_second: float
    cdb_in_m: float | None
    """What the C daemon built for cdb did, where that was measured at this size."""
    mysql_in_m: float | None
    """What it did built for MySQL."""
    ratio: float | None
    """Above 1 we are faster than the better of the two."""
    cpu_us: float | None
    """What processors worked for the daemon, a step, where that was watched."""
    cpu_hashes: float | None
    """The same in MD5-crypt hashes; others at work change it little."""
    growth: float | None
    """How many times as long it takes as on a small site."""
    p50_ms: float | None
    """Of all steps of all runs."""
    p99_ms: float | None
    cold_ms: float | None
    """The first step after a start of the daemon, the median of several starts."""
    steps: int
    items_per_second: float | None
    """Mailboxes a second, of what handles a whole site."""
    runs: list[float]


def summarise(
    workload: Workload,
    database: str,
    options: Options,
    runs: Sequence[Run],
    *,
    cold_s: Sequence[float] = (),
    base: float | None = None,
) -> Result:
    """Return the result of the ``runs`` of a workload.

    :param cold_s: first steps.
    :param base: what the same takes on a small site.
    """
    value = statistics.median(run.measured.value for run in runs)
    theirs = (
        None
        if database == STUB
        else c_in_m(workload.c_name or workload.name, workload.size(options))
    )
    in_m = _in_m(workload.unit, runs)
    latencies_ms = sorted(each / _MILLI for run in runs for each in run.measured.latencies_s)
    used = [(run.measured.cpu_s, run.cpu_m) for run in runs if run.measured.cpu_s is not None]
    return Result(
        workload=workload.name,
        database=database,
        unit=workload.unit,
        value=value,
        in_m=in_m,
        m_per_second=statistics.median(run.m for run in runs),
        cdb_in_m=theirs and theirs.cdb,
        mysql_in_m=theirs and theirs.mysql,
        ratio=None if theirs is None or in_m is None else _ratio(workload.unit, in_m, theirs),
        cpu_us=statistics.median(cpu_s for cpu_s, _ in used) / _MICRO if used else None,
        cpu_hashes=statistics.median(cpu_s * cpu_m for cpu_s, cpu_m in used) if used else None,
        growth=value / base if base else None,
        p50_ms=_percentile(latencies_ms, 50),
        p99_ms=_percentile(latencies_ms, 99),
        cold_ms=statistics.median(cold_s) / _MILLI if cold_s else None,
        steps=len(latencies_ms),
        items_per_second=options.users / value if workload.is_bulk else None,
        runs=[run.measured.value for run in runs],
    )


def _in_m(unit: Unit, runs: Sequence[Run]) -> float | None:
    match unit:
        case Unit.PER_SECOND:
            return statistics.median(run.measured.value / run.m for run in runs)
        case Unit.SECONDS:
            return statistics.median(run.measured.value * run.m for run in runs)
    return None


def _ratio(unit: Unit, ours: float, theirs: InM) -> float:
    return ours / max(theirs) if unit is Unit.PER_SECOND else min(theirs) / ours


def document(options: Options, results: Sequence[Result]) -> dict[str, object]:
    """Return everything about a run, fit for JSON."""
    return {
        "format": 2,
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
        *("workload", "database", "ours", "p50 ms", "p99 ms", "cold ms", "CPU µs"),
        *("in M", "C cdb", "C MySQL", "ratio", "growth"),
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
    figures = (
        *(result.p50_ms, result.p99_ms, result.cold_ms, result.cpu_us),
        *(result.in_m, result.cdb_in_m, result.mysql_in_m, result.ratio, result.growth),
    )
    return (
        result.workload,
        result.database,
        absolute(result),
        *("" if figure is None else _figure(figure) for figure in figures),
    )


def absolute(result: Result) -> str:
    """Return what we did, in units of this machine."""
    if result.unit is Unit.PER_SECOND:
        return f"{_figure(result.value)} /s"
    if result.unit is Unit.BYTES:
        return f"{_figure(result.value / _MB)} MB"
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


def _percentile(ordered: Sequence[float], percent: int) -> float | None:
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
