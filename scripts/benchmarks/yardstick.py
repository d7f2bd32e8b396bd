"""M, the unit: MD5-crypt verifications per second of libcrypt on one core of this machine.

libcrypt is called directly, not through vpopsql, so that a change of vpopsql never changes the
unit.
"""

import ctypes
import time
from collections.abc import Callable

from scripts.benchmarks import BenchFailed

# libxcrypt with and without its oldest functions; the C library itself.
_LIBRARIES = ("libcrypt.so.1", "libcrypt.so.2", None)

_PASSWORD = "correct horse"  # noqa: S105 - hashed for the time it takes
_SETTING = "$1$yardstck$"
_BATCH = 20


def crypt(password: str, setting: str) -> str:
    """Return libcrypt's hash of ``password`` under ``setting`` such as ``$1$salt$``.

    :raises BenchFailed: there is no libcrypt, or it does not know the kind.
    """
    result: bytes | None = _crypt(password.encode(), setting.encode())
    if result is None or result.startswith(b"*"):
        raise BenchFailed(f"libcrypt makes no hash of {setting}")
    return result.decode("ascii")


def measure_m(seconds: float = 0.1) -> float:
    """Return M, measured for ``seconds`` on the core that this thread runs on."""
    password, setting = _PASSWORD.encode(), _SETTING.encode()
    begin = now = time.perf_counter()
    count = 0
    while now - begin < seconds:
        for _ in range(_BATCH):
            _crypt(password, setting)
        count += _BATCH
        now = time.perf_counter()
    return count / (now - begin)


def _find_crypt() -> Callable[[bytes, bytes], bytes | None]:
    for library in _LIBRARIES:
        try:
            function = ctypes.CDLL(library).crypt
        except (OSError, AttributeError):
            continue
        function.restype = ctypes.c_char_p
        function.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
        return function
    return lambda _password, _setting: None


_crypt = _find_crypt()
