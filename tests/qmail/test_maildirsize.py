import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpopsql.qmail import maildirsize


@pytest.mark.parametrize(
    "data, sums",
    [
        (b"20971520S,2000C\n0 0\n", ("20971520S,2000C", 0, 0)),
        (b"10000000S,100C\n         80 1\n         90 1\n", ("10000000S,100C", 170, 2)),
        (b"5S\n100 1\n-100 -1\n-7 0", ("5S", -7, 0)),
        (b"5S\n100 2\n18446744073709551516 18446744073709551615\n", ("5S", 0, 1)),
        (b"5S\nrubbish\n1\n1 2 3\n1 x\n99999999999999999999999 1\n7 1\n", ("5S", 7, 1)),
        (b"", ("", 0, 0)),
        (b"\n", ("", 0, 0)),
    ],
)
def test_the_deltas_are_summed(data: bytes, sums: tuple[str, int, int]) -> None:
    assert maildirsize.parse(data) == sums


def test_a_site_s_use_is_read(small: dict[str, bytes]) -> None:
    data = small["vpopmail/domains/north.example/both/Maildir/maildirsize"]

    assert maildirsize.parse(data) == ("10000000S,100C", 170, 2)


@pytest.mark.parametrize(
    "data, is_sound",
    [
        (b"5S\n", True),
        (b"5S\n  100 1\n\n-100 -1\n", True),
        (b"5S\n18446744073709551516 18446744073709551615\n", True),
        (b"5S", False),
        (b"", False),
        (b"5S\n100 1\n20", False),
        (b"5S\n100\n", False),
        (b"5S\n1 2 3\n", False),
        (b"5S\nten 1\n", False),
    ],
)
def test_damage_is_seen(data: bytes, is_sound: bool) -> None:
    assert maildirsize.is_sound(data) == is_sound


@given(st.binary())
def test_any_bytes_have_sums(data: bytes) -> None:
    assert isinstance(maildirsize.parse(data).total_bytes, int)


@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(-100, 100))))
def test_a_negative_delta_counts_the_same_when_written_unsigned(
    deltas: list[tuple[int, int]],
) -> None:
    signed = "".join(f"{size} {count}\n" for size, count in deltas)
    unsigned = "".join(f"{size % 2**64} {count % 2**64}\n" for size, count in deltas)

    assert maildirsize.parse(f"5S\n{signed}".encode()) == maildirsize.parse(
        f"5S\n{unsigned}".encode()
    )
