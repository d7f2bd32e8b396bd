"""All targets by name, the inputs that are kept for each, and which of many are worth keeping."""

import contextlib
import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from scripts.fuzzing import CORPUS
from scripts.fuzzing.grammars import GRAMMARS
from scripts.fuzzing.stages import STAGES

Target = Callable[[bytes], None]

NAMES = (*GRAMMARS, *STAGES)

KEPT_MAX = 24
"""Inputs that are kept of a target."""
INPUT_MAX = 2048
"""Bytes of one."""

_PACKAGE = f"{Path(__file__).resolve().parents[2] / 'vpopsql'}/"


@contextlib.contextmanager
def opened(name: str) -> Iterator[Target]:
    """Give a target; what it needs is there until the block ends."""
    if name in GRAMMARS:
        yield GRAMMARS[name]
        return
    with STAGES[name]() as target:
        yield target


def corpus_of(name: str) -> dict[str, bytes]:
    """Return the inputs that are kept for a target, by the name of their file."""
    directory = CORPUS / name
    files = sorted(directory.iterdir()) if directory.is_dir() else []
    return {file.name: file.read_bytes() for file in files}


def keep(name: str, target: Target, inputs: Iterable[bytes]) -> int:
    """Keep those of ``inputs`` and of the corpus that reach most, the smallest of them.

    :returns: how many are kept.
    """
    known = {*corpus_of(name).values(), *inputs}
    reached: set[Any] = set()
    chosen: list[bytes] = []
    for data in sorted(known, key=lambda each: (len(each), each)):
        if len(data) > INPUT_MAX or len(chosen) >= KEPT_MAX:
            break
        found = _reach(target, data)
        if not found <= reached:
            reached |= found
            chosen.append(data)
    directory = CORPUS / name
    directory.mkdir(parents=True, exist_ok=True)
    for file in directory.iterdir():
        file.unlink()
    for data in chosen:
        (directory / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    return len(chosen)


def _reach(target: Target, data: bytes) -> set[Any]:
    """Return the steps from line to line, within vpopsql, that an input leads through."""
    steps: set[Any] = set()

    def trace(frame: FrameType, event: str, _argument: object) -> Any:  # noqa: ANN401
        file = frame.f_code.co_filename
        if not file.startswith(_PACKAGE):
            return None
        last = frame.f_lineno

        def lines(frame: FrameType, event: str, _argument: object) -> Any:  # noqa: ANN401
            nonlocal last
            if event == "line":
                steps.add((file, last, frame.f_lineno))
                last = frame.f_lineno
            return lines

        return lines if event == "call" else None

    sys.settrace(trace)
    try:
        target(data)
    finally:
        sys.settrace(None)
    return steps
