"""Every refusal of vpopsql, a class each.

An error says what is the case, with the value concerned; it knows nothing of the wire. The
daemon maps classes to reply codes in one table, the command line prints the text.
"""

from collections.abc import Mapping
from datetime import date


class VpopsqlError(Exception):
    """Something that vpopsql refuses or cannot do; its text is fit to be shown to a person."""


class ConfigError(VpopsqlError):
    """The configuration has mistakes; the text lists all of them, one a line."""


class PasswordSealed(VpopsqlError):
    """A readable password is encrypted, and there is no key for it; the text has no secret."""


class SchemaError(VpopsqlError):
    """The database's schema and this code do not fit together."""


class ImportFailed(VpopsqlError):
    """A site cannot be read at all, or the database does not give back what was read."""


class ExportFailed(VpopsqlError):
    """Files could not be written, or not all of them; those that were not are as they were."""


class BackupFailed(VpopsqlError):
    """A database could not be saved in a file, or a file cannot fill a database."""


class ProcessKilled(VpopsqlError):
    """One of several processes that shared a work was killed."""


class DatabaseUnavailable(VpopsqlError):
    """The database did not answer; trying again later may help."""


class DatabaseRefused(VpopsqlError):
    """The database would not do what it was told: a defect, or a damaged or foreign database."""


class Conflict(DatabaseRefused):
    """Another session has just written what stands in the way."""


class CannotListen(VpopsqlError):
    """The address of the daemon cannot be had."""


class TooManyConnections(VpopsqlError):
    """The daemon serves as many clients, or as many of one kind, as it may."""


class NotAuthorized(VpopsqlError):
    """The caller's rights do not suffice, whatever the object."""


class NotAuthorizedForDomain(NotAuthorized):
    """The caller administers another domain."""


class NoSuchDomain(VpopsqlError):
    """No domain and no alias domain has this name."""


class NoSuchUser(VpopsqlError):
    """No mailbox has this address."""


class NoSuchAlias(VpopsqlError):
    """No alias has this address."""


class NoSuchMapping(VpopsqlError):
    """No domain is mapped to this IP address."""


class InvalidAddress(VpopsqlError):
    """An e-mail address that the address grammar refuses."""


class InvalidLogin(VpopsqlError):
    """Unknown user or wrong password; never says which."""


class HashExpired(InvalidLogin):
    """The password is right, but its hash is of a scheme that is not good any more."""

    def __init__(self, scheme: str, last_day: date) -> None:
        super().__init__(f"hashes of {scheme} have not been good since {last_day}")
        self.scheme = scheme


class MissingParameter(VpopsqlError):
    """A command lacks a word that it needs."""


class AddressRequired(MissingParameter):
    """An e-mail address is missing."""


class PasswordRequired(MissingParameter):
    """A password is missing."""


class DomainRequired(MissingParameter):
    """A domain name is missing."""


class DirectoryRequired(MissingParameter):
    """A directory is missing."""


class FilenameRequired(MissingParameter):
    """A file name is missing."""


class IpRequired(MissingParameter):
    """An IP address is missing."""


class InvalidPath(VpopsqlError):
    """A path that the path grammar refuses."""


class DotsInPath(InvalidPath):
    """``..`` in a path."""


class PercentInPath(InvalidPath):
    """``%`` in a path."""


class NoSlashInPath(InvalidPath):
    """Neither an absolute path, nor a domain or an address followed by a slash."""


class SlashBeforeAt(InvalidPath):
    """A slash before the at-sign."""


class UnparsableAddressInPath(InvalidPath):
    """The part before the slash is no e-mail address."""


class UnknownAddressInPath(InvalidPath):
    """No mailbox has the address that the path begins with."""


class UnknownDomainInPath(InvalidPath):
    """No domain has the name that the path begins with."""


class ForeignAddressInPath(NotAuthorized):
    """A user named another mailbox."""


class UnauthorizedPath(NotAuthorized):
    """The path leads out of what the caller may touch."""

    def __init__(self, level: int) -> None:
        super().__init__("the path leads out of what the caller may touch")
        self.level = level


# --- what changes are refused for ---------------------------------------------------------------


class UserExists(VpopsqlError):
    """The domain has a mailbox of this name already."""


class IllegalUserName(VpopsqlError):
    """No mailbox may be called so."""


class UserNameTooLong(VpopsqlError):
    """A mailbox name beyond 64 characters."""


class DirectoryExists(VpopsqlError):
    """Something stands where a new directory should be made."""


class NotInTrash(VpopsqlError):
    """What should be restored or purged is not in the trash, or not any more."""


class CannotUndo(VpopsqlError):
    """A change cannot be taken back; the text says why, and what to do instead."""


class DomainExists(VpopsqlError):
    """There is a domain or alias domain of this name already."""


class InvalidDomainName(VpopsqlError):
    """No domain may be called so."""


class DomainNameTooLong(VpopsqlError):
    """A domain name beyond 96 characters."""


class SeveralRefused(VpopsqlError):
    """Some of many things that were asked for at once are refused, each for a reason."""

    def __init__(self, refused: Mapping[int, VpopsqlError]) -> None:
        """Take the reasons, by the places of the things, from 0; there is at least one."""
        super().__init__("; ".join(str(each) for each in refused.values()))
        self.refused = refused


class NameInUse(VpopsqlError):
    """Mail for the new name goes to something else already; the text says to what."""


class PostmasterNeeded(VpopsqlError):
    """A domain's postmaster cannot be deleted."""


class CatchAllNeeded(VpopsqlError):
    """The mailbox gets the mail for unknown names; it cannot be deleted."""


class LimitReached(VpopsqlError):
    """The domain's limits allow no more of these."""


class InvalidValue(VpopsqlError):
    """A value of an option that cannot be stored; the text says which and why."""


class PasswordChangeForbidden(NotAuthorized):
    """The account may not change its own password."""


class AliasNameRequired(MissingParameter):
    """The name of an alias or of an alias domain is missing."""


class AliasLineRequired(MissingParameter):
    """The destination of an alias is missing."""


class SourceRequired(MissingParameter):
    """The name of the file to rename is missing."""


class DestinationRequired(MissingParameter):
    """The new name of a file is missing."""


class InvalidAlias(VpopsqlError):
    """An alias name or destination that cannot be stored."""


class LineNotPermitted(NotAuthorized):
    """A dot-qmail line that runs a program or delivers outside the owner's directory."""


class InvalidIp(VpopsqlError):
    """No IP address."""


class NotConfigured(VpopsqlError):
    """The command needs a program that the site has not configured."""
