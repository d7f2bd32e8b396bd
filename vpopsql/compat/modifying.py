"""``vmoduser`` and ``vsetuserquota``: one account, or every account of a domain."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from vpopsql.compat import asking
from vpopsql.compat.accounts import FILES_FOLLOW, parse_quota
from vpopsql.compat.options import Given, Option, WrongUsage
from vpopsql.compat.program import Program

if TYPE_CHECKING:
    from vpopsql.compat.site import Change, Site
    from vpopsql.services.account_changes import Wishes

_FLAGS: Mapping[str, tuple[str, str]] = {
    "d": ("NO_PASSWD_CHNG", "Who has it may not change his password."),
    "p": ("NO_POP", "No POP3."),
    "s": ("NO_SMTP", "No SMTP with a login."),
    "w": ("NO_WEBMAIL", "No webmail."),
    "i": ("NO_IMAP", "No IMAP."),
    "b": ("BOUNCE_MAIL", "Bounce all mail."),
    "o": ("V_OVERRIDE", "The limits of the domain do not hold."),
    "r": ("NO_RELAY", "No relaying after a login."),
    "a": ("QA_ADMIN", "Administers the domain."),
    "S": ("SA_ADMIN", "Administers the whole system."),
    "E": ("SA_EXPERT", "Writes any .qmail file."),
    "f": ("NO_SPAMASSASSIN", "No spamassassin."),
    "F": ("DELETE_SPAM", "Delete spam."),
    "m": ("NO_MAILDROP", "No maildrop."),
    "u": ("NO_DIALUP", "No dial-up."),
    "0": ("V_USER0", "The site's own flag 0."),
    "1": ("V_USER1", "The site's own flag 1."),
    "2": ("V_USER2", "The site's own flag 2."),
    "3": ("V_USER3", "The site's own flag 3."),
}


def _accounts(site: "Site", word: str) -> tuple[list[str], str]:
    """Return the names that a word means, and their domain: an account, or all of a domain.

    :raises NoSuchUser, NoSuchDomain: there is none.
    """
    from vpopsql.compat.site import domain_name
    from vpopsql.services import accounts, domains

    if "@" in word:
        name, domain = site.address(word)
        return [name], domain
    with site.reader() as session:
        found = domains.get_domain(session, domain_name(word))
        return [each.name for each in accounts.list_accounts(session, found.name)], found.name


def _modify(site: "Site", word: str, wishes_of: "Callable[[], Wishes]") -> None:
    """Change the accounts that ``word`` means, all or none.

    :param wishes_of: makes the wishes of each, with a salt of its own.
    """
    from vpopsql import homes
    from vpopsql.services import account_changes

    names, domain = _accounts(site, word)
    wishes = {name: wishes_of() for name in names}

    def job(change: "Change") -> None:
        for name, wished in wishes.items():
            modify = account_changes.modify_account
            modified = modify(change.session, change.actor, name, domain, wished)
            change.touched.accounts.add(modified.domain)
            if home := modified.home:
                change.afterwards(partial(homes.set_quota_file, change.tree, home))

    site.change(job)


# --- vmoduser -----------------------------------------------------------------------------------


def _check(given: Given) -> None:
    if not set(given.values) - {"n"}:
        raise WrongUsage("nothing is to be changed")
    if "e" in given and "C" in given:
        raise WrongUsage("-e and -C exclude each other")


def _modify_user(site: "Site", given: Given) -> None:
    from vpopsql.model import Flag
    from vpopsql.services import account_changes
    from vpopsql.services.account_changes import Wishes

    values = given.values
    to_set = Flag(0)
    for letter in given.any_of("".join(_FLAGS)):
        to_set |= Flag[_FLAGS[letter][0]]
    to_clear = ~Flag(0) & ~to_set if "x" in given else Flag(0)
    quota = parse_quota(values["q"]) if "q" in given else None
    if (comment := values.get("c")) is not None:
        account_changes.check_comment(comment)
    if (encrypted := values.get("e")) is not None:
        account_changes.check_hash(encrypted)
    password = values.get("C")

    def wishes_of() -> Wishes:
        return Wishes(
            comment=comment,
            quota=quota,
            set_flags=to_set,
            clear_flags=to_clear,
            password=password,
            hashed=None if password is None else asking.secret_of(site, password),
            encrypted=encrypted,
        )

    _modify(site, given.words[0], wishes_of)


vmoduser = Program(
    "vmoduser",
    "[options] user@domain | domain",
    "Change an account, or every account of a domain. A flag that is not named stays as it is,"
    " unless -x clears it.",
    _modify_user,
    (
        Option("q", "The quota.", "quota"),
        Option("c", "The comment.", "comment"),
        Option("e", "The password as a crypt(3) hash that was made elsewhere.", "hash"),
        Option("C", "The password.", "password"),
        Option(
            "D",
            "",
            "directory",
            refused="mail would stay where it was; a home's directory is made once, and kept",
        ),
        Option("x", "Clear every flag, and set only those that are named beside it."),
        *(Option(letter, f"Set: {purpose}") for letter, (_, purpose) in _FLAGS.items()),
        Option("n", FILES_FOLLOW),
    ),
    (1, 1),
    _check,
)

# --- vsetuserquota ------------------------------------------------------------------------------


def _set_quota(site: "Site", given: Given) -> None:
    from vpopsql.services.account_changes import Wishes

    quota = parse_quota(given.words[1])
    _modify(site, given.words[0], lambda: Wishes(quota=quota))


vsetuserquota = Program(
    "vsetuserquota",
    "user@domain | domain  quota",
    "Set the quota of an account, or of every account of a domain: bytes and messages such as"
    " 10M or 10485760S,1000C, or NOQUOTA. Its use is measured anew.",
    _set_quota,
    words=(2, 2),
)
