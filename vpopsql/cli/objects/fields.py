"""The fields of a line of a bulk form."""

from collections.abc import Iterable
from typing import Any

import click

from vpopsql.cli.objects import secret
from vpopsql.cli.objects.batch import LineRefused
from vpopsql.cli.objects.nouns import DOMAIN, Address, guessed
from vpopsql.cli.objects.secret import Given
from vpopsql.daemon.options import parse_quota
from vpopsql.flags import OPTIONS
from vpopsql.model import Flag
from vpopsql.quota import Quota


def address_of(fields: dict[str, Any], name: str = "address") -> tuple[str, str]:
    """Return name and domain. :raises LineRefused: it is no address."""

    def refuse(why: str) -> None:
        raise LineRefused(why)

    return Address.parsed(str(fields[name]), refuse)


def domain_of(fields: dict[str, Any], name: str = "domain") -> str:
    """Return the domain. :raises LineRefused: it is none."""
    return _domain(str(fields[name]))


def domains_of(fields: dict[str, Any], name: str) -> tuple[str, ...]:
    """Return several domains. :raises LineRefused: one is none."""
    return tuple(map(_domain, words_of(fields, name)))


def _domain(text: str) -> str:
    try:
        return DOMAIN.convert(text, None, None)
    except click.BadParameter as error:
        raise LineRefused(error.message) from error


def words_of(fields: dict[str, Any], name: str) -> list[str]:
    """Return the words of a field: a list, or text with commas or blanks between them."""
    given = fields.get(name) or ""
    if isinstance(given, list):
        return [str(each) for each in given]
    text = str(given)
    # A program has blanks of its own.
    return [text] if text.startswith("|") else text.replace(",", " ").split()


def password_of(fields: dict[str, Any], *, generate: bool) -> Given:
    """Return the password of a line.

    :param generate: whether one is made up, so that the line has none.
    :raises LineRefused: it has none, or too many.
    :raises InvalidValue: it cannot be stored.
    """
    clear, encrypted = fields.get("password"), fields.get("encrypted")
    if (clear is not None) + (encrypted is not None) + generate != 1:
        raise LineRefused("it needs a password or an encrypted one, or --generate")
    if generate:
        made = secret.generated()
        return Given(clear=made, generated=made)
    if encrypted is not None:
        return Given(encrypted=secret.checked_hash(str(encrypted)))
    return Given(clear=secret.checked(str(clear)))


def quota_of(fields: dict[str, Any]) -> Quota | None:
    """Return the quota, None if there is no such field. :raises InvalidValue: it is none."""
    text = fields.get("quota")
    return None if text is None else parse_quota(str(text).replace("none", "NOQUOTA"))


def flags_of(fields: dict[str, Any], name: str = "flags") -> Flag:
    """Return flags, which have commas or blanks between them, or are a list.

    :raises LineRefused: there is no such flag.
    """
    flags = []
    for word in words_of(fields, name):
        flag = OPTIONS.get(word.lower().replace("-", "_"))
        if flag is None:
            raise LineRefused(f"there is no flag {word!r}.{guessed(word, OPTIONS)}")
        flags.append(flag)
    return union(flags)


def union(flags: Iterable[Flag]) -> Flag:
    """Return the flags together."""
    found = Flag(0)
    for each in flags:
        found |= each
    return found
