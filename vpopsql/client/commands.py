"""Every command of the protocol: what is sent for it, and what its answer means.

A function here makes a `Command`, which `Client.run` and `Client.run_all` carry out; `Client` has
a method of the same name and the same parameters for each. Parameters are checked before anything
is sent: none can end a line or become a command of its own.

What a command is refused for is `Refused` with the daemon's code.
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from vpopsql.client import values
from vpopsql.client.failures import ProtocolError, Refused
from vpopsql.client.replies import Reply
from vpopsql.flags import OPTIONS, Flag
from vpopsql.protocol import COMMAND_LINE_MAX, END, encode, stuff, unstuff

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

NO_FLAGS = Flag(0)


@dataclass(frozen=True, slots=True)
class Command(Generic[T_co]):
    """A command that can be sent, and what to make of its answer."""

    verb: str
    line: bytes = field(repr=False)
    """What is sent first, with its end."""
    read: Callable[[Reply], T_co] = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    """The lines that follow, with their ends and the final dot."""
    body_is_file: bool = False
    """Whether these lines are a file's, which may be as long as they like."""
    is_asked: bool = False
    """Whether there is an answer before the body, too."""


# --- logging in and out -------------------------------------------------------------------------


def login(address: str, password: str, *, verb: str = "clogin") -> Command[values.Session | None]:
    """Log in.

    :param verb: ``clogin``; ``login``, whose answer has a line for each flag; ``slogin``, whose
        answer says nothing, and is None.
    """
    if verb not in {"login", "clogin", "slogin"}:
        raise ValueError("verb is none of login, clogin, slogin")
    line = _line(verb, _word("address", address), _rest("password", password))
    return Command(verb, line, _nothing if verb == "slogin" else _of(values.session))


def quit() -> Command[None]:  # noqa: A001 - the protocol's name
    """Say good-bye; the daemon hangs up."""
    return _plain("quit")


def help() -> Command[list[str]]:  # noqa: A001 - the protocol's name
    """List the commands that one may use, under titles, as text for people."""
    return _listed("help", list)


# --- domains ------------------------------------------------------------------------------------


def list_domains(page: int = 0, per_page: int = 0) -> Command[list[values.DomainName]]:
    """List the domains and alias domains.

    :param page: 1-based; pages beyond the last are empty; 0: everything.
    :param per_page: names a page.
    """
    return _listed("list_domains", _domain_names, *_page(page, per_page))


def find_domain(domain: str, per_page: int) -> Command[int | None]:
    """Return the page of list_domains that ``domain`` is on; None: there is no such domain."""
    return _listed("find_domain", _found_page, _word("domain", domain), _number(per_page))


def domain_count() -> Command[int]:
    """Count the domains and alias domains."""
    return _listed("domain_count", _count)


def dom_info(domain: str) -> Command[values.Domain]:
    """Return a domain, also when an alias of it is named."""
    return _listed("dom_info", values.domain, _word("domain", domain))


def add_domain(domain: str, password: str) -> Command[None]:
    """Make a domain.

    :param password: its postmaster's.
    """
    return _plain("add_domain", _word("domain", domain), _rest("password", password))


def add_alias_domain(domain: str, alias: str) -> Command[None]:
    """Give ``domain`` another name, ``alias``."""
    return _plain("add_alias_domain", _word("domain", domain), _word("alias", alias))


def del_domain(domain: str) -> Command[None]:
    """Delete a domain with all its mail and alias domains, or an alias domain."""
    return _plain("del_domain", _word("domain", domain))


def get_domain_size(domain: str) -> Command[values.DomainSize]:
    """Measure every mailbox of a domain."""
    return _listed("get_domain_size", values.domain_size, _word("domain", domain))


# --- limits -------------------------------------------------------------------------------------


def get_limits(domain: str) -> Command[values.Limits]:
    """Return the limits that hold for a domain."""
    return _listed("get_limits", values.limits, _word("domain", domain))


def set_limits(domain: str, **settings: int) -> Command[None]:
    """Change limits of a domain.

    :param settings: fields of `Limits`; those that are not named stay.
    """
    unknown = sorted(settings.keys() - values.LIMITS.keys())
    if unknown:
        raise ValueError(f"there is no limit {unknown[0]}")
    options = [f"{name} {int(value)}" for name, value in settings.items()]
    line = _line("set_limits", _word("domain", domain))
    return Command("set_limits", line, _without_warnings, _body(options), is_asked=True)


def del_limits(domain: str) -> Command[None]:
    """Let a domain fall back to the site's limits."""
    return _plain("del_limits", _word("domain", domain))


# --- mailboxes ----------------------------------------------------------------------------------


def user_info(address: str) -> Command[values.User]:
    """Return a mailbox."""
    return _listed("user_info", values.user, _word("address", address))


def list_users(domain: str, page: int = 0, per_page: int = 0) -> Command[list[values.User]]:
    """List the mailboxes of a domain; none, if there is no such domain.

    :param page: 1-based; pages beyond the last are empty; 0: everything.
    :param per_page: mailboxes a page.
    """
    return _listed("list_users", values.users, _word("domain", domain), *_page(page, per_page))


def user_count(domain: str) -> Command[int]:
    """Count the mailboxes of a domain."""
    return _listed("user_count", _count, _word("domain", domain))


def add_user(address: str, password: str) -> Command[None]:
    """Make a mailbox."""
    return _plain("add_user", _word("address", address), _rest("password", password))


def del_user(address: str) -> Command[None]:
    """Delete a mailbox with its mail."""
    return _plain("del_user", _word("address", address))


def mod_user(
    address: str,
    *,
    comment: str | None = None,
    quota: str | None = None,
    password: str | None = None,
    encrypted_password: str | None = None,
    set_flags: Flag = NO_FLAGS,
    clear_flags: Flag = NO_FLAGS,
) -> Command[None]:
    """Change a mailbox; what is None stays.

    What the caller may not change at all, such as his own quota, is left as it is, in silence:
    that is how the protocol has it. A password change that is forbidden is refused.

    :param quota: ``10M``, ``10485760S,1000C`` or ``NOQUOTA``.
    :param encrypted_password: a crypt(3) string.
    """
    if set_flags & clear_flags:
        raise ValueError("a flag cannot be set and cleared at once")
    named = {
        "comment": comment,
        "quota": quota,
        "clear_text_password": password,
        "encrypted_password": encrypted_password,
    }
    options = [
        f"{name} {_text(name, value)}" for name, value in named.items() if value is not None
    ]
    options += [
        f"{name} {int(flag in set_flags)}"
        for name, flag in OPTIONS.items()
        if flag in set_flags | clear_flags
    ]
    line = _line("mod_user", _word("address", address))
    return Command("mod_user", line, _nothing, _body(options), is_asked=True)


def get_lastauth(address: str) -> Command[values.LastAuth]:
    """Return when and from where somebody last logged in."""
    return _listed("get_lastauth", values.last_auth, _word("address", address))


def get_user_size(address: str) -> Command[values.Size]:
    """Measure a mailbox."""
    return _listed("get_user_size", values.size, _word("address", address))


# --- aliases and lists --------------------------------------------------------------------------


def list_alias(target: str) -> Command[list[values.AliasLine]]:
    """List the lines of a domain's aliases, or of one address."""
    return _listed("list_alias", _alias_lines, _word("target", target))


def add_alias(address: str, line: str) -> Command[None]:
    """Add a line to an alias, which is made if it is not there.

    :param line: where to, such as an address, ``|program`` or a path.
    """
    return _plain("add_alias", _word("address", address), _rest("line", line))


def remove_alias(address: str, line: str) -> Command[None]:
    """Take a line out of an alias."""
    return _plain("remove_alias", _word("address", address), _rest("line", line))


def delete_alias(address: str) -> Command[None]:
    """Delete an alias."""
    return _plain("delete_alias", _word("address", address))


def list_lists(domain: str) -> Command[list[str]]:
    """List the dot-qmail files of a domain that run ezmlm, as ``.qmail-NAME``."""
    return _listed("list_lists", list, _word("domain", domain))


def add_list(domain: str, name: str, options: str = "") -> Command[None]:
    """Make a mailing list.

    :param options: of ezmlm-make, as one would type them.
    """
    words = [_word("domain", domain), _word("name", name)]
    return _plain("add_list", *words, *([_rest("options", options)] if options else []))


def mod_list(domain: str, name: str, options: str = "") -> Command[None]:
    """Change a mailing list; see `add_list`."""
    words = [_word("domain", domain), _word("name", name)]
    return _plain("mod_list", *words, *([_rest("options", options)] if options else []))


def del_list(domain: str, name: str) -> Command[None]:
    """Delete a mailing list."""
    return _plain("del_list", _word("domain", domain), _word("name", name))


# --- IP map -------------------------------------------------------------------------------------


def get_ip_map(ip: str) -> Command[str]:
    """Return the domain that an address is mapped to."""
    return _listed("get_ip_map", _mapped_domain, _word("ip", ip))


def show_ip_map() -> Command[list[values.IpMapping]]:
    """Return the whole map."""
    return _listed("show_ip_map", _mappings)


def add_ip_map(ip: str, domain: str) -> Command[None]:
    """Map an address to a domain."""
    return _plain("add_ip_map", _word("ip", ip), _word("domain", domain))


def del_ip_map(ip: str, domain: str) -> Command[None]:
    """Forget that an address is mapped to a domain."""
    return _plain("del_ip_map", _word("ip", ip), _word("domain", domain))


# --- files --------------------------------------------------------------------------------------
#
# A path is absolute, or begins with a domain or an address, whose directory it starts from.


def list_dir(path: str) -> Command[list[values.Entry]]:
    """List what is in a directory."""
    return _listed("list_dir", values.entries, _word("path", path))


def mk_dir(path: str) -> Command[None]:
    """Make a directory."""
    return _plain("mk_dir", _word("path", path))


def rm_dir(path: str) -> Command[None]:
    """Remove a directory with all that is in it."""
    return _plain("rm_dir", _word("path", path))


def read_file(path: str) -> Command[list[str]]:
    """Return the lines of a file, without their ends."""
    line = _line("read_file", _word("path", path))
    return Command("read_file", line, _file_lines)


def write_file(path: str, lines: Iterable[str]) -> Command[None]:
    """Write a file.

    The C daemon carries out the lines as commands if it refuses the file: write nothing with it
    that somebody else has composed.

    :param lines: without their ends.
    """
    line = _line("write_file", _word("path", path))
    body = [stuff(line) for line in lines]
    if any("\n" in line for line in body):
        raise ValueError("a line of a file has a line end")
    return Command("write_file", line, _nothing, _body(body, end="\n"), body_is_file=True)


def rename_file(source: str, destination: str) -> Command[None]:
    """Rename a file."""
    words = _word("source", source), _word("destination", destination)
    return _plain("rename_file", *words)


def rm_file(path: str) -> Command[None]:
    """Remove a file."""
    return _plain("rm_file", _word("path", path))


def stat_file(path: str) -> Command[int]:
    """Return the numeric owner of a file or directory."""
    return _listed("stat_file", _owner, _word("path", path))


# --- what is sent -------------------------------------------------------------------------------


def _line(*words: str) -> bytes:
    line = encode(" ".join(words))
    if len(line) > COMMAND_LINE_MAX:
        raise ValueError(f"{words[0]}: a command has at most {COMMAND_LINE_MAX} bytes")
    return line + b"\r\n"


def _body(lines: Iterable[str], end: str = "\r\n") -> bytes:
    return encode("".join(line + end for line in (*lines, END)))


def _text(name: str, text: str) -> str:
    # The value may be a password: it is in no message.
    if not {"\0", "\n", "\r"}.isdisjoint(text):
        raise ValueError(f"{name} has a line end or a NUL")
    return text


def _rest(name: str, text: str) -> str:
    if not text:
        raise ValueError(f"{name} is empty")
    return _text(name, text)


def _word(name: str, text: str) -> str:
    if not {" ", "\t"}.isdisjoint(_rest(name, text)):
        raise ValueError(f"{name} has a blank")
    return text


def _number(value: int) -> str:
    if value < 0:
        raise ValueError("a number is below 0")
    return str(value)


def _page(page: int, per_page: int) -> tuple[str, ...]:
    return (_number(page), _number(per_page)) if page or per_page else ()


# --- what is answered ---------------------------------------------------------------------------


def _plain(verb: str, *words: str) -> Command[None]:
    return Command(verb, _line(verb, *words), _nothing)


def _listed(verb: str, read: Callable[[list[str]], T], *words: str) -> Command[T]:
    return Command(verb, _line(verb, *words), _of(read))


def _of(read: Callable[[list[str]], T]) -> Callable[[Reply], T]:
    return functools.partial(_read_texts, read)


def _read_texts(read: Callable[[list[str]], T], reply: Reply) -> T:
    return read(reply.texts())


def _nothing(reply: Reply) -> None:
    reply.plain()


def _without_warnings(reply: Reply) -> None:
    reply.plain()
    if reply.before:
        raise Refused("", reply.before[0].strip())


def _domain_names(lines: list[str]) -> list[values.DomainName]:
    return [values.DomainName(real, name) for real, name in values.pairs(lines)]


def _found_page(lines: list[str]) -> int | None:
    return values.Named(lines).number("page") if lines else None


def _count(lines: list[str]) -> int:
    return values.Named(lines).number("count")


def _alias_lines(lines: list[str]) -> list[values.AliasLine]:
    return [values.AliasLine(address, line) for address, line in values.pairs(lines)]


def _mappings(lines: list[str]) -> list[values.IpMapping]:
    return [values.IpMapping(ip, domain) for ip, domain in values.pairs(lines)]


def _mapped_domain(lines: list[str]) -> str:
    found = _mappings(lines)
    if not found:
        raise ProtocolError("the daemon's answer lacks the domain")
    return found[0].domain


def _file_lines(reply: Reply) -> list[str]:
    # A carriage return at the end of a line is the file's own.
    return [unstuff(line.decode("utf-8", "surrogateescape")) for line in reply.listed()]


def _owner(lines: list[str]) -> int:
    return values.to_number(values.Named(lines).text("uid:"), "uid")
