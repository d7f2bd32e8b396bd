"""cdb, D. J. Bernstein's constant database: read one, look a key up, make one.

Layout: 256 pairs (table position, slots), the records (key length, data length, key, data), then
256 open-addressed hash tables of (hash, record position). All numbers are 32 bits, little-endian.
`make` writes records and tables in the order qmail's own writer uses, so the files are equal byte
for byte, and `edit` makes of one of its files the one that it would write for other records. The
whole file is in memory, on both sides; not for files near the format's 4 GiB.
"""

import struct
import sys
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, chain
from operator import add, sub

from vpopsql.pieces import Buffer, Pieces

_PAIR = struct.Struct("<II")
_TABLES = 256
_HEADER = struct.Struct(f"<{2 * _TABLES}I")
_HEADER_SIZE = _HEADER.size

RECORDS_AT = _HEADER_SIZE
"""The position of the first record."""

RECORD_HEAD_SIZE = _PAIR.size
"""Bytes that stand before each record's key and data."""

_HASH_SEED = 5381
_LANE = 8  # bytes a hash occupies while many are computed at once
_LANES = 1024  # hashes computed at once: as much as stays in the processor's cache
_COLUMNS = 6  # bytes of a key that a hash of 32 bits can take before it leaves its lane
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
    unpack, size = _PAIR.unpack_from, _PAIR.size
    while position < end:
        # Past `_pair` but for its error: a site may have a million records.
        if end - position < size:
            _pair(data, position, end)
        key_size, data_size = unpack(data, position)
        key_at = position + size
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
    wholes = []
    for key, value in records:
        keys.append(key)
        wholes.append(key + value)
    return make_of(keys, wholes)


def make_of(keys: Sequence[bytes], wholes: Sequence[bytes]) -> bytes:
    """Return a cdb of records that are given as their keys and, in the same order, as a whole.

    A million records take seconds, so they are gone through in as few steps as possible, and as
    many of these as possible are not interpreted.

    :param wholes: each a key with its data behind it.
    :raises ValueError: as `make` does.
    """
    number = len(keys)
    key_sizes = [*map(len, keys)]
    sizes = [*map(len, wholes)]
    ends = accumulate(sizes, initial=_HEADER_SIZE)
    positions = [*map(add, ends, range(0, (number + 1) * _PAIR.size, _PAIR.size))]
    position = positions.pop()
    if position + 2 * _PAIR.size * number > _SIZE_MAX:
        raise ValueError("a cdb cannot pass 4 GiB")

    parts = [b""] * (2 * number + 1)  # the first is the header's place
    parts[1::2] = map(_PAIR.pack, key_sizes, map(sub, sizes, key_sizes))
    parts[2::2] = wholes
    tables: defaultdict[int, list[int]] = defaultdict(list)
    for hashed, record in zip(_hashes(keys), positions, strict=True):
        tables[hashed & 0xFF].append(record << 32 | hashed)
    header: list[int] = []
    # Of a small file most tables are empty, and begin where the next one does.
    for table in sorted(tables):
        header += [position, 0] * (table - len(header) // 2)
        header += [position, 2 * len(tables[table])]
        parts.append(_hash_table(tables[table]))
        position += len(parts[-1])
    header += [position, 0] * (_TABLES - len(header) // 2)
    parts[0] = _HEADER.pack(*header)
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of one record."""

    position: int
    """Of the record that goes or stands behind the new one."""
    key: bytes | None
    """The key of that record; None: the position is where the records end."""
    goes: bool
    """Whether that record goes."""
    new: tuple[bytes, bytes] | None = None
    """Key and data of the record that comes; None: none does."""


def edit(data: bytes, edits: Sequence[Edit]) -> Pieces:
    """Return what `make` would of the records of a cdb of its own, changed; most is not copied.

    The tables are gone through as one large number, and only those of the keys that come or go
    are made anew: it takes less than copying the file.

    :param edits: by position.
    :raises ValueError: ``data`` is not as `make` writes it, as far as that was looked at, or has
        no such record; or the file would pass 4 GiB.
    """
    if len(data) < _HEADER_SIZE:
        raise ValueError("the cdb ends too early")
    header = _HEADER.unpack_from(data)
    starts, slots = header[::2], [*header[1::2]]
    end = starts[0]
    if [*starts, len(data)] != _table_positions(end, slots):
        raise ValueError("the tables of the cdb are not where they would be written")
    bodies, moves, changes = _edited_records(data, end, edits)
    tables = memoryview(_moved(data[end:], moves))
    parts: list[Buffer] = []
    at = 0
    for number in sorted(changes):
        begin = starts[number] - end
        stop = begin + _PAIR.size * slots[number]
        table = array("Q", bytes(tables[begin:stop]))
        if sys.byteorder == "big":
            table.byteswap()
        gone, come = changes[number]
        # Records of one key, one of which goes and another one moves to its place, are alike.
        counted = Counter(filter(None, table))
        counted.subtract(gone)
        if any(counted[each] < 0 for each in gone):
            raise ValueError("the tables of the cdb do not have its records")
        counted.update(come)
        entries = sorted(counted.elements())
        parts += [tables[at:begin], _hash_table(entries)]
        slots[number] = 2 * len(entries)
        at = stop
    *positions, size = _table_positions(sum(map(len, bodies), _HEADER_SIZE), slots)
    if size > _SIZE_MAX:
        raise ValueError("a cdb cannot pass 4 GiB")
    new_header = _HEADER.pack(*chain.from_iterable(zip(positions, slots, strict=True)))
    return [new_header, *bodies, *parts, tables[at:]]


Splice = tuple[int, int, bytes]
"""Where a part of a text begins and ends, and what takes its place."""


def edit_compiled(
    data: bytes,
    text: bytes,
    splices: Iterable[Splice],
    record_of: Callable[[bytes], tuple[bytes, bytes]],
    growth: Callable[[bytes, int], int],
    end_key: bytes | None = None,
) -> Pieces:
    """Return the cdb of a text with a record for each line, once lines of the text have changed.

    :param data: the cdb of the text as it was.
    :param text: the text as it was.
    :param splices: whole lines that give way to others, in the order of the text.
    :param record_of: returns key and data of a line, given with its newline.
    :param growth: returns by how much the records of a text's lines up to a place are longer than
        the lines.
    :param end_key: the key of what stands behind the records of the lines, if anything does.
    :raises ValueError: as `edit` does.
    """
    edits = []
    for start, stop, new in splices:
        come = [record_of(line + b"\n") for line in new.split(b"\n")[:-1]]
        at = start
        while at < stop:
            end = text.index(b"\n", at) + 1
            gone, _ = record_of(text[at:end])
            record = come.pop(0) if come else None
            edits.append(Edit(RECORDS_AT + at + growth(text, at), gone, goes=True, new=record))
            at = end
        behind = text[stop : text.find(b"\n", stop) + 1]
        key = record_of(behind)[0] if behind else end_key
        position = RECORDS_AT + stop + growth(text, stop)
        edits += [Edit(position, key, goes=False, new=record) for record in come]
    return edit(data, edits)


def _table_positions(first: int, slots: Iterable[int]) -> list[int]:
    """Return where tables begin that stand one behind the other, and where the last one ends."""
    return [*accumulate(map(_PAIR.size.__mul__, slots), initial=first)]


_Entries = tuple[Counter[int], Counter[int]]
"""Entries of a table that go, and that come."""


def _edited_records(
    data: bytes, end: int, edits: Sequence[Edit]
) -> tuple[Pieces, list[tuple[int, int]], dict[int, _Entries]]:
    """Return the records, by how much what lies behind which position moves, and the entries."""
    view = memoryview(data)
    parts: list[Buffer] = []
    moves: list[tuple[int, int]] = []
    changes: defaultdict[int, _Entries] = defaultdict(lambda: (Counter(), Counter()))
    at, moved = _HEADER_SIZE, 0
    for each in edits:
        if not at <= each.position <= end:
            raise ValueError("the changes of a cdb are not in order")
        parts.append(view[at : each.position])
        key, behind = _key_at(data, each.position, end)
        if key != each.key:
            raise ValueError("the cdb has another record at this position")
        old_key = key if each.goes else None
        if not each.goes:
            behind = each.position
        new = b""
        new_key = None
        if each.new is not None:
            new_key, value = each.new
            new = _PAIR.pack(len(new_key), len(value)) + new_key + value
            parts.append(new)
        if old_key != new_key:
            for found, side in ((old_key, 0), (new_key, 1)):
                if found is not None:
                    (hashed,) = _hashes([found])
                    changes[hashed % _TABLES][side][each.position + moved << 32 | hashed] += 1
        moved += len(new) - (behind - each.position)
        moves.append((behind, len(new) - (behind - each.position)))
        at = behind
    parts.append(view[at:end])
    return parts, moves, changes


def _key_at(data: bytes, position: int, end: int) -> tuple[bytes | None, int]:
    """Return the key of a record, and where the record ends; None where all records end."""
    if position == end:
        return None, end
    key_size, data_size = _pair(data, position, end)
    key_at = position + _PAIR.size
    return data[key_at : key_at + key_size], key_at + key_size + data_size


def _moved(tables: bytes, moves: Iterable[tuple[int, int]]) -> bytes:
    """Return hash tables in which positions have moved.

    :param moves: positions from which on what stands there has moved, and how far.
    """
    if not any(distance for _, distance in moves):
        return tables
    ones, lower, upper = _masks(len(tables) // _PAIR.size)
    slots = int.from_bytes(tables, "little")
    # Each position in the lower half of a lane, so that adding to it can carry into the other one.
    positions = slots >> 32 & lower
    for start, distance in moves:
        slots += (positions + ones * (2**32 - start) & upper) * distance
    return slots.to_bytes(len(tables), "little")


@lru_cache(maxsize=2)
def _masks(number: int) -> tuple[int, int, int]:
    """Return numbers of so many lanes of 64 bits: with 1 in each, all of the lower half, and 2^32.

    A domain's mailboxes change one after the other; to make the three takes as long as all else.
    """
    ones = int.from_bytes(b"\1\0\0\0\0\0\0\0" * number, "little")
    return ones, ones * _SIZE_MAX, ones << 32


def _hash_table(entries: list[int]) -> bytes:
    """Return one table; an entry is a record's position (high 32 bits) and hash (low 32)."""
    size = 2 * len(entries)
    slots = [0] * size
    for entry in entries:
        slot = ((entry & 0xFFFFFFFF) >> 8) % size
        while slots[slot]:
            slot = slot + 1 if slot + 1 < size else 0
        slots[slot] = entry
    table = array("Q", slots)
    if sys.byteorder == "big":
        table.byteswap()
    return table.tobytes()


def _hashes(keys: Sequence[bytes]) -> list[int]:
    """Return the 32-bit hash of each key: start at 5381, a byte c makes h into (h * 33) ^ c.

    Keys of one length are hashed together, a 64-bit lane of one large integer each: an
    interpreted step per column instead of one per byte is ten times faster on a large site.
    """
    by_length: defaultdict[int, list[int]] = defaultdict(list)
    for index, size in enumerate(map(len, keys)):
        by_length[size].append(index)

    hashes = [0] * len(keys)
    for length, indexes in by_length.items():
        for start in range(0, len(indexes), _LANES):
            group = indexes[start : start + _LANES]
            columns = b"".join([keys[index] for index in group])
            ones = int.from_bytes(b"\1\0\0\0\0\0\0\0" * len(group), "little")
            mask = ones * 0xFFFFFFFF
            lanes = ones * _HASH_SEED
            spread = bytearray(_LANE * len(group))
            for column in range(length):
                spread[::_LANE] = columns[column::length]
                lanes = lanes * 33 ^ int.from_bytes(spread, "little")
                if column % _COLUMNS == _COLUMNS - 1:
                    lanes &= mask
            result = array("Q", (lanes & mask).to_bytes(len(spread), sys.byteorder))
            if sys.byteorder == "big":
                result.reverse()
            for index, hashed in zip(group, result, strict=True):
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
