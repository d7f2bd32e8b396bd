"""Reading the homes of a domain's accounts: last logins and dot-qmail files.

Each home is listed once and only what is there is opened. Nothing is changed and no symbolic
link is followed.
"""

import ipaddress
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from vpopsql.directory import Directory, Places, components, relative_to
from vpopsql.importer import site
from vpopsql.importer.backend import Head
from vpopsql.importer.codes import Code
from vpopsql.importer.dotqmails import DotQmailReader, is_dot_qmail
from vpopsql.importer.evidence import Evidence
from vpopsql.importer.files import find_unsafe, report_unreadable
from vpopsql.qmail.lines import decode
from vpopsql.qmail.vpasswd import VpasswdLine

EPOCH = datetime.fromtimestamp(0, UTC)

_LASTAUTH = "lastauth"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
_LISTED = 5  # names shown of many


class Home(NamedTuple):
    """What a mailbox's directory holds."""

    last_auth: site.LastAuth | None = None
    files: tuple[site.DotQmailFile, ...] = ()


class HomeReader:
    """Reads the homes of one domain's accounts.

    :param directory: that of the domain.
    """

    def __init__(
        self, head: Head, directory: Directory, places: Places, evidence: Evidence
    ) -> None:
        self._head = head
        self._directory = directory
        self._places = places
        self._evidence = evidence
        self._with_lastauth = True
        self._dotqmails = DotQmailReader(places, evidence)
        self._files_tally = evidence.tally("mailboxes' .qmail*", directory.shown)
        self._lastauth_tally = evidence.tally("mailboxes' lastauth", directory.shown)

    def read(self, lines: Iterable[VpasswdLine], *, with_lastauth: bool = True) -> dict[str, Home]:
        """Return the homes by the names of their accounts; empty ones for those missing.

        :param with_lastauth: whether ``lastauth`` counts, or a table has the last logins.
        """
        self._with_lastauth = with_lastauth
        homes = {}
        for line, parent, path in self._opened(lines):
            try:
                home = self._home(parent, path)
            except (FileNotFoundError, NotADirectoryError) as error:
                shown = f"{self._directory.shown}: {line.name}"
                is_file = isinstance(error, NotADirectoryError)
                what = "no directory, but a file" if is_file else "missing"
                reason = f"the directory of {line.name} is {what}"
                self._evidence.find(Code.NO_HOME, shown, 0, line.directory, reason)
                home = Home()
            except OSError as error:
                report_unreadable(self._evidence, error, f"the directory of {line.name}")
                home = Home()
            homes[line.name] = home
        without = sorted(name for name, home in homes.items() if home.last_auth is None)
        if without and with_lastauth:
            more = ", …" if len(without) > _LISTED else ""
            shown_names = ", ".join(without[:_LISTED])
            reason = f"{len(without)} accounts have no lastauth: {shown_names}{more}"
            self._evidence.find(Code.NO_LASTAUTH, self._directory.shown, 0, "", reason)
        return homes

    def _opened(
        self, lines: Iterable[VpasswdLine]
    ) -> Iterator[tuple[VpasswdLine, Directory | None, str]]:
        """Return each account with an open directory and the path of its home below that.

        Homes of one bucket come together, so that the bucket is opened once. Without a
        directory the path is absolute.
        """
        buckets: defaultdict[str | None, list[tuple[VpasswdLine, str]]] = defaultdict(list)
        for line in lines:
            below = relative_to(line.directory, self._head.directory)
            if below is None:
                buckets[None].append((line, line.directory))
            else:
                *bucket, last = components(below) or [""]
                buckets["/".join(bucket)].append((line, last))
        for bucket_path, homes in buckets.items():
            try:
                parent = None if bucket_path is None else self._directory.enter(bucket_path)
            except OSError:
                # Each home is tried, and reported, by itself.
                for line, last in homes:
                    yield line, self._directory, f"{bucket_path}/{last}"
                continue
            for line, path in homes:
                yield line, parent, path
            if parent is not None:
                parent.close()

    def _home(self, parent: Directory | None, path: str) -> Home:
        with self._places.open(path) if parent is None else parent.enter(path) as directory:
            find_unsafe(self._evidence, directory)
            dot_qmails = []
            found = None
            for entry in directory.entries():
                name = entry.name
                if (
                    name == _LASTAUTH
                    and self._with_lastauth
                    and entry.is_file(follow_symlinks=False)
                ):
                    found = self._last_auth(directory)
                elif is_dot_qmail(name):
                    dot_qmails.append(entry)
                elif name == "Maildir":
                    self._evidence.maildirs += 1
                else:
                    self._evidence.leave("in mailbox directories", f"{directory.shown}/{name}")
            files = self._dotqmails.read(directory, dot_qmails, self._files_tally)
        return Home(found, files)

    def _last_auth(self, directory: Directory) -> site.LastAuth | None:
        shown = f"{directory.shown}/{_LASTAUTH}"
        tally = self._lastauth_tally
        tally.files += 1
        tally.lines += 1
        try:
            data, mtime = directory.read_with_mtime(_LASTAUTH)
        except OSError as error:
            tally.rejected += 1
            report_unreadable(self._evidence, error, "the last login")
            return None
        tally.imported += 1
        return last_auth(decode(data).removesuffix("\n"), mtime, shown, self._evidence)


def last_auth(
    text: str, timestamp: int, shown: str, evidence: Evidence, *, key: str = ""
) -> site.LastAuth:
    """Return a last login as its source has it, with doubts reported.

    :param text: the address.
    :param timestamp: Unix seconds.
    """
    line = 0 if key else 1
    if not is_ip(text):
        evidence.find(Code.ODD_LASTAUTH, shown, line, text, "it is no IP address", key=key)
    try:
        at = datetime.fromtimestamp(timestamp, UTC)
    except (ValueError, OverflowError, OSError):
        at = EPOCH
        reason = "its time is out of range; imported as 1970"
        evidence.find(Code.ODD_LASTAUTH, shown, 0, str(timestamp), reason, key=key)
    return site.LastAuth(at, text)


def is_ip(text: str) -> bool:
    """Say whether ``lastauth`` names an address; some programs write colons as underscores."""
    if _IPV4.fullmatch(text):  # nearly all of a million do: ten times as quick
        return True
    try:
        ipaddress.ip_address(text.replace("_", ":"))
    except ValueError:
        return False
    return True
