"""A client of the vpopmaild protocol, for scripts: blocking, typed, with nothing to install.

    from vpopsql.client import connect

    with connect("mail.example.com") as client:
        client.login("postmaster@example.com", "secret")
        for user in client.list_users("example.com"):
            print(user.name, user.quota)

It needs the standard library alone, neither the daemon nor the database of vpopsql, and talks to
vpopmail's own daemon as well. Errors are `ClientError` and what is derived of it, and ValueError
for a parameter that cannot be sent. See docs/client.md.
"""

from vpopsql.client import commands
from vpopsql.client.connection import DEFAULT_PORT, Client, connect
from vpopsql.client.failures import ClientError, Disconnected, ProtocolError, Refused, TimedOut
from vpopsql.client.values import (
    AliasLine,
    Domain,
    DomainName,
    DomainSize,
    Entry,
    IpMapping,
    LastAuth,
    Limits,
    Session,
    Size,
    User,
)
from vpopsql.flags import Flag

__all__ = [
    "DEFAULT_PORT",
    "AliasLine",
    "Client",
    "ClientError",
    "Disconnected",
    "Domain",
    "DomainName",
    "DomainSize",
    "Entry",
    "Flag",
    "IpMapping",
    "LastAuth",
    "Limits",
    "ProtocolError",
    "Refused",
    "Session",
    "Size",
    "TimedOut",
    "User",
    "commands",
    "connect",
]
