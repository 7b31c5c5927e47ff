"""How far apart two histograms are: PSI, Jensen-Shannon, Kolmogorov-Smirnov and Wasserstein, from counts alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.histograms import Category, Layout, Number

Floats = NDArray[np.float64]
LEAST_DEVIATION = 0.001  # what Evidently divides a Wasserstein distance by at least


@dataclass(frozen=True)
class Bounded:
    """A figure from bins, and the interval that the exact figure of the same rows lies in."""

    value: float
    low: float
    high: float


def psi(reference: NDArray, current: NDArray) -> float:
    """Population stability index of two arrays of counts over the same bins: sum of (r - c) ln(r / c).

    An empty bin gets the share that Evidently gives it, so that both agree: 0.0001, or a millionth of the smallest
    share where that is at most 0.0001 (evidently 0.7.23, legacy/calculations/stattests/utils.py).
    """
    one, other = _filled(_shares(reference)), _filled(_shares(current))
    return float(np.sum((one - other) * np.log(one / other)))


def jensen_shannon(reference: NDArray, current: NDArray) -> float:
    """Jensen-Shannon distance, in [0, sqrt(ln 2)]: root of the divergence in nats (Endres & Schindelin 2003)."""
    one, other = _shares(reference), _shares(current)
    middle = (one + other) / 2
    divergence = (_relative_entropy(one, middle) + _relative_entropy(other, middle)) / 2
    return float(np.sqrt(max(divergence, 0.0)))


def kolmogorov_smirnov(reference: Number, current: Number) -> Bounded:
    """Largest difference of the two distribution functions, over the finite values.

    The difference is exact at every edge, and the exact statistic cannot be less than its largest there. Inside a bin
    that starts at difference d and holds shares r and c, the difference stays within [d - c, d + r]: all of one side's
    rows could come first. So the exact statistic lies between `low` (which is `value`) and `high`, and
    `high - low` is at most the largest share of one bin.
    """
    one, other = _shares(reference.counts), _shares(current.counts)
    ends = np.cumsum(one - other)
    starts = ends - (one - other)
    at_edges = float(np.abs(ends).max())
    alone = (one == 0) | (other == 0)  # rows of one side only: the difference runs straight from end to end
    inside = np.where(alone, 0.0, np.maximum(starts + one, other - starts))
    return Bounded(at_edges, at_edges, max(at_edges, float(inside.max())))


def wasserstein(reference: Number, current: Number, edges: list[float]) -> Bounded:
    """First Wasserstein distance of the finite values, in the column's unit: area between the distribution functions.

    Their difference is exact at every edge and is taken as straight inside a bin. A bin of width w that holds shares r
    and c moves it by at most max(r, c) away from there (see `kolmogorov_smirnov`), so the exact distance is within
    the sum of w max(r, c). The two outermost bins end at the smallest and the largest value seen.
    """
    if not reference.finite or not current.finite:
        return Bounded(float("nan"), float("nan"), float("nan"))
    one, other = _shares(reference.counts), _shares(current.counts)
    ends = np.cumsum(one - other)
    starts = ends - (one - other)
    low, high = min(reference.low, current.low), max(reference.high, current.high)
    borders = np.concatenate([[min(low, edges[0])], edges, [max(high, edges[-1])]])
    widths = np.diff(borders)
    value = float(np.sum(widths * _mean_absolute(starts, ends)))
    error = float(np.sum(widths * np.maximum(one, other)))
    return Bounded(value, max(value - error, 0.0), value + error)


def normed_wasserstein(reference: Number, current: Number, edges: list[float]) -> float:
    """`wasserstein` in standard deviations of the reference, as Evidently reports it."""
    return wasserstein(reference, current, edges).value / max(reference.deviation, LEAST_DEVIATION)


def statistics(reference: Number | Category, current: Number | Category, layout: Layout, name: str) -> dict[str, float]:
    """What a page shows of one column: psi and jensen_shannon, of a number also kolmogorov_smirnov and wasserstein (in
    standard deviations), each NaN where one side has no rows; and the shares of missing rows.

    Of a number they are of the finite values, of a category of all rows.
    """
    one, other = (side.counts if isinstance(side, Number) else side.cells for side in (reference, current))
    usable = one.sum() and other.sum()
    nothing = float("nan")
    found = {
        "psi": psi(one, other) if usable else nothing,
        "jensen_shannon": jensen_shannon(one, other) if usable else nothing,
        "missing": current.missing / max(int(current.cells.sum()), 1),
        "missing_reference": reference.missing / max(int(reference.cells.sum()), 1),
    }
    if isinstance(reference, Number) and isinstance(current, Number):
        found["kolmogorov_smirnov"] = kolmogorov_smirnov(reference, current).value if usable else nothing
        found["wasserstein"] = normed_wasserstein(reference, current, layout.edges[name]) if usable else nothing
    return found


def quantile(number: Number, edges: list[float], share: float) -> float:
    """The value that `share` of the finite values do not exceed, straight inside a bin; NaN where there is none."""
    if not number.finite:
        return float("nan")
    borders = np.concatenate([[min(number.low, edges[0])], edges, [max(number.high, edges[-1])]])
    upto = np.concatenate([[0], np.cumsum(number.counts)]) / number.finite
    place = min(int(np.searchsorted(upto, share, side="left")), len(borders) - 1)
    if place == 0:
        return float(number.low)
    step = upto[place] - upto[place - 1]
    inside = (share - upto[place - 1]) / step if step else 0.0
    return float(borders[place - 1] + inside * (borders[place] - borders[place - 1]))


def _shares(counts: NDArray) -> Floats:
    total = counts.sum()
    return counts / total if total else np.zeros(len(counts))


def _filled(shares: Floats) -> Floats:
    smallest = shares[shares > 0].min()
    return np.where(shares == 0, smallest / 10**6 if smallest <= 0.0001 else 0.0001, shares)


def _relative_entropy(one: Floats, other: Floats) -> float:
    positive = one > 0
    return float(np.sum(one[positive] * np.log(one[positive] / other[positive])))


def _mean_absolute(starts: Floats, ends: Floats) -> Floats:
    """Mean of |y| where y runs straight from `starts` to `ends`."""
    whole = (np.abs(starts) + np.abs(ends)) / 2
    crossing = starts * ends < 0
    apart = np.where(crossing, np.abs(starts) + np.abs(ends), 1.0)
    return np.where(crossing, (starts**2 + ends**2) / (2 * apart), whole)
