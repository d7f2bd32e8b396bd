"""Aliases, forwards, robots and mailing lists: the dot-qmail files of a domain, as rows."""

from collections.abc import Sequence

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from vpopsql.model import DotQmailFile, DotQmailLine, LineKind
from vpopsql.prepared import Prepared

_OF_DOMAIN = (
    select(DotQmailFile.name, DotQmailLine.line)
    .join(DotQmailLine, DotQmailLine.file_id == DotQmailFile.id)
    .where(
        DotQmailFile.domain_id == bindparam("domain_id"),
        DotQmailFile.mailbox_id.is_(None),
        DotQmailFile.name != "",
    )
)
"""Not `.qmail` in a domain's directory, which no address leads to."""

_ALIASES = Prepared(
    _OF_DOMAIN.where(DotQmailFile.name != "default", DotQmailLine.kind != LineKind.BLANK).order_by(
        DotQmailFile.name, DotQmailLine.position
    )
)
_ALIAS = Prepared(_ALIASES.statement.where(DotQmailFile.name == bindparam("name")))
_FIRST_PROGRAMS = Prepared(
    _OF_DOMAIN.where(DotQmailLine.position == 1, DotQmailLine.kind == LineKind.PROGRAM).order_by(
        DotQmailFile.name
    )
)


def list_aliases(
    session: Session, domain_id: int, name: str | None = None
) -> Sequence[tuple[str, str]]:
    """Return ``(alias, destination)`` of a domain, by name and within one in the file's order.

    :param name: only this alias.
    Source: vpopmaild ``list_alias``: the catch-all is no alias, blank lines are no destinations.
    """
    if name is None:
        return _ALIASES.all(session, domain_id=domain_id)
    return _ALIAS.all(session, domain_id=domain_id, name=name)


def list_alias_names(session: Session, domain_id: int) -> Sequence[str]:
    """Return the names that `list_aliases` shows, in order, and those of files without a line."""
    query = (
        select(DotQmailFile.name)
        .where(
            DotQmailFile.domain_id == domain_id,
            DotQmailFile.mailbox_id.is_(None),
            DotQmailFile.name.not_in(("", "default")),
        )
        .order_by(DotQmailFile.name)
    )
    return session.scalars(query).all()


def list_mailing_lists(session: Session, domain_id: int) -> list[str]:
    """Return the names of the dot-qmail files whose first line runs a program of ezmlm."""
    found = _FIRST_PROGRAMS.all(session, domain_id=domain_id)
    return [name for name, line in found if runs_ezmlm(line)]


def runs_ezmlm(line: str) -> bool:
    """Tell whether a program line runs one of ezmlm's programs."""
    program = line.removeprefix("|").split(maxsplit=1)[:1]
    return bool(program) and program[0].strip("'\"").rpartition("/")[2].startswith("ezmlm-")
