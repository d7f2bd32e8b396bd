import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpopsql.qmail import dircontrol
from vpopsql.qmail.dircontrol import DirControl, FreeBucket
from vpopsql.qmail.lines import Comment, Malformed

numbers = st.integers(-(2**31), 2**31 - 1)
levels = st.tuples(numbers, numbers, numbers)
texts = st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"]))
controls = st.builds(DirControl, numbers, numbers, numbers, levels, levels, levels, levels, texts)


def test_a_site_s_counters_are_written_back_byte_for_byte(site: dict[str, bytes]) -> None:
    files = {path: data for path, data in site.items() if path.endswith("/.dir-control")}
    parsed = {path: dircontrol.parse(data) for path, data in files.items()}

    assert len(files) >= 6
    assert {
        p: dircontrol.render(c) for p, c in parsed.items() if isinstance(c, DirControl)
    } == files


def test_a_counter_is_read(small: dict[str, bytes]) -> None:
    assert dircontrol.parse(small["vpopmail/domains/crowd.example/.dir-control"]) == DirControl(
        cur_users=214, mods=(0, 2, 2), indexes=(1, 0, 0), the_dir="1"
    )


def test_a_ninth_line_is_believed() -> None:
    data = dircontrol.render(DirControl(the_dir="a"))

    assert dircontrol.parse(data + b"b\n") == DirControl(the_dir="b")


@given(controls)
def test_any_counter_reads_as_itself(control: DirControl) -> None:
    assert dircontrol.parse(dircontrol.render(control)) == control


@pytest.mark.parametrize(
    "data, number",
    [
        (b"", 0),
        (b"1\n", 1),
        (b"x\n0\n3\n0 0 0\n0 0 0\n0 0 0\n0 0 0\n\n", 1),
        (b"1\n0\n3\n0 0\n0 0 0\n0 0 0\n0 0 0\n\n", 4),
        (b"1\n0\n3\n0 0 0\n0 0 0\n0 0 0\n0 0 0 0\n\n", 7),
        (b"1\n0\n3\n0 0 0\n0 0 0\n0 0 0\n0 0 0\n\0\n", 8),
    ],
)
def test_a_damaged_counter_is_reported(data: bytes, number: int) -> None:
    malformed = dircontrol.parse(data)

    assert isinstance(malformed, Malformed)
    assert malformed.number == number


@given(st.binary())
def test_any_bytes_are_a_counter_or_malformed(data: bytes) -> None:
    assert isinstance(dircontrol.parse(data), DirControl | Malformed)


def test_free_buckets_keep_their_comments(small: dict[str, bytes]) -> None:
    data = b"# freed\n0/1\n\n" + small["vpopmail/domains/crowd.example/.dir_control_free"]
    records = [r for r in dircontrol.parse_free(data) if not isinstance(r, Malformed)]

    assert records == [
        Comment(1, "# freed"),
        FreeBucket(2, "0/1"),
        Comment(3, ""),
        FreeBucket(4, "0"),
    ]
    assert dircontrol.render_free(records) == data


@given(st.binary())
def test_any_list_of_free_buckets_reads_as_itself(data: bytes) -> None:
    records = dircontrol.parse_free(data)
    kept = [record for record in records if not isinstance(record, Malformed)]

    again = dircontrol.parse_free(dircontrol.render_free(kept))

    assert [type(record) for record in again] == [type(record) for record in kept]
    assert [record.number for record in records] == list(range(1, len(records) + 1))
