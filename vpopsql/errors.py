"""Every refusal of vpopsql, a class each.

An error says what is the case, with the value concerned; it knows nothing of the wire. The
daemon maps classes to reply codes in one table, the command line prints the text.
"""


class VpopsqlError(Exception):
    """Something that vpopsql refuses or cannot do; its text is fit to be shown to a person."""


class ConfigError(VpopsqlError):
    """The configuration has mistakes; the text lists all of them, one a line."""


class SchemaError(VpopsqlError):
    """The database's schema and this code do not fit together."""


class DatabaseUnavailable(VpopsqlError):
    """The database did not answer; trying again later may help."""


class NotAuthorized(VpopsqlError):
    """The caller's rights do not suffice, whatever the object."""


class NotAuthorizedForDomain(NotAuthorized):
    """The caller administers another domain."""


class NoSuchDomain(VpopsqlError):
    """No domain and no alias domain has this name."""


class NoSuchUser(VpopsqlError):
    """No mailbox has this address."""


class NoSuchMapping(VpopsqlError):
    """No domain is mapped to this IP address."""


class InvalidAddress(VpopsqlError):
    """An e-mail address that the address grammar refuses."""


class InvalidLogin(VpopsqlError):
    """Unknown user or wrong password; never says which."""
