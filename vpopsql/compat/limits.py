"""``vmoddomlimits``: the limits of a domain, and the site's defaults."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from vpopsql.compat.options import Given, Option, WrongUsage
from vpopsql.compat.program import Program, say

if TYPE_CHECKING:
    from vpopsql.compat.site import Change, Site

Settings = Mapping[str, int | bool]

_LARGEST = 2**63 - 1

_NUMBERS = {
    "Q": ("disk_quota", 0),
    "q": ("default_quota", 0),
    "M": ("max_msgcount", 0),
    "m": ("default_maxmsgcount", 0),
    "P": ("max_popaccounts", -1),
    "A": ("max_aliases", -1),
    "F": ("max_forwards", -1),
    "R": ("max_autoresponders", -1),
    "L": ("max_mailinglists", -1),
}
"""Option -> setting and its least value."""

_FLAGS = {
    "i": ("disable_imap", "NO_IMAP"),
    "s": ("disable_smtp", "NO_SMTP"),
    "p": ("disable_pop", "NO_POP"),
    "w": ("disable_webmail", "NO_WEBMAIL"),
    "r": ("disable_external_relay", "NO_RELAY"),
    "u": ("disable_dialup", "NO_DIALUP"),
    "d": ("disable_password_changing", "NO_PASSWD_CHNG"),
    "f": ("disable_spamassassin", "NO_SPAMASSASSIN"),
    "F": ("delete_spam", "DELETE_SPAM"),
    "m": ("disable_maildrop", "NO_MAILDROP"),
}
"""Letter of -g -> setting and the name of the flag."""

_PERMISSIONS = {
    "p": ("perm_account", "pop account"),
    "a": ("perm_alias", "alias"),
    "f": ("perm_forward", "forward"),
    "r": ("perm_autoresponder", "autoresponder"),
    "l": ("perm_maillist", "mailinglist"),
    "u": ("perm_maillist_users", "mailinglist users"),
    "o": ("perm_maillist_moderators", "mailinglist moderators"),
    "x": ("perm_quota", "quota"),
    "z": ("perm_defaultquota", "default quota"),
}
"""Option -> setting and what it is called."""

_RIGHTS = (("CREATE", 1), ("MODIFY", 2), ("DELETE", 4))
_DENIED = {"a": 7, "c": 1, "m": 2, "d": 4, "r": 0}
"""Letter of a permission set -> the bits that it denies; ``r`` begins anew."""

_CHANGING = "".join((*_NUMBERS, "g", *_PERMISSIONS))


def _check(given: Given) -> None:
    if len(given.words) != (0 if "d" in given else 1):
        raise WrongUsage("either a domain or -d is needed")
    changing = given.any_of(_CHANGING)
    if "D" in given and ("S" in given or "d" in given or changing):
        raise WrongUsage("-D excludes all other options")
    if not (changing or "D" in given or "S" in given):
        raise WrongUsage("nothing is to be changed or shown")
    _settings(given)


def _settings(given: Given) -> dict[str, int | bool]:
    """Return what shall be changed. :raises WrongUsage: a value makes no sense."""
    settings: dict[str, int | bool] = {}
    for letter, (name, least) in _NUMBERS.items():
        if (number := given.number(letter, least, _LARGEST)) is not None:
            settings[name] = number
    if (letters := given.values.get("g")) is not None:
        settings |= _flags(letters)
    for letter, (name, _) in _PERMISSIONS.items():
        if (letters := given.values.get(letter)) is not None:
            settings[name] = _denied(letter, letters)
    return settings


def _flags(letters: str) -> dict[str, bool]:
    settings: dict[str, bool] = {}
    for letter in letters:
        if letter == "x":
            settings = dict.fromkeys((name for name, _ in _FLAGS.values()), False)
        elif letter in _FLAGS:
            settings[_FLAGS[letter][0]] = True
        else:
            raise WrongUsage(f"-g knows the letters {''.join(_FLAGS)}x, not {letter!r}")
    return settings


def _denied(option: str, letters: str) -> int:
    denied = 0
    for letter in letters:
        if letter not in _DENIED:
            raise WrongUsage(f"-{option} knows the letters {''.join(_DENIED)}, not {letter!r}")
        denied = denied | _DENIED[letter] if _DENIED[letter] else 0
    return denied


def _modify_limits(site: "Site", given: Given) -> None:
    from vpopsql.compat.site import domain_name
    from vpopsql.services import domains, limits

    settings = _settings(given)
    if "d" in given:
        if settings:
            site.change(lambda change: _set_defaults(change, settings))
        if "S" in given:
            with site.reader() as session:
                _show("Domain: defaults", limits.get_default_limits(session))
        return
    name = domain_name(given.words[0])
    if "D" in given:
        site.change(lambda change: _delete(change, name))
    elif settings:
        site.change(lambda change: _set(change, name, settings))
    if "S" in given:
        with site.reader() as session:
            found = domains.get_domain(session, name)
            _show(f"Domain: {found.name}", limits.get_limits(session, found.id))


def _set(change: "Change", name: str, settings: Settings) -> None:
    from vpopsql.services import limits

    found = limits.set_limits(change.session, change.actor, name, settings)
    change.touched.limits.add(found.name)


def _set_defaults(change: "Change", settings: Settings) -> None:
    from vpopsql.services import limits

    limits.set_default_limits(change.session, change.actor, settings)
    change.touched.settings = True


def _delete(change: "Change", name: str) -> None:
    from vpopsql.services import limits

    domain = limits.delete_limits(change.session, change.actor, name)
    change.touched.limits.add(domain.name)
    change.touched.removed.add(f"{domain.directory.rstrip('/')}/.qmailadmin-limits")


def _show(title: str, settings: Settings) -> None:
    for line in _lines(title, settings):
        say(line)


def _lines(title: str, settings: Settings) -> Iterator[str]:
    flags = {letter: name for letter, (key, name) in _FLAGS.items() if settings[key]}
    yield title
    yield "--"
    yield f"Max Pop Accounts: {settings['max_popaccounts']}"
    yield f"Max Aliases: {settings['max_aliases']}"
    yield f"Max Forwards: {settings['max_forwards']}"
    yield f"Max Autoresponders: {settings['max_autoresponders']}"
    yield f"Max Mailinglists: {settings['max_mailinglists']}"
    yield "GID Flags:"
    yield from (f"  {name}" for name in flags.values())
    yield f"Flags (for commandline): {''.join(flags)}"
    yield "Flags for non postmaster accounts:"
    for key, label in _PERMISSIONS.values():
        yield f"  {label + ':':<24}{_permissions(int(settings[key]))}"
    yield f"Domain Quota: {settings['disk_quota']} MB"
    yield f"Default User Quota: {settings['default_quota']} bytes"
    yield f"Max Domain Messages: {settings['max_msgcount']}"
    yield f"Default Max Messages per User: {settings['default_maxmsgcount']}"


def _permissions(denied: int) -> str:
    words = (f"{'DENY' if denied & bit else 'ALLOW'}_{right}" for right, bit in _RIGHTS)
    return "".join(f"{word:<13}" for word in words)


vmoddomlimits = Program(
    "vmoddomlimits",
    "[options] domain | -d [options]",
    "Show or change the limits of a domain, or those of all domains that have none of their own."
    " The options -p to -z deny rights to administrators other than postmaster, by letters: a all,"
    " c create, m modify, d delete, r none.",
    _modify_limits,
    (
        Option("d", "The site's defaults, instead of a domain."),
        Option("S", "Show what holds, after any change."),
        Option("D", "Let the domain fall back to the site's defaults."),
        Option("Q", "For the whole domain, in megabytes; 0: unlimited.", "quota"),
        Option("q", "Quota of a new account, in bytes; 0: unlimited.", "quota"),
        Option("M", "Messages in the whole domain; 0: unlimited.", "number"),
        Option("m", "Messages of a new account; 0: unlimited.", "number"),
        Option("P", "How many accounts; -1, here and below: unlimited.", "number"),
        Option("A", "How many aliases.", "number"),
        Option("F", "How many forwards.", "number"),
        Option("R", "How many autoresponders.", "number"),
        Option("L", "How many mailing lists.", "number"),
        Option(
            "g",
            "What no account of the domain has: i IMAP, s SMTP, p POP3, w webmail, r relaying,"
            " u dial-up, d change of password, f spamassassin, m maildrop; F: delete spam; x:"
            " clear all that stand before it.",
            "letters",
        ),
        *(
            Option(letter, f"What is denied about: {label}.", "letters")
            for letter, (_, label) in _PERMISSIONS.items()
        ),
    ),
    (0, 1),
    _check,
)
