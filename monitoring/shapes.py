"""The shape of a number on one scale for all columns: what a change of unit keeps, and what tells two columns apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.histograms import OCTAVES, STEPS, Number

Floats = NDArray[np.float64]
LEAST_VALUES = 50  # finite values, or sizes, below which a column has no shape to speak of
GRID = np.linspace(0.05, 0.95, 19)
_STEPS = np.arange(2 * OCTAVES * STEPS + 1)
_EDGES = _STEPS // STEPS - OCTAVES + np.log2(1 + _STEPS % STEPS / STEPS)  # of the magnitudes' bins, in octaves
SHARE_WEIGHT = 10.0  # octaves that a whole column of zeros, or one of the other sign, is away


@dataclass(frozen=True)
class Shape:
    """quantiles: of the sizes of the values but 0, in octaves, shape (19,). zero, negative: shares of the finite values."""

    quantiles: Floats
    zero: float
    negative: float

    @property
    def spread(self) -> float:
        """Mean distance of the quantiles from the median, in octaves."""
        return float(np.abs(self.quantiles - np.median(self.quantiles)).mean())


def of(number: Number) -> Shape | None:
    """None where too few values are there, or their sizes were not counted."""
    sizes = int(number.magnitudes.sum())
    if sizes < LEAST_VALUES:
        return None
    upto = np.concatenate([[0.0], np.cumsum(number.magnitudes) / sizes])
    return Shape(np.interp(GRID, upto, _EDGES), 1 - sizes / number.finite, number.negative / number.finite)


def rescaled(before: Shape, now: Shape) -> tuple[float, float]:
    """The factor that brings one nearest to the other, in octaves, and how far their quantiles then are apart on average."""
    moved = now.quantiles - before.quantiles
    factor = float(np.median(moved))
    return factor, float(np.abs(moved - factor).mean())


def shares_apart(first: Shape, second: Shape) -> float:
    """How much the shares of zeros and of negative values differ, the larger of the two."""
    return max(abs(first.zero - second.zero), abs(first.negative - second.negative))


def apart(first: Shape, second: Shape) -> float:
    """How far two columns are from being the same, in octaves."""
    return float(np.abs(first.quantiles - second.quantiles).mean()) + SHARE_WEIGHT * shares_apart(first, second)
