"""Proving that what an export would write is what the source of an import has.

Two comparisons, so that neither reading nor storing can lose anything unseen. Each file of the
source is compared with what it should be written as, line by line: a line that differs must be
one that the import has a finding about. And what should be written is compared with what the
export would write of the database: what differs must have been changed there on purpose since,
which the audit log knows.

Nothing is written. One batch of domains is held at a time.
"""

from vpopsql.proof.compare import prove
from vpopsql.proof.result import Difference, Kind, Proof

__all__ = ["Difference", "Kind", "Proof", "prove"]
