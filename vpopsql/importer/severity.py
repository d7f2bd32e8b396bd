"""How bad a finding is, and what every kind of finding has to say about itself."""

import enum
from typing import Self


class Severity(enum.IntEnum):
    """How bad a finding is."""

    NOTE = 0
    """Good to know; nothing to do."""
    WARNING = 1
    """Imported, but not quite as it stands there, or with something left out."""
    REJECT = 2
    """Not importable; nothing of the site is imported while there is one, unless accepted."""


class Kind(enum.Enum):
    """A kind of finding: code, severity, what it means, what to do; of rejects `if_accepted`.

    The value of each is its code, which is what users see and give to ``--accept``.
    """

    severity: Severity
    """How bad it is."""
    meaning: str
    """What is the case."""
    advice: str
    """What to do about it."""
    if_accepted: str
    """What becomes of it if the administrator takes it as it is; empty unless it is a reject."""

    def __new__(
        cls, code: str, severity: Severity, meaning: str, advice: str, if_accepted: str = ""
    ) -> Self:
        """Make a code whose value is its text."""
        made = object.__new__(cls)
        made._value_ = code
        made.severity = severity
        made.meaning = meaning
        made.advice = advice
        made.if_accepted = if_accepted
        return made

    def __str__(self) -> str:
        return str(self.value)
