"""cdb, D. J. Bernstein's constant database: read one, look a key up, make one.

Layout: 256 pairs (table position, slots), the records (key length, data length, key, data), then
256 open-addressed hash tables of (hash, record position). All numbers are 32 bits, little-endian.
`make` writes records and tables in the order qmail's own writer uses, so the files are equal byte
for byte. The whole file is in memory, on both sides; not for files near the format's 4 GiB.
"""

import struct
import sys
from array import array
from collections import defaultdict
from collections.abc import Iterable

_PAIR = struct.Struct("<II")
_TABLES = 256
_HEADER_SIZE = _TABLES * _PAIR.size
_HASH_SEED = 5381
_LANE = 8  # bytes a hash occupies while many are computed at once
_SIZE_MAX = 2**32 - 1


def read(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the records of a cdb in file order, duplicate keys included.

    :raises ValueError: the file is damaged, or its tables, by which records are looked up, are
        not those of its records; the text names the offset.
    """
    end, listed = _listed(data)
    records = []
    positions = []
    position = _HEADER_SIZE
    while position < end:
        key_size, data_size = _pair(data, position, end)
        key_at = position + _PAIR.size
        data_at = key_at + key_size
        if data_at + data_size > end:
            raise ValueError(f"cdb damaged at offset {position}: the record passes its end")
        records.append((data[key_at:data_at], data[data_at : data_at + data_size]))
        positions.append(position)
        position = data_at + data_size
    # A file whose last blocks never reached the disk may have zeros in their place.
    if wrong := listed.symmetric_difference(positions):
        raise ValueError(f"cdb damaged at offset {min(wrong)}: its tables have other records")
    return records


def get(data: bytes, key: bytes) -> bytes | None:
    """Return the data of the first record with ``key``, None without one, as a cdb reader would.

    :raises ValueError: the part of the file that had to be read is damaged.
    """
    (wanted,) = _hashes([key])
    start, slots = _table(data, wanted % _TABLES)
    for probe in range(slots):
        slot = start + (wanted // _TABLES + probe) % slots * _PAIR.size
        found, position = _PAIR.unpack_from(data, slot)
        if not position:
            return None
        if found == wanted:
            key_size, data_size = _pair(data, position, len(data))
            key_at = position + _PAIR.size
            data_at = key_at + key_size
            if data_at + data_size > len(data):
                raise ValueError(f"cdb damaged at offset {position}: the record passes its end")
            if data[key_at:data_at] == key:
                return data[data_at : data_at + data_size]
    return None


def make(records: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a cdb of ``records`` in their order; a key may occur more than once.

    :raises ValueError: the file would pass 4 GiB.
    """
    keys = []
    parts = [b""]  # the header's place
    positions = []
    position = _HEADER_SIZE
    for key, data in records:
        keys.append(key)
        positions.append(position)
        parts.append(_PAIR.pack(len(key), len(data)) + key + data)
        position += len(parts[-1])
    if position + 2 * _PAIR.size * len(keys) > _SIZE_MAX:
        raise ValueError("a cdb cannot pass 4 GiB")

    tables: list[list[int]] = [[] for _ in range(_TABLES)]
    for hashed, record in zip(_hashes(keys), positions, strict=True):
        tables[hashed % _TABLES].append(record << 32 | hashed)
    header = []
    for entries in tables:
        header.append(_PAIR.pack(position, 2 * len(entries)))
        if entries:  # of a small file most tables are empty
            parts.append(_hash_table(entries))
            position += len(parts[-1])
    parts[0] = b"".join(header)
    return b"".join(parts)


def _hash_table(entries: list[int]) -> bytes:
    """Return one table; an entry is a record's position (high 32 bits) and hash (low 32)."""
    size = 2 * len(entries)
    slots = array("Q", bytes(8 * size))
    for entry in entries:
        slot = ((entry & 0xFFFFFFFF) >> 8) % size
        while slots[slot]:
            slot = slot + 1 if slot + 1 < size else 0
        slots[slot] = entry
    if sys.byteorder == "big":
        slots.byteswap()
    return slots.tobytes()


def _hashes(keys: list[bytes]) -> list[int]:
    """Return the 32-bit hash of each key: start at 5381, a byte c makes h into (h * 33) ^ c.

    Keys of one length are hashed together, a 64-bit lane of one large integer each: an
    interpreted step per column instead of one per byte is ten times faster on a large site.
    """
    by_length: defaultdict[int, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        by_length[len(key)].append(index)

    hashes = [0] * len(keys)
    for length, indexes in by_length.items():
        for start in range(0, len(indexes), 1024):  # integers that stay in the processor's cache
            group = indexes[start : start + 1024]
            columns = b"".join([keys[index] for index in group])
            ones = int.from_bytes(b"\1\0\0\0\0\0\0\0" * len(group), "little")
            mask = ones * 0xFFFFFFFF
            lanes = ones * _HASH_SEED
            spread = bytearray(_LANE * len(group))
            for column in range(length):
                spread[::_LANE] = columns[column::length]
                lanes = (lanes * 33 & mask) ^ int.from_bytes(spread, "little")
            result = lanes.to_bytes(len(spread), "little")
            for index, (hashed,) in zip(group, struct.iter_unpack("<Q", result), strict=True):
                hashes[index] = hashed
    return hashes


def _listed(data: bytes) -> tuple[int, set[int]]:
    """Return where the records end, and the positions of those that the tables have."""
    tables = [_table(data, number) for number in range(_TABLES)]
    slots = array("I", b"".join([data[start : start + n * _PAIR.size] for start, n in tables]))
    if sys.byteorder == "big":
        slots.byteswap()
    return min(start for start, _ in tables), set(slots[1::2]) - {0}


def _table(data: bytes, number: int) -> tuple[int, int]:
    """Return position and number of slots of a hash table that lies within the file."""
    start, slots = _pair(data, number * _PAIR.size, _HEADER_SIZE)
    if start < _HEADER_SIZE or start + slots * _PAIR.size > len(data):
        raise ValueError(f"cdb damaged at offset {number * _PAIR.size}: the table is outside")
    return start, slots


def _pair(data: bytes, offset: int, end: int) -> tuple[int, int]:
    if offset + _PAIR.size > min(end, len(data)):
        raise ValueError(f"cdb damaged at offset {offset}: it ends too early")
    first, second = _PAIR.unpack_from(data, offset)
    return first, second
