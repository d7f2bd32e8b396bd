"""What a value of the configuration may be: in words, and as what takes a value or refuses it."""

import posixpath
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from vpopsql import passwords as hashing


class Address(NamedTuple):
    """Where to listen; a tuple as sockets take it."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return ``host:port``, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Deadlines(tuple[tuple[str, date], ...]):
    """Schemes of password hashes, each with the last day on which its hashes are good."""

    __slots__ = ()

    def last_day_of(self, scheme: str) -> date | None:
        """Return the last day of a scheme; None: there is none."""
        return dict(self).get(scheme)


@dataclass(frozen=True, slots=True)
class Kind:
    """What a value may be: in words, and as the function that takes a TOML value or refuses it.

    ``from_text`` makes a TOML value of an environment variable's text. Both may raise ValueError.
    """

    allowed: str
    accept: Callable[[object], object]
    from_text: Callable[[str], object] = str


def integer(low: int, high: int) -> Kind:
    """Return the kind of a whole number within limits."""

    def accept(value: object) -> int:
        if type(value) is int and low <= value <= high:
            return value
        raise ValueError

    return Kind(f"a whole number, {low} to {high}", accept, int)


def seconds(low: float, high: float) -> Kind:
    """Return the kind of a time within limits."""

    def accept(value: object) -> float:
        # A bool is an int to Python, but not to TOML.
        if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
            return float(value)
        raise ValueError

    return Kind(f"seconds, {low:g} to {high:g}", accept, float)


def boolean() -> Kind:
    """Return the kind of a yes or no."""

    def accept(value: object) -> bool:
        if isinstance(value, bool):
            return value
        raise ValueError

    return Kind(
        "true or false", accept, lambda text: {"true": True, "false": False}.get(text, text)
    )


def one_of(*choices: str) -> Kind:
    """Return the kind of one of several words."""

    def accept(value: object) -> str:
        if isinstance(value, str) and value in choices:
            return value
        raise ValueError

    return Kind(f"one of {', '.join(choices)}", accept)


def directory(*, may_be_empty: bool = False) -> Kind:
    """Return the kind of a directory."""

    def accept(value: object) -> str:
        if value == "" and may_be_empty:
            return ""
        # A colon would end the path in users/assign, `..` would leave the root.
        if (
            isinstance(value, str)
            and re.fullmatch(r"/+[^:]*[^:/]/*", value)
            and value.isprintable()
            and ".." not in value.split("/")
        ):
            return "/" + posixpath.normpath(value).lstrip("/")
        raise ValueError

    empty = ', or ""' if may_be_empty else ""
    return Kind(f"an absolute directory without `..` and colons{empty}", accept)


def listen_address(value: object) -> Address:
    """Return the address that a text stands for. :raises ValueError: for none."""
    if isinstance(value, str):
        found = re.fullmatch(r"(?:\[([\w:.%]+)\]|([\w.-]+)):(\d{1,5})", value, re.ASCII)
        if found and int(found[3]) < 2**16:
            return Address(found[1] or found[2], int(found[3]))
    raise ValueError


def address() -> Kind:
    """Return the kind of an address to listen on."""
    return Kind("host:port or [IPv6 address]:port; port 0 takes a free one", listen_address)


def optional_address() -> Kind:
    """Return the kind of an address to listen on, or none."""

    def accept(value: object) -> Address | None:
        return None if value == "" else listen_address(value)

    return Kind('host:port or [IPv6 address]:port, or ""', accept)


def networks() -> Kind:
    """Return the kind of several networks, each as an address or in CIDR notation."""

    def accept(value: object) -> tuple[str, ...]:
        import ipaddress  # noqa: PLC0415 - few commands need it

        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return tuple(str(ipaddress.ip_network(each)) for each in value)
        raise ValueError

    allowed = (
        "a list of networks such as 192.0.2.0/24 or 2001:db8::/32, or addresses; in the"
        " environment, with blanks between"
    )
    return Kind(allowed, accept, str.split)


def user() -> Kind:
    """Return the kind of a user of the system, or none."""

    def accept(value: object) -> str:
        if value == "" or (isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w.-]*\$?", value)):
            return str(value)
        raise ValueError

    return Kind('the name of a user of the system, or ""', accept)


# What a socket's address holds, with a NUL at its end.
_SOCKET_PATH_MAX = 107


def socket_path() -> Kind:
    """Return the kind of a UNIX socket, or none."""

    def accept(value: object) -> str:
        if value == "" or (
            isinstance(value, str)
            and value.startswith("/")
            and value.isprintable()
            and len(value.encode()) <= _SOCKET_PATH_MAX
        ):
            return str(value)
        raise ValueError

    return Kind(f'an absolute path of at most {_SOCKET_PATH_MAX} bytes, or ""', accept)


def command() -> Kind:
    """Return the kind of a command, or none."""

    def accept(value: object) -> tuple[str, ...]:
        if isinstance(value, list) and all(isinstance(word, str) for word in value):
            command = tuple(map(str, value))
            if not command or command[0].startswith("/"):
                return command
        raise ValueError

    allowed = (
        "a list of words, the first an absolute path; in the environment, words as in a shell"
    )
    return Kind(allowed, accept, shlex.split)


def commands() -> Kind:
    """Return the kind of several commands."""

    def accept(value: object) -> tuple[tuple[str, ...], ...]:
        if not isinstance(value, list):
            raise ValueError  # noqa: TRY004 - what all kinds raise
        commands = tuple(command().accept(each) for each in value)
        if not all(commands) or len(set(commands)) < len(commands):
            raise ValueError
        return commands  # type: ignore[return-value]

    def from_text(text: str) -> list[list[str]]:
        return [words for line in text.splitlines() if (words := shlex.split(line))]

    allowed = (
        "a list of commands, each a list of words, the first an absolute path; in the"
        " environment, a command a line, words as in a shell"
    )
    return Kind(allowed, accept, from_text)


_PROGRAM = re.compile(r"(/[\w+.-]+)+", re.ASCII)


def _is_program(value: object) -> bool:
    return (
        isinstance(value, str)
        and _PROGRAM.fullmatch(value) is not None
        and {".", ".."}.isdisjoint(value.split("/"))
    )


def program() -> Kind:
    """Return the kind of a program, or none."""

    def accept(value: object) -> str:
        if value == "" or _is_program(value):
            return str(value)
        raise ValueError

    return Kind('the absolute path of a program, or ""', accept)


def programs() -> Kind:
    """Return the kind of several programs, by their beginnings."""

    def accept(value: object) -> tuple[str, ...]:
        if isinstance(value, list) and all(
            isinstance(each, str) and _is_program(each.removesuffix("*")) for each in value
        ):
            return tuple(map(str, value))
        raise ValueError

    allowed = "a list of absolute paths, each may end in `*`; in the environment, blanks between"
    return Kind(allowed, accept, str.split)


def file() -> Kind:
    """Return the kind of a file, or none."""

    def accept(value: object) -> str:
        if value == "" or (
            isinstance(value, str) and value.startswith("/") and value.isprintable()
        ):
            return str(value)
        raise ValueError

    return Kind('the absolute path of a file, or ""', accept)


def deadlines() -> Kind:
    """Return the kind of last days of schemes."""

    def accept(value: object) -> Deadlines:
        if not isinstance(value, dict) or not value.keys() <= set(hashing.SCHEMES):
            raise ValueError
        if any(type(last) is not date for last in value.values()):
            raise ValueError
        return Deadlines(sorted(value.items()))

    def from_text(text: str) -> dict[str, date]:
        pairs = (word.split("=", 1) for word in text.split())
        return {scheme: date.fromisoformat(last) for scheme, last in pairs}

    allowed = (
        f"a table of dates by scheme: {', '.join(hashing.SCHEMES)}; in the environment,"
        " des=2027-06-30 and the like with blanks between"
    )
    return Kind(allowed, accept, from_text)


def database_url() -> Kind:
    """Return the kind of a database."""

    def accept(value: object) -> str:
        from sqlalchemy import make_url  # noqa: PLC0415 - slow import
        from sqlalchemy.exc import ArgumentError  # noqa: PLC0415

        if isinstance(value, str):
            try:
                url = make_url(value)
            except ArgumentError:
                # Its text would show the password.
                raise ValueError from None
            # A relative path would name another database in every directory.
            is_file = url.drivername == "sqlite" and (url.database or "").startswith("/")
            if is_file or url.drivername == "postgresql":
                return value
        raise ValueError

    return Kind("sqlite:////absolute/path or postgresql://user:password@host:port/name", accept)
