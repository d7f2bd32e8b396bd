import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpopsql.qmail import cdb, control
from vpopsql.qmail.control import Host, VirtualDomain
from vpopsql.qmail.lines import Comment, Malformed

HOST_FILES = ("rcpthosts", "locals")


@pytest.mark.parametrize("name", HOST_FILES)
def test_a_site_s_host_names_are_written_back_byte_for_byte(
    site: dict[str, bytes], name: str
) -> None:
    data = site[f"qmail/control/{name}"]
    hosts = [record for record in control.parse_hosts(data) if isinstance(record, Host)]

    assert control.render_hosts(hosts) == data
    assert control.render_hosts(host.name for host in hosts) == data


def test_a_site_s_virtual_domains_are_written_back_byte_for_byte(site: dict[str, bytes]) -> None:
    data = site["qmail/control/virtualdomains"]
    records = [r for r in control.parse_virtualdomains(data) if isinstance(r, VirtualDomain)]

    assert control.render_virtualdomains(records) == data


def test_blank_lines_and_comments_are_records() -> None:
    assert control.parse_hosts(b"# mine\n\na.org \t\n .b.org\n#") == [
        Host(1, "# mine", comment=True),
        Host(2, "", comment=True),
        Host(3, "a.org"),
        Host(4, " .b.org"),
        Host(5, "#", comment=True),
    ]


def test_every_form_of_a_virtual_domain_is_read() -> None:
    data = b"a.org:a.org\nu@a.org:b\n.c.org:c\n:d\nno.org:\nx:y:z\n# c\n \nnothing\na\0:b\n"

    assert control.parse_virtualdomains(data) == [
        VirtualDomain(1, "a.org", "a.org"),
        VirtualDomain(2, "u@a.org", "b"),
        VirtualDomain(3, ".c.org", "c"),
        VirtualDomain(4, "", "d"),
        VirtualDomain(5, "no.org", ""),
        VirtualDomain(6, "x", "y:z"),
        Comment(7, "# c"),
        Comment(8, ""),
        Malformed(9, "nothing", "it has no colon"),
        Malformed(10, "a\0:b", "it has a NUL"),
    ]


@given(st.binary() | st.from_regex(rb"([ab.:#@ \t]*\n)*"))
def test_any_host_names_read_as_themselves_once_written(data: bytes) -> None:
    records = control.parse_hosts(data)
    hosts = [record for record in records if isinstance(record, Host)]

    again = control.parse_hosts(control.render_hosts(hosts))

    assert [(r.name, r.comment) for r in again if isinstance(r, Host)] == [
        (r.name, r.comment) for r in hosts
    ]
    assert [record.number for record in records] == list(range(1, len(records) + 1))


@given(st.binary() | st.from_regex(rb"([ab.:#@ \t]*\n)*"))
def test_any_virtual_domains_read_as_themselves_once_written(data: bytes) -> None:
    records = control.parse_virtualdomains(data)
    kept = [record for record in records if not isinstance(record, Malformed)]

    written = control.render_virtualdomains(kept)

    assert (
        control.render_virtualdomains(
            [r for r in control.parse_virtualdomains(written) if not isinstance(r, Malformed)]
        )
        == written
    )
    assert len(control.parse_virtualdomains(written)) == len(kept)
    assert [record.number for record in records] == list(range(1, len(records) + 1))


@pytest.mark.parametrize("name", ["", "# no", "a.org ", "a\nb", "a\0"])
def test_a_host_name_that_would_not_come_back_is_not_written(name: str) -> None:
    with pytest.raises(ValueError, match=r"host names|newline"):
        control.render_hosts([name])


@pytest.mark.parametrize(
    "record",
    [
        VirtualDomain(1, "a:b", "c"),
        VirtualDomain(1, "#a", "c"),
        VirtualDomain(1, "a", "c "),
        VirtualDomain(1, "a", "c\nd:e"),
        Comment(1, "a:b"),
    ],
)
def test_a_virtual_domain_that_would_not_come_back_is_not_written(
    record: VirtualDomain | Comment,
) -> None:
    with pytest.raises(ValueError, match=r"virtualdomains|written|newline"):
        control.render_virtualdomains([record])


@pytest.mark.parametrize(
    "data, value",
    [(b"mail.a.org\n", "mail.a.org"), (b"a \t\nb\n", "a"), (b"a", "a"), (b"", "")],
)
def test_a_one_line_file_has_its_first_line_as_value(data: bytes, value: str) -> None:
    assert control.parse_single(data) == value


def test_morercpthosts_has_lower_case_keys_without_data() -> None:
    compiled = control.compile_morercpthosts(["A.org", "b.org", ".C.org"])

    assert cdb.read(compiled) == [(b"a.org", b""), (b"b.org", b""), (b".c.org", b"")]
