"""``scripts/bench``: parse, run, print."""

import argparse
import fnmatch
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from scripts.benchmarks import BenchFailed
from scripts.benchmarks.databases import BACKENDS
from scripts.benchmarks.guard import GUARD, Guard, losses, read_guard, save_guard
from scripts.benchmarks.report import STUB, Result, absolute, document, summarise, table
from scripts.benchmarks.stage import DatabaseStage, Options, Sites, StubStage
from scripts.benchmarks.workload import Workload
from scripts.benchmarks.workloads import WORKLOADS
from scripts.benchmarks.yardstick import measure
from scripts.libcrypt import NoCrypt

_BUSY = 0.5
"""Load average from which on others get in our way; M makes up for a part of it only."""


def main() -> int:
    """Run the benchmarks and say in one last line how it went."""
    arguments = _parser().parse_args()
    guard = read_guard() if arguments.guard else None
    workloads = _chosen(arguments.only, guard, with_large=arguments.large)
    if arguments.list:
        for workload in workloads:
            print(f"{workload.name:30}{workload.what}")
        return 0
    if not workloads:
        print(f"bench: no workload is called {' or '.join(arguments.only)}; see --list")
        return 2
    if (load := os.getloadavg()[0]) > _BUSY:
        _say(f"the load average is {load:.1f}: figures of a busy machine compare badly")
    options = Options(
        users=arguments.users,
        domains=arguments.domains,
        repeat=arguments.repeat,
        seconds=arguments.seconds,
        mailboxes=arguments.mailboxes,
        cold=arguments.cold,
    )
    databases = list(BACKENDS) if arguments.database == "both" else [arguments.database]
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        results = list(_run(options, databases, workloads))
    except (BenchFailed, NoCrypt) as error:
        print(f"bench: FAILED: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: stopped", file=sys.stderr)
        return 130
    return _finish(arguments, options, results, guard)


def _finish(
    arguments: argparse.Namespace,
    options: Options,
    results: Sequence[Result],
    guard: Guard | None,
) -> int:
    """Print and write what came out; compare it with what is guarded."""
    print("\n".join(table(results)))
    if arguments.json:
        arguments.json.write_text(json.dumps(document(options, results), indent=2) + "\n")
    if arguments.save_guard:
        save_guard(options, results)
    lost = list(losses(guard, options, results)) if guard else []
    for line in lost:
        print(f"bench: LOST: {line}")
    if lost:
        print(f"bench: FAILED: {len(lost)} of {len(results)} rows have lost")
        return 1
    print(f"bench: ok: {len(results)} rows, each the median of {options.repeat}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure vpopsql beside the C daemon; see docs/performance.md.",
    )
    parser.add_argument("--list", action="store_true", help="name the workloads and end")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="WORKLOAD",
        help="run only this one; may be a pattern such as 'login-*', may be given again",
    )
    parser.add_argument(
        "--database", choices=[*BACKENDS, "both"], default="both", help="default: both"
    )
    parser.add_argument("--users", type=_at_least_two, default=10_000, help="default: 10000")
    parser.add_argument("--domains", type=_at_least_two, default=10_000, help="default: 10000")
    parser.add_argument(
        "--repeat", type=int, default=5, help="runs of which the median counts (default: 5)"
    )
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="length of a run over the wire (default: 1)"
    )
    parser.add_argument(
        "--cold", action="store_true", help="also time the first step after a start of the daemon"
    )
    parser.add_argument(
        "--large",
        action="store_true",
        help="also compare commands on a small and a large site that are made up; takes minutes",
    )
    parser.add_argument(
        "--mailboxes", type=_at_least_two, default=1_000_000, help="of the large one (1000000)"
    )
    parser.add_argument(
        "--guard",
        action="store_true",
        help=f"fail if what is in {GUARD.name} has lost more than a third; runs that alone",
    )
    parser.add_argument(
        "--save-guard", action="store_true", help=f"write the rows of {GUARD.name} anew"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there too")
    return parser


def _at_least_two(text: str) -> int:
    number = int(text)
    if number < 2:  # noqa: PLR2004 - a postmaster and a user
        raise argparse.ArgumentTypeError("at least 2")
    return number


def _chosen(patterns: Sequence[str], guard: Guard | None, *, with_large: bool) -> list[Workload]:
    """Return what was asked for, otherwise what is guarded, otherwise all."""
    if patterns:
        return [
            each
            for each in WORKLOADS
            if any(fnmatch.fnmatchcase(each.name, pattern) for pattern in patterns)
        ]
    if guard:
        return [each for each in WORKLOADS if each.name in guard.workloads]
    return [each for each in WORKLOADS if with_large or not each.is_large]


def _run(
    options: Options, databases: Sequence[str], workloads: Sequence[Workload]
) -> Iterator[Result]:
    with tempfile.TemporaryDirectory(prefix="vpopsql-bench-") as name:
        scratch = Path(name)
        sites = Sites(scratch, options)
        _say(f"M = {measure(1).m:,.0f} MD5-crypt verifications a second")
        yield from _run_stub(options, sites, workloads)
        for database in databases:
            with (
                BACKENDS[database](scratch / database) as backend,
                DatabaseStage(options, sites, backend, scratch / f"{database}-daemons") as stage,
            ):
                values: dict[str, float] = {}
                for workload in workloads:
                    runs = workload.run(stage)
                    cold = workload.cold if options.cold else None
                    result = summarise(
                        workload,
                        database,
                        options,
                        runs,
                        cold_s=cold(stage) if cold else (),
                        base=values.get(workload.base),
                    )
                    values[workload.name] = result.value
                    _say(f"{workload.name} on {database}: {absolute(result)}")
                    yield result


def _run_stub(options: Options, sites: Sites, workloads: Sequence[Workload]) -> Iterator[Result]:
    with StubStage(options, sites) as stage:
        for workload in workloads:
            if workload.on_stub is not None:
                result = summarise(workload, STUB, options, workload.on_stub(stage))
                _say(f"{workload.name} on the stub: {absolute(result)}")
                yield result


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
