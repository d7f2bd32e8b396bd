"""Keeping files in step, for tests that look at the database and the wire only."""

from vpopsql.touched import Touched


class NoFiles:
    """Remembers what was touched, and writes nothing."""

    def __init__(self) -> None:
        self.touched = Touched()

    def follow(self, touched: Touched) -> None:
        """Take note."""
        self.touched.add(touched)
