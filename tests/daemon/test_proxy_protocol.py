"""The header of the PROXY protocol, as bytes."""

import ipaddress
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vpopsql.daemon.proxy_protocol import BadHeader, Header, parse

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V4 = b"PROXY TCP4 192.0.2.1 198.51.100.2 50000 89\r\n"
V6 = b"PROXY TCP6 2001:db8::1 2001:db8::2 50000 89\r\n"
ports = st.integers(0, 65535)


def v2(command: int, family: int, rest: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(rest)) + rest


V2 = v2(0x21, 0x11, bytes([192, 0, 2, 1, 198, 51, 100, 2]) + struct.pack("!HH", 50000, 89))


def test_version_1_tells_both_ends() -> None:
    assert parse(V4 + b"slogin") == Header(len(V4), "192.0.2.1", "198.51.100.2")
    assert parse(V6) == Header(len(V6), "2001:db8::1", "2001:db8::2")


@pytest.mark.parametrize("said", [b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ffff::1 x y\r\n"])
def test_version_1_may_know_nothing(said: bytes) -> None:
    assert parse(said + b"help\r\n") == Header(len(said))


def test_version_2_tells_both_ends_and_extensions_are_skipped() -> None:
    extended = v2(0x21, 0x11, V2[16:] + b"\x04\x00\x01x")

    assert parse(V2 + b"slogin") == Header(len(V2), "192.0.2.1", "198.51.100.2")
    assert parse(extended) == Header(len(extended), "192.0.2.1", "198.51.100.2")


@pytest.mark.parametrize("said", [v2(0x20, 0x00, b""), v2(0x20, 0x11, b"x" * 7), v2(0x21, 0, b"")])
def test_version_2_may_speak_for_the_proxy_itself(said: bytes) -> None:
    assert parse(said) == Header(len(said))


@pytest.mark.parametrize(
    "said",
    [
        b"slogin postmaster@example.com secret\r\n",
        b"\r\nslogin",
        b"PROXY\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 50000\r\n",
        b"PROXY TCP4  192.0.2.1 198.51.100.2 50000 89\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 50000 89 \r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 050000 89\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 89\r\n",
        b"PROXY TCP4 192.0.2.256 198.51.100.2 1 89\r\n",
        b"PROXY TCP4 192.0.2.01 198.51.100.2 1 89\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 1 89\r\n",
        b"PROXY TCP6 192.0.2.1 198.51.100.2 1 89\r\n",
        b"PROXY TCP5 192.0.2.1 198.51.100.2 1 89\r\n",
        b"PROXY UNKNOWNS\r\n",
        b"PROXY UNKNOWN " + b"x" * 107,
        V2.replace(b"\x21\x11", b"\x31\x11"),
        V2.replace(b"\x21\x11", b"\x22\x11"),
        v2(0x21, 0x12, b"x" * 12),
        v2(0x21, 0x31, b"x" * 216),
        v2(0x21, 0x11, b"x" * 11),
        v2(0x21, 0x21, b"x" * 12),
        v2(0x20, 0x00, b"x" * 4097),
    ],
)
def test_what_is_no_header_is_refused(said: bytes) -> None:
    with pytest.raises(BadHeader):
        parse(said)


@given(st.binary(max_size=200) | st.binary().map(lambda rest: SIGNATURE + rest))
@example(V4)
@example(V2)
def test_whatever_comes_is_taken_refused_or_waited_for(data: bytes) -> None:
    try:
        header = parse(data)
    except BadHeader:
        return
    assert header is None or 0 < header.size <= len(data)


@given(st.sampled_from([V4, V6, V2]), st.data())
def test_a_beginning_is_waited_for(whole: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(whole) - 1))

    assert parse(whole[:cut]) is None


@given(st.ip_addresses(v=4), st.ip_addresses(v=4), ports, ports)
def test_any_ipv4_connection_can_be_told(
    source: ipaddress.IPv4Address, target: ipaddress.IPv4Address, first: int, second: int
) -> None:
    text = f"PROXY TCP4 {source} {target} {first} {second}\r\n".encode()
    binary = v2(0x21, 0x11, source.packed + target.packed + struct.pack("!HH", first, second))

    assert parse(text) == Header(len(text), str(source), str(target))
    assert parse(binary) == Header(len(binary), str(source), str(target))


@given(st.ip_addresses(v=6), st.ip_addresses(v=6), ports, ports)
def test_any_ipv6_connection_can_be_told(
    source: ipaddress.IPv6Address, target: ipaddress.IPv6Address, first: int, second: int
) -> None:
    text = f"PROXY TCP6 {source} {target} {first} {second}\r\n".encode()
    binary = v2(0x21, 0x21, source.packed + target.packed + struct.pack("!HH", first, second))

    assert parse(text) == Header(len(text), str(source), str(target))
    assert parse(binary) == Header(len(binary), str(source), str(target))
