"""Where the files of this host stand.

It is kept on the host, beside the files that it is about: what a disk or a database was restored
from a backup, it goes with the files. The database has a copy in `model.Host`, for people.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vpopsql.config import Paths
from vpopsql.model import HostRole
from vpopsql.tree import Tree

FILE = ".vpopsql-follow"
"""Below qmail's users directory."""


@dataclass(frozen=True, slots=True)
class Position:
    """The revision that the files show, with all before it."""

    role: HostRole
    """Which files."""
    revision: int
    """0: the database had no revision."""
    at: datetime | None
    """When the revision was made: another database has another one of that number."""
    audit: int
    """The entry of the audit log up to which files were removed."""


def read(tree: Tree, paths: Paths) -> Position | None:
    """Return where this host stands; None: nowhere, as far as is known."""
    try:
        found: dict[str, Any] = json.loads(tree.read(f"{paths.users}/{FILE}"))
        at = found["at"]
        return Position(
            HostRole(found["role"]),
            found["revision"],
            at and datetime.fromisoformat(at),
            found["audit"],
        )
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None


def write(tree: Tree, paths: Paths, position: Position) -> None:
    """Write down where this host stands; its users directory must be there."""
    shown = {
        "role": position.role.value,
        "revision": position.revision,
        "at": position.at and position.at.isoformat(),
        "audit": position.audit,
    }
    tree.write(f"{paths.users}/{FILE}", json.dumps(shown).encode() + b"\n")
