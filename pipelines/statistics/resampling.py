"""Entities drawn with replacement, and what that says about a figure: its interval.

A resample is a count for each entity, which all of the entity's rows share: no row is ever copied. So a figure is
computed from sums over rows that are products of a matrix (what is summed x entities) with the counts (entities x
resamples). The matrix is small where a metric is a mean, and sparse where it ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pipelines.config.params import EvaluateParams

Floats = NDArray[np.float64]
CELLS_DRAWN = 64_000_000  # counts of one byte in memory at a time
CELLS_SUMMED = 2_000_000  # and of eight bytes


class Bootstrap(TypedDict):
    """How entities are drawn, and how wide an interval is."""

    resamples: int
    confidence: float
    seed: int


def bootstrap(evaluate: EvaluateParams) -> Bootstrap:
    return {"resamples": evaluate.bootstrap, "confidence": evaluate.confidence, "seed": evaluate.seed}


@dataclass(frozen=True)
class Interval:
    """A figure and its two-sided percentile bootstrap interval (Efron & Tibshirani 1993, section 13.3)."""

    point: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.point:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True)
class Weights:
    """What each row counts in each of n resamples."""

    counts: NDArray[Any]  # (entities, n)
    entity: NDArray[np.intp]  # (rows,); number of the row's entity

    @classmethod
    def of(cls, weights: Weights | NDArray[Any]) -> Weights:
        """An array (n, rows) says it row by row."""
        return weights if isinstance(weights, Weights) else cls(weights.T, np.arange(weights.shape[1]))

    def __len__(self) -> int:
        return self.counts.shape[1]

    def take(self, chosen: NDArray[Any]) -> Weights:
        """Of some of the rows, by index or mask: the same resamples, whatever the rows."""
        return Weights(self.counts, self.entity[chosen])

    def total(self, *values: NDArray[Any]) -> list[Floats]:
        """Weighted sum of each of `values`, which are of shape (rows,): one array (n,) each."""
        from scipy.sparse import csr_array

        population = len(self.counts)
        # sparse only in name: a product of BLAS's starts threads, which spin for longer than so thin a one takes
        sums = csr_array([np.bincount(self.entity, weights=each, minlength=population) for each in values])
        return list(np.concatenate([sums @ counts for counts in self._blocks()], axis=1))

    def of_runs(self, rows: NDArray[Any], ends: NDArray[Any], measure: Callable[[Floats], Floats]) -> Floats:
        """`measure` of the sums of weights over runs of `rows`, shape (n,).

        Args:
            rows: indices of rows, in the order in which runs follow each other.
            ends: place in `rows` where each run ends, (runs,).
            measure: maps sums (runs, some resamples) to one figure a resample.
        """
        from scipy.sparse import csr_array  # a third of a second to import

        columns, starts = self.entity[rows], np.concatenate([[0], ends])
        runs = csr_array((np.ones(len(rows)), columns, starts), shape=(len(ends), len(self.counts)))
        return np.concatenate([measure(runs @ counts) for counts in self._blocks()])

    def by_cell(self, cell: NDArray[np.intp], cells: int, values: NDArray[Any]) -> Floats:
        """Weighted sum of `values` over the rows of each cell, shape (n, cells). `cell` is that of each row, (rows,)."""
        from scipy.sparse import csr_array

        sums = csr_array((values.astype(np.float64), (cell, self.entity)), shape=(cells, len(self.counts)))
        return np.concatenate([(sums @ counts).T for counts in self._blocks()])

    def _blocks(self) -> Iterator[Floats]:
        """The counts in some columns at a time: those that a processor's cache holds are summed fastest."""
        block = max(1, min(32, CELLS_SUMMED // len(self.counts)))
        for start in range(0, len(self), block):
            yield self.counts[:, start : start + block].astype(np.float64)


Measure = Callable[[Weights], Floats]
Name = TypeVar("Name", bound=Hashable)


def draw(entities: NDArray[Any], resamples: int, seed: int) -> Iterator[Weights]:
    """Resamples of entities with replacement, `resamples` in all, in blocks of at most 64 MB."""
    _, entity = np.unique(entities, return_inverse=True)
    population = int(entity.max()) + 1
    blocks = _kept_counts if population * resamples <= CELLS_DRAWN else _counts
    for counts in blocks(population, resamples, seed):
        yield Weights(counts, entity)


@lru_cache(maxsize=2)  # candidates are judged one after the other on the same rows, and on the newest of them
def _kept_counts(population: int, resamples: int, seed: int) -> tuple[NDArray[np.uint8], ...]:
    return tuple(_counts(population, resamples, seed))


def _counts(population: int, resamples: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    """Blocks (entities, n). One byte a count is enough: more than 255 come once in 10^500 draws."""
    random, chances = np.random.default_rng(seed), np.full(population, 1 / population)
    block, part = max(1, CELLS_DRAWN // population), max(1, CELLS_SUMMED // population)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        counts = np.empty((population, size), dtype=np.uint8)
        for first in range(0, size, part):
            last = min(first + part, size)
            counts[:, first:last] = random.multinomial(population, chances, size=last - first).T
        counts.flags.writeable = False
        yield counts


def intervals(
    measures: Mapping[Name, Measure], entities: NDArray[Any], *, resamples: int, confidence: float, seed: int
) -> dict[Name, Interval]:
    """Each measure on all rows, with its interval; all of them on the same resamples.

    A measure maps `Weights` of n resamples to n figures. Resamples that give no figure (no positive drawn, say) are
    left out; a measure without a figure on all rows gets NaN three times.
    """
    once = Weights(np.ones((len(entities), 1)), np.arange(len(entities)))
    points = {name: float(measure(once)[0]) for name, measure in measures.items()}
    drawn: dict[Name, list[Floats]] = {name: [] for name in measures}
    for weights in draw(entities, resamples, seed):
        for name, measure in measures.items():
            drawn[name].append(measure(weights))
    return {name: _percentiles(points[name], np.concatenate(drawn[name]), confidence) for name in measures}


def _percentiles(point: float, drawn: Floats, confidence: float) -> Interval:
    usable = drawn[np.isfinite(drawn)]
    if not len(usable) or not np.isfinite(point):
        return Interval(float("nan"), float("nan"), float("nan"))
    low, high = np.quantile(usable, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(point, float(low), float(high))
