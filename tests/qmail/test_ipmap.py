import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import factories
from vpopsql.db import Database
from vpopsql.errors import InvalidIp
from vpopsql.model import Flag
from vpopsql.qmail import ipmap
from vpopsql.qmail.ipmap import IpMapping
from vpopsql.qmail.lines import Comment, Malformed
from vpopsql.services import ipmaps
from vpopsql.services.rights import Actor

HOME = "/home/vpopmail/domains/example.com"
ROOT = Actor(1, "root", 1, "example.com", HOME, f"{HOME}/root", Flag.SA_ADMIN, "/home/vpopmail")


def test_a_site_s_map_is_written_back_byte_for_byte(site: dict[str, bytes]) -> None:
    data = site["vpopmail/etc/ip_alias_map"]
    records = [record for record in ipmap.parse(data) if isinstance(record, IpMapping)]

    assert len(records) >= 1
    assert ipmap.render(records) == data


def test_every_line_of_a_map_is_a_record() -> None:
    data = (
        b"192.0.2.1\t a.org \n# c\n\n2001:db8::1 b.org\n192.0.2.300 c.org\nd.org\n::1 e f\n\0 g\n"
        b"fe80::1%eth0 h.org\n"
    )

    assert ipmap.parse(data) == [
        IpMapping(1, "192.0.2.1", "a.org"),
        Comment(2, "# c"),
        Comment(3, ""),
        IpMapping(4, "2001:db8::1", "b.org"),
        Malformed(5, "192.0.2.300 c.org", "its first word is no IP address"),
        Malformed(6, "d.org", "it is not an address and a domain"),
        Malformed(7, "::1 e f", "it is not an address and a domain"),
        Malformed(8, "\0 g", "it has a NUL"),
        Malformed(9, "fe80::1%eth0 h.org", "its first word is an address with a scope"),
    ]


@given(st.ip_addresses().map(str), st.from_regex(r"[a-z.-]+", fullmatch=True))
def test_any_mapping_reads_as_itself(address: str, domain: str) -> None:
    mapping = IpMapping(1, address, domain)

    assert ipmap.parse(ipmap.render([mapping])) == [mapping]


@given(st.binary() | st.from_regex(rb"([0-9.: a]*\n)*"))
def test_what_any_bytes_say_can_be_written(data: bytes) -> None:
    records = ipmap.parse(data)
    kept = [record for record in records if not isinstance(record, Malformed)]

    assert len(ipmap.parse(ipmap.render(kept))) == len(kept)
    assert [record.number for record in records] == list(range(1, len(records) + 1))


@pytest.mark.parametrize(
    "record",
    [
        IpMapping(1, "nowhere", "a.org"),
        IpMapping(1, "fe80::1%eth0", "a.org"),
        IpMapping(1, "192.0.2.1", ""),
        IpMapping(1, "192.0.2.1", "a b"),
        IpMapping(1, "192.0.2.1", "a\n192.0.2.2 b"),
        Comment(1, "192.0.2.1 a.org"),
    ],
)
def test_a_mapping_that_would_not_come_back_is_not_written(record: IpMapping | Comment) -> None:
    with pytest.raises(ValueError, match=r"ip_alias_map|newline"):
        ipmap.render([record])


def test_a_scope_is_refused_by_the_database_s_map_as_by_the_file_s(database: Database) -> None:
    with database.writer() as session:
        factories.domain(session, "example.com")

    with database.writer() as session:
        assert ipmaps.find_mapping(session, "fe80::2%eth0") is None
        with pytest.raises(InvalidIp):
            ipmaps.add_mapping(session, ROOT, "fe80::2%eth0", "example.com")
        assert ipmaps.list_mappings(session) == []
