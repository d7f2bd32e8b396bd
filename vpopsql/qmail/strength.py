"""``etc/password_strength.conf``: what a new password must be like.

A rule is a line ``NAME TEST NUMBER``. ``Length`` is about bytes; the others are about parts of the
whole, from 0 to 1: ``Alphabet``, ``Numeric`` and ``Other`` of all bytes, ``UpperLower`` how much
more there is of one case than of the other, of all letters. ``Policy = TEXT`` is what people are
told. ``#`` begins a comment. A later rule of a name replaces an earlier one.

Source: vpopmail's own reader, which skips lines that it does not understand; differs: they are
mistakes, since a policy that is not what it seems to be is none.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

_TESTS: Mapping[str, Callable[[float, float], bool]] = MappingProxyType(
    {"<": operator.lt, "<=": operator.le, "=": operator.eq, ">": operator.gt, ">=": operator.ge}
)
_NAMES = ("length", "alphabet", "numeric", "other", "upperlower")
"""In the order in which they are tested."""

_LINE = re.compile(r"(?P<name>\w+)[ \t]+(?P<test>[<>=]+)[ \t]+(?P<value>\S.*)", re.ASCII)
_NUMBER = re.compile(r"\d{1,9}(\.\d{1,9})?|\.\d{1,9}", re.ASCII)


class BadRule(ValueError):
    """A line that is no rule; says which."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule."""

    name: str
    test: str
    value: float

    def allows(self, measured: float | None) -> bool:
        """Tell whether a measure is as it must be; None, which cannot be measured, is not."""
        return measured is not None and _TESTS[self.test](measured, self.value)

    def __str__(self) -> str:
        """Say what must be so."""
        return f"{self.name} must be {self.test} {self.value:g}"


@dataclass(frozen=True, slots=True)
class Policy:
    """What passwords must be like."""

    rules: tuple[Rule, ...] = ()
    text: str = ""
    """What people are told; empty: the rule that is broken."""

    def problem(self, password: bytes) -> str | None:
        """Return what is wrong with a password, which is not in it; None: nothing."""
        measures = _measure(password)
        broken = next((rule for rule in self.rules if not rule.allows(measures[rule.name])), None)
        return None if broken is None else self.text or str(broken)


def parse(text: str) -> Policy:
    """Return the policy of a file. :raises BadRule: a line of it is no rule."""
    rules: dict[str, Rule] = {}
    policy = ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        found = _LINE.fullmatch(line)
        name = found["name"].lower() if found else ""
        if found and name == "policy":
            policy = found["value"]
            continue
        if (
            found is None
            or name not in _NAMES
            or found["test"] not in _TESTS
            or not _NUMBER.fullmatch(found["value"])
        ):
            raise BadRule(f"line {number} is no rule: {line}")
        rules[name] = Rule(name, found["test"], float(found["value"]))
    return Policy(tuple(rules[name] for name in _NAMES if name in rules), policy)


def _measure(password: bytes) -> dict[str, float | None]:
    size = len(password)
    upper = sum(byte in _UPPER for byte in password)
    lower = sum(byte in _LOWER for byte in password)
    digits = sum(byte in _DIGITS for byte in password)
    letters = upper + lower
    parts: dict[str, float | None] = {
        "alphabet": letters / size if size else None,
        "numeric": digits / size if size else None,
        "other": (size - letters - digits) / size if size else None,
        "upperlower": abs(upper - lower) / letters if letters else None,
    }
    return {"length": float(size), **parts}


_UPPER = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_LOWER = frozenset(b"abcdefghijklmnopqrstuvwxyz")
_DIGITS = frozenset(b"0123456789")
