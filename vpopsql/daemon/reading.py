"""The handlers of the commands that only read.

Those that look at files do so when the transaction is over.
"""

import functools
import stat
from collections.abc import Iterable, Iterator

from vpopsql import errors, flags, maildir
from vpopsql.daemon.call import Afterwards, Call, parse_address
from vpopsql.model import LIMIT_SETTINGS, Flag
from vpopsql.names import lower
from vpopsql.protocol import Reply, listing, stuff
from vpopsql.quota import Quota
from vpopsql.services import accounts, domains, forwards, ipmaps, limits, rights
from vpopsql.services.accounts import Account, Login
from vpopsql.services.rights import Actor, Level
from vpopsql.tree import EntryType, LinkInPath, Tree, UnsafePath

_FLAG_NAMES = tuple(
    (name, flag) for name, flag in flags.OPTIONS.items() if flag is not Flag.SA_EXPERT
)
"""What the expanded form shows, in its order. Quirk: not SA_EXPERT, which can be set."""

# --- what a user looks like ---------------------------------------------------------------------


@functools.lru_cache(maxsize=1024)
def _flag_lines(bits: int, compact: bool) -> tuple[str, ...]:  # noqa: FBT001 - a cache key
    if compact:
        return (f"gidflags {bits}",)
    return tuple(f"{name} {int(bool(bits & bit))}" for name, bit in _FLAG_NAMES)


def _user_lines(account: Account, viewer: Actor, *, compact: bool) -> list[str]:
    secrets = rights.may_see_secrets(viewer, account.flags)
    return [
        f"name {account.name}",
        f"comment {account.comment}",
        f"quota {account.quota_text}",
        f"user_dir {account.directory}",
        f"encrypted_password {account.password_hash if secrets else ''}",
        f"clear_text_password {(account.clear_text or '') if secrets else ''}",
        *_flag_lines(account.flags, compact),
    ]


def login_reply(login: Login, *, compact: bool) -> Reply:
    """Return what ``login`` and ``clogin`` answer.

    Quirk: here, and nowhere else, a postmaster has the flag of what he is by name.
    """
    lines = [
        f"vpopmail_dir {login.actor.site_directory}",
        f"domain_dir {login.actor.domain_directory}",
        f"uid {login.uid}",
        f"gid {login.gid}",
    ]
    lines += _user_lines(login.account, login.actor, compact=compact)
    if login.actor.level is Level.DOMAIN:
        plain = _flag_lines(login.account.flags, compact)
        lines[-len(plain) :] = _flag_lines(login.account.flags | Flag.QA_ADMIN, compact)
    return listing(lines)


# --- domains ------------------------------------------------------------------------------------


def list_domains(call: Call) -> Reply:
    """List real name and name of every domain and alias domain."""
    rows = domains.list_domains(call.session, *call.words.numbers())
    return listing(f"{real} {name}" for real, name in rows)


def find_domain(call: Call) -> Reply:
    """Tell on which page of list_domains a domain is; an unknown one is on none."""
    name = call.domain()
    page = domains.page_of_domain(call.session, name, call.words.number())
    return listing([] if page is None else [f"page {page}"])


def domain_count(call: Call) -> Reply:
    """Count the lines of list_domains."""
    return listing([f"count {domains.count_domains(call.session)}"])


def dom_info(call: Call) -> Reply:
    """Show a domain, also when an alias of it is named."""
    domain = domains.get_domain(call.session, call.domain())
    aliases = domains.alias_domains(call.session, domain.id)
    lines = [f"domain {domain.name}", f"path {domain.directory}"]
    lines += [f"uid {domain.uid}", f"gid {domain.gid}"]
    return listing([*lines, *(f"alias {name}" for name in aliases)])


def get_limits(call: Call) -> Reply:
    """Show the limits that hold for a domain."""
    name = call.domain()
    if not rights.may_see_limits(call.caller, name):
        raise errors.NotAuthorized(name)
    settings = limits.get_limits(call.session, domains.get_domain(call.session, name).id)
    lines = [f"{key} {int(settings[key])}" for key in LIMIT_SETTINGS if key not in _NOT_SHOWN]
    # Quirk: the last one comes twice.
    return listing([*lines, lines[-1]])


_NOT_SHOWN = frozenset({"perm_maillist_users", "perm_maillist_moderators"})


# --- users --------------------------------------------------------------------------------------


def user_info(call: Call) -> Reply:
    """Show one mailbox."""
    name, domain = call.address()
    rights.require_domain(call.caller, domain)
    account = accounts.get_account(call.session, name, domain)
    return listing(_user_lines(account, call.caller, compact=call.compact))


def list_users(call: Call) -> Reply:
    """Show the mailboxes of a domain, each followed by a blank line."""
    domain = call.domain(errors.AddressRequired)
    rights.require_domain(call.caller, domain)
    found = accounts.list_accounts(call.session, domain, *call.words.numbers())
    return listing(_blocks(found, call))


def _blocks(found: Iterable[Account], call: Call) -> Iterator[str]:
    viewer, compact = call.caller, call.compact
    for account in found:
        yield from _user_lines(account, viewer, compact=compact)
        yield ""


def user_count(call: Call) -> Reply:
    """Count the mailboxes of a domain."""
    domain = call.domain()
    rights.require_domain(call.caller, domain)
    return listing([f"count {accounts.count_accounts(call.session, domain)}"])


def get_lastauth(call: Call) -> Reply:
    """Tell when and from where an account last logged in; 0.0.0.0 is never."""
    name, domain = call.address()
    rights.require_account(call.caller, name, domain)
    account = accounts.get_account(call.session, name, domain)
    last = accounts.last_auth(call.session, account.id)
    at, address = (0, "0.0.0.0") if last is None else (int(last[0].timestamp()), last[1])  # noqa: S104
    return listing([f"time {at}", f"ip {address}"])


def get_user_size(call: Call) -> Afterwards:
    """Measure a mailbox: bytes and messages."""
    name, domain = call.address()
    rights.require_account(call.caller, name, domain)
    account, tree = accounts.get_account(call.session, name, domain), call.tree()
    return Afterwards(lambda: listing(_size_lines(*_measure(tree, account))))


def get_domain_size(call: Call) -> Afterwards:
    """Measure every mailbox of a domain, and add them up."""
    name = call.domain()
    rights.require_domain(call.caller, name)
    domain = domains.find_domain(call.session, name)
    found = accounts.list_accounts(call.session, name)
    real, tree = name if domain is None else domain.name, call.tree()
    return Afterwards(lambda: listing(_domain_size_lines(tree, real, found)))


def _domain_size_lines(tree: Tree, domain: str, found: Iterable[Account]) -> Iterator[str]:
    total_bytes = total_messages = 0
    for account in found:
        size, messages = _measure(tree, account)
        total_bytes += size
        total_messages += messages
        yield f"user {account.name}@{domain}"
        yield from _size_lines(size, messages)
    yield f"domain {domain}"
    yield from _size_lines(total_bytes, total_messages)


def _measure(tree: Tree, account: Account) -> tuple[int, int]:
    """Return bytes and messages of a mailbox; none if it cannot be measured, as vpopmail says."""
    quota = Quota.parse(account.quota_text)
    try:
        return maildir.measure(tree, f"{account.directory.rstrip('/')}/Maildir", quota)[:2]
    except (OSError, UnsafePath):
        return 0, 0


def _size_lines(size: int, messages: int) -> list[str]:
    return [f"size {size}", f"count {messages}"]


# --- aliases and lists --------------------------------------------------------------------------


def list_alias(call: Call) -> Reply:
    """Show every line of the aliases of a domain, or of one alias."""
    word = call.word(errors.DomainRequired)
    name, domain = parse_address(call.session, word, "") if "@" in word else (None, lower(word))
    rights.require_domain(call.caller, domain)
    found = domains.find_domain(call.session, domain)
    if found is None:
        return listing([])
    rows = forwards.list_aliases(call.session, found.id, name)
    return listing(f"{alias}@{found.name} {line}" for alias, line in rows)


def list_lists(call: Call) -> Reply:
    """Show the dot-qmail files that run ezmlm."""
    name = call.domain(errors.AddressRequired)
    rights.require_domain(call.caller, name)
    domain = domains.get_domain(call.session, name)
    page, per_page = call.words.numbers()
    names = forwards.list_mailing_lists(call.session, domain.id)
    if page:
        names = names[(page - 1) * per_page : page * per_page]
    return listing(f".qmail-{name}" for name in names)


# --- IP map -------------------------------------------------------------------------------------


def get_ip_map(call: Call) -> Reply:
    """Show the domain that an address is mapped to."""
    address, domain = ipmaps.get_mapping(call.session, call.word(errors.IpRequired))
    return listing([f"{address} {domain}"])


def show_ip_map(call: Call) -> Reply:
    """Show the whole map, by address."""
    return listing(f"{ip} {domain}" for ip, domain in ipmaps.list_mappings(call.session))


# --- files --------------------------------------------------------------------------------------

_ENTRY_TYPES = {EntryType.BLKDEV: "plkdev"}
"""Quirk: the protocol's documentation spells it so."""


def list_dir(call: Call) -> Afterwards:
    """Show the names in a directory, with what they are."""
    tree, path = call.path(errors.DirectoryRequired)
    return Afterwards(
        lambda: listing(
            f"{entry.name} {_ENTRY_TYPES.get(entry.type, entry.type)}" for entry in tree.list(path)
        )
    )


def read_file(call: Call) -> Afterwards:
    """Show the lines of a file. Quirk: a directory is an empty file."""
    tree, path = call.path(errors.FilenameRequired)
    most = call.config.daemon.max_file_bytes
    return Afterwards(lambda: listing(_file_lines(tree, path, most), ends="\n"))


def _file_lines(tree: Tree, path: str, max_bytes: int) -> list[str]:
    try:
        data = tree.read(path, max_bytes)
    except IsADirectoryError:
        return []
    text = data.decode("utf-8", "surrogateescape")
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return [stuff(line) for line in lines]


def stat_file(call: Call) -> Afterwards:
    """Show the owner of a file or directory."""
    tree, path = call.path(errors.FilenameRequired)
    return Afterwards(lambda: listing([f"uid: {_owner(tree, path)}"], ends="\n"))


def _owner(tree: Tree, path: str) -> int:
    found = tree.stat(path)
    if stat.S_ISLNK(found.st_mode):
        raise LinkInPath(path)
    return found.st_uid
