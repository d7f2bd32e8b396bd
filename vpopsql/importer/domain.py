"""Reading one domain: its accounts from a back end, dot-qmail files and homes from the tree."""

import functools
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from vpopsql.directory import Directory, Places, SymbolicLink, relative_to
from vpopsql.importer import site
from vpopsql.importer.accounts import AccountReader
from vpopsql.importer.backend import Backend, Choices, Head
from vpopsql.importer.codes import Code
from vpopsql.importer.deliveries import DeliveryReader
from vpopsql.importer.destinations import PlacedFile
from vpopsql.importer.dotqmails import DotQmailReader, split_catchall
from vpopsql.importer.evidence import Evidence
from vpopsql.importer.files import COUNTER, find_unsafe, report_unreadable
from vpopsql.importer.homes import Homes, Outside
from vpopsql.importer.mailboxes import EPOCH, Home, HomeReader
from vpopsql.importer.orphans import leave_rest
from vpopsql.importer.writable import find_unwritable
from vpopsql.model import CatchAll
from vpopsql.qmail import assign
from vpopsql.qmail.lines import encode
from vpopsql.qmail.vpasswd import VpasswdLine
from vpopsql.quota import Quota

NEVER = "0.0.0.0"  # noqa: S104 - what vpopmail notes as the address of no login
_UNKNOWN_LOGIN = site.LastAuth(EPOCH, NEVER)
# Most accounts of a site share a few quotas.
_parse_quota = functools.lru_cache(maxsize=4096)(Quota.parse)


@dataclass(slots=True)
class Reading:
    """What came of reading one domain; no domain if that was impossible, which is a finding."""

    domain: site.Domain | None = None
    evidence: Evidence = field(default_factory=Evidence)
    outside: list[Outside] = field(default_factory=list)
    """The accounts whose directories are not below the domain's."""
    files: list[PlacedFile] = field(default_factory=list)
    """All dot-qmail files."""


class DomainReader:
    """Reads domains, each without regard to the others.

    :param places: where the directories are, None if there is no tree.
    :param vpopmail_dir: vpopmail's home as the data write it.
    """

    def __init__(
        self,
        backend: Backend,
        places: Places | None,
        homes: Homes,
        vpopmail_dir: str,
        choices: Choices,
    ) -> None:
        self._backend = backend
        self._places = places
        self._homes = homes
        self._vpopmail_dir = vpopmail_dir
        self._choices = choices

    def read(self, head: Head) -> Reading:
        """Read one domain."""
        reading = Reading()
        directory = self._open(head, reading.evidence)
        if directory is None:
            if not self._backend.in_tree:
                self._read(head, None, reading)
            return reading
        with directory:
            self._read(head, directory, reading)
        return reading

    def _open(self, head: Head, evidence: Evidence) -> Directory | None:
        if self._places is None:
            return None
        try:
            directory = self._places.open(head.directory)
        except SymbolicLink as error:
            if error.filename == self._places.shown(head.directory):
                self._find_linked(head, self._places, error, evidence)
            else:
                report_unreadable(evidence, error, f"the directory of {head.name.name}")
            return None
        except OSError as error:
            report_unreadable(evidence, error, f"the directory of {head.name.name}")
            return None
        find_unsafe(evidence, directory)
        return directory

    def _find_linked(
        self, head: Head, places: Places, error: SymbolicLink, evidence: Evidence
    ) -> None:
        """Report a link in place of a domain's directory, and what it may be meant for."""
        target = posixpath.join(posixpath.dirname(head.directory), error.target)
        below = relative_to(target, places.vpopmail.shown)
        target = posixpath.normpath(target if below is None else f"{places.prefix}/{below}")
        if self._homes.owner(target) == target:
            other, name = self._homes.domain(target), head.name.name
            line = assign.domain_line(name, other, head.uid, head.gid, target)
            reason = f"it leads to {other}: as an alias domain of that it has the line {line}"
        else:
            reason = "it leads to no directory of a domain in users/assign"
        place, text = str(error.filename), f"-> {error.target}"
        evidence.find(Code.LINKED_DOMAIN, place, 0, text, reason)

    def _read(self, head: Head, directory: Directory | None, reading: Reading) -> None:
        evidence = reading.evidence
        listing = self._backend.accounts(head, directory, evidence)
        if listing is None:
            return
        accounts = AccountReader(head, self._homes, self._choices, evidence)
        lines = accounts.usable(listing)
        users = {line.name for line in lines}
        last_auths = self._backend.last_auths(head, users, evidence)
        homes: dict[str, Home] = {}
        if self._places and directory and self._choices.read_homes:
            homes = HomeReader(head, directory, self._places, evidence).read(
                lines, with_lastauth=last_auths is None
            )
        files: tuple[site.DotQmailFile, ...] = ()
        catchall, target = CatchAll(self._choices.catchall), None
        if self._places and directory:
            entries = directory.entries()
            tally = evidence.tally("domains' .qmail*", directory.shown)
            found = DotQmailReader(self._places, evidence).read(directory, entries, tally)
            catchall, target, files = split_catchall(found, self._vpopmail_dir)
            leave_rest(head, directory, entries, lines, evidence)
        aliases = self._backend.aliases(head, {file.name for file in files}, evidence)
        if aliases:
            files = tuple(sorted([*files, *aliases], key=lambda file: encode(file.name)))
        reading.domain = site.Domain(
            name=head.name,
            aliases=head.aliases,
            directory=head.directory,
            uid=head.uid,
            gid=head.gid,
            catchall=catchall,
            catchall_target=target,
            mailboxes=self._mailboxes(lines, homes, last_auths),
            files=files,
            limits=self._backend.limits(head, directory, evidence),
            counter=self._backend.counter(head, directory, evidence),
        )
        reading.outside = accounts.homes.outside
        reading.files = [*self._placed(reading.domain, aliases)]
        if self._places and directory:
            if self._backend.in_tree:
                _find_miscounted(reading.domain, directory, evidence)
            self._check_deliveries(reading, reading.domain, self._places)
        if find_unwritable(reading.domain, self._vpopmail_dir, evidence):
            reading.domain = None
            for tally in evidence.tallies:
                tally.reject_all()

    def _check_deliveries(self, reading: Reading, domain: site.Domain, places: Places) -> None:
        names = [file.name for file in domain.files]
        reader = DeliveryReader(places, domain.directory, names, reading.evidence)
        reader.check_catchall(domain)
        homes = [domain.directory for _ in domain.files]
        homes += [mailbox.directory for mailbox in domain.mailboxes for _ in mailbox.files]
        for home, placed in zip(homes, reading.files, strict=True):
            reader.check(placed, home)

    def _placed(
        self, domain: site.Domain, aliases: tuple[site.DotQmailFile, ...]
    ) -> Iterator[PlacedFile]:
        rows = set(map(id, aliases))
        place, name = self._backend.alias_place, domain.name.name
        directory = self._places.shown(domain.directory) if self._places else ""
        for file in domain.files:
            if id(file) in rows:
                yield PlacedFile(file, place, name)
            else:
                yield PlacedFile(file, directory)
        for mailbox in domain.mailboxes:
            for file in mailbox.files:
                if self._places is not None:
                    yield PlacedFile(file, self._places.shown(mailbox.directory))

    def _mailboxes(
        self,
        lines: Iterable[VpasswdLine],
        homes: Mapping[str, Home],
        last_auths: Mapping[str, site.LastAuth] | None,
    ) -> tuple[site.Mailbox, ...]:
        nothing = Home()
        mailboxes = []
        for line in lines:
            home = homes.get(line.name, nothing)
            found = home.last_auth if last_auths is None else last_auths.get(line.name)
            mailboxes.append(self._mailbox(line, found, home.files))
        mailboxes.sort(key=_name)
        return tuple(mailboxes)

    def _mailbox(
        self,
        line: VpasswdLine,
        found: site.LastAuth | None,
        files: tuple[site.DotQmailFile, ...],
    ) -> site.Mailbox:
        quota = _parse_quota(line.quota_text)
        last_auth = found or _UNKNOWN_LOGIN
        never = found is not None and last_auth.remote_ip == NEVER
        clear_text = line.clear_text
        return site.Mailbox(
            name=line.name,
            password_hash=line.password_hash,
            clear_text="" if clear_text and not self._choices.store_clear_text else clear_text,
            apop_uid=line.apop_uid,
            flags=line.flags,
            comment=line.comment,
            directory=line.directory,
            quota_text=line.quota_text,
            quota_bytes=quota.bytes,
            quota_messages=quota.messages,
            created_at=last_auth.at if never else None,
            last_auth=last_auth,
            files=files,
        )


def _find_miscounted(domain: site.Domain, directory: Directory, evidence: Evidence) -> None:
    """Report a counter file that does not count as many accounts as there are."""
    accounts = len(domain.mailboxes)
    if domain.counter is None or domain.counter.control.cur_users == accounts:
        return
    shown = f"{directory.shown}/{COUNTER}"
    damaged = any(each.code is Code.DAMAGED_COUNTER for each in evidence.findings)
    if directory.has(COUNTER) and not damaged:
        reason = f"it counts {domain.counter.control.cur_users} accounts, there are {accounts}"
        evidence.find(Code.MISCOUNTED, shown, 1, "", reason)


def _name(mailbox: site.Mailbox) -> str:
    return mailbox.name
