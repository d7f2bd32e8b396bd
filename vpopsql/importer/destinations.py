"""Forwards within the site, and whether anybody is there to get the mail.

What becomes of mail to other sites is theirs to know. A domain is asked as vpopmail would: an
account, a dot-qmail file for the name or for what it begins with, and the catch-all.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from vpopsql import names
from vpopsql.importer import site
from vpopsql.importer.codes import Code
from vpopsql.importer.evidence import Evidence
from vpopsql.importer.spool import Spool
from vpopsql.model import CatchAll, LineKind
from vpopsql.qmail import dotqmail

# With these nobody gets what is sent to unknown names.
_NOBODY = {CatchAll.NONE, CatchAll.BOUNCE, CatchAll.DELETE}
_DEFAULT = "default"


class PlacedFile(NamedTuple):
    """A dot-qmail file, and where it is.

    There are a million and few are ever shown, so their places are put together when needed.
    """

    file: site.DotQmailFile
    directory: str
    """For people; the table if the file is rows of one."""
    domain: str = ""
    """The domain that the rows are of, if it is rows."""

    @property
    def place(self) -> tuple[str, str]:
        """What can be opened, and the key of its rows, if it is rows."""
        name = self.file.name
        if self.domain:
            return self.directory, f"{name}@{self.domain}"
        filename = dotqmail.filename_for(name) if name else ".qmail"
        return f"{self.directory}/{filename}", ""


class Forward(NamedTuple):
    """A line that sends mail to a domain of the site."""

    local: str
    domain: str
    """The real one."""
    address: str
    """As it is written."""
    file: str
    line: int
    key: str


class Addresses:
    """The addresses of one domain that somebody gets the mail of."""

    def __init__(self, domain: site.Domain) -> None:
        self._accounts = {mailbox.name for mailbox in domain.mailboxes}
        self._files = {file.name for file in domain.files}
        self._everybody = domain.catchall not in _NOBODY

    def has(self, local: str) -> bool:
        """Say whether mail to ``local`` of this domain reaches anybody."""
        local = names.lower(local)
        if self._everybody or local in self._accounts or local in self._files:
            return True
        dashes = [at for at, char in enumerate(local) if char == "-"]
        if any(local[: at + 1] + _DEFAULT in self._files for at in dashes):
            return True
        # Where vpopmail is built so, what follows the first dash is for the account to use.
        return bool(dashes) and local[: dashes[0]] in self._accounts


class ForwardReader:
    """Looks at the forwards of one domain after the other.

    :param real: the real domain of every name of the site.
    """

    def __init__(self, real: Mapping[str, str]) -> None:
        self._real = real

    def check(
        self, domain: site.Domain, files: Iterable[PlacedFile]
    ) -> tuple[list[Forward], list[Forward]]:
        """Return the domain's forwards to nobody of its own, and those to other domains."""
        own = Addresses(domain)
        lost: list[Forward] = []
        others: list[Forward] = []
        for placed in files:
            for number, line in enumerate(placed.file.lines, 1):
                if line.kind is not LineKind.FORWARD:
                    continue
                address = dotqmail.forward_address(line.text) or ""
                local, _, host = address.rpartition("@")
                name = self._real.get(host) or self._real.get(names.lower(host))
                if not local or name is None:
                    continue
                is_own = name == domain.name.name
                if is_own and own.has(local):
                    continue
                shown, key = placed.place
                forward = Forward(local, name, address, shown, 0 if key else number, key)
                (lost if is_own else others).append(forward)
        return lost, others


def find_lost(forwards: Iterable[Forward], evidence: Evidence) -> None:
    """Report forwards that reach nobody."""
    for each in forwards:
        reason = f"{each.domain} has nobody of this name"
        evidence.find(
            Code.ALIAS_TO_NOBODY, each.file, each.line, each.address, reason, key=each.key
        )


class OtherDomains:
    """Forwards from one domain to another, kept until all domains are there."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, list[Forward]] = defaultdict(list)

    def add(self, forwards: Iterable[Forward]) -> None:
        """Keep them."""
        for forward in forwards:
            self._waiting[forward.domain].append(forward)

    def find_lost(self, spool: Spool, evidence: Evidence) -> None:
        """Report those that reach nobody; a domain that could not be read is not asked."""
        for name in sorted(self._waiting.keys() & spool.entries.keys()):
            theirs = Addresses(spool.get(name))
            lost = (each for each in self._waiting[name] if not theirs.has(each.local))
            find_lost(lost, evidence)
