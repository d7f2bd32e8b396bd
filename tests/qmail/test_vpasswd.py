import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpopsql.qmail import cdb, vpasswd
from vpopsql.qmail.lines import Malformed
from vpopsql.qmail.vpasswd import VpasswdLine

plain = st.characters(exclude_characters="\n\0", exclude_categories=["Cs"])
fields = st.text(plain.filter(lambda c: c != ":"), max_size=10)
entries = st.builds(
    VpasswdLine,
    number=st.just(1),
    name=fields.filter(bool),
    password_hash=fields,
    apop_uid=st.integers(-(2**31), 2**32 - 1),
    flags=st.integers(-(2**31), 2**32 - 1),
    comment=fields,
    directory=fields,
    quota_text=fields,
    clear_text=st.none() | st.text(plain, max_size=10),
)


def domains(site: dict[str, bytes]) -> dict[str, bytes]:
    return {path: data for path, data in site.items() if path.endswith("/vpasswd")}


def lines_of(data: bytes) -> list[str]:
    records = vpasswd.parse(data)
    return [vpasswd.render_line(record) for record in records if isinstance(record, VpasswdLine)]


def test_every_domain_is_written_back_byte_for_byte(site: dict[str, bytes]) -> None:
    written = {path: vpasswd.render(lines_of(data)) for path, data in domains(site).items()}

    assert len(written) >= 5
    assert written == domains(site)


def test_every_domain_compiles_to_the_cdb_vpopmail_made(site: dict[str, bytes]) -> None:
    compiled = {
        f"{path}.cdb": vpasswd.compile_cdb(lines_of(data)) for path, data in domains(site).items()
    }

    assert compiled == {path: site[path] for path in compiled}


def test_a_cdb_has_the_same_mailboxes_as_its_text(small: dict[str, bytes]) -> None:
    path = "vpopmail/domains/north.example/vpasswd"

    assert vpasswd.parse_cdb(small[f"{path}.cdb"]) == vpasswd.parse(small[path])


def test_a_clear_password_keeps_its_colons_and_spaces(small: dict[str, bytes]) -> None:
    records = vpasswd.parse(small["vpopmail/domains/north.example/vpasswd"])
    by_name = {record.name: record for record in records if isinstance(record, VpasswdLine)}

    assert by_name["colonpass"].clear_text == "a:b c"
    assert by_name["starlocked"].clear_text == ""
    assert by_name["juergen"].comment == "Jürgen Müller"
    assert by_name["both"].quota_text == "10000000S,100C"
    assert by_name["allflags"].flags == 315391


def test_seven_fields_and_an_empty_eighth_stay_apart() -> None:
    records = vpasswd.parse(b"a:h:1:0:c:/d:\nb:h:1:0:c:/d::\n")

    assert [getattr(record, "clear_text", "?") for record in records] == [None, ""]
    assert lines_of(b"a:h:1:0:c:/d:\nb:h:1:0:c:/d::\n") == ["a:h:1:0:c:/d:", "b:h:1:0:c:/d::"]


def test_a_line_of_any_length_is_read() -> None:
    entry = VpasswdLine(1, "u", "h" * 100_000, 1, 0, "c", "/d", "", None)

    assert vpasswd.parse(vpasswd.render([vpasswd.render_line(entry)])) == [entry]


@given(entries)
def test_any_mailbox_reads_as_itself(entry: VpasswdLine) -> None:
    line = vpasswd.render_line(entry)

    assert vpasswd.parse(vpasswd.render([line])) == [entry]
    assert vpasswd.parse_cdb(vpasswd.compile_cdb([line])) == [entry]


@given(st.binary() | st.from_regex(rb"([a1:]*\n)*"))
def test_every_line_of_any_bytes_is_one_record(data: bytes) -> None:
    numbers = [record.number for record in vpasswd.parse(data)]

    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) == data.count(b"\n") + (not data.endswith(b"\n") and bool(data))


@given(st.binary(max_size=100))
def test_a_damaged_cdb_is_one_malformed_record(data: bytes) -> None:
    (record,) = vpasswd.parse_cdb(data)

    assert isinstance(record, Malformed)
    assert "cdb damaged at offset" in record.reason


@pytest.mark.parametrize(
    "line, reason",
    [
        (b"", "fewer than 7 fields"),
        (b"a:h:1:0:c:/d", "fewer than 7 fields"),
        (b":h:1:0:c:/d:", "no name"),
        (b"a:h::0:c:/d:", "no number"),
        (b"a:h:1:x:c:/d:", "no number"),
        (b"a\0:h:1:0:c:/d:", "NUL"),
    ],
)
def test_a_line_that_is_no_mailbox_is_reported(line: bytes, reason: str) -> None:
    (record,) = vpasswd.parse(line + b"\n")

    assert isinstance(record, Malformed)
    assert record.number == 1
    assert reason in record.reason


def test_a_newline_in_a_cdb_is_reported() -> None:
    (record,) = vpasswd.parse_cdb(cdb.make([(b"a", b"h:1:0:c\nd:/d:")]))

    assert isinstance(record, Malformed)


@pytest.mark.parametrize(
    "entry",
    [
        VpasswdLine(1, "", "h", 1, 0, "c", "/d", ""),
        VpasswdLine(1, "a:b", "h", 1, 0, "c", "/d", ""),
        VpasswdLine(1, "a", "h", 1, 0, "c:d", "/d", ""),
        VpasswdLine(1, "a", "h", 1, 0, "c", "/d\n", ""),
        VpasswdLine(1, "a", "h", 1, 0, "c", "/d", "", "x\ny"),
    ],
)
def test_a_mailbox_that_would_not_come_back_is_not_written(entry: VpasswdLine) -> None:
    with pytest.raises(ValueError, match=r"no name|cannot be written"):
        vpasswd.render_line(entry)
