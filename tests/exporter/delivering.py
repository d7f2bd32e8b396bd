"""What becomes of a message: models of qmail-lspawn, qmail-local and vdelivermail.

They read the exported files with nothing of vpopsql but its cdb reader, which is tested beside
another one, and know only what mail needs of each program.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from vpopsql.qmail import cdb

VDELIVERMAIL = "| /home/vpopmail/bin/vdelivermail "
BOUNCE_MAIL, V_OVERRIDE, DELETE_SPAM = 0x10, 0x2000, 0x8000

Outcome = tuple[str, ...]
"""What happens, and where."""


@dataclass(frozen=True)
class Assigned:
    """What users/cdb says of an address."""

    user: str
    home: str
    dash: str
    ext: str


class Host:
    """A qmail host, by its files."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files
        self._users = _first_of_each(cdb.read(files["/var/qmail/users/cdb"]))
        self._virtual = dict(
            line.split(":", 1)
            for line in files["/var/qmail/control/virtualdomains"].decode().split("\n")
            if ":" in line and not line.startswith("#")
        )

    def deliver(self, local: str, domain: str) -> Outcome:
        """Return what becomes of a message to ``local@domain``."""
        prepend = self._virtual.get(domain.lower(), "")
        assigned = self.look_up(f"{prepend}-{local}" if prepend else local)
        return self._local(assigned, domain.lower()) if assigned else ("no user", local)

    def look_up(self, local: str) -> Assigned | None:
        """Return what users/cdb says: the whole address first, then ever shorter beginnings."""
        lowered = local.lower().encode()
        if found := self._users.get(b"!" + lowered + b"\0"):
            return _assigned(found, "")
        last_characters = self._users[b""]
        for end in range(len(lowered), -1, -1):
            if not end or lowered[end - 1 : end] in last_characters:
                found = self._users.get(b"!" + lowered[:end])
                if found is not None:
                    return _assigned(found, local[end:])
        return None

    # qmail-local

    def _local(self, to: Assigned, host: str) -> Outcome:
        safe = to.ext.lower().replace(".", ":")
        candidates = [f".qmail{to.dash}{safe}"]
        candidates += [
            f".qmail{to.dash}{safe[:end]}default"
            for end in range(len(safe), -1, -1)
            if not end or safe[end - 1] == "-"
        ]
        path = next((p for c in candidates if (p := f"{to.home}/{c}") in self.files), None)
        if path is None:
            return ("no mailbox",) if to.dash else ("maildir", f"{to.home}/Maildir/")
        lines = self.files[path].decode().splitlines()
        if len(lines) == 1 and lines[0].startswith(VDELIVERMAIL):
            return self._vdelivermail(to.ext.lower(), host, lines[0])
        return ("qmail's instructions", path, *lines)

    # vdelivermail

    def _vdelivermail(self, user: str, host: str, line: str) -> Outcome:
        domain = self._users.get(f"!{host}-".encode())
        fields = self._account(_assigned(domain, "").home, user) if domain else None
        if fields is None:
            return ("catch-all", shlex.split(line)[-1])
        flags, home, quota = int(fields[3]), fields[5].rstrip("/"), fields[6]
        if flags & BOUNCE_MAIL:
            return ("bounce", user)
        if (lines := self.files.get(f"{home}/.qmail")) is not None:
            return ("vdelivermail's instructions", f"{home}/.qmail", *lines.decode().splitlines())
        directory = _assigned(domain, "").home if domain else ""
        care = [f"quota {quota}"] if quota not in {"", "NOQUOTA"} else []
        care += ["no spam"] if self._deletes_spam(directory, flags) else []
        return ("maildir", f"{home}/Maildir/", *care)

    def _account(self, directory: str, user: str) -> list[str] | None:
        lines = self.files[f"{directory}/vpasswd"].decode().splitlines()
        found = [line.split(":") for line in lines if line.startswith(f"{user}:")]
        return found[0] if found else None

    def _deletes_spam(self, directory: str, flags: int) -> bool:
        defaults = self.files.get("/home/vpopmail/etc/vlimits.default", b"")
        limits = self.files.get(f"{directory}/.qmailadmin-limits", defaults).decode().splitlines()
        return bool(flags & DELETE_SPAM) or ("delete_spam" in limits and not flags & V_OVERRIDE)


def _first_of_each(records: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    return dict(reversed(records))


def _assigned(data: bytes, rest: str) -> Assigned:
    user, _, _, home, dash, ext = data.decode().split("\0")
    return Assigned(user, home, dash, ext + rest)
