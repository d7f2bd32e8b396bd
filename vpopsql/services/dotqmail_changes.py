"""Changing dot-qmail files, as rows: aliases, forwards, robots, lists, catch-alls.

Whoever changes a file here says so to the exporter, which writes it. This module does not know
the grammar of the files; `Rules` brings what it needs of it. A domain's files are subject to the
domain's limits, a mailbox's own are not. Every change locks the domain first.
"""

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from vpopsql.errors import InvalidAlias, InvalidValue, LimitReached
from vpopsql.model import (
    CatchAll,
    Domain,
    DomainName,
    DotQmailFile,
    DotQmailLine,
    LineKind,
    TrashKind,
)
from vpopsql.names import is_address, new_user_name_problem, split_address
from vpopsql.services import kept_rows, limits, programs, rights
from vpopsql.services.changes import record
from vpopsql.services.domains import FoundDomain, lock_domain
from vpopsql.services.forwards import runs_ezmlm
from vpopsql.services.rights import Actor, Permission

LINES_MAX = 10_000
"""Lines of a file that is written; each is a row."""

RENAMED = "rename_file"
"""What the audit log calls it when a file goes because it has another name now."""

DEFAULT = "default"
"""The name of a domain's file for addresses that nothing else serves."""


class Kind(enum.Enum):
    """What a domain's file is to the domain's limits; the value is its part of their names."""

    ALIAS = "alias", "max_aliases"
    FORWARD = "forward", "max_forwards"
    AUTORESPONDER = "autoresponder", "max_autoresponders"
    LIST = "maillist", "max_mailinglists"

    @property
    def permission(self) -> str:
        """Return the name of the limit with the bits denied to domain administrators."""
        return f"perm_{self.value[0]}"

    @property
    def maximum(self) -> str:
        """Return the name of the limit with the number allowed."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Content:
    """A file's lines, and whether the last one has its newline."""

    lines: tuple[str, ...]
    final_newline: bool = True


CatchAllSetting = tuple[CatchAll, str | None]
"""A domain's catch-all and its target."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How lines are read, and which programs anybody may run."""

    classify: Callable[[str], LineKind]
    parse_catchall: Callable[[Content], CatchAllSetting | None]
    """None: the content is a file like others."""
    render_catchall: Callable[[CatchAllSetting], Content]
    programs: Sequence[str]


@dataclass(frozen=True, slots=True)
class Place:
    """A dot-qmail file, there or not."""

    domain: FoundDomain
    mailbox_id: int | None
    """None: a file of the domain itself."""
    home: str
    """The directory that it is in."""
    name: str
    """The part after ``.qmail-``, with dots; empty: ``.qmail``."""

    @property
    def is_catchall(self) -> bool:
        """Tell whether it is the file for addresses that nothing else serves."""
        return self.mailbox_id is None and self.name == DEFAULT


# --- aliases ------------------------------------------------------------------------------------


def add_alias(
    session: Session, actor: Actor, rules: Rules, name: str, domain: str, line: str
) -> Place:
    """Add a line to an alias, which is made if need be; one that it has already is not repeated.

    :raises NotAuthorized: ``actor`` may not, or may not write such a line.
    :raises NoSuchDomain: there is no such domain.
    :raises InvalidAlias: no alias may be called so, or the line is no destination.
    :raises LimitReached: the domain's limits allow no more.
    """
    place = alias_place(session, actor, name, domain)
    if new_user_name_problem(name) or not _is_destination(line, rules):
        raise InvalidAlias(f"{name}@{domain}: {line!r}")
    old = read_file(session, rules, place) or Content(())
    if line not in old.lines:
        _require_permitted(actor, rules, place, Content((line,)))
        _replace(session, actor, rules, place, Content((*old.lines, line)), "add_alias")
    return place


def remove_alias(
    session: Session, actor: Actor, rules: Rules, name: str, domain: str, line: str
) -> tuple[Place, bool]:
    """Remove a line of an alias; the last one takes the alias with it.

    :returns: the file, and whether it is still there.
    :raises NotAuthorized: ``actor`` may not.
    :raises NoSuchDomain: there is no such domain.
    """
    place = alias_place(session, actor, name, domain)
    old = read_file(session, rules, place)
    if old is None or line not in old.lines:
        return place, old is not None
    rest = tuple(each for each in old.lines if each != line)
    if rest:
        content = Content(rest, old.final_newline)
        _replace(session, actor, rules, place, content, "remove_alias")
    else:
        remove_file(session, actor, rules, place, "remove_alias")
    return place, bool(rest)


def delete_alias(session: Session, actor: Actor, rules: Rules, name: str, domain: str) -> Place:
    """Delete an alias with all its lines; without it nothing changes.

    :raises NotAuthorized: ``actor`` may not.
    :raises NoSuchDomain: there is no such domain.
    """
    place = alias_place(session, actor, name, domain)
    remove_file(session, actor, rules, place, "delete_alias")
    return place


def alias_place(session: Session, actor: Actor, name: str, domain: str) -> Place:
    """Return the file of an alias, in a domain that is locked.

    :raises NotAuthorizedForDomain: ``actor`` does not administer the domain.
    :raises NoSuchDomain: there is no such domain.
    :raises InvalidAlias: no file can be called so.
    """
    rights.require_domain(actor, domain)
    found = lock_domain(session, domain)
    if not name or "/" in name or ":" in name:
        raise InvalidAlias(f"{name!r} cannot be an alias")
    return Place(found, None, found.directory.rstrip("/"), name)


def _is_destination(line: str, rules: Rules) -> bool:
    """Tell whether a line says something to qmail; a word that is no address does not."""
    kind = rules.classify(line)
    if kind is LineKind.FORWARD:
        name, domain = split_address(line.removeprefix("&"))
        return bool(name and domain) and is_address(name, domain)
    return kind is not LineKind.BLANK and "\0" not in line


# --- files --------------------------------------------------------------------------------------


def read_file(session: Session, rules: Rules, place: Place) -> Content | None:
    """Return what a file has in the database; None: there is none."""
    if place.is_catchall:
        setting = _catchall(session, place)
        if setting[0] is CatchAll.NONE:
            return None
        if setting[0] is not CatchAll.DOTQMAIL:
            return rules.render_catchall(setting)
    query = select(DotQmailFile.id, DotQmailFile.final_newline).where(*_is_at(place))
    row = session.execute(query).first()
    if row is None:
        return None
    lines = (
        select(DotQmailLine.line)
        .where(DotQmailLine.file_id == row.id)
        .order_by(DotQmailLine.position)
    )
    return Content(tuple(session.scalars(lines)), row.final_newline)


def has_file(session: Session, place: Place) -> bool:
    """Tell whether there is a file of this name, other than a catch-all that is a setting."""
    return session.scalar(select(DotQmailFile.id).where(*_is_at(place))) is not None


def set_file(session: Session, actor: Actor, rules: Rules, place: Place, content: Content) -> None:
    """Make ``content`` all that a file has; the domain must be locked.

    That ``actor`` may work in the directory is for the caller to see to.

    :raises InvalidValue: there are more than `LINES_MAX` lines.
    :raises LineNotPermitted: a line is none that ``actor`` may write.
    :raises NotAuthorized, LimitReached: the domain's limits forbid it.
    """
    if len(content.lines) > LINES_MAX:
        raise InvalidValue(f"more than {LINES_MAX} lines")
    _require_permitted(actor, rules, place, content)
    _replace(session, actor, rules, place, content, "write_file")


def remove_file(
    session: Session, actor: Actor, rules: Rules, place: Place, action: str = "rm_file"
) -> bool:
    """Delete a file, the domain being locked; one of the domain itself goes to the trash.

    :returns: False if it was not there.
    :raises NotAuthorized: the domain's limits forbid it.
    """
    old = read_file(session, rules, place)
    if old is None:
        return False
    if place.mailbox_id is None and not place.is_catchall:
        held = limits.get_limits(session, place.domain.id)
        kind = _kind_of(session, rules, old.lines)
        rights.require_permission(actor, held[kind.permission], Permission.DELETE)
    if action != RENAMED:
        keep_file(session, actor, place)
    session.execute(delete(DotQmailFile).where(*_is_at(place)))
    if place.is_catchall:
        _set_catchall(session, place, (CatchAll.NONE, None))
    _record(session, actor, action, place, old, None)
    return True


def keep_file(session: Session, actor: Actor, place: Place) -> None:
    """Write down a domain's own file in the trash; a catch-all, which is a setting, is not."""
    if place.mailbox_id is not None or place.is_catchall:
        return
    file_id = session.scalar(select(DotQmailFile.id).where(*_is_at(place)))
    if file_id is not None:
        rows = kept_rows.rows_below(session, DotQmailFile, file_id)
        name = f"{place.name}@{place.domain.name}"
        kept_rows.write_down(session, actor, TrashKind.DOTQMAIL, name, _path(place), rows)


def rename_file(
    session: Session, actor: Actor, rules: Rules, source: Place, target: Place
) -> bool:
    """Give a file another name or another owner; what was there is replaced.

    :returns: False if there was nothing to rename.
    :raises NotAuthorized, LimitReached: as for removing the one and writing the other.
    """
    content = read_file(session, rules, source)
    if content is None:
        return False
    if source != target:
        # First, so that a full domain can still rename.
        remove_file(session, actor, rules, source, RENAMED)
        set_file(session, actor, rules, target, content)
    return True


def _require_permitted(actor: Actor, rules: Rules, place: Place, content: Content) -> None:
    setting = rules.parse_catchall(content) if place.is_catchall else None
    if setting is None:
        # Clients that end lines with CR LF leave the CR in the file.
        texts = [line.removesuffix("\r") for line in content.lines]
        lines = [(text, rules.classify(text)) for text in texts]
    else:
        kind, target = setting
        lines = [(f"{target}/", LineKind.MAILDIR)] if kind is CatchAll.DIRECTORY else []
    programs.require_permitted(actor, lines, place.home, rules.programs)


def _replace(
    session: Session, actor: Actor, rules: Rules, place: Place, content: Content, action: str
) -> None:
    old = read_file(session, rules, place)
    if old == content:
        return
    if place.mailbox_id is None and not place.is_catchall:
        _require_limits(session, actor, rules, place, old, content)
    write_rows(session, rules, place, content)
    _record(session, actor, action, place, old, content)


def write_rows(session: Session, rules: Rules, place: Place, content: Content) -> None:
    """Write a file's rows, whoever may; without a trace in the audit log."""
    session.execute(delete(DotQmailFile).where(*_is_at(place)))
    setting = rules.parse_catchall(content) if place.is_catchall else None
    if place.is_catchall:
        _set_catchall(session, place, setting or (CatchAll.DOTQMAIL, None))
    if setting is None:
        _insert(session, rules, place, content)


def _insert(session: Session, rules: Rules, place: Place, content: Content) -> None:
    file_id = session.execute(
        insert(DotQmailFile)
        .values(
            domain_id=place.domain.id,
            mailbox_id=place.mailbox_id,
            name=place.name,
            final_newline=content.final_newline,
        )
        .returning(DotQmailFile.id)
    ).scalar_one()
    if content.lines:
        session.execute(
            insert(DotQmailLine),
            [
                {
                    "file_id": file_id,
                    "position": position,
                    "line": line,
                    "kind": rules.classify(line),
                }
                for position, line in enumerate(content.lines, 1)
            ],
        )


def _is_at(place: Place) -> tuple[Any, ...]:
    return (
        DotQmailFile.domain_id == place.domain.id,
        DotQmailFile.mailbox_id.is_(None)
        if place.mailbox_id is None
        else DotQmailFile.mailbox_id == place.mailbox_id,
        DotQmailFile.name == place.name,
    )


def _catchall(session: Session, place: Place) -> CatchAllSetting:
    query = select(Domain.catchall, Domain.catchall_target).where(Domain.id == place.domain.id)
    kind, target = session.execute(query).one()
    return kind, target


def _set_catchall(session: Session, place: Place, setting: CatchAllSetting) -> None:
    kind, target = setting
    session.execute(
        update(Domain)
        .where(Domain.id == place.domain.id)
        .values(catchall=kind, catchall_target=target)
    )


def _record(
    session: Session,
    actor: Actor,
    action: str,
    place: Place,
    old: Content | None,
    new: Content | None,
) -> None:
    changes = {"lines": (_shown(old), _shown(new))}
    of = ("dotqmail", _path(place))
    record(session, actor, action, of, changes, domain=place.domain.name)


def _path(place: Place) -> str:
    """Return a file's path as the audit log has it, with the name's dots as they are."""
    return f"{place.home}/.qmail{place.name and '-'}{place.name}"


def _shown(content: Content | None) -> str | None:
    return None if content is None else "\n".join(content.lines)


# --- limits -------------------------------------------------------------------------------------


def _require_limits(
    session: Session,
    actor: Actor,
    rules: Rules,
    place: Place,
    old: Content | None,
    new: Content,
) -> None:
    """Refuse a change of a domain's file that the domain's limits forbid."""
    held = limits.get_limits(session, place.domain.id)
    kind = _kind_of(session, rules, new.lines)
    before = None if old is None else _kind_of(session, rules, old.lines)
    if before:
        rights.require_permission(actor, held[before.permission], Permission.MODIFY)
    if before is not kind:
        rights.require_permission(actor, held[kind.permission], Permission.CREATE)
        require_room(session, actor, rules, place.domain, kind)


def require_room(
    session: Session, actor: Actor, rules: Rules, domain: FoundDomain, kind: Kind
) -> None:
    """Refuse one more of a kind than the domain may have. :raises LimitReached: it would be."""
    most = limits.get_limits(session, domain.id)[kind.maximum]
    if most < 0 or rights.is_above_limits(actor):
        return
    files = files_of_domain(session, domain.id)
    kinds = _kinds_of(session, rules, files.values())
    found = [name for name, each in zip(files, kinds, strict=True) if each is kind]
    if kind is Kind.LIST:
        # A list has several files, but only one directory.
        count = len({list_directory(files[name]) or name for name in found})
    else:
        count = len(found)
    if count >= most:
        raise LimitReached(f"{domain.name} may have {most}, see {kind.maximum}")


def files_of_domain(session: Session, domain_id: int) -> dict[str, list[str]]:
    """Return the lines of a domain's own files, by name, without the catch-all."""
    query = (
        select(DotQmailFile.name, DotQmailLine.line)
        .outerjoin(DotQmailLine, DotQmailLine.file_id == DotQmailFile.id)
        .where(
            DotQmailFile.domain_id == domain_id,
            DotQmailFile.mailbox_id.is_(None),
            DotQmailFile.name != DEFAULT,
        )
        .order_by(DotQmailFile.name, DotQmailLine.position)
    )
    files: dict[str, list[str]] = {}
    rows: Iterable[tuple[str, str | None]] = session.execute(query)
    for name, line in rows:
        files.setdefault(name, []).extend([] if line is None else [line])
    return files


_AUTORESPONDERS = frozenset({"autorespond", "qmail-autoresponder", "vacation"})
_CHUNK = 1000
"""Values in one query; SQLite takes 32,766."""


def _kind_of(session: Session, rules: Rules, lines: Iterable[str]) -> Kind:
    return _kinds_of(session, rules, [lines])[0]


def _kinds_of(session: Session, rules: Rules, files: Iterable[Iterable[str]]) -> list[Kind]:
    """Return what files with these lines are to the limits.

    One line is enough for each: a list runs ezmlm, an autoresponder such a program, a forward
    has an address that is not of a domain of this site.
    """
    kinds: list[Kind | set[str]] = [_kind_or_domains(rules, lines) for lines in files]
    wanted = sorted({domain for each in kinds if isinstance(each, set) for domain in each})
    local: set[str] = set()
    for start in range(0, len(wanted), _CHUNK):
        known = DomainName.name.in_(wanted[start : start + _CHUNK])
        local.update(session.scalars(select(DomainName.name).where(known)))
    return [
        each if isinstance(each, Kind) else Kind.ALIAS if each <= local else Kind.FORWARD
        for each in kinds
    ]


def _kind_or_domains(rules: Rules, lines: Iterable[str]) -> Kind | set[str]:
    """Return a file's kind, or the domains it forwards to, which tell."""
    texts = [line.removesuffix("\r") for line in lines]
    commands = [text for text in texts if rules.classify(text) is LineKind.PROGRAM]
    if any(map(runs_ezmlm, commands)):
        return Kind.LIST
    if any(_program(command) in _AUTORESPONDERS for command in commands):
        return Kind.AUTORESPONDER
    targets = [text for text in texts if rules.classify(text) is LineKind.FORWARD]
    return {split_address(target.strip("& \t"))[1] for target in targets} - {""}


def _program(command: str) -> str:
    words = command.removeprefix("|").split(maxsplit=1)
    return words[0].rpartition("/")[2] if words else ""


def list_directory(lines: Iterable[str]) -> str | None:
    """Return the directory of the mailing list that ``lines`` run; None: they run none."""
    words = [
        word.strip("'\"")
        for line in lines
        if line.startswith("|") and runs_ezmlm(line)
        for word in line.split()[1:]
    ]
    return next((word.rstrip("/") for word in words if word.startswith("/")), None)
