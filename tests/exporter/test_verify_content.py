"""Comparing contents: whatever bytes are found, and nothing of them shown."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpopsql.exporter.drift import content
from vpopsql.exporter.drift.content import Damaged, Detail
from vpopsql.qmail import assign, cdb, vpasswd

Compare = Callable[[bytes, bytes], list[Detail]]

TEXTS: dict[str, tuple[Compare, bytes]] = {
    "hosts": (content.hosts, b"a.example\nb.example\n"),
    "virtualdomains": (content.virtualdomains, b"a.example:a.example\n"),
    "assignments": (content.assignments, b"+a.example-:a.example:89:89:/a:-::\n.\n"),
    "accounts": (content.accounts, b"alice:hash:1:0:Alice:/a/alice:NOQUOTA\n"),
    "dot_qmail": (content.dot_qmail, b"&alice@a.example\n"),
    "limit_settings": (content.limit_settings, b"maxpopaccounts 7\n"),
    "counter": (content.counter, b"1\n0\n3\n0 0 0 \n61 61 61 \n0 2 4 \n0 0 0 \n\n"),
    "free_buckets": (content.free_buckets, b"0\n1\n"),
    "ip_map": (content.ip_map, b"10.0.0.1 a.example\n"),
}
CDBS: dict[str, tuple[Compare, bytes]] = {
    "users": (content.users_cdb, assign.compile_cdb(["+a.example-:a.example:89:89:/a:-::"])),
    "hosts": (content.hosts_cdb, cdb.make([(b"a.example", b"")])),
    "accounts": (content.accounts_cdb, vpasswd.compile_cdb(["alice:hash:1:0:A:/a:NOQUOTA"])),
}
texts = pytest.mark.parametrize("compare, wanted", TEXTS.values(), ids=TEXTS)
cdbs = pytest.mark.parametrize("compare, wanted", CDBS.values(), ids=CDBS)

lines = st.lists(st.binary(max_size=40), max_size=6).map(b"\n".join)


@texts
@given(found=st.one_of(st.binary(max_size=200), lines))
def test_any_bytes_can_be_compared(compare: Compare, wanted: bytes, found: bytes) -> None:
    details = compare(wanted, found)

    assert all("\n" not in detail.text for detail in details)


@texts
def test_a_text_does_not_differ_from_itself(compare: Compare, wanted: bytes) -> None:
    assert compare(wanted, wanted) == []


@texts
@given(again=st.integers(1, 3))
def test_a_text_that_is_gone_differs(compare: Compare, wanted: bytes, again: int) -> None:
    assert compare(wanted * again, b"\n" * again)


@cdbs
@given(found=st.binary(max_size=4096))
def test_a_cdb_of_any_bytes_is_compared_or_damaged(
    compare: Compare, wanted: bytes, found: bytes
) -> None:
    with pytest.raises(Damaged) as caught:
        compare(wanted, found)

    assert str(caught.value).startswith(("it is empty", "cdb damaged"))


@cdbs
@given(records=st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9)), max_size=9))
def test_a_cdb_of_any_records_is_compared(
    compare: Compare, wanted: bytes, records: list[tuple[bytes, bytes]]
) -> None:
    assert compare(wanted, cdb.make(records))
    assert compare(wanted, wanted) == []


def test_the_order_of_a_cdbs_records_does_not_matter() -> None:
    records = [(b"alice", b"x:1:0:A:/a:NOQUOTA"), (b"bob", b"y:1:0:B:/b:NOQUOTA")]

    assert content.accounts_cdb(cdb.make(records), cdb.make(records[::-1])) == []


def test_of_two_records_with_one_key_the_first_is_the_answer() -> None:
    mine, other = (b"a.example", b"1"), (b"a.example", b"2")

    assert content.hosts_cdb(cdb.make([mine]), cdb.make([mine, other])) == []
    assert content.hosts_cdb(cdb.make([mine]), cdb.make([other, mine])) != []


@pytest.mark.parametrize(
    "line, said",
    [
        (b"alice:HASH:1:0:Alice:/a/alice:NOQUOTA", "alice differs: password"),
        (b"alice:hash:2:0:Alice:/a/alice:NOQUOTA", "alice differs: uid"),
        (b"alice:hash:1:8:Alice:/a/alice:NOQUOTA", "alice differs: flags"),
        (b"alice:hash:1:0:ALICE:/a/alice:NOQUOTA", "alice differs: comment"),
        (b"alice:hash:1:0:Alice:/elsewhere:NOQUOTA", "alice differs: directory"),
        (b"alice:hash:1:0:Alice:/a/alice:5S", "alice differs: quota"),
        (b"alice:hash:1:0:Alice:/a/alice:NOQUOTA:pass:word", "alice differs: clear password"),
        (b"alice:HASH:2:0:Alice:/a/alice:5S", "alice differs: password, uid, quota"),
        (b"alice:hash", "alice differs: it has too few fields"),
    ],
    ids=str,
)
def test_the_fields_of_an_account_are_named(line: bytes, said: str) -> None:
    wanted = TEXTS["accounts"][1]
    compiled = vpasswd.compile_cdb([wanted.decode().rstrip("\n")])

    assert content.accounts(wanted, line + b"\n")[0].text == said
    assert content.accounts_cdb(compiled, vpasswd.compile_cdb([line.decode()])) == [
        Detail("alice", said)
    ]


@pytest.mark.parametrize(
    "name",
    [b"$1$Sa1tSa1t$jIAWQh25ZR2Tn11uDIhCr0", b"x" * 43],
    ids=["hash", "longer than a name"],
)
def test_what_may_be_a_torn_line_is_not_shown(name: bytes) -> None:
    details = content.accounts(b"", name + b":1:0:Alice:/a/alice:NOQUOTA:\n")

    assert details[0].text == "has a line without a plain name besides"
    assert name.decode() not in str(details)


@pytest.mark.parametrize(
    "subject, is_about",
    [
        ("example.com", True),
        ("example.com-*", True),
        ("example.com-alice", True),
        ("", True),
        ("example.com.br", False),
        ("www.example.com", False),
    ],
)
def test_a_difference_is_about_a_name_and_what_is_below_it(subject: str, is_about: bool) -> None:
    assert content.concerns(Detail(subject, ""), ["example.com"]) is is_about
