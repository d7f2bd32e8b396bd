"""The database: engines, transactions, migrations and the schema guard.

The only package that knows which database it is.
"""

from vpopsql.db.database import Database, Mark, Moment
from vpopsql.db.schema import (
    check,
    current,
    downgrade,
    exists,
    migrations_directory,
    revisions,
    type_differs,
    upgrade,
)

__all__ = [
    "Database",
    "Mark",
    "Moment",
    "check",
    "current",
    "downgrade",
    "exists",
    "migrations_directory",
    "revisions",
    "type_differs",
    "upgrade",
]
