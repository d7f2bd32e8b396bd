"""Inputs made of others: cut, doubled, spliced, with words of the grammar put in."""

import random
from collections.abc import Sequence

_HUGE = 9000


class Mutator:
    """Makes inputs, the same ones for the same seed.

    :param words: what is put in.
    """

    def __init__(self, seed: object, words: Sequence[bytes]) -> None:
        self._rng = random.Random(str(seed))  # noqa: S311 - must be repeatable
        self._words = list(words) or [b"x"]

    def make(self, corpus: Sequence[bytes]) -> bytes:
        """Return an input that is made of some of ``corpus``, which has one at least."""
        data = bytearray(self._rng.choice(corpus))
        for _ in range(self._rng.randrange(1, 6)):
            self._rng.choice(_WAYS)(self, data, corpus)
        return bytes(data[:_HUGE])

    def _place(self, data: bytearray) -> int:
        return self._rng.randrange(len(data) + 1)

    def _flip(self, data: bytearray, _corpus: Sequence[bytes]) -> None:
        if data:
            data[self._rng.randrange(len(data))] = self._rng.randrange(256)

    def _cut(self, data: bytearray, _corpus: Sequence[bytes]) -> None:
        start = self._place(data)
        del data[start : start + self._rng.randrange(1, 8)]

    def _double(self, data: bytearray, _corpus: Sequence[bytes]) -> None:
        start = self._place(data)
        data[start:start] = data[start : start + self._rng.randrange(1, 32)]

    def _insert(self, data: bytearray, _corpus: Sequence[bytes]) -> None:
        at = self._place(data)
        data[at:at] = self._rng.choice(self._words)

    def _replace(self, data: bytearray, _corpus: Sequence[bytes]) -> None:
        at = self._place(data)
        word = self._rng.choice(self._words)
        data[at : at + len(word)] = word

    def _splice(self, data: bytearray, corpus: Sequence[bytes]) -> None:
        other = self._rng.choice(corpus)
        data[self._place(data) :] = other[self._rng.randrange(len(other) + 1) :]

    def _noise(self, data: bytearray, _corpus: Sequence[bytes]) -> None:
        at = self._place(data)
        data[at:at] = self._rng.randbytes(self._rng.randrange(1, 8))


_WAYS = (
    Mutator._flip,  # noqa: SLF001 - its own
    Mutator._cut,  # noqa: SLF001
    Mutator._double,  # noqa: SLF001
    Mutator._insert,  # noqa: SLF001
    Mutator._insert,  # noqa: SLF001
    Mutator._replace,
    Mutator._splice,  # noqa: SLF001
    Mutator._noise,  # noqa: SLF001
)
