"""What refers to a mailbox or a domain by address or by directory, and follows when it is renamed.

That are lines of dot-qmail files, and catch-alls. Each file that changes leaves a trace in the
audit log as any other change of it does.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from vpopsql.model import (
    CatchAll,
    Domain,
    DomainName,
    DotQmailFile,
    DotQmailLine,
    LineKind,
    Mailbox,
)
from vpopsql.services.changes import record
from vpopsql.services.rights import Actor

_AROUND = "& \t\r"
"""What may stand around the address of a line; CR is of clients that end lines with CR LF."""

Rewrite = Callable[[str], str | None]
"""Makes the new text of an old one; None: it stays."""


@dataclass(frozen=True, slots=True)
class Referring:
    """A line of a dot-qmail file, or a catch-all, and what it will be."""

    domain_id: int
    file_id: int | None
    """None: the catch-all."""
    position: int
    old: str
    new: str


def find_forwards(session: Session, pattern: str, rewrite: Rewrite) -> list[Referring]:
    """Return the lines and catch-alls of the whole site whose address ``rewrite`` changes.

    :param pattern: what all such addresses have in them; letters of either case.
    """
    lines = (
        select(DotQmailFile.domain_id, DotQmailLine.file_id, DotQmailLine.position)
        .add_columns(DotQmailLine.line)
        .join(DotQmailFile, DotQmailFile.id == DotQmailLine.file_id)
        .where(
            DotQmailLine.kind == LineKind.FORWARD,
            DotQmailLine.line.icontains(pattern, autoescape=True),
        )
        .order_by(DotQmailLine.file_id, DotQmailLine.position)
    )
    found = [
        Referring(domain_id, file_id, position, line, new)
        for domain_id, file_id, position, line in session.execute(lines)
        if (new := _within(line, rewrite)) is not None
    ]
    catchalls = select(Domain.id, Domain.catchall_target).where(
        Domain.catchall == CatchAll.ADDRESS,
        Domain.catchall_target.icontains(pattern, autoescape=True),
    )
    for domain_id, target in session.execute(catchalls):
        if target is not None and (new := rewrite(target)) is not None:
            found.append(Referring(domain_id, None, 0, target, new))
    return found


def find_paths(session: Session, domain_id: int, old: str, new: str) -> list[Referring]:
    """Return the lines and the catch-all of a domain that name a directory or what is below it."""
    path = re.compile(re.escape(old) + r"(?=$|[/\s'\"])")
    lines = (
        select(DotQmailLine.file_id, DotQmailLine.position, DotQmailLine.line)
        .join(DotQmailFile, DotQmailFile.id == DotQmailLine.file_id)
        .where(
            DotQmailFile.domain_id == domain_id,
            DotQmailLine.line.contains(old, autoescape=True),
        )
    )
    found = [
        Referring(domain_id, file_id, position, line, path.sub(lambda _: new, line))
        for file_id, position, line in session.execute(lines)
        if path.search(line)
    ]
    target = session.scalar(
        select(Domain.catchall_target).where(
            Domain.id == domain_id, Domain.catchall == CatchAll.DIRECTORY
        )
    )
    if target and path.match(target):
        found.append(Referring(domain_id, None, 0, target, new + target[len(old) :]))
    return found


def apply(
    session: Session, actor: Actor, action: str, referring: Iterable[Referring]
) -> frozenset[str]:
    """Change lines and catch-alls; return the real domains they are of."""
    by_file: defaultdict[int, list[Referring]] = defaultdict(list)
    catchalls: list[Referring] = []
    for each in referring:
        if each.file_id is None:
            catchalls.append(each)
        else:
            by_file[each.file_id].append(each)
    domains = {each.domain_id for each in catchalls}
    domains |= {lines[0].domain_id for lines in by_file.values()}
    if not domains:
        return frozenset()
    # In one order for all, so that two of them do not wait for each other.
    ids = sorted(domains)
    session.execute(
        select(Domain.id).where(Domain.id.in_(ids)).order_by(Domain.id).with_for_update()
    ).all()
    named = select(DomainName.domain_id, DomainName.name).where(
        DomainName.domain_id.in_(ids), ~DomainName.is_alias
    )
    names = {row.domain_id: row.name for row in session.execute(named)}
    for each in catchalls:
        of_it = update(Domain).where(Domain.id == each.domain_id)
        session.execute(of_it.values(catchall_target=each.new))
        name = names[each.domain_id]
        changes = {"catchall": (each.old, each.new)}
        record(session, actor, action, ("domain", name), changes, domain=name)
    for file_id, lines in by_file.items():
        _change_file(session, actor, action, file_id, lines, names[lines[0].domain_id])
    return frozenset(names.values())


def _change_file(
    session: Session,
    actor: Actor,
    action: str,
    file_id: int,
    lines: list[Referring],
    domain: str,
) -> None:
    content = select(DotQmailLine.line).where(DotQmailLine.file_id == file_id)
    content = content.order_by(DotQmailLine.position)
    before = "\n".join(session.scalars(content))
    for each in lines:
        at = (DotQmailLine.file_id == file_id) & (DotQmailLine.position == each.position)
        session.execute(update(DotQmailLine).where(at).values(line=each.new))
    after = "\n".join(session.scalars(content))
    name, of_mailbox, of_domain = session.execute(
        select(DotQmailFile.name, Mailbox.directory, Domain.directory)
        .join(Domain, Domain.id == DotQmailFile.domain_id)
        .outerjoin(Mailbox, Mailbox.id == DotQmailFile.mailbox_id)
        .where(DotQmailFile.id == file_id)
    ).one()
    home = (of_mailbox or of_domain).rstrip("/")
    path = f"{home}/.qmail{name and '-'}{name}"
    record(session, actor, action, ("dotqmail", path), {"lines": (before, after)}, domain=domain)


def _within(line: str, rewrite: Rewrite) -> str | None:
    """Return a line with another address in it; None: it stays."""
    address = line.strip(_AROUND)
    new = rewrite(address)
    if new is None:
        return None
    start = line.index(address)
    return line[:start] + new + line[start + len(address) :]
