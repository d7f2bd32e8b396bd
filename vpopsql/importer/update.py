"""Bringing a domain of the database to what the source says, thing by thing.

Rows that stay keep their ids, and with them their history.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import delete, insert, update
from sqlalchemy.orm import Session

from vpopsql.importer import rows, site, stored
from vpopsql.importer.differences import Action, Change, Kind, Read, compare
from vpopsql.importer.later import IMPORTED, UPDATED, Later
from vpopsql.model import (
    DirCounter,
    Domain,
    DomainLimits,
    DomainName,
    DotQmailFile,
    LastAuth,
    Mailbox,
)

_LOST = {Action.REMOVE, Action.CHANGE}
_GIVEN = {Action.ADD, Action.CHANGE}


def update_domain(
    session: Session, ours: site.Domain, later: Later, source: str, read: Read
) -> None:
    """Carry over what differs in a domain, compared anew in this transaction.

    :param later: what was changed in the database since the last import.
    :param source: where ``ours`` comes from.
    :param read: how much of the source could be read.
    """
    name = ours.name.name
    domain_id = stored.domain_ids(session, [name]).get(name)
    if domain_id is None:
        return  # deleted a moment ago
    (theirs,) = stored.read_domains(session, [name])
    changes = compare(ours, theirs, later, read)
    _Update(session, domain_id, ours).carry_out(changes)
    kept = any(change.action is Action.KEEP for change in changes)
    rows.note(session, [ours], source, UPDATED if kept else IMPORTED)


def release_aliases(session: Session, name: str, aliases: Collection[str]) -> None:
    """Take alias domains from a domain whose source has them no more, for others may need them."""
    ids = stored.domain_ids(session, [name])
    session.execute(
        delete(DomainName).where(
            DomainName.domain_id.in_(ids.values()),
            DomainName.is_alias,
            DomainName.name.in_(aliases),
        )
    )
    rows.note_site(session)


def remove_domain(session: Session, name: str) -> None:
    """Delete a domain that is gone from its source; its files stay where they are."""
    ids = stored.domain_ids(session, [name])
    session.execute(delete(Domain).where(Domain.id.in_(ids.values())))
    rows.note_removed(session, name)


class _Update:
    """The update of one domain."""

    def __init__(self, session: Session, domain_id: int, ours: site.Domain) -> None:
        self._session = session
        self._domain_id = domain_id
        self._ours = ours
        self._mailboxes = {mailbox.name: mailbox for mailbox in ours.mailboxes}

    def carry_out(self, changes: Iterable[Change]) -> None:
        """Do what the changes say, removals first: names are unique."""
        by_kind: dict[Kind, list[Change]] = {kind: [] for kind in Kind}
        for change in changes:
            if change.action is not Action.KEEP:
                by_kind[change.kind].append(change)
        self._domain(by_kind[Kind.DOMAIN])
        self._aliases(by_kind[Kind.ALIAS])
        self._accounts(by_kind[Kind.MAILBOX])
        ids = stored.mailbox_ids(self._session, [self._domain_id])
        mailbox_ids = {name: pk for (_, name), pk in ids.items()}
        self._logins(by_kind[Kind.LOGIN], mailbox_ids)
        self._files(by_kind[Kind.FILE], mailbox_ids)
        ours = self._ours
        if by_kind[Kind.LIMITS]:
            self._replace(DomainLimits, rows.limits(ours.limits) if ours.limits else None)
        if by_kind[Kind.COUNTER]:
            self._replace(DirCounter, rows.counter(ours.counter) if ours.counter else None)

    def _domain(self, changes: list[Change]) -> None:
        fields = {field for change in changes for field in change.fields}
        ours = self._ours
        if not fields:
            return
        values: dict[str, Any] = {
            name: getattr(ours, name) for name in fields - {"name", "catch-all"}
        }
        if "catch-all" in fields:
            values |= {"catchall": ours.catchall, "catchall_target": ours.catchall_target}
        if values:
            self._session.execute(
                update(Domain).where(Domain.id == self._domain_id).values(values)
            )
        if "name" in fields:
            self._session.execute(
                update(DomainName)
                .where(DomainName.name == ours.name.name)
                .values(in_morercpthosts=ours.name.in_morercpthosts)
            )

    def _aliases(self, changes: list[Change]) -> None:
        lost = [change.name for change in changes if change.action in _LOST]
        self._session.execute(
            delete(DomainName).where(
                DomainName.domain_id == self._domain_id,
                DomainName.is_alias,
                DomainName.name.in_(lost),
            )
        )
        given = {change.name for change in changes if change.action in _GIVEN}
        new = [
            rows.name_row(name, self._domain_id, is_alias=True)
            for name in self._ours.aliases
            if name.name in given
        ]
        rows.insert(self._session, DomainName, rows.NAME, new)

    def _accounts(self, changes: list[Change]) -> None:
        of_domain = Mailbox.domain_id == self._domain_id
        for change in changes:
            if change.action is Action.REMOVE:
                self._session.execute(
                    delete(Mailbox).where(of_domain, Mailbox.name == change.name)
                )
            elif change.action is Action.CHANGE:
                mailbox = self._mailboxes[change.name]
                values = {name: getattr(mailbox, name) for name in change.fields}
                self._session.execute(
                    update(Mailbox).where(of_domain, Mailbox.name == change.name).values(values)
                )
        new = [change.name for change in changes if change.action is Action.ADD]
        placed = [(self._domain_id, self._mailboxes[name]) for name in new]
        rows.insert_mailboxes(self._session, placed)

    def _logins(self, changes: list[Change], mailbox_ids: Mapping[str, int]) -> None:
        for change in changes:
            login = self._mailboxes[change.name].last_auth
            key = {"mailbox_id": mailbox_ids[change.name], "service": stored.ANY_SERVICE}
            self._session.execute(
                delete(LastAuth).filter_by(**key).execution_options(synchronize_session=False)
            )
            if login is not None:
                self._session.execute(insert(LastAuth).values(key | login._asdict()))

    def _files(self, changes: list[Change], mailbox_ids: Mapping[str, int]) -> None:
        new = []
        for change in changes:
            mailbox, _, filename = change.name.rpartition("/.qmail")
            if not mailbox:
                filename = change.name.removeprefix(".qmail")
            name = filename.removeprefix("-")
            mailbox_id = mailbox_ids[mailbox] if mailbox else None
            if change.action in _LOST:
                self._session.execute(
                    delete(DotQmailFile).where(
                        DotQmailFile.domain_id == self._domain_id,
                        DotQmailFile.mailbox_id == mailbox_id
                        if mailbox_id
                        else DotQmailFile.mailbox_id.is_(None),
                        DotQmailFile.name == name,
                    )
                )
            if change.action in _GIVEN:
                files = self._mailboxes[mailbox].files if mailbox else self._ours.files
                new += [(self._domain_id, mailbox_id, file) for file in files if file.name == name]
        rows.insert_files(self._session, new)

    def _replace(
        self, table: type[DomainLimits | DirCounter], values: dict[str, Any] | None
    ) -> None:
        """Put a row of the domain in the place of another one, or of none."""
        self._session.execute(delete(table).where(table.domain_id == self._domain_id))
        if values:
            self._session.execute(insert(table).values(values | {"domain_id": self._domain_id}))
