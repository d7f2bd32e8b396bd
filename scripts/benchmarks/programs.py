"""The program itself: one command run to its end, and a daemon while it is needed."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmarks import BenchFailed
from scripts.benchmarks.memory import MemorySampler

CHECKOUT = Path(__file__).resolve().parents[2]

_VPOPSQL = (sys.executable, "-c", "from vpopsql.cli import main; main()")
_DONE, _DONE_WITH_WARNINGS = 0, 1
_START_TIMEOUT_S = 30
_STOP_TIMEOUT_S = 15


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process with these settings of vpopsql and no others.

    :param settings: without the prefix: ``DATABASE_URL``, ``DAEMON_LISTEN``.
    """
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("VPOPSQL_")}
    ours = {f"VPOPSQL_{name}": value for name, value in settings.items()}
    return inherited | ours | {"PYTHONPATH": str(CHECKOUT)}


def run(settings: Mapping[str, str], *arguments: str | Path) -> float:
    """Run ``vpopsql ARGUMENTS`` and return how long it took, its start included, in seconds.

    :raises BenchFailed: it did not end well.
    """
    return run_watched(settings, *arguments).seconds


@dataclass(frozen=True, slots=True)
class Usage:
    """What a command took; memory in bytes, see `MemorySampler`."""

    seconds: float
    peak: int
    peak_alone: int


def run_watched(settings: Mapping[str, str], *arguments: str | Path) -> Usage:
    """Run ``vpopsql ARGUMENTS`` and return how long it took, and how much memory.

    :raises BenchFailed: it did not end well.
    """
    begin = time.perf_counter()
    process = subprocess.Popen(
        [*_VPOPSQL, *arguments],
        env=environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    with MemorySampler(process.pid) as sampler:
        output, _ = process.communicate()
        seconds = time.perf_counter() - begin
    if process.returncode not in (_DONE, _DONE_WITH_WARNINGS):
        raise BenchFailed(
            f"vpopsql {arguments[0]} ended with {process.returncode}:\n{output[-2000:]}"
        )
    return Usage(seconds, sampler.peak, sampler.peak_alone)


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon that answers."""

    port: int
    pid: int
    """Of its first process; it may have others."""


@contextlib.contextmanager
def daemon(settings: Mapping[str, str], log: Path) -> Iterator[Daemon]:
    """Give a daemon of its own, logging to ``log`` as it would in production."""
    settings = {**settings, "DAEMON_LISTEN": "127.0.0.1:0"}
    with log.open("wb") as stderr:
        process = subprocess.Popen([*_VPOPSQL, "serve"], env=environment(settings), stderr=stderr)
    try:
        yield Daemon(_port(process, log), process.pid)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _port(process: "subprocess.Popen[bytes]", log: Path) -> int:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_bytes().splitlines(keepends=True):
            if line.endswith(b"}\n") and (event := json.loads(line))["event"] == "listening":
                return int(event["port"])
        time.sleep(0.05)
    raise BenchFailed(f"the daemon does not listen:\n{log.read_text(errors='replace')[-2000:]}")
