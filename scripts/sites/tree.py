"""Writing a site as files: vpopmail's home and qmail's directory.

Modelled on the samples below tests/trees, which real tools made: the same files, directories
spread over buckets, locks left lying about. Nobody has mail.
"""

import enum
import os
from collections.abc import Iterable
from pathlib import Path

from scripts.sites.shape import GID, HOME, RCPTHOSTS_MAX, UID, Domain, Frame, Mailbox
from vpopsql.qmail import assign, control, dircontrol, dotqmail, ipmap, limits, vpasswd
from vpopsql.qmail.lines import join_lines

_EZMLM_FILES = ("config", "mailinglist")


class Homes(enum.StrEnum):
    """What there is of each mailbox's home."""

    FULL = "full"
    LIGHT = "light"
    """No Maildir in it: a fifth of the inodes."""
    NONE = "none"
    """Not even the directory."""


class Build(enum.StrEnum):
    """Which build of vpopmail keeps the tree."""

    CDB = "cdb"
    """Everything is a file."""
    SQL = "sql"
    """Accounts, last logins, limits and the aliases of no list are in tables."""


class Tree:
    """Writes a site into ``directory``: vpopmail's home as ``vpopmail``, qmail's as ``qmail``.

    :raises FileExistsError: there is one already.
    """

    def __init__(
        self, directory: Path, homes: Homes = Homes.FULL, build: Build = Build.CDB
    ) -> None:
        self.vpopmail = directory / "vpopmail"
        self.qmail = directory / "qmail"
        self._homes = homes
        self._is_cdb = build is Build.CDB
        (self.vpopmail / "domains").mkdir(parents=True)
        (self.vpopmail / "etc").mkdir()

    def frame(self, frame: Frame) -> None:
        """Write what belongs to no domain."""
        if self._is_cdb:
            mappings = (ipmap.IpMapping(0, *each) for each in frame.ip_mappings.items())
            _write(self.vpopmail / "domains/.dir-control", dircontrol.render(frame.counter))
            _write(self.vpopmail / "etc/ip_alias_map", ipmap.render(mappings))
        _write(self.vpopmail / "etc/vlimits.default", limits.render({}))
        _write_qmail(self.qmail, frame)

    def domain(self, domain: Domain) -> None:
        """Write a domain with all that is below its directory."""
        place = self._place(domain.directory)
        place.mkdir(parents=True)
        if self._is_cdb:
            lines = [_vpasswd_line(mailbox) for mailbox in domain.mailboxes]
            _write(place / "vpasswd", vpasswd.render(lines))
            _write(place / "vpasswd.cdb", vpasswd.compile_cdb(lines))
            _write(place / ".vpasswd.lock", b"")
            _write(place / ".dir-control", dircontrol.render(domain.counter))
            if domain.limits is not None:
                _write(place / ".qmailadmin-limits", limits.render(domain.limits))
        if domain.free_buckets:
            _write(place / ".dir_control_free", join_lines(list(domain.free_buckets)))
        self._aliases(domain, place)
        if self._homes is not Homes.NONE:
            self._make_homes(domain)

    def _aliases(self, domain: Domain, place: Path) -> None:
        files = dict(domain.lists)
        if self._is_cdb:
            files |= domain.forwards
        if domain.catchall:
            files["default"] = domain.catchall
        for name, lines in files.items():
            _write(place / dotqmail.filename_for(name), join_lines(list(lines)))
        for name in domain.list_names:
            (place / name).mkdir()
            for file in _EZMLM_FILES:
                _write(place / name / file, b"")

    def _make_homes(self, domain: Domain) -> None:
        made: set[str] = set()
        for mailbox in domain.mailboxes:
            parent = mailbox.directory.rpartition("/")[0]
            if parent not in made:
                self._place(parent).mkdir(parents=True, exist_ok=True)
                made.add(parent)
            self._home(mailbox)
        for directory in domain.robots:
            robot = self._place(directory)
            robot.mkdir()
            _write(robot / "message", b"From: me\n\nI am away.\n")

    def _home(self, mailbox: Mailbox) -> None:
        home = self._place(mailbox.directory)
        home.mkdir()
        if self._homes is Homes.FULL:
            for name in ("cur", "new", "tmp"):
                (home / "Maildir" / name).mkdir(parents=True)
        if mailbox.login and self._is_cdb:
            path = home / "lastauth"
            _write(path, mailbox.login.address.encode())
            os.utime(path, (mailbox.login.at, mailbox.login.at))
        if mailbox.dotqmail:
            _write(home / ".qmail", join_lines(list(mailbox.dotqmail)))

    def _place(self, recorded: str) -> Path:
        return self.vpopmail / recorded.removeprefix(f"{HOME}/")


def _write_qmail(directory: Path, frame: Frame) -> None:
    users, settings = directory / "users", directory / "control"
    users.mkdir(parents=True)
    settings.mkdir()
    heads = {name: head for head in frame.heads for name in (head.name, *head.aliases)}
    names = frame.names
    lines = [
        assign.domain_line(name, heads[name].name, UID, GID, heads[name].directory)
        for name in names
    ]
    _write(users / "assign", assign.render(lines))
    _write(users / "cdb", assign.compile_cdb(lines))
    _write(settings / "me", b"mail.example\n")
    _write(settings / "locals", b"localhost\n")
    _write(settings / "virtualdomains", join_lines([f"{name}:{name}" for name in names]))
    _write(settings / "rcpthosts", control.render_hosts(names[:RCPTHOSTS_MAX]))
    if more := names[RCPTHOSTS_MAX:]:
        _write(settings / "morercpthosts", control.render_hosts(more))
        _write(settings / "morercpthosts.cdb", control.compile_morercpthosts(more))


def _vpasswd_line(mailbox: Mailbox) -> str:
    return vpasswd.render_line(
        vpasswd.VpasswdLine(
            number=0,
            name=mailbox.name,
            password_hash=mailbox.password_hash,
            apop_uid=mailbox.apop_uid,
            flags=mailbox.flags,
            comment=mailbox.comment,
            directory=mailbox.directory,
            quota_text=mailbox.quota_text,
            clear_text=mailbox.clear_text,
        )
    )


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def write_tree(tree: Tree, frame: Frame, domains: Iterable[Domain]) -> None:
    """Write a whole site."""
    tree.frame(frame)
    for domain in domains:
        tree.domain(domain)
