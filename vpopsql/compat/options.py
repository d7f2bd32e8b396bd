"""Command lines in the manner of getopt(3), and usage texts made of what is declared.

Letters may be joined (``-nd``), a value may be joined to its letter or be the next word, and
options may stand after other words, up to ``--``. An option that is not declared is an error,
never ignored. Standard library only.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap

_WIDTH = 79
_COLUMN = 16


class WrongUsage(Exception):
    """A command line that makes no sense; the text says why."""


@dataclass(frozen=True, slots=True)
class Option:
    """One letter after a hyphen."""

    letter: str
    purpose: str
    value: str = ""
    """What its value is called; empty: it has none."""
    is_value_optional: bool = False
    """Whether the value may be missing; it must be joined to the letter then."""
    refused: str = ""
    """Why it is known and not supported, and what to do instead."""

    @property
    def shown(self) -> str:
        """Return it as usage texts show it."""
        if not self.value:
            return f"-{self.letter}"
        return f"-{self.letter}[{self.value}]" if self.is_value_optional else self._with_value

    @property
    def _with_value(self) -> str:
        return f"-{self.letter} {self.value}"


STANDARD = (Option("v", "Print the version and end."), Option("h", "Print this and end."))
"""What every command has."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a command was given."""

    words: tuple[str, ...]
    values: Mapping[str, str]
    """By letter; of an option that was repeated the last value, of one without value ``""``."""

    def __contains__(self, letter: str) -> bool:
        """Tell whether an option was given."""
        return letter in self.values

    def any_of(self, letters: str) -> str:
        """Return those of ``letters`` that were given, in their order."""
        return "".join(letter for letter in letters if letter in self.values)

    def number(self, letter: str, low: int, high: int) -> int | None:
        """Return the value of an option as a number; None: it was not given.

        :raises WrongUsage: it is none, or not from ``low`` to ``high``.
        """
        text = self.values.get(letter)
        return None if text is None else number(f"-{letter}", text, low, high)


def number(what: str, text: str, low: int, high: int) -> int:
    """Return a number. :raises WrongUsage: it is none, or not from ``low`` to ``high``."""
    digits = text.removeprefix("-")
    # int() takes more than digits, and refuses thousands of them.
    if digits.isascii() and digits.isdecimal() and len(digits) < len(str(high)) + 1:
        found = int(text)
        if low <= found <= high:
            return found
    raise WrongUsage(f"{what} needs a number from {low} to {high}, not {text!r}")


def parse(options: Sequence[Option], args: Sequence[str]) -> Given:
    """Return what a command line says.

    :param args: its words without the command's name.
    :raises WrongUsage: an option is unknown, not supported, or lacks its value.
    """
    known = {option.letter: option for option in (*options, *STANDARD)}
    words: list[str] = []
    values: dict[str, str] = {}
    rest = iter(args)
    for word in rest:
        if word == "--":
            words += rest
        elif len(word) > 1 and word.startswith("-"):
            values |= _of_word(known, word, rest)
        else:
            words.append(word)
    return Given(tuple(words), values)


def _of_word(known: Mapping[str, Option], word: str, rest: Iterator[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for at, letter in enumerate(word[1:], 2):
        option = known.get(letter)
        if option is None:
            said = f"-{letter} in {word}" if len(word) > 2 else word  # noqa: PLR2004 - -x
            raise WrongUsage(f"there is no option {said}")
        if option.refused:
            raise WrongUsage(f"-{letter} is not supported: {option.refused}")
        if option.value:
            values[letter] = word[at:] or _next(option, rest)
            return values
        values[letter] = ""
    return values


def _next(option: Option, rest: Iterator[str]) -> str:
    if option.is_value_optional:
        return ""
    value = next(rest, None)
    if value is None:
        raise WrongUsage(f"-{option.letter} needs a value: {option.value}")
    return value


def usage(name: str, synopsis: str, purpose: str, options: Sequence[Option]) -> str:
    """Return what a command says of itself."""
    lines = [f"usage: {name} {synopsis}", *wrap(purpose, _WIDTH), "options:"]
    for option in (*options, *STANDARD):
        text = f"Not supported: {option.refused}" if option.refused else option.purpose
        first, *others = wrap(text, _WIDTH - _COLUMN)
        shown = f"  {option.shown}"
        if len(shown) >= _COLUMN - 1:
            lines.append(shown)
            shown = ""
        lines.append(f"{shown:<{_COLUMN}}{first}")
        lines += [" " * _COLUMN + other for other in others]
    return "\n".join(lines) + "\n"


def exact(words: Sequence[str]) -> list[str]:
    """Return the process's words as UTF-8 with surrogateescape, whatever the locale decoded."""
    return [os.fsencode(word).decode("utf-8", "surrogateescape") for word in words]
