"""What a report is: its question, its columns with their units, and what narrows it down."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass


class Kind(enum.StrEnum):
    """What the values of a column are."""

    TEXT = "text"
    NUMBER = "number"
    """A whole number."""
    BYTES = "bytes"
    PERCENT = "percent"
    RATIO = "ratio"
    TIME = "time"
    """UTC."""
    DATE = "date"
    """A day in UTC, as text: ``2026-01-31``."""
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True)
class Column:
    """A column; its name stays what it is."""

    name: str
    kind: Kind
    meaning: str
    null: str = "unknown"
    """What it means when there is no value."""


class Option(enum.StrEnum):
    """The name of a threshold."""

    DAYS = "days"
    PERCENT = "percent"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Threshold:
    """The least value of a column that a row must have; 0 lets all rows through.

    Of a column of times it is the least that the time must be over, in days.
    """

    option: Option
    column: str
    default: int
    with_unknown: bool = False
    """Whether rows pass of which the value is not known."""
    or_if: str = ""
    """A column of truths that lets a row pass, whatever its value."""


class Parts(enum.Enum):
    """How a report is asked for in parts, so that the first rows need not wait for the last."""

    WHOLE = enum.auto()
    DOMAINS = enum.auto()
    """Some domains after the other; it is sorted by ``domain``."""
    LOGIN_DAYS = enum.auto()
    """Days on which somebody logged in last, from the newest; it is sorted by ``-date``."""
    GROWTH_DAYS = enum.auto()
    """Days on which something was measured or recorded, likewise."""
    ENTRIES = enum.auto()
    """Some entries of the audit log at a time, from the newest; it is sorted by ``-id``."""
    IDLE_TIMES = enum.auto()
    """Those who are idle for the longest time first; it is sorted by ``idle_since``."""


class Source(enum.StrEnum):
    """Where the rows come from."""

    VIEW = "view"
    FILES = "files"
    """What `vpopsql verify` finds."""


@dataclass(frozen=True, slots=True)
class Report:
    """A question that an administrator asks."""

    name: str
    question: str
    columns: Sequence[Column]
    sort: Sequence[str]
    """Names of columns, ``-`` before one that is sorted downwards; rows are told apart by them."""
    threshold: Threshold | None = None
    without_postmaster: bool = False
    """Whether ``postmaster`` is left out unless somebody asks for him."""
    as_of: str = ""
    """The column that tells when a row became true; empty: the past cannot be asked for."""
    notes: str = ""
    """What to know before trusting it."""
    known: Sequence[str] = ("domain",)
    """Columns that always have a value, so that an index can sort by them."""
    counter: str = ""
    """A column that counts the rows of the answer, whatever the view has there."""
    parts: Parts = Parts.WHOLE
    source: Source = Source.VIEW

    @property
    def view(self) -> str:
        """Return the name of its view."""
        return f"report_{self.name.replace('-', '_')}"

    def has(self, column: str) -> bool:
        """Tell whether there is such a column."""
        return any(each.name == column for each in self.columns)

    def column(self, name: str) -> Column:
        """Return a column. :raises KeyError: there is no such column."""
        for each in self.columns:
            if each.name == name:
                return each
        raise KeyError(name)


def text(name: str, meaning: str, null: str = "unknown") -> Column:
    """Return a column of texts."""
    return Column(name, Kind.TEXT, meaning, null)


def number(name: str, meaning: str, null: str = "unknown") -> Column:
    """Return a column of whole numbers."""
    return Column(name, Kind.NUMBER, meaning, null)


def size(name: str, meaning: str, null: str = "unknown") -> Column:
    """Return a column of bytes."""
    return Column(name, Kind.BYTES, meaning, null)


def percent(name: str, meaning: str, null: str = "unknown") -> Column:
    """Return a column of percentages."""
    return Column(name, Kind.PERCENT, meaning, null)


def time(name: str, meaning: str, null: str = "unknown") -> Column:
    """Return a column of times."""
    return Column(name, Kind.TIME, meaning, null)


def date(name: str, meaning: str, null: str = "unknown") -> Column:
    """Return a column of days."""
    return Column(name, Kind.DATE, meaning, null)


def truth(name: str, meaning: str, null: str = "unknown") -> Column:
    """Return a column of yes and no."""
    return Column(name, Kind.BOOLEAN, meaning, null)


ADDRESS = text("address", "the mailbox, under its real domain")
DOMAIN = text("domain", "the real domain", "none")
CREATED_AT = time("created_at", "when it was made; imported ones do not tell")
LAST_AUTH_AT = time("last_auth_at", "the newest login of all services", "never, or unknown")
USED_BYTES = size("used_bytes", "what it held when it was last measured (`vpopsql usage scan`)")
