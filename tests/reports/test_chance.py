"""On sites made by chance, the reports answer as obvious Python does, which walks every row."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import factories
from tests.reports.conftest import DES, MD5, NOW, SHA512, used
from vpopsql.db import Database
from vpopsql.model import CatchAll, DefaultLimits, Domain, DomainUsage, Flag
from vpopsql.reports.query import Question, rows
from vpopsql.reports.registry import REPORTS

Row = tuple[Any, ...]

DAY = timedelta(days=1)
MEBIBYTE = 1024 * 1024
NOBODY = "0.0.0.0"  # noqa: S104 - as vpopmail notes that nobody logged in
HASHES = {
    SHA512: "sha512-crypt",
    MD5: "md5-crypt",
    "{CRYPT}" + MD5: "md5-crypt",
    DES: "des",
    "$2b$12$" + 53 * "h": "bcrypt",
    "$argon2id$v=19$x": "argon2",
    "!" + SHA512: "locked",
    "": "empty",
    "odd": "unknown",
}
WEAK = {"des": True, "md5-crypt": True, "unknown": None}
ROLES = {"system": Flag.SA_ADMIN, "expert": Flag.SA_EXPERT, "domain": Flag.QA_ADMIN}
SWITCHES = {
    "no_pop": "disable_pop",
    "no_imap": "disable_imap",
    "no_passwd_chng": "disable_password_changing",
    "no_webmail": "disable_webmail",
    "no_relay": "disable_external_relay",
    "no_dialup": "disable_dialup",
    "no_smtp": "disable_smtp",
    "no_spamassassin": "disable_spamassassin",
    "delete_spam": "delete_spam",
    "no_maildrop": "disable_maildrop",
}
FILES = {
    "&friend@out.test": "forward",
    "away@OUT.test": "forward",
    "&ann@one.test": "alias",
    "&ann@other.test": "alias",
    "|/usr/bin/autorespond 1 2 msg dir": "robot",
    "|/usr/bin/ezmlm-send '/lists/news'": "list",
    "|/usr/bin/ezmlm-manage '/lists/news'": "list-part",
    "# nothing": "alias",
}


@dataclass(frozen=True)
class Use:
    """A measurement, so many days ago."""

    days: int
    bytes: int
    messages: int


@dataclass(frozen=True)
class Box:
    name: str
    hash: str
    clear: str | None
    flags: Flag
    quota: int | None
    quota_messages: int | None
    created: int | None
    """So many days ago, as other times are."""
    changed: int | None
    logins: dict[str, tuple[int, str]]
    uses: list[Use]
    lines: list[str]

    @property
    def login(self) -> tuple[int, str, str] | None:
        """When, by which service and from where the newest one was."""
        known = [(days, by, ip) for by, (days, ip) in self.logins.items() if ip != NOBODY]
        return min(known, default=None)

    @property
    def use(self) -> Use | None:
        return min(self.uses, key=lambda use: use.days, default=None)

    @property
    def earlier_use(self) -> Use | None:
        """The newest measurement at least 30 days before the newest of all."""
        if self.use is None:
            return None
        old = [each for each in self.uses if each.days >= self.use.days + 30]
        return min(old, key=lambda use: use.days, default=None)

    @property
    def is_admin(self) -> bool:
        return bool(self.flags & (Flag.QA_ADMIN | Flag.SA_ADMIN)) or self.name == "postmaster"

    @property
    def forwards(self) -> bool:
        return any(line[0] not in "|#" for line in self.lines)

    @property
    def runs(self) -> bool:
        return any(line[0] == "|" for line in self.lines)

    @property
    def scheme(self) -> str:
        return HASHES[self.hash]


@dataclass(frozen=True)
class Zone:
    """A domain."""

    name: str
    aliases: tuple[str, ...]
    created: int | None
    catchall: tuple[CatchAll, str | None]
    limits: dict[str, Any] | None
    boxes: list[Box]
    files: dict[str, list[str]]
    uses: list[tuple[int, int, Use]]
    """How many mailboxes of three were measured, how many there were, and what was in them."""

    @property
    def use(self) -> tuple[int, int, Use] | None:
        own = [each for each in self.uses if self.created is None or each[2].days <= self.created]
        return min(own, key=lambda each: each[2].days, default=None)

    @property
    def known_use(self) -> Use | None:
        if self.use is None or (self.use[0] == 0 and self.use[1] > 0):
            return None
        return self.use[2]

    @property
    def allocated(self) -> int:
        return sum(box.quota or 0 for box in self.boxes)

    def kinds(self) -> list[str]:
        """What each file is, told by its one line."""
        return [FILES[lines[0]] for lines in self.files.values()]


@dataclass(frozen=True)
class Site:
    zones: list[Zone]
    defaults: dict[str, Any] | None

    def setting(self, zone: Zone, name: str, otherwise: Any) -> Any:
        """What holds for a domain: its own limits, else the site's."""
        chosen = self.defaults if zone.limits is None else zone.limits
        return (chosen or {}).get(name, otherwise)

    def pool(self, zone: Zone) -> int | None:
        return self.setting(zone, "disk_quota", 0) * MEBIBYTE or None

    def zone_of(self, host: str) -> Zone | None:
        return next((each for each in self.zones if host in (each.name, *each.aliases)), None)

    def all(self) -> Iterator[tuple[Zone, Box, str]]:
        for zone in sorted(self.zones, key=lambda zone: zone.name):
            for box in sorted(zone.boxes, key=lambda box: f"{box.name}@{zone.name}"):
                yield zone, box, f"{box.name}@{zone.name}"


def ago(days: int | None) -> datetime | None:
    return None if days is None else NOW - timedelta(days=days, hours=1)


def share(part: int | None, whole: int | None) -> float | None:
    return part * 100 / whole if part is not None and whole else None


def known_first(found: Iterable[Row], place: int, *, downwards: bool = False) -> list[Row]:
    """Sort by one column, which is stable; what is not known comes last."""
    found = list(found)
    known = sorted((row for row in found if row[place] is not None), key=lambda row: row[place])
    if downwards:
        known = [row for _, same in _groups(known, place) for row in same]
    return known + [row for row in found if row[place] is None]


def _groups(found: list[Row], place: int) -> list[tuple[Any, list[Row]]]:
    groups = [(key, list(same)) for key, same in groupby(found, key=lambda row: row[place])]
    return groups[::-1]


def inactive(site: Site) -> list[Row]:
    found = []
    for zone, box, address in site.all():
        days, by, ip = box.login or (box.created, None, None)
        last = ago(days) if box.login else None
        found.append(
            (
                *(address, zone.name, ago(box.created), last, None if by == "any" else by, ip),
                *(ago(days), days, box.login is None, box.use and box.use.bytes),
                " ".join(flag.name.lower() for flag in Flag if flag & box.flags and flag.name),
                *(box.forwards and not box.runs, box.is_admin),
            )
        )
    return known_first(sorted(found), 6)


def never(site: Site) -> list[Row]:
    found = [
        (
            *(address, zone.name, ago(box.created), box.created, None, box.forwards),
            box.use and box.use.bytes,
        )
        for zone, box, address in site.all()
        if box.login is None
    ]
    return known_first(sorted(found), 2)


def over_quota(site: Site) -> list[Row]:
    found = []
    for zone, box, address in site.all():
        if box.quota is None and box.quota_messages is None:
            continue
        use, old, full_on = box.use, box.earlier_use, None
        of_bytes = share(use.bytes, box.quota) if use else None
        of_messages = share(use.messages, box.quota_messages) if use else None
        parts = [each for each in (of_bytes, of_messages) if each is not None]
        if use and old and box.quota and old.bytes < use.bytes < box.quota:
            rate = (use.bytes - old.bytes) / (old.days - use.days)
            left = (box.quota - use.bytes) / rate
            measured = ago(use.days)
            if left < 36500 and measured:
                full_on = (measured + left * DAY).date().isoformat()
        found.append(
            (
                *(address, zone.name, box.quota, use and use.bytes, max(parts, default=None)),
                *(box.quota_messages, use and use.messages, use and ago(use.days)),
                *(use.bytes - old.bytes if use and old else None, full_on),
                ago(box.login[0]) if box.login else None,
            )
        )
    return [rounded(row, 4, 1) for row in known_first(sorted(found), 4, downwards=True)]


def rounded(row: Row, place: int, digits: int) -> Row:
    value = row[place]
    return (*row[:place], None if value is None else round(value, digits), *row[place + 1 :])


def schemes(site: Site) -> list[Row]:
    found: dict[tuple[str, str], list[Box]] = {}
    for zone, box, _ in site.all():
        found.setdefault((zone.name, box.scheme), []).append(box)
    answer = []
    for (domain, scheme), boxes in sorted(found.items()):
        changed = [box.changed for box in boxes if box.changed is not None]
        oldest, newest = (ago(pick(changed, default=None)) for pick in (max, min))
        answer.append((domain, scheme, len(boxes), oldest, newest, WEAK.get(scheme, False)))
    return answer


def scheme_mailboxes(site: Site) -> list[Row]:
    return [
        (
            *(address, zone.name, box.scheme, WEAK.get(box.scheme, False), ago(box.changed)),
            ago(box.login[0]) if box.login else None,
        )
        for zone, box, address in site.all()
    ]


def clear_text(site: Site) -> list[Row]:
    return [
        (
            *(address, zone.name, True, box.scheme),
            *(None if not box.login or box.login[1] == "any" else box.login[1],),
            ago(box.login[0]) if box.login else None,
        )
        for zone, box, address in site.all()
        if box.clear
    ]


def admins(site: Site) -> list[Row]:
    found = []
    for zone, box, address in site.all():
        roles = [role for role, bit in ROLES.items() if box.flags & bit and box.is_admin]
        roles += ["postmaster"] if box.name == "postmaster" else []
        for role in sorted(roles):
            domains = "*" if role in {"system", "expert"} else zone.name
            login = ago(box.login[0]) if box.login else None
            found.append((address, zone.name, role, domains, None, None, login, box.scheme))
    return found


def flags(site: Site) -> list[Row]:
    found = []
    for zone, box, address in site.all():
        override = bool(box.flags & Flag.V_OVERRIDE)
        for name in sorted(str(flag.name).lower() for flag in Flag):
            own = bool(box.flags & Flag[name.upper()])
            of_domain = site.setting(zone, SWITCHES[name], False) if name in SWITCHES else None
            holds = own or (bool(of_domain) and not override)
            differs = None if of_domain is None else holds != of_domain
            if own or of_domain:
                found.append((address, zone.name, name, own, of_domain, override, holds, differs))
    return found


def long_lines(site: Site) -> list[Row]:
    found = []
    for zone, box, address in site.all():
        fields = [box.name, box.hash, "1", str(int(box.flags)), box.name.title()]
        fields += [f"/home/vpopmail/domains/{zone.name}/{box.name}", "NOQUOTA"]
        fields += [] if box.clear is None else [box.clear]
        found.append((address, zone.name, len(":".join(fields).encode()), 299))
    return known_first(sorted(found), 2, downwards=True)


def domain_limits(site: Site) -> list[Row]:
    found = []
    for zone in site.zones:
        kinds, use = zone.kinds(), zone.known_use
        numbers = {
            "max_popaccounts": len(zone.boxes),
            "max_aliases": kinds.count("alias"),
            "max_forwards": kinds.count("forward"),
            "max_autoresponders": kinds.count("robot"),
            "max_mailinglists": kinds.count("list"),
            "disk_quota": use.bytes if use else None,
            "max_msgcount": use.messages if use else None,
        }
        source = "default" if zone.limits is None else "domain"
        for name, number in numbers.items():
            limit = site.setting(zone, name, -1)
            if name in {"disk_quota", "max_msgcount"}:
                limit = limit * (MEBIBYTE if name == "disk_quota" else 1) or -1
            if limit >= 0:
                over = None if number is None else number > limit
                row = (zone.name, name, limit, number, share(number, limit), source, over)
                found.append(row)
    found.sort(key=lambda row: row[:2])
    return [rounded(row, 4, 1) for row in known_first(found, 4, downwards=True)]


def overview(site: Site) -> list[Row]:
    found = []
    for zone in site.zones:
        kinds, use = zone.kinds(), zone.use
        logins = [box.login[0] for box in zone.boxes if box.login]
        found.append(
            (
                *(zone.name, len(zone.aliases), len(zone.boxes), kinds.count("alias")),
                *(kinds.count("forward"), kinds.count("robot"), kinds.count("list")),
                *(zone.catchall[0].value, zone.known_use and zone.known_use.bytes),
                *(use and use[1] - use[0], site.pool(zone), zone.allocated),
                *(sum(box.is_admin for box in zone.boxes), ago(zone.created)),
                ago(min(logins, default=None)),
            )
        )
    return sorted(found, key=lambda row: row[0])


def overcommit(site: Site) -> list[Row]:
    found = []
    for zone in sorted(site.zones, key=lambda zone: zone.name):
        unlimited = sum(box.quota is None for box in zone.boxes)
        pool, use = site.pool(zone), zone.known_use
        ratio = zone.allocated / pool if pool else None
        found.append((zone.name, pool, zone.allocated, unlimited, use and use.bytes, ratio))
    return [rounded(row, 5, 2) for row in known_first(found, 5, downwards=True)]


def catchalls(site: Site) -> list[Row]:
    found = []
    for zone in sorted(site.zones, key=lambda zone: zone.name):
        kind, target = zone.catchall
        name, host = str(target).rpartition("/")[2], zone.name
        if kind is CatchAll.ADDRESS:
            name, _, host = str(target).lower().rpartition("@")
        at = site.zone_of(host) if target else None
        box = next((box for box in at.boxes if box.name == name), None) if at else None
        exists = None
        if at is not None:
            exists = box is not None or (kind is CatchAll.ADDRESS and name in at.files)
        full = box.use.bytes >= box.quota if box and box.use and box.quota is not None else None
        found.append((zone.name, kind.value, target, exists, full))
    return found


def alias_domains(site: Site) -> list[Row]:
    found = [(alias, zone.name) for zone in site.zones for alias in zone.aliases]
    return sorted(found, key=lambda row: row[::-1])


def clashes(site: Site) -> list[Row]:
    found = []
    for zone in site.zones:
        names = sorted({box.name for box in zone.boxes} | set(zone.files))
        found += [
            ("dotqmail", zone.name, f"{one}@{zone.name}", f"{other}@{zone.name}")
            for one in names
            for other in names
            if one < other and one.replace(".", ":") == other.replace(".", ":")
        ]
    tables = sorted(zone.name for zone in site.zones)
    found += [
        ("table", one, one, other)
        for one in tables
        for other in tables
        if one < other and one.replace("-", ".") == other.replace("-", ".")
    ]
    return sorted(found)


ANSWERS = {
    "inactive-mailboxes": inactive,
    "never-logged-in": never,
    "over-quota": over_quota,
    "password-schemes": schemes,
    "password-scheme-mailboxes": scheme_mailboxes,
    "clear-text": clear_text,
    "admins": admins,
    "flags": flags,
    "long-lines": long_lines,
    "domain-limits": domain_limits,
    "domain-overview": overview,
    "quota-overcommit": overcommit,
    "catchall": catchalls,
    "alias-domains": alias_domains,
    "name-clashes": clashes,
}


days = st.integers(0, 400)
maybe_days = st.none() | days
uses = st.lists(
    st.builds(Use, days, st.integers(0, 3000), st.integers(0, 30)),
    max_size=3,
    unique_by=lambda use: use.days,
)
some_flags = st.lists(st.sampled_from(list(Flag)), max_size=3).map(
    lambda found: sum(found, Flag(0)) if len(set(found)) == len(found) else Flag(0)
)
limits = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "max_popaccounts": st.integers(-1, 4),
        "max_aliases": st.integers(-1, 2),
        "max_forwards": st.integers(-1, 2),
        "max_autoresponders": st.integers(-1, 1),
        "max_mailinglists": st.integers(-1, 1),
        "disk_quota": st.integers(0, 2),
        "max_msgcount": st.integers(0, 20),
        **{switch: st.booleans() for switch in ("disable_pop", "disable_imap", "delete_spam")},
    },
)
boxes = st.builds(
    Box,
    name=st.sampled_from(["ann", "bob", "postmaster", "s.x"]),
    hash=st.sampled_from(list(HASHES)),
    clear=st.sampled_from([None, "", "secret"]),
    flags=some_flags,
    quota=st.none() | st.integers(1, 4000),
    quota_messages=st.none() | st.integers(1, 40),
    created=maybe_days,
    changed=maybe_days,
    logins=st.dictionaries(
        st.sampled_from(["any", "imap", "pop3"]),
        st.tuples(days, st.sampled_from([NOBODY, "192.0.2.1", "2001:db8::1"])),
        max_size=2,
    ),
    uses=uses,
    lines=st.lists(st.sampled_from(["&x@out.test", "|/bin/cat", "# note"]), max_size=2),
)
targets = st.sampled_from(["Ann@One.Test", "info@other.test", "no@a-b.test", "x@out.test"])
homes = st.sampled_from(["ann", "gone"])


@st.composite
def zones(draw: st.DrawFn, name: str, *aliases: str) -> Zone:
    home = f"/home/vpopmail/domains/{name}/"
    simple = st.sampled_from([CatchAll.NONE, CatchAll.BOUNCE, CatchAll.DELETE])
    measured = st.integers(0, 3).flatmap(
        lambda all_: st.tuples(st.integers(0, all_), st.just(all_))
    )
    return Zone(
        name,
        aliases,
        draw(maybe_days),
        draw(
            st.tuples(simple, st.none())
            | st.tuples(st.just(CatchAll.ADDRESS), targets)
            | st.tuples(st.just(CatchAll.DIRECTORY), homes.map(home.__add__))
        ),
        draw(limits),
        draw(st.lists(boxes, max_size=3, unique_by=lambda box: box.name)),
        draw(
            st.dictionaries(
                st.sampled_from(["info", "s:x", "news", "out"]),
                st.sampled_from(list(FILES)).map(lambda line: [line]),
                max_size=3,
            )
        ),
        [(known, all_, use) for use in draw(uses) for known, all_ in [draw(measured)]],
    )


sites = st.builds(
    Site,
    zones=st.tuples(
        zones("one.test", "other.test"), zones("a-b.test"), zones("a.b.test", "z.test")
    ).flatmap(lambda made: st.integers(1, 3).map(lambda number: list(made[:number]))),
    defaults=limits,
)


def make(database: Database, site: Site) -> None:
    with database.writer() as session:
        for table in (Domain, DomainUsage, DefaultLimits):
            session.execute(sa.delete(table))
        if site.defaults is not None:
            factories.limits(session, None, **site.defaults)
        for zone in site.zones:
            kind, target = zone.catchall
            one = factories.domain(
                session,
                zone.name,
                *zone.aliases,
                created_at=ago(zone.created),
                catchall=kind,
                catchall_target=target,
            )
            if zone.limits is not None:
                factories.limits(session, one, **zone.limits)
            for box in zone.boxes:
                made = factories.mailbox(
                    session,
                    one,
                    box.name,
                    box.flags,
                    password_hash=box.hash,
                    clear_text=box.clear,
                    quota_bytes=box.quota,
                    quota_messages=box.quota_messages,
                    created_at=ago(box.created),
                    password_changed_at=ago(box.changed),
                )
                for service, (when, ip) in box.logins.items():
                    factories.last_auth(
                        session, made, NOW - timedelta(days=when, hours=1), ip, service
                    )
                session.add_all(
                    used(made, NOW - timedelta(days=use.days, hours=1), use.bytes, use.messages)
                    for use in box.uses
                )
                if box.lines:
                    factories.alias(session, one, "", *box.lines, mailbox_id=made.id)
            for name, lines in zone.files.items():
                factories.alias(session, one, name, *lines)
            session.add_all(
                DomainUsage(
                    domain=zone.name,
                    measured_at=ago(use.days),
                    mailboxes=all_,
                    measured=known,
                    bytes=use.bytes,
                    messages=use.messages,
                    aliases=0,
                )
                for known, all_, use in zone.uses
            )


@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(site=sites)
def test_sql_answers_as_python_does(database: Database, site: Site) -> None:
    make(database, site)

    with database.survey() as session:
        everything = {
            name: Question(threshold=0, with_postmaster=REPORTS[name].without_postmaster)
            for name in ANSWERS
        }
        found = {name: list(rows(session, REPORTS[name], everything[name])) for name in ANSWERS}

    assert found == {name: answer(site) for name, answer in ANSWERS.items()}
