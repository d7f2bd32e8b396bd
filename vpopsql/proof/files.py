"""Comparing the files of a source with what they are to be written as, line by line."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from vpopsql import names
from vpopsql.directory import NoRegularFile, SymbolicLink
from vpopsql.exporter.render import (
    DIR_CONTROL,
    FREE_BUCKETS,
    LIMITS,
    MORERCPTHOSTS,
    RCPTHOSTS,
    Link,
)
from vpopsql.importer.codes import Code, Severity
from vpopsql.importer.dotqmails import is_dot_qmail
from vpopsql.importer.evidence import Evidence, Finding
from vpopsql.importer.indimail import vpopmail_flags
from vpopsql.importer.scan import Opened
from vpopsql.proof.result import Kind, Proof, worst
from vpopsql.qmail import assign, cdb
from vpopsql.qmail.lines import split_lines

Content = bytes | Link | None
"""Of a file; None: there is none."""

_VPASSWD = "vpasswd"
_OURS_IN_DOMAIN = {_VPASSWD, f"{_VPASSWD}.cdb", LIMITS, DIR_CONTROL, FREE_BUCKETS}
_COUNTERS = {DIR_CONTROL, FREE_BUCKETS}
_TEXTS = {"cdb": "assign", "vpasswd.cdb": _VPASSWD, "morercpthosts.cdb": "morercpthosts"}
"""What each cdb is made from, in the same directory."""

_FLAGS_FIELD = 3
_CLEAR_TEXT_FIELD = 7

# The findings, besides rejects, after which a line is not written as it is. Any other says
# something about a line and changes nothing of it.
_CHANGES_THE_LINE = {
    Code.BLANK_LINE,
    Code.CDB_DIFFERS,
    Code.DUPLICATE,
    Code.INDIMAIL_FLAGS,
    Code.IN_LOCALS,
    Code.NOT_IN_CDB,
    Code.NOT_PLAIN,
    Code.RESPELLED,
    Code.SAYS_NOTHING,
    Code.UPPER_CASE,
}
# Those after which the export writes a line more.
_ADDS_A_LINE = {Code.IN_CDB_ONLY, Code.NOT_IN_RCPTHOSTS, Code.NOT_VIRTUAL, Code.OTHER_PREPEND}
# Those about a text that its cdb does not match.
_SAYS_OF_CDB = {Code.CDB_DIFFERS, Code.IN_CDB_ONLY, Code.NOT_IN_CDB}
# Those that leave a whole file out; all rejects do that, too.
_LEAVES_OUT = {Code.NO_FILE, Code.OPEN_RELAY, Code.NOT_IN_RCPTHOSTS, Code.NOT_VIRTUAL}


def _without_clear_text(line: str) -> str:
    fields = line.split(":", _CLEAR_TEXT_FIELD)
    if len(fields) > _CLEAR_TEXT_FIELD:
        fields[-1] = ""
    return ":".join(fields)


def _with_vpopmails_flags(line: str) -> str:
    fields = line.split(":")
    if len(fields) > _FLAGS_FIELD and fields[_FLAGS_FIELD].isdecimal():
        fields[_FLAGS_FIELD] = str(vpopmail_flags(int(fields[_FLAGS_FIELD]))[0])
    return ":".join(fields)


# What a finding about many lines of a file says of each: nothing else may differ.
_SPELLINGS: dict[Code, Callable[[str], str]] = {
    Code.CARRIAGE_RETURNS: lambda line: line.removesuffix("\r"),
    Code.CLEAR_TEXT: _without_clear_text,
    Code.MAPPED_FLAGS: _with_vpopmails_flags,
}


class _Text(NamedTuple):
    """A file of the source."""

    shown: str
    content: Content
    is_there: bool
    """It may be, and not be readable."""


class SourceFiles:
    """The files of the source by site path.

    :param in_tree: whether all that the source has is in files.
    """

    def __init__(
        self, opened: Opened, vpopmail_dir: str, qmail_dir: str, *, in_tree: bool
    ) -> None:
        self._opened = opened
        self._vpopmail_dir = vpopmail_dir
        self._qmail_dir = qmail_dir
        self._in_tree = in_tree

    def is_in_tables(self, path: str) -> bool:
        """Say whether the source may have a table for what is in this file."""
        name = path.rpartition("/")[2]
        in_table = name in _OURS_IN_DOMAIN or name == "ip_alias_map" or is_dot_qmail(name)
        return in_table and not self._in_tree and not path.startswith(f"{self._qmail_dir}/")

    def read(self, path: str) -> _Text:
        """Return a file."""
        folder, _, name = path.rpartition("/")
        directory = self._opened.directory(folder, self._vpopmail_dir)
        if directory is None:
            return _Text(path, None, is_there=False)
        with directory:
            shown = f"{directory.shown}/{name}"
            try:
                return _Text(shown, directory.read(name), is_there=True)
            except SymbolicLink:
                return _Text(shown, Link(directory.link_target(name)), is_there=True)
            except (FileNotFoundError, NotADirectoryError):
                return _Text(shown, None, is_there=False)
            except (NoRegularFile, OSError):
                return _Text(shown, None, is_there=True)

    def of_domain(self, folder: str) -> list[str]:
        """Return the site paths of a domain's files that an export could write."""
        return self._among(folder, lambda name: name in _OURS_IN_DOMAIN or is_dot_qmail(name))

    def of_home(self, folder: str) -> list[str]:
        """Return the site paths of the dot-qmail files in a mailbox's directory."""
        return self._among(folder, is_dot_qmail)

    def _among(self, folder: str, is_wanted: Callable[[str], bool]) -> list[str]:
        directory = self._opened.directory(folder, self._vpopmail_dir)
        if directory is None:
            return []
        with directory:
            return [f"{folder}/{name}" for name in directory.names() if is_wanted(name)]


class FileComparison:
    """Compares files of the source with what is to be written in their place."""

    def __init__(self, files: SourceFiles, site_evidence: Evidence, proof: Proof) -> None:
        self._files = files
        self._proof = proof
        self._of_site = by_file([site_evidence])
        self._of_domain: Mapping[str, list[Finding]] = {}
        self._lost: Mapping[str, str] = {}
        self._reasons: dict[str, str] = {}
        """Why the files of the directory at hand differ, for those that are made from others."""

    def look_up(self, evidence: Evidence) -> None:
        """Take the findings of the domain whose files come next."""
        self._of_domain = by_file([evidence])
        self._reasons.clear()

    def lose(self, names: Mapping[str, str]) -> None:
        """Take the names of domains that could not be imported, each with the code of why."""
        self._lost = names

    def compare(self, path: str, wanted: Content) -> Kind | None:
        """Return how a file of the source compares; None: there is none, and none is wanted."""
        text = self._files.read(path)
        if wanted is None and not text.is_there:
            return None
        before = self._proof.reasons.copy()
        kind = self._compare(path, text, wanted)
        if kind in {Kind.EXPLAINED, Kind.UNEXPLAINED}:
            why = self._proof.reasons - before
            self._reasons[path] = next(iter(why), "its text")
        return kind

    def _compare(self, path: str, text: _Text, wanted: Content) -> Kind:
        folder, _, name = path.rpartition("/")
        if not text.is_there:
            return self._new(path, text.shown)
        if text.content is not None and text.content == wanted:
            return Kind.IDENTICAL
        if code := self._of_whole_file(name, text.shown, wanted):
            return self._proof.explain(text.shown, 0, str(code))
        if wanted is None and (name in _OURS_IN_DOMAIN or is_dot_qmail(name)):
            return self._as_a_whole(text.shown)
        if name in _TEXTS:
            return self._cdb(text, wanted, f"{folder}/{_TEXTS[name]}")
        if isinstance(text.content, bytes) and not isinstance(wanted, Link):
            return self._lines(name, text.shown, text.content, wanted or b"")
        return self._as_a_whole(text.shown)

    def _of_whole_file(self, name: str, shown: str, wanted: Content) -> Code | None:
        """Return the code of a finding that says what becomes of the file, None if none does."""
        codes = [finding.code for finding in self._findings(shown)]
        if Code.UNREAD_FILE in codes:
            return Code.UNREAD_FILE
        if codes and name in _COUNTERS:
            return codes[0]
        return self._leaves_out(shown) if wanted is None else None

    def _findings(self, shown: str) -> Sequence[Finding]:
        return [*self._of_site.get(shown, ()), *self._of_domain.get(shown, ())]

    def _new(self, path: str, shown: str) -> Kind:
        """Say why a file is written that the source has not."""
        name = path.rpartition("/")[2]
        is_beside = name == DIR_CONTROL and self._files.read(f"{path[: -len(name)]}{FREE_BUCKETS}")
        if name in _TEXTS or self._files.is_in_tables(path) or (is_beside and is_beside.is_there):
            return Kind.NEW
        # Made together, from what the other one says.
        beside = {
            _VPASSWD: f"{shown}.cdb",
            "morercpthosts": shown.removesuffix(MORERCPTHOSTS) + RCPTHOSTS,
        }
        found = [*self._findings(shown), *self._findings(beside.get(name, ""))]
        if found:
            return self._proof.explain(shown, 0, str(found[0].code))
        return self._proof.accuse(shown, 0, "the export writes this file, the source has none")

    def _leaves_out(self, shown: str) -> Code | None:
        """Return the code of the finding that leaves a whole file out, None if there is none."""
        codes = (finding.code for finding in self._findings(shown) if not finding.line)
        return next(
            (code for code in codes if code.severity is Severity.REJECT or code in _LEAVES_OUT),
            None,
        )

    def _as_a_whole(self, shown: str) -> Kind:
        if code := self._leaves_out(shown):
            return self._proof.explain(shown, 0, str(code))
        reason = "the export would not write it as it is, and no finding says why"
        return self._proof.accuse(shown, 0, reason)

    def _cdb(self, text: _Text, wanted: Content, made_from: str) -> Kind:
        """Compare the records of a cdb; the text that it is made from is compared by itself."""
        if _records(text.content) == _records(wanted) is not None:
            reason = "the same records in another order"
            return self._proof.explain(text.shown, 0, reason, Kind.ORDER)
        codes = [finding.code for finding in self._findings(text.shown)]
        if codes:
            return self._proof.explain(text.shown, 0, str(codes[0]))
        if made_from in self._reasons:
            return self._proof.explain(text.shown, 0, self._reasons[made_from])
        beside = text.shown.rpartition("/")[0] + "/" + made_from.rpartition("/")[2]
        for finding in self._findings(beside):
            if finding.code in _SAYS_OF_CDB:
                return self._proof.explain(text.shown, 0, str(finding.code))
        reason = "its records are not those of its text, and no finding says why"
        return self._proof.accuse(text.shown, 0, reason)

    def _lines(self, name: str, shown: str, content: bytes, wanted: bytes) -> Kind:
        have, want = split_lines(content), split_lines(wanted)
        missing = Counter(line for _, line in want)
        findings = self._findings(shown)
        codes = {finding.code for finding in findings}
        spellings = [(code, spell) for code, spell in _SPELLINGS.items() if code in codes]
        unmatched = []
        kind = Kind.IDENTICAL
        made = assign.exact_lines(assign.parse(content)) if Code.EXACT_LINES in codes else ()
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
                    kind = self._proof.explain(shown, number, str(code))
            elif number in made:
                kind = self._proof.explain(shown, number, str(Code.EXACT_LINES))
            else:
                unmatched.append((number, line))
        kind = worst(kind, *(self._line(shown, *each, findings) for each in unmatched))
        added = missing.total() - len(unmatched)
        if added > 0:
            kind = worst(kind, self._added(shown, added, findings, len(have)))
        if kind is Kind.IDENTICAL:
            kind = self._in_order(name, shown, content, wanted)
        return kind

    def _line(self, shown: str, number: int, line: str, findings: Sequence[Finding]) -> Kind:
        """Say why a line of the source is not written as it is."""
        if (name := _domain_of(shown, line)) in self._lost:
            return self._proof.explain(shown, number, self._lost[name])
        whole_file = [
            finding.code
            for finding in findings
            if finding.line == 0 and finding.code.severity is Severity.REJECT
        ]
        codes = [
            finding.code
            for finding in findings
            if finding.line == number and _changes_the_line(finding.code)
        ]
        if codes := [*codes, *whole_file]:
            return self._proof.explain(shown, number, str(codes[0]))
        reason = "the export would write another line, and no finding says why"
        return self._proof.accuse(shown, number, reason)

    def _added(self, shown: str, number: int, findings: Sequence[Finding], lines: int) -> Kind:
        """Say why the export writes more lines than the source has."""
        if any(finding.code is Code.CDB_ONLY for finding in findings):
            return self._proof.explain(shown, 0, str(Code.CDB_ONLY))
        codes = [
            finding.code
            for finding in findings
            if finding.code in _ADDS_A_LINE or finding.line > lines
        ]
        for code in codes[:number]:
            self._proof.explain(shown, 0, str(code))
        if len(codes) >= number:
            return Kind.EXPLAINED
        reason = (
            f"the export would write {number - len(codes)} lines more, and no finding says why"
        )
        return self._proof.accuse(shown, 0, reason)

    def _in_order(self, name: str, shown: str, content: bytes, wanted: bytes) -> Kind:
        """Judge files of which each has the other's lines."""
        if content.endswith(b"\n") != wanted.endswith(b"\n"):
            return self._proof.explain(shown, 0, "the newline at its end", Kind.ORDER)
        if is_dot_qmail(name):
            # qmail obeys them in their order.
            return self._proof.accuse(shown, 0, "its lines would be in another order")
        return self._proof.explain(shown, 0, "the same lines in another order", Kind.ORDER)


def _changes_the_line(code: Code) -> bool:
    return code.severity is Severity.REJECT or code in _CHANGES_THE_LINE


def _domain_of(shown: str, line: str) -> str:
    """Return the domain that a line of a shared file is about; empty if it is about none."""
    name = shown.rpartition("/")[2]
    if name == "assign":
        return names.lower(line.removeprefix("+").partition("-:")[0])
    if name == "ip_alias_map":
        return names.lower("".join(line.split()[1:2]))
    if name in {"rcpthosts", "morercpthosts", "virtualdomains"}:
        return names.lower(line.partition(":")[0].strip())
    return ""


def by_file(evidence: Iterable[Evidence]) -> Mapping[str, list[Finding]]:
    """Return findings by the file that they are about."""
    found: defaultdict[str, list[Finding]] = defaultdict(list)
    for each in evidence:
        for finding in each.findings:
            found[finding.file].append(finding)
    return found


def _records(content: Content) -> list[tuple[bytes, bytes]] | None:
    if not isinstance(content, bytes):
        return None
    try:
        return sorted(cdb.read(content))
    except ValueError:
        return None
