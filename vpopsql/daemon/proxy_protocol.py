"""The PROXY protocol: what a proxy says of its client before it passes on what the client says.

::

    v1  = "PROXY " ("TCP4 " v4 SP v4 / "TCP6 " v6 SP v6) SP port SP port CR LF
        / "PROXY UNKNOWN" *byte CR LF                                  ; 107 bytes in all at most
    v2  = %x0D.0A.0D.0A.00.0D.0A.51.55.49.54.0A version-command family length(2) address *tlv

Bytes only, no sockets. Strict: whatever is not one of these is refused, and nothing is guessed.
Extensions (TLVs) of version 2 are skipped.

Source: HAProxy's proxy-protocol.txt, versions 1 and 2.
"""

import ipaddress
import re
from dataclasses import dataclass

from vpopsql.errors import VpopsqlError

_V1 = b"PROXY "
_V1_MAX = 107
_V2 = b"\r\n\r\n\0\r\nQUIT\n"
_V2_FIXED = len(_V2) + 4
_V2_REST_MAX = 4096
"""Bytes of addresses and extensions that are taken; real ones are some hundred."""

_LOCAL, _PROXY = 0x20, 0x21
_UNSPECIFIED = 0x00
_ADDRESS_SIZES = {0x11: 4, 0x21: 16}
"""TCP over IPv4 and IPv6 -> bytes of an address."""

_PORTS_SIZE = 4
_ENDPOINTS = re.compile(rb"(TCP4|TCP6) ([0-9a-fA-F.:]+) ([0-9a-fA-F.:]+) (\d{1,5}) (\d{1,5})")
_UNKNOWN = re.compile(rb"UNKNOWN( .*)?", re.DOTALL)
_PORT_MAX = 65535


class BadHeader(VpopsqlError):
    """What should be a header of the PROXY protocol is none."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a proxy has said."""

    size: int
    """Bytes that it took."""
    source: str = ""
    """The client's IP address; empty: the proxy speaks for itself, or does not know."""
    destination: str = ""
    """The IP address that the client has connected to."""


def parse(data: bytes) -> Header | None:
    """Return the header that ``data`` begins with; None: more has to come.

    :raises BadHeader: it begins with none, whatever may come.
    """
    if data.startswith(_V2[: len(data)]):
        return _parse_v2(data) if len(data) >= _V2_FIXED else None
    if data.startswith(_V1[: len(data)]):
        return _parse_v1(data)
    raise BadHeader("no header of the PROXY protocol")


def _parse_v1(data: bytes) -> Header | None:
    end = data.find(b"\r\n", 0, _V1_MAX)
    if end < 0:
        if len(data) >= _V1_MAX:
            raise BadHeader("the header is too long")
        return None
    said = data[len(_V1) : end]
    if _UNKNOWN.fullmatch(said):
        return Header(end + 2)
    found = _ENDPOINTS.fullmatch(said)
    if not found or not all(map(_is_port, found.groups()[3:])):
        raise BadHeader("the header is not of the form of version 1")
    kind = ipaddress.IPv4Address if found[1] == b"TCP4" else ipaddress.IPv6Address
    try:
        source, destination = (str(kind(found[n].decode())) for n in (2, 3))
    except ValueError:
        raise BadHeader("an address in the header is none") from None
    return Header(end + 2, source, destination)


def _is_port(digits: bytes) -> bool:
    return int(digits) <= _PORT_MAX and str(int(digits)).encode() == digits


def _parse_v2(data: bytes) -> Header | None:
    command, family = data[len(_V2)], data[len(_V2) + 1]
    rest = int.from_bytes(data[len(_V2) + 2 : _V2_FIXED])
    if command not in {_LOCAL, _PROXY}:
        raise BadHeader("the header's version or command is unknown")
    if rest > _V2_REST_MAX:
        raise BadHeader("the header is too long")
    is_known = command == _PROXY and family != _UNSPECIFIED
    if is_known and family not in _ADDRESS_SIZES:
        raise BadHeader("the header tells of no TCP connection")
    size = _ADDRESS_SIZES.get(family, 0)
    if is_known and rest < 2 * size + _PORTS_SIZE:
        raise BadHeader("the header is too short for its addresses")
    if len(data) < _V2_FIXED + rest:
        return None
    if not is_known:
        return Header(_V2_FIXED + rest)
    source, destination = (
        str(ipaddress.ip_address(data[start : start + size]))
        for start in (_V2_FIXED, _V2_FIXED + size)
    )
    return Header(_V2_FIXED + rest, source, destination)
