"""``scripts/soak``: parse, run, print."""

import argparse
import json
import resource
import shutil
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from scripts.soaking.flatness import table
from scripts.soaking.run import Options, Result, run

_OTHER_DESCRIPTORS = 200
_SHARE_MIN = 0.1
"""Steps a second of one client at least: the daemon lets go of those who are silent for long."""


def main() -> int:
    """Carry out a run and say in one last line how it went."""
    parser = _parser()
    arguments = parser.parse_args()
    options = Options(
        database=arguments.database,
        seconds=arguments.seconds,
        rate=arguments.rate,
        busy=arguments.busy,
        idle=arguments.idle,
        every_s=arguments.every,
        memory_percent=arguments.memory_percent,
        seed=arguments.seed,
    )
    if options.rate < options.busy * _SHARE_MIN:
        parser.error(f"--rate must be {options.busy * _SHARE_MIN:g} at least for --busy")
    _allow_descriptors(options.idle + options.busy + _OTHER_DESCRIPTORS)
    signal.signal(signal.SIGTERM, _interrupt)
    directory = Path(tempfile.mkdtemp(prefix="vpopsql-soak-"))
    keep = False
    try:
        result = run(options, directory, _say)
        keep = not result.is_good
    except KeyboardInterrupt:
        print("soak: stopped", file=sys.stderr)
        return 130
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(_document(options, result), indent=2) + "\n")
    print("\n".join([*_told(result), *table(result.rows)]))
    how = f"{options.seconds:.0f} s on {options.database}, {_load(result)}"
    if not result.is_good:
        print(f"soak: DEFECT in {how}: {result.defect or 'it grows'}\n(see {directory})")
        return 1
    print(f"soak: ok: {how}; every answer was right, and nothing grew")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/soak",
        description="A gentle load for long, under which nothing of the daemon may grow.",
    )
    usual = Options()
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default=usual.database)
    for name, kind, purpose in (
        ("seconds", float, "how long, rests aside"),
        ("rate", float, "steps a second of all clients together"),
        ("busy", int, "clients that change what is theirs"),
        ("idle", int, "connections that say nothing"),
        ("seed", int, "decides what clients do"),
    ):
        default = getattr(usual, name)
        parser.add_argument(
            f"--{name}", type=kind, default=default, help=f"{purpose} (default: {default:g})"
        )
    parser.add_argument(
        "--every", type=float, default=usual.every_s, help="seconds between samples (default: 10)"
    )
    parser.add_argument(
        "--memory-percent",
        type=float,
        default=usual.memory_percent,
        help="how much more memory is still called flat (default: 5)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    return parser


def _allow_descriptors(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


def _told(result: Result) -> list[str]:
    counts = ", ".join(f"{number} {what}" for what, number in sorted(result.counts.items()))
    return [f"counted  {counts}", f"slowest  {result.slowest_s:.1f} s", ""]


def _load(result: Result) -> str:
    """Return what the run has cost, the first sample aside."""
    if len(result.samples) < 2:  # noqa: PLR2004 - a difference
        return "no load"
    first, last = result.samples[0], result.samples[-1]
    seconds = last["at_s"] - first["at_s"]
    daemon, load = (
        (last[f"{who}_cpu_s"] - first[f"{who}_cpu_s"]) / seconds for who in ("daemon", "load")
    )
    rate = (last["steps"] - first["steps"]) / seconds
    return f"{rate:.0f} steps/s, {daemon:.0%} of a processor (and {load:.0%} for the load)"


def _document(options: Options, result: Result) -> dict[str, Any]:
    return {
        "format": 1,
        "options": asdict(options),
        "samples": result.samples,
        "rests": result.rests,
        "counts": result.counts,
        "slowest_s": round(result.slowest_s, 2),
        "rows": [{**asdict(row), "is_flat": row.is_flat} for row in result.rows],
        "defect": result.defect,
    }


def _say(text: str) -> None:
    print(f"soak: {text}", file=sys.stderr, flush=True)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
