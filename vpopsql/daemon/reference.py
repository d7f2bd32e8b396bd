"""The reference of docs/protocol.md, written from the command table itself.

Who may run a command, what it is refused for and with which code come from the table, what it does
from its handler. What the table does not know is said here: the parameters that a command really
takes, where ``help`` keeps to what vpopmaild's has always said, and what its answer holds.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from vpopsql import flags
from vpopsql.daemon.commands import EVERYWHERE, RULES, SECTIONS, UNAUTHORIZED_PATH, Command, refuse
from vpopsql.model import LIMIT_SETTINGS, Flag
from vpopsql.services import rights
from vpopsql.services.rights import Actor, Level

_USER = "a mailbox: see [below](#what-a-mailbox-looks-like)"
_SWITCHES = "[ezmlm-make's switches]"


@dataclass(frozen=True, slots=True)
class _Entry:
    parameters: str
    lines: str = ""
    """Of the list that it answers; empty: it answers `+OK` alone."""
    whose: str = ""
    """What somebody below a system administrator may name."""
    notes: str = ""


_FILES = "administrators of a domain: what is below its directory; users: below their own"
_OWN = "administrators of a domain: its mailboxes; users: their own"

_ENTRIES: Mapping[str, _Entry] = {
    "user_info": _Entry("user@domain", _USER),
    "list_domains": _Entry(
        "[page per_page]",
        "a line `REAL NAME` for each domain and alias domain, in the order of the names; of a "
        "domain both are its own",
    ),
    "find_domain": _Entry(
        "domain [per_page]", "`page N`, or nothing for a domain that there is not"
    ),
    "domain_count": _Entry("", "`count N`"),
    "add_alias_domain": _Entry(
        "domain alias", notes="Which of the two is the alias is seen from which one there is."
    ),
    "add_domain": _Entry(
        "domain password", notes="The password is all that is left of the line, blanks included."
    ),
    "del_domain": _Entry("domain"),
    "dom_info": _Entry(
        "domain", "`domain`, `path`, `uid`, `gid`, and a line `alias NAME` for each alias domain"
    ),
    "get_limits": _Entry(
        "domain",
        "a line for each limit: see [below](#limits); the last one comes twice",
        "all but system administrators: their own domain",
    ),
    "set_limits": _Entry(
        "domain",
        notes="`+OK`, then the client sends lines `NAME NUMBER` up to one with a single dot, then "
        "comes the answer. A line `  Warning: invalid value` before it stands for each value that "
        "is none; that limit is as it was.",
    ),
    "del_limits": _Entry("domain"),
    "get_domain_size": _Entry(
        "domain",
        "`user ADDRESS`, `size BYTES`, `count MESSAGES` for each mailbox, then `domain NAME` with "
        "the sums",
    ),
    "add_user": _Entry(
        "user@domain password",
        notes="The password is all that is left of the line, blanks included.",
    ),
    "del_user": _Entry("user@domain"),
    "user_count": _Entry("domain", "`count N`"),
    "list_users": _Entry(
        "domain [page per_page]",
        f"each is {_USER}; a blank line comes after each",
    ),
    "list_lists": _Entry("domain [page per_page]", "the name of a dot-qmail file each"),
    "mod_user": _Entry(
        "user@domain",
        whose=_OWN,
        notes="`+OK`, then the client sends [option lines](#option-lines-of-mod_user) up to one "
        "with a single dot, then comes the answer.",
    ),
    "get_lastauth": _Entry("user@domain", "`time SECONDS` since 1970 and `ip ADDRESS`", _OWN),
    "get_user_size": _Entry("user@domain", "`size BYTES` and `count MESSAGES`", _OWN),
    "add_alias": _Entry(
        "user@domain line",
        notes="The line is all that is left: an address, a path such as `./Maildir/`, a program "
        "after `|`, or a comment after `#`.",
    ),
    "delete_alias": _Entry("user@domain"),
    "list_alias": _Entry(
        "domain | user@domain", "a line `ADDRESS LINE` for each line of the dot-qmail files"
    ),
    "remove_alias": _Entry("user@domain line"),
    "mk_dir": _Entry("path", whose=_FILES),
    "rm_dir": _Entry("path", whose=_FILES),
    "list_dir": _Entry(
        "path",
        "a line `NAME KIND` each; a KIND is `file`, `dir`, `link`, `fifo`, `sock`, `chardev`, "
        "`plkdev` (a block device) or `unknown`",
        _FILES,
    ),
    "rm_file": _Entry("path", whose=_FILES),
    "rename_file": _Entry("path path", whose=_FILES),
    "write_file": _Entry(
        "path",
        whose=_FILES,
        notes="Nothing is answered at once, unless it is refused: the client sends the lines up "
        "to one with a single dot, then comes the answer. A line of two dots or more loses one.",
    ),
    "read_file": _Entry(
        "path",
        "the lines of the file, which end with LF alone; a line of dots only has one more",
        _FILES,
    ),
    "stat_file": _Entry("path", "`uid: NUMBER`", _FILES),
    "get_ip_map": _Entry("ip", "`IP DOMAIN`"),
    "add_ip_map": _Entry("ip domain", notes="An earlier mapping of the address is replaced."),
    "del_ip_map": _Entry("ip domain"),
    "show_ip_map": _Entry("", "a line `IP DOMAIN` for each mapping"),
    "add_list": _Entry(f"domain list {_SWITCHES}"),
    "del_list": _Entry("domain list"),
    "mod_list": _Entry(f"domain list {_SWITCHES}"),
}

_FLAGS: Mapping[Flag, str] = {
    Flag.NO_PASSWD_CHNG: "may not change his own password",
    Flag.NO_POP: "no POP3",
    Flag.NO_WEBMAIL: "no webmail",
    Flag.NO_IMAP: "no IMAP",
    Flag.BOUNCE_MAIL: "mail for him bounces",
    Flag.NO_RELAY: "may not send to other sites",
    Flag.NO_DIALUP: "no dial-up",
    Flag.V_USER0: "the site's own meaning",
    Flag.V_USER1: "the site's own meaning",
    Flag.V_USER2: "the site's own meaning",
    Flag.V_USER3: "the site's own meaning",
    Flag.NO_SMTP: "no SMTP AUTH",
    Flag.QA_ADMIN: "administers his domain",
    Flag.V_OVERRIDE: "the domain's limits do not hold for him",
    Flag.NO_SPAMASSASSIN: "his mail is not looked at for spam",
    Flag.DELETE_SPAM: "what is found to be spam is deleted",
    Flag.NO_MAILDROP: "his mail does not pass maildrop",
    Flag.SA_ADMIN: "administers the whole site",
    Flag.SA_EXPERT: "may have dot-qmail lines that run programs or leave his directory",
}

_LIMITS: Mapping[str, str] = {
    "max_popaccounts": "mailboxes, -1: any number",
    "max_aliases": "aliases, -1: any number",
    "max_forwards": "forwards, -1: any number",
    "max_autoresponders": "autoresponders, -1: any number",
    "max_mailinglists": "mailing lists, -1: any number; `maxmailinglists` is the same",
    "disk_quota": "megabytes of all quotas together, 0: any number",
    "max_msgcount": "messages of all quotas together, 0: any number",
    "default_quota": "bytes of a new mailbox's quota, 0: none",
    "default_maxmsgcount": "messages of a new mailbox's quota, 0: none",
    "disable_pop": "0 or 1: no POP3",
    "disable_imap": "0 or 1: no IMAP",
    "disable_dialup": "0 or 1: no dial-up",
    "disable_password_changing": "0 or 1: users may not change their passwords",
    "disable_webmail": "0 or 1: no webmail",
    "disable_external_relay": "0 or 1: no sending to other sites",
    "disable_smtp": "0 or 1: no SMTP AUTH",
    "disable_spamassassin": "0 or 1: mail is not looked at for spam",
    "delete_spam": "0 or 1: what is found to be spam is deleted",
    "disable_maildrop": "0 or 1: mail does not pass maildrop",
    "perm_account": "what is denied with mailboxes",
    "perm_alias": "what is denied with aliases",
    "perm_forward": "what is denied with forwards",
    "perm_autoresponder": "what is denied with autoresponders",
    "perm_maillist": "what is denied with mailing lists",
    "perm_maillist_users": "what is denied with subscribers; not in `get_limits`",
    "perm_maillist_moderators": "what is denied with moderators; not in `get_limits`",
    "perm_quota": "what is denied with quotas",
    "perm_defaultquota": "what is denied with default quotas",
}

_SYSTEM = "system administrators"
_OVERRIDING = "administrators with `override_domain_limits`, and of the system"

_MAILBOX = """\
Lines `name`, `comment`, `quota`, `user_dir`, `encrypted_password` and `clear_text_password`.
Then, after `login`, a line with 0 or 1 for each flag but the last one of the table below; after
`clogin` and `slogin`, one line `gidflags SUM`. Both passwords are empty for who may not see them,
the second also where no clear text is stored.
"""
_OPTION_LINES = """\
Names that are not in these tables, and those that the caller may not set, are skipped in silence;
a value that cannot be stored refuses the whole change.
"""
_OF_LIMITS = """\
Those of a domain, or the site's where it has none. `perm_*` are sums of 1 (to create), 2 (to
modify) and 4 (to delete), and hold for a domain's administrators, its postmaster excepted.
"""
_OF_RULES = """\
After the code of the command that begins with `0.`. Besides these there are texts of their own
for values (`0.305`, `0.507`, `0.804`), and the system's for files (`No such file or directory`).
"""
_OF_PATHS = """\
A path is absolute (`/home/vpopmail/domains/example.com/alice/x`), or begins with a domain
(`example.com/x`: below its directory) or an address (`alice@example.com/x`: below the mailbox's).
Links are not followed. Each command that takes a path may refuse it so:
"""

_LEVELS: Mapping[Level, str] = {
    Level.USER: "Everybody who has logged in",
    Level.DOMAIN: "Administrators of the domain, and of the system",
    Level.SYSTEM: "System administrators",
}


def reference() -> str:
    """Return the reference: every command, what mailboxes and limits have, every refusal."""
    parts = [_commands(), _option_lines(), _limits(), _rules(), _paths()]
    return "\n".join(line for part in parts for line in part)


def _commands() -> Iterator[str]:
    for title, commands in SECTIONS.items():
        yield from (f"## {title} commands", "")
        for command in commands:
            yield from _command(command, _ENTRIES[command.verb])


def _command(command: Command, entry: _Entry) -> Iterator[str]:
    yield from (f"### {command.verb}", "", "```text")
    yield f"{command.verb} {entry.parameters}".strip()
    yield from ("```", "", _sentence(command.handler), "")
    yield f"- Rights: {_LEVELS[command.level]}{f' ({entry.whose})' if entry.whose else ''}."
    if command.has_body:
        yield f"- Answer: {entry.notes}"
    else:
        yield f"- Answer: {f'`+OK+` and a list: {entry.lines}' if entry.lines else '`+OK`'}."
        yield from [f"- {entry.notes}"] if entry.notes else []
    yield ""
    rows = list(_refusals(command))
    if rows:
        yield from _table(("refused with", "when"), rows)


def _refusals(command: Command) -> Iterator[tuple[str, str]]:
    """Give a row for each code, in the order of the table, with all that it is said for."""
    whens: dict[str, list[str]] = {}
    for error, code in command.refusals.items():
        whens.setdefault(refuse(code).status, []).append(_sentence(error))
    for status, reasons in whens.items():
        yield f"`{status}`", " ".join(reasons)
    if command.code:
        yield (
            f"`-ERR {command.code} …`",
            "One of [the rules](#what-the-rules-refuse), or what the system says of a file.",
        )


def _option_lines() -> Iterator[str]:
    yield from ("## What a mailbox looks like", "")
    yield _MAILBOX
    yield "### Option lines of mod_user"
    yield ""
    yield _OPTION_LINES
    own = [
        ("`comment TEXT`", "the person's name", "everybody"),
        (
            "`clear_text_password TEXT`",
            "a new password, of which a hash is stored; empty: none",
            "everybody, unless `no_password_change`",
        ),
        ("`encrypted_password HASH`", "the hash of a password, or a locked one", _SYSTEM),
        ("`quota TEXT`", "`10M`, `10485760S,1000C` or `NOQUOTA`", _OVERRIDING),
        ("`clear_all_flags`", "all flags that the caller may set are 0", "everybody"),
    ]
    yield from _table(("line", "meaning", "who may set it"), own)
    rows = (
        (f"`{name} 0` or `1`", f"0x{int(flag):x}", _FLAGS[flag], _settable(flag))
        for name, flag in flags.OPTIONS.items()
    )
    yield from _table(("line", "bit", "1 means", "who may set it"), rows)


def _settable(flag: Flag) -> str:
    """Return who may set a flag, as `rights.settable_flags` has it."""
    callers = {"everybody": Flag(0), _OVERRIDING: Flag.QA_ADMIN | Flag.V_OVERRIDE}
    for who, own in callers.items():
        if flag & rights.settable_flags(Actor(0, "somebody", 0, "example.com", "", "", own, "")):
            return who
    return _SYSTEM


def _limits() -> Iterator[str]:
    yield from ("## Limits", "")
    yield _OF_LIMITS
    yield from _table(
        ("name", "number"), ((f"`{name}`", _LIMITS[name]) for name in LIMIT_SETTINGS)
    )


def _rules() -> Iterator[str]:
    yield from ("## What the rules refuse", "")
    yield _OF_RULES
    rows = ((f"`{text}`", _sentence(error)) for error, text in RULES.items())
    yield from _table(("text", "when"), rows)


def _paths() -> Iterator[str]:
    yield from ("## Paths", "")
    yield _OF_PATHS
    rows = [(f"`{refuse(code).status}`", _sentence(error)) for error, code in EVERYWHERE.items()]
    levels = {
        Level.SYSTEM: "a system administrator",
        Level.DOMAIN: "an administrator of a domain",
        Level.USER: "a user",
    }
    for level, code in UNAUTHORIZED_PATH.items():
        meaning = f"The path leads out of what {levels[level]} may touch, or through a link."
        rows.append((f"`{refuse(code).status}`", meaning))
    yield from _table(("refused with", "when"), rows)


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    heads = tuple(heads)
    yield f"| {' | '.join(heads)} |"
    yield f"| {' | '.join('---' for _ in heads)} |"
    for row in rows:
        cells = (each.replace("|", "\\|") for each in row)
        yield f"| {' | '.join(cells)} |"
    yield ""


def _sentence(what: object) -> str:
    """Return the first paragraph of what something says of itself, as Markdown."""
    said = (what.__doc__ or "").partition("\n\n")[0]
    return " ".join(said.split()).replace("``", "`")
