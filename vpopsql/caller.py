"""Who runs a command on this host, and from where: what the audit log says of it."""

import ipaddress
import os
import pwd


def login_name() -> str:
    """Return the name of the user that the process runs as."""
    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def asked_by() -> str:
    """Return for whom sudo runs the process; empty: for nobody."""
    by = os.environ.get("SUDO_USER", "") if os.getuid() == 0 else ""
    return by if by.isprintable() else ""


def remote_ip() -> str:
    """Return the address that he has logged in from by SSH; empty: from this host, or unknown.

    sudo takes the variable away, unless its configuration has
    ``Defaults env_keep += "SSH_CONNECTION"``.
    """
    said = os.environ.get("SSH_CONNECTION", "").split(" ")[0]
    try:
        ip = ipaddress.ip_address(said)
    except ValueError:
        return ""
    return str(ip).partition("%")[0]
