"""The command table: verb, level, handler, the codes of its refusals, and its usage for help.

Handlers catch nothing: what they raise is an error that says what is the case, and `refusal` turns
it into the reply that vpopmaild's clients know. Codes are vpopmaild's: the number before the point
stands for the text, the one after it for the command and the place.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

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
    handler: Handler
    refusals: Mapping[type[Exception], str]
    """Error class -> code, followed by a text where the code alone does not give it."""
    code: str
    """The code of what the operating system or the rules of names and limits refuse, or empty."""
    usage: str
    has_body: bool = False
    """Whether lines follow the command, up to one with a single dot."""
    body_is_file: bool = False


_MEANINGS: Mapping[str, tuple[str, tuple[type[Exception], ...]]] = {
    "3": ("Read Timeout", ()),
    "4": ("Invalid Command", ()),
    "5": ("Too many invalid login attempts", ()),
    "6": ("Email Address Required", (errors.AddressRequired,)),
    "7": ("Password Required", (errors.PasswordRequired,)),
    "8": ("Invalid Login", ()),
    "9": ("Not Authorized", (errors.NotAuthorized,)),
    "10": ("Invalid Email Address", (errors.InvalidAddress,)),
    "11": ("Not Authorized for domain", (errors.NotAuthorizedForDomain,)),
    "12": ("User does not exist", (errors.NoSuchUser,)),
    "13": ("Domain Required", (errors.DomainRequired,)),
    "14": ("Alias Name Required", (errors.AliasNameRequired,)),
    "15": ("Invalid Alias Name Supplied", (errors.InvalidAddress,)),
    "16": ("Alias Line Required", (errors.AliasLineRequired,)),
    "17": (
        "Alias Insertion Failed",
        (errors.InvalidAlias, errors.LineNotPermitted, errors.NoSuchDomain),
    ),
    "20": ("Invalid Directory.  .. not allowed in path", ()),
    "21": ("Invalid Directory.  % not allowed in path", ()),
    "22": ("Invalid Directory.  Do you need a trailing '/'?", ()),
    "23": ("Invalid Directory. Found / before @", ()),
    "24": ("Invalid Directory. Can't parse email address", ()),
    "25": ("Invalid Directory. Unknown email address", ()),
    "26": ("Unauthorized Directory.", ()),
    "27": ("Directory Required.", (errors.DirectoryRequired,)),
    "28": ("Source File Name Required", (errors.SourceRequired,)),
    "29": ("Destination File Name Required", (errors.DestinationRequired,)),
    "30": ("Filename Required", (errors.FilenameRequired,)),
    "32": ("IP Required", (errors.IpRequired,)),
    "34": ("Could not get limits", (errors.NoSuchDomain,)),
    "36": ("Not Implemented yet", (errors.NotConfigured,)),
    "37": ("IP Required", (errors.IpRequired,)),
    "38": ("Invalid Domain", (errors.NoSuchDomain,)),
}
"""The number before the point -> its text, and the errors that a command's code of it is for."""


def _command(
    verb: str,
    level: Level,
    handler: Handler,
    codes: str,
    usage: str,
    *,
    body: str = "",
    others: Mapping[type[Exception], str] | None = None,
) -> Command:
    """Return a row of the table.

    :param codes: one a refusal, whose meaning is the number before the point; ``0.`` is for what
        the system and the rules refuse.
    :param body: ``options`` or ``file`` for a command that lines follow.
    :param others: refusals with texts of their own.
    """
    numbers = codes.split()
    meant = {
        error: code
        for code in numbers
        for error in _MEANINGS.get(code.partition(".")[0], ("", ()))[1]
    }
    general = next((code for code in numbers if code.startswith("0.")), "")
    return Command(
        *(verb, level, handler, meant | dict(others or {}), general, usage),
        has_body=bool(body),
        body_is_file=body == "file",
    )


EVERYWHERE: Mapping[type[Exception], str] = {
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

RULES: Mapping[type[Exception], str] = {
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

UNAUTHORIZED_PATH = {Level.SYSTEM: "26.1510", Level.DOMAIN: "26.1511", Level.USER: "26.1512"}
"""What leads out of what the caller may touch, by what he administers."""

FILES_BEHIND = failure("0.112", "Saved, but not all files could be written")
TEMPORARY_ERROR = failure("0.108", "Database not available, try again later")
INTERNAL_ERROR = failure("0.109", "Internal error")

_SIZES: Mapping[type[Exception], str] = {
    errors.NotAuthorized: "3801 not authorized",
    errors.AddressRequired: "3802 email_address required",
    errors.InvalidAddress: "3803 invalid email address",
    errors.NotAuthorizedForDomain: "3804 not authorized for domain",
    errors.NoSuchUser: "3805 user does not exist",
}
_DOMAIN_SIZES: Mapping[type[Exception], str] = {
    errors.DomainRequired: "3902 domain required",
    errors.NotAuthorizedForDomain: "3903 not authorized for domain",
}
_LIST = "domain listname (command line options)<crlf>"
_OPTIONS = "(option lines)<crlf>.<crlf>"
_ALIAS = "user@domain user@otherdomain<crlf>"
_USER, _DOMAIN, _SYSTEM = Level.USER, Level.DOMAIN, Level.SYSTEM

# fmt: off
SECTIONS: Mapping[str, tuple[Command, ...]] = {
    "Domain": (
        _command("user_info", _DOMAIN, reading.user_info,
                 "6.602 10.603 11.604 12.605", "user_domain<crlf>"),
        _command("list_domains", _SYSTEM, reading.list_domains,
                 "", "[page per_page]<crlf>"),
        _command("find_domain", _SYSTEM, reading.find_domain,
                 "13.2402", "domain [per-page]<crlf>"),
        _command("domain_count", _SYSTEM, reading.domain_count,
                 "", "<crlf>"),
        _command("add_alias_domain", _SYSTEM, writing.add_alias_domain,
                 "13.1202 14.1203 0.1204", "domain alias<crlf>"),
        _command("add_domain", _SYSTEM, writing.add_domain,
                 "13.802 7.803 0.804", "domain postmaster-password<crlf>"),
        _command("del_domain", _SYSTEM, writing.del_domain,
                 "13.1302 0.1303", "domain<crlf>"),
        _command("dom_info", _SYSTEM, reading.dom_info,
                 "13.1402 0.1404", "domain<crlf>"),
        _command("get_limits", _USER, reading.get_limits,
                 "9.3401 13.3402 34.3403", "domain<crlf>"),
        _command("set_limits", _SYSTEM, writing.set_limits,
                 "13.3502 34.3505 0.3506", f"domain {_OPTIONS}", body="options"),
        _command("del_limits", _SYSTEM, writing.del_limits,
                 "13.3602 0.3604", "domain<crlf>",
                 others={errors.NoSuchDomain: "0.3603 No such file or directory."}),
        _command("get_domain_size", _DOMAIN, reading.get_domain_size,
                 "", "domain<crlf>", others=_DOMAIN_SIZES),
    ),
    "User": (
        _command("add_user", _DOMAIN, writing.add_user,
                 "6.302 10.303 9.304 11.304 7.305 0.305", "user@domain password<crlf>"),
        _command("del_user", _DOMAIN, writing.del_user,
                 "6.402 10.403 9.404 11.404 0.405", "user@domain<crlf>"),
        _command("user_count", _DOMAIN, reading.user_count,
                 "13.2602 11.2603", "domain <crlf>"),
        _command("list_users", _DOMAIN, reading.list_users,
                 "6.2702 11.2703", "domain [page per_page]<crlf>"),
        _command("list_lists", _DOMAIN, reading.list_lists,
                 "6.2902 11.2903", "domain<crlf>",
                 others={errors.NoSuchDomain: "11.2904"}),
        _command("mod_user", _USER, writing.mod_user,
                 "6.501 10.502 9.503 11.504 12.505 0.507", f"user@domain {_OPTIONS}",
                 body="options", others={errors.PasswordChangeForbidden: "9.506"}),
        _command("get_lastauth", _USER, reading.get_lastauth,
                 "9.3701 6.3702 10.3703 11.3704 12.3705", "user@domain<crlf>"),
        _command("get_user_size", _USER, reading.get_user_size,
                 "", "user@domain<crlf>", others=_SIZES),
    ),
    "Alias": (
        _command("add_alias", _DOMAIN, writing_aliases.add_alias,
                 "9.901 14.902 15.903 11.904 16.906 17.907 0.907", _ALIAS),
        _command("delete_alias", _DOMAIN, writing_aliases.delete_alias,
                 "9.1101 14.1102 15.1103 11.1104 0.1105", "user@domain<crlf>"),
        _command("list_alias", _DOMAIN, reading.list_alias,
                 "13.2802 10.2803 11.2804", "domain<crlf>"),
        _command("remove_alias", _DOMAIN, writing_aliases.remove_alias,
                 "9.1001 14.1002 15.1003 11.1004 16.1006 0.1007", _ALIAS),
    ),
    "File System": (
        _command("mk_dir", _USER, writing_files.mk_dir,
                 "27.1601 0.1602", "/full/path/to/dir<crlf>"),
        _command("rm_dir", _USER, writing_files.rm_dir,
                 "27.1701 0.1702", "/full/path/to/dir<crlf>"),
        _command("list_dir", _USER, reading.list_dir,
                 "27.1801 0.1802", "/full/path/to/dir<crlf>"),
        _command("rm_file", _USER, writing_files.rm_file,
                 "30.1901 0.1902", "/full/path/to/file<crlf>"),
        _command("rename_file", _USER, writing_files.rename_file,
                 "28.3801 29.3801 0.3803", "/full/path/to/file<crlf>"),
        _command("write_file", _USER, writing_files.write_file,
                 "30.2001 0.2002", "/full/path (data lines)<crlf>.<crlf>", body="file"),
        _command("read_file", _USER, reading.read_file,
                 "30.2101 0.2102", "/full/path<crlf>"),
        _command("stat_file", _USER, reading.stat_file,
                 "30.2201 0.2202", "/full/path<crlf>"),
    ),
    "IP Map": (
        _command("get_ip_map", _USER, reading.get_ip_map,
                 "37.3002", "domain<crlf>", others={errors.NoSuchMapping: "0.3003 error"}),
        _command("add_ip_map", _SYSTEM, writing.add_ip_map,
                 "32.3102 13.3103 38.3104", "ip domain<crlf>",
                 others={errors.InvalidIp: "0.3105 Invalid IP address"}),
        _command("del_ip_map", _SYSTEM, writing.del_ip_map,
                 "37.3202 13.3203", "ip domain<crlf>"),
        _command("show_ip_map", _SYSTEM, reading.show_ip_map,
                 "", "domain<crlf>"),
    ),
    "Mailing List": (
        _command("add_list", _DOMAIN, writing_aliases.add_list,
                 "36.4001 13.4002 14.4003 9.4004 11.4004 0.4005", _LIST),
        _command("del_list", _DOMAIN, writing_aliases.del_list,
                 "36.4101 13.4102 14.4103 9.4104 11.4104 0.4105", "domain listname<crlf>"),
        _command("mod_list", _DOMAIN, writing_aliases.mod_list,
                 "36.4201 13.4202 14.4203 9.4204 11.4204 0.4205", _LIST),
    ),
}
# fmt: on
"""Every command that needs a login, in the order and under the titles of ``help``."""

COMMANDS: Mapping[str, Command] = {
    command.verb: command for commands in SECTIONS.values() for command in commands
}

QUIT_VERBS = ("exit", "quit", "q")

LOGIN_VERBS = ("login", "clogin", "slogin")


def find_command(verb: str, level: Level) -> Command | None:
    """Return the command ``verb`` if a caller of ``level`` may run it; else there is no such."""
    command = COMMANDS.get(verb)
    return command if command and command.level <= level else None


def refusal(error: Exception, command: Command, level: Level) -> Reply | None:
    """Return the reply that tells ``error`` to the client; None for an error that is a defect."""
    if isinstance(error, errors.UnauthorizedPath | UnsafePath):
        return refuse(UNAUTHORIZED_PATH[level])
    if isinstance(error, OSError) and command.code and error.errno:
        return failure(command.code, os.strerror(error.errno))
    for kind in type(error).__mro__:
        code = command.refusals.get(kind) or EVERYWHERE.get(kind)
        if code:
            return refuse(code)
        if command.code and kind in RULES:
            return failure(command.code, RULES[kind])
    if command.code and isinstance(error, errors.InvalidValue):
        return failure(command.code, str(error))
    return None


def refuse(code: str, *, close: bool = False) -> Reply:
    """Return the refusal ``code``, with its usual text unless it brings one."""
    number, _, text = code.partition(" ")
    return failure(number, text or _MEANINGS[number.partition(".")[0]][0], close=close)


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
