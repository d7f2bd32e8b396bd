"""Writing the files in domains' directories and in those of their mailboxes."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence

from vpopsql.exporter import render
from vpopsql.exporter.render import Link
from vpopsql.exporter.snapshot import DomainState, Part
from vpopsql.exporter.stamps import Stamp, Stamps, are_worth_it
from vpopsql.exporter.writing import Writer
from vpopsql.pieces import Content
from vpopsql.tree import Write

DOMAIN_DIR_MODE = 0o700

_AT_ONCE = 100
"""Domains whose files are written together, with one wait for the disk."""


class DomainWriter:
    """Writes the files of domains.

    :param vpopmail: vpopmail's home, as the database has it.
    :param stamps: where files that are worth it get one.
    :param accounts: contents by site path, for the domains of which only some mailboxes are known.
    :param gone: site paths of files to be removed, unless the domains have them.
    """

    def __init__(
        self,
        writer: Writer,
        vpopmail: str,
        stamps: Stamps,
        accounts: Mapping[str, Content],
        gone: Collection[str],
    ) -> None:
        self._writer = writer
        self._vpopmail = vpopmail
        self._stamps = stamps
        self._accounts = accounts
        self._gone = set(gone)

    def write(self, domains: Iterable[DomainState]) -> None:
        """Write the files of domains, and make the directories that are missing."""
        new: list[DomainState] = []
        known: list[DomainState] = []
        for domain in domains:
            (known if self._writer.tree.exists(domain.directory) else new).append(domain)
        # Nothing leads to a new directory yet: one wait for the disk does for many of them.
        durable = len(new) <= _AT_ONCE
        self._write_batches(new, durable=durable)
        if not durable:
            os.sync()
        self._write_batches(known, durable=True)
        for path in sorted(self._gone):
            self._writer.remove(path)

    def _write_batches(self, domains: Sequence[DomainState], *, durable: bool) -> None:
        for start in range(0, len(domains), _AT_ONCE):
            self._write_batch(domains[start : start + _AT_ONCE], durable=durable)

    def _write_batch(self, domains: Sequence[DomainState], *, durable: bool) -> None:
        writes: list[Write] = []
        for domain in domains:
            owner = (domain.uid, domain.gid)
            files = self._files(domain)
            self._gone.difference_update(files)
            directories = {domain.directory, *(path.rpartition("/")[0] for path in files)}
            for directory in directories:
                self._writer.make_dir(directory, DOMAIN_DIR_MODE, owner, durable=durable)
            links = {path for path in files if self._writer.is_link(path)}
            self._writer.sweep(*sorted(directories))
            for path, content in files.items():
                if isinstance(content, Link):
                    self._writer.link(path, content.target)
                elif path in links:
                    self._writer.write_over_link(path, content, owner)
                else:
                    writes.append(Write(path, content, owner=owner))
        self._writer.write_many(writes, durable=durable)
        for domain in domains:
            self._stamp(domain)

    def _files(self, domain: DomainState) -> dict[str, Content | Link]:
        files: dict[str, Content | Link] = {**render.domain_files(domain, self._vpopmail)}
        if Part.MAILBOXES in domain.parts:
            vpasswd = f"{domain.directory}/{render.VPASSWD}"
            files |= {path: self._accounts[path] for path in (vpasswd, f"{vpasswd}.cdb")}
        return files

    def _stamp(self, domain: DomainState) -> None:
        is_worth_it = bool(domain.changed) or are_worth_it(len(domain.accounts))
        is_whole = Part.ACCOUNTS in domain.parts
        if domain.mark and (Part.MAILBOXES in domain.parts or (is_whole and is_worth_it)):
            self._stamps.set(domain.name, Stamp(domain.mark, domain.directory))
