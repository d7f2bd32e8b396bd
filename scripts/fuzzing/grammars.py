"""The targets that only read bytes: the line reader, a proxy's header, every grammar of files.

Of each grammar two things are asked: any bytes are taken, or refused with the one error that is
documented; and what was understood is understood the same way once it is written and read again.
"""

import ipaddress
import re
import struct
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from scripts.fuzzing import require
from vpopsql import names
from vpopsql.daemon import proxy_protocol
from vpopsql.daemon.proxy_protocol import BadHeader, Header
from vpopsql.protocol import LineReader, decode, encode, parse_command, stuff, unstuff
from vpopsql.qmail import (
    assign,
    cdb,
    control,
    dircontrol,
    dotqmail,
    ipmap,
    limits,
    lines,
    maildirsize,
    strength,
    vpasswd,
)
from vpopsql.qmail.lines import Comment, Malformed
from vpopsql.quota import Quota, find_doubt

_LIMIT = 40
_HOME = "/home/vpopmail"


def line_reader(data: bytes) -> None:
    """How bytes are cut makes no difference; commands and files come back as they were."""
    step = data[0] % 7 + 1 if data else 1
    cut, whole = LineReader(_LIMIT), LineReader(_LIMIT)
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    found = [line for piece in pieces for line in cut.feed(piece)]
    require(found == list(whole.feed(data)), "cuts make no difference")
    require(len(found) == data.count(b"\n"), "a line for each line end")
    require(cut.has_begun == whole.has_begun, "the rest is the same")
    for raw in data.split(b"\n"):
        text = decode(raw)
        require(encode(text) == raw.strip(b"\r"), "text comes back")
        require(unstuff(stuff(text)) == text, "a stuffed line comes back")
        _, words = parse_command(text)
        words.copy().numbers()
        while words.next():
            pass
        require(not words.rest(), "nothing is behind the last word")


def read_proxy_header(data: bytes) -> None:
    """Headers of proxies: how bytes are cut, and what is behind, make no difference."""
    found = _header(data)
    size = found.size if isinstance(found, Header) else len(data)
    for end in {0, 5, 6, 11, 15, 16, size // 2, size - 1, size, len(data)} & {*range(len(data))}:
        part = _header(data[:end])
        if isinstance(found, Header):
            require(part == (found if end >= size else None), "it is waited for, to the last byte")
        elif found is None:
            require(part is None, "a beginning is waited for")
    if found is None:
        require(len(data) < _PROXY_HEADER_MAX, "it is not waited for without end")
    else:
        require(_header(data + b"\r\nhelp\r\n") == found, "what is behind makes no difference")
    if isinstance(found, Header):
        require(0 < size <= len(data), "it is among what has come")
        require(bool(found.source) == bool(found.destination), "both ends, or none")
        if found.source:
            _tell_again(found)


_PROXY_HEADER_MAX = 16 + 4096
"""Bytes that are waited for at most; version 2 has the longer one."""


def _header(data: bytes) -> Header | str | None:
    """Return what `parse` does; of a header that is none, why."""
    try:
        return proxy_protocol.parse(data)
    except BadHeader as error:
        return str(error)


def _tell_again(header: Header) -> None:
    """Require that both versions tell the same two ends."""
    ends = [ipaddress.ip_address(each) for each in (header.source, header.destination)]
    require([str(each) for each in ends] == [header.source, header.destination], "as one writes")
    version = ends[0].version
    require(version == ends[1].version, "both of one family")
    text = f"PROXY TCP{version} {ends[0]} {ends[1]} 1 65535\r\n".encode()
    addresses = ends[0].packed + ends[1].packed + struct.pack("!HH", 1, 65535)
    start = struct.pack("!BBH", 0x21, 0x11 if version == 4 else 0x21, len(addresses))  # noqa: PLR2004
    for data in (text, b"\r\n\r\n\0\r\nQUIT\n" + start + addresses):
        require(_header(data) == replace(header, size=len(data)), "both versions say the same")


def _again(
    data: bytes,
    parse: Callable[[bytes], Iterable[Any]],
    render: Callable[[list[Any]], bytes],
) -> None:
    """Require that what is understood is the same once it is written and read again."""
    good = [record for record in parse(data) if not isinstance(record, Malformed)]
    again = list(parse(render(good)))
    require(
        [replace(record, number=0) for record in again]
        == [replace(record, number=0) for record in good],
        "it is the same when it is read again",
    )


def read_assign(data: bytes) -> None:
    """users/assign and its cdb."""

    def render(records: list[assign.Assignment]) -> bytes:
        return assign.render(map(assign.render_line, records))

    _again(data, assign.parse, render)
    records = assign.parse(data)
    assign.exact_lines(records)
    try:
        compiled = assign.compile_text(data)
    except ValueError:
        return
    for key, value in cdb.read(compiled):
        assign.parse_cdb_record(key, value)
    require(not any(isinstance(each, Malformed) for each in cdb.read(compiled)), "a sound cdb")


def read_vpasswd(data: bytes) -> None:
    """vpasswd and its cdb."""

    def render(records: list[vpasswd.VpasswdLine]) -> bytes:
        return vpasswd.render(map(vpasswd.render_line, records))

    _again(data, vpasswd.parse, render)
    good = [each for each in vpasswd.parse(data) if isinstance(each, vpasswd.VpasswdLine)]
    compiled = vpasswd.compile_cdb(map(vpasswd.render_line, good))
    found = vpasswd.parse_cdb(compiled)
    require(
        [replace(each, number=0) for each in found if isinstance(each, vpasswd.VpasswdLine)]
        == [replace(each, number=0) for each in good],
        "the cdb has the same mailboxes",
    )
    vpasswd.parse_cdb(data)
    for each in good:
        require(Quota.parse(Quota.parse(each.quota_text).render()), "a quota comes back")
        find_doubt(each.quota_text)


def read_hosts(data: bytes) -> None:
    """rcpthosts, morercpthosts, locals, and one-line files."""
    _again(data, control.parse_hosts, control.render_hosts)
    control.parse_single(data)
    hosts = [
        each.name
        for each in control.parse_hosts(data)
        if isinstance(each, control.Host) and not each.comment
    ]
    found = {key for key, _ in cdb.read(control.compile_morercpthosts(hosts))}
    require(found == {lines.encode(names.lower(host)) for host in hosts}, "the cdb has them all")


def read_virtualdomains(data: bytes) -> None:
    """control/virtualdomains."""
    _again(data, control.parse_virtualdomains, control.render_virtualdomains)


def read_dotqmail(data: bytes) -> None:
    """Dot-qmail files, any bytes of which are one."""
    file = dotqmail.parse(data)
    require(dotqmail.render(file) == data, "a file comes back")
    for line in file.lines:
        dotqmail.classify(line)
        dotqmail.is_list_line(line)
        dotqmail.is_autoresponder_line(line)
        dotqmail.vdelivermail_arguments(line)
        address = dotqmail.forward_address(line)
        require(address is None or address, "an address is not empty")
        catchall = dotqmail.parse_catchall(line, _HOME)
        if catchall:
            require(dotqmail.render_catchall(catchall, _HOME) == line, "a catch-all comes back")
        try:
            name = dotqmail.filename_for(line)
        except ValueError:
            continue
        require(dotqmail.alias_of(name) == line, "an alias comes back from its file's name")


def read_limits(data: bytes) -> None:
    """.qmailadmin-limits and vlimits.default."""
    values, _ = limits.parse(data)
    try:
        rendered = limits.render(values)
    except ValueError:
        return
    if len(rendered) <= limits.SIZE_MAX:
        again, doubts = limits.parse(rendered)
        require(again == values, "limits come back")
        require(not [each for each in doubts if each.doubt is limits.Doubt.UNREAD], "all is read")


def read_dir_control(data: bytes) -> None:
    """.dir-control and .dir_control_free."""
    found = dircontrol.parse(data)
    if isinstance(found, dircontrol.DirControl):
        require(dircontrol.parse(dircontrol.render(found)) == found, "a counter comes back")
    _again(data, dircontrol.parse_free, dircontrol.render_free)


def read_ip_map(data: bytes) -> None:
    """etc/ip_alias_map."""

    def render(records: list[ipmap.IpMapping | Comment]) -> bytes:
        return ipmap.render(records)

    _again(data, ipmap.parse, render)


def read_maildirsize(data: bytes) -> None:
    """Maildir/maildirsize."""
    maildirsize.parse(data)
    maildirsize.is_sound(data)


def read_strength(data: bytes) -> None:
    """password_strength.conf."""
    text = lines.decode(data)
    try:
        policy = strength.parse(text)
    except strength.BadRule:
        return
    for password in (b"", b"aA1!", data):
        problem = policy.problem(password)
        require(problem is None or isinstance(problem, str), "a problem is a text")


def read_cdb(data: bytes) -> None:
    """Any bytes are a cdb or are refused; a sound one answers for each of its keys."""
    try:
        records = cdb.read(data)
    except ValueError:
        records = None
    for key in (b"", b"!example.com-", *(key for key, _ in records or [])):
        try:
            found = cdb.get(data, key)
        except ValueError:
            require(records is None or key not in dict(records), "a sound cdb can be asked")
            continue
        if records is not None and found is not None:
            require((key, found) in records, "the answer is one of its records")
    if records is not None:
        require(cdb.read(cdb.make(records)) == records, "records come back")


def read_names(data: bytes) -> None:
    """Names and addresses."""
    for text in re.split(r"[\n\0]", lines.decode(data)):
        user, domain = names.split_address(text)
        if names.is_address(user, domain):
            names.sort_key(domain)
        names.is_user_name(text)
        names.is_domain_name(text)
        names.new_user_name_problem(text)
        if names.new_domain_name_problem(text) is None:
            label = names.to_a_label(text)
            require(names.to_a_label(label) == label, "an A-label stays")


GRAMMARS: dict[str, Callable[[bytes], None]] = {
    "line-reader": line_reader,
    "proxy-header": read_proxy_header,
    "assign": read_assign,
    "vpasswd": read_vpasswd,
    "hosts": read_hosts,
    "virtualdomains": read_virtualdomains,
    "dotqmail": read_dotqmail,
    "limits": read_limits,
    "dir-control": read_dir_control,
    "ip-map": read_ip_map,
    "maildirsize": read_maildirsize,
    "strength": read_strength,
    "cdb": read_cdb,
    "names": read_names,
}
