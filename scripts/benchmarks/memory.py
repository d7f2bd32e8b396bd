"""How much memory and time processes take, their child processes included, seen from outside.

Pages that processes share count once: it is the sum of their PSS, which the kernel works out.
"""

import os
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_EVERY_S = 0.1
_KIB = 1024


class MemorySampler:
    """Watches a process and its descendants while the block runs.

    :ivar peak: the most bytes that all of them had at once.
    :ivar peak_alone: the most that the process itself had.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak = self.peak_alone = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(_EVERY_S):
            self.peak_alone = max(self.peak_alone, _pss(self._pid))
            self.peak = max(self.peak, memory_of(self._pid))


def memory_of(pid: int) -> int:
    """Return the bytes that a process and its descendants have at the moment."""
    return sum(map(_pss, (pid, *descendants_of(pid))))


def processor_time_of(pid: int) -> float:
    """Return the seconds that processors have worked for a process and its descendants.

    To a hundredth of a second, as the kernel counts it; of descendants that ended, nothing.
    """
    return sum(map(_ticks, (pid, *descendants_of(pid)))) / os.sysconf("SC_CLK_TCK")


def descendants_of(pid: int) -> list[int]:
    """Return the processes that a process, or one of these, has started."""
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # it has ended
            found += map(int, children.read_text().split())
    return found + [each for child in found for each in descendants_of(child)]


def _ticks(pid: int) -> int:
    with suppress(OSError):  # it has ended
        # The name, in parentheses, may have blanks and parentheses.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])
    return 0


def _pss(pid: int) -> int:
    with suppress(OSError):  # it has ended
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * _KIB
    return 0
