"""From the file and the environment to one `Config`, or to all mistakes that are in them."""

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from vpopsql import passwords as hashing
from vpopsql.config.sections import PREFIX, SECTIONS, USUAL_DATABASE, Config, Key, keys
from vpopsql.errors import ConfigError

_PASSWORD_MAX = 4096  # characters

# Variables that are no keys: where the file is, and what the test suite is told.
_OTHER_VARIABLES = re.compile(r"VPOPSQL_(CONFIG|TEST_.*)")


def load(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """Return the effective configuration.

    :param path: the file; None takes the one that ``VPOPSQL_CONFIG`` names, if it does.
    :raises ConfigError: with every mistake of the file and the environment, one a line.
    """
    draft = _Draft()
    path = path or (Path(environ["VPOPSQL_CONFIG"]) if environ.get("VPOPSQL_CONFIG") else None)
    if path is not None:
        draft.read_file(path)
    draft.read_environment(environ)
    draft.read_password()
    draft.find_contradictions()
    if draft.mistakes:
        raise ConfigError("\n".join(draft.mistakes))
    return draft.config()


@dataclass(slots=True)
class _Draft:
    """A configuration being read: the values so far, where they came from, the mistakes."""

    values: dict[str, object] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    mistakes: list[str] = field(default_factory=list)

    def read_file(self, path: Path) -> None:
        try:
            sections = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            self.mistakes.append(f"{path}: cannot be read: {error.strerror}")
            return
        except ValueError as error:
            self.mistakes.append(f"{path}: is not TOML: {error}")
            return
        known = {key.path: key for key in keys()}
        for section, entries in sections.items():
            if section not in SECTIONS:
                hint = _suggest(section, SECTIONS)
                self.mistakes.append(f"{path}: unknown section {section}{hint}")
                continue
            if not isinstance(entries, dict):
                self.mistakes.append(f"{path}: {section} is a section; write [{section}]")
                continue
            for name, value in entries.items():
                if key := known.get(f"{section}.{name}"):
                    self._set(key, value, str(path))
                else:
                    hint = _suggest(f"{section}.{name}", known)
                    self.mistakes.append(f"{path}: unknown key {section}.{name}{hint}")

    def read_environment(self, environ: Mapping[str, str]) -> None:
        known = {key.variable: key for key in keys()}
        for name, text in sorted(environ.items()):
            if key := known.get(name):
                self._set(key, _from_text(key, text), f"environment {name}")
            elif name.startswith(PREFIX) and not _OTHER_VARIABLES.fullmatch(name):
                hint = _suggest(name, known)
                self.mistakes.append(f"environment: unknown variable {name}{hint}")

    def _set(self, key: Key, value: object, origin: str) -> None:
        try:
            self.values[key.path] = key.kind.accept(value)
        except ValueError:
            self.refused.add(key.path)
            what = "is not of the form allowed" if key.is_secret else f"is {value!r}"
            self.mistakes.append(f"{origin}: {key.path} {what}; allowed: {key.allowed}")
        else:
            self.origins[key.path] = origin

    def read_password(self) -> None:
        """Put the password of the database into its URL."""
        path = self.values.get("database.password_file")
        if not isinstance(path, str) or not path or "database.url" in self.refused:
            return
        from sqlalchemy import make_url  # noqa: PLC0415 - slow import

        where = self.origins["database.password_file"]
        url = make_url(str(self.values.get("database.url", USUAL_DATABASE)))
        if url.drivername != "postgresql":
            self.mistakes.append(
                f"{where}: database.password_file is set, and database.url names no PostgreSQL"
            )
            return
        if url.password is not None:
            self.mistakes.append(
                f"{where}: database.password_file is set, and database.url has a password:"
                " leave it out there"
            )
            return
        try:
            with Path(path).open(encoding="utf-8") as file:
                password = file.readline(_PASSWORD_MAX).rstrip("\r\n")
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            self.mistakes.append(
                f"{where}: database.password_file: {path}: cannot be read: {said}"
            )
            return
        self.values["database.url"] = url.set(password=password).render_as_string(
            hide_password=False
        )

    def find_contradictions(self) -> None:
        self._find_contradictions_of_tls()
        if self.refused & {"passwords.scheme", "passwords.rounds"}:
            return
        chosen = self.config().passwords
        if not hashing.can_hash(chosen.scheme):
            possible = ", ".join(filter(hashing.can_hash, hashing.ROUNDS))
            self.mistakes.append(
                f"{self.origins['passwords.scheme']}: passwords.scheme {chosen.scheme} is not to"
                f" be had on this machine; allowed: {possible}"
            )
        allowed = hashing.ROUNDS[chosen.scheme]
        if chosen.rounds is not None and chosen.rounds not in allowed:
            self.mistakes.append(
                f"{self.origins['passwords.rounds']}: passwords.rounds is {chosen.rounds};"
                f" allowed with {chosen.scheme}: {allowed.start} to {allowed.stop - 1}"
            )

    def _find_contradictions_of_tls(self) -> None:
        if self.values.get("daemon.tls_certificate") or "daemon.tls_certificate" in self.refused:
            return
        for path in ("daemon.tls_listen", "daemon.tls_key"):
            if self.values.get(path):
                self.mistakes.append(
                    f"{self.origins[path]}: {path} is set, and daemon.tls_certificate is not"
                )

    def config(self) -> Config:
        sections: dict[str, Any] = {
            section: shape(
                **{
                    item.name: self.values[f"{section}.{item.name}"]
                    for item in fields(shape)
                    if f"{section}.{item.name}" in self.values
                }
            )
            for section, shape in SECTIONS.items()
        }
        return Config(**sections, origins=MappingProxyType(self.origins))


def _from_text(key: Key, text: str) -> object:
    """Return the TOML value that a variable's text stands for; the text itself if none."""
    try:
        return key.kind.from_text(text)
    except ValueError:
        return text


def _suggest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
