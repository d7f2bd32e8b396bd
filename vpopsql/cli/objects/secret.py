"""New passwords: where they come from, and what is stored of them. Never from the command line."""

import os
import secrets
import string
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from vpopsql import passwords
from vpopsql.cli.objects.refusals import reading
from vpopsql.config import Config
from vpopsql.errors import InvalidValue, SeveralRefused, VpopsqlError
from vpopsql.services.account_changes import Secret, check_hash, check_password
from vpopsql.strength import weakness

_GENERATED = 16
# What is read out or typed off is not to be mistaken for another letter.
_ALPHABET = "".join(sorted({*string.ascii_letters, *string.digits} - set("0O1lI")))
_NEEDED = "a password is needed: --password-file, --password-stdin, --generate or --encrypted-file"


@dataclass(frozen=True, slots=True)
class Given:
    """A password, or a hash of one."""

    clear: str | None = field(default=None, repr=False)
    encrypted: str | None = field(default=None, repr=False)
    generated: str | None = field(default=None, repr=False)
    """It, if it was made up, for whoever is to be told."""


def needed(options: Mapping[str, Any], prompt: str) -> Given:
    """Return the password that the options name, else the one that a person gives.

    :raises UsageError: several options were given; or none, and there is nobody to ask.
    :raises InvalidValue: it cannot be stored.
    """
    found = given(options, prompt)
    if found is None:
        raise click.UsageError(_NEEDED)
    return found


def given(options: Mapping[str, Any], prompt: str | None) -> Given | None:
    """Return the password that the options name, if they do.

    :param prompt: what to ask a person for if they do not; None: nobody is asked.
    :raises UsageError: several options were given; or none, and there is nobody to ask.
    :raises InvalidValue: it cannot be stored.
    """
    password_file, encrypted_file = options["password_file"], options["encrypted_file"]
    password_stdin, generate = options["password_stdin"], options["generate"]
    ways = [password_file is not None, password_stdin, generate, encrypted_file is not None]
    if sum(ways) > 1:
        raise click.UsageError(
            "give one of --password-file, --password-stdin, --generate and --encrypted-file"
        )
    if generate:
        made = generated()
        return Given(clear=made, generated=made)
    if encrypted_file is not None:
        return Given(encrypted=checked_hash(_first_line(encrypted_file)))
    if password_file is not None or password_stdin:
        return Given(clear=checked(_first_line(password_file or "-")))
    if prompt is None:
        return None
    if not sys.stdin.isatty():
        raise click.UsageError(_NEEDED)
    asked: str = click.prompt(prompt, hide_input=True, confirmation_prompt=True, err=True)
    return Given(clear=checked(asked))


def generated() -> str:
    """Return a new password that nobody guesses."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_GENERATED))


def checked(password: str) -> str:
    """Return a password that can be stored. :raises InvalidValue: it cannot."""
    if not password:
        raise InvalidValue("the password is empty")
    check_password(password)
    return password


def checked_hash(text: str) -> str:
    """Return a hash that can be verified. :raises InvalidValue: it cannot."""
    check_hash(text)
    return text


def stored(config: Config, what: Sequence[Given]) -> list[Secret]:
    """Return passwords as they are stored; many are hashed on all processors.

    :raises UnusablePassword: one cannot be hashed.
    :raises SeveralRefused: some are too weak, by their places in ``what``; what was made up never
        is.
    """
    refused: dict[int, VpopsqlError] = {
        place: InvalidValue(problem)
        for place, each in enumerate(what)
        if each.clear is not None
        and each.generated is None
        and (problem := weakness(config, each.clear))
    }
    if refused:
        raise SeveralRefused(refused)
    settings = config.passwords

    def secret(each: Given) -> Secret:
        if each.encrypted is not None:
            return Secret(each.encrypted)
        clear = each.clear or ""
        hashed = passwords.hash_password(clear, settings.scheme, settings.rounds)
        return Secret(hashed, clear if settings.store_clear_text else None)

    if len(what) == 1:
        return [secret(what[0])]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(threads.map(secret, what))


def _first_line(name: str) -> str:
    if name == "-":
        data = sys.stdin.buffer.readline()
    else:
        with reading(name), Path(name).open("rb") as file:
            data = file.readline()
    line = data.decode("utf-8", "surrogateescape")
    return line.removesuffix("\n").removesuffix("\r")
