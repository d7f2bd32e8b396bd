"""The kinds of findings of a verification: how bad each is, what it means, what mends it."""

import enum
from typing import Self


class Severity(enum.IntEnum):
    """How bad a finding is."""

    NOTE = 0
    """Good to know; it does not count."""
    WARNING = 1
    """Not as the database says; mail and logins do not depend on it."""
    HARM = 2
    """Mail is refused, deferred, bounced or handled otherwise than the database says, or logins
    fail; or it cannot be told whether they do."""


class Mend(enum.Enum):
    """How `repair` mends a finding."""

    NOT = ""
    """It cannot; the code's advice says why, and what to do."""
    WRITE = "the file is written anew, as an export does"
    MAKE = "the directory is made"
    RIGHTS = "owner and mode are set"
    TRASH = "it is moved to the trash, where `vpopsql trash restore` finds it"
    SWEEP = "the half-written file is removed"
    FINISH = "the deletion is finished, as `vpopsql trash finish` does"


RELAY = ("export", "follow", "--role", "relay", "--once")
"""What writes the files of a host that only takes mail for others."""


class Code(enum.Enum):
    """All kinds of findings; the value of each is its code, which is what users see."""

    severity: Severity
    """How bad it is."""
    mend: Mend
    """What `repair` does."""
    meaning: str
    """What is the case."""
    advice: str
    """What to do where `repair` cannot; else what to know before."""

    def __new__(
        cls, code: str, severity: Severity, mend: Mend, meaning: str, advice: str = ""
    ) -> Self:
        """Make a code whose value is its text."""
        made = object.__new__(cls)
        made._value_ = code
        made.severity = severity
        made.mend = mend
        made.meaning = meaning
        made.advice = advice
        return made

    def __str__(self) -> str:
        return str(self.value)

    def command(self, domain: str | None = None, *, is_relay: bool = False) -> tuple[str, ...]:
        """Return the arguments of vpopsql that mend it; empty: there is no such command.

        :param domain: in the files of this one only; None: everywhere.
        :param is_relay: on a host that only takes mail for others.
        """
        if is_relay and self.mend is Mend.WRITE:
            return RELAY
        if self.mend is Mend.NOT:
            return ()
        if self.mend is Mend.FINISH:
            return ("trash", "finish")
        scope = ("--domain", domain) if domain else ()
        return ("verify", *scope, "--fix", str(self))

    # qmail's files

    NO_RCPTHOSTS = (
        "rcpthosts-missing",
        Severity.HARM,
        Mend.WRITE,
        "there is no `control/rcpthosts`: qmail relays for everybody",
    )
    CONTROL_MISSING = (
        "control-missing",
        Severity.HARM,
        Mend.WRITE,
        "`virtualdomains` or `locals` is missing",
    )
    CONTROL_DIFFERS = (
        "control-differs",
        Severity.HARM,
        Mend.WRITE,
        "`rcpthosts`, `virtualdomains` or `locals` says something else than the database",
    )
    RELOAD_PENDING = (
        "reload-pending",
        Severity.HARM,
        Mend.WRITE,
        "`virtualdomains` or `locals` was written, and qmail-send has not been told",
    )
    CDB_MISSING = (
        "cdb-missing",
        Severity.HARM,
        Mend.WRITE,
        "a cdb is missing: qmail or vpopmail finds none of what is in its text",
    )
    CDB_DAMAGED = (
        "cdb-damaged",
        Severity.HARM,
        Mend.WRITE,
        "a cdb is empty, cut off, or its tables are not those of its records",
    )
    CDB_DIFFERS = (
        "cdb-differs",
        Severity.HARM,
        Mend.WRITE,
        "a cdb answers something else than the database",
    )
    TEXT_MISSING = (
        "text-missing",
        Severity.WARNING,
        Mend.WRITE,
        "`users/assign`, `morercpthosts` or a `vpasswd`, which a cdb is compiled from, is missing",
    )
    TEXT_DIFFERS = (
        "text-differs",
        Severity.WARNING,
        Mend.WRITE,
        "such a text differs from the database: in force once somebody compiles its cdb anew",
    )

    # Dot-qmail files and settings

    DOTQMAIL_MISSING = (
        "dotqmail-missing",
        Severity.HARM,
        Mend.WRITE,
        "a dot-qmail file of the database is missing: mail for it bounces or goes elsewhere",
    )
    DOTQMAIL_DIFFERS = (
        "dotqmail-differs",
        Severity.HARM,
        Mend.WRITE,
        "a dot-qmail file has other lines than the database",
        "what is in it is lost; to keep it, `vpopsql import … --update`, or set it by the daemon",
    )
    DOTQMAIL_EXTRA = (
        "dotqmail-extra",
        Severity.HARM,
        Mend.TRASH,
        "a dot-qmail file has no row: mail is handled by lines that the database does not know",
        "to keep it, `vpopsql import … --update`, or set it by the daemon",
    )
    SETTINGS_MISSING = (
        "settings-missing",
        Severity.WARNING,
        Mend.WRITE,
        "a file with limits, directory counters or IP addresses is missing",
    )
    SETTINGS_DIFFER = (
        "settings-differ",
        Severity.WARNING,
        Mend.WRITE,
        "a file with limits, directory counters or IP addresses differs from the database",
    )
    SETTINGS_EXTRA = (
        "settings-extra",
        Severity.WARNING,
        Mend.TRASH,
        "a file with limits, directory counters or IP addresses has no rows",
    )

    ACCOUNTS_EXTRA = (
        "accounts-extra",
        Severity.WARNING,
        Mend.TRASH,
        "a `vpasswd` or its cdb is there, although `export.accounts` is `database`",
        "`vpopsql export apply` removes all of them, and keeps what they were",
    )

    # Files of any kind

    RESPELLED = (
        "respelled",
        Severity.NOTE,
        Mend.WRITE,
        "a file says what the database says in other bytes: order, comments, case, blanks",
    )
    LINK_FOR_FILE = (
        "link-for-file",
        Severity.WARNING,
        Mend.WRITE,
        "a symbolic link stands where the database has a file",
        "the link is replaced; what it leads to stays",
    )
    NO_FILE = (
        "not-a-file",
        Severity.HARM,
        Mend.NOT,
        "a directory, or something special, stands where a file belongs",
        "move it away, then verify again",
    )
    FILE_OWNER = (
        "file-owner",
        Severity.WARNING,
        Mend.RIGHTS,
        "a file belongs to somebody else than the domain's user and group",
    )
    FILE_UNREADABLE = (
        "file-unreadable",
        Severity.HARM,
        Mend.RIGHTS,
        "the domain's user cannot read a file: mail is deferred, logins fail",
    )
    FILE_WRITABLE = (
        "file-writable",
        Severity.HARM,
        Mend.RIGHTS,
        "others than its owner can write a file; qmail defers on such a dot-qmail file",
    )
    EXECUTABLE = (
        "dotqmail-executable",
        Severity.HARM,
        Mend.RIGHTS,
        "a dot-qmail file is executable and does more than forward: qmail defers",
    )
    HALF_WRITTEN = (
        "half-written",
        Severity.WARNING,
        Mend.SWEEP,
        "a writer was killed more than an hour ago and left a half-written file",
    )

    # Directories

    DIR_MISSING = (
        "dir-missing",
        Severity.HARM,
        Mend.MAKE,
        "the directory of a domain is missing: all its mail is deferred",
        "restore it from a backup if there is one: what is made is empty",
    )
    HOME_MISSING = (
        "home-missing",
        Severity.HARM,
        Mend.MAKE,
        "the directory of a mailbox is missing: its mail is deferred",
        "restore it from a backup if there is one: what is made is empty",
    )
    MAILDIR_MISSING = (
        "maildir-missing",
        Severity.HARM,
        Mend.MAKE,
        "the directory of a mailbox has no `Maildir`: its mail is deferred",
        "restore it from a backup if there is one: what is made is empty",
    )
    NO_DIR = (
        "not-a-directory",
        Severity.HARM,
        Mend.NOT,
        "a file or a symbolic link stands where a directory belongs; links are not followed",
        "put the directory itself in its place, by a mount if it is on another disk",
    )
    DIR_OWNER = (
        "dir-owner",
        Severity.HARM,
        Mend.RIGHTS,
        "a directory belongs to somebody else than the domain's user and group",
        "what is in it keeps its owner",
    )
    DIR_MODE = (
        "dir-mode",
        Severity.HARM,
        Mend.RIGHTS,
        "the owner of a directory cannot read, write and enter it",
    )
    DIR_STICKY = (
        "dir-sticky",
        Severity.HARM,
        Mend.RIGHTS,
        "a directory is sticky: qmail defers all mail for it",
        "make sure that nobody has set it on purpose, to hold mail back for a while",
    )
    DIR_WRITABLE = (
        "dir-writable",
        Severity.HARM,
        Mend.RIGHTS,
        "group or others can write to a directory: qmail defers all mail for it",
    )
    ORPHAN_DOMAIN = (
        "orphan-domain",
        Severity.WARNING,
        Mend.TRASH,
        "below vpopmail's `domains` is a directory that looks like a domain's, and no row has it",
    )
    ORPHAN_HOME = (
        "orphan-home",
        Severity.WARNING,
        Mend.TRASH,
        "in a domain's directory is one that looks like a mailbox's, and no row has it",
    )
    UNKNOWN_DIR = (
        "unknown-directory",
        Severity.NOTE,
        Mend.TRASH,
        "a directory is neither a domain's, a mailbox's nor a list's; it may be anybody's",
        "look into it first; nothing depends on it as far as the database knows",
    )
    UNMOVED = (
        "trash-unfinished",
        Severity.WARNING,
        Mend.FINISH,
        "something was deleted, and its files are still where they were: a deletion was cut off",
    )

    # What is in the way of a verification, or of every export

    UNREADABLE = (
        "unreadable",
        Severity.HARM,
        Mend.NOT,
        "a file or directory cannot be read, so that nothing is known of it",
        "verify as root",
    )
    UNRENDERABLE = (
        "unrenderable",
        Severity.HARM,
        Mend.NOT,
        "a row has something that its file cannot hold: no export comes to its end",
        "change the row that is named",
    )
    UNFINISHED_IMPORT = (
        "unfinished-import",
        Severity.WARNING,
        Mend.NOT,
        "an import was cut off: a part of the site is in the database; nothing is compared",
        "run the same import again, with --apply",
    )
