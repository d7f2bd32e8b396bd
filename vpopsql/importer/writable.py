"""Whether the export will be able to write what was read, asked before anything is stored.

What an import has verified must never stop an export, which fails for the whole site. So every
value that becomes part of a line or of a path goes through the grammar that will write it. The
readers refuse such values where they find them, with file and line; this is the net below.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from vpopsql.importer import site
from vpopsql.importer.codes import Code
from vpopsql.importer.directory import plain_path
from vpopsql.importer.evidence import Evidence
from vpopsql.model import CatchAll
from vpopsql.qmail import assign, dircontrol, dotqmail, ipmap, vpasswd
from vpopsql.qmail.lines import encode, join_lines

_ASSIGN = "users/assign"
_NOT_RENDERED = {CatchAll.NONE, CatchAll.DOTQMAIL}


def find_unwritable(new: site.Site, evidence: Evidence) -> None:
    """Report everything of ``new`` that no file can hold."""
    writer = _Writer(new.vpopmail_dir, evidence)
    for domain in new.domains:
        writer.domain(domain)
    for file, lines in new.foreign_lines.items():
        writer.foreign(f"{new.qmail_dir}/{file}", file, [line.line for line in lines])
    writer.ip_mappings(new.ip_mappings)
    if new.counter is not None:
        writer.counter(f"{new.vpopmail_dir}/domains", new.counter)


class _Writer:
    """Makes the lines and throws them away."""

    def __init__(self, vpopmail_dir: str, evidence: Evidence) -> None:
        self._vpopmail_dir = vpopmail_dir
        self._evidence = evidence

    def domain(self, domain: site.Domain) -> None:
        directory = domain.directory
        with self._trying(_ASSIGN):
            _check_path(directory)
            for name in domain.names:
                assign.domain_line(name.name, domain.name.name, domain.uid, domain.gid, directory)
        for mailbox in domain.mailboxes:
            # The renderer's own text quotes the field, which may be a password.
            with self._trying(f"{directory}/vpasswd", f"the account {mailbox.name}"):
                _check_path(mailbox.directory)
                vpasswd.render_line(_vpasswd_line(mailbox))
            self._dotqmails(mailbox.directory, mailbox.files)
        self._dotqmails(directory, domain.files)
        if domain.catchall not in _NOT_RENDERED:
            with self._trying(f"{directory}/{dotqmail.DEFAULT_FILE}"):
                kind = dotqmail.CatchAllKind(domain.catchall.value)
                catchall = dotqmail.CatchAll(kind, domain.catchall_target or "")
                dotqmail.render_catchall(catchall, self._vpopmail_dir)
        if domain.counter is not None:
            self.counter(directory, domain.counter)

    def _dotqmails(self, home: str, files: tuple[site.DotQmailFile, ...]) -> None:
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
            self._evidence.find(Code.UNWRITABLE, path, 0, "", reason)


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
