import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpopsql.quota import QUOTA_MAX, Quota

limits = st.none() | st.integers(1, QUOTA_MAX)


@pytest.mark.parametrize(
    "text, size, messages",
    [
        ("NOQUOTA", None, None),
        ("", None, None),
        ("0", None, None),
        ("0S,0C", None, None),
        ("rubbish", None, None),
        ("-5", None, None),
        ("1000000", 1_000_000, None),
        ("10M", 10 * 1024 * 1024, None),
        ("20MB", 20 * 1024 * 1024, None),
        ("20mb", 20 * 1024 * 1024, None),
        ("100K", 100 * 1024, None),
        ("100ks", 100 * 1024, None),
        ("5B", 5, None),
        ("60000000S", 60_000_000, None),
        ("5000C", None, 5000),
        ("10000000S,100C", 10_000_000, 100),
        ("100C,10000000S", 10_000_000, 100),
        ("10M, 5C", 10 * 1024 * 1024, 5),
        ("1S,2S", 2, None),
        ("1G", 1, None),
        ("5c", 5, None),
        ("9" * 25 + "C", None, QUOTA_MAX),
        ("9" * 5000 + "M", QUOTA_MAX, None),
        ("0" * 5000 + "7", 7, None),
    ],
)
def test_a_text_means_what_it_means_to_vpopmail(
    text: str, size: int | None, messages: int | None
) -> None:
    assert Quota.parse(text) == Quota(size, messages)


@pytest.mark.parametrize(
    "quota, text",
    [
        (Quota(), "NOQUOTA"),
        (Quota(0, 0), "NOQUOTA"),
        (Quota(bytes=10), "10S"),
        (Quota(messages=5), "5C"),
        (Quota(10, 5), "10S,5C"),
    ],
)
def test_a_quota_is_written_in_its_normal_form(quota: Quota, text: str) -> None:
    assert quota.render() == text


@given(limits, limits)
def test_a_written_quota_reads_as_itself(size: int | None, messages: int | None) -> None:
    quota = Quota(size, messages)

    assert Quota.parse(quota.render()) == quota


@given(st.text() | st.from_regex(r"[0-9KMBSC, ]*"))
def test_any_text_is_a_quota(text: str) -> None:
    quota = Quota.parse(text)

    assert Quota.parse(quota.render()) == quota
