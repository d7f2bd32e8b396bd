"""Configuration: one TOML file and the environment become one frozen `Config`.

A value comes from the first of: the environment variable ``VPOPSQL_<SECTION>_<KEY>``, the file
(``--config`` or ``VPOPSQL_CONFIG``), the default. All mistakes are found before any is reported,
each with the place it stands in, its key and what is allowed; an unknown key is a mistake. No
message and no ``repr`` shows a password.

Each key is declared once, as a field of its section. `explain`, `reference` and
docs/configuration.md follow from that. No file is opened but the configuration and the database's
password, and no value is checked against the machine it runs on, except that password hashes of
the configured scheme can be made here.
"""

from vpopsql.config.reading import load
from vpopsql.config.sections import (
    WORKERS_MAX,
    Config,
    Daemon,
    Database,
    Domains,
    DotQmail,
    Export,
    Follow,
    Hooks,
    Key,
    Lists,
    Log,
    Passwords,
    Paths,
    Trash,
    Usage,
    keys,
)
from vpopsql.config.showing import explain, mask_url, reference
from vpopsql.kinds import Address, Deadlines, listen_address

__all__ = [
    "WORKERS_MAX",
    "Address",
    "Config",
    "Daemon",
    "Database",
    "Deadlines",
    "Domains",
    "DotQmail",
    "Export",
    "Follow",
    "Hooks",
    "Key",
    "Lists",
    "Log",
    "Passwords",
    "Paths",
    "Trash",
    "Usage",
    "explain",
    "keys",
    "listen_address",
    "load",
    "mask_url",
    "reference",
]
