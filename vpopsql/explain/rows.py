"""The rows that an explanation needs: for some addresses at once, one query a table.

Every query is by the key of an index, so that its cost does not grow with the site; only the
foreign lines of the shared files, of which a site has few, are looked through. A password's hash
goes no further than `Mailbox`, which does not show it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select, type_coerce
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from vpopsql import model, names
from vpopsql.explain import routing
from vpopsql.explain.result import Address
from vpopsql.model import (
    LIMIT_SETTINGS,
    UNFINISHED_IMPORT,
    CatchAll,
    DefaultLimits,
    DomainLimits,
    DomainName,
    DotQmailLine,
    ForeignLine,
    LastAuth,
    SiteSetting,
)
from vpopsql.qmail import dotqmail
from vpopsql.services import ipmaps
from vpopsql.services.limits import BUILT_IN

SOME = 50
"""Alias domains that are named; more are only said to be."""

CALLS = frozenset({CatchAll.BOUNCE, CatchAll.DELETE, CatchAll.ADDRESS, CatchAll.DIRECTORY})
"""The catch-alls for which ``.qmail-default`` calls vdelivermail and nothing else."""

_real = aliased(DomainName, name="real")


@dataclass(frozen=True, slots=True)
class Name:
    """A name that mail arrives for, with its domain."""

    name: str
    is_alias: bool
    in_morercpthosts: bool
    real: str
    id: int
    directory: str
    uid: int
    gid: int
    is_imported: bool
    catchall: CatchAll
    catchall_target: str | None


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox with everything that vpasswd has of it."""

    id: int
    domain_id: int
    name: str
    password_hash: str = field(repr=False)
    clear_text: str | None = field(repr=False)
    apop_uid: int
    flags: int
    comment: str
    directory: str
    quota_bytes: int | None
    quota_messages: int | None
    quota_text: str

    @property
    def home(self) -> str:
        """Return its directory without a slash at the end."""
        return self.directory.rstrip("/")


@dataclass(frozen=True, slots=True)
class File:
    """A dot-qmail file."""

    name: str
    """The part after ``.qmail-``, with dots; empty for ``.qmail``."""
    lines: tuple[str, ...]
    final_newline: bool
    link_target: str | None


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits that hold for a domain."""

    table: str
    settings: Mapping[str, int | bool]
    source_text: str | None = None


@dataclass(slots=True)
class Facts:
    """What the rows say about some addresses."""

    domains: dict[str, Name] = field(default_factory=dict)
    foreign: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    files: dict[tuple[int, str], File] = field(default_factory=dict)
    """Of the domains, by domain and name."""
    own_files: dict[tuple[int, str], File] = field(default_factory=dict)
    """Of the mailboxes, by mailbox and name."""
    mailboxes: dict[tuple[int, str], Mailbox] = field(default_factory=dict)
    limits: dict[int, Limits] = field(default_factory=dict)
    prepends: frozenset[str] = frozenset()
    """What foreign lines of virtualdomains put before addresses; read for exact delivery only."""

    def route(self, address: Address) -> routing.Route:
        """Return what qmail-send makes of an address."""
        return routing.route(self.foreign, address, is_ours=address.domain in self.domains)


@dataclass(frozen=True, slots=True)
class Build:
    """How the site's programs and files are made, which no row says."""

    qmail_ext: bool = False
    """Whether vpopmail was built with ``--enable-qmail-ext``."""
    exact: bool = False
    """Whether users/assign has exact lines for mailboxes; see the configuration's ``[export]``."""
    exact_despite_quota: bool = False
    has_accounts: bool = True
    """Whether the accounts are in files, too."""
    assign_cdb: str = "cdb"
    """The name of users/assign's cdb."""


USUAL = Build()


@dataclass(frozen=True, slots=True)
class Site:
    """What the whole site's rows say, and how its programs were built."""

    vpopmail_dir: str
    qmail_dir: str
    build: Build
    default_domain: str | None
    unfinished: bool


def read_site(session: Session, vpopmail_dir: str, qmail_dir: str, build: Build = USUAL) -> Site:
    """Return the facts of the site.

    :param vpopmail_dir: vpopmail's home, unless the database says otherwise.
    """
    wanted = ("vpopmail_dir", "default_domain", UNFINISHED_IMPORT)
    query = select(SiteSetting.key, SiteSetting.value).where(SiteSetting.key.in_(sorted(wanted)))
    settings = {key: value for key, value in session.execute(query)}  # noqa: C416 - rows
    return Site(
        vpopmail_dir=settings.get("vpopmail_dir", vpopmail_dir),
        qmail_dir=qmail_dir,
        build=build,
        default_domain=settings.get("default_domain"),
        unfinished=UNFINISHED_IMPORT in settings,
    )


def find_ip_domain(session: Session, ip: str) -> tuple[str, str] | None:
    """Return the address as the IP map has it, and the domain."""
    return ipmaps.find_mapping(session, ip)


def list_alias_domains(session: Session, domain_id: int) -> list[str]:
    """Return some of the alias domains of a domain, at most 51: more than 50 are many."""
    query = (
        select(DomainName.name)
        .where(DomainName.domain_id == domain_id, DomainName.is_alias)
        .order_by(DomainName.sort_key)
        .limit(SOME + 1)
    )
    return list(session.scalars(query))


def list_last_logins(session: Session, mailbox_id: int) -> list[tuple[str, datetime, str]]:
    """Return service, time and address of an account's logins, the newest first."""
    query = (
        select(LastAuth.service, LastAuth.at, LastAuth.remote_ip)
        .where(LastAuth.mailbox_id == mailbox_id)
        .order_by(LastAuth.at.desc(), LastAuth.service)
    )
    return [(service, at, ip) for service, at, ip in session.execute(query)]


def read(session: Session, addresses: Collection[Address], site: Site) -> Facts:
    """Return what there is about some addresses.

    :param addresses: at most some hundreds: all are the keys of one query.
    """
    facts = Facts()
    _read_names(session, facts, addresses)
    _read_host_lines(session, facts, addresses)
    _read_assign_lines(session, facts, addresses)
    # Whoever gets the mail, the mailbox is there to log in to.
    found = ((address, facts.domains.get(address.domain)) for address in addresses)
    ours = {address: name for address, name in found if name}
    ids = {name.id for name in ours.values()}
    if not ids:
        return facts
    wanted = {
        (name.id, file) for address, name in ours.items() for file in dotqmail_names(address.user)
    }
    _read_files(session, facts, wanted)
    _read_mailboxes(session, facts, _mailbox_names(facts, ours))
    _read_own_files(session, facts, ours, site)
    _read_limits(session, facts, ids)
    if site.build.exact:
        query = select(ForeignLine.line).where(ForeignLine.file == routing.VIRTUALDOMAINS)
        facts.prepends = routing.prepends(session.scalars(query))
    return facts


def dotqmail_names(ext: str) -> list[str]:
    """Return what qmail-local looks for, the first found wins.

    The name itself, then ``PART-default`` for each dash, the longest part first, and ``default``;
    for the empty name ``default`` alone.
    """
    dashes = (place for place in range(len(ext), 0, -1) if ext[place - 1] == "-")
    wildcards = [f"{ext[:place]}default" for place in dashes]
    return [*([ext] if ext else []), *wildcards, "default"]


def split_ext(user: str) -> tuple[str, str]:
    """Return what vpopmail with ``--enable-qmail-ext`` makes of a name, at the first dash."""
    name, _, ext = user.partition("-")
    return name, ext


def own_dotqmail_names(user: str, *, qmail_ext: bool) -> list[str]:
    """Return what vdelivermail looks for in a mailbox's home; empty is ``.qmail`` itself."""
    ext = split_ext(user)[1]
    return [*dotqmail_names(ext), ""] if qmail_ext and ext else [""]


def _read_names(session: Session, facts: Facts, addresses: Iterable[Address]) -> None:
    hosts = set()
    for address in addresses:
        hosts.add(address.domain)
        # The names of other domains may begin like it: a-b.example's addresses like a's.
        hosts |= set(routing.domain_prefixes(f"{address.domain}-{address.user}"))
    query = (
        select(
            DomainName.name,
            DomainName.is_alias,
            DomainName.in_morercpthosts,
            _real.name,
            model.Domain.id,
            model.Domain.directory,
            model.Domain.uid,
            model.Domain.gid,
            model.Domain.created_at.is_(None),
            model.Domain.catchall,
            model.Domain.catchall_target,
        )
        .join(model.Domain, model.Domain.id == DomainName.domain_id)
        .join(_real, (_real.domain_id == model.Domain.id) & ~_real.is_alias)
        .where(DomainName.name.in_(sorted(hosts)))
    )
    for row in session.execute(query):
        facts.domains[row[0]] = Name(*row)


def _read_host_lines(session: Session, facts: Facts, addresses: Iterable[Address]) -> None:
    keys = {""}
    for address in addresses:
        keys |= {names.sort_key(name) for name in routing.host_patterns(address.domain)}
        keys.add(names.sort_key(str(address)))
    _read_foreign(session, facts, routing.HOST_FILES, keys)


def _read_assign_lines(session: Session, facts: Facts, addresses: Iterable[Address]) -> None:
    keys = set()
    for address in addresses:
        found = facts.route(address)
        # Our own wildcard wins over every shorter one.
        least = len(found.name) + 1 if found.way is routing.Way.OURS else 0
        if found.local:
            prefixes = routing.assign_prefixes(found.local, least)
            keys |= {names.sort_key(prefix.removesuffix("-")) for prefix in prefixes}
    if keys:
        _read_foreign(session, facts, (routing.ASSIGN,), keys)


def _read_foreign(
    session: Session, facts: Facts, files: Collection[str], keys: Collection[str]
) -> None:
    # lower() forgets how the column's texts are escaped.
    key = type_coerce(func.lower(ForeignLine.sort_key), ForeignLine.sort_key.type)
    query = (
        select(ForeignLine.file, ForeignLine.line)
        .where(ForeignLine.file.in_(files), key.in_(sorted(keys)))
        .order_by(ForeignLine.file, ForeignLine.position)
    )
    for file, line in session.execute(query):
        facts.foreign[file].append(line)


def _any_of(
    domain_id: InstrumentedAttribute[int],
    name: InstrumentedAttribute[str],
    wanted: Iterable[tuple[int, str]],
) -> ColumnElement[bool]:
    """Return the condition for keys of two columns.

    Not as pairs, ``(domain_id, name) IN``: with more than one SQLite then reads the whole table.
    """
    by_domain: defaultdict[int, list[str]] = defaultdict(list)
    for id_, text in sorted(wanted):
        by_domain[id_].append(text)
    return or_(*((domain_id == id_) & name.in_(texts) for id_, texts in by_domain.items()))


def _files(session: Session, condition: ColumnElement[bool]) -> Iterable[tuple[Any, File]]:
    """Give the files that satisfy a condition, each with its row."""
    query = (
        select(
            model.DotQmailFile.id,
            model.DotQmailFile.domain_id,
            model.DotQmailFile.mailbox_id,
            model.DotQmailFile.name,
            model.DotQmailFile.final_newline,
            model.DotQmailFile.link_target,
            DotQmailLine.line,
        )
        .outerjoin(DotQmailLine, DotQmailLine.file_id == model.DotQmailFile.id)
        .where(condition)
        # Not by the file too, lest SQLite reads all of a domain to have them in order.
        .order_by(DotQmailLine.position)
    )
    lines: defaultdict[int, list[str]] = defaultdict(list)
    found = {}
    for row in session.execute(query):
        found[row.id] = row
        if row.line is not None:
            lines[row.id].append(row.line)
    for id_, row in found.items():
        yield row, File(row.name, tuple(lines[id_]), row.final_newline, row.link_target)


def _read_files(session: Session, facts: Facts, wanted: Collection[tuple[int, str]]) -> None:
    key = _any_of(model.DotQmailFile.domain_id, model.DotQmailFile.name, wanted)
    condition = model.DotQmailFile.mailbox_id.is_(None) & key
    for row, file in _files(session, condition):
        facts.files[row.domain_id, row.name] = file


def _mailbox_names(facts: Facts, ours: Mapping[Address, Name]) -> set[tuple[int, str]]:
    """Return the mailboxes that may have to do with addresses, by domain and name."""
    wanted = set()
    for address, name in ours.items():
        wanted.add((name.id, address.user or "postmaster"))
        wanted.add((name.id, split_ext(address.user)[0]))
        if name.catchall is CatchAll.DIRECTORY and name.catchall_target:
            wanted.add((name.id, _last_part(name.catchall_target)))
        for file in dotqmail_names(address.user):
            lines = found.lines if (found := facts.files.get((name.id, file))) else ()
            for line in lines:
                if dotqmail.classify(line) is dotqmail.Kind.MAILDIR:
                    home = line.rstrip(" \t").rstrip("/").removesuffix("/Maildir")
                    wanted.add((name.id, _last_part(home)))
                elif arguments := dotqmail.vdelivermail_arguments(line):
                    wanted.add((name.id, _last_part(arguments[-1])))
    return {key for key in wanted if key[1]}


def _last_part(path: str) -> str:
    # A mailbox's directory is named after it, wherever it is.
    return path.rstrip("/").rpartition("/")[2]


def _read_mailboxes(session: Session, facts: Facts, wanted: Collection[tuple[int, str]]) -> None:
    columns = [getattr(model.Mailbox, name) for name in Mailbox.__dataclass_fields__]
    key = _any_of(model.Mailbox.domain_id, model.Mailbox.name, wanted)
    for row in session.execute(select(*columns).where(key)):
        facts.mailboxes[row.domain_id, row.name] = Mailbox(*row)


def _read_own_files(
    session: Session, facts: Facts, ours: Mapping[Address, Name], site: Site
) -> None:
    # Of a mailbox that is a catch-all's directory, the extension of any name is asked for.
    file_names = {
        file
        for address in ours
        for file in own_dotqmail_names(address.user, qmail_ext=site.build.qmail_ext)
    }
    ids = [mailbox.id for mailbox in facts.mailboxes.values()]
    if not ids:
        return
    condition = model.DotQmailFile.mailbox_id.in_(ids) & model.DotQmailFile.name.in_(
        sorted(file_names)
    )
    for row, file in _files(session, condition):
        facts.own_files[row.mailbox_id, row.name] = file


def _read_limits(session: Session, facts: Facts, ids: Collection[int]) -> None:
    columns = ("source_text", *LIMIT_SETTINGS)
    own = select(DomainLimits.domain_id, *(getattr(DomainLimits, name) for name in columns)).where(
        DomainLimits.domain_id.in_(sorted(ids))
    )
    for id_, source_text, *values in session.execute(own):
        settings = dict(zip(LIMIT_SETTINGS, values, strict=True))
        facts.limits[id_] = Limits(DomainLimits.__tablename__, settings, source_text)
    missing = set(ids) - facts.limits.keys()
    if not missing:
        return
    row = session.execute(select(*(getattr(DefaultLimits, name) for name in columns))).first()
    limits = Limits("built-in", BUILT_IN)
    if row is not None:
        settings = dict(zip(LIMIT_SETTINGS, row[1:], strict=True))
        limits = Limits(DefaultLimits.__tablename__, settings, row[0])
    facts.limits |= dict.fromkeys(missing, limits)
