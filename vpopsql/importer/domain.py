"""Reading one domain: its accounts from a back end, dot-qmail files and homes from the tree."""

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vpopsql.importer import site
from vpopsql.importer.accounts import AccountReader
from vpopsql.importer.backend import Backend, Choices, Head
from vpopsql.importer.cdb_build import VPASSWD, VPASSWD_CDB
from vpopsql.importer.destinations import PlacedFile
from vpopsql.importer.directory import Directory, Places, relative_to
from vpopsql.importer.dotqmails import DotQmailReader, is_dot_qmail, split_catchall
from vpopsql.importer.evidence import Evidence
from vpopsql.importer.files import COUNTER, FREE_BUCKETS, LIMITS, LOCK, report_unreadable
from vpopsql.importer.homes import Homes, Outside
from vpopsql.importer.mailboxes import EPOCH, Home, HomeReader
from vpopsql.importer.writable import find_unwritable
from vpopsql.model import CatchAll
from vpopsql.qmail.lines import encode
from vpopsql.qmail.vpasswd import VpasswdLine
from vpopsql.quota import Quota

if TYPE_CHECKING:
    import os

NEVER = "0.0.0.0"  # noqa: S104 - what vpopmail notes as the address of no login
_UNKNOWN_LOGIN = site.LastAuth(EPOCH, NEVER)
# Most accounts of a site share a few quotas.
_parse_quota = functools.lru_cache(maxsize=4096)(Quota.parse)
_READ = {VPASSWD, LIMITS, COUNTER, FREE_BUCKETS}


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
            return self._places.open(head.directory)
        except OSError as error:
            report_unreadable(evidence, error, f"the directory of {head.name.name}")
            return None

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
            _leave_rest(head, directory, entries, lines, evidence)
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
        if find_unwritable(reading.domain, self._vpopmail_dir, evidence):
            reading.domain = None
            for tally in evidence.tallies:
                tally.reject_all()

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


def _name(mailbox: site.Mailbox) -> str:
    return mailbox.name


def _leave_rest(
    head: Head,
    directory: Directory,
    entries: "list[os.DirEntry[str]]",
    lines: Iterable[VpasswdLine],
    evidence: Evidence,
) -> None:
    """List what is in the domain's directory and its buckets and belongs to no account."""
    homes: set[str] = set()
    buckets: set[str] = set()
    for line in lines:
        home = relative_to(line.directory, head.directory)
        if home is not None:
            homes.add(home)
            bucket = home.rpartition("/")[0]
            while bucket and bucket not in buckets:
                buckets.add(bucket)
                bucket = bucket.rpartition("/")[0]
    for entry in entries:
        name = entry.name
        if name in homes or name in buckets or name in _READ or is_dot_qmail(name):
            continue
        derived = name == VPASSWD_CDB or name.endswith(LOCK)
        what = "made anew by the export" if derived else "in domain directories"
        evidence.leave(what, f"{directory.shown}/{name}")
    for bucket in sorted(buckets):
        try:
            with directory.enter(bucket) as opened:
                inside = opened.entries()
        except OSError:
            continue  # reported with the homes in it
        for entry in inside:
            path_here = f"{bucket}/{entry.name}"
            if path_here not in homes and path_here not in buckets:
                evidence.leave("in domain directories", f"{directory.shown}/{path_here}")
