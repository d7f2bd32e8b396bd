"""What a vpopmail site holds, as values that compare: read from its files or from the database.

Two readers that give equal records have read the same site. Nothing here knows files or SQL.
What there are millions of is a named tuple, which goes from process to process, and to disk, in a
third of the time that a dataclass takes.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from vpopsql.model import CatchAll, LineKind
from vpopsql.qmail.dircontrol import DirControl

LAST_SORT_KEY = "\U0010ffff"
"""The sort key of comments behind the last line that names something."""


class DotQmailLine(NamedTuple):
    """A line of a dot-qmail file and what it makes qmail do."""

    text: str
    kind: LineKind


class DotQmailFile(NamedTuple):
    """A dot-qmail file; a symbolic link has a target and no lines."""

    name: str
    lines: tuple[DotQmailLine, ...]
    final_newline: bool = True
    link_target: str | None = None


class LastAuth(NamedTuple):
    """The last login; from ``0.0.0.0`` there was none, and ``at`` is when the account was made."""

    at: datetime
    remote_ip: str


class Mailbox(NamedTuple):
    """An account with all that belongs to it."""

    name: str
    password_hash: str
    clear_text: str | None
    apop_uid: int
    flags: int
    comment: str
    directory: str
    quota_text: str
    quota_bytes: int | None
    quota_messages: int | None
    created_at: datetime | None
    last_auth: LastAuth | None
    files: tuple[DotQmailFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """A limits file: the value of every setting, and the text they came from."""

    values: dict[str, int | bool]
    source_text: str | None


@dataclass(frozen=True, slots=True)
class Counter:
    """A directory counter, and the text of the list of freed buckets beside it."""

    control: DirControl
    free_buckets: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class Name:
    """A name that mail arrives for."""

    name: str
    in_morercpthosts: bool = False


@dataclass(frozen=True, slots=True)
class Domain:
    """A real domain with its aliases and mailboxes; all tuples are in name order."""

    name: Name
    aliases: tuple[Name, ...]
    directory: str
    uid: int
    gid: int
    catchall: CatchAll
    catchall_target: str | None
    mailboxes: tuple[Mailbox, ...]
    files: tuple[DotQmailFile, ...]
    limits: Limits | None
    counter: Counter | None

    @property
    def names(self) -> tuple[Name, ...]:
        """The name and those of the alias domains."""
        return (self.name, *self.aliases)

    def counts(self) -> dict[str, int]:
        """Return how much there is of everything, for people and the audit."""
        owned = [self.files, *(mailbox.files for mailbox in self.mailboxes)]
        return {
            "aliases": len(self.aliases),
            "mailboxes": len(self.mailboxes),
            "dotqmail_files": sum(len(files) for files in owned),
            "dotqmail_lines": sum(len(file.lines) for files in owned for file in files),
        }


@dataclass(frozen=True, slots=True)
class ForeignLine:
    """A line of a shared file that vpopmail did not make."""

    number: int
    line: str
    sort_key: str


@dataclass(frozen=True, slots=True)
class Site:
    """Everything; the mappings' values are names of real domains."""

    vpopmail_dir: str
    qmail_dir: str
    domains: Collection[Domain] = ()
    foreign_lines: dict[str, tuple[ForeignLine, ...]] = field(default_factory=dict)
    ip_mappings: dict[str, str] = field(default_factory=dict)
    default_limits: Limits | None = None
    counter: Counter | None = None
    default_domain: str | None = None


def differences(scanned: Domain, stored: Domain) -> Iterator[str]:
    """Say in which parts two records of one domain differ; values are named, never shown."""
    for part in ("name", "aliases", "directory", "uid", "gid", "limits", "counter", "files"):
        if getattr(scanned, part) != getattr(stored, part):
            yield part
    if (scanned.catchall, scanned.catchall_target) != (stored.catchall, stored.catchall_target):
        yield "catch-all"
    ours = {mailbox.name: mailbox for mailbox in scanned.mailboxes}
    theirs = {mailbox.name: mailbox for mailbox in stored.mailboxes}
    for what, names in (
        ("mailboxes only in the source", ours.keys() - theirs.keys()),
        ("mailboxes only in the database", theirs.keys() - ours.keys()),
        ("mailboxes", {name for name in ours.keys() & theirs if ours[name] != theirs[name]}),
    ):
        if names:
            shown = sorted(names)[:5]
            more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
            yield f"{what}: {', '.join(shown)}{more}"
