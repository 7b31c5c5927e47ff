"""Thirty ways in which a load of data goes wrong, at three strengths each: what the data gate is shown.

Written down before the gate that is measured by them. A fault comes as faults come: with the newest load, which is the rows of
the newest snapshot, or all rows where a table has no time. A type and a name are a column's, so they change for all rows.

`must` kinds are those that nobody would train on: the gate has to block them, and to name the column and what is wrong with it.
The others are subtle: how often they are seen is published.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.config.params import DataParams

FEW = 30  # categories, at most, of a column whose values can be listed
MOJIBAKE = "\u00c3\u00a9"  # how é reads when UTF-8 is taken for Latin-1


@dataclass(frozen=True)
class Load:
    """Rows of a training set, and which of them came last.

    newest: shape (rows,). learnt: columns that a model sees. random: draws the column and the rows that are hit.
    """

    rows: pa.Table
    data: DataParams
    learnt: tuple[str, ...]
    newest: np.ndarray
    random: np.random.Generator

    def numbers(self, usable: Callable[[np.ndarray], bool] = lambda _: True) -> list[str]:
        """Columns of numbers with more than three values, of which those of the newest load are usable."""
        found = [name for name in self.learnt if _is_number(self.rows[name].type)]
        return [name for name in found if len(pc.unique(self.rows[name])) > 3 and usable(self.values(name))]

    def texts(self) -> list[str]:
        return [name for name in self.learnt if pa.types.is_string(self.rows[name].type)]

    def values(self, name: str) -> np.ndarray:
        """The numbers of the newest load that are not missing, as floats."""
        found = self.rows[name].filter(pa.array(self.newest)).drop_null()
        return found.cast(pa.float64()).to_numpy()

    def draw(self, share: float) -> np.ndarray:
        """Whether a row is hit: a share of the newest load, drawn at random; shape (rows,)."""
        return self.newest & (self.random.random(len(self.newest)) < share)

    def with_column(self, name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
        return self.rows.set_column(self.rows.column_names.index(name), name, values)

    def replaced(self, name: str, hit: np.ndarray, values: Any) -> pa.Table:
        """The rows with other values of a column where they are hit."""
        return self.with_column(name, pc.if_else(pa.array(hit), values, self.rows[name]))

    def scaled(self, name: str, hit: np.ndarray, factor: float) -> pa.Table:
        """A column times a factor where it is hit; integers stay integers where the factor is one."""
        column = self.rows[name]
        whole = pa.types.is_integer(column.type) and float(factor).is_integer()
        column = column.cast(pa.int64() if whole else pa.float64())
        times = pc.multiply(column, pa.scalar(int(factor) if whole else factor))
        return self.with_column(name, pc.if_else(pa.array(hit), times, column))


@dataclass(frozen=True)
class Planted:
    """Rows with a fault, and the columns of which one must be named; none where the fault is of no column."""

    rows: pa.Table
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kind:
    """A way to go wrong.

    named: what the gate may call it (the kinds of pipelines/validation/checks.py). strengths: strongest first, with the
    table's words. plant: the rows with the fault, or None where it cannot befall the table.
    """

    name: str
    must: bool
    named: tuple[str, ...]
    strengths: tuple[tuple[Any, str], ...]
    plant: Callable[[Load, Any], Planted | None]


def _is_number(of: pa.DataType) -> bool:
    return pa.types.is_integer(of) or pa.types.is_floating(of)


def _column(load: Load, names: list[str]) -> str | None:
    return str(load.random.choice(names)) if names else None


def _mostly_positive(values: np.ndarray) -> bool:
    """No negative one, and at least every tenth above zero."""
    return bool(len(values) and values.min() >= 0 and (values > 0).mean() >= 0.1)


# must: the schema


def _type(load: Load, how: str) -> Planted | None:
    if not (name := _column(load, load.numbers())):
        return None
    column = load.rows[name]
    if how == "flag":
        middle = float(np.median(load.values(name)))
        return Planted(load.with_column(name, pc.greater(column.cast(pa.float64()), middle)), (name,))
    text = column.cast(pa.string())
    return Planted(load.with_column(name, pc.replace_substring(text, ".", ",") if how == "comma" else text), (name,))


def _rename(load: Load, how: str) -> Planted | None:
    name = str(load.random.choice(load.learnt))
    other = {"new": f"{name}_v2", "upper": name.upper(), "blank": f"{name} "}[how]
    return Planted(
        load.rows.rename_columns([other if column_name == name else column_name for column_name in load.rows.column_names]),
        (name,),
    )


def _drop(load: Load, count: int) -> Planted | None:
    names = tuple(map(str, load.random.choice(load.learnt, min(count, len(load.learnt)), replace=False)))
    return Planted(load.rows.drop_columns(list(names)), names)


# must: values


def _unit(load: Load, factor: float) -> Planted | None:
    if not (name := _column(load, load.numbers(_mostly_positive))):
        return None
    return Planted(load.scaled(name, load.newest, factor), (name,))


def _sign(load: Load, share: float) -> Planted | None:
    if not (name := _column(load, load.numbers(_mostly_positive))):
        return None
    return Planted(load.scaled(name, load.draw(share), -1), (name,))


def _sentinel(load: Load, share: float) -> Planted | None:
    def usable(values: np.ndarray) -> bool:
        return bool(len(values) and values.min() > -999)

    if not (name := _column(load, load.numbers(usable))):
        return None
    return Planted(load.replaced(name, load.draw(share), pa.scalar(-999, load.rows[name].type)), (name,))


def _infinite(load: Load, share: float) -> Planted | None:
    floats = [name for name in load.numbers() if pa.types.is_floating(load.rows[name].type)]
    if not (name := _column(load, floats)):
        return None
    hit = load.draw(share)
    hit[np.flatnonzero(load.newest)[0]] = True
    return Planted(load.replaced(name, hit, pa.scalar(float("inf"), load.rows[name].type)), (name,))


def _nulls(load: Load, share: float) -> Planted | None:
    """Of a column that is mostly there."""
    newest = load.rows.filter(pa.array(load.newest))
    there = [name for name in load.learnt if newest[name].null_count < 0.3 * newest.num_rows]
    if not (name := _column(load, there)):
        return None
    return Planted(load.replaced(name, load.draw(share), pa.scalar(None, load.rows[name].type)), (name,))


def _constant(load: Load, share: float) -> Planted | None:
    """The most frequent value everywhere, in a column where at least half of the rows have another."""
    usual = {name: _most_frequent(load.rows[name]) for name in load.learnt}
    if not (name := _column(load, [name for name, (_, part) in usual.items() if part <= 0.5])):
        return None
    return Planted(load.replaced(name, load.draw(share), usual[name][0]), (name,))


def _swap(load: Load, apart: float) -> Planted | None:
    """Two columns of numbers whose middles differ so many times; the values of one under the name of the other."""
    middles = {name: float(np.median(load.values(name))) for name in load.numbers(_mostly_positive)}
    pairs = [(a, b) for a in middles for b in middles if middles[b] > 0 and middles[a] >= apart * middles[b]]
    if not pairs:
        return None
    a, b = pairs[int(load.random.integers(len(pairs)))]
    hit = pa.array(load.newest)
    first, second = (load.rows[name].cast(pa.float64()) for name in (a, b))
    rows = load.with_column(a, pc.if_else(hit, second, first))
    return Planted(rows.set_column(rows.column_names.index(b), b, pc.if_else(hit, first, second)), (a, b))


def _recode(load: Load, how: str) -> Planted | None:
    few = [name for name in load.texts() if len(pc.unique(load.rows[name])) <= FEW]
    if how == "upper":  # an age band has no case
        few = [name for name in few if not load.rows[name].equals(pc.utf8_swapcase(load.rows[name]))]
    if not (name := _column(load, few)):
        return None
    column = load.rows[name]
    codes = column.combine_chunks().dictionary_encode().indices.cast(pa.string())
    other = {"codes": codes, "upper": pc.utf8_swapcase(column), "blank": pc.binary_join_element_wise(column, " ", "")}[how]
    return Planted(load.replaced(name, load.newest, other), (name,))


def _encoding(load: Load, share: float) -> Planted | None:
    if not (name := _column(load, load.texts())):
        return None
    column = load.rows[name]
    broken = pc.binary_join_element_wise(
        pc.utf8_slice_codeunits(column, 0, 1), MOJIBAKE, pc.utf8_slice_codeunits(column, 1), ""
    )
    return Planted(load.replaced(name, load.draw(share), broken), (name,))


# must: rows, keys, labels, time


def _truncate(load: Load, share: float) -> Planted | None:
    return Planted(load.rows.filter(pa.array(~load.newest | load.draw(share))))


def _repeat(load: Load, share: float) -> Planted | None:
    return Planted(pa.concat_tables([load.rows, load.rows.filter(pa.array(load.draw(share)))]))


def _contradict(load: Load, share: float) -> Planted | None:
    again = load.rows.filter(pa.array(load.draw(share)))
    place, name = load.rows.column_names.index(load.data.target), load.data.target
    other = pc.subtract(pa.scalar(1, again[name].type), again[name])
    return Planted(pa.concat_tables([load.rows, again.set_column(place, name, other.cast(again[name].type))]))


def _no_key(load: Load, share: float) -> Planted | None:
    name = load.data.entity
    return Planted(load.replaced(name, load.draw(share), pa.scalar(None, load.rows[name].type)), (name,))


def _one_class(load: Load, how: str) -> Planted | None:
    name = load.data.target
    hit = np.ones(len(load.newest), bool) if how == "all rows" else load.newest
    return Planted(load.replaced(name, hit, pa.scalar(int(how == "ones"), load.rows[name].type)), (name,))


def _label_codes(load: Load, how: str) -> Planted | None:
    name = load.data.target
    column = load.rows[name]
    if how == "words":
        words = pc.if_else(pc.equal(column, 1), "yes", "no")
        return Planted(load.with_column(name, words), (name,))
    if how == "twos":
        return Planted(load.with_column(name, pc.add(column, pa.scalar(1, column.type))), (name,))
    return Planted(load.replaced(name, load.draw(0.2), pa.scalar(None, column.type)), (name,))


def _stale(load: Load, snapshots: int) -> Planted | None:
    days = _days(load)
    if len(days) <= snapshots + 2:
        return None
    return Planted(load.rows.filter(pc.less(load.rows[load.data.time], pa.scalar(days[-snapshots]))), (str(load.data.time),))


def _future(load: Load, years: int) -> Planted | None:
    """The year of the newest load was mistyped."""
    if not (days := _days(load)):
        return None
    name, newest = str(load.data.time), days[-1]
    later = date(newest.year + years, newest.month, min(newest.day, 28))
    return Planted(load.replaced(name, load.newest, pa.scalar(later, load.rows[name].type)), (name,))


# subtle


def _shift(load: Load, deviations: float) -> Planted | None:
    if not (name := _column(load, load.numbers())):
        return None
    column = load.rows[name].cast(pa.float64())
    moved = pc.add(column, deviations * float(np.std(load.values(name))))
    return Planted(load.with_column(name, pc.if_else(pa.array(load.newest), moved, column)), (name,))


def _stretch(load: Load, factor: float) -> Planted | None:
    if not (name := _column(load, load.numbers())):
        return None
    return Planted(load.scaled(name, load.newest, factor), (name,))


def _part_unit(load: Load, share: float) -> Planted | None:
    if not (name := _column(load, load.numbers(_mostly_positive))):
        return None
    return Planted(load.scaled(name, load.draw(share), 100), (name,))


def _newcomer(load: Load, share: float) -> Planted | None:
    if not (name := _column(load, load.texts())):
        return None
    return Planted(load.replaced(name, load.draw(share), "never seen before"), (name,))


def _flip(load: Load, share: float) -> Planted | None:
    name = load.data.target
    other = pc.subtract(pa.scalar(1, load.rows[name].type), load.rows[name]).cast(load.rows[name].type)
    return Planted(load.replaced(name, load.draw(share), other), (name,))


def _lose_positives(load: Load, share: float) -> Planted | None:
    """The newest outcomes have not come yet, and pass for negatives."""
    name = load.data.target
    return Planted(load.replaced(name, load.draw(share), pa.scalar(0, load.rows[name].type)), (name,))


def _lose_high(load: Load, share: float) -> Planted | None:
    """Of rows in which a column is above its middle, a share is missing: a shop, a region, the large customers."""
    if not (name := _column(load, load.numbers())):
        return None
    high = pc.greater(load.rows[name].cast(pa.float64()), float(np.median(load.values(name)))).fill_null(False)
    return Planted(load.rows.filter(pa.array(~(load.draw(share) & high.to_numpy()))), (name,))


def _clip(load: Load, place: float) -> Planted | None:
    if not (name := _column(load, load.numbers())):
        return None
    most = float(np.quantile(load.values(name), place))
    column = load.rows[name].cast(pa.float64())
    clipped = pc.if_else(pc.and_(pa.array(load.newest), pc.greater(column, most)), most, column)
    return Planted(load.with_column(name, clipped), (name,))


def _days(load: Load) -> list[date]:
    """Snapshots, oldest first; none without time."""
    return sorted(pc.unique(load.rows[load.data.time]).to_pylist()) if load.data.time else []


def _most_frequent(column: pa.ChunkedArray) -> tuple[Any, float]:
    counts = pc.value_counts(column.drop_null())
    if not len(counts):
        return pa.scalar(None, column.type), 1.0
    place = int(np.argmax(counts.field("counts").to_numpy()))
    return counts.field("values")[place], counts.field("counts")[place].as_py() / len(column)


def _shares(*shares: float, of: str = "of the load's rows") -> tuple[tuple[float, str], ...]:
    return tuple((share, f"{share:.0%} {of}") for share in shares)


KINDS = (
    Kind("type change", True, ("type",), (("text", "as text"), ("comma", "decimal commas"), ("flag", "true or false")), _type),
    Kind("unit, up", True, ("unit", "range"), ((1000, "x 1000"), (100, "x 100"), (10, "x 10")), _unit),
    Kind("unit, down", True, ("unit", "range"), ((0.001, "x 0.001"), (0.01, "x 0.01"), (0.1, "x 0.1")), _unit),
    Kind("null burst", True, ("nulls",), _shares(1.0, 0.6, 0.3), _nulls),
    Kind(
        "swapped columns",
        True,
        ("swapped", "unit", "range"),
        tuple((n, f"middles {n} times apart") for n in (100, 30, 10)),
        _swap,
    ),
    Kind("truncated load", True, ("rows",), _shares(0.02, 0.1, 0.25, of="of the rows arrive"), _truncate),
    Kind("duplicated load", True, ("duplicates",), _shares(1.0, 0.5, 0.05), _repeat),
    Kind("constant feed", True, ("constant",), _shares(1.0, 0.95, 0.8), _constant),
    Kind("renamed column", True, ("columns",), (("new", "x_v2"), ("upper", "X"), ("blank", "a blank behind")), _rename),
    Kind("dropped columns", True, ("columns",), ((3, "three"), (2, "two"), (1, "one")), _drop),
    Kind("broken encoding", True, ("encoding", "categories"), _shares(1.0, 0.3, 0.05), _encoding),
    Kind("one-class labels", True, ("labels",), (("all rows", "all rows"), ("ones", "ones"), ("zeros", "zeros")), _one_class),
    Kind("stale data", True, ("stale",), tuple((n, f"{n} snapshots behind") for n in (3, 2, 1)), _stale),
    Kind("future snapshot", True, ("future",), tuple((n, f"{n} years ahead") for n in (100, 10, 1)), _future),
    Kind("sign flipped", True, ("range", "unit"), _shares(1.0, 0.5, 0.2), _sign),
    Kind("sentinel -999", True, ("range", "unit"), _shares(0.3, 0.1, 0.03), _sentinel),
    Kind(
        "recoded categories",
        True,
        ("categories",),
        (("codes", "codes"), ("upper", "other case"), ("blank", "a blank behind")),
        _recode,
    ),
    Kind("infinite numbers", True, ("infinite",), _shares(0.3, 0.05, 0.01), _infinite),
    Kind("keys missing", True, ("nulls", "keys"), _shares(0.5, 0.1, 0.01), _no_key),
    Kind("contradicting labels", True, ("duplicates",), _shares(0.2, 0.05, 0.01), _contradict),
    Kind(
        "labels in other codes",
        True,
        ("labels", "type"),
        (("words", "yes, no"), ("twos", "1, 2"), ("none", "20% NULL")),
        _label_codes,
    ),
    Kind("mean shifted", False, (), tuple((n, f"{n} deviations") for n in (1.0, 0.5, 0.25)), _shift),
    Kind("scale changed", False, (), tuple((n, f"x {n}") for n in (2.0, 1.5, 1.2)), _stretch),
    Kind("unit x 100 in part", False, (), _shares(0.2, 0.05, 0.01), _part_unit),
    Kind("new category", False, (), _shares(0.2, 0.05, 0.01), _newcomer),
    Kind("more nulls", False, (), _shares(0.15, 0.08, 0.03), _nulls),
    Kind("labels flipped", False, (), _shares(0.3, 0.1, 0.03), _flip),
    Kind("positives lost", False, (), _shares(0.75, 0.5, 0.25, of="of the load's"), _lose_positives),
    Kind("high rows lost", False, (), _shares(0.9, 0.6, 0.3, of="of those above the middle"), _lose_high),
    Kind("tail clipped", False, (), ((0.8, "at 80%"), (0.95, "at 95%"), (0.99, "at 99%")), _clip),
)


def plant(load: Load) -> Iterator[tuple[Kind, str, Planted | None]]:
    """Every kind at every strength, each on the same rows."""
    for kind in KINDS:
        for strength, words in kind.strengths:
            yield kind, words, kind.plant(load, strength)
