"""``vuserinfo`` and ``vdominfo``: what is known of accounts and domains."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from vpopsql.compat.options import Given, Option, WrongUsage
from vpopsql.compat.program import REFUSED, Program, say

if TYPE_CHECKING:
    from vpopsql.compat.site import Site
    from vpopsql.services.overview import AccountOverview, DomainOverview

_SEPARATOR = "-" * 42
_FIELDS_OF_USERS = "npCugcdqQl"
_FIELDS_OF_DOMAINS = "nrugdt"

# --- vuserinfo ----------------------------------------------------------------------------------

_LIMITS = (
    ("NO_PASSWD_CHNG", "password can not be changed by user"),
    ("NO_POP", "pop access closed"),
    ("NO_WEBMAIL", "webmail access closed"),
    ("NO_IMAP", "imap access closed"),
    ("NO_SMTP", "smtp access is closed"),
    ("NO_RELAY", "user not allowed to relay mail"),
    ("NO_SPAMASSASSIN", "spamassassin processing disabled"),
    ("DELETE_SPAM", "delete spam"),
    ("NO_MAILDROP", "maildrop processing disabled"),
    ("NO_DIALUP", "no dialup flag has been set"),
    ("BOUNCE_MAIL", "mail will be bounced back to sender"),
    ("V_USER0", "user flag 0 is set"),
    ("V_USER1", "user flag 1 is set"),
    ("V_USER2", "user flag 2 is set"),
    ("V_USER3", "user flag 3 is set"),
    ("QA_ADMIN", "has qmailadmin administrator access"),
    ("V_OVERRIDE", "user is not subject to domain limits"),
    ("SA_ADMIN", "has system administrator access"),
    ("SA_EXPERT", "has expert access"),
)
"""Flag -> what is said of it, in vuserinfo's order."""

_NEVER = "Never logged in"


def _check_user(given: Given) -> None:
    if len(given.words) != (0 if "D" in given else 1):
        raise WrongUsage("either an address or -D is needed")


def _show_user(site: "Site", given: Given) -> int | None:
    from vpopsql.compat.site import domain_name
    from vpopsql.errors import NoSuchDomain
    from vpopsql.services import domains, limits, overview

    name = None
    if "D" in given:
        domain = domain_name(given.values["D"])
    else:
        name, domain = site.address(given.words[0])
    with site.reader() as session:
        found = domains.find_domain(session, domain)
        if found is None and name is None:
            raise NoSuchDomain(domain)
        accounts: Sequence[AccountOverview] = ()
        if found is not None:
            accounts = overview.list_account_overviews(session, found.id, name)
            held = limits.get_limits(session, found.id)
    if not accounts and name is not None:
        say(f"no such user {name}@{domain}")
        return REFUSED
    letters = "" if "a" in given else given.any_of(_FIELDS_OF_USERS)
    for account in accounts:
        if name is None and not letters:
            say(_SEPARATOR)
        added = account.effective_flags(held)
        lines = _fields(site, account, letters) if letters else _block(site, account, added)
        for line in lines:
            say(line)
    return None


def _fields(site: "Site", account: "AccountOverview", letters: str) -> Iterator[str]:
    """Return the values of some fields, one a line."""
    values: Mapping[str, Callable[[], str]] = {
        "n": lambda: account.name,
        "p": lambda: account.password_hash,
        "C": lambda: account.clear_text or "",
        "u": lambda: str(account.apop_uid),
        "g": lambda: str(account.flags),
        "c": lambda: account.comment,
        "d": lambda: account.directory,
        "q": lambda: account.quota_text,
        "Q": lambda: _usage(site, account),
        "l": lambda: _last_auth(account)[0],
    }
    for letter in letters:
        yield values[letter]()


def _block(site: "Site", account: "AccountOverview", effective: int) -> Iterator[str]:
    """Return everything, one field a line."""
    yield f"name:   {account.name}"
    yield f"passwd: {account.password_hash}"
    if account.clear_text is not None:
        yield f"clear passwd: {account.clear_text}"
    yield f"comment/gecos: {account.comment}"
    yield f"uid:    {account.apop_uid}"
    yield f"gid:    {account.flags}"
    yield f"flags:  {effective}"
    yield f"gecos: {account.comment}"
    yield from _limits(account.flags, effective)
    yield f"dir:       {account.directory}"
    yield f"quota:     {account.quota_text}"
    yield f"usage:     {_usage(site, account)}"
    at, address, made = _last_auth(account)
    if made:
        yield f"account created: {made}"
    yield f"last auth: {at}"
    if address:
        yield f"last auth ip: {address}"


def _limits(own: int, effective: int) -> Iterator[str]:
    from vpopsql.model import Flag

    if not effective:
        yield "limits: No user limits set."
        return
    yield "limits:"
    for name, text in _LIMITS:
        if effective & Flag[name]:
            yield f"        {text}" if own & Flag[name] else f"        {text} (*)"
    if effective & ~own:
        yield "        * = set by domain-wide limits"


def _usage(site: "Site", account: "AccountOverview") -> str:
    """Return how much of its quota an account uses, by size or by number, whichever is more."""
    from vpopsql import maildir
    from vpopsql.quota import Quota
    from vpopsql.tree import UnsafePath

    quota = Quota.parse(account.quota_text)
    if quota == Quota():
        return "NOQUOTA"
    try:
        box = f"{account.directory.rstrip('/')}/Maildir"
        used = maildir.measure(site.tree(), box, quota)
    except (OSError, UnsafePath):
        # As vpopmail says of a Maildir that is not there.
        return "0%"
    by_size = used.bytes * 100 // quota.bytes if quota.bytes else 0
    by_number = used.messages * 100 // quota.messages if quota.messages else 0
    return f"{max(by_size, by_number)}%"


def _last_auth(account: "AccountOverview") -> tuple[str, str, str]:
    """Return when and from where it last logged in and, if it never did, when it was made."""
    from vpopsql.services.account_changes import NEVER

    if account.last_auth is None:
        return _NEVER, "", ""
    at, address = account.last_auth
    if address == NEVER:
        return _NEVER, "", _local(at)
    return _local(at), address, ""


def _local(at: datetime) -> str:
    """Return a time as asctime(3) writes it, in the zone of the process."""
    return time.asctime(time.localtime(at.timestamp()))


vuserinfo = Program(
    "vuserinfo",
    "[options] user@domain | -D domain [options]",
    "Show an account, or all of a domain. Without options everything is shown; with some, the"
    " values alone, one a line.",
    _show_user,
    (
        Option("a", "Everything."),
        Option("n", "The name."),
        Option("p", "The hash of the password."),
        Option("C", "The password, if it is stored."),
        Option("u", "The kind: 1, or 2 for APOP."),
        Option("g", "The flags, as a number."),
        Option("c", "The comment."),
        Option("d", "The directory."),
        Option("q", "The quota."),
        Option("Q", "How much of the quota is used."),
        Option("l", "When somebody last logged in."),
        Option("D", "All accounts of this domain.", "domain"),
    ),
    (0, 1),
    _check_user,
)

# --- vdominfo -----------------------------------------------------------------------------------


def _show_domain(site: "Site", given: Given) -> int | None:
    from vpopsql.compat.site import domain_name
    from vpopsql.services import accounts, domains, overview

    letters = "" if "a" in given else given.any_of(_FIELDS_OF_DOMAINS)
    if not given.words:
        with site.reader() as session:
            everything = overview.list_domain_overviews(session)
        for each in everything:
            for line in _domain_fields(each, letters) if letters else (*_domain(each), ""):
                say(line)
        return None
    name = domain_name(given.words[0])
    with site.reader() as session:
        found = domains.find_domain(session, name)
        if found is None:
            say("Invalid domain name")
            return REFUSED
        number = accounts.count_accounts(session, found.name)
        aliases = domains.alias_domains(session, found.id)
    # Quirk: an alias domain that is asked for is shown as the domain that it stands for.
    shown = overview.DomainOverview(
        found.name, found.name, found.directory, found.uid, found.gid, number
    )
    lines = _domain_fields(shown, letters) if letters else _domain(shown)
    for line in (*lines, *(() if letters else (f"alias: {alias}" for alias in aliases))):
        say(line)
    return None


def _domain(each: "DomainOverview") -> Iterator[str]:
    alias = f" (alias of {each.real})" if each.is_alias else ""
    yield f"domain: {each.name}{alias}"
    yield f"uid:    {each.uid}"
    yield f"gid:    {each.gid}"
    yield f"dir:    {each.directory}"
    yield f"users:  {each.accounts}"


def _domain_fields(each: "DomainOverview", letters: str) -> Iterator[str]:
    values = {
        "n": each.name,
        "r": each.real,
        "u": str(each.uid),
        "g": str(each.gid),
        "d": each.directory,
        "t": str(each.accounts),
    }
    yield from (values[letter] for letter in letters)


vdominfo = Program(
    "vdominfo",
    "[options] [domain]",
    "Show a domain, or all domains and alias domains. Without options everything is shown; with"
    " some, the values alone, one a line.",
    _show_domain,
    (
        Option("a", "Everything."),
        Option("n", "The name."),
        Option("r", "The name of the domain itself, if this is an alias domain."),
        Option("u", "The user that owns its files."),
        Option("g", "The group that owns its files."),
        Option("d", "The directory."),
        Option("t", "The number of its accounts."),
    ),
    (0, 1),
)
