"""Passwords that were right a moment ago: a login that comes again costs no hash.

Clients of mail programs log in anew for each question, and a hash is made to be slow. What is kept
of a verification that went well is a digest of the hash and the password together, under a key
that this process alone has, in memory and for a time: nothing of it can be read back, a changed
password has another hash and is not known, and a verification that fails takes its full time,
whoever asks.

Whoever can read the memory of the process could try passwords against a digest more quickly than
against the hash; he could also read the passwords themselves as they come in.
"""

import hmac
import secrets
import threading
import time

from vpopsql import passwords

_AT_MOST = 10_000
"""Digests that are kept, some 150 bytes each; the oldest goes first."""


class Remembered:
    """Verifies passwords as `passwords.verify` does, and remembers those that were right.

    :param seconds: how long; 0: not at all.
    :param made: scheme and rounds of new hashes, see there.
    """

    def __init__(self, seconds: float, made: tuple[str, int | None] | None = None) -> None:
        self._seconds = seconds
        self._made = made
        self._key = secrets.token_bytes(32)
        self._until: dict[bytes, float] = {}
        self._lock = threading.Lock()

    def verify(self, password: str, stored: str | None) -> bool:
        """Return whether ``stored`` is a hash of ``password``; never raise.

        :param stored: what the database holds; None for a user that does not exist.
        """
        digest = self._digest(password, stored or "")
        if self._until.get(digest, 0.0) > time.monotonic():
            return True
        if not passwords.verify(password, stored, self._made):
            return False
        if self._seconds:
            self._remember(digest)
        return True

    def _digest(self, password: str, stored: str) -> bytes:
        # No hash has a NUL: there is one way only to cut the text into the two.
        text = f"{stored}\0{password}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, text, "sha256")

    def _remember(self, digest: bytes) -> None:
        with self._lock:
            # The oldest come first, so one that is known already goes to the end.
            self._until.pop(digest, None)
            now = time.monotonic()
            self._until[digest] = now + self._seconds
            while len(self._until) > _AT_MOST or next(iter(self._until.values())) <= now:
                del self._until[next(iter(self._until))]
