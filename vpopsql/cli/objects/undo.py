"""``vpopsql undo``: take back a change that the audit log has."""

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from vpopsql.cli.objects import nouns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from vpopsql.cli.objects.site import Effects, Site
    from vpopsql.model import AuditEntry
    from vpopsql.services.rights import Actor

_DELETED = frozenset({"del_user", "del_domain"})
_FILES_DELETED = frozenset({"rm_file", "delete_alias", "remove_alias"})
_RENAMED = frozenset({"rename_user", "rename_domain", "rename_alias_domain"})


@click.command()
@click.argument("change", metavar="CHANGE", type=click.IntRange(min=1))
@nouns.changing
@click.pass_context
def undo(ctx: click.Context, change: int, *, dry_run: bool, output: str) -> None:
    """Take back CHANGE, the number of an entry of `vpopsql audit list` or `vpopsql history`.

    Modifications of users, limits, aliases, forwards and catch-alls; alias domains and IP
    addresses; renaming; and what was deleted, as long as it is in the trash. A password cannot
    come back, as the audit log has none. Nothing is undone that has changed again since.

    It is a change as others are: files follow, and its entry has the number of the one undone.
    """
    from vpopsql.cli.objects.output import print_outcome
    from vpopsql.cli.objects.site import opened

    with opened(ctx) as site:

        def job(session: "Session", effects: "Effects") -> None:
            actor = replace(site.actor, undoes=change)
            _Undo(session, effects, site, actor, dry_run=dry_run).undo(change)

        print_outcome(output, site.change(job, dry_run=dry_run))


class _Undo:
    """One undoing, in one transaction."""

    def __init__(
        self,
        session: "Session",
        effects: "Effects",
        site: "Site",
        actor: "Actor",
        *,
        dry_run: bool,
    ) -> None:
        self._session = session
        self._effects = effects
        self._site = site
        self._actor = actor
        self._dry_run = dry_run

    def undo(self, number: int) -> None:
        """Take back the change of an entry, with what belongs to it.

        :raises CannotUndo: it cannot be.
        """
        from vpopsql.errors import CannotUndo
        from vpopsql.model import AuditEntry

        entry = self._session.get(AuditEntry, number)
        if entry is None:
            raise CannotUndo(f"there is no entry {number} in the audit log")
        if entry.action in _DELETED:
            self._restore(entry)
        elif entry.action in _RENAMED and "lines" not in entry.changes:
            self._rename_back(entry)
        elif entry.action in _FILES_DELETED and self._restore_file(entry):
            pass
        else:
            for each in reversed(self._with_its_other_half(entry)):
                self._undo_one(each)

    def _undo_one(self, entry: "AuditEntry") -> None:
        from vpopsql.daemon.delivery import path_of
        from vpopsql.services import undoing

        undone = undoing.undo(self._session, self._actor, self._site.rules, entry)
        self._effects.touched.add(undone.touched)
        self._effects.touched.removed |= {path_of(place) for place in undone.removed}
        self._effects.quotas += undone.quotas

    def _request_of(self, entry: "AuditEntry") -> "Sequence[AuditEntry]":
        """Return all that was changed together with an entry, in order."""
        from sqlalchemy import select

        from vpopsql.model import AuditEntry

        if not entry.request_id:
            return [entry]
        query = select(AuditEntry).where(AuditEntry.request_id == entry.request_id)
        return self._session.scalars(query.order_by(AuditEntry.id)).all()

    def _with_its_other_half(self, entry: "AuditEntry") -> "list[AuditEntry]":
        """Return an entry, of a renamed dot-qmail file both: one is gone, one has come."""
        from vpopsql.services.dotqmail_changes import RENAMED

        together = list(self._request_of(entry))
        at = next(place for place, each in enumerate(together) if each.id == entry.id)
        if entry.action == RENAMED and entry.object_type == "dotqmail":
            return together[at : at + 2]
        before = together[at - 1] if at else entry
        came = entry.object_type == before.object_type == "dotqmail"
        return [before, entry] if came and before.action == RENAMED else [entry]

    # Deletions

    def _restore(self, entry: "AuditEntry") -> None:
        from vpopsql import trash
        from vpopsql.errors import CannotUndo
        from vpopsql.model import TrashKind

        kind = TrashKind(entry.object_type)
        found = trash.find_deleted(self._session, kind, (entry.object, ""), entry.at)
        if found is None or found.restored_at or found.purged_at:
            what = "was purged" if found and found.purged_at else "is not in the trash any more"
            raise CannotUndo(
                f"{entry.object} {what}: there is nothing to undo entry {entry.id} by"
            )
        self._take_out(found.id)

    def _restore_file(self, entry: "AuditEntry") -> bool:
        """Restore a dot-qmail file from the trash; tell whether it was there."""
        from vpopsql import trash
        from vpopsql.model import TrashKind

        named = ("", entry.object)
        found = trash.find_deleted(self._session, TrashKind.DOTQMAIL, named, entry.at)
        is_gone = entry.changes.get("lines", ["", ""])[1] is None
        if not is_gone or found is None or found.restored_at or found.purged_at:
            return False
        self._take_out(found.id)
        return True

    def _take_out(self, number: int) -> None:
        from vpopsql import trash

        back = trash.restore(
            self._session, self._site.tree, number, self._actor, moves=not self._dry_run
        )
        self._effects.touched.add(back.touched)

    # Renaming

    def _rename_back(self, entry: "AuditEntry") -> None:
        """Undo what followed the renaming, then the renaming itself."""
        from vpopsql.errors import CannotUndo

        field = "alias" if entry.action == "rename_alias_domain" else "name"
        if field not in entry.changes:
            raise CannotUndo(f"entry {entry.id} followed a renaming: undo that one")
        old, new = entry.changes[field]
        together = self._request_of(entry)
        for each in reversed(together):
            if each.object_type == "dotqmail" or "catchall" in each.changes:
                self._undo_one(each)
        if entry.action == "rename_user":
            self._rename_user(old, new)
        elif entry.action == "rename_domain":
            self._rename_domain(old, new)
            # The new name may have been an alias domain before.
            ended = (each for each in together if each.action == "del_alias_domain")
            for each in ended:
                self._add_alias_domain(old, each.changes["alias"][0])
        else:
            self._rename_alias_domain(old, new)

    def _rename_user(self, old: str, new: str) -> None:
        from vpopsql.cli.objects.renaming import move
        from vpopsql.names import split_address
        from vpopsql.services.renames import How, rename_account

        address = split_address(new)
        name = split_address(old)[0]
        done = rename_account(self._session, self._actor, self._site.rules, address, name, How())
        touched = self._effects.touched
        touched.accounts.add(done.domain.name)
        touched.dotqmail |= done.rewritten
        move(self._effects, done)

    def _rename_domain(self, old: str, new: str) -> None:
        from vpopsql import trash
        from vpopsql.cli.objects.renaming import move
        from vpopsql.services.renames import How, rename_domain

        done = rename_domain(self._session, self._actor, new, old, How())
        trash.follow_rename(self._session, (done.old, done.new), done.directory)
        touched = self._effects.touched
        touched.accounts.add(done.domain.name)
        touched.limits.add(done.domain.name)
        touched.dotqmail |= done.rewritten
        touched.names |= done.names
        move(self._effects, done)

    def _add_alias_domain(self, real: str, alias: str) -> None:
        from vpopsql.services.domain_changes import add_alias_domain

        add_alias_domain(self._session, self._actor, real, alias)
        self._effects.touched.names.add(alias)

    def _rename_alias_domain(self, old: str, new: str) -> None:
        from vpopsql.services.renames import rename_alias_domain

        done = rename_alias_domain(self._session, self._actor, new, old)
        self._effects.touched.names |= done.names
        self._effects.touched.dotqmail |= done.rewritten
