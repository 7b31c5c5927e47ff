"""How many rows are as expected: of all rows, and of the newest snapshot's alone, in one pass and in bounded memory.

The newest snapshot is judged by itself as well, because faults come with the newest load, and a twelfth of the rows is easily
within any tolerance. What needs the rows in order (quantiles, the largest share) is computed of a bounded sample; with n rows
in it a share is off by less than 1.63 / sqrt(n) in 99 of 100 cases (Dvoretzky, Kiefer & Wolfowitz 1956, and Massart 1990).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.validation.expectations import ALL, NEWEST, Expectation, Result

CHANCE = 3.0  # standard errors that the newest snapshot, which is small, may be beyond a limit


@dataclass
class Tally:
    """What is counted of some rows for one expectation. `total` and the rest are of cells that are not missing."""

    rows: int = 0
    judged: int = 0
    unexpected: int = 0
    present: int = 0
    total: float = 0.0
    squares: float = 0.0
    low: Any = None
    high: Any = None
    ordered: list[np.ndarray] = field(default_factory=list)  # a bounded sample of cells


Counter = Callable[[Tally, list[pa.Array], dict[str, Any]], None]
Judge = Callable[[Tally, dict[str, Any], bool], Result]


# cell by cell: `mostly` is the share of the judged cells that must be as expected


def _cells(expected: Callable[[list[pa.Array], dict[str, Any]], pa.Array]) -> Counter:
    def count(tally: Tally, columns: list[pa.Array], kwargs: dict[str, Any]) -> None:
        found = expected(columns, kwargs)
        tally.judged += len(found) - found.null_count
        tally.unexpected += len(found) - found.null_count - (pc.sum(found).as_py() or 0)

    return count


def _judge_cells(tally: Tally, kwargs: dict[str, Any], newest: bool) -> Result:
    allowed = 1 - kwargs.get("mostly", 1.0)
    most = allowed * tally.judged
    if newest and allowed:
        most += CHANCE * math.sqrt(tally.judged * allowed * (1 - allowed))
    percent = 100 * tally.unexpected / tally.judged if tally.judged else 0.0
    success = tally.unexpected <= most + 1e-9 * tally.judged
    return Result(success, f"{tally.unexpected} of {tally.judged} unexpected ({percent:.4g}%)", percent)


def _between(columns: list[pa.Array], kwargs: dict[str, Any]) -> pa.Array:
    cells = _comparable(columns[0])
    above, below = _limits(kwargs)
    inside = pc.is_valid(cells)
    if above is not None:
        inside = pc.and_(inside, (pc.greater if kwargs.get("strict_min") else pc.greater_equal)(cells, above))
    if below is not None:
        inside = pc.and_(inside, (pc.less if kwargs.get("strict_max") else pc.less_equal)(cells, below))
    return pc.if_else(pc.is_valid(cells), inside, pa.scalar(None, pa.bool_()))


def _comparable(cells: pa.Array) -> pa.Array:
    """Whole numbers as floats: Arrow refuses to compare those above 2^53 with a float, for the digits that are lost."""
    return cells.cast(pa.float64(), safe=False) if pa.types.is_integer(cells.type) else cells


def _lengths(columns: list[pa.Array], kwargs: dict[str, Any]) -> pa.Array:
    return _between([pc.utf8_length(columns[0])], kwargs)


def _in_set(columns: list[pa.Array], kwargs: dict[str, Any]) -> pa.Array:
    """By equality in Python, on the different values: 1 is 1.0, and '1' is neither."""
    wanted = set(kwargs["value_set"])
    return _of_values(columns[0], lambda value: value in wanted)


def _matches(columns: list[pa.Array], kwargs: dict[str, Any]) -> pa.Array:
    pattern = re.compile(kwargs["regex"])
    return _of_values(columns[0], lambda value: pattern.search(value) is not None)


def _of_values(cells: pa.Array, test: Callable[[Any], bool]) -> pa.Array:
    """A test of each different value, at each cell; NULL where the cell is."""
    encoded = cells.dictionary_encode()
    found = pa.array([test(value) for value in encoded.dictionary.to_pylist()], pa.bool_())
    return found.take(encoded.indices)


def _not(of: Callable[[list[pa.Array], dict[str, Any]], pa.Array]) -> Callable[[list[pa.Array], dict[str, Any]], pa.Array]:
    return lambda columns, kwargs: pc.invert(of(columns, kwargs))


def _greater(columns: list[pa.Array], kwargs: dict[str, Any]) -> pa.Array:
    first, second = map(_comparable, columns)
    found = (pc.greater_equal if kwargs.get("or_equal") else pc.greater)(first, second)
    ignored = kwargs.get("ignore_row_if", "both_values_are_missing")
    absent = {
        "both_values_are_missing": pc.and_(pc.is_null(first), pc.is_null(second)),
        "either_value_is_missing": pc.or_(pc.is_null(first), pc.is_null(second)),
        "neither": pa.array([False] * len(first)),
    }[ignored]
    return pc.if_else(absent, pa.scalar(None, pa.bool_()), pc.fill_null(found, False))


# one number of all cells


def _sums(tally: Tally, columns: list[pa.Array], _: dict[str, Any]) -> None:
    (cells,) = columns
    tally.present += len(cells) - cells.null_count
    numbers = cells.cast(pa.float64(), safe=False)
    tally.total += pc.sum(numbers).as_py() or 0.0
    tally.squares += pc.sum(pc.multiply(numbers, numbers)).as_py() or 0.0
    found = pc.min_max(cells).as_py()
    if found["min"] is not None:
        tally.low = found["min"] if tally.low is None else min(tally.low, found["min"])
        tally.high = found["max"] if tally.high is None else max(tally.high, found["max"])


def _presence(tally: Tally, columns: list[pa.Array], _: dict[str, Any]) -> None:
    tally.present += len(columns[0]) - columns[0].null_count


def _number(value: Callable[[Tally], float | None], error: Callable[[Tally, float], float] = lambda *_: 0.0) -> Judge:
    """A number within limits. error: of the newest snapshot's, at a limit."""

    def judge(tally: Tally, kwargs: dict[str, Any], newest: bool) -> Result:
        found = value(tally)
        if found is None:
            return Result(False, "that it cannot be computed")
        low, high = _limits(kwargs)
        spare = [CHANCE * error(tally, limit) if newest and limit is not None else 0.0 for limit in (low, high)]
        above = low is None or (found > low if kwargs.get("strict_min") else found >= low - spare[0])
        below = high is None or (found < high if kwargs.get("strict_max") else found <= high + spare[1])
        return Result(above and below, f"{found:.6g}")

    return judge


def _mean(tally: Tally) -> float | None:
    return tally.total / tally.present if tally.present else None


def _mean_error(tally: Tally, limit: float) -> float:
    """By the cells' variance; of 0 and 1, by that at the limit, since few cells may all be alike."""
    variance = tally.squares / tally.present - (tally.total / tally.present) ** 2
    if {tally.low, tally.high} <= {0, 1} and 0 < limit < 1:
        variance = max(variance, limit * (1 - limit))
    return math.sqrt(max(variance, 0.0) / tally.present)


# what a sample tells


def _keep(tally: Tally, columns: list[pa.Array], _: dict[str, Any]) -> None:
    (cells,) = columns
    present = cells.drop_null()
    tally.present += len(present)
    tally.ordered.append(present.to_numpy(zero_copy_only=False))


def _sampled(tally: Tally) -> np.ndarray:
    return np.concatenate(tally.ordered) if tally.ordered else np.empty(0)


def _quantiles(tally: Tally, kwargs: dict[str, Any], _: bool) -> Result:
    cells, ranges = _sampled(tally), kwargs["quantile_ranges"]
    if not len(cells):
        return Result(False, "that it cannot be computed")
    found = np.quantile(cells.astype(float), ranges["quantiles"], method="inverted_cdf")
    inside = [
        (low is None or value >= low) and (high is None or value <= high)
        for value, (low, high) in zip(found, ranges["value_ranges"], strict=True)
    ]
    return Result(all(inside), ", ".join(f"{value:.6g}" for value in found))


def _largest_share(tally: Tally, kwargs: dict[str, Any], _: bool) -> Result:
    cells = _sampled(tally)
    if not len(cells):
        return Result(True, "no value")
    if cells.dtype == object:
        counts = pc.value_counts(pa.array(cells)).field("counts").to_numpy()
    else:
        counts = np.unique(cells, return_counts=True)[1]
    share = float(counts.max() / len(cells))
    return Result(share <= kwargs["max_value"], f"one value in {share:.2%}")


def _median(tally: Tally) -> float | None:
    cells = _sampled(tally)
    return float(np.median(cells.astype(float))) if len(cells) else None


def _deviation(tally: Tally) -> float | None:
    cells = _sampled(tally)
    return float(np.std(cells.astype(float), ddof=1)) if len(cells) > 1 else None


CELL_TESTS: dict[str, Callable[[list[pa.Array], dict[str, Any]], pa.Array]] = {
    "expect_column_values_to_not_be_null": lambda columns, _: pc.is_valid(columns[0]),
    "expect_column_values_to_be_null": lambda columns, _: pc.is_null(columns[0]),
    "expect_column_values_to_be_between": _between,
    "expect_column_value_lengths_to_be_between": _lengths,
    "expect_column_values_to_be_in_set": _in_set,
    "expect_column_values_to_not_be_in_set": _not(_in_set),
    "expect_column_values_to_match_regex": _matches,
    "expect_column_values_to_not_match_regex": _not(_matches),
    "expect_column_pair_values_a_to_be_greater_than_b": _greater,
}
COUNTED: dict[str, tuple[Counter, Judge]] = {
    **{name: (_cells(test), _judge_cells) for name, test in CELL_TESTS.items()},
    "expect_column_min_to_be_between": (_sums, _number(lambda tally: tally.low)),
    "expect_column_max_to_be_between": (_sums, _number(lambda tally: tally.high)),
    "expect_column_mean_to_be_between": (_sums, _number(_mean, _mean_error)),
    "expect_column_sum_to_be_between": (_sums, _number(lambda tally: tally.total)),
    "expect_column_proportion_of_non_null_values_to_be_between": (
        _presence, _number(lambda tally: tally.present / tally.rows if tally.rows else None),
    ),
    "expect_table_row_count_to_be_between": (lambda *_: None, _number(lambda tally: float(tally.rows))),
}  # fmt: skip
SAMPLED: dict[str, tuple[Counter, Judge]] = {
    "expect_column_quantile_values_to_be_between": (_keep, _quantiles),
    "expect_column_largest_share_to_be_at_most": (_keep, _largest_share),
    "expect_column_median_to_be_between": (_keep, _number(_median)),
    "expect_column_stdev_to_be_between": (_keep, _number(_deviation)),
}


@dataclass(frozen=True)
class Counts:
    """Expectations that are judged here, in one pass.

    wanted: COUNTED, for all rows, or SAMPLED, for a sample of them. newest: the snapshot that is judged by itself too; None
    without time. least: its rows, below which it is not.
    """

    wanted: dict[str, tuple[Counter, Judge]]
    expectations: list[Expectation]
    time: str | None
    newest: date | None
    least: int

    def judge(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Result]:
        """One result an expectation: of all rows and of the newest snapshot, and the worse of the two."""
        tallies = [{part: Tally() for part in item.parts if part == ALL or self.newest} for item in self.expectations]
        for batch in batches:
            settings = {ALL: batch}
            if self.newest is not None:
                settings[NEWEST] = batch.filter(pc.equal(batch[self.time], pa.scalar(self.newest, batch[self.time].type)))
            for item, tally in zip(self.expectations, tallies, strict=True):
                for part, counted in tally.items():
                    counted.rows += settings[part].num_rows
                    self.wanted[item.type][0](counted, [settings[part][name] for name in item.columns], item.kwargs)
        for item, tally in zip(self.expectations, tallies, strict=True):
            yield self._result(item, tally)

    def _result(self, item: Expectation, tally: dict[str, Tally]) -> Result:
        results = []
        for part, counted in tally.items():
            if part == NEWEST and counted.rows < self.least and item.columns:
                continue
            found = self.wanted[item.type][1](counted, item.kwargs, part == NEWEST)
            where = " in the newest snapshot" if part == NEWEST else ""
            results.append(replace(found, observed=found.observed + where))
        failed = [result for result in results if not result.success]
        return (failed or results or [Result(True, "no snapshot to judge")])[0]


def _limits(kwargs: dict[str, Any]) -> tuple[Any, Any]:
    return kwargs.get("min_value"), kwargs.get("max_value")
