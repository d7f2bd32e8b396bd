"""What an import found: an account of every line, what was refused and what deserves a look.

Every finding has a code; the code carries how bad it is and what to do, so that both are said
the same way wherever it turns up. No finding shows a password or a hash.
"""

from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any

from vpopsql.importer.codes import Code, Severity
from vpopsql.qmail.lines import Malformed
from vpopsql.shown import printable

_PATH_MAX = 4096  # of Linux
_REASON_MAX = 300
_TEXT_MAX = 100
_NAME_MAX = 32  # characters of a name that may be shown; a hash has more, or a dollar sign


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    ``file`` is a path that the user can open, or ``DATABASE.TABLE``; ``line`` counts from 1 (0:
    the file as a whole, or a table, which has no lines); ``key`` names the row of a table;
    ``text`` is what stands there, as far as it may be shown.
    """

    code: Code
    file: str
    line: int
    text: str
    reason: str
    key: str = ""

    @property
    def place(self) -> str:
        """Where it was found: ``file:line`` or ``table[key]``, or the file alone."""
        file = printable(self.file, _PATH_MAX)
        line = f":{self.line}" if self.line else ""
        return f"{file}{line}[{self.key}]" if self.key else f"{file}{line}"

    def as_dict(self) -> dict[str, Any]:
        """Return the finding for JSON."""
        return {
            "severity": self.code.severity.name.lower(),
            "code": str(self.code),
            "file": printable(self.file, _PATH_MAX),
            "line": self.line,
            "key": self.key,
            "text": self.text,
            "reason": self.reason,
            "advice": self.code.advice,
        }


@dataclass(slots=True)
class Tally:
    """Where the lines of one file, or of all small files of one kind in one directory, went.

    Every line is in exactly one of the counts. A file whose lines are not told apart
    (``lastauth``) counts as one line.
    """

    kind: str
    """What is counted, the same word for the same file of every domain."""
    place: str
    """The file, or the directory of the files."""
    files: int = 0
    lines: int = 0
    imported: int = 0
    merged: int = 0
    """Says what another line says already, or what a row of ours undoes, a finding each; or
    nothing: blank, a comment, the final dot of ``users/assign``."""
    foreign: int = 0
    """Kept as it is, because something other than vpopmail made it."""
    rejected: int = 0

    @property
    def adds_up(self) -> bool:
        """Whether every line is accounted for."""
        return self.lines == self.imported + self.merged + self.foreign + self.rejected

    def add(self, other: "Tally") -> None:
        """Count the lines of another place as well."""
        for name in ("files", "lines", "imported", "merged", "foreign", "rejected"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def reject_all(self) -> None:
        """Count what was imported as rejected: what it belongs to cannot be imported."""
        self.rejected += self.imported
        self.imported = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the counts for JSON."""
        return asdict(self) | {"adds_up": self.adds_up}


def _lists() -> defaultdict[str, list[str]]:
    return defaultdict(list)


@dataclass(slots=True)
class Evidence:
    """What was found in one part of a source, such as a domain, collected while it is read."""

    _findings: dict[Finding, None] = field(default_factory=dict)
    tallies: list[Tally] = field(default_factory=list)
    left: defaultdict[str, list[str]] = field(default_factory=_lists)
    """Files and directories that are seen and stay where they are, by what they are."""
    maildirs: int = 0
    """Mailbox directories with a Maildir: too many to list, and mail is never touched."""
    clear_texts: int = 0
    """Readable passwords that are left out."""

    def tally(self, kind: str, place: str) -> Tally:
        """Return a new count for the lines of ``place``."""
        tally = Tally(kind, place)
        self.tallies.append(tally)
        return tally

    def find(
        self, code: Code, file: str, line: int, text: str, reason: str, *, key: str = ""
    ) -> None:
        """Record a finding; ``text`` must hold no secret."""
        reason = printable(reason, _REASON_MAX)
        finding = Finding(
            code, file, line, printable(text, _TEXT_MAX), reason, printable(key, _TEXT_MAX)
        )
        self._findings[finding] = None

    def malformed(
        self, tally: Tally, file: str, line: Malformed, *, secret: bool = False, key: str = ""
    ) -> None:
        """Record a line that a parser could not use; of a secret one only the name is shown."""
        text = without_secrets(line.text) if secret else line.text
        tally.rejected += 1
        self.find(Code.MALFORMED, file, line.number, text, line.reason, key=key)

    def leave(self, what: str, path: str) -> None:
        """Record that ``path`` is left in place."""
        self.left[what].append(printable(path, _PATH_MAX))

    def add(self, other: "Evidence") -> None:
        """Take in what was found elsewhere."""
        self._findings.update(dict.fromkeys(other.findings))
        self.tallies += other.tallies
        self.maildirs += other.maildirs
        self.clear_texts += other.clear_texts
        for what, paths in other.left.items():
            self.left[what] += paths

    @property
    def findings(self) -> list[Finding]:
        """What was found, in that order, each once."""
        return list(self._findings)

    @property
    def worst(self) -> Severity:
        """The severity of the worst finding."""
        return max((finding.code.severity for finding in self._findings), default=Severity.NOTE)

    def of(self, severity: Severity) -> list[Finding]:
        """Return the findings of one severity in the order they were made."""
        return [finding for finding in self._findings if finding.code.severity is severity]


def may_be_shown(name: str) -> bool:
    """Say whether what stands where a name should be is one, or may be a password hash."""
    return len(name) <= _NAME_MAX and "$" not in name


def without_secrets(vpasswd_line: str) -> str:
    """Return as much of a vpasswd line as may be shown: its name, if it is one.

    Lines break anywhere; the first field of a damaged one can be a hash.
    """
    name, _, rest = vpasswd_line.partition(":")
    if not may_be_shown(name) or not rest:
        return f"({len(vpasswd_line)} characters)"
    return f"{name}:…"
