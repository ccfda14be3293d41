"""What actions cost, in units of the objective."""

from __future__ import annotations

from typing import NamedTuple


class Prices(NamedTuple):
    """What is taken off the reward for an action.

    Attributes:
        merge: of a merge that was not asked for.
        query: of a question to a human, whatever the answer.
        reimage: of imaging all voxels of the volume again; a region costs its share of them.
        stop: of stopping.
    """

    merge: float = 0.0
    query: float = 0.01
    reimage: float = 1.0
    stop: float = 0.0


def checked_prices(prices: Prices) -> Prices:
    """Return prices as floats.

    Raises:
        ValueError: one is negative or not a number.
    """
    for name, price in zip(Prices._fields, prices, strict=True):
        if not price >= 0:
            raise ValueError(f"the price of {name} must be at least 0, not {price}")
    return Prices(*(float(price) for price in prices))
