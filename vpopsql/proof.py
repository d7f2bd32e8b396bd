"""Proving that what an export would write is what the source of an import has.

Both sides are rendered by the export's own code, in memory: the database as `take` gives it, and
the source as the import reads it. These must be equal, but for what the database's administrators
changed since. Then each file of the source is compared with what the export would write in its
place, line by line; a line that differs must be one that the import has a finding about.

Nothing is written. One batch of domains is held at a time.
"""

import enum
import ipaddress
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from vpopsql import names
from vpopsql.config import Paths
from vpopsql.exporter import render
from vpopsql.exporter.render import DomainFiles, Link, SiteFiles
from vpopsql.exporter.snapshot import (
    Account,
    DomainState,
    DotQmail,
    Foreign,
    Limits,
    Name,
    Snapshot,
    by_key,
    take,
)
from vpopsql.exporter.snapshot import (
    Counter as CounterState,
)
from vpopsql.importer import site, stored
from vpopsql.importer.codes import Code
from vpopsql.importer.differences import Action, Read, compare
from vpopsql.importer.directory import Directory, NoRegularFile, SymbolicLink
from vpopsql.importer.dotqmails import is_dot_qmail
from vpopsql.importer.evidence import Evidence, Finding, printable
from vpopsql.importer.later import Later, read_later
from vpopsql.importer.plan import how_read, in_batches
from vpopsql.importer.scan import Opened, Scanned, Source
from vpopsql.qmail import cdb
from vpopsql.qmail.lines import split_lines
from vpopsql.touched import Touched

_KEPT = 20  # differences of one reason that are kept to be shown
_CDBS = (".cdb", "users/cdb")

_CLEAR_TEXT_FIELD = 7


def _without_clear_text(line: str) -> str:
    fields = line.split(":", _CLEAR_TEXT_FIELD)
    if len(fields) > _CLEAR_TEXT_FIELD:
        fields[-1] = ""
    return ":".join(fields)


# What a finding about many lines of a file says of each: nothing else may differ.
_SPELLINGS: dict[Code, Callable[[str], str]] = {
    Code.CARRIAGE_RETURNS: lambda line: line.removesuffix("\r"),
    Code.CLEAR_TEXT: _without_clear_text,
}


class Kind(enum.StrEnum):
    """How a file of the export compares with the source's."""

    IDENTICAL = "identical"
    """The same bytes."""
    ORDER = "order"
    """The same lines in another order, or the same records of a cdb."""
    EXPLAINED = "explained"
    """Differs where the import has a finding that says so, or where the database was changed."""
    NEW = "new"
    """The source has no such file: what it says is in a table, or a finding says why."""
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True, slots=True)
class Difference:
    """A file, or a thing of a domain, that is not the same on both sides."""

    kind: Kind
    path: str
    line: int
    """Of the source's file; 0: the file as a whole."""
    reason: str
    """A code of the import, or what is different."""

    def as_dict(self) -> dict[str, Any]:
        """Return the difference for JSON."""
        return {
            "kind": self.kind.value,
            "path": printable(self.path, len(self.path)),
            "line": self.line,
            "reason": self.reason,
        }

    @property
    def place(self) -> str:
        """The file, with the line if it is about one."""
        line = f":{self.line}" if self.line else ""
        return f"{printable(self.path, len(self.path))}{line}"


@dataclass(slots=True)
class Proof:
    """What the comparison showed."""

    domains: int = 0
    files: Counter[Kind] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    """How often each explanation was needed."""
    unexplained: list[Difference] = field(default_factory=list)
    explained: list[Difference] = field(default_factory=list)
    """The first few of each reason."""

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "domains": self.domains,
            "files": {kind.value: self.files[kind] for kind in Kind},
            "reasons": dict(self.reasons),
            "explained": [each.as_dict() for each in self.explained],
            "unexplained": [each.as_dict() for each in self.unexplained],
        }

    def add(self, difference: Difference) -> None:
        """Take note of a difference."""
        if difference.kind is Kind.UNEXPLAINED:
            self.unexplained.append(difference)
            return
        self.reasons[difference.reason] += 1
        if self.reasons[difference.reason] <= _KEPT:
            self.explained.append(difference)


class _Text(NamedTuple):
    """A file of the source."""

    shown: str
    content: bytes | Link | None


def prove(
    session: Session,
    source: Source,
    scanned: Scanned,
    paths: Paths,
    progress: Callable[[int, int, int], None] | None = None,
) -> Proof:
    """Compare the database with a source that was read just now.

    :param session: in one transaction that sees one moment.
    :param paths: the configured ones; the database's own come first, as in an export.
    """
    proof = Proof()
    later = read_later(session)
    spool = scanned.spool
    own_names: list[Name] = []
    by_file = _by_file(scanned.evidence())
    done = mailboxes = 0
    with ExitStack() as stack:
        opened = stack.enter_context(Opened(source))
        files = _SourceFiles(opened, scanned.found.vpopmail_dir)
        compared = _Files(files, by_file, proof)
        for batch in in_batches(spool.entries.values()):
            exported = _exported(session, paths, batch)
            there = {domain.name.name: domain for domain in stored.read_domains(session, batch)}
            for name in batch:
                ours = spool.get(name)
                own_names += _names_of(ours, done)
                done += 1
                mailboxes += len(ours.mailboxes)

                changed = _things(ours, there.get(name), later, proof, how_read(scanned, name))
                wanted = render.domain_files(_state(ours), scanned.found.vpopmail_dir)
                compared.domain(ours, wanted, exported.get(name, {}), was_changed=changed)
            if progress:
                progress(done, len(spool), mailboxes)
        proof.domains = done
        known = {name.name for name in own_names}
        snapshot = take(session, paths, Touched(site=True), known)
        wanted_site = _snapshot(scanned.found, own_names, snapshot)
        foreign = {name.name for name in snapshot.names} - known
        compared.site(
            render.site_files(wanted_site),
            render.site_files(snapshot),
            was_changed=bool(foreign) or _is_changed(later),
        )
    return proof


def _by_file(evidence: Iterable[Evidence]) -> Mapping[str, list[Finding]]:
    found: defaultdict[str, list[Finding]] = defaultdict(list)
    for each in evidence:
        for finding in each.findings:
            found[finding.file].append(finding)
    return found


def _exported(session: Session, paths: Paths, batch: list[str]) -> dict[str, DomainFiles]:
    """Return the files of each domain as the export would write them."""
    wanted = set(batch)
    snapshot = take(session, paths, Touched(accounts=wanted, dotqmail=wanted, limits=wanted))
    home = snapshot.paths.vpopmail
    return {state.name: render.domain_files(state, home) for state in snapshot.domains}


def _is_changed(later: Later) -> bool:
    return any(later.is_deleted(name) or later.has_anything(name) for name in later.imports)


# --- things -----------------------------------------------------------------------------------


def _things(
    ours: site.Domain,
    theirs: site.Domain | None,
    later: Later,
    proof: Proof,
    read: Read,
) -> bool:
    """Compare a domain value by value; say whether the database was changed on purpose."""
    name = ours.name.name
    if theirs is None:
        deleted = later.is_deleted(name)
        reason = "deleted in the database since" if deleted else "the database has no such domain"
        proof.add(Difference(Kind.EXPLAINED if deleted else Kind.UNEXPLAINED, name, 0, reason))
        return deleted
    changed = False
    for change in compare(ours, theirs, later, read):
        kept = change.action is Action.KEEP
        changed = changed or kept
        reason = "changed in the database since" if kept else f"not as in the source: {change}"
        kind = Kind.EXPLAINED if kept else Kind.UNEXPLAINED
        proof.add(Difference(kind, f"{name}: {change.name}", 0, reason))
    return changed


def _state(domain: site.Domain) -> DomainState:
    """Return a domain of the source as the exporter has domains."""
    dotqmails = [_dotqmail(None, file) for file in domain.files]
    for mailbox in domain.mailboxes:
        dotqmails += [_dotqmail(mailbox.directory, file) for file in mailbox.files]
    return DomainState(
        name=domain.name.name,
        directory=domain.directory,
        uid=domain.uid,
        gid=domain.gid,
        catchall=domain.catchall,
        catchall_target=domain.catchall_target,
        accounts=[_account(mailbox) for mailbox in domain.mailboxes],
        dotqmails=dotqmails,
        limits=_limits(domain.limits),
        counter=_counter(domain.counter),
    )


def _account(mailbox: site.Mailbox) -> Account:
    return Account(**{name: getattr(mailbox, name) for name in Account._fields})


def _dotqmail(home: str | None, file: site.DotQmailFile) -> DotQmail:
    lines = tuple(line.text for line in file.lines)
    return DotQmail(home, file.name, lines, file.final_newline, file.link_target)


def _limits(limits: site.Limits | None) -> Limits | None:
    return None if limits is None else Limits(limits.values, limits.source_text)


def _counter(counter: site.Counter | None) -> CounterState | None:
    return None if counter is None else CounterState(counter.control, counter.free_buckets)


def _names_of(domain: site.Domain, age: int) -> Iterator[Name]:
    for name in domain.names:
        yield Name(
            name=name.name,
            real=domain.name.name,
            sort_key=names.sort_key(name.name),
            uid=domain.uid,
            gid=domain.gid,
            directory=domain.directory,
            in_morercpthosts=name.in_morercpthosts,
            age=age,
            is_imported=True,
        )


def _snapshot(found: site.Site, own_names: list[Name], theirs: Snapshot) -> Snapshot:
    """Return what belongs to no domain of the source as the exporter has it."""
    foreign: dict[str, Sequence[Foreign]] = {
        file: by_key(Foreign(line.line, line.sort_key) for line in lines)
        for file, lines in found.foreign_lines.items()
    }
    return Snapshot(
        revision=0,
        paths=theirs.paths,
        names=sorted(own_names, key=lambda name: name.sort_key),
        foreign=foreign,
        domains=(),
        ip_mappings=sorted(found.ip_mappings.items(), key=_address),
        default_limits=_limits(found.default_limits),
        counter=_counter(found.counter),
    )


def _address(mapping: tuple[str, str]) -> tuple[int, bytes]:
    parsed = ipaddress.ip_address(mapping[0])
    return parsed.version, parsed.packed


# --- files ------------------------------------------------------------------------------------


class _SourceFiles:
    """The files of the source by site path."""

    def __init__(self, opened: Opened, vpopmail_dir: str) -> None:
        self._opened = opened
        self._vpopmail_dir = vpopmail_dir

    def read(self, path: str) -> _Text:
        """Return a file; no content if there is none."""
        folder, _, name = path.rpartition("/")
        directory = self._opened.directory(folder, self._vpopmail_dir)
        if directory is None:
            return _Text(path, None)
        with directory:
            return _Text(f"{directory.shown}/{name}", _content(directory, name))

    def dot_qmails(self, folder: str) -> list[str]:
        """Return the site paths of the dot-qmail files in a directory."""
        directory = self._opened.directory(folder, self._vpopmail_dir)
        if directory is None:
            return []
        with directory:
            return [f"{folder}/{name}" for name in directory.names() if is_dot_qmail(name)]


def _content(directory: Directory, name: str) -> bytes | Link | None:
    try:
        return directory.read(name)
    except SymbolicLink:
        return Link(directory.link_target(name))
    except (NoRegularFile, OSError):
        return None


class _Files:
    """Compares files: the source's, what they should be, and what the export would write."""

    def __init__(
        self, files: _SourceFiles, findings: Mapping[str, list[Finding]], proof: Proof
    ) -> None:
        self._files = files
        self._findings = findings
        self._proof = proof

    def domain(
        self, ours: site.Domain, wanted: DomainFiles, exported: DomainFiles, *, was_changed: bool
    ) -> None:
        """Compare the files of a domain."""
        paths = {*wanted, *exported, *self._files.dot_qmails(ours.directory)}
        for path in sorted(paths):
            self._compare(path, wanted.get(path), exported.get(path), was_changed=was_changed)

    def site(self, wanted: SiteFiles, exported: SiteFiles, *, was_changed: bool) -> None:
        """Compare the files that belong to no domain."""
        for path in sorted({*wanted, *exported}):
            self._compare(path, wanted.get(path), exported.get(path), was_changed=was_changed)

    def _compare(
        self,
        path: str,
        wanted: bytes | Link | None,
        exported: bytes | Link | None,
        *,
        was_changed: bool,
    ) -> None:
        if exported != wanted:
            self._differ(path, was_changed=was_changed)
            return
        text = self._files.read(path)
        if text.content == exported:
            self._proof.files[Kind.IDENTICAL] += 1
        elif path.endswith(_CDBS):
            self._cdb(text, exported)
        elif text.content is None:
            self._proof.files[Kind.NEW] += 1
        elif isinstance(text.content, Link) or not isinstance(exported, bytes):
            self._explain(path, text.shown, [0])
        else:
            self._lines(path, text.shown, text.content, exported)

    def _differ(self, path: str, *, was_changed: bool) -> None:
        kind = Kind.EXPLAINED if was_changed else Kind.UNEXPLAINED
        reason = "the export would write something else than the source has"
        if was_changed:
            reason = "changed in the database since"
        self._proof.files[kind] += 1
        self._proof.add(Difference(kind, path, 0, reason))

    def _cdb(self, text: _Text, exported: bytes | Link | None) -> None:
        """Compare the records of a cdb; the text that it is made from is compared by itself."""
        if text.content is None:
            self._proof.files[Kind.NEW] += 1
            return
        kind, reason = Kind.EXPLAINED, "made anew from its text, which the old one did not match"
        if isinstance(text.content, bytes) and isinstance(exported, bytes):
            try:
                if sorted(cdb.read(text.content)) == sorted(cdb.read(exported)):
                    kind, reason = Kind.ORDER, "the same records in another order"
            except ValueError:
                reason = "made anew from its text, as the old one is damaged"
        self._proof.files[kind] += 1
        self._proof.add(Difference(kind, text.shown, 0, reason))

    def _lines(self, path: str, shown: str, content: bytes, exported: bytes) -> None:
        have, want = split_lines(content), split_lines(exported)
        missing = Counter(line for _, line in want)
        codes = {finding.code for finding in self._findings.get(shown, ())}
        spellings = [(code, spell) for code, spell in _SPELLINGS.items() if code in codes]
        numbers = []
        respelled = False
        for number, line in have:
            if missing[line]:
                missing[line] -= 1
                continue
            respelt, why = line, []
            for code, spell in spellings:
                before, respelt = respelt, spell(respelt)
                if respelt != before:
                    why.append(code)
            if why and missing[respelt]:
                missing[respelt] -= 1
                for code in why:
                    self._proof.add(Difference(Kind.EXPLAINED, shown, number, str(code)))
                respelled = True
            else:
                numbers.append(number)
        if respelled and not numbers:
            self._proof.files[Kind.EXPLAINED] += 1
            return
        if not numbers and not missing.total():
            same = len(have) == len(want) and content.endswith(b"\n") == exported.endswith(b"\n")
            reason = "the same lines in another order" if same else "its last newline"
            self._proof.files[Kind.ORDER] += 1
            self._proof.add(Difference(Kind.ORDER, shown, 0, reason))
            return
        self._explain(path, shown, numbers or [0])

    def _explain(self, path: str, shown: str, numbers: list[int]) -> None:
        """Look for findings about lines that the export would not write as they are."""
        found = self._findings.get(shown, ())
        by_line: defaultdict[int, list[Code]] = defaultdict(list)
        for finding in found:
            if finding.code not in _SPELLINGS:
                by_line[finding.line].append(finding.code)
        worst = Kind.EXPLAINED
        for number in numbers:
            codes = by_line.get(number) or by_line.get(0) or ()
            if codes:
                self._proof.add(Difference(Kind.EXPLAINED, shown, number, str(codes[0])))
                continue
            worst = Kind.UNEXPLAINED
            reason = "the export would write another line, and no finding says why"
            self._proof.add(Difference(Kind.UNEXPLAINED, shown or path, number, reason))
        self._proof.files[worst] += 1
