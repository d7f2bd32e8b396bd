"""The domains of a site on disk, so that an import's memory does not grow with the site.

What is written down is what was read, so that what is applied is what was planned even if the
source has changed in between. The file has no name: nobody else can open it, and it is gone with
the process however that ends. It holds password hashes, so do the copies in memory.
"""

import pickle
import tempfile
import weakref
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import IO

from vpopsql.importer import packing, site
from vpopsql.importer.evidence import Evidence


@dataclass(frozen=True, slots=True)
class Entry:
    """A domain of the spool, and what is asked of all domains at once."""

    name: str
    names: tuple[str, ...]
    """Its own, and those of its alias domains."""
    directory: str
    counts: dict[str, int]


def pack(domain: site.Domain) -> tuple[Entry, bytes]:
    """Return a domain as the spool takes it; workers do this for their parent."""
    names = tuple(name.name for name in domain.names)
    return Entry(names[0], names, domain.directory, domain.counts()), packing.pack(domain)


class Spool(Collection[site.Domain]):
    """Domains in the order they were put in, and what was found in each.

    Iterating reads them from disk, one at a time, as often as wanted.

    :param directory: where the file is made; None: where the system makes temporary files.
    """

    def __init__(self, directory: str | None = None) -> None:
        # Open as long as this object is there.
        self._file: IO[bytes] = tempfile.TemporaryFile(  # noqa: SIM115
            prefix="vpopsql-", dir=directory
        )
        weakref.finalize(self, self._file.close)
        self._end = 0
        self._evidence: dict[str, tuple[int, int]] = {}
        self._places: dict[str, tuple[int, int]] = {}
        self._incomplete: set[str] = set()
        self.entries: dict[str, Entry] = {}
        """By name."""

    def put(self, entry: Entry, packed: bytes, *, incomplete: bool = False) -> None:
        """Add a domain that `pack` gave.

        :param incomplete: whether lines of it were rejected.
        """
        self.entries[entry.name] = entry
        if incomplete:
            self._incomplete.add(entry.name)
        self._places[entry.name] = self._write(packed)

    def put_evidence(self, name: str, evidence: Evidence) -> None:
        """Add what was found in a domain, whether or not it can be imported."""
        self._evidence[name] = self._write(pickle.dumps(evidence, pickle.HIGHEST_PROTOCOL))

    def get(self, name: str) -> site.Domain:
        """Return one domain."""
        return packing.unpack(self._read(*self._places[name]))

    def is_complete(self, name: str) -> bool:
        """Say whether everything of a domain could be read."""
        return name not in self._incomplete

    def is_left_out(self, name: str) -> bool:
        """Say whether the site has a domain of this name that cannot be imported."""
        return name in self._evidence and name not in self.entries

    def left_out(self) -> list[str]:
        """Return the names of the site's domains that cannot be imported."""
        return sorted(self._evidence.keys() - self.entries.keys())

    def evidence(self) -> Iterator[Evidence]:
        """Return what was found, domain by domain."""
        return map(self.evidence_of, self._evidence)

    def evidence_of(self, name: str) -> Evidence:
        """Return what was found in one domain."""
        data = self._read(*self._evidence[name])
        evidence: Evidence = pickle.loads(data)  # noqa: S301 - written by this very process
        return evidence

    def __iter__(self) -> Iterator[site.Domain]:
        return map(self.get, self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, domain: object) -> bool:
        return isinstance(domain, site.Domain) and domain.name.name in self.entries

    def _write(self, data: bytes) -> tuple[int, int]:
        self._file.seek(self._end)
        self._file.write(data)
        position, self._end = self._end, self._end + len(data)
        return position, len(data)

    def _read(self, position: int, size: int) -> bytes:
        self._file.seek(position)
        return self._file.read(size)
