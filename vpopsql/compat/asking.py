"""Where a command's password comes from: the command line, a terminal, standard input, or chance.

On the command line others can see it while the command runs, in the list of processes, and a
shell may keep it; nothing here can help that.
"""

import getpass
import secrets
import string
import sys
from typing import TYPE_CHECKING

from vpopsql.compat.options import Given, Option, WrongUsage, number
from vpopsql.compat.program import say

if TYPE_CHECKING:
    from vpopsql.compat.site import Site
    from vpopsql.services.account_changes import Secret

_RANDOM_LENGTH = 16
_LONGEST = 128
_LINE_BYTES = 4096
"""More than any password has, which is refused then as too long."""
_LETTERS = string.ascii_letters + string.digits

RANDOM = Option(
    "r",
    f"Make up a password of so many letters and digits, else {_RANDOM_LENGTH}, and print it.",
    "length",
    is_value_optional=True,
)


def require_one_source(given: Given, at: int, others: str = "") -> None:
    """Refuse two passwords. :raises WrongUsage: there are.

    :param at: which of the words is one.
    :param others: letters that give an account something else instead.
    """
    sources = given.any_of(f"r{others}")
    if len(given.words) > at and sources:
        raise WrongUsage(f"a password and -{sources[0]} exclude each other")
    if len(sources) > 1:
        raise WrongUsage(f"-{sources[0]} and -{sources[1]} exclude each other")
    random_length(given)


def random_length(given: Given) -> int | None:
    """Return how long a random password shall be; None: there shall be none.

    :raises WrongUsage: it cannot be so long.
    """
    text = given.values.get("r")
    if text is None:
        return None
    return number("-r", text, 1, _LONGEST) if text else _RANDOM_LENGTH


def password(given: Given, at: int, account: str) -> tuple[str, bool]:
    """Return a new password, and whether it was made up and is to be shown.

    :param at: which of the words it is, if it was given as one.
    :param account: whose it will be.
    :raises InvalidValue: none was entered, or two that differ.
    """
    if length := random_length(given):
        return "".join(secrets.choice(_LETTERS) for _ in range(length)), True
    if len(given.words) > at:
        return given.words[at], False
    return _entered(account), False


def show_random(made_up: str) -> None:
    """Print a password that was made up."""
    say(f"Random password: {made_up}")


def secret_of(site: "Site", text: str) -> "Secret":
    """Return a password in the forms that are stored; takes milliseconds.

    :raises InvalidValue, UnusablePassword: it cannot be stored.
    """
    from vpopsql import passwords
    from vpopsql.errors import InvalidValue
    from vpopsql.services.account_changes import Secret, check_password
    from vpopsql.strength import require_strength

    if not text:
        # Its hash would let in everybody who enters nothing.
        raise InvalidValue("the password is empty")
    check_password(text)
    require_strength(site.config, text)
    settings = site.config.passwords
    hashed = passwords.hash_password(text, settings.scheme, settings.rounds)
    return Secret(hashed, text if settings.store_clear_text else None)


def _entered(account: str) -> str:
    """Return what somebody types twice at a terminal, or the first line of standard input."""
    from vpopsql.errors import InvalidValue

    if sys.stdin is not None and sys.stdin.isatty():
        entered = getpass.getpass(f"Please enter password for {account}: ")
        if entered != getpass.getpass("enter password again: "):
            raise InvalidValue("the two passwords that were entered differ")
    else:
        # A program that plays a person writes it twice; and may keep its end open.
        line = sys.stdin.buffer.readline(_LINE_BYTES) if sys.stdin is not None else b""
        entered = line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
    if not entered:
        raise InvalidValue("no password was entered")
    return entered
