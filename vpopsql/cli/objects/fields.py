"""The fields of a line of a bulk form."""

from collections.abc import Iterable
from typing import Any

from vpopsql.cli.objects.batch import LineRefused
from vpopsql.cli.objects.nouns import Address, guessed
from vpopsql.daemon.options import FLAGS, parse_quota
from vpopsql.model import Flag
from vpopsql.quota import Quota


def address_of(fields: dict[str, Any], name: str = "address") -> tuple[str, str]:
    """Return name and domain. :raises LineRefused: it is no address."""

    def refuse(why: str) -> None:
        raise LineRefused(why)

    return Address.parsed(str(fields[name]), refuse)


def quota_of(fields: dict[str, Any]) -> Quota | None:
    """Return the quota, None if there is no such field. :raises InvalidValue: it is none."""
    text = fields.get("quota")
    return None if text is None else parse_quota(str(text).replace("none", "NOQUOTA"))


def flags_of(fields: dict[str, Any], name: str = "flags") -> Flag:
    """Return flags, which have commas or blanks between them, or are a list.

    :raises LineRefused: there is no such flag.
    """
    given = fields.get(name) or ""
    words = given if isinstance(given, list) else str(given).replace(",", " ").split()
    flags = []
    for word in words:
        flag = FLAGS.get(str(word).lower().replace("-", "_"))
        if flag is None:
            raise LineRefused(f"there is no flag {word!r}.{guessed(str(word), FLAGS)}")
        flags.append(flag)
    return union(flags)


def union(flags: Iterable[Flag]) -> Flag:
    """Return the flags together."""
    found = Flag(0)
    for each in flags:
        found |= each
    return found
