"""Whether the export will be able to write what was read, asked before anything is stored.

What an import has verified must never stop an export, which fails for the whole site. So every
value that becomes part of a line or of a path goes through the grammar that will write it. The
readers refuse such values where they find them, with file and line; this is the net below.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from vpopsql.directory import plain_path
from vpopsql.importer import site
from vpopsql.importer.codes import Code
from vpopsql.importer.evidence import Evidence
from vpopsql.model import CatchAll
from vpopsql.qmail import assign, dircontrol, dotqmail, ipmap, vpasswd
from vpopsql.qmail.lines import encode, join_lines

_ASSIGN = "users/assign"
_SEPARATOR = re.compile(r"[:\n\0]")
_UNFIT_NAME = re.compile(r"[/:\n\0]")
_UNPLAIN = re.compile(r"/\.?\.?/")
_NOT_RENDERED = {CatchAll.NONE, CatchAll.DOTQMAIL}


def find_unwritable(domain: site.Domain, vpopmail_dir: str, evidence: Evidence) -> bool:
    """Report everything of ``domain`` that no file can hold; say whether there is anything."""
    writer = _Writer(vpopmail_dir, evidence)
    writer.domain(domain)
    return writer.found


def find_unwritable_in_frame(found: site.Site, evidence: Evidence) -> None:
    """Report everything that belongs to no domain and that no file can hold."""
    writer = _Writer(found.vpopmail_dir, evidence)
    for file, lines in found.foreign_lines.items():
        writer.foreign(f"{found.qmail_dir}/{file}", file, [line.line for line in lines])
    writer.ip_mappings(found.ip_mappings)
    if found.counter is not None:
        writer.counter(f"{found.vpopmail_dir}/domains", found.counter)


class _Writer:
    """Makes the lines and throws them away."""

    def __init__(self, vpopmail_dir: str, evidence: Evidence) -> None:
        self._vpopmail_dir = vpopmail_dir
        self._evidence = evidence
        self.found = False

    def domain(self, domain: site.Domain) -> None:
        directory = domain.directory
        with self._trying(_ASSIGN):
            _check_path(directory)
            for name in domain.names:
                assign.domain_line(name.name, domain.name.name, domain.uid, domain.gid, directory)
        for mailbox in domain.mailboxes:
            if mailbox.files:
                self._dotqmails(mailbox.directory, mailbox.files)
            if _is_surely_writable(mailbox):
                continue
            # The renderer's own text quotes the field, which may be a password.
            with self._trying(f"{directory}/vpasswd", f"the account {mailbox.name}"):
                _check_path(mailbox.directory)
                vpasswd.render_line(_vpasswd_line(mailbox))
        self._dotqmails(directory, domain.files)
        if domain.catchall not in _NOT_RENDERED:
            with self._trying(f"{directory}/{dotqmail.DEFAULT_FILE}"):
                kind = dotqmail.CatchAllKind(domain.catchall.value)
                catchall = dotqmail.CatchAll(kind, domain.catchall_target or "")
                dotqmail.render_catchall(catchall, self._vpopmail_dir)
        if domain.counter is not None:
            self.counter(directory, domain.counter)

    def _dotqmails(self, home: str, files: tuple[site.DotQmailFile, ...]) -> None:
        if _are_surely_writable(files):
            return
        for file in files:
            with self._trying(f"{home}/.qmail-{file.name}"):
                if file.name:
                    dotqmail.filename_for(file.name)
                dotqmail.render(dotqmail.DotQmail(tuple(line.text for line in file.lines)))

    def counter(self, directory: str, counter: site.Counter) -> None:
        with self._trying(f"{directory}/.dir-control"):
            dircontrol.render(counter.control)
            encode(counter.free_buckets or "")

    def foreign(self, path: str, file: str, lines: list[str]) -> None:
        with self._trying(path):
            join_lines(lines)
            if file == _ASSIGN:
                assign.compile_cdb(lines)

    def ip_mappings(self, mappings: dict[str, str]) -> None:
        with self._trying(f"{self._vpopmail_dir}/etc/ip_alias_map"):
            ipmap.render(ipmap.IpMapping(0, address, name) for address, name in mappings.items())

    @contextmanager
    def _trying(self, path: str, what: str = "") -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            reason = f"{what} has something that no line can hold" if what else str(error)
            self.found = True
            self._evidence.find(Code.UNWRITABLE, path, 0, "", reason)


def _is_surely_writable(mailbox: site.Mailbox) -> bool:
    """Say whether no field of an account has a character that any field could not hold.

    A quick look, for there may be a million accounts; a colon in a clear password is fine.
    """
    fields = (
        mailbox.name,
        mailbox.password_hash,
        mailbox.comment,
        mailbox.directory,
        mailbox.quota_text,
        mailbox.clear_text or "",
    )
    plain = mailbox.directory.startswith("/") and not _UNPLAIN.search(mailbox.directory + "/")
    return plain and bool(mailbox.name) and not _SEPARATOR.search("".join(fields))


def _are_surely_writable(files: tuple[site.DotQmailFile, ...]) -> bool:
    """Say whether no name or line of dot-qmail files has a character that is not in every file."""
    names = "".join([file.name for file in files])
    text = "".join([line.text for file in files for line in file.lines])
    plain = names.isascii() and text.isascii()
    return plain and "\n" not in text and not _UNFIT_NAME.search(names)


def _check_path(path: str) -> None:
    if plain_path(path) != path:
        raise ValueError(f"not an absolute path in its plainest form: {path!r}")


def _vpasswd_line(mailbox: site.Mailbox) -> vpasswd.VpasswdLine:
    return vpasswd.VpasswdLine(
        0,
        mailbox.name,
        mailbox.password_hash,
        mailbox.apop_uid,
        mailbox.flags,
        mailbox.comment,
        mailbox.directory,
        mailbox.quota_text,
        mailbox.clear_text,
    )
