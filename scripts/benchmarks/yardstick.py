"""M, the unit: MD5-crypt verifications per second of libcrypt on one core of this machine.

libcrypt is called directly, not through vpopsql, so that a change of vpopsql never changes the
unit.
"""

import time

from scripts.libcrypt import crypt

_PASSWORD = b"correct horse"
_SETTING = b"$1$yardstck$"
_BATCH = 20


def measure_m(seconds: float = 0.1) -> float:
    """Return M, measured for ``seconds`` on the core that this thread runs on."""
    begin = now = time.perf_counter()
    count = 0
    while now - begin < seconds:
        for _ in range(_BATCH):
            crypt(_PASSWORD, _SETTING)
        count += _BATCH
        now = time.perf_counter()
    return count / (now - begin)
