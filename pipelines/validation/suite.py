"""Expectations that are learnt from rows: what a reference window was like, with tolerances by params.

They are proposed to a person, who then owns them (sql/<dataset>/expectations.yaml). With time the newest snapshots take no
part, and what differs between the others widens the tolerances: what a table does by itself every month is no news.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.validation.checks import BOOLEAN, NUMBER, TEXT, kind
from pipelines.validation.expectations import Expectation

if TYPE_CHECKING:
    from pipelines.config.params import DataParams, ValidateParams

FEW = 30  # values of a category that are listed: of more, new ones are everyday
CODES = 10  # different numbers, at most, that are a scale of their own: a new one beyond its ends is news
LEAST_SNAPSHOTS = 3  # to learn from, beside the newest
MOST_SNAPSHOTS = 24  # that are compared: two turns of the seasons
RULE_ROWS, MOST_RULES = 1000, 20  # both numbers there, to call it a rule; and as many are proposed
FEW_ROWS = 400  # that pairs of columns are tried on, before all rows are
RULE_SURPRISE = 0.05  # of pairs of rows drawn apart from each other break it: else it holds by the columns' ranges alone
GARBLED = (
    "[\u0080-\u009f\ufffd]|\u00c3[\u00a0-\u00bf]|\u00c2[\u00a0-\u00bf]|\u00e2\u20ac"  # UTF-8 that was read as something else
)
Severity = Literal["critical", "warning"]


@dataclass(frozen=True)
class Column:
    """Values of a column in the reference window; `snapshots` says which rows are whose."""

    name: str
    cells: pa.ChunkedArray
    snapshots: list[np.ndarray]

    @property
    def kind(self) -> str | None:
        return kind(self.cells.type)

    @cached_property
    def numbers(self) -> np.ndarray:
        """As floats, NaN where missing; of whole numbers above 2^53 the last digits are lost."""
        return self.cells.cast(pa.float64(), safe=False).to_numpy()

    @cached_property
    def codes(self) -> np.ndarray:
        """Of text and booleans: the value's number, -1 where missing."""
        encoded = self.cells.combine_chunks().dictionary_encode()
        return pc.fill_null(encoded.indices, -1).to_numpy()

    @cached_property
    def missing(self) -> float:
        """The largest share of a snapshot's cells that is missing."""
        absent = np.asarray(self.cells.is_null())
        return max(float(absent[rows].mean()) for rows in self.snapshots)

    @cached_property
    def distinct(self) -> int:
        return len(pc.unique(self.cells.drop_null()))

    def present(self, rows: np.ndarray | None = None) -> np.ndarray:
        values = self.numbers if self.kind == NUMBER else self.codes
        values = values if rows is None else values[rows]
        return values[~np.isnan(values)] if self.kind == NUMBER else values[values >= 0]

    def of_snapshots(self, figure: Any) -> list[float]:
        """A figure of the values of each snapshot that has some."""
        parts = (self.present(rows) for rows in self.snapshots)
        return [float(figure(part)) for part in parts if len(part)]


def window(rows: pa.Table, data: DataParams, newest_snapshots: int) -> pa.Table:
    """The rows to learn from: without the newest snapshots, where enough others are left."""
    if data.time is None:
        return rows
    days = sorted(pc.unique(rows[data.time]).to_pylist())
    if len(days) - newest_snapshots < LEAST_SNAPSHOTS:
        return rows
    return rows.filter(pc.less_equal(rows[data.time], pa.scalar(days[-1 - newest_snapshots], rows[data.time].type)))


def propose(rows: pa.Table, data: DataParams, limits: ValidateParams, *, share: float = 1.0) -> list[Expectation]:
    """Expectations of rows like these: types, presence, categories, ranges, levels, sameness, encoding, rules, labels, time.

    Args:
        rows: of the reference window; keys, personal columns and the target are known by `data`.
        share: of all rows of the window that these are.
    """
    snapshots = _snapshots(rows, data.time)
    named = [name for name in rows.column_names if name not in data.hidden]
    columns = [Column(name, rows[name], snapshots) for name in named if kind(rows[name].type)]
    columns = [column for column in columns if column.cells.null_count < rows.num_rows]
    proposed = list(_of_rows(rows, data, snapshots, limits, share))
    for column in columns:
        proposed += _of_column(column, limits)
    return proposed + list(_rules([column for column in columns if column.kind == NUMBER]))


def _of_rows(
    rows: pa.Table, data: DataParams, snapshots: list[np.ndarray], limits: ValidateParams, share: float
) -> Iterator[Expectation]:
    """How many come, how old the newest are, and how many of them are positive."""
    sizes = pc.value_counts(rows[data.time]).field("counts").to_pylist() if data.time else [rows.num_rows]
    # more rows are growth, and their keys show a load that came twice; fewer are a load that was cut off
    least = math.floor(min(sizes) / share / limits.snapshot_volume_factor)
    most = math.ceil(max(sizes) / share * limits.snapshot_volume_factor**2)
    of: Literal["all", "newest"] = "newest" if data.time else "all"
    if least >= limits.min_newest_rows:
        size = {"min_value": least, "max_value": most}
        yield Expectation(type="expect_table_row_count_to_be_between", severity="critical", kwargs=size, of=of)
    if data.time and len(days := sorted(pc.unique(rows[data.time]).to_pylist())) > 1:
        gap = max((later - day).days for day, later in pairwise(days))
        age = {"column": data.time, "max_days": data.horizon_days + data.embargo_days + gap}
        yield _entry("newest_to_be_recent", "critical", age)
    labels = rows[data.target].cast(pa.float64()).to_numpy()
    rates = [float(labels[snapshot].mean()) for snapshot in snapshots]
    yield _entry("values_to_be_in_set", "critical", {"column": data.target, "value_set": [0, 1]})
    for severity, factor in (("critical", limits.rate_factor), ("warning", math.sqrt(limits.rate_factor))):
        low, high = min(rates) / factor, 1 - (1 - max(rates)) / factor
        if max(rates) < 0.5:
            high = min(high, max(rates) * factor)
        limit = {"column": data.target, "min_value": rounded(low, low), "max_value": rounded(high, 1 - high)}
        yield _entry("mean_to_be_between", severity, limit)


def _of_column(column: Column, limits: ValidateParams) -> Iterator[Expectation]:
    words = {NUMBER: "number", TEXT: "text", BOOLEAN: "boolean"}
    yield _entry("type_to_be", "critical", {"column": column.name, "type_": words[str(column.kind)]})
    yield from _presence(column, limits)
    if column.kind == TEXT:
        yield from _categories(column, limits)
        yield from _encoding(column)
    if column.kind == NUMBER and column.distinct > 1:
        yield from _range(column, limits)
        yield from _levels(column, limits)
    yield from _sameness(column, limits)


def _presence(column: Column, limits: ValidateParams) -> Iterator[Expectation]:
    rise = limits.missing_rise if column.missing else limits.missing_rise / 10
    if column.missing + rise < 0.95:
        yield _entry(
            "values_to_not_be_null", "critical", {"column": column.name, "mostly": round(1 - column.missing - rise, 3)}
        )
    if column.missing and column.missing + rise / 3 < 0.95:
        near = {"column": column.name, "mostly": round(1 - column.missing - rise / 3, 3)}
        yield _entry("values_to_not_be_null", "warning", near)


def _categories(column: Column, limits: ValidateParams) -> Iterator[Expectation]:
    if column.distinct > FEW:
        return
    known = sorted(pc.unique(column.cells.drop_null()).to_pylist())
    for severity, unknown in (("critical", limits.unknown_share), ("warning", limits.unknown_share / 10)):
        mostly = round(1 - unknown, 4)
        yield _entry("values_to_be_in_set", severity, {"column": column.name, "value_set": known, "mostly": mostly})


def _encoding(column: Column) -> Iterator[Expectation]:
    garbled = pc.sum(pc.match_substring_regex(column.cells, GARBLED)).as_py() or 0
    if not garbled:
        yield _entry("values_to_not_match_regex", "critical", {"column": column.name, "regex": GARBLED, "mostly": 0.999})


def _range(column: Column, limits: ValidateParams) -> Iterator[Expectation]:
    """A number's ends, and what they went on by from the first snapshot to the last: totals and ages grow."""
    values = column.present()
    low, high = float(values.min()), float(values.max())
    if column.distinct <= CODES:
        ends, mostly = {"min_value": whole(low), "max_value": whole(high)}, 0.99
    else:
        highs, lows = column.of_snapshots(np.max), column.of_snapshots(np.min)
        spare = limits.range_spare * (high - low)
        floor = low - spare - max(0.0, lows[0] - lows[-1])
        floor = 0.0 if low >= 0 > floor else floor
        top = high + spare + max(0.0, highs[-1] - highs[0])
        ends = {"min_value": min(rounded(floor, spare), whole(low)), "max_value": max(rounded(top, spare), whole(high))}
        mostly = 0.999
    yield _entry("values_to_be_between", "critical", {"column": column.name, **ends, "mostly": mostly})


def _levels(column: Column, limits: ValidateParams) -> Iterator[Expectation]:
    """Orders of magnitude: quantiles within a factor of the least and the greatest that a snapshot had.

    Of a number that is often zero they are of the part above zero: the middle of all rows says nothing about a unit.
    """
    places = _places(column)
    width = float(np.subtract(*np.quantile(column.present(), [0.95, 0.05])))
    for severity, factor in (("critical", limits.level_factor), ("warning", math.sqrt(limits.level_factor))):
        ranges = []
        for place in places:
            seen = column.of_snapshots(lambda part, place=place: np.quantile(part, place, method="inverted_cdf"))
            low, high = _going_on(seen)
            ranges.append(_within(low, high, factor, width))
        if any(limit is not None for pair in ranges for limit in pair):
            yield _entry(
                "quantile_values_to_be_between",
                severity,
                {"column": column.name, "quantile_ranges": {"quantiles": places, "value_ranges": ranges}},
            )


def _places(column: Column) -> list[float]:
    values = column.present()
    if values.min() < 0:
        return [0.1, 0.5, 0.9]
    zeros = max(column.of_snapshots(lambda part: (part == 0).mean()))
    return [] if zeros > 0.98 else [round(zeros + share * (1 - zeros), 4) for share in (0.5, 0.9)]


def _going_on(seen: list[float]) -> tuple[float, float]:
    """Least and greatest of a series; what ends at either goes on as it did since its middle."""
    low, high, last, middle = min(seen), max(seen), seen[-1], seen[len(seen) // 2]
    if last > 0 and middle > 0:
        low, high = (low * last / middle if last == low else low), (high * last / middle if last == high else high)
    return low, high


def _within(low: float, high: float, factor: float, width: float) -> list[float | None]:
    """Limits of a quantile; none on a side where it is about zero, of which every number is a large multiple."""
    small = 0.02 * width
    below: float | None = None
    above: float | None = None
    if abs(low) > small:
        below = rounded(low / factor if low > 0 else low * factor, abs(low) / factor)
    if abs(high) > small:
        above = rounded(high * factor if high > 0 else high / factor, abs(high))
    return [below, above]


def _sameness(column: Column, limits: ValidateParams) -> Iterator[Expectation]:
    """How large a part the most frequent value may have: the more usual it is, the nearer to a constant."""
    usual = max(column.of_snapshots(lambda part: np.unique(part, return_counts=True)[1].max() / len(part)))
    if usual < 0.995:
        most = round(usual + max(limits.max_constant_rise, usual) * (1 - usual), 4)
        yield _entry("largest_share_to_be_at_most", "critical", {"column": column.name, "max_value": most})


def _rules(columns: list[Column]) -> Iterator[Expectation]:
    """Pairs of numbers of which one is never the smaller, though by their ranges it could be."""
    found: list[tuple[float, str, str]] = []
    for first, second in _candidates(columns):
        a, b = first.numbers, second.numbers
        both = ~np.isnan(a) & ~np.isnan(b)
        if both.sum() < RULE_ROWS or not (a[both] >= b[both]).all():
            continue
        surprise = float((a[both] < np.roll(b[both], len(b) // 2 + 1)).mean())
        if surprise >= RULE_SURPRISE:
            found.append((surprise, first.name, second.name))
    for _, first_name, second_name in sorted(found, reverse=True)[:MOST_RULES]:
        pair = {"column_A": first_name, "column_B": second_name, "or_equal": True, "ignore_row_if": "either_value_is_missing"}
        for severity, mostly in (("critical", 0.95), ("warning", 0.999)):
            yield _entry("pair_values_a_to_be_greater_than_b", severity, pair | {"mostly": mostly})


def _candidates(columns: list[Column]) -> Iterator[tuple[Column, Column]]:
    """Ordered pairs that may be rules, by some rows: the first is never the smaller, and the ranges alone do not say so."""
    if len(columns) < 2 or len(columns[0].cells) < RULE_ROWS:
        return
    drawn = np.linspace(0, len(columns[0].cells) - 1, FEW_ROWS).astype(int)
    values = np.stack([column.numbers[drawn] for column in columns], axis=1)
    other = np.roll(values, FEW_ROWS // 2, axis=0)
    possible = ~np.eye(len(columns), dtype=bool)
    surprises = np.zeros((len(columns), len(columns)), dtype=np.int16)
    for row, apart in zip(values, other, strict=True):
        possible &= ~(row[:, None] < row[None, :])
        surprises += row[:, None] < apart[None, :]
    possible &= surprises > RULE_SURPRISE * FEW_ROWS / 5  # of few rows, of which some miss a value: the rest is counted
    for first, second in np.argwhere(possible):
        yield columns[first], columns[second]


def _snapshots(rows: pa.Table, time: str | None) -> list[np.ndarray]:
    """Rows of each snapshot, oldest first; all rows are one without time. Small ones are with their neighbours."""
    if time is None or rows.num_rows == 0:
        return [np.arange(rows.num_rows)]
    days = rows[time].cast(pa.date32()).cast(pa.int32()).to_numpy()
    order = np.argsort(days, kind="stable")
    starts = np.flatnonzero(np.diff(days[order], prepend=days[order[0]] - 1))
    parts = np.split(order, starts[1:])
    least = max(100, rows.num_rows // MOST_SNAPSHOTS // 2)
    merged: list[np.ndarray] = []
    for part in parts:
        if merged and len(merged[-1]) < least:
            merged[-1] = np.concatenate([merged[-1], part])
        else:
            merged.append(part)
    return merged


def _entry(what: str, severity: Any, kwargs: dict[str, Any]) -> Expectation:
    return Expectation(type=f"expect_column_{what}", severity=severity, kwargs=kwargs)


def rounded(number: float, width: float) -> float | int:
    """To a hundredth of a width or so: more digits would be a figure and no tolerance."""
    if not width or not math.isfinite(number):
        return number
    return whole(round(number, 2 - math.floor(math.log10(abs(width)))))


def whole(number: float) -> float | int:
    """A number as it is; one without decimals as an integer."""
    return int(number) if number == int(number) and abs(number) < 1e15 else number
