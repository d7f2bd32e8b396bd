"""``vadduser``, ``vdeluser`` and ``vpasswd``: one account."""

from dataclasses import replace
from typing import TYPE_CHECKING

from vpopsql.compat import asking
from vpopsql.compat.options import Given, Option
from vpopsql.compat.program import Program

if TYPE_CHECKING:
    from vpopsql.compat.site import Change, Site
    from vpopsql.quota import Quota
    from vpopsql.services.account_changes import Secret

FILES_FOLLOW = "Accepted: files are written once, for all that a command changes."


def parse_quota(text: str) -> "Quota":
    """Return a quota: ``NOQUOTA``, or bytes and messages such as ``10M,1000C``.

    :raises InvalidValue: it is not what it looks like.
    """
    from vpopsql.errors import InvalidValue
    from vpopsql.quota import Quota, find_doubt

    if doubt := find_doubt(text):
        raise InvalidValue(f"quota {text!r}: {doubt}; use 10M, 10485760S,1000C or NOQUOTA")
    return Quota.parse(text)


# --- vadduser -----------------------------------------------------------------------------------


def _check_new(given: Given) -> None:
    asking.require_one_source(given, 1, "en")


def _add_user(site: "Site", given: Given) -> None:
    from vpopsql import homes
    from vpopsql.errors import InvalidDomainName
    from vpopsql.services import account_changes
    from vpopsql.services.account_changes import Wishes

    name, domain = site.address(given.words[0])
    if not domain:
        raise InvalidDomainName(given.words[0])
    comment = given.values.get("c")
    if comment is not None:
        account_changes.check_comment(comment)
    quota = parse_quota(given.values["q"]) if "q" in given else None
    secret, made_up = _new_secret(site, given, f"{name}@{domain}")

    def job(change: "Change") -> None:
        add = account_changes.add_account
        home = add(change.session, change.actor, name, domain, secret)
        if quota is not None or comment is not None:
            wishes = Wishes(comment=comment, quota=quota)
            account_changes.modify_account(change.session, change.actor, name, home.domain, wishes)
            home = replace(home, quota=home.quota if quota is None else quota)
        homes.make_home(change.tree, home)
        change.touched.accounts.add(home.domain)

    site.change(job)
    if made_up:
        asking.show_random(made_up)


def _new_secret(site: "Site", given: Given, account: str) -> "tuple[Secret, str]":
    """Return what a new account gets, and the password that was made up, if one was."""
    from vpopsql.services.account_changes import Secret, check_hash

    if "n" in given:
        return Secret(""), ""
    if (hashed := given.values.get("e")) is not None:
        check_hash(hashed)
        return Secret(hashed), ""
    text, is_random = asking.password(given, 1, account)
    return asking.secret_of(site, text), text if is_random else ""


vadduser = Program(
    "vadduser",
    "[options] user@domain [password]",
    "Add an account. Without a password it is asked for, or read from standard input.",
    _add_user,
    (
        Option("q", "Its quota, instead of the domain's default.", "quota"),
        Option("c", "Who it is, instead of its name.", "comment"),
        Option("e", "The password as a crypt(3) hash that was made elsewhere.", "hash"),
        Option("n", "No password: nobody can log in until there is one."),
        asking.RANDOM,
        Option("s", FILES_FOLLOW),
    ),
    (1, 2),
    _check_new,
)

# --- vdeluser -----------------------------------------------------------------------------------


def delete_user(change: "Change", name: str, domain: str) -> None:
    """Delete an account; its directory goes to the trash.

    :raises NoSuchDomain, NoSuchUser, PostmasterNeeded, CatchAllNeeded: it cannot be deleted.
    """
    from vpopsql import trash

    home, kept = trash.delete_user(change.session, change.tree, change.actor, name, domain)
    change.touched.accounts.add(home.domain)
    change.afterwards(lambda: kept.move(change.tree))


def _delete_user(site: "Site", given: Given) -> None:
    name, domain = site.address(given.words[0])
    site.change(lambda change: delete_user(change, name, domain))


vdeluser = Program(
    "vdeluser",
    "user@domain",
    "Delete an account. Its mail goes to the trash, see `vpopsql trash`. A postmaster stays, and"
    " so does who gets the mail for unknown names.",
    _delete_user,
)

# --- vpasswd ------------------------------------------------------------------------------------


def _check_password(given: Given) -> None:
    asking.require_one_source(given, 1)


def _set_password(site: "Site", given: Given) -> None:
    from vpopsql.errors import PasswordChangeForbidden
    from vpopsql.model import Flag
    from vpopsql.services import account_changes, domains, limits, overview
    from vpopsql.services.account_changes import Wishes
    from vpopsql.services.accounts import get_account

    name, domain = site.address(given.words[0])
    with site.reader() as session:
        # First, so that nobody types a password in vain.
        get_account(session, name, domain)
    text, is_random = asking.password(given, 1, f"{name}@{domain}")
    wishes = Wishes(password=text, hashed=asking.secret_of(site, text))

    def job(change: "Change") -> None:
        session = change.session
        found = domains.get_domain(session, domain)
        held = limits.get_limits(session, found.id)
        for account in overview.list_account_overviews(session, found.id, name):
            if account.effective_flags(held) & Flag.NO_PASSWD_CHNG:
                raise PasswordChangeForbidden(
                    f"the password of {name}@{domain} is not to be changed"
                )
        modified = account_changes.modify_account(session, change.actor, name, domain, wishes)
        change.touched.accounts.add(modified.domain)

    site.change(job)
    if is_random:
        asking.show_random(text)


vpasswd = Program(
    "vpasswd",
    "[options] user@domain [password]",
    "Change an account's password, unless the account or its domain is not to (`vmoduser -C` does"
    " it all the same). Without a password it is asked for, or read from standard input.",
    _set_password,
    (asking.RANDOM,),
    (1, 2),
    _check_password,
)
