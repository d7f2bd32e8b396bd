import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpopsql.names import sort_key
from vpopsql.qmail import assign, cdb
from vpopsql.qmail.assign import Assignment
from vpopsql.qmail.lines import Malformed

ids = st.integers(0, 2**32 - 1)
fields = st.text(st.characters(exclude_characters=":\n\0", exclude_categories=["Cs"]), max_size=12)
assignments = st.builds(
    Assignment,
    number=st.just(1),
    wildcard=st.booleans(),
    local=fields,
    user=fields,
    uid=ids,
    gid=ids,
    directory=fields,
    dash=fields,
    ext=fields,
    rest=fields | st.just("::"),
)


def parsed(data: bytes) -> list[Assignment]:
    return [record for record in assign.parse(data) if isinstance(record, Assignment)]


def reasons(data: bytes) -> list[tuple[int, str]]:
    records = assign.parse(data)
    return [(record.number, record.reason) for record in records if isinstance(record, Malformed)]


def test_a_site_is_read_and_written_back_byte_for_byte(site: dict[str, bytes]) -> None:
    data = site["qmail/users/assign"]

    assert reasons(data) == []
    assert assign.render(map(assign.render_line, parsed(data))) == data


def test_a_site_compiles_to_what_qmail_newu_made(site: dict[str, bytes]) -> None:
    lines = map(assign.render_line, parsed(site["qmail/users/assign"]))

    assert assign.compile_cdb(lines) == site["qmail/users/cdb"]


def test_the_domains_of_a_site_are_told_from_other_lines(small: dict[str, bytes]) -> None:
    records = parsed(small["qmail/users/assign"])

    others = [record.local for record in records if not assign.is_domain(record)]
    domains = [record for record in records if assign.is_domain(record)]
    assert others == ["joe-", "root"]
    assert [record.local for record in domains if record.user == "multi.example"] == [
        "multi.example-",
        "www.multi.example-",
        "multi.test-",
        "xn--mlti-0ra.example-",
    ]


def test_a_site_is_in_the_order_of_the_sort_key(site: dict[str, bytes]) -> None:
    locals_ = [record.local.removesuffix("-") for record in parsed(site["qmail/users/assign"])]

    assert locals_ == sorted(locals_, key=sort_key)


def test_the_line_of_a_domain_is_the_one_vpopmail_writes() -> None:
    line = assign.domain_line("b.org", "a.org", 89, 89, "/home/vpopmail/domains/a.org")

    assert line == "+b.org-:a.org:89:89:/home/vpopmail/domains/a.org:-::"
    assert assign.is_domain(parsed(assign.render([line]))[0])


@given(assignments)
def test_any_assignment_reads_as_itself(assignment: Assignment) -> None:
    assert assign.parse(assign.render([assign.render_line(assignment)])) == [assignment]


@given(st.binary() | st.from_regex(rb"([=+.]?[a:\n]*)*"))
def test_every_line_of_any_bytes_is_accounted_for(data: bytes) -> None:
    numbers = [record.number for record in assign.parse(data)]

    assert len(set(numbers)) == len(numbers)
    assert len(data.split(b"\n")) + 1 >= len(numbers)


@pytest.mark.parametrize(
    "line, reason",
    [
        (b"", "it starts with neither '=' nor '+'"),
        (b"# comment:::::::", "it starts with neither '=' nor '+'"),
        (b"+a-:a:1:1:/a:-:", "it has fewer than 7 colons"),
        (b"+a-:a:x:1:/a:-::", "its uid or gid is no number"),
        (b"+a-:a:1:99999999999:/a:-::", "its uid or gid is no number"),
        (b"+a-:a\0:1:1:/a:-::", "it has a NUL"),
    ],
)
def test_a_line_that_is_none_is_reported(line: bytes, reason: str) -> None:
    assert reasons(line + b"\n.\n") == [(1, reason)]


@pytest.mark.parametrize(
    "data, number, reason",
    [
        (b"", 1, "the final '.' is missing"),
        (b"+a-:a:1:1:/a:-::\n", 2, "the final '.' is missing"),
        (b"+a-:a:1:1:/a:-::", 2, "the final '.' and the last line's newline is missing"),
        (b".\n+a-:a:1:1:/a:-::\n", 2, "it stands behind the final '.'"),
        (b".\n.\n", 2, "it stands behind the final '.'"),
        (b".end\n", 1, "a line that starts with '.' ends the file"),
    ],
)
def test_a_wrong_end_is_reported(data: bytes, number: int, reason: str) -> None:
    assert reasons(data) == [(number, reason)]


def test_duplicates_and_text_behind_the_last_colon_are_kept() -> None:
    data = b"+a.b-:a.b:1:1:/a:-::\n+a.b-:a.b:1:1:/b:-::more:text\n."

    assert [(a.number, a.directory, a.rest) for a in parsed(data)] == [
        (1, "/a", ""),
        (2, "/b", "more:text"),
    ]


@pytest.mark.parametrize("bad", ["a:b", "a\nb", "a\0b"])
def test_a_field_that_would_break_the_line_is_not_written(bad: str) -> None:
    with pytest.raises(ValueError, match=r"colon|cannot be written"):
        assign.domain_line("a.org", "a.org", 89, 89, f"/home/{bad}")


@pytest.mark.parametrize(
    "line", ["", "=a:b", ":a:b:c:d:e:f:g", ".a:b:c:d:e:f:g:", "=a\0:b:1:1:::"]
)
def test_a_line_that_qmail_newu_would_refuse_is_not_compiled(line: str) -> None:
    with pytest.raises(ValueError, match="no line of users/assign"):
        assign.compile_cdb([line])


def test_keys_are_lower_case_and_the_wildcards_last_characters_are_listed() -> None:
    lines = ["+A.org-:u:1:1:/a:-::", "=B.org-X:u:1:1:/b:-:x:", "+c_:u:1:1:/c:::", "+:u:1:1:/d:::"]

    assert cdb.read(assign.compile_cdb(lines)) == [
        (b"!a.org-", b"u\x001\x001\x00/a\x00-\x00"),
        (b"!b.org-x\0", b"u\x001\x001\x00/b\x00-\x00x"),
        (b"!c_", b"u\x001\x001\x00/c\x00\x00"),
        (b"!", b"u\x001\x001\x00/d\x00\x00"),
        (b"", b"-_"),
    ]


locals_ = st.text("aB=!+", max_size=3)
assign_lines = st.builds(
    "{}{}:u:1:1:/h:{}:{}:{}".format,
    st.sampled_from("=+!"),
    locals_,
    st.sampled_from(["", "-"]),
    locals_,
    st.sampled_from(["", "", "", "rest:"]),
)


@given(st.lists(assign_lines))
def test_a_whole_file_is_compiled_as_its_lines_are(lines: list[str]) -> None:
    assert assign.compile_text(assign.render(lines)) == assign.compile_cdb(lines)


@pytest.mark.parametrize("line", ["", "=a:b:1:1:/:-:ext", "=a\0:b:1:1:::"])
def test_a_file_that_qmail_newu_would_refuse_is_not_compiled(line: str) -> None:
    lines = ["=a:b:1:1:/:::", line, "=c:b:1:1:/:::"]

    with pytest.raises(ValueError, match="no line of users/assign"):
        assign.compile_text(assign.render(lines))


@pytest.mark.parametrize("text", [b"", b"=a:b:1:1:/:::\n", b"=a:b:1:1:/:::\n=.\n"])
def test_a_file_without_an_end_is_not_compiled(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"has no final '\.'"):
        assign.compile_text(text)


def test_what_stands_behind_the_end_is_not_compiled() -> None:
    assert assign.compile_text(b".\n=a:b:1:1:/:::\n") == assign.compile_cdb([])


def test_the_exact_lines_of_a_files_domains_are_told_from_those_of_others() -> None:
    data = (
        b"+a.org-:a.org:89:89:/a:-::\n"
        b"=a.org-joe:a.org:89:89:/a/joe:::\n"
        b"=A.org-first-last:A.ORG:89:89:/a/first-last:::\n"
        b"=b.org-ann:a.org:89:89:/a/ann:::\n"
        b"+b.org-:a.org:89:89:/a:-::\n"
        b"=a.org-root:root:0:0:/root:::\n"
        b"=a.org-other:a.org:1:1:/a/other:::\n"
        b"=a.org-list:a.org:89:89:/a:-:list:\n"
        b"=c.org-joe:c.org:89:89:/c/joe:::\n"
        b"+a.org-jo:a.org:89:89:/a/jo:::\n.\n"
    )

    assert assign.exact_lines(assign.parse(data)) == {2, 3, 4}
