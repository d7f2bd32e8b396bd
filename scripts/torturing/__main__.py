"""``scripts/torture``: parse, run, print."""

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from scripts.torturing import TortureFailed
from scripts.torturing.run import Options, Result, run


def main() -> int:
    """Carry out a run and say in one last line how it went."""
    arguments = _parser().parse_args()
    options = Options(arguments.database, arguments.kills, arguments.seed, arguments.clients)
    signal.signal(signal.SIGTERM, _interrupt)
    directory = Path(tempfile.mkdtemp(prefix="vpopsql-torture-"))
    keep = False
    try:
        result = run(options, directory, _say)
        keep = result.defect is not None
    except TortureFailed as error:
        print(f"torture: FAILED: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("torture: stopped", file=sys.stderr)
        return 130
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)
    print("\n".join(_table(result)))
    if arguments.json:
        arguments.json.write_text(json.dumps(_document(options, result), indent=2) + "\n")
    how = f"{result.killed} kills on {options.database} with seed {options.seed}"
    if result.defect:
        print(f"torture: DEFECT after {how}: {result.defect}\n(see {directory})")
        return 1
    print(f"torture: ok: {how} in {result.seconds:.0f} s, nothing was lost")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/torture",
        description="Kill processes while clients change a site, and look for what was lost.",
    )
    parser.add_argument(
        "--database", choices=["sqlite", "postgresql"], default="sqlite", help="default: sqlite"
    )
    parser.add_argument("--kills", type=int, default=100, help="default: 100")
    parser.add_argument(
        "--seed",
        type=int,
        default=random.SystemRandom().randrange(10**6),
        help="decides what clients do and who is killed when; default: another one each time",
    )
    parser.add_argument("--clients", type=int, default=4, help="default: 4")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    return parser


def _table(result: Result) -> list[str]:
    told = result.told
    return [
        f"kills       {_counted(result.kills)}",
        f"answers     {_counted(told.answers)}",
        f"carried out {_counted(told.verbs)}",
        f"unanswered  {result.open_done} had been carried out, {result.open_undone} had not",
        f"looked      {result.checks} times, at {result.files_read} files",
        f"rcpthosts   {result.rcpthosts} versions, whole in all of {result.rcpthosts_reads} reads",
        f"verify      has mended {_counted(result.mended) or 'nothing'}",
    ]


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(counts.items()))


def _document(options: Options, result: Result) -> dict[str, Any]:
    return {
        "format": 1,
        "database": options.database,
        "seed": options.seed,
        "clients": options.clients,
        "seconds": round(result.seconds, 1),
        "kills": dict(result.kills),
        "answers": dict(result.told.answers),
        "carried_out": dict(result.told.verbs),
        "unanswered": {"carried_out": result.open_done, "not": result.open_undone},
        "checks": result.checks,
        "files_read": result.files_read,
        "rcpthosts_versions": result.rcpthosts,
        "rcpthosts_reads": result.rcpthosts_reads,
        "mended": dict(result.mended),
        "defect": result.defect,
    }


def _say(text: str) -> None:
    print(f"torture: {text}", file=sys.stderr, flush=True)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
