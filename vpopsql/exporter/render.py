"""What each file has to contain. Pure: a snapshot in, contents by site path out.

Lines of our own and foreign ones are sorted together, as vpopmail sorts them; a foreign line
stands before ours of the same key. Texts that came from a file are written back as they came
while they still mean what the columns say.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import TypeVar

from vpopsql import names
from vpopsql.config import Export
from vpopsql.exporter.snapshot import (
    RCPTHOSTS_LINES,
    Account,
    Counter,
    DomainState,
    DotQmail,
    Foreign,
    Limits,
    Name,
    Part,
    Snapshot,
)
from vpopsql.model import CatchAll
from vpopsql.pieces import Buffer, Content, Pieces, whole
from vpopsql.qmail import assign, control, dircontrol, dotqmail, ipmap, limits, vpasswd
from vpopsql.qmail.lines import encode, join_lines
from vpopsql.quota import Quota

RCPTHOSTS = "control/rcpthosts"
MORERCPTHOSTS = "control/morercpthosts"
MORE_CDB = f"{MORERCPTHOSTS}.cdb"
VIRTUALDOMAINS = "control/virtualdomains"
LOCALS = "control/locals"
ASSIGN = "users/assign"

COMPILE_MARKER = "users/.vpopsql-newu"
"""Below qmail's directory while the cdb of users/assign may be older than the text."""

RELOAD_MARKER = "control/.vpopsql-reload"
"""Below qmail's directory while qmail-send may not have read what was written for it."""

DIR_CONTROL = ".dir-control"
FREE_BUCKETS = ".dir_control_free"
LIMITS = ".qmailadmin-limits"
VPASSWD = "vpasswd"

_SORT_KEY = attrgetter("sort_key")
_LINE: Callable[[Foreign], str] = attrgetter("line")
_NAME: Callable[[Name], str] = attrgetter("name")

_CATCHALLS = {
    CatchAll.BOUNCE: dotqmail.CatchAllKind.BOUNCE,
    CatchAll.DELETE: dotqmail.CatchAllKind.DELETE,
    CatchAll.ADDRESS: dotqmail.CatchAllKind.ADDRESS,
    CatchAll.DIRECTORY: dotqmail.CatchAllKind.DIRECTORY,
}


T = TypeVar("T")


class Unrenderable(ValueError):
    """The database has something that a file cannot hold; the text names the file."""


@dataclass(frozen=True, slots=True)
class Link:
    """What a symbolic link is made of."""

    target: str


SiteFiles = dict[str, bytes | None]
"""Contents by site path; None: there is no such file."""

SiteContents = Mapping[str, Content | None]
"""The same, perhaps not put together yet."""

DomainFiles = dict[str, bytes | Link]
"""Contents by site path."""


def assign_cdb(export: Export) -> str:
    """Return the file that users/assign is compiled to, below qmail's directory."""
    return f"users/{export.assign_cdb}"


def site_files(snapshot: Snapshot) -> SiteFiles:
    """Return the files that are not below a domain's directory; see `site_contents`."""
    contents = site_contents(snapshot).items()
    return {path: None if content is None else whole(content) for path, content in contents}


def site_contents(snapshot: Snapshot) -> SiteContents:
    """Return the files that are not below a domain's directory, for whoever writes them.

    The cdb of users/assign is not among them if qmail-newu is to make it.

    :raises Unrenderable: a name or a foreign line is none that its file can hold.
    """
    qmail = snapshot.paths.qmail
    files: dict[str, Content | None] = {}

    def lines_of(file: str, own: Sequence[Name], lines: Iterable[str]) -> list[str]:
        foreign = snapshot.foreign.get(file, ())
        return _merge(foreign, map(_LINE, foreign), own, lines)

    few, more = _placed(snapshot)
    with naming(path := f"{qmail}/{RCPTHOSTS}"):
        files[path] = join_lines(lines_of(RCPTHOSTS, few, map(_NAME, few)))
    with naming(path := f"{qmail}/{MORERCPTHOSTS}"):
        lines = lines_of(MORERCPTHOSTS, more, map(_NAME, more))
        # Few lines begin so that they may be comments.
        hosts = [line.rstrip() for line in lines if line[:1] not in "# \t" or not is_comment(line)]
        files[path] = join_lines(lines) if lines else None
        files[f"{qmail}/{MORE_CDB}"] = control.compile_morercpthosts(hosts) if lines else None
    with naming(path := f"{qmail}/{VIRTUALDOMAINS}"):
        virtual = [f"{name}:{name}" for name in map(_NAME, snapshot.names)]
        files[path] = join_lines(lines_of(VIRTUALDOMAINS, snapshot.names, virtual))
    with naming(path := f"{qmail}/{LOCALS}"):
        # Without the file the host's own name is local; an empty one would change that.
        files[path] = _locals(snapshot) if LOCALS in snapshot.foreign else None
    with naming(path := f"{qmail}/{ASSIGN}"):
        files[path] = assigned = _assigned(snapshot)
        if not snapshot.export.newu_command:
            files[path] = text = whole(assigned)
            files[f"{qmail}/{assign_cdb(snapshot.export)}"] = assign.compile_text(text)
        for line in snapshot.foreign.get(ASSIGN, ()):
            assign.cdb_record(line.line)  # what qmail-newu would refuse is not even written
    return files | settings_files(snapshot)


def settings_files(snapshot: Snapshot) -> SiteFiles:
    """Return those of them that are vpopmail's.

    :raises Unrenderable: as `site_files` does.
    """
    vpopmail = snapshot.paths.vpopmail
    files: SiteFiles = {}
    with naming(path := f"{vpopmail}/etc/ip_alias_map"):
        files[path] = _ip_map(snapshot.ip_mappings)
    if snapshot.default_limits:
        with naming(path := f"{vpopmail}/etc/vlimits.default"):
            files[path] = _limits(snapshot.default_limits)
    if snapshot.counter and snapshot.export.has_accounts:
        files |= _counter_files(f"{vpopmail}/domains", snapshot.counter)
    return files


def domain_files(domain: DomainState, vpopmail_dir: str) -> DomainFiles:
    """Return the files in one domain's directory and in those of its mailboxes.

    Of a mailbox, dot-qmail files only; its Maildir is nobody's projection. Of the domain, only
    the parts that the snapshot has; vpasswd not for some of its lines, see `accounts`.

    :raises Unrenderable: a row has something that its file cannot hold.
    """
    directory = domain.directory
    files: DomainFiles = {}
    for file in domain.dotqmails if Part.DOTQMAIL in domain.parts else ():
        home = directory if file.home is None else file.home.rstrip("/")
        with naming(f"{home}/.qmail-{file.name}"):
            filename = dotqmail.filename_for(file.name) if file.name else ".qmail"
            files[f"{home}/{filename}"] = _dotqmail(file)
    if Part.DOTQMAIL in domain.parts and domain.catchall in _CATCHALLS:
        with naming(path := f"{directory}/{dotqmail.DEFAULT_FILE}"):
            what = dotqmail.CatchAll(_CATCHALLS[domain.catchall], domain.catchall_target or "")
            files[path] = join_lines([dotqmail.render_catchall(what, vpopmail_dir)])
    if Part.LIMITS in domain.parts and domain.limits:
        with naming(path := f"{directory}/{LIMITS}"):
            files[path] = _limits(domain.limits)
    if not domain.has_accounts:
        return files
    if domain.parts & (Part.ACCOUNTS | Part.MAILBOXES) and domain.counter:
        files |= _counter_files(directory, domain.counter)
    if Part.ACCOUNTS in domain.parts:
        path = f"{directory}/{VPASSWD}"
        lines = [vpasswd_line(path, account) for account in domain.accounts]
        files[path] = vpasswd.render(lines)
        files[f"{path}.cdb"] = vpasswd.compile_cdb(lines)
    return files


def files_of_accounts(directory: str) -> tuple[str, ...]:
    """Return the files of a directory that are there only if accounts are in files."""
    names = (VPASSWD, f"{VPASSWD}.cdb", DIR_CONTROL, FREE_BUCKETS)
    return tuple(f"{directory}/{name}" for name in names)


def is_comment(line: str) -> bool:
    """Say whether a line of a control file says nothing to qmail."""
    return line.startswith("#") or not line.strip(" \t")


def is_ours(name: str) -> bool:
    """Say whether a file of this name in a domain's directory would be one of ours."""
    return is_dotqmail(name) or name in {LIMITS, DIR_CONTROL, FREE_BUCKETS}


def is_dotqmail(name: str) -> bool:
    """Say whether a file of this name tells qmail what to do with mail."""
    return name == ".qmail" or name.startswith(".qmail-")


def removable(removed: Iterable[str], snapshot: Snapshot) -> set[str]:
    """Return which files may be removed, unless they turn out to have rows again."""
    gone = set()
    for path in removed:
        directory, _, name = path.rpartition("/")
        parts = snapshot.looked_up.get(directory, Part(0))
        if (is_dotqmail(name) and Part.DOTQMAIL in parts) or (
            name == LIMITS and Part.LIMITS in parts
        ):
            gone.add(path)
    return gone


def _placed(snapshot: Snapshot) -> tuple[list[Name], list[Name]]:
    """Return the names of rcpthosts and those of morercpthosts.

    What was imported stays where it was found: a site may list thousands of names in rcpthosts.
    Of what was made here, the eldest fill rcpthosts up to its 50th line, the rest go to
    morercpthosts. qmail accepts mail for both alike.
    """
    few: list[Name] = []
    more: list[Name] = []
    new: list[Name] = []
    for name in snapshot.names:
        chosen = more if name.in_morercpthosts else few if name.is_imported else new
        chosen.append(name)
    free = max(0, RCPTHOSTS_LINES - len(few) - len(snapshot.foreign.get(RCPTHOSTS, ())))
    new.sort(key=lambda name: (name.age, name.name != name.real, name.sort_key))
    few += new[:free]
    more += new[free:]
    return _sorted(few), _sorted(more)


def _sorted(of_us: list[Name]) -> list[Name]:
    return sorted(of_us, key=_SORT_KEY)


def _merge(
    foreign: Iterable[Foreign], their_lines: Iterable[T], own: Sequence[Name], lines: Iterable[T]
) -> list[T]:
    """Return the lines of others and our own ones, each as many as there are rows, in order."""
    merged: list[T] = []
    rest = iter(lines)
    at = 0
    for row, line in zip(foreign, their_lines, strict=True):
        end = bisect_left(own, row.sort_key, lo=at, key=_SORT_KEY)
        merged += islice(rest, end - at)
        merged.append(line)
        at = end
    merged += rest
    return merged


def _locals(snapshot: Snapshot) -> bytes:
    own = {name.name for name in snapshot.names}
    lines = [line.line for line in snapshot.foreign[LOCALS]]
    return join_lines([line for line in lines if names.lower(line.strip()) not in own])


def _assigned(snapshot: Snapshot) -> Pieces:
    own = snapshot.names
    exact = map(snapshot.exact().get, map(_NAME, own))
    lines = [found or domain_line(name) for name, found in zip(own, exact, strict=True)]
    foreign = snapshot.foreign.get(ASSIGN, ())
    theirs: list[Buffer] = [encode(line.line) for line in foreign]
    return assign.join(_merge(foreign, theirs, own, lines))


def domain_line(name: Name) -> bytes:
    """Return the line of a name that has no exact ones.

    :raises ValueError: the name or its directory is none that a line can hold.
    """
    return encode(assign.domain_line(name.name, name.real, name.uid, name.gid, name.directory))


def _ip_map(mappings: Sequence[tuple[str, str]]) -> bytes | None:
    if not mappings:
        return None
    return ipmap.render(ipmap.IpMapping(0, address, domain) for address, domain in mappings)


def _limits(settings: Limits) -> bytes:
    if settings.source_text is not None:
        source = encode(settings.source_text)
        if limits.parse(source)[0] == settings.values:
            return source
    return limits.render(settings.values)


def _counter_files(directory: str, counter: Counter) -> dict[str, bytes]:
    with naming(path := f"{directory}/{DIR_CONTROL}"):
        files = {path: dircontrol.render(counter.control)}
    if counter.free_buckets is not None:
        files[f"{directory}/{FREE_BUCKETS}"] = encode(counter.free_buckets)
    return files


def _dotqmail(file: DotQmail) -> bytes | Link:
    if file.link_target is not None:
        return Link(file.link_target)
    return dotqmail.render(dotqmail.DotQmail(file.lines, file.final_newline))


def vpasswd_line(path: str, account: Account) -> str:
    """Return the line of a mailbox in a domain's vpasswd, which is at ``path``.

    :raises Unrenderable: a field is none that it can hold.
    """
    quota = Quota(account.quota_bytes, account.quota_messages)
    text = account.quota_text
    line = vpasswd.VpasswdLine(
        0,
        account.name,
        account.password_hash,
        account.apop_uid,
        account.flags,
        account.comment,
        account.directory,
        text if Quota.parse(text) == quota else quota.render(),
        account.clear_text,
    )
    try:
        return vpasswd.render_line(line)
    except ValueError:
        # The renderer's own text quotes the field, which may be a password.
        reason = f"a field of {account.name} has a colon, newline or NUL"
        raise Unrenderable(f"{path}: {reason}") from None


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Let what a file cannot hold name it."""
    try:
        yield
    except ValueError as error:
        raise Unrenderable(f"{path}: {error}") from error
