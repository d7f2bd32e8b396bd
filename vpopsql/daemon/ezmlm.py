"""Running ezmlm-make, the program of ezmlm-idx that makes and changes mailing lists.

It is run without a shell, as the user that owns the domain, and told to put its dot-qmail files
into a directory of our own: they are read from there, to become rows, and never read by qmail.

Source: the manual of ezmlm-make 0.53 to 7: ``ezmlm-make [-switches] dir dot local host``.
"""

import errno
import os
import re
import secrets
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import structlog

from vpopsql.qmail import dotqmail
from vpopsql.services.dotqmail_changes import Content
from vpopsql.services.list_changes import MailingList
from vpopsql.tree import TEMP_PREFIX, EntryType, Tree, UnsafePath

TIMEOUT_S = 30
_FILE_MAX = 64 * 1024
# c, C: another template, which could have any lines; e, E: editing or not is not the client's
# choice; v, V: show the version and do nothing. Those with a digit take a value.
_NO_SWITCH = re.compile(r"[^A-Za-z]|[cCeEvV]")

_log = structlog.get_logger("vpopsql.daemon")


def switches(options: Iterable[str]) -> str:
    """Return what is left of a client's options: letters that are switches of ezmlm-make."""
    given = (option for option in options if option.startswith("-"))
    return "".join(_NO_SWITCH.sub("", option) for option in given)


class EzmlmMake:
    """The program, and the site that it works on."""

    def __init__(self, program: str, tree: Tree) -> None:
        self._program = program
        self._tree = tree
        self._root = tree.root.rstrip("/")

    @contextmanager
    def making(self, of: MailingList, letters: str) -> Iterator[dict[str, Content]]:
        """Make a list's directory; give its dot-qmail files; on failure take it away again.

        :raises FileExistsError: something is there already.
        :raises OSError: the program failed.
        """
        if self._tree.exists(of.directory):
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), of.directory)
        try:
            yield self._run(of, f"-{letters}" if letters else "")
        except BaseException:
            with suppress(OSError, UnsafePath):
                self._tree.remove_tree(of.directory)
            raise

    def edit(self, of: MailingList, letters: str) -> dict[str, Content]:
        """Change a list's directory; return its dot-qmail files, all of them.

        :raises OSError: the program failed.
        """
        return self._run(of, f"-e{letters}")

    def _run(self, of: MailingList, switch: str) -> dict[str, Content]:
        owner = of.domain.uid, of.domain.gid
        scratch = f"{of.domain.directory.rstrip('/')}/{TEMP_PREFIX}{secrets.token_hex(8)}"
        self._tree.make_dir(scratch, owner=owner, durable=False)
        try:
            dot = f"{self._tree.root.rstrip('/')}{scratch}/{dotqmail.filename_for(of.name)}"
            directory = f"{self._tree.root.rstrip('/')}{of.directory}"
            words = [self._program, *filter(None, [switch]), directory, dot]
            self._execute([*words, of.name, of.domain.name], of)
            self._settle(of, dot)
            return dict(self._files(scratch, of))
        finally:
            self._tree.remove_tree(scratch)

    def _execute(self, command: list[str], of: MailingList) -> None:
        is_root = os.geteuid() == 0
        try:
            done = subprocess.run(
                command,
                check=False,
                cwd=f"{self._tree.root.rstrip('/')}{of.domain.directory}",
                env={"PATH": "/usr/bin:/bin"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT_S,
                umask=0o077,
                user=of.domain.uid if is_root else None,
                group=of.domain.gid if is_root else None,
                extra_groups=() if is_root else None,
            )
        except subprocess.TimeoutExpired:
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
        if done.returncode:
            _log.error("ezmlm-make failed", code=done.returncode, error=done.stderr[-500:])
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def _settle(self, of: MailingList, dot: str) -> None:
        """Tell the list's own files where its dot-qmail files are, and what qmail calls it."""
        owner = of.domain.uid, of.domain.gid
        final = f"{of.domain.directory.rstrip('/')}/{dotqmail.filename_for(of.name)}"
        with suppress(FileNotFoundError):
            config = self._tree.read(f"{of.directory}/config", _FILE_MAX)
            settled = config.replace(os.fsencode(dot), os.fsencode(final))
            self._tree.write(f"{of.directory}/config", settled)
        if self._tree.exists(f"{of.directory}/inlocal"):
            # qmail puts the domain before the name, as users/assign has it.
            inlocal = f"{of.domain.name}-{of.name}\n".encode()
            self._tree.write(f"{of.directory}/inlocal", inlocal, owner=owner)

    def _files(self, scratch: str, of: MailingList) -> Iterator[tuple[str, Content]]:
        """Give name and content of each dot-qmail file; ezmlm-make makes links into the list."""
        for entry in self._tree.list(scratch):
            name = dotqmail.alias_of(entry.name)
            if name is None:
                continue
            path = f"{scratch}/{entry.name}"
            if entry.type is EntryType.LINK:
                path = self._tree.read_link(path).removeprefix(self._root)
                if not path.startswith(f"{of.directory}/"):
                    raise UnsafePath(f"a link out of the list: {path!r}")
            data = self._tree.read(path, _FILE_MAX)
            file = dotqmail.parse(data.replace(os.fsencode(self._root), b""))
            yield name, Content(file.lines, file.final_newline)
