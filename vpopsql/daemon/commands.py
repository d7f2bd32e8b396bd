"""The command table: verb, level, usage for help, handler, and the code of each refusal.

Handlers catch nothing: what they raise is an error that says what is the case, and `refusal` turns
it into the reply that vpopmaild's clients know. Codes are vpopmaild's: the number before the point
stands for the text, the one after it for the command and the place.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from vpopsql import errors
from vpopsql.daemon import reading, writing, writing_aliases, writing_files
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
    "14": "Alias Name Required",
    "15": "Invalid Alias Name Supplied",
    "16": "Alias Line Required",
    "17": "Alias Insertion Failed",
    "20": "Invalid Directory.  .. not allowed in path",
    "21": "Invalid Directory.  % not allowed in path",
    "22": "Invalid Directory.  Do you need a trailing '/'?",
    "23": "Invalid Directory. Found / before @",
    "24": "Invalid Directory. Can't parse email address",
    "25": "Invalid Directory. Unknown email address",
    "26": "Unauthorized Directory.",
    "27": "Directory Required.",
    "28": "Source File Name Required",
    "29": "Destination File Name Required",
    "30": "Filename Required",
    "34": "Could not get limits",
    "32": "IP Required",
    "36": "Not Implemented yet",
    "37": "IP Required",
    "38": "Invalid Domain",
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

_RULES: Mapping[type[Exception], str] = {
    errors.NoSuchDomain: "Domain does not exist",
    errors.NoSuchUser: "User does not exist",
    errors.UserExists: "Username exists",
    errors.IllegalUserName: "Illegal username",
    errors.UserNameTooLong: "user name too long (max=64)",
    errors.DirectoryExists: "User's directory already exists",
    errors.PostmasterNeeded: "can't delete postmaster",
    errors.CatchAllNeeded: "can't delete catchall account",
    errors.DomainExists: "Domain already exists",
    errors.InvalidDomainName: "Invalid domain name",
    errors.DomainNameTooLong: "domain name too long (max=96)",
    errors.LimitReached: "Limit reached",
    errors.LineNotPermitted: "Operation not permitted",
    errors.InvalidAlias: "Invalid alias",
    errors.NotAuthorized: "Operation not permitted",
}
"""What the rules of names and limits refuse, after the code of the command."""

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
        Command("list_domains", Level.SYSTEM, "[page per_page]<crlf>", reading.list_domains),
        Command(
            "find_domain",
            Level.SYSTEM,
            "domain [per-page]<crlf>",
            reading.find_domain,
            {errors.DomainRequired: "13.2402"},
        ),
        Command("domain_count", Level.SYSTEM, "<crlf>", reading.domain_count),
        Command(
            "add_alias_domain",
            Level.SYSTEM,
            "domain alias<crlf>",
            writing.add_alias_domain,
            {errors.DomainRequired: "13.1202", errors.AliasNameRequired: "14.1203"},
            "0.1204",
        ),
        Command(
            "add_domain",
            Level.SYSTEM,
            "domain postmaster-password<crlf>",
            writing.add_domain,
            {errors.DomainRequired: "13.802", errors.PasswordRequired: "7.803"},
            "0.804",
        ),
        Command(
            "del_domain",
            Level.SYSTEM,
            "domain<crlf>",
            writing.del_domain,
            {errors.DomainRequired: "13.1302"},
            "0.1303",
        ),
        Command(
            "dom_info",
            Level.SYSTEM,
            "domain<crlf>",
            reading.dom_info,
            {errors.DomainRequired: "13.1402"},
            "0.1404",
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
            "set_limits",
            Level.SYSTEM,
            "domain (option lines)<crlf>.<crlf>",
            writing.set_limits,
            {errors.DomainRequired: "13.3502", errors.NoSuchDomain: "34.3505"},
            "0.3506",
            has_body=True,
        ),
        Command(
            "del_limits",
            Level.SYSTEM,
            "domain<crlf>",
            writing.del_limits,
            {
                errors.DomainRequired: "13.3602",
                errors.NoSuchDomain: "0.3603 No such file or directory.",
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
            "add_user",
            Level.DOMAIN,
            "user@domain password<crlf>",
            writing.add_user,
            {
                errors.AddressRequired: "6.302",
                errors.InvalidAddress: "10.303",
                errors.NotAuthorized: "9.304",
                errors.NotAuthorizedForDomain: "11.304",
                errors.PasswordRequired: "7.305",
            },
            "0.305",
        ),
        Command(
            "del_user",
            Level.DOMAIN,
            "user@domain<crlf>",
            writing.del_user,
            {
                errors.AddressRequired: "6.402",
                errors.InvalidAddress: "10.403",
                errors.NotAuthorized: "9.404",
                errors.NotAuthorizedForDomain: "11.404",
            },
            "0.405",
        ),
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
            "mod_user",
            Level.USER,
            "user@domain (option lines)<crlf>.<crlf>",
            writing.mod_user,
            {
                errors.AddressRequired: "6.501",
                errors.InvalidAddress: "10.502",
                errors.NotAuthorized: "9.503",
                errors.NotAuthorizedForDomain: "11.504",
                errors.NoSuchUser: "12.505",
                errors.PasswordChangeForbidden: "9.506",
            },
            "0.507",
            has_body=True,
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
            "add_alias",
            Level.DOMAIN,
            "user@domain user@otherdomain<crlf>",
            writing_aliases.add_alias,
            {
                errors.NotAuthorized: "9.901",
                errors.AliasNameRequired: "14.902",
                errors.InvalidAddress: "15.903",
                errors.NotAuthorizedForDomain: "11.904",
                errors.AliasLineRequired: "16.906",
                errors.InvalidAlias: "17.907",
                errors.LineNotPermitted: "17.907",
                errors.NoSuchDomain: "17.907",
            },
            "0.907",
        ),
        Command(
            "delete_alias",
            Level.DOMAIN,
            "user@domain<crlf>",
            writing_aliases.delete_alias,
            {
                errors.NotAuthorized: "9.1101",
                errors.AliasNameRequired: "14.1102",
                errors.InvalidAddress: "15.1103",
                errors.NotAuthorizedForDomain: "11.1104",
            },
            "0.1105",
        ),
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
        Command(
            "remove_alias",
            Level.DOMAIN,
            "user@domain user@otherdomain<crlf>",
            writing_aliases.remove_alias,
            {
                errors.NotAuthorized: "9.1001",
                errors.AliasNameRequired: "14.1002",
                errors.InvalidAddress: "15.1003",
                errors.NotAuthorizedForDomain: "11.1004",
                errors.AliasLineRequired: "16.1006",
            },
            "0.1007",
        ),
    ),
    "File System": (
        Command(
            "mk_dir",
            Level.USER,
            "/full/path/to/dir<crlf>",
            writing_files.mk_dir,
            {errors.DirectoryRequired: "27.1601"},
            "0.1602",
        ),
        Command(
            "rm_dir",
            Level.USER,
            "/full/path/to/dir<crlf>",
            writing_files.rm_dir,
            {errors.DirectoryRequired: "27.1701"},
            "0.1702",
        ),
        Command(
            "list_dir",
            Level.USER,
            "/full/path/to/dir<crlf>",
            reading.list_dir,
            {errors.DirectoryRequired: "27.1801"},
            "0.1802",
        ),
        Command(
            "rm_file",
            Level.USER,
            "/full/path/to/file<crlf>",
            writing_files.rm_file,
            {errors.FilenameRequired: "30.1901"},
            "0.1902",
        ),
        Command(
            "rename_file",
            Level.USER,
            "/full/path/to/file<crlf>",
            writing_files.rename_file,
            {errors.SourceRequired: "28.3801", errors.DestinationRequired: "29.3801"},
            "0.3803",
        ),
        Command(
            "write_file",
            Level.USER,
            "/full/path (data lines)<crlf>.<crlf>",
            writing_files.write_file,
            {errors.FilenameRequired: "30.2001"},
            "0.2002",
            has_body=True,
            body_is_file=True,
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
        Command(
            "add_ip_map",
            Level.SYSTEM,
            "ip domain<crlf>",
            writing.add_ip_map,
            {
                errors.IpRequired: "32.3102",
                errors.DomainRequired: "13.3103",
                errors.NoSuchDomain: "38.3104",
                errors.InvalidIp: "0.3105 Invalid IP address",
            },
        ),
        Command(
            "del_ip_map",
            Level.SYSTEM,
            "ip domain<crlf>",
            writing.del_ip_map,
            {errors.IpRequired: "37.3202", errors.DomainRequired: "13.3203"},
        ),
        Command("show_ip_map", Level.SYSTEM, "domain<crlf>", reading.show_ip_map),
    ),
    "Mailing List": (
        Command(
            "add_list",
            Level.DOMAIN,
            "domain listname (command line options)<crlf>",
            writing_aliases.add_list,
            {
                errors.NotConfigured: "36.4001",
                errors.DomainRequired: "13.4002",
                errors.AliasNameRequired: "14.4003",
                errors.NotAuthorized: "9.4004",
                errors.NotAuthorizedForDomain: "11.4004",
            },
            "0.4005",
        ),
        Command(
            "del_list",
            Level.DOMAIN,
            "domain listname<crlf>",
            writing_aliases.del_list,
            {
                errors.NotConfigured: "36.4101",
                errors.DomainRequired: "13.4102",
                errors.AliasNameRequired: "14.4103",
                errors.NotAuthorized: "9.4104",
                errors.NotAuthorizedForDomain: "11.4104",
            },
            "0.4105",
        ),
        Command(
            "mod_list",
            Level.DOMAIN,
            "domain listname (command line options)<crlf>",
            writing_aliases.mod_list,
            {
                errors.NotConfigured: "36.4201",
                errors.DomainRequired: "13.4202",
                errors.AliasNameRequired: "14.4203",
                errors.NotAuthorized: "9.4204",
                errors.NotAuthorizedForDomain: "11.4204",
            },
            "0.4205",
        ),
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
        if command.code and kind in _RULES:
            return failure(command.code, _RULES[kind])
    if command.code and isinstance(error, errors.InvalidValue):
        return failure(command.code, str(error))
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
