"""``scripts/fuzz``: parse, run, print."""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scripts.fuzzing import Broken, live, races
from scripts.fuzzing.mutation import Mutator
from scripts.fuzzing.targets import NAMES, corpus_of, keep, opened
from scripts.fuzzing.words import WORDS

_CHECKOUT = Path(__file__).resolve().parents[2]
_OTHERS = ("live", "races")


def main() -> int:
    """Run what is asked for, and say in one last line how it went."""
    arguments = _parser().parse_args()
    if arguments.list:
        print("\n".join((*NAMES, *_OTHERS)))
        return 0
    if arguments.target in _OTHERS:
        return _other(arguments)
    targets = [arguments.target] if arguments.target else list(NAMES)
    unknown = sorted(set(targets) - set(NAMES))
    if unknown:
        print(f"fuzz: no target is called {unknown[0]}; see --list", file=sys.stderr)
        return 2
    engine = _guided if arguments.engine == "atheris" else _plain
    return max(engine(name, arguments) for name in targets)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/fuzz", description="Inputs that nobody would send, for what reads some."
    )
    parser.add_argument("target", nargs="?", help="default: each, `live` and `races` aside")
    parser.add_argument("--list", action="store_true", help="name the targets and end")
    parser.add_argument("--seconds", type=float, default=10, help="for each (default: 10)")
    parser.add_argument(
        "--engine",
        choices=["atheris", "plain"],
        default="atheris" if importlib.util.find_spec("atheris") else "plain",
        help="default: atheris, where it is installed",
    )
    parser.add_argument("--keep", action="store_true", help="keep what reaches most as the corpus")
    parser.add_argument("--seed", type=int, default=1, help="default: 1")
    parser.add_argument("--lines", type=int, default=100_000, help="of `live` (default: 100000)")
    parser.add_argument("--tries", type=int, default=100_000, help="of `races` (default: 100000)")
    parser.add_argument("--connections", type=int, default=8, help="of `live` (default: 8)")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="of `live` and `races`: the result"
    )
    return parser


def _plain(name: str, arguments: argparse.Namespace) -> int:
    known = list(corpus_of(name).values()) or [b""]
    mutator = Mutator(f"{arguments.seed} {name}", WORDS)
    seen: list[bytes] = []
    deadline = time.monotonic() + arguments.seconds
    tried = 0
    with opened(name) as target:
        while time.monotonic() < deadline:
            data = mutator.make(known)
            tried += 1
            try:
                target(data)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a defect
                return _defect(name, data, error)
            if tried % 100 == 0:
                seen.append(data)
        if arguments.keep:
            keep(name, target, seen)
    print(f"fuzz: {name}: ok, {tried} inputs in {arguments.seconds:.0f} s")
    return 0


def _defect(name: str, data: bytes, error: Exception) -> int:
    place = Path(tempfile.mkdtemp(prefix="vpopsql-fuzz-")) / name
    place.write_bytes(data)
    kind = "" if isinstance(error, Broken) else f"{type(error).__name__}: "
    print(f"fuzz: {name}: DEFECT: {kind}{error}\n(the input is {place})")
    return 1


def _guided(name: str, arguments: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="vpopsql-fuzz-") as directory:
        found, words = Path(directory) / "found", Path(directory) / "words"
        found.mkdir()
        for file, data in corpus_of(name).items():
            (found / file).write_bytes(data)
        words.write_text("".join(f'"{_quoted(word)}"\n' for word in WORDS))
        done = subprocess.run(
            [
                *(sys.executable, "-m", "scripts.fuzzing.guided", name, str(found)),
                *(f"-max_total_time={arguments.seconds:.0f}", f"-dict={words}"),
                *(f"-seed={arguments.seed}", f"-artifact_prefix={directory}/", "-max_len=2048"),
            ],
            cwd=_CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        said = done.stdout.decode(errors="replace").splitlines()
        if done.returncode:
            artifacts = sorted(Path(directory).glob("crash-*"))
            data = artifacts[0].read_bytes() if artifacts else b""
            print("\n".join(said[-40:]))
            return _defect(name, data, Broken("see above"))
        inputs = [file.read_bytes() for file in found.iterdir()]
        kept = ""
        if arguments.keep:
            with opened(name) as target:
                kept = f", {keep(name, target, inputs)} kept"
    runs = next((line for line in reversed(said) if line.startswith("Done ")), "Done")
    print(f"fuzz: {name}: ok, {runs[5:] or 'done'}{kept}")
    return 0


def _quoted(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def _other(arguments: argparse.Namespace) -> int:
    name = arguments.target
    try:
        if name == "races":
            result = {
                **races.run(arguments.tries),
                "commands": races.run_commands(arguments.tries),
            }
        else:
            result = live.run(
                arguments.lines, arguments.seconds, arguments.connections, arguments.seed
            )
    except Broken as error:
        print(f"fuzz: {name}: DEFECT: {error}")
        return 1
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    print(f"fuzz: {name}: ok: {json.dumps(result)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
