"""Chance that is the same whenever it is asked for the same."""

import itertools
import random
from collections.abc import Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


def numbers(seed: int, what: str) -> random.Random:
    """Return random numbers that depend on nothing but the seed and what they are for."""
    return random.Random(f"{seed}/{what}")  # noqa: S311 - made up, and meant to be repeatable


def happens(draw: random.Random, percent: float) -> bool:
    """Say whether something happens that does so ``percent`` times in a hundred."""
    return draw.random() * 100 < percent


class Shares(Generic[T]):
    """Things, some more frequent than others.

    :param shares: how often each comes, in parts of all of them together.
    """

    def __init__(self, shares: Mapping[T, int]) -> None:
        self._things = list(shares)
        self._sums = list(itertools.accumulate(shares.values()))

    def pick(self, draw: random.Random) -> T:
        """Return one of them."""
        return draw.choices(self._things, cum_weights=self._sums)[0]
