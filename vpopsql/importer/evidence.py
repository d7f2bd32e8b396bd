"""What an import found: an account of every line, what was refused and what deserves a look.

Every finding has a code; the code carries how bad it is and what to do, so that both are said
the same way wherever it turns up. No finding shows a password or a hash.
"""

import enum
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any

from vpopsql.qmail.lines import Malformed

_PATH_MAX = 4096  # of Linux
_REASON_MAX = 300
_NAME_MAX = 32  # characters of a name that may be shown; a hash has more, or a dollar sign


class Severity(enum.IntEnum):
    """How bad a finding is."""

    NOTE = 0
    """Good to know; nothing to do."""
    WARNING = 1
    """Imported, but not quite as it stands there, or with something left out."""
    REJECT = 2
    """Not importable; nothing of the site is imported while there is one."""


class Code(enum.Enum):
    """The kinds of findings: ``value`` is (code, severity, what to do)."""

    NO_LASTAUTH = (
        "no-lastauth",
        Severity.NOTE,
        "nothing: the account counts as one that never logged in",
    )
    RESPELLED = ("respelled", Severity.NOTE, "nothing: the export writes it in its usual spelling")

    DUPLICATE = ("duplicate", Severity.WARNING, "nothing: an earlier line says it and wins")
    TRAILING_TEXT = (
        "trailing-text",
        Severity.WARNING,
        "nothing: qmail does not read it; the export leaves it out",
    )
    NOT_IN_RCPTHOSTS = (
        "not-in-rcpthosts",
        Severity.WARNING,
        "check that mail for it is wanted: the export adds the line",
    )
    NOT_VIRTUAL = (
        "not-in-virtualdomains",
        Severity.WARNING,
        "check that mail for it is wanted: the export adds the line",
    )
    OTHER_PREPEND = (
        "other-prepend",
        Severity.WARNING,
        "decide which of the two is meant: the export adds NAME:NAME beside it",
    )
    OTHER_HOME = (
        "other-home",
        Severity.WARNING,
        "set paths.vpopmail to it: the daemon and the export look for files there",
    )
    IN_LOCALS = (
        "in-locals",
        Severity.WARNING,
        "check that the domain is not served locally: the export removes the line",
    )
    OPEN_RELAY = (
        "no-rcpthosts",
        Severity.WARNING,
        "without the file qmail relays for everybody: the export makes one",
    )
    NOT_PLAIN = (
        "not-plain-path",
        Severity.WARNING,
        "nothing: imported, and written by the export, without the slashes that say nothing",
    )
    OUTSIDE = (
        "home-outside",
        Severity.WARNING,
        "check that the account's directory is meant: programs of this account work there",
    )
    SHARED_HOME = (
        "shared-home",
        Severity.WARNING,
        "check that both accounts are meant to have one directory, mail and forwards",
    )
    CARRIAGE_RETURNS = (
        "carriage-returns",
        Severity.WARNING,
        "nothing: imported, and written by the export, without them",
    )
    UNKNOWN_FLAGS = (
        "unknown-flags",
        Severity.WARNING,
        "nothing: bits that vpopmail gives no meaning are kept",
    )
    HASH_PREFIX = (
        "hash-prefix",
        Severity.NOTE,
        "nothing: the prefix is kept, and ignored when a password is checked",
    )
    UNKNOWN_HASH = (
        "unknown-hash",
        Severity.WARNING,
        "set new passwords: the hashes are kept, but no login can succeed with them",
    )
    ODD_DEFAULT_DOMAIN = (
        "odd-defaultdomain",
        Severity.WARNING,
        "correct the file if logins without a domain are wanted: it is not imported",
    )
    CDB_ONLY = (
        "cdb-only",
        Severity.WARNING,
        "compare with the last good copy: the cdb may be older than the lost text",
    )
    BLANK_LINE = (
        "blank-line",
        Severity.WARNING,
        "nothing: but vpopmail's own tools stop here and do not show the accounts behind it",
    )
    UPPER_CASE = (
        "upper-case",
        Severity.WARNING,
        "nothing: names are kept in lower case, as vpopmail looks them up",
    )
    CLEAR_TEXT = (
        "clear-text-left-out",
        Severity.WARNING,
        "set passwords.store_clear_text if clients log in with APOP or CRAM-MD5",
    )
    LINK = (
        "link",
        Severity.WARNING,
        "nothing: it is kept as a link; what it leads to is not read",
    )
    NO_FILE = ("no-file", Severity.WARNING, "nothing: it is left where it is, and not imported")
    NO_HOME = (
        "no-home",
        Severity.WARNING,
        "restore the directory if it had mail: the account is imported without it",
    )
    UNKNOWN_SETTING = (
        "unknown-setting",
        Severity.WARNING,
        "nothing: vpopmail ignores the line; it is kept in the file's text",
    )
    ODD_LASTAUTH = (
        "odd-lastauth",
        Severity.WARNING,
        "nothing: only the account's last login is in doubt",
    )
    NO_DOMAIN_USERS = (
        "users-without-domain",
        Severity.WARNING,
        "move the accounts of users/ into a domain: accounts without one are not imported",
    )
    COUNTER_KEPT = (
        "counter-kept",
        Severity.WARNING,
        "nothing: the count is not exact in vpopmail either; the database's stays",
    )

    MALFORMED = ("malformed", Severity.REJECT, "repair or remove the line")
    BAD_NAME = ("bad-name", Severity.REJECT, "correct the name or remove the line")
    BAD_FILE_NAME = ("bad-file-name", Severity.REJECT, "rename or remove the file")
    BAD_PATH = ("bad-path", Severity.REJECT, "write the real, absolute path into the line")
    SAME_USER = ("same-user", Severity.REJECT, "remove or rename one of the two")
    SHARED_DIRECTORY = (
        "shared-directory",
        Severity.REJECT,
        "if it is an alias domain, name the real domain in the line's second field",
    )
    NO_REAL_DOMAIN = (
        "no-real-domain",
        Severity.REJECT,
        "remove the line, or add one for the real domain",
    )
    ALIAS_DIFFERS = (
        "alias-differs",
        Severity.REJECT,
        "give the line the uid, gid and directory of the real domain",
    )
    UNKNOWN_DOMAIN = ("unknown-domain", Severity.REJECT, "remove the line or add the domain")
    UNREADABLE = (
        "unreadable",
        Severity.REJECT,
        "make it readable for this user, or run the import as one who may read it",
    )
    LINKED = (
        "symbolic-link",
        Severity.REJECT,
        "put the real one in its place, or import a copy made with `cp -RL`: no link is followed",
    )
    MISSING = ("missing", Severity.REJECT, "restore it, or remove the line that names it")
    UNWRITABLE = (
        "unwritable",
        Severity.REJECT,
        "correct it in the source: the export could not write it into a file",
    )
    TAKEN = ("taken", Severity.REJECT, "remove one of the two: the database has it for another")
    DIFFERS = (
        "differs",
        Severity.REJECT,
        "the database holds other values: an import adds and never changes what is there",
    )

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return self.value[1]

    @property
    def advice(self) -> str:
        """What to do about it."""
        return self.value[2]

    def __str__(self) -> str:
        return self.value[0]


def printable(text: str, limit: int = 100) -> str:
    r"""Return ``text`` as one line of characters that a terminal can show, others as ``\x..``."""
    cut = text if len(text) <= limit else text[:limit] + "…"
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut
    )


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    ``file`` is a path that the user can open, ``line`` counts from 1 (0: the file as a whole),
    ``text`` is what stands there, as far as it may be shown.
    """

    code: Code
    file: str
    line: int
    text: str
    reason: str

    @property
    def place(self) -> str:
        """Where it was found: ``file:line``, or the file alone."""
        file = printable(self.file, _PATH_MAX)
        return f"{file}:{self.line}" if self.line else file

    def as_dict(self) -> dict[str, Any]:
        """Return the finding for JSON."""
        return {
            "severity": self.code.severity.name.lower(),
            "code": str(self.code),
            "file": printable(self.file, _PATH_MAX),
            "line": self.line,
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
    """Says what another line says already, or what a row of ours undoes; a finding each."""
    foreign: int = 0
    """Kept as it is, because something other than vpopmail made it."""
    rejected: int = 0
    blank: int = 0
    """Says nothing: blank, a comment, the final dot of ``users/assign``."""

    @property
    def adds_up(self) -> bool:
        """Whether every line is accounted for."""
        counted = self.imported + self.merged + self.foreign + self.rejected + self.blank
        return self.lines == counted

    def add(self, other: "Tally") -> None:
        """Count the lines of another place as well."""
        for name in ("files", "lines", "imported", "merged", "foreign", "rejected", "blank"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def as_dict(self) -> dict[str, Any]:
        """Return the counts for JSON."""
        return asdict(self) | {"adds_up": self.adds_up}


@dataclass(slots=True)
class Evidence:
    """What one import found, collected while it reads."""

    _findings: dict[Finding, None] = field(default_factory=dict)
    tallies: list[Tally] = field(default_factory=list)
    left: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Files and directories that are seen and stay where they are, by what they are."""
    maildirs: int = 0
    """Mailbox directories with a Maildir: too many to list, and mail is never touched."""

    def tally(self, kind: str, place: str) -> Tally:
        """Return a new count for the lines of ``place``."""
        tally = Tally(kind, place)
        self.tallies.append(tally)
        return tally

    def find(self, code: Code, file: str, line: int, text: str, reason: str) -> None:
        """Record a finding; ``text`` must hold no secret."""
        finding = Finding(code, file, line, printable(text), printable(reason, _REASON_MAX))
        self._findings[finding] = None

    def malformed(self, tally: Tally, file: str, line: Malformed, *, secret: bool = False) -> None:
        """Record a line that a parser could not use; of a secret one only the name is shown."""
        text = without_secrets(line.text) if secret else line.text
        tally.rejected += 1
        self.find(Code.MALFORMED, file, line.number, text, line.reason)

    def leave(self, what: str, path: str) -> None:
        """Record that ``path`` is left in place."""
        self.left[what].append(printable(path, _PATH_MAX))

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


def without_secrets(vpasswd_line: str) -> str:
    """Return as much of a vpasswd line as may be shown: its name, if it is one.

    Lines break anywhere; the first field of a damaged one can be a hash.
    """
    name, _, rest = vpasswd_line.partition(":")
    if len(name) > _NAME_MAX or "$" in name or not rest:
        return f"({len(vpasswd_line)} characters)"
    return f"{name}:…"
