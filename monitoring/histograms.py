"""Mergeable histograms of all columns, counted in one pass: all that a decision about drift is made of.

A `Layout` fixes the bins, learnt on the version's training rows. `Histograms` counted with one layout can be added, so
a year is the sum of its days, and memory does not grow with rows.
"""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.config.errors import EvergreenError

Floats = NDArray[np.float64]
MOST = float(np.finfo(np.float64).max)
CELLS = 4096
OCTAVES, STEPS = 64, 8  # magnitudes are counted from 2^-64 to 2^64, in so many steps an octave
SPELLINGS = 64  # unknown values are counted under so many hashes: how many there are is kept, and not what they say
PREDICTION, TARGET = ":prediction", ":target"  # columns beside the features; no SQL name looks like this


@dataclass(frozen=True)
class Layout:
    """Bins of every column.

    edges: number -> rising edges e0 < ... < em of the bins [e0, e1), ..., [e(m-1), em), all of the reference lying in
        them; below e0 and from em on are two more bins.
    known: category -> its known values in order.
    """

    edges: dict[str, list[float]]
    known: dict[str, list[str]]

    @property
    def columns(self) -> list[str]:
        return [*self.edges, *self.known]

    def to_json(self) -> str:
        return _canonical({"edges": self.edges, "known": self.known})

    @classmethod
    def from_json(cls, text: str) -> Layout:
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Number:
    """Counts of one number, integers but for the ends and the sums.

    counts: shape (bins + 2,): below the reference's range, its bins, above it.
    total, squares: sums of the finite values and of their squares; low, high: their ends, None where there is none.
    magnitudes: finite values but 0 by their size, whatever their sign, shape (2 * OCTAVES * STEPS,): bins of one scale for all
        columns, so that columns and units can be compared. negative: values below 0.
    """

    counts: NDArray[np.int64]
    missing: int
    infinite: int
    low: float | None
    high: float | None
    total: float
    squares: float
    magnitudes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2 * OCTAVES * STEPS, dtype=np.int64))
    negative: int = 0

    def __add__(self, other: Number) -> Number:
        lows, highs = [[v for v in pair if v is not None] for pair in ((self.low, other.low), (self.high, other.high))]
        return Number(
            self.counts + other.counts, self.missing + other.missing, self.infinite + other.infinite,
            min(lows, default=None), max(highs, default=None),
            _bounded(self.total + other.total), _bounded(self.squares + other.squares),
            self.magnitudes + other.magnitudes, self.negative + other.negative,
        )  # fmt: skip

    @property
    def cells(self) -> NDArray[np.int64]:
        """Every row once: the bins, infinite, missing."""
        return np.append(self.counts, [self.infinite, self.missing])

    @property
    def finite(self) -> int:
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        return self.total / self.finite if self.finite else float("nan")

    @property
    def deviation(self) -> float:
        """Population standard deviation of the finite values."""
        return float(np.sqrt(max(self.squares / self.finite - self.mean**2, 0.0))) if self.finite else float("nan")


@dataclass(frozen=True)
class Category:
    """Counts of one category: its known values, then unknown ones; and the unknown ones by hash, shape (SPELLINGS,)."""

    counts: NDArray[np.int64]
    missing: int
    unknown: NDArray[np.int64] = field(default_factory=lambda: np.zeros(SPELLINGS, dtype=np.int64))

    def __add__(self, other: Category) -> Category:
        return Category(self.counts + other.counts, self.missing + other.missing, self.unknown + other.unknown)

    @property
    def cells(self) -> NDArray[np.int64]:
        """Every row once: the known values, unknown, missing."""
        return np.append(self.counts, self.missing)


@dataclass(frozen=True)
class Histograms:
    """Counts of all columns of some rows, and the products of their ranks (see `correlations`)."""

    rows: int
    numbers: dict[str, Number]
    categories: dict[str, Category]
    sums: Floats  # of the ranks, shape (columns,)
    products: Floats  # of the ranks, shape (columns, columns)

    def __add__(self, other: Histograms) -> Histograms:
        return Histograms(
            self.rows + other.rows,
            {name: cells + other.numbers[name] for name, cells in self.numbers.items()},
            {name: cells + other.categories[name] for name, cells in self.categories.items()},
            self.sums + other.sums,
            self.products + other.products,
        )

    def column(self, name: str) -> Number | Category:
        return self.numbers[name] if name in self.numbers else self.categories[name]

    @property
    def columns(self) -> list[str]:
        return [*self.numbers, *self.categories]

    def correlations(self) -> Floats:
        """Spearman-like correlations, shape (columns, columns): of ranks in the reference, a missing value in the middle.

        A column that is constant here correlates 0 with all others.
        """
        mean = self.sums / self.rows
        covariance = self.products / self.rows - np.outer(mean, mean)
        spread = np.sqrt(np.clip(np.diag(covariance), 0, None))
        scale = np.outer(spread, spread)
        return np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 1e-9)

    def to_json(self) -> str:
        """Canonical JSON: equal histograms give equal text, and reading it back gives the very same numbers."""
        return _canonical({
            "rows": self.rows,
            "numbers": {
                name: vars(cells) | {"counts": cells.counts.tolist(), "magnitudes": _sparse(cells.magnitudes)}
                for name, cells in self.numbers.items()
            },
            "categories": {
                name: vars(cells) | {"counts": cells.counts.tolist(), "unknown": _sparse(cells.unknown)}
                for name, cells in self.categories.items()
            },
            "sums": self.sums.tolist(),
            "products": self.products.tolist(),
        })  # fmt: skip

    @classmethod
    def from_json(cls, text: str) -> Histograms:
        saved = json.loads(text)
        numbers = {
            name: Number(**cells | _read_counts(cells, "magnitudes", 2 * OCTAVES * STEPS))
            for name, cells in saved["numbers"].items()
        }
        categories = {
            name: Category(**cells | _read_counts(cells, "unknown", SPELLINGS)) for name, cells in saved["categories"].items()
        }
        return cls(saved["rows"], numbers, categories, np.array(saved["sums"]), np.array(saved["products"]))


def learn_layout(reference: pa.Table, categories: Mapping[str, list[str]], *, bins: int) -> Layout:
    """Bins for each column of `reference`: quantiles of a number, or its values where these are at most `bins`.

    Args:
        reference: the version's training rows; only columns that are watched.
        categories: those that are text, with the values that the model knows; every other column is a number.
    """
    numbers = [name for name in reference.column_names if name not in categories]
    edges = {name: _edges(_finite(_values(name, reference[name])), bins) for name in numbers}
    return Layout(edges, {name: list(values) for name, values in categories.items()})


def count(batches: Iterable[pa.RecordBatch], layout: Layout) -> Histograms:
    """Histograms of all batches, in one pass.

    Raises:
        EvergreenError: a column of the layout is not there, or a number has become text.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):  # small products: threads that wait for a busy core cost ten times as much
        return merge(itertools.chain([empty(layout)], (_count(batch, layout) for batch in batches)))


def merge(parts: Iterable[Histograms]) -> Histograms:
    """Their sum. Counts are exact in any order; sums of floats to rounding."""
    return reduce(lambda left, right: left + right, parts)


def empty(layout: Layout) -> Histograms:
    size = len(layout.columns)
    numbers = {
        name: Number(np.zeros(len(edges) + 1, dtype=np.int64), 0, 0, None, None, 0.0, 0.0)
        for name, edges in layout.edges.items()
    }
    categories = {name: Category(np.zeros(len(values) + 1, dtype=np.int64), 0) for name, values in layout.known.items()}
    return Histograms(0, numbers, categories, np.zeros(size), np.zeros((size, size)))


def _count(batch: pa.RecordBatch, layout: Layout) -> Histograms:
    if lacking := [name for name in layout.columns if name not in batch.schema.names]:
        raise EvergreenError(f"The window lacks columns that the version was trained on: {', '.join(lacking)}.")
    numbers, categories = {}, {}
    ranks = np.zeros((len(layout.columns), batch.num_rows), dtype=np.float32)
    for row, (name, edges) in enumerate(layout.edges.items()):
        values = _values(name, batch[name])
        numbers[name], places = _number(values, np.array(edges))
        _rank(ranks[row], places, len(edges) + 1)
    for row, (name, values_known) in enumerate(layout.known.items(), start=len(layout.edges)):
        categories[name], places = _category(batch[name], values_known)
        _rank(ranks[row], places, len(values_known) + 1)
    products = (ranks @ ranks.T).astype(np.float64)
    return Histograms(batch.num_rows, numbers, categories, ranks.sum(axis=1, dtype=np.float64), products)


def _number(values: Floats, edges: Floats) -> tuple[Number, NDArray[np.intp]]:
    """The counts, and each row's bin; infinite and missing rows come after the last bin."""
    bins = len(edges) + 1
    finite = np.isfinite(values)
    missing = infinite = 0
    if finite.all():
        places = _places(values, edges)
    else:
        missing = int(np.isnan(values).sum())
        infinite = int((~finite).sum()) - missing
        values = values[finite]
        places = np.full(len(finite), bins, dtype=np.intp)
        places[finite] = _places(values, edges)
    low, high = (float(values.min()), float(values.max())) if len(values) else (None, None)
    counts = np.bincount(places, minlength=bins + 1)[:bins]
    with np.errstate(over="ignore"):
        total, squares = _bounded(float(values.sum())), _bounded(float(values @ values))
    magnitudes, negative = _magnitudes(values)
    return Number(counts, missing, infinite, low, high, total, squares, magnitudes, negative), places


def _magnitudes(values: Floats) -> tuple[NDArray[np.int64], int]:
    """How many finite values there are of each size, and how many are negative.

    The upper bits of a float are its exponent and the first bits of its fraction: its octave and its step in it.
    """
    size = 2 * OCTAVES * STEPS
    signed = np.ascontiguousarray(values).view(np.int64)
    codes = signed & np.int64(2**63 - 1)
    codes >>= 53 - STEPS.bit_length()
    codes -= (1023 - OCTAVES) * STEPS
    counts = np.bincount(np.clip(codes, 0, size - 1, out=codes), minlength=size)
    counts[0] -= len(values) - np.count_nonzero(values)
    return counts, int(np.count_nonzero(values < 0))


def _places(values: Floats, edges: Floats) -> NDArray[np.intp]:
    """np.searchsorted(edges, values, side="right"), several times as fast: by a table of equal cells.

    A value's cell never falls when the value rises, so edges in cells before it are below it, those in cells after it are
    above, and only an edge in the very same cell has to be compared. Values in cells with several edges are searched.
    """
    low, span = edges[0], edges[max(len(edges) - 2, 0)] - edges[0]  # without the last, which may lie far out
    if not np.isfinite(span) or span <= 0 or len(values) < CELLS:
        return np.searchsorted(edges, values, side="right")
    with np.errstate(over="ignore"):
        cells, homes = (
            np.clip((side - low) * (CELLS / span) + 1, 0, CELLS + 2).astype(np.intp) for side in (values, edges)
        )  # fmt: skip
    inside = np.bincount(homes, minlength=CELLS + 3)
    before = np.cumsum(inside) - inside
    border = np.full(CELLS + 3, np.inf)
    border[homes] = edges
    places = before[cells] + (values >= border[cells])
    crowded = np.flatnonzero((inside > 1)[cells])
    places[crowded] = np.searchsorted(edges, values[crowded], side="right")
    return places


def _category(column: pa.Array, categories: list[str]) -> tuple[Category, NDArray[np.intp]]:
    """The counts, and each row's value; missing rows come after the unknown ones. "" is missing, as for the model."""
    encoded = column.dictionary_encode()
    values = pc.fill_null(encoded.dictionary.cast(pa.string()), "")
    place = pc.fill_null(pc.index_in(values, pa.array(categories, pa.string())), len(categories)).to_numpy(zero_copy_only=False)
    place = np.where(pc.equal(values, "").to_numpy(zero_copy_only=False), len(categories) + 1, place)
    place = np.append(place, len(categories) + 1)  # of NULL
    codes = pc.fill_null(encoded.indices, len(values)).to_numpy(zero_copy_only=False)
    places = place[codes]
    counts = np.bincount(places, minlength=len(categories) + 2)
    return Category(counts[:-1], int(counts[-1]), _spellings(values, codes, place == len(categories))), places


def _spellings(values: pa.Array, codes: NDArray[np.int64], is_unknown: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rows with each unknown value, by its hash; values that share one count together."""
    counts = np.zeros(SPELLINGS, dtype=np.int64)
    rows = np.bincount(codes, minlength=len(is_unknown))
    for at in np.flatnonzero(is_unknown):
        counts[zlib.crc32(values[at].as_py().encode()) % SPELLINGS] += rows[at]
    return counts


def _sparse(counts: NDArray[np.int64]) -> dict[str, int]:
    return {str(at): int(counts[at]) for at in np.flatnonzero(counts)}


def _read_counts(saved: Mapping[str, Any], extra: str, size: int) -> dict[str, NDArray[np.int64]]:
    """The arrays of a column; profiles of earlier days have no `extra`."""
    counts = np.zeros(size, dtype=np.int64)
    for at, rows in saved.get(extra, {}).items():
        counts[int(at)] = rows
    return {"counts": np.array(saved["counts"], dtype=np.int64), extra: counts}


def _bounded(value: float) -> float:
    """At most the largest float: JSON has no infinity."""
    return float(np.clip(value, -MOST, MOST))


def _rank(out: NDArray[np.float32], places: NDArray[np.intp], bins: int) -> None:
    """Places of the bins, from -1 to 1; 0 for what is in none."""
    table = np.append(np.linspace(-1, 1, bins), 0).astype(np.float32)
    np.take(table, places, out=out)


def _values(name: str, column: pa.Array | pa.ChunkedArray) -> Floats:
    try:
        return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)
    except pa.ArrowInvalid:
        raise EvergreenError(f"Column {name!r} was a number in training and is {column.type} now: mend the feed.") from None


def _finite(values: Floats) -> Floats:
    return values[np.isfinite(values)]


def _edges(values: Floats, bins: int) -> list[float]:
    """Rising edges with all of `values` between the first and, exclusively, the last."""
    if not len(values):
        return [0.0, 1.0]
    distinct = np.unique(values)
    inner = distinct if len(distinct) <= bins else np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[:-1]))
    return [*inner.tolist(), float(np.nextafter(distinct[-1], np.inf))]


def _canonical(content: dict[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
