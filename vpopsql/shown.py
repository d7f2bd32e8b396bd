"""Values as people read them, in whatever the program prints, and what a terminal may be given."""

from datetime import datetime

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_KIBI = 1024


def printable(text: str, limit: int | None = None) -> str:
    """Return one line in which everything that a terminal obeys, or cannot show, is escaped.

    :param limit: characters; what is longer is cut, and an ellipsis says so.
    """
    if limit is not None and len(text) > limit:
        text = text[:limit] + "…"
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def storable(text: str) -> str:
    """Return a text as UTF-8 can have it: bytes that were none are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def human_size(count: int) -> str:
    """Return bytes with a unit: ``1.5 MiB``."""
    size, unit = float(abs(count)), 0
    while size >= _KIBI and unit < len(_UNITS) - 1:
        size, unit = size / _KIBI, unit + 1
    number = f"{size:.1f}" if unit else f"{size:.0f}"
    return f"{'-' if count < 0 else ''}{number} {_UNITS[unit]}"


def iso(time: datetime) -> str:
    """Return a UTC time as ISO 8601, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
