"""The C library's crypt(), called directly and not through vpopsql.

So what is measured with it, or made by it, does not change when vpopsql does.
"""

import ctypes
from collections.abc import Callable

# libxcrypt with and without its oldest functions; the C library itself.
_LIBRARIES = ("libcrypt.so.1", "libcrypt.so.2", None)


class NoCrypt(Exception):
    """There is no libcrypt, or it does not know the kind of hash."""


def crypt(password: bytes, setting: bytes) -> bytes:
    """Return the hash of ``password`` under ``setting`` such as ``$1$salt$``.

    :raises NoCrypt: there is none.
    """
    result = _crypt(password, setting)
    if result is None or result.startswith(b"*"):
        raise NoCrypt(f"libcrypt makes no hash of {setting!r}")
    return result


def _find() -> Callable[[bytes, bytes], bytes | None]:
    for library in _LIBRARIES:
        try:
            function = ctypes.CDLL(library).crypt
        except (OSError, AttributeError):
            continue
        function.restype = ctypes.c_char_p
        function.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
        return function
    return lambda _password, _setting: None


_crypt = _find()
