"""A made-up site as rows of a database, with a past: logins, measurements, an audit log.

An import would give the rows of the site alone, and take its time. What has happened on it is made
up here, from the seed and each domain's name: a sixth of the accounts is newer than the site's
import, most mailboxes were measured twice, some aliases lead to each other, in circles, or to
somebody who has gone.
"""

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select, text

from scripts.sites.chance import Shares, happens, numbers
from scripts.sites.shape import GID, HOME, UID, Domain, Frame, Lines, Mailbox
from scripts.sites.synthesis import NOW, Size, Synthesis
from vpopsql.bulk import insert_rows
from vpopsql.db import Database
from vpopsql.model import Base, CatchAll, UsageSource
from vpopsql.names import sort_key
from vpopsql.qmail import dotqmail
from vpopsql.quota import Quota

_DOMAINS_AT_ONCE = 1000
_RCPTHOSTS_MAX = 50
_MEASURED_AGO = (1.2, 33.2)
"""Days since the mailboxes were measured; both times of 33 days, so that they grow."""

_SERVICES = Shares({"imap": 55, "pop3": 25, "any": 15, "smtp": 5})
_CHANGES = Shares({"nothing": 90, "flags": 5, "password": 5})

COLUMNS = {
    "domains": ("id", "directory", "uid", "gid", "created_at", "catchall", "catchall_target"),
    "domain_names": ("name", "domain_id", "is_alias", "sort_key", "in_morercpthosts"),
    "mailboxes": (
        *("id", "domain_id", "name", "password_hash", "clear_text", "apop_uid", "flags"),
        *("comment", "directory", "quota_bytes", "quota_messages", "quota_text"),
        *("created_at", "password_changed_at"),
    ),
    "dotqmail_files": ("id", "domain_id", "mailbox_id", "name"),
    "dotqmail_lines": ("file_id", "position", "line", "kind"),
    "domain_limits": (
        *("domain_id", "max_popaccounts", "max_aliases", "max_mailinglists", "disk_quota"),
        *("default_quota", "disable_webmail", "disable_pop"),
    ),
    "last_auths": ("mailbox_id", "service", "at", "remote_ip"),
    "mailbox_usage": ("mailbox_id", "measured_at", "bytes", "messages", "source"),
    "domain_usage": (
        *("domain", "measured_at", "mailboxes", "measured", "bytes", "messages", "aliases"),
    ),
    "audit_log": (
        *("at", "actor", "actor_ip", "channel", "action", "object_type", "object", "changes"),
    ),
}
"""Of each table, in the order in which they can be filled."""

Row = tuple[object, ...]


def fill(database: Database, size: Size) -> dict[str, int]:
    """Make a site up in a database that has none; return the number of rows of each table."""
    site = Synthesis(size)
    writer = _Writer(size.seed, site.frame)
    made: dict[str, int] = defaultdict(int)
    with database.writer() as session:
        for rows in writer.rows(site.domains()):
            for table, columns in COLUMNS.items():
                insert_rows(session, Base.metadata.tables[table], columns, rows[table])
                made[table] += len(rows[table])
        if not database.is_sqlite:
            for table in ("domains", "mailboxes", "dotqmail_files"):
                last = select(func.max(Base.metadata.tables[table].c.id)).scalar_subquery()
                sequence = func.pg_get_serial_sequence(table, text("'id'"))
                session.execute(select(func.setval(sequence, last)))
    return dict(made)


@dataclass(slots=True)
class _Writer:
    """Turns domains into rows; keys count from 1."""

    seed: int
    frame: Frame
    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    mailbox_id: int = 0
    file_id: int = 0
    table: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))

    def rows(self, domains: Iterator[Domain]) -> Iterator[dict[str, list[Row]]]:
        """Give the rows of some domains at a time, by table."""
        names = 0
        for number, domain in enumerate(domains, 1):
            self._domain(number, domain, names)
            names += len(domain.names)
            if number % _DOMAINS_AT_ONCE == 0:
                yield self._take()
        yield self._take()

    def _take(self) -> dict[str, list[Row]]:
        taken, self.table = self.table, defaultdict(list)
        return taken

    def _ago(self, days: float) -> datetime:
        return self.now - timedelta(days=days)

    def _domain(self, number: int, domain: Domain, names: int) -> None:
        draw = numbers(self.seed, f"past of {domain.name}")
        created = self._ago(draw.uniform(1, 700)) if happens(draw, 15) else None
        catchall, target, default = _catchall(domain.catchall)
        head = (number, domain.directory, UID, GID, created, catchall, target)
        self.table["domains"].append(head)
        for at, name in enumerate(domain.names, names):
            row = (name, number, name != domain.name, sort_key(name), at >= _RCPTHOSTS_MAX)
            self.table["domain_names"].append(row)
        if domain.limits is not None:
            values = (domain.limits[name] for name in COLUMNS["domain_limits"][1:])
            self.table["domain_limits"].append((number, *values))
        if default:
            self._file(number, None, "default", default)
        if created is not None:
            self._audit(created, "add_domain", "domain", domain.name, {})
        held = [self._mailbox(draw, number, domain.name, each) for each in domain.mailboxes]
        files = {**domain.forwards, **domain.lists, **_misled(draw, number, domain)}
        for name, lines in files.items():
            self._file(number, None, name, lines)
            if happens(draw, 10):
                path = f"{domain.directory}/.qmail-{name}"
                change = {"lines": [None, "\n".join(lines)]}
                at = self._ago(draw.uniform(0, 700))
                self._audit(at, "write_file", "dotqmail", path, change)
        self._domain_usage(domain, held, len(files))

    def _mailbox(
        self, draw: random.Random, domain_id: int, domain: str, box: Mailbox
    ) -> int | None:
        """Add an account; return what it holds, None if nobody measured it."""
        self.mailbox_id += 1
        created = self._ago(draw.uniform(0, 700)) if happens(draw, 16) else None
        changed = created
        address = f"{box.name}@{domain}"
        if created is not None:
            self._audit(created, "add_user", "user", address, {"quota": [None, box.quota_text]})
        match _CHANGES.pick(draw):
            case "flags":
                at = self._ago(draw.uniform(0, 200))
                self._audit(at, "mod_user", "user", address, {"flags": [0, box.flags]})
            case "password":
                changed = self._ago(draw.uniform(0, 200))
                mask = {"password_hash": ["***", "***"]}
                self._audit(changed, "mod_user", "user", address, mask)
        if happens(draw, 2):
            gone = f"former{self.mailbox_id}@{domain}"
            self._audit(self._ago(draw.uniform(0, 700)), "del_user", "user", gone, {})
        quota = Quota.parse(box.quota_text)
        account = (box.password_hash, box.clear_text, box.apop_uid, box.flags, box.comment)
        limit = (quota.bytes, quota.messages, box.quota_text)
        self.table["mailboxes"].append(
            (
                *(self.mailbox_id, domain_id, box.name, *account, box.directory, *limit),
                *(created, changed),
            )
        )
        if box.dotqmail:
            self._file(domain_id, self.mailbox_id, "", box.dotqmail)
        self._logins(draw, box)
        return self._usage(draw, quota)

    def _logins(self, draw: random.Random, box: Mailbox) -> None:
        if box.login is None:
            return
        # The site is as old as its logins say: they move with the day it is made.
        at = datetime.fromtimestamp(box.login.at, UTC) + (
            self.now - datetime.fromtimestamp(NOW, UTC)
        )
        service = "any" if box.login.address == "0.0.0.0" else _SERVICES.pick(draw)  # noqa: S104 - as vpopmail notes it
        address = box.login.address.replace("_", ":")
        self.table["last_auths"].append((self.mailbox_id, service, at, address))
        if service == "imap" and happens(draw, 30):
            earlier = at - timedelta(days=draw.uniform(0, 90))
            self.table["last_auths"].append((self.mailbox_id, "smtp", earlier, address))

    def _usage(self, draw: random.Random, quota: Quota) -> int | None:
        if happens(draw, 10):
            return None
        held = int(draw.lognormvariate(16, 2))
        if quota.bytes is not None:
            held = min(held, int(quota.bytes * 1.02))
        for days, part in zip(_MEASURED_AGO, (1.0, draw.uniform(0.6, 1.05)), strict=True):
            size = int(held * part)
            at = self._ago(days + draw.uniform(0, 0.1))
            row = (self.mailbox_id, at, size, size // 40_000, UsageSource.COUNT)
            self.table["mailbox_usage"].append(row)
        return held

    def _domain_usage(self, domain: Domain, held: list[int | None], aliases: int) -> None:
        known = [each for each in held if each is not None]
        for days in _MEASURED_AGO:
            size = int(sum(known) * (1 - days / 300))
            sums = (len(held), len(known), size, size // 40_000, aliases)
            self.table["domain_usage"].append((domain.name, self._ago(days), *sums))

    def _file(self, domain_id: int, mailbox_id: int | None, name: str, lines: Lines) -> None:
        self.file_id += 1
        self.table["dotqmail_files"].append((self.file_id, domain_id, mailbox_id, name))
        self.table["dotqmail_lines"].extend(
            (self.file_id, position, line, dotqmail.classify(line))
            for position, line in enumerate(lines, 1)
        )

    def _audit(
        self, at: datetime, action: str, kind: str, name: str, changes: dict[str, list[object]]
    ) -> None:
        who = ("postmaster@example.com", "192.0.2.1", "daemon")
        self.table["audit_log"].append((at, *who, action, kind, name, changes))


def _catchall(lines: Lines) -> tuple[CatchAll, str | None, Lines]:
    """Return the catch-all, its target, and the lines that are no catch-all of vpopmail's."""
    if not lines:
        return CatchAll.NONE, None, ()
    found = dotqmail.parse_catchall(lines[0], HOME)
    if found is None:
        return CatchAll.DOTQMAIL, None, lines
    return CatchAll(found.kind.value), found.target or None, ()


def _misled(draw: random.Random, number: int, domain: Domain) -> dict[str, Lines]:
    """Return aliases that lead to other aliases, in a circle, to nobody, and twice to somebody."""
    name = domain.name
    made: dict[str, Lines] = {}
    if happens(draw, 10):
        made["chain-a"], made["chain-b"] = (f"&chain-b@{name}",), (f"&postmaster@{name}",)
    if happens(draw, 5):
        made["lost"] = (f"&former{draw.randrange(1_000_000)}@{name}",)
    if happens(draw, 1):
        made["twice"] = (f"&chain-c@{name}", f"&postmaster@{name}")
        made["chain-c"] = (f"&postmaster@{name}",)
    if number % 2000 == 0:
        made["ring-a"], made["ring-b"] = (f"&ring-b@{name}",), (f"&ring-a@{name}",)
    return {alias: lines for alias, lines in made.items() if alias not in domain.forwards}
