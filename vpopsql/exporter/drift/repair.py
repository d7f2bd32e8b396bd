"""Mending what a verification found: of the codes that are named, and nothing else.

Files are written by the exporter, which writes together what belongs together: a domain's vpasswd,
its cdb and counter; its dot-qmail files; its limits; all files of the site. A text that would be
overwritten along with them, and whose finding has a code that was not named, is in the way:
somebody may want to see first what is in it. So may what stands where nothing should: it is moved
to the trash.

Directories are made empty, never removed. Everything is looked at again where it is done: under
the site's lock, or in the transaction that keeps its row.
"""

import stat
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property, partial

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from vpopsql import homes, trash
from vpopsql.config import Config
from vpopsql.db import Database
from vpopsql.errors import VpopsqlError
from vpopsql.exporter import render
from vpopsql.exporter.accepted import Accepted
from vpopsql.exporter.apply import LOCK_TIMEOUT_S, follow
from vpopsql.exporter.drift.codes import RELAY, Code, Mend
from vpopsql.exporter.drift.finding import Finding
from vpopsql.exporter.drift.survey import NOBODYS, Progress, Report, homes_among, verify
from vpopsql.exporter.snapshot import EVERY_NAME, VPOPMAIL_DIR, Part, Snapshot, take
from vpopsql.exporter.writing import LEFTOVER_AGE_S
from vpopsql.model import DomainName, Mailbox, SiteSetting
from vpopsql.quota import Quota
from vpopsql.services.account_changes import Home
from vpopsql.services.domains import lock_domain
from vpopsql.services.rights import operator
from vpopsql.touched import Touched
from vpopsql.tree import Owner, Tree, UnsafePath

_ACTOR = "vpopsql verify"
_ROUNDS = 3
"""A domain's directory, then its mailboxes', then what is in those."""

_BOXES = ("cur", "new", "tmp")
_SOMEBODYS = {
    Code.CONTROL_DIFFERS,
    Code.TEXT_DIFFERS,
    Code.DOTQMAIL_DIFFERS,
    Code.SETTINGS_DIFFER,
    Code.LINK_FOR_FILE,
}
"""What is not overwritten unless it is named: somebody may have put it there. The others are
missing, say the same in other words, or are compiled from a text."""


class CannotMend(VpopsqlError):
    """A finding is left as it is; the text says why."""


@dataclass(slots=True)
class Repaired:
    """What became of the findings that were to be mended."""

    report: Report
    """What is found now."""
    mended: list[Finding] = field(default_factory=list)
    refused: list[tuple[Finding, str]] = field(default_factory=list)
    """What could not be mended, and why."""


def repair(
    database: Database,
    config: Config,
    codes: Collection[Code],
    *,
    domain: str | None = None,
    is_relay: bool = False,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Repaired:
    """Verify, mend what has one of the ``codes`` if there is anything, and verify again.

    :param domain: as in `verify`; findings about the site's files are those that concern it.
    :param is_relay: as in `verify`; files are not written then.
    :raises VpopsqlError: as `verify` does.
    """
    look = partial(verify, database, config, domain=domain, is_relay=is_relay, jobs=jobs)
    repaired = Repaired(look(progress=progress))
    for _ in range(_ROUNDS):
        chosen = [each for each in repaired.report.findings if each.code in codes]
        if not chosen:
            break
        found = repaired.report.findings
        one_domain = domain is not None
        round_ = _Round(database, config, found, codes, one_domain=one_domain, is_relay=is_relay)
        round_.mend(chosen)
        repaired.report = look()
        left = {(each.code, each.path) for each in repaired.report.findings}
        done = [each for each in chosen if (each.code, each.path) not in left]
        repaired.mended += done
        repaired.refused = [
            (each, round_.reasons.get((each.code, each.path), "it is found again"))
            for each in chosen
            if (each.code, each.path) in left
        ]
        if not done:
            break
    return repaired


class _Round:
    """One pass over what was found.

    :ivar reasons: why what has a code and a path was not mended.
    """

    def __init__(
        self,
        database: Database,
        config: Config,
        findings: Iterable[Finding],
        codes: Collection[Code],
        *,
        one_domain: bool,
        is_relay: bool,
    ) -> None:
        self._database = database
        self._config = config
        self._paths = config.paths
        self._tree = Tree(config.paths.root, config.paths.places)
        self._one_domain = one_domain
        self._is_relay = is_relay
        self._in_the_way = [each for each in findings if each.code in _SOMEBODYS - set(codes)]
        self._new_directories: set[str] = set()
        self.reasons: dict[tuple[Code, str], str] = {}

    def mend(self, chosen: Iterable[Finding]) -> None:
        """Do what can be done, directories first: files are written into them."""
        by_way: defaultdict[Mend, list[Finding]] = defaultdict(list)
        for each in chosen:
            by_way[each.code.mend].append(each)
        for each in by_way[Mend.NOT]:
            self.reasons[each.code, each.path] = (
                f"there is no way to do so here: {each.code.advice}"
            )
        for way, do in (
            (Mend.MAKE, self._make),
            (Mend.RIGHTS, self._set_rights),
            (Mend.TRASH, self._move_to_trash),
            (Mend.SWEEP, self._sweep),
        ):
            for each in by_way[way]:
                self._try([each], partial(do, each))
        if stuck := by_way[Mend.FINISH]:
            self._try(stuck, self._finish_deletions)
        self._write(by_way[Mend.WRITE])

    def _try(self, findings: Iterable[Finding], do: Callable[[], None]) -> None:
        try:
            do()
        except OSError as error:
            reason = str(error.strerror)
        except (VpopsqlError, UnsafePath) as error:
            reason = str(error) or type(error).__name__
        else:
            return
        for each in findings:
            self.reasons[each.code, each.path] = reason

    # Directories

    def _make(self, finding: Finding) -> None:
        with self._database.writer() as session:
            # Nobody deletes it meanwhile; whoever has done so already leaves nothing to make.
            lock_domain(session, finding.domain)
            if finding.code is Code.DIR_MISSING:
                homes.make_domain_directory(self._tree, finding.path, *_owner(finding))
                self._new_directories.add(finding.domain)
                return
            home = _home(session, finding)
            if finding.code is Code.HOME_MISSING:
                homes.make_home(self._tree, home)
                return
            for box in _BOXES:
                place = f"{finding.path}/Maildir/{box}"
                self._tree.make_dir(place, owner=(home.uid, home.gid), parents=True)

    def _set_rights(self, finding: Finding) -> None:
        with self._locked():
            status = self._tree.stat(finding.path)
            given, taken, changes_owner = _RIGHTS[finding.code]
            if not finding.domain:
                taken &= ~stat.S_IWGRP  # who is in the group there, is the administrator's choice
            mode = (stat.S_IMODE(status.st_mode) | given) & ~taken
            owner = finding.owner if changes_owner else None
            self._tree.set_rights(finding.path, mode, owner or (status.st_uid, status.st_gid))

    def _sweep(self, finding: Finding) -> None:
        self._tree.sweep(finding.path.rpartition("/")[0], LEFTOVER_AGE_S)

    # The trash

    def _move_to_trash(self, finding: Finding) -> None:
        with self._locked():
            self._require_nobodys(finding)
            with self._database.writer() as session:
                home = session.scalar(_HOME) or self._paths.vpopmail
                actor = operator(_ACTOR, home)
                kept = trash.prepare_directory(
                    session, self._tree, actor, finding.path, "move_to_trash"
                )
            kept.move(self._tree)

    def _require_nobodys(self, finding: Finding) -> None:
        """Refuse what has a row by now; while the lock is held, no file is written for one."""
        of = {finding.domain} - {""}
        touched = Touched(set(of), set(of), set(of), site=not of)
        export = self._config.export
        with self._database.snapshot() as session:
            if finding.code in NOBODYS:
                wanted = homes_among(session, {finding.path})
            else:
                wanted = _files(take(session, self._paths, touched, EVERY_NAME, export))
        if finding.path in wanted:
            raise CannotMend("there is a row for it now")

    def _finish_deletions(self) -> None:
        with self._database.writer() as session:
            trash.finish(session, self._tree)

    def _locked(self) -> AbstractContextManager[None]:
        return self._tree.lock(f"{self._paths.qmail}/{render.ASSIGN}", LOCK_TIMEOUT_S)

    # Files

    def _write(self, findings: Iterable[Finding]) -> None:
        new = self._new_directories
        touched = Touched(set(new), set(new), set(new))
        written = []
        for each in findings:
            if reason := self._why_not(each):
                self.reasons[each.code, each.path] = reason
                continue
            written.append(each)
            if not each.domain:
                touched.site = True
            for part, of in (
                (Part.ACCOUNTS, touched.accounts),
                (Part.DOTQMAIL, touched.dotqmail),
                (Part.LIMITS, touched.limits),
            ):
                if part in each.part:
                    of.add(each.domain)
        if touched:
            self._try(written, partial(self._follow, touched, written))

    def _follow(self, touched: Touched, written: Iterable[Finding]) -> None:
        users_cdb = f"{self._paths.qmail}/{render.assign_cdb(self._config.export)}"
        if users_cdb in {each.path for each in written}:
            # An equal text would be no reason to run qmail-newu.
            with self._locked():
                self._tree.write(f"{self._paths.qmail}/{render.COMPILE_MARKER}", b"")
        follow(self._database, self._config, touched)

    def _why_not(self, finding: Finding) -> str:
        """Return why a file cannot be written without another one; empty: it can."""
        if self._is_relay:
            return f"`vpopsql {' '.join(RELAY)}` writes the files of a relay"
        if not finding.domain and self._one_domain:
            return "the site's files are written together: not with --domain"
        if finding.code is Code.RELOAD_PENDING and not self._config.export.reload_command:
            return "export.reload_command is not set: reload qmail-send, and remove the file"
        for other in self._in_the_way:
            same = other.domain == finding.domain and other.part == finding.part
            whole = not finding.domain and other.domain in self._written_whole
            # Exact lines that cannot be patched into users/assign bring the site's files along.
            patched = self._config.export.delivery == "exact" and not other.domain
            if same or whole or patched:
                return f"{other.path} would be written along with it: name {other.code}, too"
        return ""

    @cached_property
    def _written_whole(self) -> set[str]:
        """The domains with a name that qmail does not accept mail for yet.

        Their files are written before it does, all of them: `follow` does so.
        """
        try:
            accepted = Accepted.on_disk(self._tree, self._paths)
        except (OSError, UnsafePath):
            return set()  # nothing can be written then, which is said where it is tried
        names = accepted.few | accepted.more
        real = aliased(DomainName)
        query = select(DomainName.name, real.name).join(
            real, (real.domain_id == DomainName.domain_id) & ~real.is_alias
        )
        with self._database.reader() as session:
            return {of for name, of in session.execute(query) if name not in names}


def _files(snapshot: Snapshot) -> set[str]:
    files: dict[str, object] = dict(render.site_files(snapshot)) if snapshot.names else {}
    for domain in snapshot.domains:
        files |= render.domain_files(domain, snapshot.paths.vpopmail)
    return {path for path, data in files.items() if data is not None}


def _owner(finding: Finding) -> Owner:
    if finding.owner is None:
        raise CannotMend("it is not known whose it should be")
    return finding.owner


def _home(session: Session, finding: Finding) -> Home:
    """Return a mailbox's home, if it has it still."""
    spellings = (finding.path, f"{finding.path}/")
    query = (
        select(Mailbox.quota_bytes, Mailbox.quota_messages)
        .join(DomainName, DomainName.domain_id == Mailbox.domain_id)
        .where(DomainName.name == finding.domain, Mailbox.directory.in_(spellings))
    )
    found = session.execute(query).first()
    if found is None:
        raise CannotMend("its mailbox is gone")
    return Home(finding.domain, finding.path, *_owner(finding), Quota(*found))


_HOME = select(SiteSetting.value).where(SiteSetting.key == VPOPMAIL_DIR)

_WRITES = stat.S_IWGRP | stat.S_IWOTH
_EXECUTES = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH

_RIGHTS = {
    Code.DIR_OWNER: (0, 0, True),
    Code.DIR_MODE: (stat.S_IRWXU, 0, False),
    Code.DIR_STICKY: (0, stat.S_ISVTX, False),
    Code.DIR_WRITABLE: (0, _WRITES, False),
    Code.FILE_OWNER: (0, 0, True),
    Code.FILE_UNREADABLE: (stat.S_IRUSR, 0, True),
    Code.FILE_WRITABLE: (0, _WRITES, False),
    Code.EXECUTABLE: (0, _EXECUTES, False),
}
"""By code: the bits that are given and taken, and whether the owner is set."""
