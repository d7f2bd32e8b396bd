"""Where the pages are, below the site's directory."""

import hashlib
import re

_SAFE = re.compile(r"[a-z0-9][a-z0-9._-]{0,199}")
_NAME_MAX = 160
"""Bytes of what is left of an odd name; a file system takes 255 in all."""


def report_path(name: str) -> str:
    """Return the page of a report."""
    return f"reports/{name}.html"


def list_path(number: int) -> str:
    """Return a page of the list of domains, from 1."""
    return f"domains/{'index' if number == 1 else number}.html"


def domain_path(name: str) -> str:
    """Return the page of a domain, in a directory of all whose names begin alike.

    Names that are no plain domain names have ``=XX`` for each other byte, and a hash if they are
    long: no two names have the same page, and none has one elsewhere.
    """
    file = name if _SAFE.fullmatch(name) else _spelled(name)
    shard = file[:2].ljust(2, "_").replace(".", "_")
    return f"domains/{shard}/{file}.html"


def _spelled(name: str) -> str:
    raw = name.encode("utf-8", "surrogateescape")
    spelled = "".join(
        chr(byte) if _SAFE.fullmatch(chr(byte)) or (place and byte in b".-_") else f"={byte:02x}"
        for place, byte in enumerate(raw)
    )
    if len(spelled) <= _NAME_MAX:
        return spelled or "="
    return f"{spelled[:_NAME_MAX]}={hashlib.sha256(raw).hexdigest()[:32]}"
