"""What scripts/fuzz does: inputs that nobody would send, for everything that reads some.

A *target* is a function that is given bytes, and raises if something is not as promised. Inputs
that reach much are kept in tests/fuzz/corpus, small, and given to each target by a test.
"""

from pathlib import Path

CORPUS = Path(__file__).resolve().parents[2] / "tests/fuzz/corpus"


class Broken(AssertionError):
    """A promise was not kept; the text says which."""


def require(holds: object, promise: str) -> None:
    """Raise `Broken` unless something holds."""
    if not holds:
        raise Broken(promise)
