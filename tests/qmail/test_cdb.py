import io
import shutil
import struct
import subprocess
from pathlib import Path

import cdblib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpopsql.qmail import cdb

Records = list[tuple[bytes, bytes]]
keys = st.binary(max_size=40)
records = st.lists(st.tuples(keys, st.binary(max_size=40)), max_size=60)


def oracle(pairs: Records) -> bytes:
    file = io.BytesIO()
    with cdblib.Writer(file) as writer:
        for key, data in pairs:
            writer.put(key, data)
    return file.getvalue()


def many(count: int) -> Records:
    return [(b"!user%d@example.com\0" % number, b"%d" % number) for number in range(count)]


@given(records)
def test_a_made_cdb_equals_that_of_another_implementation(pairs: Records) -> None:
    assert cdb.make(pairs) == oracle(pairs)


@given(records)
def test_what_was_made_is_read_in_order(pairs: Records) -> None:
    assert cdb.read(cdb.make(pairs)) == pairs


@given(records, keys)
def test_the_first_record_of_a_key_is_found(pairs: Records, other: bytes) -> None:
    data = cdb.make(pairs)
    first = dict(reversed(pairs))

    assert {key: cdb.get(data, key) for key in first} == first
    assert cdb.get(data, other) == first.get(other)


Change = tuple[bool, Records]
"""Whether a record goes, and what stands before the next one then."""

changes = st.lists(
    st.tuples(st.booleans(), st.lists(st.tuples(keys, st.binary(max_size=40)), max_size=3)),
    min_size=61,
    max_size=61,
)


def edits_of(pairs: Records, wanted: list[Change]) -> tuple[list[cdb.Edit], Records]:
    """Return what leads from ``pairs`` to other records, and these."""
    edits, after, position = [], [], cdb.RECORDS_AT
    for (key, data), (goes, new) in zip(pairs, wanted, strict=False):
        replacing = new[:1] if goes else []
        added = new[len(replacing) :]
        edits += [cdb.Edit(position, key, goes=False, new=pair) for pair in added]
        if goes:
            new_one = replacing[0] if replacing else None
            edits.append(cdb.Edit(position, key, goes=True, new=new_one))
        after += [*added, *(replacing if goes else [(key, data)])]
        position += cdb.RECORD_HEAD_SIZE + len(key) + len(data)
    _, last = wanted[-1]
    edits += [cdb.Edit(position, None, goes=False, new=pair) for pair in last]
    return edits, after + last


@given(records, changes)
def test_an_edited_cdb_is_that_of_its_records(pairs: Records, wanted: list[Change]) -> None:
    edits, after = edits_of(pairs, wanted)

    edited = b"".join(cdb.edit(cdb.make(pairs), edits))

    assert edited == cdb.make(after)


@pytest.mark.parametrize("goes", [(True, False, False), (True, True, False), (False, True, True)])
def test_records_of_one_key_are_told_apart(goes: tuple[bool, ...]) -> None:
    pairs = [(b"key", b"")] * 3
    edits, after = edits_of(pairs, [*((each, []) for each in goes), (False, [])])

    edited = b"".join(cdb.edit(cdb.make(pairs), edits))

    assert edited == cdb.make(after)


def test_a_large_cdb_is_edited_too() -> None:
    pairs = many(5000)
    wanted: list[Change] = [(False, [])] * 5001
    wanted[10] = (True, [(b"!shorter\0", b"1")])
    wanted[2500] = (True, [])
    wanted[4999] = (True, [(pairs[4999][0], b"another, longer data")])
    wanted[5000] = (False, [(b"!last\0", b"")])
    edits, after = edits_of(pairs, wanted)

    edited = b"".join(cdb.edit(cdb.make(pairs), edits))

    assert edited == cdb.make(after)


@pytest.mark.parametrize("goes", [True, False])
@pytest.mark.parametrize(
    "position, key",
    [
        (cdb.RECORDS_AT, None),
        (cdb.RECORDS_AT, b"!user1@example.com\0"),
        (cdb.RECORDS_AT + 1, b"!user0@example.com\0"),
        (0, b""),
        (1 << 20, b"!user0@example.com\0"),
    ],
)
def test_a_record_that_is_not_there_is_not_edited(
    position: int, key: bytes | None, goes: bool
) -> None:
    data = cdb.make(many(3))

    with pytest.raises(ValueError, match="cdb"):
        cdb.edit(data, [cdb.Edit(position, key, goes=goes)])


@pytest.mark.parametrize("damaged", [b"", bytes(2047), cdb.make(many(3))[:-1], bytes(2048) + b"x"])
def test_a_cdb_of_another_form_is_not_edited(damaged: bytes) -> None:
    with pytest.raises(ValueError, match="cdb"):
        cdb.edit(damaged, [])


def test_a_cdb_whose_tables_lack_the_record_is_not_edited() -> None:
    data = bytearray(cdb.make(many(1)))
    data[-16:] = bytes(16)

    with pytest.raises(ValueError, match="tables"):
        cdb.edit(bytes(data), [cdb.Edit(cdb.RECORDS_AT, b"!user0@example.com\0", goes=True)])


def test_a_large_cdb_is_right_too() -> None:
    pairs = many(20_000)

    assert cdb.make(pairs) == oracle(pairs)


def test_an_iterator_can_be_compiled() -> None:
    assert cdb.make(iter(many(3))) == cdb.make(many(3))


@given(records, st.data())
def test_a_cut_cdb_is_reported_as_damaged(pairs: Records, data: st.DataObject) -> None:
    whole = cdb.make(pairs)
    cut = whole[: data.draw(st.integers(0, max(0, len(whole) - 1)))]

    with pytest.raises(ValueError, match="cdb damaged at offset"):
        cdb.read(cut)


@given(st.binary(min_size=2048, max_size=2300))
def test_arbitrary_bytes_are_a_cdb_or_damaged(data: bytes) -> None:
    try:
        cdb.read(data)
        cdb.get(data, b"key")
    except ValueError as error:
        assert "cdb damaged at offset" in str(error)  # noqa: PT017 - either outcome is right


def test_a_lookup_ends_in_a_table_without_a_free_slot() -> None:
    damaged = bytearray(cdb.make([(b"key", b"data")]))
    (number,) = cdb._hashes([b"other"])
    struct.pack_into("<II", damaged, number % 256 * 8, 2048, 1)
    damaged[2048:2056] = struct.pack("<II", 0, 2048)

    assert cdb.get(bytes(damaged), b"other") is None


def test_a_record_that_passes_the_end_is_found_out() -> None:
    damaged = bytearray(cdb.make([(b"key", b"data")]))
    struct.pack_into("<I", damaged, 2048 + 4, 1_000_000)

    with pytest.raises(ValueError, match="offset 2048"):
        cdb.read(bytes(damaged))
    with pytest.raises(ValueError, match="offset 2048"):
        cdb.get(bytes(damaged), b"key")


def test_four_gibibytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cdb, "_SIZE_MAX", 3000)

    with pytest.raises(ValueError, match="4 GiB"):
        cdb.make(many(100))


@pytest.mark.skipif(shutil.which("cdb") is None, reason="tinycdb is not installed")
def test_tinycdb_reads_what_was_made(tmp_path: Path) -> None:
    pairs = many(500)
    path = tmp_path / "made.cdb"
    path.write_bytes(cdb.make(pairs))

    dump = subprocess.run(["cdb", "-d", path], check=True, capture_output=True).stdout
    found = subprocess.run(["cdb", "-q", path, "!user7@example.com"], check=False).returncode

    lines = [b"+%d,%d:%s->%s\n" % (len(key), len(data), key, data) for key, data in pairs]
    assert dump == b"".join(lines) + b"\n"
    assert found == 100  # no such key: the real one ends in NUL


@pytest.mark.skipif(shutil.which("cdb") is None, reason="tinycdb is not installed")
def test_what_tinycdb_made_is_read(tmp_path: Path) -> None:
    pairs = many(500)
    lines = [b"+%d,%d:%s->%s\n" % (len(key), len(data), key, data) for key, data in pairs]
    path = tmp_path / "made.cdb"

    subprocess.run(["cdb", "-c", path], check=True, input=b"".join(lines) + b"\n")

    assert cdb.read(path.read_bytes()) == pairs
    assert cdb.get(path.read_bytes(), pairs[77][0]) == b"77"
