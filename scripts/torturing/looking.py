"""What is there: in the database, and on the disks of the hosts, read by grammar alone.

Nothing of the exporter is used here, so that a mistake of its own would be seen.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from scripts.torturing import Defect
from scripts.torturing.ledger import Facts, Key, content
from vpopsql.model import (
    Domain,
    DomainLimits,
    DomainName,
    DotQmailFile,
    DotQmailLine,
    Mailbox,
)
from vpopsql.qmail import assign, cdb, control, dotqmail, limits, vpasswd
from vpopsql.qmail.lines import Malformed
from vpopsql.tree import TEMP_PREFIX

_OURS = ".vpopsql-"
_BOXES = ("cur", "new", "tmp")


@dataclass(slots=True)
class Rows:
    """What the database holds of one site, as far as files show it."""

    facts: Facts = field(default_factory=dict)
    directories: dict[str, str] = field(default_factory=dict)
    """The directory of each real domain."""
    homes: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    """The directory of each mailbox, by real domain and name."""
    names: dict[str, str] = field(default_factory=dict)
    """The real domain of each name."""


def read_rows(session: Session) -> Rows:
    """Return what the database holds."""
    rows = Rows()
    by_id: dict[int, str] = {}
    query = select(DomainName, Domain).join(Domain).order_by(DomainName.is_alias)
    for name, domain in session.execute(query):
        real = by_id.setdefault(domain.id, name.name)
        rows.names[name.name] = real
        if name.is_alias:
            rows.facts[Key("alias-domain", real, name.name)] = True
        else:
            rows.directories[real] = domain.directory
            rows.facts[Key("domain", real)] = ()
    for box in session.scalars(select(Mailbox)):
        domain_name = by_id[box.domain_id]
        rows.homes[domain_name][box.name] = box.directory
        if box.name == "postmaster":
            # A domain without one is half a domain.
            rows.facts[Key("domain", domain_name)] = ("postmaster",)
        else:
            key = Key("user", domain_name, box.name)
            rows.facts[key] = (box.comment, box.quota_bytes)
    lines = defaultdict(list)
    for line in session.scalars(select(DotQmailLine).order_by(DotQmailLine.position)):
        lines[line.file_id].append(line.line)
    for file in session.scalars(select(DotQmailFile).where(DotQmailFile.mailbox_id.is_(None))):
        key = Key("dotqmail", by_id[file.domain_id], file.name)
        rows.facts[key] = tuple(lines[file.id])
    for row in session.scalars(select(DomainLimits)):
        key = Key("limits", by_id[row.domain_id])
        rows.facts[key] = (row.max_popaccounts, row.max_aliases)
    return rows


def read_files(root: Path, rows: Rows) -> Facts:
    """Return the files and directories that clients have made and no row tells of."""
    facts: Facts = {}
    for domain, place in rows.directories.items():
        for path in Path(f"{root}{place}").iterdir():
            if path.name.startswith("."):
                continue
            if "note" in path.name:
                facts[Key("file", domain, path.name)] = content(path.read_bytes())
            elif "dir" in path.name:
                facts[Key("dir", domain, path.name)] = True
                for inside in path.iterdir():
                    if not inside.name.startswith(TEMP_PREFIX):
                        key = Key("file", domain, f"{path.name}/{inside.name}")
                        facts[key] = content(inside.read_bytes())
    return facts


def require_files(root: Path, rows: Rows) -> int:
    """Read every file that qmail and vpopmail read; return how many there are.

    :raises Defect: one is missing, cut off, or says something else than the database.
    """
    look = _Look(root, rows)
    look.site()
    for domain in rows.directories:
        look.domain(domain)
    return look.count


class _Look:
    def __init__(self, root: Path, rows: Rows) -> None:
        self._root = root
        self._rows = rows
        self.count = 0

    def _read(self, path: str) -> bytes:
        self.count += 1
        try:
            return Path(f"{self._root}{path}").read_bytes()
        except OSError as error:
            raise Defect(f"{path}: {error.strerror}") from error

    def _lines(self, path: str, parse: Callable[[bytes], Iterable[object]]) -> list[object]:
        data = self._read(path)
        found = list(parse(data))
        bad = [line for line in found if isinstance(line, Malformed)]
        if bad or (data and not data.endswith(b"\n")):
            raise Defect(f"{path}: cut off or malformed: {bad or data[-60:]}")
        return found

    def _cdb(self, path: str) -> dict[bytes, bytes]:
        try:
            return dict(cdb.read(self._read(path)))
        except ValueError as error:
            raise Defect(f"{path}: {error}") from error

    def site(self) -> None:
        """Look at qmail's files."""
        names = self._rows.names
        assigned: dict[str, str] = {}
        for line in self._lines("/var/qmail/users/assign", assign.parse):
            if isinstance(line, assign.Assignment):
                assigned[line.local.removesuffix("-")] = line.directory
        wanted = {name: self._rows.directories[real] for name, real in names.items()}
        self._same("users/assign", assigned, wanted)
        compiled = self._cdb("/var/qmail/users/cdb")
        self._same("users/cdb", {key for key in compiled if key}, {_key(n) for n in names})
        virtual = self._lines("/var/qmail/control/virtualdomains", control.parse_virtualdomains)
        self._same(
            "virtualdomains",
            {line.name for line in virtual if isinstance(line, control.VirtualDomain)},
            set(names),
        )
        accepted = self._lines("/var/qmail/control/rcpthosts", control.parse_hosts)
        hosts = {line.name for line in accepted if isinstance(line, control.Host)}
        more = "/var/qmail/control/morercpthosts.cdb"
        if Path(f"{self._root}{more}").exists():
            hosts |= {key.decode() for key in self._cdb(more)}
        self._same("rcpthosts", hosts, set(names))

    def domain(self, domain: str) -> None:
        """Look at what is in a domain's directory."""
        place = self._rows.directories[domain]
        boxes = self._rows.homes[domain]
        facts = self._rows.facts
        self._mailboxes(f"{place}/vpasswd", domain, vpasswd.parse)
        self._mailboxes(f"{place}/vpasswd.cdb", domain, vpasswd.parse_cdb)
        for home in boxes.values():
            for box in _BOXES:
                if not Path(f"{self._root}{home}/Maildir/{box}").is_dir():
                    raise Defect(f"{home}: has no Maildir/{box}")
        dotqmails = dict(self._dotqmails(place))
        rows = {
            key.name: value
            for key, value in facts.items()
            if key.kind == "dotqmail" and key.domain == domain
        }
        self._same(f"{place}/.qmail-*", dotqmails, rows)
        path = f"{place}/.qmailadmin-limits"
        wanted = facts.get(Key("limits", domain))
        if (wanted is not None) != Path(f"{self._root}{path}").exists():
            raise Defect(f"{path}: is there, or is not, against the database's {wanted}")
        if wanted is not None:
            values, doubtful = limits.parse(self._read(path))
            found = (values.get("max_popaccounts"), values.get("max_aliases"))
            if doubtful or found != wanted:
                raise Defect(f"{path}: {found} {doubtful}, in the database {wanted}")

    def _mailboxes(
        self, path: str, domain: str, parse: Callable[[bytes], Iterable[object]]
    ) -> None:
        is_text = not path.endswith(".cdb")
        found = self._lines(path, parse) if is_text else list(parse(self._read(path)))
        bad = [line for line in found if isinstance(line, Malformed)]
        if bad:
            raise Defect(f"{path}: {bad}")
        lines = [line for line in found if isinstance(line, vpasswd.VpasswdLine)]
        said = {line.name: (line.directory, line.comment) for line in lines}
        facts = self._rows.facts
        wanted = {
            name: (home, facts.get(Key("user", domain, name), ("postmaster",))[0])
            for name, home in self._rows.homes[domain].items()
        }
        self._same(path, said, wanted)

    def _dotqmails(self, place: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        for path in Path(f"{self._root}{place}").glob(".qmail-*"):
            if path.name == ".qmail-default":
                self._read(f"{place}/{path.name}")
                continue
            data = self._read(f"{place}/{path.name}")
            if not data.endswith(b"\n"):
                raise Defect(f"{path}: cut off")
            yield path.name.removeprefix(".qmail-"), tuple(dotqmail.parse(data).lines)

    @staticmethod
    def _same(what: str, found: object, wanted: object) -> None:
        if found == wanted:
            return
        if isinstance(found, Mapping) and isinstance(wanted, Mapping):
            pairs = {
                key: (found.get(key), wanted.get(key))
                for key in found.keys() | wanted.keys()
                if found.get(key) != wanted.get(key)
            }
            raise Defect(f"{what}: on disk and in the database: {pairs}")
        raise Defect(f"{what}: on disk {found}, in the database {wanted}")


def _key(name: str) -> bytes:
    return f"!{name}-".encode()
