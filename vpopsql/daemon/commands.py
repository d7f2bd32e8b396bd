"""The command table: verb, level, usage for help, handler, and the code of each refusal.

Handlers catch nothing: what they raise is an error that says what is the case, and `refusal` turns
it into the reply that vpopmaild's clients know. Codes are vpopmaild's: the number before the point
stands for the text, the one after it for the command and the place.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from vpopsql import errors
from vpopsql.daemon import reading
from vpopsql.daemon.call import Answer, Call
from vpopsql.protocol import Reply, failure, listing
from vpopsql.services.rights import Level
from vpopsql.tree import UnsafePath

Handler = Callable[[Call], Answer]


@dataclass(frozen=True, slots=True)
class Command:
    """A verb of the protocol."""

    verb: str
    level: Level
    usage: str
    handler: Handler
    refusals: Mapping[type[Exception], str] = field(default_factory=dict)
    """Error class -> code, followed by a text where the code alone does not give it."""
    code: str = ""
    """The code of what the operating system or the rules of names and limits refuse."""
    has_body: bool = False
    """Whether lines follow the command, up to one with a single dot."""
    body_is_file: bool = False


_TEXTS = {
    "4": "Invalid Command",
    "3": "Read Timeout",
    "5": "Too many invalid login attempts",
    "6": "Email Address Required",
    "7": "Password Required",
    "8": "Invalid Login",
    "9": "Not Authorized",
    "10": "Invalid Email Address",
    "11": "Not Authorized for domain",
    "12": "User does not exist",
    "13": "Domain Required",
    "20": "Invalid Directory.  .. not allowed in path",
    "21": "Invalid Directory.  % not allowed in path",
    "22": "Invalid Directory.  Do you need a trailing '/'?",
    "23": "Invalid Directory. Found / before @",
    "24": "Invalid Directory. Can't parse email address",
    "25": "Invalid Directory. Unknown email address",
    "26": "Unauthorized Directory.",
    "27": "Directory Required.",
    "30": "Filename Required",
    "34": "Could not get limits",
    "37": "IP Required",
}
"""The texts of the numbers before the point, for codes that give none of their own."""

_EVERYWHERE: Mapping[type[Exception], str] = {
    errors.DotsInPath: "20.1501",
    errors.PercentInPath: "21.1502",
    errors.NoSlashInPath: "22.1503",
    errors.SlashBeforeAt: "23.1504",
    errors.UnparsableAddressInPath: "24.1505",
    errors.UnknownAddressInPath: "25.1506",
    errors.ForeignAddressInPath: "12.1508",
    errors.UnknownDomainInPath: "11.1509",
}
"""What is the same whichever command met it."""

_UNAUTHORIZED_PATH = {Level.SYSTEM: "26.1510", Level.DOMAIN: "26.1511", Level.USER: "26.1512"}

FILES_BEHIND = failure("0.112", "Saved, but not all files could be written")
TEMPORARY_ERROR = failure("0.108", "Database not available, try again later")
INTERNAL_ERROR = failure("0.109", "Internal error")

SECTIONS: Mapping[str, tuple[Command, ...]] = {
    "Domain": (
        Command(
            "user_info",
            Level.DOMAIN,
            "user_domain<crlf>",
            reading.user_info,
            {
                errors.AddressRequired: "6.602",
                errors.InvalidAddress: "10.603",
                errors.NotAuthorizedForDomain: "11.604",
                errors.NoSuchUser: "12.605",
            },
        ),
        Command(
            "list_domains",
            Level.SYSTEM,
            "[page per_page]<crlf>",
            reading.list_domains,
        ),
        Command(
            "find_domain",
            Level.SYSTEM,
            "domain [per-page]<crlf>",
            reading.find_domain,
            {errors.DomainRequired: "13.2402"},
        ),
        Command("domain_count", Level.SYSTEM, "<crlf>", reading.domain_count),
        Command(
            "dom_info",
            Level.SYSTEM,
            "domain<crlf>",
            reading.dom_info,
            {
                errors.DomainRequired: "13.1402",
                errors.NoSuchDomain: "0.1404 Domain does not exist",
            },
        ),
        Command(
            "get_limits",
            Level.USER,
            "domain<crlf>",
            reading.get_limits,
            {
                errors.NotAuthorized: "9.3401",
                errors.DomainRequired: "13.3402",
                errors.NoSuchDomain: "34.3403",
            },
        ),
        Command(
            "get_domain_size",
            Level.DOMAIN,
            "domain<crlf>",
            reading.get_domain_size,
            {
                errors.DomainRequired: "3902 domain required",
                errors.NotAuthorizedForDomain: "3903 not authorized for domain",
            },
        ),
    ),
    "User": (
        Command(
            "user_count",
            Level.DOMAIN,
            "domain <crlf>",
            reading.user_count,
            {errors.DomainRequired: "13.2602", errors.NotAuthorizedForDomain: "11.2603"},
        ),
        Command(
            "list_users",
            Level.DOMAIN,
            "domain [page per_page]<crlf>",
            reading.list_users,
            {errors.AddressRequired: "6.2702", errors.NotAuthorizedForDomain: "11.2703"},
        ),
        Command(
            "list_lists",
            Level.DOMAIN,
            "domain<crlf>",
            reading.list_lists,
            {
                errors.AddressRequired: "6.2902",
                errors.NotAuthorizedForDomain: "11.2903",
                errors.NoSuchDomain: "11.2904",
            },
        ),
        Command(
            "get_lastauth",
            Level.USER,
            "user@domain<crlf>",
            reading.get_lastauth,
            {
                errors.NotAuthorized: "9.3701",
                errors.AddressRequired: "6.3702",
                errors.InvalidAddress: "10.3703",
                errors.NotAuthorizedForDomain: "11.3704",
                errors.NoSuchUser: "12.3705",
            },
        ),
        Command(
            "get_user_size",
            Level.USER,
            "user@domain<crlf>",
            reading.get_user_size,
            {
                errors.NotAuthorized: "3801 not authorized",
                errors.AddressRequired: "3802 email_address required",
                errors.InvalidAddress: "3803 invalid email address",
                errors.NotAuthorizedForDomain: "3804 not authorized for domain",
                errors.NoSuchUser: "3805 user does not exist",
            },
        ),
    ),
    "Alias": (
        Command(
            "list_alias",
            Level.DOMAIN,
            "domain<crlf>",
            reading.list_alias,
            {
                errors.DomainRequired: "13.2802",
                errors.InvalidAddress: "10.2803",
                errors.NotAuthorizedForDomain: "11.2804",
            },
        ),
    ),
    "File System": (
        Command(
            "list_dir",
            Level.USER,
            "/full/path/to/dir<crlf>",
            reading.list_dir,
            {errors.DirectoryRequired: "27.1801"},
            "0.1802",
        ),
        Command(
            "read_file",
            Level.USER,
            "/full/path<crlf>",
            reading.read_file,
            {errors.FilenameRequired: "30.2101"},
            "0.2102",
        ),
        Command(
            "stat_file",
            Level.USER,
            "/full/path<crlf>",
            reading.stat_file,
            {errors.FilenameRequired: "30.2201"},
            "0.2202",
        ),
    ),
    "IP Map": (
        Command(
            "get_ip_map",
            Level.USER,
            "domain<crlf>",
            reading.get_ip_map,
            {errors.IpRequired: "37.3002", errors.NoSuchMapping: "0.3003 error"},
        ),
        Command("show_ip_map", Level.SYSTEM, "domain<crlf>", reading.show_ip_map),
    ),
}
"""Every command that needs a login, in the order and under the titles of ``help``."""

COMMANDS: Mapping[str, Command] = {
    command.verb: command for commands in SECTIONS.values() for command in commands
}

QUIT_VERBS = ("exit", "quit", "q")


def find_command(verb: str, level: Level) -> Command | None:
    """Return the command ``verb`` if a caller of ``level`` may run it; else there is no such."""
    command = COMMANDS.get(verb)
    return command if command and command.level <= level else None


def refusal(error: Exception, command: Command, level: Level) -> Reply | None:
    """Return the reply that tells ``error`` to the client; None for an error that is a defect."""
    if isinstance(error, errors.UnauthorizedPath | UnsafePath):
        return refuse(_UNAUTHORIZED_PATH[level])
    if isinstance(error, OSError) and command.code and error.errno:
        return failure(command.code, os.strerror(error.errno))
    for kind in type(error).__mro__:
        code = command.refusals.get(kind) or _EVERYWHERE.get(kind)
        if code:
            return refuse(code)
    return None


def refuse(code: str, *, close: bool = False) -> Reply:
    """Return the refusal ``code``, with its usual text unless it brings one."""
    number, _, text = code.partition(" ")
    return failure(number, text or _TEXTS[number.partition(".")[0]], close=close)


def help_reply(level: Level) -> Reply:
    """Return the list of what a caller of ``level`` may run."""
    sections = {
        title: [f"{entry.verb} {entry.usage}" for entry in commands if entry.level <= level]
        for title, commands in SECTIONS.items()
        if level > Level.ANYBODY
    }
    quits = [f"{verb} quit" for verb in QUIT_VERBS]
    if level is Level.ANYBODY:
        sections["Login"] = [
            "login login user@domain password - expanded bitmaps",
            # Quirk: misspelt, and the same since 2006.
            "clogin login user@domain password - compact bitmapts",
            "slogin login user@domain password - silent results",
        ]
        sections["Utility"] = ["help help", *quits]
    else:
        sections["Utility"] = [*quits, "help help"]
    return listing(
        line for title, usages in sections.items() if usages for line in ("", title, *usages)
    )
