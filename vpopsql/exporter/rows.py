"""The rows that lines of the site's shared files are made of."""

from typing import NamedTuple


class Name(NamedTuple):
    """A name that mail arrives for, with what users/assign says of it."""

    name: str
    real: str
    sort_key: str
    uid: int
    gid: int
    directory: str
    in_morercpthosts: bool
    age: int
    """The domain's id: its place in the order in which domains came into the database."""
    is_imported: bool
    """Whether the domain was found on a site, not made here."""


class Foreign(NamedTuple):
    """A line of a shared file that is not made of our rows."""

    line: str
    sort_key: str
