"""``vdeloldusers``: accounts that nobody has used for long."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby
from typing import TYPE_CHECKING

from vpopsql.compat.accounts import delete_user
from vpopsql.compat.options import Given, Option, WrongUsage
from vpopsql.compat.program import DONE, REFUSED, Program, say

if TYPE_CHECKING:
    from datetime import datetime

    from vpopsql.compat.site import Change, Site
    from vpopsql.services.overview import OldAccount
    from vpopsql.tree import Tree

_DAYS = 180
_DAYS_MAX = 36_500
_AT_ONCE = 100
"""Accounts deleted in one transaction; nobody should wait for it for long."""


def _check(given: Given) -> None:
    if len(given.any_of("de")) != 1:
        raise WrongUsage("either -d or -e is needed")
    given.number("a", 1, _DAYS_MAX)


def _delete_old(site: "Site", given: Given) -> int:
    from vpopsql.columns import utc_now
    from vpopsql.compat.site import domain_name
    from vpopsql.services import domains, overview

    before = utc_now() - timedelta(days=given.number("a", 1, _DAYS_MAX) or _DAYS)
    with site.reader() as session:
        only = None
        if "d" in given:
            only = [domains.get_domain(session, domain_name(given.values["d"])).id]
        found = overview.list_old_accounts(session, before, only)
    tree = site.tree()
    found = [each for each in found if not _has_newer_file(tree, each, before)]
    if "V" in given:
        for each in found:
            what = "last login" if each.has_logged_in else "never logged in, made"
            say(f"{each.name}@{each.domain}  {what} {each.last_auth:%Y-%m-%d}")
    if "D" not in given:
        return DONE
    refused: list[str] = []
    for _, of_domain in groupby(found, lambda each: each.domain):
        waiting = list(of_domain)
        for start in range(0, len(waiting), _AT_ONCE):
            refused += _delete(site, waiting[start : start + _AT_ONCE], before)
    for line in refused:
        say(line)
    return REFUSED if refused else DONE


def _has_newer_file(tree: "Tree", account: "OldAccount", before: "datetime") -> bool:
    """Tell whether vpopmail's own programs have noted a later login than the database knows."""
    from vpopsql.tree import UnsafePath

    try:
        status = tree.stat(f"{account.directory.rstrip('/')}/lastauth")
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, UnsafePath):
        # Whoever cannot be asked is not called old.
        return True
    return status.st_mtime >= before.timestamp()


def _delete(site: "Site", accounts: "Sequence[OldAccount]", before: "datetime") -> list[str]:
    """Delete accounts of one domain that are still old; return what is said of others."""
    from vpopsql.errors import CatchAllNeeded
    from vpopsql.prepared import settle
    from vpopsql.services import domains, overview

    domain = accounts[0].domain

    def job(change: "Change") -> list[str]:
        session = change.session
        found = domains.lock_domain(session, domain)
        # Somebody may have logged in since, or somebody else deleted him.
        old = overview.list_old_accounts(session, before, [found.id])
        still = {each.name for each in old if not _has_newer_file(change.tree, each, before)}
        refused = []
        for name in (each.name for each in accounts if each.name in still):
            try:
                with session.begin_nested():
                    delete_user(change, name, domain)
                    settle(session)
            except CatchAllNeeded:
                refused.append(f"Error: {name}@{domain}: can't delete catchall account")
        return refused

    return site.change(job)


vdeloldusers = Program(
    "vdeloldusers",
    "[options] -d domain | -e",
    "Find accounts that nobody has logged in to for long, by the database and by the lastauth file"
    " that vchkpw writes, and delete them if -D says so. One that was never logged in to is as old"
    " as it is. Kept are postmasters, and accounts of which no"
    " login and no age is known. Mail goes to the trash, see `vpopsql trash`.",
    _delete_old,
    (
        Option("a", f"How long, in days; else {_DAYS}.", "days"),
        Option("d", "The accounts of this domain.", "domain"),
        Option("e", "The accounts of every domain."),
        Option("D", "Delete them."),
        Option("V", "Say which."),
    ),
    (0, 0),
    _check,
)
