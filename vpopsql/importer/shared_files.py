"""Reading the files of qmail that vpopmail shares with others: users/assign and control files.

Each line is told apart: one that a row of ours makes, one that somebody else made and that is
kept as it is, or one that says nothing new. ``ours`` in this module are names of domains and
alias domains of the site, in lower case.
"""

from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass, field, replace

from vpopsql import names
from vpopsql.directory import Directory, plain_path
from vpopsql.importer import site
from vpopsql.importer.codes import Code, Severity
from vpopsql.importer.compiled import compare_hosts
from vpopsql.importer.evidence import Evidence, Tally
from vpopsql.importer.files import enter_if_there, read_file
from vpopsql.qmail import assign, control
from vpopsql.qmail.lines import Comment, Malformed, split_lines

RCPTHOSTS_MAX = 50
"""Lines that vpopmail puts into rcpthosts; further names go to morercpthosts."""

ASSIGN = "users/assign"
RCPTHOSTS = "control/rcpthosts"
MORERCPTHOSTS = "control/morercpthosts"
VIRTUALDOMAINS = "control/virtualdomains"
LOCALS = "control/locals"

_DOMAINS = "/domains/"
_INT_MAX = 2**31 - 1  # what a column for uids holds


@dataclass(slots=True)
class Lines:
    """One file while its lines are told apart.

    A comment or blank line stands before the next line that names something.
    """

    evidence: Evidence
    shown: str
    data: bytes
    tally: Tally
    raw: list[str]
    _own: list[str] = field(default_factory=list)
    _foreign: list[site.ForeignLine] = field(default_factory=list)
    _waiting: list[int] = field(default_factory=list)

    def keep(self, number: int, sort_key: str) -> None:
        """Keep the line as one that vpopmail did not make."""
        self.tally.foreign += 1
        self._flush(sort_key)
        self._foreign.append(site.ForeignLine(number, self.raw[number - 1], sort_key))

    def keep_comment(self, number: int) -> None:
        """Keep a line that names nothing; the next one tells where it belongs."""
        self.tally.foreign += 1
        self._waiting.append(number)

    def own(self, number: int, name: str, usual: str) -> None:
        """Count a line that a row of ours makes, in the spelling ``usual``."""
        self.tally.imported += 1
        self._own.append(name)
        self._flush(names.sort_key(name))
        text = self.raw[number - 1]
        if text != usual:
            self.find(Code.RESPELLED, number, f"usually written {usual}")

    def leave_out(self, left_out: Container[str]) -> None:
        """Count the lines of names that turned out not to be importable as rejected."""
        number = sum(name in left_out for name in self._own)
        self.tally.imported -= number
        self.tally.rejected += number

    def merge(self, code: Code, number: int, reason: str) -> None:
        """Count a line that is not taken over because something else decides."""
        self.tally.merged += 1
        self.find(code, number, reason)

    def reject(self, code: Code, number: int, reason: str) -> None:
        """Count and report a line that cannot be imported."""
        self.tally.rejected += 1
        self.find(code, number, reason)

    def malformed(self, line: Malformed) -> None:
        """Report what a parser could not use; what is missing at the end is no line."""
        self.evidence.malformed(self.tally, self.shown, line)
        if line.number > len(self.raw):
            self.tally.rejected -= 1

    def find(self, code: Code, number: int, reason: str) -> None:
        """Report something about a line."""
        self.evidence.find(code, self.shown, number, self.raw[number - 1], reason)

    def foreign(self) -> tuple[site.ForeignLine, ...]:
        """Return what is kept, in the order of the file."""
        self._flush(site.LAST_SORT_KEY)
        return tuple(sorted(self._foreign, key=lambda line: line.number))

    def _flush(self, sort_key: str) -> None:
        for number in self._waiting:
            self._foreign.append(site.ForeignLine(number, self.raw[number - 1], sort_key))
        self._waiting.clear()


def open_lines(evidence: Evidence, base: Directory, file: str) -> Lines | None:
    """Return a file of lines; None when it is missing or, which is a finding, not readable."""
    folder, _, name = file.rpartition("/")
    directory = enter_if_there(evidence, base, folder)
    if directory is None:
        return None
    with directory:
        if name not in directory.names():
            return None
        data = read_file(evidence, directory, name)
        shown = f"{directory.shown}/{name}"
    if data is None:
        return None
    raw = [text for _, text in split_lines(data)]
    tally = evidence.tally(name, shown)
    tally.files = 1
    tally.lines = len(raw)
    return Lines(evidence, shown, data, tally, raw)


@dataclass(frozen=True, slots=True)
class Assigned:
    """The domains that users/assign names."""

    place: str = ""
    """The file, for findings."""
    real: dict[str, assign.Assignment] = field(default_factory=dict)
    """The line of each real domain."""
    aliases: dict[str, str] = field(default_factory=dict)
    """The real domain of each alias domain."""
    lines: list[tuple[int, str]] = field(default_factory=list)
    """Number and text of every line that qmail can compile."""

    def resolved(self) -> dict[str, str]:
        """Return the real domain of every name."""
        return {name: name for name in self.real} | self.aliases

    def vpopmail_dir(self) -> str | None:
        """Return the directory under whose ``domains`` most domains are, None if none is."""
        found = Counter(
            record.directory.partition(_DOMAINS)[0]
            for record in self.real.values()
            if _DOMAINS in record.directory
        )
        return found.most_common(1)[0][0] if found else None


class SharedFiles:
    """Reads the files; what they hold of others is in ``foreign``, by file."""

    def __init__(self, qmail: Directory, evidence: Evidence) -> None:
        self._qmail = qmail
        self._evidence = evidence
        self._assigned: set[str] = set()
        """What addresses that users/assign gives to others begin with."""
        self._served: set[str] = set()
        """Hosts that virtualdomains or locals name."""
        self._files: list[Lines] = []
        self._relayed: list[tuple[Lines, int, str]] = []
        """Hosts of others that mail is accepted for, with the lines that say so."""
        self.foreign: dict[str, tuple[site.ForeignLine, ...]] = {}

    def read_assign(self) -> Assigned:
        """Return the domains of users/assign; keep every other line."""
        lines = self._open(ASSIGN)
        if lines is None:
            # It is the first file to be read: a reject says why it could not be.
            if self._evidence.worst is not Severity.REJECT:
                reason = "there is no list of domains"
                self._evidence.find(Code.MISSING, f"{self._qmail.shown}/{ASSIGN}", 0, "", reason)
            return Assigned()
        parsed = assign.parse(lines.data)
        numbers = {record.number for record in parsed}
        lines.tally.merged = sum(n not in numbers for n in range(1, len(lines.raw) + 1))
        own: dict[str, assign.Assignment] = {}
        exact = assign.exact_lines(parsed)
        if exact:
            lines.tally.merged += len(exact)
            reason = (
                f"{len(exact)} lines are made of the mailboxes, the first is line {min(exact)}"
            )
            self._evidence.find(Code.EXACT_LINES, lines.shown, 0, "", reason)
        for record in parsed:
            if record.number in exact:
                continue
            if isinstance(record, Malformed):
                lines.malformed(record)
            elif assign.is_domain(record):
                self._domain_line(lines, record, own)
            else:
                lines.keep(record.number, names.sort_key(record.local.removesuffix("-")))
                if record.wildcard:
                    self._assigned.add(names.lower(record.local))
        real = self._real_domains(lines, own)
        aliases = self._aliases(lines, own, real)
        for name in sorted({*real, *aliases}, key=lambda name: own[name].number):
            line = own[name]
            domain = aliases.get(name, name)
            usual = assign.domain_line(name, domain, line.uid, line.gid, line.directory)
            lines.own(line.number, name, usual)
        self._keep(ASSIGN, lines)
        compiled = [
            (record.number, lines.raw[record.number - 1])
            for record in parsed
            if not isinstance(record, Malformed)
        ]
        return Assigned(lines.shown, real, aliases, compiled)

    def _domain_line(
        self, lines: Lines, record: assign.Assignment, own: dict[str, assign.Assignment]
    ) -> None:
        number = record.number
        name = names.lower(record.local.removesuffix("-"))
        if name in own:
            lines.merge(Code.DUPLICATE, number, f"line {own[name].number} has {name} already")
        elif not _is_mail_domain(name):
            lines.reject(Code.BAD_NAME, number, "no name of a mail domain")
        elif max(record.uid, record.gid) > _INT_MAX:
            lines.reject(Code.MALFORMED, number, "its uid or gid is too large")
        elif (directory := plain_path(record.directory)) is None:
            reason = "its directory is not an absolute path without '.' and '..'"
            lines.reject(Code.BAD_PATH, number, reason)
        else:
            if directory != record.directory:
                lines.find(Code.NOT_PLAIN, number, f"its directory is read as {directory}")
            own[name] = replace(record, directory=directory)

    def _real_domains(
        self, lines: Lines, own: dict[str, assign.Assignment]
    ) -> dict[str, assign.Assignment]:
        """Return the lines of domains that are no aliases; one directory is one domain."""
        real: dict[str, assign.Assignment] = {}
        directories: dict[str, str] = {}
        for name, record in own.items():
            if names.lower(record.user) != name:
                continue
            other = directories.setdefault(record.directory, name)
            if other == name:
                real[name] = record
            else:
                lines.reject(
                    Code.SHARED_DIRECTORY, record.number, f"{other} has this directory, too"
                )
        return real

    def _aliases(
        self,
        lines: Lines,
        own: dict[str, assign.Assignment],
        real: dict[str, assign.Assignment],
    ) -> dict[str, str]:
        """Return the real domain of every alias domain."""
        aliases = {}
        for name, record in own.items():
            target = names.lower(record.user)
            theirs = real.get(target)
            if target == name:
                continue
            if theirs is None:
                reason = f"{name} is an alias of {target}, which has no line of its own"
                lines.reject(Code.NO_REAL_DOMAIN, record.number, reason)
            elif (record.uid, record.gid, record.directory) != (
                theirs.uid,
                theirs.gid,
                theirs.directory,
            ):
                reason = f"its uid, gid or directory is not that of {target}, line {theirs.number}"
                lines.reject(Code.ALIAS_DIFFERS, record.number, reason)
            else:
                aliases[name] = target
        return aliases

    def read_control(self, ours: set[str]) -> set[str]:
        """Sort the lines of the control files; return the names that belong to morercpthosts."""
        rcpthosts = self._hosts(RCPTHOSTS, ours, set())
        shown = f"{self._qmail.shown}/{RCPTHOSTS}"
        if rcpthosts is None:
            self._evidence.find(Code.OPEN_RELAY, shown, 0, "", "the file is missing")
            rcpthosts = set()
        in_more = self._hosts(MORERCPTHOSTS, ours, rcpthosts) or set()
        lines = len(rcpthosts) + len(self.foreign.get(RCPTHOSTS, ()))
        for name in _in_order(ours - rcpthosts - in_more):
            reason = f"{name} is in neither rcpthosts nor morercpthosts"
            self._evidence.find(Code.NOT_IN_RCPTHOSTS, shown, 0, name, reason)
            if lines >= RCPTHOSTS_MAX:
                in_more.add(name)
            lines += 1
        self._virtualdomains(ours)
        self._locals(ours)
        for file, number, name in self._relayed:
            if self._served.isdisjoint(_with_suffixes(name)):
                file.find(Code.RELAYED, number, f"{name} is no domain of this host")
        return in_more

    def _hosts(self, file: str, ours: set[str], elsewhere: set[str]) -> set[str] | None:
        """Sort the lines of rcpthosts or morercpthosts; return our names in it."""
        lines = self._open(file)
        if lines is None:
            if file == MORERCPTHOSTS:
                compare_hosts(self._qmail, (), self._evidence)
            return None
        found: set[str] = set()
        hosts: list[tuple[int, str]] = []
        for record in control.parse_hosts(lines.data):
            if isinstance(record, Malformed):
                lines.malformed(record)
                continue
            name = names.lower(record.name)
            if record.comment:
                lines.keep_comment(record.number)
                continue
            hosts.append((record.number, record.name))
            if name not in ours:
                lines.keep(record.number, names.sort_key(record.name))
                self._relayed.append((lines, record.number, name))
            elif name in found or name in elsewhere:
                lines.merge(Code.DUPLICATE, record.number, f"{name} is named before")
            else:
                lines.own(record.number, name, name)
                found.add(name)
        self._keep(file, lines)
        if file == MORERCPTHOSTS:
            compare_hosts(self._qmail, hosts, self._evidence)
        return found

    def _virtualdomains(self, ours: set[str]) -> None:
        lines = self._open(VIRTUALDOMAINS)
        found = set() if lines is None else self._own_virtualdomains(lines, ours)
        for name in _in_order(ours - found):
            shown = f"{self._qmail.shown}/{VIRTUALDOMAINS}"
            reason = f"there is no line {name}:{name}"
            self._evidence.find(Code.NOT_VIRTUAL, shown, 0, name, reason)

    def _own_virtualdomains(self, lines: Lines, ours: set[str]) -> set[str]:
        """Sort the lines; return our names that are virtual as vpopmail makes them."""
        found: set[str] = set()
        for record in control.parse_virtualdomains(lines.data):
            if isinstance(record, Malformed):
                lines.malformed(record)
                continue
            if isinstance(record, Comment):
                lines.keep_comment(record.number)
                continue
            name = names.lower(record.name)
            if name not in ours:
                lines.keep(record.number, names.sort_key(record.name))
                self._served.add(name)
                if self._is_unassigned(name, names.lower(record.prepend)):
                    reason = f"users/assign has no line for {name}"
                    lines.find(Code.VIRTUAL_ONLY, record.number, reason)
            elif names.lower(record.prepend) != name:
                reason = f"{name} is a domain of vpopmail with another prepend"
                lines.find(Code.OTHER_PREPEND, record.number, reason)
                lines.keep(record.number, names.sort_key(record.name))
            elif name in found:
                lines.merge(Code.DUPLICATE, record.number, f"{name} is named before")
            else:
                lines.own(record.number, name, f"{name}:{name}")
                found.add(name)
        self._keep(VIRTUALDOMAINS, lines)
        return found

    def _is_unassigned(self, name: str, prepend: str) -> bool:
        """Say whether a host is virtual as vpopmail makes one, and nobody gets its mail."""
        if prepend != name or not _is_mail_domain(name):
            return False
        begin = f"{name}-"
        return self._assigned.isdisjoint(begin[:end] for end in range(len(begin) + 1))

    def _locals(self, ours: set[str]) -> None:
        lines = self._open(LOCALS)
        if lines is None:
            return
        for record in control.parse_hosts(lines.data):
            if isinstance(record, Malformed):
                lines.malformed(record)
            elif record.comment:
                lines.keep_comment(record.number)
            elif names.lower(record.name) in ours:
                reason = "a domain of vpopmail is said to be local, which wins over virtual"
                lines.merge(Code.IN_LOCALS, record.number, reason)
            else:
                lines.keep(record.number, names.sort_key(record.name))
                self._served.add(names.lower(record.name))
        self._keep(LOCALS, lines)

    def leave_out(self, left_out: Container[str]) -> None:
        """Count the lines of domains and alias domains that cannot be imported as rejected."""
        for lines in self._files:
            lines.leave_out(left_out)

    def _open(self, file: str) -> Lines | None:
        lines = open_lines(self._evidence, self._qmail, file)
        if lines is not None:
            self._files.append(lines)
        return lines

    def _keep(self, file: str, lines: Lines) -> None:
        if foreign := lines.foreign():
            self.foreign[file] = foreign


def _is_mail_domain(name: str) -> bool:
    return names.is_domain_name(name) and "" not in name.split(".")


def _with_suffixes(host: str) -> list[str]:
    """Return a host and what virtualdomains may name in its place: ``.suffix`` and everything."""
    dots = (at for at, char in enumerate(host) if char == ".")
    return [host, "", *(host[at:] for at in dots)]


def _in_order(found: Iterable[str]) -> list[str]:
    return sorted(found, key=names.sort_key)
