"""Shifts of known kind and size, planted into quiet months: what the power of the watching is measured with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Plant = Callable[[pa.Table, float, np.random.Generator], pa.Table]


@dataclass(frozen=True)
class Kind:
    """name: of the kind; what: one size in words, with {} for the size; sizes: those measured; plant: rows -> rows."""

    name: str
    what: str
    sizes: tuple[float, ...]
    plant: Plant


def mean(rows: pa.Table, size: float, _random: np.random.Generator) -> pa.Table:
    values = rows["monthly_charges"].to_numpy()
    return _with(rows, "monthly_charges", values + size * values.std())


def variance(rows: pa.Table, size: float, _random: np.random.Generator) -> pa.Table:
    values = rows["monthly_charges"].to_numpy()
    return _with(rows, "monthly_charges", values.mean() + (values - values.mean()) * (1 + size))


def category(rows: pa.Table, size: float, random: np.random.Generator) -> pa.Table:
    moved = pa.array(random.random(rows.num_rows) < size)
    return _with(rows, "channel", pc.if_else(moved, "online", rows["channel"]))


def missing(rows: pa.Table, size: float, random: np.random.Generator) -> pa.Table:
    gone = pa.array(random.random(rows.num_rows) < size)
    return _with(rows, "dropped_calls_3m", pc.if_else(gone, None, rows["dropped_calls_3m"]))


def correlation(rows: pa.Table, size: float, random: np.random.Generator) -> pa.Table:
    """Charges change hands among some of the customers: every column looks as before."""
    values = rows["monthly_charges"].to_numpy().copy()
    moved = np.flatnonzero(random.random(rows.num_rows) < size)
    values[moved] = values[random.permutation(moved)]
    return _with(rows, "monthly_charges", values)


def prior(rows: pa.Table, size: float, random: np.random.Generator) -> pa.Table:
    """More customers of the kind that leaves, in the place of those that stay: P(x | y) is as before."""
    left = rows["churned"].fill_null(0).to_numpy() == 1
    leavers = np.flatnonzero(left)
    more = random.choice(leavers, int(len(leavers) * (size - 1)))
    stay = random.choice(np.flatnonzero(~left), rows.num_rows - len(leavers) - len(more), replace=False)
    return rows.take(np.concatenate([leavers, more, stay]))


def concept(rows: pa.Table, size: float, random: np.random.Generator) -> pa.Table:
    """Some customers leave for reasons that no column knows: their labels are dealt out anew among them."""
    labels = rows["churned"].to_numpy(zero_copy_only=False).astype(float)
    moved = np.flatnonzero((random.random(rows.num_rows) < size) & ~np.isnan(labels))
    labels[moved] = labels[random.permutation(moved)]
    return _with(rows, "churned", pa.array(labels, mask=np.isnan(labels)).cast(rows["churned"].type))


KINDS = (
    Kind("mean", "charges + {} standard deviations", (0.02, 0.05, 0.1), mean),
    Kind("variance", "spread of charges + {:.0%}", (0.02, 0.05, 0.1), variance),
    Kind("category mix", "{:.0%} of customers move to one channel", (0.01, 0.02, 0.05), category),
    Kind("missingness", "{:.1%} more of dropped calls missing", (0.005, 0.01, 0.02), missing),
    Kind("correlation", "charges change hands among {:.0%}", (0.05, 0.1, 0.25), correlation),
    Kind("prior", "{} times as many leavers", (1.25, 1.5, 2.0), prior),
    Kind("concept", "outcomes dealt out anew among {:.0%}", (0.1, 0.2, 0.4), concept),
)


def _with(rows: pa.Table, name: str, values: np.ndarray | pa.ChunkedArray | pa.Array) -> pa.Table:
    values = pa.array(values) if isinstance(values, np.ndarray) else values
    return rows.set_column(rows.column_names.index(name), name, values)


# faults of the feed, and moves of the world that must not be taken for one


@dataclass(frozen=True)
class Fault:
    """name: in words; form: of monitoring/feed.py, "" for what is none; about: the column that it is to be named by."""

    name: str
    form: str
    about: str
    plant: Callable[[pa.Table, np.random.Generator], pa.Table]


def _times(name: str, factor: float) -> Callable[[pa.Table, np.random.Generator], pa.Table]:
    return lambda rows, _: _with(rows, name, pc.multiply(rows[name].cast(pa.float64()), factor))


def _plus(name: str, deviations: float) -> Callable[[pa.Table, np.random.Generator], pa.Table]:
    def plant(rows: pa.Table, _: np.random.Generator) -> pa.Table:
        return _with(rows, name, pc.add(rows[name].cast(pa.float64()), deviations * pc.stddev(rows[name]).as_py()))

    return plant


def _constant(rows: pa.Table, _: np.random.Generator) -> pa.Table:
    return _with(rows, "monthly_charges", np.full(rows.num_rows, 30.0))


def _nulls(rows: pa.Table, random: np.random.Generator) -> pa.Table:
    return missing(rows, 0.4, random)


def _spelling(rows: pa.Table, _: np.random.Generator) -> pa.Table:
    return _with(rows, "channel", pc.utf8_upper(rows["channel"]))


def _codes(rows: pa.Table, _: np.random.Generator) -> pa.Table:
    """Each value becomes the next one, in the order of how frequent they are."""
    counts = sorted(pc.value_counts(rows["channel"].drop_null()).to_pylist(), key=lambda one: one["counts"])
    values = pa.array([count["values"] for count in counts])
    place = pc.index_in(rows["channel"].combine_chunks(), values)
    moved = pc.if_else(pc.equal(place, len(values) - 1), 0, pc.add(place, 1))
    return _with(rows, "channel", values.take(moved))


def _swapped(rows: pa.Table, _: np.random.Generator) -> pa.Table:
    charges, usage = rows["monthly_charges"], rows["call_minutes_3m"]
    return _with(_with(rows, "monthly_charges", usage), "call_minutes_3m", charges)


def _fewer(rows: pa.Table, random: np.random.Generator) -> pa.Table:
    return rows.filter(pa.array(random.random(rows.num_rows) < 0.15))


def _product(rows: pa.Table, random: np.random.Generator) -> pa.Table:
    taken = pa.array(random.random(rows.num_rows) < 0.3)
    return _with(rows, "plan", pc.if_else(taken, "satellite", rows["plan"]))


FAULTS = (
    Fault("usage in megabytes", "unit", "usage_gb_3m", _times("usage_gb_3m", 1024)),
    Fault("charges in cents", "unit", "monthly_charges", _times("monthly_charges", 100)),
    Fault("minutes as seconds", "unit", "call_minutes_3m", _times("call_minutes_3m", 60)),
    Fault("charges are 30 for everybody", "constant", "monthly_charges", _constant),
    Fault("40% of dropped calls missing", "nulls", "dropped_calls_3m", _nulls),
    Fault("channels in capital letters", "encoding", "channel", _spelling),
    Fault("codes of channels moved on by one", "encoding", "channel", _codes),
    Fault("charges and minutes have changed places", "swapped", "monthly_charges, call_minutes_3m", _swapped),
    Fault("charges 3 deviations lower, so below 0", "", "monthly_charges", _plus("monthly_charges", -3)),
    Fault("charges 10 deviations higher", "", "monthly_charges", _plus("monthly_charges", 10)),
    Fault("15% of the customers", "", "volume", _fewer),
    Fault("30% on a plan that is new", "", "plan", _product),
)
