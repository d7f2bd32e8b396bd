r"""``valias`` rows as dot-qmail files.

vpopmail's vdelivermail reads the rows; qmail-local will read the files. A line must mean to the
one what it meant to the other:

- what starts with none of ``# | . /`` is an address to vdelivermail. qmail-local is told so with
  ``&``, unless a letter or digit says it.
- a row may hold several lines; a file has a line each.
- a row that is blank names nothing, but a file that begins with a blank line defers all mail.

vdelivermail runs only where ``.qmail-default`` calls it, and qmail-local looks for ``.qmail-NAME``
first, then for ``.qmail-…-default`` of the parts of the name that a dash ends. Rows of a name that
such a file serves never had an effect, so they get no file now.
"""

from collections import defaultdict
from collections.abc import Collection

from vpopsql.importer import site
from vpopsql.importer.codes import Code
from vpopsql.importer.dotqmails import name_problem, with_kinds
from vpopsql.importer.evidence import Evidence, Tally
from vpopsql.importer.tables import rows as read
from vpopsql.importer.tables.schema import VALIAS
from vpopsql.importer.tables.staging import Row
from vpopsql.qmail.lines import encode, whole_number

_INSTRUCTIONS = "#|./&"
_DEFAULT = "default"
_ALIAS, _LINE, _ID = (VALIAS.columns.index(name) for name in ("alias", "valias_line", "id"))


class AliasReader:
    """Reads the aliases of one domain, and counts and reports their rows."""

    def __init__(
        self, domain: str, files: Collection[str], tally: Tally, evidence: Evidence
    ) -> None:
        self._domain = domain
        self._files = files
        self._tally = tally
        self._evidence = evidence

    def read(self, rows: list[Row]) -> tuple[site.DotQmailFile, ...]:
        """Return the files, by name; lines in the order of the rows' ids, if they have any."""
        numbers = [whole_number(row.fields[_ID] or "") for row in rows]
        if None not in numbers:
            order = sorted(range(len(rows)), key=lambda at: (numbers[at] or 0, at))
            rows = [rows[at] for at in order]
        aliases: defaultdict[str, list[Row]] = defaultdict(list)
        for row in rows:
            aliases[read.name_of(row.fields[_ALIAS])].append(row)
        found = [
            site.DotQmailFile(name, with_kinds(lines))
            for name, own in aliases.items()
            if (lines := self._lines(name, own))
        ]
        return tuple(sorted(found, key=lambda file: encode(file.name)))

    def _lines(self, name: str, rows: list[Row]) -> list[str]:
        problem = name_problem(name)
        if name == _DEFAULT:
            # Quirk: to vdelivermail it is an address like any other.
            problem = "as a file it would serve every address of the domain"
        if problem:
            for row in rows:
                self._tally.rejected += 1
                self._find(Code.BAD_NAME, name, row, problem)
            return []
        if (first := self._found_first(name)) is not None:
            self._tally.merged += len(rows)
            reason = f"there is a file .qmail-{first}, which qmail reads instead"
            self._find(Code.SHADOWED_ALIAS, name, rows[0], reason)
            return []
        seen: set[str | None] = set()
        lines: list[str] = []
        for row in rows:
            text = row.fields[_LINE]
            own = [line for line in (text or "").split("\n") if line.strip()]
            if "\0" in (text or ""):
                self._tally.rejected += 1
                self._find(Code.MALFORMED, name, row, "its line has a NUL")
            elif not own:
                self._tally.merged += 1
                self._find(Code.BLANK_ALIAS, name, row, "its line is blank")
            elif text in seen:
                self._tally.merged += 1
                self._find(Code.DUPLICATE, name, row, "an earlier row says the same")
            else:
                self._tally.imported += 1
                seen.add(text)
                lines.extend(self._instruction(name, row, line) for line in own)
        return lines

    def _found_first(self, name: str) -> str | None:
        """Return the dot-qmail file of the tree that serves a name, None if there is none."""
        cuts = [at for at, character in enumerate(name) if character == "-"]
        wildcards = (f"{name[:at]}-{_DEFAULT}" for at in reversed(cuts))
        return next((each for each in (name, *wildcards) if each in self._files), None)

    def _instruction(self, name: str, row: Row, line: str) -> str:
        """Return the line as it means the same in a file."""
        if line.endswith("\r"):
            self._find(Code.CARRIAGE_RETURNS, name, row, "its line ends in a carriage return")
            line = line.rstrip("\r")
        first = line[0]
        is_plain = first in _INSTRUCTIONS or (first.isascii() and first.isalnum())
        return line if is_plain else f"&{line}"

    def _find(self, code: Code, name: str, row: Row, reason: str) -> None:
        text = row.fields[_LINE] or ""
        key = f"{name}@{self._domain}"
        self._evidence.find(code, self._tally.place, row.line, text, reason, key=key)
