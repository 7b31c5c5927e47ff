"""What a model is worth where only so many can be acted on: precision, recall and gain of the highest scores of each date.

A capacity is a share of the rows of a decision date (a snapshot), or a number of them; the rows of a table without dates are
all of one date. A number is of a date's whole population: of rows that are a part of it, the same part of the number.

Rows with the same score at the cut share the places that are left: each is acted on in part, which is the mean over all ways to
draw lots among them. Gain is the hits over those of as many rows drawn by lot within each date (lift).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.statistics.resampling import Weights

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from pipelines.config.params import DataParams
    from pipelines.statistics.resampling import Floats, Measure

NAMES = ("precision_at_capacity", "recall_at_capacity", "gain_at_capacity")


@dataclass(frozen=True)
class Dates:
    """Which decision date each row is of, as codes from 0 on, shape (rows,); share: these rows, of all rows of those dates."""

    codes: NDArray[np.intp]
    share: float = 1.0

    @classmethod
    def of(cls, rows: pa.Table, data: DataParams, share: float = 1.0) -> Dates:
        if data.time is None:
            return cls(np.zeros(rows.num_rows, dtype=np.intp), share)
        encoded = rows[data.time].combine_chunks().dictionary_encode()
        return cls(encoded.indices.to_numpy(zero_copy_only=False).astype(np.intp), share)

    def take(self, kept: NDArray[Any]) -> Dates:
        """Of some of the rows, by index or mask, which stand for all of their dates."""
        return Dates(np.unique(self.codes[kept], return_inverse=True)[1], self.share)

    def places(self, capacity: float, sizes: Floats) -> Floats:
        """How many rows of each date are acted on, where dates have `sizes` rows; the same shape."""
        return np.minimum(capacity * self.share, sizes) if capacity >= 1 else capacity * sizes


def figures(labels: NDArray[Any], scores: Floats, dates: Dates, capacity: float, weights: Weights | NDArray[Any]) -> Floats:
    """The figures of NAMES in each of n resamples, shape (n, 3); a figure of nothing is NaN.

    Args:
        labels, scores: shape (rows,).
    """
    order, starts = _ties(scores, dates.codes, labels == 1)
    ends = np.append(starts[1:], len(order))
    positives = np.add.reduceat(labels[order] == 1, starts, dtype=np.intp)
    runs = np.column_stack([ends - positives, ends]).ravel()  # of each tie the negatives, then the positives
    date = dates.codes[order[starts]]
    first = _begins(date)

    def measured(sums: Floats) -> Floats:
        negative, positive = sums[::2], sums[1::2]
        size = negative + positive
        part = _part(size, first, dates, capacity)
        acted, hits = (part * size).sum(axis=0), (part * positive).sum(axis=0)
        rows, all_positive = np.add.reduceat(size, first, axis=0), np.add.reduceat(positive, first, axis=0)
        rate = np.divide(all_positive, rows, out=np.zeros_like(rows), where=rows > 0)
        by_lot = (dates.places(capacity, rows) * rate).sum(axis=0)
        return np.column_stack([hits / acted, hits / all_positive.sum(axis=0), hits / by_lot])

    with np.errstate(invalid="ignore", divide="ignore"):
        return Weights.of(weights).of_runs(order, runs, measured)


def taken(scores: Floats, dates: Dates, capacity: float) -> Floats:
    """How far each row is acted on, shape (rows,): 1 above the cut of its date, 0 below, and a part of 1 at it."""
    order, starts = _ties(scores, dates.codes)
    sizes = np.diff(np.append(starts, len(order))).astype(np.float64)
    part = _part(sizes[:, None], _begins(dates.codes[order[starts]]), dates, capacity)[:, 0]
    taken_part = np.empty(len(scores))
    taken_part[order] = np.repeat(part, sizes.astype(np.intp))
    return taken_part


def measures(labels: NDArray[Any], scores: Floats, dates: Dates, capacity: float) -> dict[str, Measure]:
    """Each of NAMES as a measure of weights."""

    def measure(column: int) -> Measure:
        return lambda weights: figures(labels, scores, dates, capacity, weights)[:, column]

    return {name: measure(column) for column, name in enumerate(NAMES)}


def share_within(dates: Dates, capacity: float) -> float:
    """Share of all rows that is acted on."""
    sizes = np.bincount(dates.codes).astype(np.float64)
    return float(dates.places(capacity, sizes).sum() / sizes.sum())


def threshold(scores: Floats, share: float) -> float:
    """The score that so large a share of rows reaches, out of fold; more where the last of them is tied.

    One score for all dates: a date with higher scores than usual gets more than its capacity, and one with lower ones less.
    """
    count = min(len(scores), max(1, round(share * len(scores))))
    return float(np.sort(scores)[-count])


def _ties(scores: Floats, codes: NDArray[np.intp], *within: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows by date and from the highest score down, and where in this order each run of equal scores of a date begins."""
    order = np.lexsort((*within, -scores, codes))
    return order, np.flatnonzero(_changes(codes[order]) | _changes(scores[order]))


def _begins(sorted_codes: NDArray[np.intp]) -> NDArray[np.intp]:
    return np.flatnonzero(_changes(sorted_codes))


def _changes(values: NDArray[Any]) -> NDArray[np.bool_]:
    return np.append(True, values[1:] != values[:-1])


def _part(sizes: Floats, first: NDArray[np.intp], dates: Dates, capacity: float) -> Floats:
    """How far the rows of each tie are acted on, shape (ties, n).

    Args:
        sizes: rows of each tie, by date and from the highest score down, shape (ties, n).
        first: the first tie of each date.
    """
    ties = np.diff(np.append(first, len(sizes)))
    ahead = np.cumsum(sizes, axis=0) - sizes
    ahead -= np.repeat(ahead[first], ties, axis=0)
    room = np.repeat(dates.places(capacity, np.add.reduceat(sizes, first, axis=0)), ties, axis=0) - ahead
    return np.clip(np.divide(room, sizes, out=np.zeros_like(sizes), where=sizes > 0), 0, 1)
