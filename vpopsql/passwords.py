"""Password hashes: make them, verify them, tell their kinds apart.

Hashes are the strings of crypt(3), which every mail program of a site reads. They are computed
by the system's libcrypt through its thread-safe ``crypt_r`` (which releases the interpreter's
lock, so logins use all processors) for each kind that it has proved to know, and by libpass
otherwise.

The contract: `verify` and `burn` never raise and never say why; a damaged, locked, empty or
unknown hash is simply never verified. A verification that fails costs at least one verification
of `DEFAULT_SCHEME`, so its duration does not tell an unknown user from a wrong password. This
module opens no file, logs nothing and keeps no password.

Passwords are ``str`` decoded with ``surrogateescape``: any bytes but NUL make the round trip.
"""

import ctypes
import functools
import hashlib
import hmac
import os
import re
import secrets
import string
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from vpopsql.aside import Helpers
from vpopsql.errors import VpopsqlError

DEFAULT_SCHEME = "sha512-crypt"

# The kinds that may be made, with the cost that each accepts. crypt() reads all but argon2, which
# is argon2id here; DES and MD5 are read but no longer made. The upper ends keep one login below
# some seconds: a cost above them is not verified either.
ROUNDS: Mapping[str, range] = MappingProxyType(
    {
        "sha512-crypt": range(1_000, 5_000_001),
        "sha256-crypt": range(1_000, 5_000_001),
        "bcrypt": range(4, 17),
        "yescrypt": range(1, 12),
        "argon2": range(1, 33),
    }
)

# crypt(3)'s own for SHA-2 and yescrypt; bcrypt's takes about 70 ms; argon2's, with its memory, is
# the least that OWASP's cheat sheet names.
_DEFAULT_ROUNDS = {
    "sha512-crypt": 5_000,
    "sha256-crypt": 5_000,
    "bcrypt": 10,
    "yescrypt": 5,
    "argon2": 2,
}
_ARGON2_KIB = 19_456
_OTHER_COSTS: Mapping[str, Mapping[str, Any]] = {
    "argon2": {"type": "ID", "memory_cost": _ARGON2_KIB, "parallelism": 1}
}

_QUICK_ROUNDS = {"sha512-crypt": 10_000, "sha256-crypt": 10_000}  # two to four milliseconds
_HELPERS = 2  # as many as a daemon's worker has threads that may wait for a hash

# libxcrypt refuses longer ones: CRYPT_MAX_PASSPHRASE_SIZE is 512 with the NUL.
MAX_PASSWORD_BYTES = 511

# bcrypt reads no further: crypt() ignores the rest silently, libraries raise.
_BCRYPT_BYTES = 72

_CRYPT64 = "./" + string.digits + string.ascii_uppercase + string.ascii_lowercase

# Checked in far less time than a hash of `DEFAULT_SCHEME`, or not at all without its library.
_QUICK = ("des", "md5-crypt", "argon2")

# yescrypt's parameters for the costs 1 to 11, as libxcrypt's crypt_gensalt writes them.
_YESCRYPT_COSTS = ("j75", "j85", "j7T", "j8T", "j9T", "jAT", "jBT", "jCT", "jDT", "jET", "jFT")

# A salt is any printable text without $ and colon; a hash and most of the rest is of _CRYPT64.
_FORMS = {
    "des": r"B{13}",
    "md5-crypt": r"\$1\$S{0,8}\$B{22}",
    "sha256-crypt": r"\$5\$(rounds=(?P<rounds>\d{1,9})\$)?S{0,16}\$B{43}",
    "sha512-crypt": r"\$6\$(rounds=(?P<rounds>\d{1,9})\$)?S{0,16}\$B{86}",
    "bcrypt": r"\$2[abxy]\$(?P<rounds>\d\d)\$B{53}",
    "yescrypt": r"\$y\$(?P<cost>B+)\$B{0,86}\$B{43}",
    "argon2": (
        r"\$argon2(id|i|d)\$v=\d+\$m=(?P<kib>\d{1,6}),t=(?P<rounds>\d{1,3}),p=\d{1,3}"
        r"(\$[+/0-9A-Za-z]+){2}"
    ),
}
SCHEMES = tuple(_FORMS)
"""Every kind of hash that can be verified, the weakest first."""

_PATTERNS = {
    scheme: re.compile(form.replace("B", "[./0-9A-Za-z]").replace("S", "[!-#%-9;-~]"), re.ASCII)
    for scheme, form in _FORMS.items()
}
_CHALLENGE = re.compile(r"<[!-~]{1,500}>", re.ASCII)
_MD5_DIGEST = re.compile(r"[0-9A-Fa-f]{32}", re.ASCII)
_PREFIX = re.compile(r"\{[A-Za-z0-9.-]+\}")


class UnusablePassword(VpopsqlError):
    """No hash of this password would be accepted by every mail program."""


def hash_password(password: str, scheme: str, rounds: int | None = None) -> str:
    """Return a new hash of ``password`` under a fresh random salt.

    :param scheme: a key of `ROUNDS` for which `can_hash` is true.
    :param rounds: the cost, within ``ROUNDS[scheme]``; None takes the scheme's usual one.
    :raises UnusablePassword: it has a NUL, is longer than 511 bytes (72 for bcrypt), or is not
        text that came from bytes.
    :raises ValueError: the scheme or the rounds are not to be had here.
    """
    return _hash_of(password, scheme, rounds)()


def hash_ahead(password: str, scheme: str, rounds: int | None = None) -> Future[str]:
    """Begin with what `hash_password` returns, on another processor.

    A SHA512 hash takes one or two milliseconds: as long as all that an `add_user` does before it
    needs one. One that takes much longer, for which no transaction should wait, is made at once
    instead, and so is one for which no thread is free.

    :raises UnusablePassword, ValueError: at once, as `hash_password` does.
    """
    make = _hash_of(password, scheme, rounds)
    is_quick = (rounds or _DEFAULT_ROUNDS[scheme]) <= _QUICK_ROUNDS.get(scheme, 0)
    made = _helpers().begin(make) if is_quick else None
    if made is None:
        made = Future()
        made.set_result(make())
    return made


def start_helpers() -> None:
    """Start the threads that make hashes ahead; otherwise they are when there is need of them."""
    _helpers()


def _hash_of(password: str, scheme: str, rounds: int | None) -> Callable[[], str]:
    """Return what makes a hash, once all that can be refused has been."""
    secret = _secret(password)
    if secret is None:
        raise UnusablePassword(f"a password has no NUL and at most {MAX_PASSWORD_BYTES} bytes")
    if scheme == "bcrypt" and len(secret) > _BCRYPT_BYTES:
        raise UnusablePassword(f"bcrypt reads at most {_BCRYPT_BYTES} bytes of a password")
    if not can_hash(scheme):
        raise ValueError(f"cannot make {scheme} hashes on this machine")
    cost = rounds or _DEFAULT_ROUNDS[scheme]
    if cost not in ROUNDS[scheme]:
        raise ValueError(f"{scheme} takes {ROUNDS[scheme]} rounds, not {cost}")
    return functools.partial(_make, secret, scheme, cost)


def _make(secret: bytes, scheme: str, cost: int) -> str:
    if _libcrypt_knows(scheme):
        made = _libcrypt()(secret, _new_setting(scheme, cost))
    else:
        made = _libpass(scheme).using(rounds=cost, **_OTHER_COSTS.get(scheme, {})).hash(secret)
    if scheme_of(made) != scheme:
        raise ValueError(f"{scheme} with {cost} rounds failed")
    return str(made)


@functools.cache
def _helpers() -> Helpers[str]:
    return Helpers(_HELPERS, "hash")


os.register_at_fork(after_in_child=_helpers.cache_clear)  # a process that is forked has none


def verify(password: str, stored: str | None, made: tuple[str, int | None] | None = None) -> bool:
    """Return whether ``stored`` is a hash of ``password``; never raise.

    :param stored: what the database holds; None for a user that does not exist. A prefix like
        ``{CRYPT}`` is ignored.
    :param made: scheme and rounds of new hashes: to fail takes as long as with one of them, at
        least, whatever is stored. None: as long as with the usual one.
    """
    secret = _secret(password)
    if secret is None:
        return False
    stored = _PREFIX.sub("", stored or "", count=1)
    scheme = scheme_of(stored)
    checkable = scheme in _PATTERNS and _affordable(scheme, stored)
    if checkable and _verifies(scheme, secret, stored):
        return True
    if not checkable or scheme in _QUICK or (made and needs_rehash(stored, *made)):
        burn(made)
    return False


def verify_challenge(stored: str | None, first: str, second: str) -> bool:
    """Return whether one of two texts answers the other as APOP or CRAM-MD5 has it; never raise.

    Which of them is the challenge, ``<...>``, is seen from its form: of programs that ask, those
    for POP3 and those for SMTP have them in another order.

    :param stored: the password itself; None or empty: it is not stored.
    """
    challenge, digest = (second, first) if _CHALLENGE.fullmatch(second) else (first, second)
    is_asked = _CHALLENGE.fullmatch(challenge) and _MD5_DIGEST.fullmatch(digest)
    if not stored or not is_asked:
        return False
    secret = stored.encode("utf-8", "surrogateescape")
    text = challenge.encode("utf-8", "surrogateescape")
    expected = (
        hashlib.md5(text + secret, usedforsecurity=False).hexdigest(),
        hmac.new(secret, text, "md5").hexdigest(),
    )
    # Both are compared, whichever it is.
    return sum(hmac.compare_digest(each, digest.lower()) for each in expected) > 0


def burn(made: tuple[str, int | None] | None = None) -> None:
    """Spend the time of one failing verification; for a login whose user does not exist.

    :param made: scheme and rounds of the hash; None: the usual ones.
    """
    if made is None:
        _verifies(DEFAULT_SCHEME, b"", _VECTORS[DEFAULT_SCHEME])
    else:
        # To make a hash and to verify one is the same work.
        hash_password("", *made)


def needs_rehash(stored: str, scheme: str, rounds: int | None = None) -> bool:
    """Return whether a password just verified against ``stored`` should be hashed anew.

    That is so when it was made by a weaker scheme, or at a lower cost, than is configured now.
    What nobody can log in with, a locked or empty hash, stays as it is.
    """
    found = scheme_of(stored)
    if found not in _PATTERNS:
        return False
    if found != scheme:
        return SCHEMES.index(found) < SCHEMES.index(scheme)
    bare, wanted = _PREFIX.sub("", stored, count=1), rounds or _DEFAULT_ROUNDS[scheme]
    if scheme == "argon2":
        # Rounds cost as much as they have memory to go through.
        return _cost(scheme, bare) * _argon2_kib(bare) < wanted * _ARGON2_KIB
    return _cost(scheme, bare) < wanted


def scheme_of(stored: str) -> str:
    """Return the kind of a stored hash, from its form alone.

    :returns: ``des``, ``md5-crypt``, ``sha256-crypt``, ``sha512-crypt``, ``bcrypt``,
        ``yescrypt``, ``argon2``; ``locked`` (starts with ``*`` or ``!``), ``empty``, ``unknown``.
    """
    bare = _PREFIX.sub("", stored, count=1)
    if not bare:
        return "empty"
    if bare[0] in "*!":
        return "locked"
    return next((name for name, form in _PATTERNS.items() if form.fullmatch(bare)), "unknown")


def can_hash(scheme: str) -> bool:
    """Return whether `hash_password` can make hashes of this kind on this machine."""
    if scheme not in ROUNDS:
        return False
    return _libcrypt_knows(scheme) or (scheme in _LIBPASS and bool(_libpass(scheme).has_backend()))


def _secret(password: str) -> bytes | None:
    """Return the bytes to hash, or None for what crypt() would refuse or cut short."""
    try:
        secret = password.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return None
    return None if b"\0" in secret or len(secret) > MAX_PASSWORD_BYTES else secret


def _new_setting(scheme: str, cost: int) -> str:
    """Return what crypt() takes in place of a hash: kind, cost and a random salt."""
    # A byte has each of the 64 characters equally often; `secrets.choice` asks for each by itself.
    salt = "".join(_CRYPT64[byte % len(_CRYPT64)] for byte in secrets.token_bytes(21))
    # bcrypt and yescrypt write 16 bytes as 22 digits, of which the last has few values.
    match scheme:
        case "bcrypt":
            return f"$2b${cost:02}${salt}."
        case "yescrypt":
            return f"$y${_YESCRYPT_COSTS[cost - 1]}${salt}.$"
    kind = "5" if scheme == "sha256-crypt" else "6"
    rounds = "" if cost == _DEFAULT_ROUNDS[scheme] else f"rounds={cost}$"
    return f"${kind}${rounds}{salt[:16]}$"


def _cost(scheme: str, stored: str) -> int:
    """Return the rounds of a well-formed hash; 0 where the kind or the value has none."""
    found = _PATTERNS[scheme].fullmatch(stored)
    parts = found.groupdict() if found else {}
    if parts.get("rounds"):
        return int(parts["rounds"])
    if parts.get("cost") in _YESCRYPT_COSTS:
        return _YESCRYPT_COSTS.index(parts["cost"]) + 1
    return _DEFAULT_ROUNDS[scheme] if "rounds" in parts else 0


def _argon2_kib(stored: str) -> int:
    found = _PATTERNS["argon2"].fullmatch(stored)
    return int(found["kib"]) if found else 0


def _affordable(scheme: str, stored: str) -> bool:
    return scheme not in ROUNDS or _cost(scheme, stored) in ROUNDS[scheme]


def _verifies(scheme: str, secret: bytes, stored: str) -> bool:
    if scheme == "bcrypt":
        secret = secret[:_BCRYPT_BYTES]
    if _libcrypt_knows(scheme):
        computed = _libcrypt()(secret, stored)
        return hmac.compare_digest(computed.encode(), stored.encode())
    if scheme not in _LIBPASS:
        return False
    try:
        return bool(_libpass(scheme).verify(secret, stored))
    except (ValueError, TypeError, RuntimeError):
        # Damaged in a way that its form does not show, or a backend is not installed.
        return False


# --- libcrypt ---------------------------------------------------------------------------------

# Where crypt_r lives: libxcrypt with and without its oldest functions; the C library itself.
_LIBRARIES = ("libcrypt.so.1", "libcrypt.so.2", None)

# Room for any `struct crypt_data`; glibc's is the largest known at 131,232 bytes.
_CRYPT_DATA_BYTES = 256 * 1024

# A kind is trusted to libcrypt once it has reproduced this hash of this password.
_VECTOR_PASSWORD = b"Hello world!"
_VECTORS = {
    "des": "saszt8mUri4AI",
    "md5-crypt": "$1$saltstri$YMyguxXMBpd2TEZ.vS/3q1",
    "sha256-crypt": "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
    "sha512-crypt": (
        "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/"
        "O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"
    ),
    "bcrypt": "$2b$04$saltstringsaltstringsefRPmv1g7My/GcfVAo7r2InIZEtJMGju",
    "yescrypt": "$y$j75$/3IE/3IE/3IE/3IE/3IE//$drvC9RWauwtnjVgwzbpgQsjJHWSEeaPy95zxVsA.hP6",
}


@dataclass(frozen=True, slots=True)
class _LibCrypt:
    """``crypt_r`` with one work area for each thread; its failures are the empty string."""

    function: Any
    areas: threading.local

    def __call__(self, secret: bytes, setting: str) -> str:
        if not hasattr(self.areas, "buffer"):
            self.areas.buffer = ctypes.create_string_buffer(_CRYPT_DATA_BYTES)
        result: bytes | None = self.function(secret, setting.encode(), self.areas.buffer)
        # Failures are NULL or, so that they never equal a hash, "*0" or "*1".
        return "" if result is None or result.startswith(b"*") else result.decode("ascii")


@functools.cache
def _libcrypt() -> _LibCrypt:
    """Return the system's crypt; one that always fails where there is none."""
    for library in _LIBRARIES:
        try:
            function = ctypes.CDLL(library).crypt_r
        except (OSError, AttributeError):
            continue
        function.restype = ctypes.c_char_p
        function.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
        return _LibCrypt(function, threading.local())
    return _LibCrypt(lambda *_: None, threading.local())


@functools.cache
def _libcrypt_knows(scheme: str) -> bool:
    vector = _VECTORS.get(scheme)
    return vector is not None and _libcrypt()(_VECTOR_PASSWORD, vector) == vector


# --- libpass ----------------------------------------------------------------------------------

_LIBPASS = {
    "des": "des_crypt",
    "md5-crypt": "md5_crypt",
    "sha256-crypt": "sha256_crypt",
    "sha512-crypt": "sha512_crypt",
    "bcrypt": "bcrypt",
    "argon2": "argon2",
}


def _libpass(scheme: str) -> Any:  # noqa: ANN401 - libpass makes its handlers at run time
    """Return libpass's handler; imported late, since most machines never need it."""
    from passlib import hash as handlers  # noqa: PLC0415

    return getattr(handlers, _LIBPASS[scheme])
