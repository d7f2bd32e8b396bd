"""M, the unit: MD5-crypt verifications per second of libcrypt on one core of this machine.

libcrypt is called directly, not through vpopsql, so that a change of vpopsql never changes the
unit.
"""

import time
from dataclasses import dataclass

from scripts.libcrypt import crypt

_PASSWORD = b"correct horse"
_SETTING = b"$1$yardstck$"
_BATCH = 20


@dataclass(frozen=True, slots=True)
class Yardstick:
    """M, by two clocks."""

    m: float
    """Verifications a second."""
    cpu_m: float
    """Verifications a second of a processor's time, which others at work change little."""


def measure(seconds: float = 0.1) -> Yardstick:
    """Return M, measured for ``seconds`` on the core that this thread runs on."""
    begin = now = time.perf_counter()
    used = time.thread_time()
    count = 0
    while now - begin < seconds:
        for _ in range(_BATCH):
            crypt(_PASSWORD, _SETTING)
        count += _BATCH
        now = time.perf_counter()
    return Yardstick(count / (now - begin), count / (time.thread_time() - used))
