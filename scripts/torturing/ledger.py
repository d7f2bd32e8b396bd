"""What clients were told, as facts, and how to compare it with what is.

A change whose answer never came, or said that the database was away, may have been carried out or
not; it stays open until somebody looks. It must be found whole or not at all.
"""

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from scripts.torturing import Defect


class Key(NamedTuple):
    """What a fact is about."""

    kind: str
    """``domain``, ``alias-domain``, ``user``, ``dotqmail``, ``limits``, ``file`` or ``dir``."""
    domain: str
    name: str = ""


Facts = dict[Key, Any]
"""What is there, and its content; what is not there has no key."""


def content(data: bytes) -> str:
    """Return what stands for the content of a file, which may be long."""
    return f"{len(data)} bytes, {hashlib.sha256(data).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of some facts; None: they go."""

    what: str
    after: Mapping[Key, Any]

    def is_done(self, facts: Facts) -> bool:
        """Tell whether all of it is so."""
        return all(facts.get(key) == value for key, value in self.after.items())


@dataclass(slots=True)
class Ledger:
    """What one client knows."""

    facts: Facts = field(default_factory=dict)
    open: Change | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def confirm(self, change: Change) -> None:
        """Note that a change was carried out."""
        with self._lock:
            self.open = None
            for key, value in change.after.items():
                if value is None:
                    self.facts.pop(key, None)
                else:
                    self.facts[key] = value

    def leave_open(self, change: Change) -> None:
        """Note that nobody knows whether a change was carried out."""
        self.open = change

    def settle(self, found: Facts) -> bool:
        """Find out what became of the change that is open; return whether it was carried out.

        :raises Defect: only a part of it was.
        """
        change = self.open
        if change is None:
            return False
        if change.is_done(found):
            self.confirm(change)
            return True
        if any(found.get(key) != self.facts.get(key) for key in change.after):
            was = {key: self.facts.get(key) for key in change.after}
            now = {key: found.get(key) for key in change.after}
            raise Defect(f"half done: {change.what}: {was} -> {dict(change.after)}, found {now}")
        self.open = None
        return False


def compare(known: Facts, found: Facts) -> None:
    """Compare what clients know with what is. :raises Defect: it is not the same."""
    if known == found:
        return
    lost = {key: value for key, value in known.items() if key not in found}
    other = {key: (known[key], found[key]) for key in known.keys() & found.keys()}
    wrong = {key: pair for key, pair in other.items() if pair[0] != pair[1]}
    nobodys = {key: value for key, value in found.items() if key not in known}
    raise Defect(f"acknowledged and lost: {lost}; changed: {wrong}; nobody's: {nobodys}")
