"""What to know before the files are exported: whose mail goes through vdelivermail, and why.

`direct` says who gets an exact line in users/assign; here is what administrators are told of the
others, and of vdelivermail where the accounts are in no file.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from vpopsql import names
from vpopsql.config import Export
from vpopsql.exporter.direct import BY_VDELIVERMAIL
from vpopsql.exporter.routes import Routes, is_diverted
from vpopsql.exporter.snapshot import Account, DomainState, Limits, Snapshot
from vpopsql.model import Flag


class Warned(NamedTuple):
    """What delivery does otherwise than one may think."""

    address: str
    """An address, ``@domain``, or empty for the whole site."""
    code: str
    text: str


def delivery_warnings(snapshot: Snapshot) -> list[Warned]:
    """Return what the configured way of delivery cannot do, and why.

    Of a snapshot of the whole site, taken with the settings that it will be exported with.
    """
    warned = [] if snapshot.export.has_accounts else list(_without_accounts(snapshot))
    return warned + (_exact(snapshot) if snapshot.export.delivery == "exact" else [])


def _without_accounts(snapshot: Snapshot) -> Iterator[Warned]:
    for domain in snapshot.domains:
        if domain.accounts and domain.catchall in BY_VDELIVERMAIL:
            text = "its .qmail-default runs vdelivermail, which finds no mailbox without vpasswd"
            yield Warned(f"@{domain.name}", "no-vpasswd", text)


def _exact(snapshot: Snapshot) -> list[Warned]:
    """Return what exact delivery cannot do, whose mail still goes through vdelivermail and why.

    Mailboxes that are forwarded, bounced or have a ``.qmail`` are none to warn of: what happens
    to their mail is what the administrator said, and stays so.
    """
    warned = list(_of_site(snapshot.export))
    routes = Routes((name.name for name in snapshot.names), snapshot.foreign)
    names_of: dict[str, list[str]] = {}
    for name in snapshot.names:
        names_of.setdefault(name.real, []).append(name.name)
        if routes.is_closed(name.name):
            text = "another line of users/assign or virtualdomains leads here too: no exact lines"
            warned.append(Warned(f"@{name.name}", "diverted", text))
    for domain in snapshot.domains:
        warned += _of_domain(domain, names_of.get(domain.name, []), snapshot, routes)
    return warned


def _of_site(export: Export) -> Iterator[Warned]:
    yield Warned(
        "",
        "size-in-name",
        "qmail does not put ,S=SIZE into the names of messages: who measures a Maildir has to"
        " look at every file",
    )
    yield Warned("", "maildir", "qmail-start has to be given ./Maildir/ as the default delivery")
    if export.exact_despite_quota:
        yield Warned("", "quota", "the quotas of mailboxes are not enforced at delivery")


def _of_domain(
    domain: DomainState, own: Sequence[str], snapshot: Snapshot, routes: Routes
) -> Iterator[Warned]:
    if domain.catchall not in BY_VDELIVERMAIL:
        if domain.accounts:
            text = "its .qmail-default does not run vdelivermail, which its mailboxes would need"
            yield Warned(f"@{domain.name}", "default", text)
        return
    limits = domain.limits or snapshot.default_limits
    for account in domain.accounts:
        if obstacle := _obstacle(account, limits, snapshot.export):
            yield Warned(f"{account.name}@{domain.name}", *obstacle)
    for name in own:
        diverted = routes.diverted(name)
        for account in domain.accounts if any(diverted) else ():
            if is_diverted(f"{name}-{account.name}", diverted):
                text = "another line of users/assign has this address"
                yield Warned(f"{account.name}@{name}", "diverted", text)


def _obstacle(account: Account, limits: Limits | None, export: Export) -> tuple[str, str] | None:
    """Return code and text of what vdelivermail has to see to at each delivery."""
    by = "vdelivermail delivers"
    if not export.has_accounts:
        by = "vdelivermail, which finds no mailbox, would have to deliver"
    directory = account.directory.rstrip("/")
    if ":" in directory or "\n" in directory or "\0" in directory:
        return "colon", f"users/assign cannot have its directory: {by}"
    if not directory.startswith("/"):
        return "directory", f"its directory is no absolute path: {by}"
    if account.name != names.lower(account.name):
        return "capitals", "qmail knows no capital letters in addresses"
    has_quota = account.quota_bytes is not None or account.quota_messages is not None
    if has_quota and not export.exact_despite_quota:
        return "quota", f"it has a quota, which vdelivermail enforces: {by}"
    if _deletes_spam(account, limits):
        return "spam", f"its spam is deleted by vdelivermail: {by}"
    return None


def _deletes_spam(account: Account, limits: Limits | None) -> bool:
    if account.flags & Flag.DELETE_SPAM:
        return True
    of_domain = limits is not None and bool(limits.values.get("delete_spam"))
    return of_domain and not account.flags & Flag.V_OVERRIDE
