"""What a file says beside what it should say, name by name. Pure.

Each comparison returns what differs, and nothing when the two say the same in other bytes. It is
all that is ever shown of a file, so it names accounts, fields and line numbers, and never quotes
what stands there: it may be a password, or a line with one.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import NamedTuple

from vpopsql import names
from vpopsql.qmail import assign, cdb, control, dircontrol, dotqmail, ipmap, limits, vpasswd
from vpopsql.qmail.lines import Malformed, decode, encode, split_lines


class Detail(NamedTuple):
    """One difference."""

    subject: str
    """The host, address or account that it is about; empty: the file as a whole."""
    text: str


Compare = Callable[[bytes, bytes], list[Detail]]
"""Takes what should be and what is there.

:raises Damaged: what is there is a cdb that no reader could use.
"""

_NAME_MAX = 32  # characters of a name that may be shown; a hash has more, or a dollar sign
_CREDENTIALS = ("password", "uid", "flags", "comment", "directory", "quota", "clear password")


class Damaged(ValueError):
    """A cdb cannot be read; the text names the offset."""


def hosts(wanted: bytes, found: bytes) -> list[Detail]:
    """Compare rcpthosts, morercpthosts or locals."""
    return _sides(_hosts(wanted), _hosts(found))


def virtualdomains(wanted: bytes, found: bytes) -> list[Detail]:
    """Compare virtualdomains; of a name that comes twice the first line counts."""
    bad = _bad_lines(control.parse_virtualdomains(found))
    return [*_sides(_prepends(wanted), _prepends(found)), *bad]


def assignments(wanted: bytes, found: bytes) -> list[Detail]:
    """Compare users/assign; of an address that comes twice the first line counts."""
    parsed = assign.parse(found)
    return [*_sides(_assigned(assign.parse(wanted)), _assigned(parsed)), *_bad_lines(parsed)]


def accounts(wanted: bytes, found: bytes) -> list[Detail]:
    """Compare vpasswd; of an account that comes twice the first line counts."""
    lines = [encode(text) for _, text in split_lines(found)]
    parsed = vpasswd.parse(found)
    should = _by_name(_split(encode(text)) for _, text in split_lines(wanted))
    return [*_accounts(should, lines), *_bad_lines(parsed)]


def dot_qmail(wanted: bytes, found: bytes) -> list[Detail]:
    """Compare a dot-qmail file; blanks at the end of a line count, to vdelivermail they do."""
    should, stands = dotqmail.parse(wanted).lines, dotqmail.parse(found).lines
    common = min(len(should), len(stands))
    details = [_differs(f"line {n + 1}") for n in range(common) if should[n] != stands[n]]
    if len(should) != len(stands):
        lines = "line" if len(stands) == 1 else "lines"
        details.append(_whole(f"has {len(stands)} {lines}, not {len(should)}"))
    return details


def limit_settings(wanted: bytes, found: bytes) -> list[Detail]:
    """Compare limits, of a domain or the site's defaults."""
    should, stands = limits.parse(wanted)[0], limits.parse(found)[0]
    return [_differs(name) for name in sorted(should) if should[name] != stands[name]]


def counter(wanted: bytes, found: bytes) -> list[Detail]:
    """Compare a directory counter."""
    should, stands = dircontrol.parse(wanted), dircontrol.parse(found)
    if isinstance(stands, Malformed) or isinstance(should, Malformed):
        return [_whole("is no directory counter")]
    shown = [field.name for field in fields(should)]
    return [_differs(name) for name in shown if getattr(should, name) != getattr(stands, name)]


def free_buckets(wanted: bytes, found: bytes) -> list[Detail]:
    """Compare the list of freed buckets, whose first line is used first."""
    same = _without_comments(wanted) == _without_comments(found)
    return [] if same else [_whole("names other buckets, or in another order")]


def ip_map(wanted: bytes, found: bytes) -> list[Detail]:
    """Compare the IP map; of an address that comes twice the first line counts."""
    return _sides(_mappings(wanted), _mappings(found))


def users_cdb(wanted: bytes, found: bytes) -> list[Detail]:
    """Compare what users/cdb answers.

    :raises Damaged: no reader could use it.
    """
    should, stands = _records(wanted), _records(found)
    details = []
    # How wildcards end: qmail tries these lengths of an address only.
    if set(should.pop(b"", b"")) != set(stands.pop(b"", b"")):
        details.append(_whole("lists other ends of wildcards"))
    return [*_sides(_shown(should), _shown(stands)), *details]


def hosts_cdb(wanted: bytes, found: bytes) -> list[Detail]:
    """Compare what morercpthosts.cdb answers.

    :raises Damaged: no reader could use it.
    """
    return _sides(_shown(_records(wanted)), _shown(_records(found)))


def accounts_cdb(wanted: bytes, found: bytes) -> list[Detail]:
    """Compare what vpasswd.cdb answers.

    :raises Damaged: no reader could use it.
    """
    records = [name + b":" + rest for name, rest in _records(found).items()]
    return _accounts(_records(wanted), records)


def concerns(detail: Detail, domain_names: Iterable[str]) -> bool:
    """Say whether a difference of a file of the whole site is about one of these names."""
    subject = detail.subject
    return not subject or any(
        subject == name or subject.startswith(f"{name}-") for name in domain_names
    )


# --- names with what is said of them ----------------------------------------------------------


def _sides(wanted: Mapping[str, object], found: Mapping[str, object]) -> list[Detail]:
    lacks = [_lacks(name) for name in sorted(wanted.keys() - found.keys())]
    besides = [_besides(name) for name in sorted(found.keys() - wanted.keys())]
    common = sorted(wanted.keys() & found.keys())
    differ = [_differs(name) for name in common if wanted[name] != found[name]]
    return [*lacks, *besides, *differ]


def _lacks(name: str) -> Detail:
    return Detail(name, f"lacks {name}")


def _besides(name: str) -> Detail:
    return Detail(name, f"has {name} besides")


def _differs(name: str) -> Detail:
    return Detail(name, f"{name} differs")


def _whole(text: str) -> Detail:
    return Detail("", text)


def _first_of_each(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    firsts: dict[str, object] = {}
    for name, said in pairs:
        firsts.setdefault(name, said)
    return firsts


def _hosts(data: bytes) -> dict[str, object]:
    parsed = control.parse_hosts(data)
    return {
        names.lower(each.name): None
        for each in parsed
        if isinstance(each, control.Host) and not each.comment
    }


def _prepends(data: bytes) -> dict[str, object]:
    parsed = control.parse_virtualdomains(data)
    return _first_of_each(
        (names.lower(each.name), each.prepend)
        for each in parsed
        if isinstance(each, control.VirtualDomain)
    )


def _assigned(parsed: Iterable[object]) -> dict[str, object]:
    return _first_of_each(
        (_local(each.wildcard, names.lower(each.local)), _said(each))
        for each in parsed
        if isinstance(each, assign.Assignment)
    )


def _local(wildcard: bool, local: str) -> str:  # noqa: FBT001 - what a line begins with
    return f"{local}*" if wildcard else local


def _said(line: assign.Assignment) -> tuple[object, ...]:
    return (line.user, line.uid, line.gid, line.directory, line.dash, line.ext)


def _mappings(data: bytes) -> dict[str, object]:
    return _first_of_each(
        (each.address, names.lower(each.domain))
        for each in ipmap.parse(data)
        if isinstance(each, ipmap.IpMapping)
    )


def _shown(records: Mapping[bytes, bytes]) -> dict[str, object]:
    """Return records of qmail's cdbs under the names that the texts have for them."""
    shown: dict[str, object] = {}
    for key, data in records.items():
        if key.startswith(b"!"):
            local = decode(key[1:].removesuffix(b"\0"))
            shown[_local(not key.endswith(b"\0"), local)] = data
        else:
            shown[decode(key)] = data
    return shown


def _records(data: bytes) -> dict[bytes, bytes]:
    """Return what a cdb answers: of a key that comes twice, the first record."""
    try:
        records = cdb.read(data)
    except ValueError as error:
        raise Damaged(str(error) if data else "it is empty") from None
    return dict(reversed(records))


def _without_comments(data: bytes) -> list[str]:
    lines = (text.strip() for _, text in split_lines(data))
    return [text for text in lines if text and not text.startswith("#")]


# --- accounts ---------------------------------------------------------------------------------


def _split(line: bytes) -> tuple[bytes, bytes]:
    name, _, rest = line.partition(b":")
    return name, rest


def _by_name(pairs: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    firsts: dict[bytes, bytes] = {}
    for name, rest in pairs:
        firsts.setdefault(name, rest)
    return firsts


def _accounts(wanted: Mapping[bytes, bytes], lines: Iterable[bytes]) -> list[Detail]:
    found = _by_name(map(_split, lines))
    details = [_lacks(decode(name)) for name in sorted(wanted.keys() - found.keys())]
    besides = sorted({_account(name) for name in found.keys() - wanted.keys()})
    details += [_besides(shown) for shown in besides]
    for key in sorted(wanted.keys() & found.keys()):
        if wanted[key] != found[key]:
            name, parts = decode(key), ", ".join(_changed(wanted[key], found[key]))
            details.append(Detail(name, f"{name} differs: {parts}"))
    return details


def _account(name: bytes) -> str:
    """Return a name that only the file has, unless it may be the remains of a torn line."""
    if len(name) > _NAME_MAX or b"$" in name or b":" in name:
        return "a line without a plain name"
    return decode(name)


def _changed(wanted: bytes, found: bytes) -> list[str]:
    last = len(_CREDENTIALS) - 1
    should, stands = wanted.split(b":", last), found.split(b":", last)
    if len(should) != len(stands) and min(len(should), len(stands)) < last:
        return ["it has too few fields"]
    # A field that one of them does not have is not the same as an empty one.
    sides = (dict(enumerate(should)), dict(enumerate(stands)))
    return [
        label
        for number, label in enumerate(_CREDENTIALS)
        if sides[0].get(number) != sides[1].get(number)
    ]


# --- lines ------------------------------------------------------------------------------------


def _bad_lines(parsed: Iterable[object]) -> list[Detail]:
    return [
        _whole(f"line {each.number}: {each.reason}")
        for each in parsed
        if isinstance(each, Malformed)
    ]
