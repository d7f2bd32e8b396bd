"""Readable passwords, encrypted where they are stored.

A sealed password is ``$sealed$1$KEY$DATA``. DATA is a random nonce and what AES-256-GCM makes of
the password, in base64; KEY the first digits of the SHA-256 of its key, so that keys can be
changed one after the other. An empty password says that there is none, and stays empty.

Keys come from a file of the administrator's: 32 bytes in base64 a line; ``#`` begins a comment.
The first one seals; all open. The package ``cryptography`` is loaded when it is needed first.
"""

import base64
import binascii
import functools
import hashlib
import os
import re
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from vpopsql.errors import ConfigError, PasswordSealed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_KEY_BYTES = 32
_NONCE_BYTES = 12
_PURPOSE = b"vpopsql readable password"
_SEALED = re.compile(r"\$sealed\$1\$([0-9a-f]{8})\$([A-Za-z0-9+/]{38,}={0,2})")


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys that passwords are sealed with."""

    keys: tuple[bytes, ...] = field(repr=False)
    """The present one first."""

    @classmethod
    def load(cls, path: str) -> Self:
        """Read a file of keys.

        :raises ConfigError: it cannot be read or has a line that is no key, others than its owner
            and group can read it, or the package ``cryptography`` is missing.
        """
        what = f"passwords.key_file: {path}"
        try:
            with Path(path).open(encoding="ascii") as file:
                mode = os.fstat(file.fileno()).st_mode
                lines = [line.partition("#")[0].strip() for line in file]
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise ConfigError(f"{what}: {reason}") from None
        if mode & (stat.S_IRWXO | stat.S_IWGRP):
            raise ConfigError(f"{what}: others can get at it: chmod 0640, or 0600")
        keys = [_parsed(line) for line in lines if line]
        if not keys or None in keys:
            raise ConfigError(
                f"{what}: not one key of 32 bytes in base64 a line: make one with"
                " `vpopsql passwords new-key`"
            )
        _cipher_type()
        return cls(tuple(key for key in keys if key))

    def seal(self, text: str) -> str:
        """Return a password as it is stored; one that is sealed already stays as it is."""
        if not text or self._is_openable(text):
            return text
        key, nonce = self.keys[0], secrets.token_bytes(_NONCE_BYTES)
        data = _cipher(key).encrypt(nonce, text.encode("utf-8", "surrogateescape"), _PURPOSE)
        return f"$sealed$1${_name(key)}${base64.b64encode(nonce + data).decode()}"

    def open(self, stored: str) -> str:
        """Return the password; one that is not sealed as it is.

        :raises PasswordSealed: none of the keys opens it, or it was altered.
        """
        match = _SEALED.fullmatch(stored)
        if not match:
            return stored
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - slow import

        data = base64.b64decode(match[2])
        nonce, rest = data[:_NONCE_BYTES], data[_NONCE_BYTES:]
        for key in self.keys:
            if _name(key) == match[1]:
                try:
                    opened = _cipher(key).decrypt(nonce, rest, _PURPOSE)
                except InvalidTag:
                    continue
                return opened.decode("utf-8", "surrogateescape")
        raise PasswordSealed(
            f"a readable password is sealed with the key {match[1]}, which is not in"
            " passwords.key_file, or was altered"
        )

    def is_current(self, stored: str) -> bool:
        """Tell whether a stored password is sealed with the present key, or empty."""
        match = _SEALED.fullmatch(stored)
        return not stored or (match is not None and match[1] == _name(self.keys[0]))

    def _is_openable(self, text: str) -> bool:
        if not is_sealed(text):
            return False
        try:
            self.open(text)
        except PasswordSealed:
            return False
        return True


def is_sealed(stored: str) -> bool:
    """Tell whether a stored password is a sealed one."""
    return _SEALED.fullmatch(stored) is not None


def new_key() -> str:
    """Return a new key, as a line of the file."""
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def _parsed(line: str) -> bytes | None:
    try:
        key = base64.b64decode(line, validate=True)
    except binascii.Error:
        return None
    return key if len(key) == _KEY_BYTES else None


def _name(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()[:8]


@functools.lru_cache(maxsize=16)
def _cipher(key: bytes) -> "AESGCM":
    return _cipher_type()(key)


def _cipher_type() -> "type[AESGCM]":
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415
    except ImportError:
        raise ConfigError(
            "passwords.key_file needs the package cryptography: pip install 'vpopsql[sealed]'"
        ) from None
    return AESGCM
