"""What a whole import found, in numbers; of what may be many, a few to show.

All of it is on disk beside the domains: see `vpopsql.importer.spool`.
"""

from collections import Counter, defaultdict
from collections.abc import Collection

from vpopsql.importer.codes import Code, Severity
from vpopsql.importer.evidence import Evidence, Finding, Tally

SHOWN = 20
"""Findings of one code that are kept to be shown; rejects are all kept."""

_LEFT_SHOWN = 3


class Report:
    """Adds up the evidence of a site's parts.

    :param accepted: codes that do not count when it is asked how bad it is.
    """

    def __init__(self, accepted: Collection[Code] = frozenset()) -> None:
        self._accepted = frozenset(accepted)
        self._sources: dict[str, Tally] = {}
        self._shown: defaultdict[Code, list[Finding]] = defaultdict(list)
        self.codes: Counter[Code] = Counter()
        """How often each code was found."""
        self.left: Counter[str] = Counter()
        """How many files and directories of each kind stay where they are."""
        self.left_shown: defaultdict[str, list[str]] = defaultdict(list)
        self.maildirs = 0
        self.clear_texts = 0
        """Readable passwords that are left out."""
        self.clear_text_places = 0
        """Domains that they are in."""
        self.adds_up = True
        """Whether the lines of every single file are accounted for."""

    def add(self, evidence: Evidence) -> None:
        """Count what was found in one part."""
        for tally in evidence.tallies:
            self._sources.setdefault(tally.kind, Tally(tally.kind, "")).add(tally)
            self.adds_up = self.adds_up and tally.adds_up
        for finding in evidence.findings:
            code = finding.code
            self.codes[code] += 1
            if code.severity is Severity.REJECT or self.codes[code] <= SHOWN:
                self._shown[code].append(finding)
        self.maildirs += evidence.maildirs
        self.clear_texts += evidence.clear_texts
        self.clear_text_places += evidence.clear_texts > 0
        for what, paths in evidence.left.items():
            self.left[what] += len(paths)
            free = _LEFT_SHOWN - len(self.left_shown[what])
            self.left_shown[what] += paths[: max(0, free)]

    @property
    def sources(self) -> list[Tally]:
        """Where the lines went, one count for all files of a kind."""
        return list(self._sources.values())

    @property
    def worst(self) -> Severity:
        """The severity of the worst finding that was not accepted."""
        found = self.codes.keys() - self._accepted
        return max((code.severity for code in found), default=Severity.NOTE)

    @property
    def rejected(self) -> bool:
        """Whether something must be repaired, or accepted, first; a wrong account cannot be."""
        return self.worst is Severity.REJECT or not self.adds_up

    def is_accepted(self, code: Code) -> bool:
        """Say whether findings of ``code`` do not count."""
        return code in self._accepted

    def shown(self, severity: Severity) -> list[Finding]:
        """Return findings of one severity, by code; see `SHOWN`."""
        codes = sorted((code for code in self._shown if code.severity is severity), key=str)
        return [finding for code in codes for finding in self._shown[code]]
