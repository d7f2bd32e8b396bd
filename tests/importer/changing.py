"""A sample site both in a tree and in a database, and ways to change either of them."""

import os
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Executable

from tests import sites
from vpopsql.config import Config, Passwords, Paths
from vpopsql.daemon.delivery import make_rules
from vpopsql.db import Database
from vpopsql.importer.backend import Choices
from vpopsql.importer.codes import Code
from vpopsql.importer.origin import Origin, Store
from vpopsql.importer.plan import Plan, make_plan
from vpopsql.importer.states import State
from vpopsql.model import CatchAll, Flag
from vpopsql.proof import Proof, prove
from vpopsql.qmail import assign, vpasswd
from vpopsql.qmail.lines import decode
from vpopsql.quota import Quota
from vpopsql.services import dotqmail_changes
from vpopsql.services.account_changes import Secret
from vpopsql.services.domain_changes import NewDomains
from vpopsql.services.domains import lock_domain
from vpopsql.services.dotqmail_changes import Content, Place
from vpopsql.services.rights import Actor

HOME = "/home/vpopmail"
DOMAIN = f"{HOME}/domains/example.com"
ADMIN = Actor(1, "admin", 1, "root.example", "/d", "/d/admin", Flag.SA_ADMIN, HOME)
SECRET = Secret("$1$Sa1tSa1t$jIAWQh25ZR2Tn11uDIhCr0", None)
QUOTA = Quota(10_000_000, 100)
NEW_DOMAINS = NewDomains((89, 89), CatchAll.BOUNCE)
KEEPING = {State.EQUAL, State.KEPT}

ASSIGN = "var/qmail/users/assign"
RCPTHOSTS = "var/qmail/control/rcpthosts"
VIRTUALDOMAINS = "var/qmail/control/virtualdomains"
LOCALS = "var/qmail/control/locals"
IP_MAP = "home/vpopmail/etc/ip_alias_map"
DEFAULT_LIMITS = "home/vpopmail/etc/vlimits.default"
DEFAULT_DOMAIN = "home/vpopmail/etc/defaultdomain"
SITE_COUNTER = "home/vpopmail/domains/.dir-control"
VPASSWD = "home/vpopmail/domains/example.com/vpasswd"


class Changing:
    """The site below ``root``, to be imported into ``database``."""

    def __init__(self, database: Database, root: Path) -> None:
        self.database = database
        self.root = root
        self.origin = Origin(Store.TREE, root / "var/qmail", root / "home/vpopmail")

    # --- the tree ---------------------------------------------------------------------------

    def write(self, file: str, data: bytes) -> None:
        """Write a file; its cdb, if it has one, is made anew, as vpopmail does it."""
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        lines = [line for line in decode(data).split("\n") if line not in {".", ""}]
        if path.name == "vpasswd":
            path.with_name("vpasswd.cdb").write_bytes(vpasswd.compile_cdb(lines))
        elif path.name == "assign":
            path.with_name("cdb").write_bytes(assign.compile_cdb(lines))

    def append(self, file: str, line: bytes) -> None:
        data = self.read(file) if (self.root / file).exists() else b""
        self.write(file, data + line + b"\n")

    def insert(self, file: str, line: bytes) -> None:
        """Put a line before all others."""
        self.write(file, line + b"\n" + self.read(file))

    def replace(self, file: str, old: bytes, new: bytes) -> None:
        data = self.read(file)
        assert old in data
        self.write(file, data.replace(old, new))

    def damage(self, file: str, old: bytes, new: bytes) -> None:
        """Replace something in a text; its cdb stays as it is."""
        data = self.read(file)
        assert old in data
        (self.root / file).write_bytes(data.replace(old, new))

    def drop(self, file: str, beginning: bytes) -> None:
        """Remove the lines that begin so."""
        lines = self.lines(file)
        kept = [line for line in lines if not line.startswith(beginning)]
        assert len(kept) < len(lines)
        self.write(file, b"".join(kept))

    def read(self, file: str) -> bytes:
        return (self.root / file).read_bytes()

    def lines(self, file: str) -> list[bytes]:
        return self.read(file).splitlines(keepends=True)

    def remove(self, file: str) -> None:
        (self.root / file).unlink()

    def take(self, file: str) -> bytes:
        """Remove a file; return what was in it."""
        data = self.read(file)
        self.remove(file)
        return data

    def log_in(self, home: str, ip: bytes, at: int) -> None:
        """Note a login as vpopmail does; ``at``: Unix seconds."""
        self.write(f"{home[1:]}/lastauth", ip)
        os.utime(self.root / home[1:] / "lastauth", (at, at))

    def drop_domain(self, name: bytes) -> None:
        """Remove a domain as far as qmail knows it."""
        self.drop(ASSIGN, b"+" + name + b"-:")
        self.drop(RCPTHOSTS, name)
        self.drop(VIRTUALDOMAINS, name)

    def add_domain(self, name: bytes, real: bytes, directory: str) -> None:
        """Add a domain or alias domain as far as qmail knows it."""
        line = b"+%s-:%s:89:89:%s:-::" % (name, real, directory.encode())
        self.insert(ASSIGN, line)
        self.append(RCPTHOSTS, name)
        self.append(VIRTUALDOMAINS, name + b":" + name)

    # --- the database -----------------------------------------------------------------------

    def do(self, service: Callable[..., object], *arguments: object) -> None:
        """Do what a client of the daemon would do."""
        with self.database.writer() as session:
            service(session, ADMIN, *arguments)

    def write_file(self, name: str, *lines: str, home: str = DOMAIN) -> None:
        """Write a dot-qmail file as a client of the daemon would do."""
        with self.database.writer() as session:
            domain = lock_domain(session, "example.com")
            place = Place(domain, None, home, name)
            dotqmail_changes.set_file(session, ADMIN, RULES, place, Content(lines))

    def sql(self, statement: Executable) -> None:
        """Change the database behind the services' back."""
        with self.database.writer() as session:
            session.execute(statement)

    # --- the import -------------------------------------------------------------------------

    def plan(
        self,
        *,
        update: bool = False,
        accepted: Collection[Code] = (),
        choices: Choices | None = None,
    ) -> Plan:
        scanned = sites.scan_tree(self.root, choices)
        with self.database.reader() as session:
            return make_plan(session, scanned, self.origin.name, update=update, accepted=accepted)

    def update(self, *, accepted: Collection[Code] = (), choices: Choices | None = None) -> Plan:
        """Import the site, or what has changed in it."""
        return sites.import_tree(
            self.database,
            self.root,
            choices,
            source=self.origin.name,
            update=True,
            accepted=accepted,
        )

    def prove(self, *, clear_text: bool = True, root: Path | None = None) -> Proof:
        """Compare the database with the source, wherever that is now."""
        root = root or self.root
        origin = replace(self.origin, qmail=root / "var/qmail", vpopmail=root / "home/vpopmail")
        config = Config(
            paths=Paths(root=str(root)), passwords=Passwords(store_clear_text=clear_text)
        )
        scanned = origin.read(config)
        with self.database.snapshot() as session:
            return prove(session, origin, config, scanned, name=self.origin.name)


def import_base(database: Database, unpack: Callable[[str], Path]) -> Changing:
    """Return the sample site `base`, imported."""
    site = Changing(database, unpack("base"))
    site.update()
    return site


RULES = make_rules(HOME, ())


def states(plan: Plan) -> dict[str, dict[str, int]]:
    """Return how many things of each kind are in which state, without what is equal."""
    found = {
        kind: {state.value: n for state, n in part.items() if n and state is not State.EQUAL}
        for kind, part in plan.parts.items()
    }
    return {kind: part for kind, part in found.items() if part}


def changes(plan: Plan) -> list[str]:
    return [f"{change.domain}: {change}" for change in plan.changes]


def kept(plan: Plan) -> list[str]:
    """Return what the plan says of what stays as the database has it."""
    return [
        f"{finding.text}: {finding.reason}"
        for finding in plan.evidence.findings
        if finding.code is Code.KEPT
    ]


def conflicts(plan: Plan) -> list[str]:
    return [
        f"{finding.text}: {finding.reason}"
        for finding in plan.evidence.findings
        if finding.code in {Code.DIFFERS, Code.TAKEN}
    ]
