"""``ip_alias_map``: the domain that a connection to one of the host's addresses means.

``address domain``, a line each; the first line for an address wins. An IPv6 address has no scope
(``%eth0``): that is a name of one host, and no connection is compared with it.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from vpopsql.qmail.lines import Comment, Malformed, check_field, join_lines, split_lines

_WORDS = 2


@dataclass(frozen=True, slots=True)
class IpMapping:
    """A line. ``address`` is spelled as in the file, since vpopmail compares the text."""

    number: int
    address: str
    domain: str


def parse(data: bytes) -> list[IpMapping | Comment | Malformed]:
    """Return the lines of the map, comments and blank lines included."""
    return [_parse_line(number, text) for number, text in split_lines(data)]


def render(records: Iterable[IpMapping | Comment]) -> bytes:
    """Return a map of ``records`` in their order.

    :raises ValueError: an address is none, or a domain is not one word.
    """
    lines = []
    for record in records:
        line = (
            check_field(record.text, "")
            if isinstance(record, Comment)
            else f"{record.address} {record.domain}"
        )
        if type(_parse_line(0, line)) is not type(record):
            raise ValueError(f"not a line of ip_alias_map: {line!r}")
        lines.append(line)
    return join_lines(lines)


def _parse_line(number: int, text: str) -> IpMapping | Comment | Malformed:
    if "\0" in text:
        return Malformed(number, text, "it has a NUL")
    if text.startswith("#") or not text.strip(" \t"):
        return Comment(number, text)
    words = [word for word in text.replace("\t", " ").split(" ") if word]
    if len(words) != _WORDS:
        return Malformed(number, text, "it is not an address and a domain")
    address, domain = words
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return Malformed(number, text, "its first word is no IP address")
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.scope_id is not None:
        return Malformed(number, text, "its first word is an address with a scope")
    return IpMapping(number, address, domain)
