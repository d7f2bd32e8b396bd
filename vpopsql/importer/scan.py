"""Reading a whole site: a qmail directory, and what a back end has of the domains it names.

The domains are those of ``users/assign``. Paths inside the data stay as they are; to read a file,
the site's own name for vpopmail's home is replaced by the directory that the user named.

Domains are read by several processes and put on disk one after the other, in the order of their
names: neither the time nor the memory of one process is what limits the size of a site.
"""

import ipaddress
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self

from vpopsql import names
from vpopsql.crew import work_in_order
from vpopsql.directory import Directory, Places, relative_to
from vpopsql.errors import ImportFailed
from vpopsql.importer import site
from vpopsql.importer.backend import Backend, Choices, Head, Shared
from vpopsql.importer.codes import Code, Severity
from vpopsql.importer.compiled import compare_users
from vpopsql.importer.destinations import Forward, ForwardReader, OtherDomains, find_lost
from vpopsql.importer.domain import DomainReader
from vpopsql.importer.evidence import Evidence
from vpopsql.importer.files import enter_if_there, read_counter, read_limits
from vpopsql.importer.homes import Homes, Outside, find_shared, find_taken
from vpopsql.importer.leftovers import leave_in_qmail, leave_in_vpopmail
from vpopsql.importer.shared_files import Assigned, SharedFiles, open_lines
from vpopsql.importer.spool import Entry, Spool, pack
from vpopsql.importer.writable import find_unwritable_in_frame
from vpopsql.qmail import control, ipmap
from vpopsql.qmail.lines import Comment, Malformed


@dataclass(frozen=True, slots=True)
class Source:
    """What to import, and how to understand it.

    ``vpopmail`` and ``qmail`` are the real directories; ``vpopmail_dir`` (unless the data tell
    otherwise) and ``qmail_dir`` are what they are called in the data. ``root`` stands before
    directories of domains that are elsewhere. Without ``vpopmail`` there is no tree.
    """

    vpopmail: Path | None
    qmail: Path
    vpopmail_dir: str = "/home/vpopmail"
    qmail_dir: str = "/var/qmail"
    root: str = ""
    choices: Choices = field(default_factory=Choices)


class Opened:
    """The directories of a source, open until the block ends."""

    def __init__(self, source: Source) -> None:
        self._source = source
        with ExitStack() as stack:
            self.vpopmail: Directory | None = None
            if source.vpopmail is not None:
                self.vpopmail = stack.enter_context(_named(source.vpopmail))
            self.qmail = stack.enter_context(_named(source.qmail))
            self._stack = stack.pop_all()

    def places(self, vpopmail_dir: str) -> Places | None:
        """Return where directories are; None without a tree.

        :param vpopmail_dir: vpopmail's home as the data write it.
        """
        if self.vpopmail is None:
            return None
        return Places(self.vpopmail, vpopmail_dir, self._source.root)

    def directory(self, path: str, vpopmail_dir: str) -> Directory | None:
        """Open what the data call ``path``, None if it is not there or cannot be opened."""
        places = self.places(vpopmail_dir)
        try:
            below = relative_to(path, self._source.qmail_dir)
            if below is not None:
                return self.qmail.enter(below)
            return places.open(path) if places else None
        except OSError:
            return None

    def close(self) -> None:
        """Close them."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Scanned:
    """A site as it was read, its domains on disk, and what was found meanwhile."""

    def __init__(
        self, found: site.Site, spool: Spool, evidence: Evidence, *, with_homes: bool
    ) -> None:
        self.found = found
        self.spool = spool
        self.with_homes = with_homes
        """Whether the homes of accounts were opened."""
        self._evidence = evidence

    @property
    def has_rejects(self) -> bool:
        """Whether lines that name domains may have been rejected."""
        return self._evidence.worst is Severity.REJECT

    @property
    def own_evidence(self) -> Evidence:
        """What was found outside the domains."""
        return self._evidence

    def evidence(self) -> Iterator[Evidence]:
        """Return what was found: of the site, then of each domain."""
        yield self._evidence
        yield from self.spool.evidence()


Progress = Callable[[int, int, int], None]
"""Is told how many domains of how many are done, and how many mailboxes that were."""


def scan(
    source: Source,
    make_backend: Callable[[Sequence[Head]], Backend],
    *,
    jobs: int = 1,
    progress: Progress | None = None,
    evidence: Evidence | None = None,
) -> Scanned:
    """Read the site.

    :param make_backend: makes a `Backend`, once it is known which domains there are.
    :param jobs: processes that read domains.
    :param evidence: what was found by opening the back end.
    :raises ImportFailed: one of the directories cannot be opened.
    """
    evidence = evidence or Evidence()
    # What is missing from a damaged dump can be missing from any domain.
    is_damaged = evidence.worst is Severity.REJECT
    spool = Spool()
    with Opened(source) as opened:
        vpopmail, qmail = opened.vpopmail, opened.qmail
        shared = SharedFiles(qmail, evidence)
        assigned = shared.read_assign()
        in_more = shared.read_control(set(assigned.resolved()))
        vpopmail_dir = assigned.vpopmail_dir() or source.vpopmail_dir
        if vpopmail_dir != source.vpopmail_dir:
            reason = f"most domains are in {vpopmail_dir}/domains, not in {source.vpopmail_dir}"
            evidence.find(Code.OTHER_HOME, assigned.place, 0, vpopmail_dir, reason)
        found = site.Site(
            vpopmail_dir=vpopmail_dir, qmail_dir=source.qmail_dir, foreign_lines=shared.foreign
        )
        if vpopmail:
            found = _with_tree(found, vpopmail, assigned, evidence)
            _note_unread(source.choices, vpopmail, evidence)
            domains = f"{vpopmail_dir}/domains"
            below = (relative_to(line.directory, domains) for line in assigned.real.values())
            leave_in_vpopmail(vpopmail, filter(None, below), evidence)
        leave_in_qmail(qmail, evidence)
        compare_users(qmail, assigned.lines, evidence, partial(_is_there, opened, vpopmail_dir))
    real = assigned.resolved()
    heads = _heads(assigned, in_more)
    backend = make_backend(heads)
    found = _with_rows(found, backend.shared(heads, evidence), source, evidence)
    directories = {head.directory: head.name.name for head in heads}
    make = partial(_Worker, source, backend, vpopmail_dir, directories, real)
    outside = []
    forwards = OtherDomains()
    mailboxes = 0
    readings = zip(heads, work_in_order(make, heads, jobs), strict=True)
    for done, (head, each) in enumerate(readings, 1):
        spool.put_evidence(head.name.name, each.evidence)
        outside += each.outside
        forwards.add(each.forwards)
        if each.packed:
            incomplete = is_damaged or each.evidence.worst is Severity.REJECT
            spool.put(*each.packed, incomplete=incomplete)
            mailboxes += each.packed[0].counts["mailboxes"]
        if progress:
            progress(done, len(heads), mailboxes)
    left_out = set(spool.left_out())
    shared.leave_out({name for name, domain in real.items() if domain in left_out})
    _find_shared_homes(outside, directories, spool, evidence)
    forwards.find_lost(spool, evidence)
    found = replace(found, domains=spool)
    find_unwritable_in_frame(found, evidence)
    with_homes = source.vpopmail is not None and source.choices.read_homes
    return Scanned(found, spool, evidence, with_homes=with_homes)


def _with_rows(found: site.Site, rows: Shared, source: Source, evidence: Evidence) -> site.Site:
    """Return the site with what a back end's tables have of it; they count, not the files."""
    for address, domain in rows.ip_mappings.items():
        if found.ip_mappings.get(address, domain) != domain:
            place = f"{source.vpopmail}/etc/ip_alias_map"
            reason = f"the table maps {address} to {domain}, which counts"
            evidence.find(Code.DUPLICATE, place, 0, address, reason)
    return replace(
        found,
        ip_mappings={**found.ip_mappings, **rows.ip_mappings},
        counter=rows.counter or found.counter,
    )


def _note_unread(choices: Choices, vpopmail: Directory, evidence: Evidence) -> None:
    """Say what is not looked at: it may be there."""
    if not choices.read_homes:
        reason = "no account's directory was opened"
        evidence.find(Code.HOMES_NOT_READ, f"{vpopmail.shown}/domains", 0, "", reason)


class _Read(NamedTuple):
    """What comes back from a process that read a domain."""

    packed: tuple[Entry, bytes] | None
    evidence: Evidence
    outside: list[Outside]
    forwards: list[Forward]
    """To other domains of the site."""


class _Worker:
    """Reads domains in a process of its own, or in this one.

    :param directories: the name of each domain by its directory.
    :param real: the real domain of every name.
    """

    def __init__(
        self,
        source: Source,
        backend: Backend,
        vpopmail_dir: str,
        directories: dict[str, str],
        real: dict[str, str],
    ) -> None:
        self._opened = Opened(source)
        self._forwards = ForwardReader(real)
        places = self._opened.places(vpopmail_dir)
        self._reader = DomainReader(
            backend, places, Homes(directories, vpopmail_dir), vpopmail_dir, source.choices
        )

    def __call__(self, head: Head) -> _Read:
        reading = self._reader.read(head)
        domain, evidence = reading.domain, reading.evidence
        if domain is None:
            return _Read(None, evidence, reading.outside, [])
        lost, forwards = self._forwards.check(domain, reading.files)
        find_lost(lost, evidence)
        return _Read(pack(domain), evidence, reading.outside, forwards)

    def close(self) -> None:
        self._opened.close()


def _find_shared_homes(
    outside: list[Outside], directories: dict[str, str], spool: Spool, evidence: Evidence
) -> None:
    """Report directories that accounts of two domains have."""
    find_shared(outside, evidence)
    below: defaultdict[str, list[Outside]] = defaultdict(list)
    for each in outside:
        if each.owner and directories[each.owner] in spool.entries:
            below[directories[each.owner]].append(each)
    for name, accounts in below.items():
        theirs = {mailbox.directory: mailbox.name for mailbox in spool.get(name).mailboxes}
        find_taken(accounts, theirs, evidence)


def _with_tree(
    found: site.Site, vpopmail: Directory, assigned: Assigned, evidence: Evidence
) -> site.Site:
    return replace(
        found,
        ip_mappings=_ip_mappings(vpopmail, assigned, evidence),
        default_limits=_default_limits(vpopmail, evidence),
        counter=_counter(vpopmail, evidence),
        default_domain=_default_domain(vpopmail, evidence),
    )


def _named(path: Path) -> Directory:
    try:
        # Packages and administrators put these elsewhere, such as control in /etc/qmail.
        return Directory.open(str(path), links=("control", "users", "domains", "etc"))
    except OSError as error:
        raise ImportFailed(f"cannot open {path}: {error.strerror}") from error


def _heads(assigned: Assigned, in_more: set[str]) -> list[Head]:
    """Return what is known of each domain before its directory is read, in name order."""
    aliases: dict[str, list[site.Name]] = {name: [] for name in assigned.real}
    for alias, name in assigned.aliases.items():
        aliases[name].append(site.Name(alias, alias in in_more))
    return [
        Head(
            name=site.Name(name, name in in_more),
            aliases=tuple(sorted(aliases[name])),
            directory=line.directory,
            uid=line.uid,
            gid=line.gid,
        )
        for name, line in sorted(assigned.real.items())
    ]


def _ip_mappings(vpopmail: Directory, assigned: Assigned, evidence: Evidence) -> dict[str, str]:
    """Return the real domain that each address is mapped to."""
    lines = open_lines(evidence, vpopmail, "etc/ip_alias_map")
    if lines is None:
        return {}
    known = assigned.resolved()
    mappings: dict[str, str] = {}
    for record in ipmap.parse(lines.data):
        if isinstance(record, Malformed):
            lines.malformed(record)
            continue
        if isinstance(record, Comment):
            lines.merge(Code.SAYS_NOTHING, record.number, "a comment, or a blank line")
            continue
        domain = known.get(names.lower(record.domain))
        address = str(ipaddress.ip_address(record.address))
        if domain is None:
            reason = f"{record.domain} is no domain of the site"
            lines.reject(Code.UNKNOWN_DOMAIN, record.number, reason)
        elif address in mappings:
            reason = f"{address} is mapped to {mappings[address]} before"
            lines.merge(Code.DUPLICATE, record.number, reason)
        else:
            mappings[address] = domain
            lines.own(record.number, domain, f"{address} {domain}")
    return mappings


def _default_limits(vpopmail: Directory, evidence: Evidence) -> site.Limits | None:
    etc = enter_if_there(evidence, vpopmail, "etc")
    if etc is None:
        return None
    with etc:
        name = "vlimits.default"
        return read_limits(evidence, etc, name) if name in etc.names() else None


def _counter(vpopmail: Directory, evidence: Evidence) -> site.Counter | None:
    domains = enter_if_there(evidence, vpopmail, "domains")
    if domains is None:
        return None
    with domains:
        return read_counter(evidence, domains, domains.names())


def _default_domain(vpopmail: Directory, evidence: Evidence) -> str | None:
    lines = open_lines(evidence, vpopmail, "etc/defaultdomain")
    if lines is None:
        return None
    name = control.parse_single(lines.data)
    is_name = names.is_domain_name(name) and "" not in name.split(".")
    for number, text in enumerate(lines.raw, 1):
        if number == 1 and name and not is_name:
            lines.merge(Code.ODD_DEFAULT_DOMAIN, number, "it is no name of a domain")
        elif number == 1:
            lines.tally.imported += 1
        elif text.strip():
            lines.merge(Code.TRAILING_TEXT, number, "only the first line counts")
        else:
            lines.tally.merged += 1
    return name if is_name else None


def _is_there(opened: Opened, vpopmail_dir: str, path: str) -> bool:
    directory = opened.directory(path, vpopmail_dir)
    if directory is not None:
        directory.close()
    return directory is not None
