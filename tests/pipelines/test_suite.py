"""What is learnt from a reference window: it lets the same world pass and sees what is wrong with the newest load."""

from __future__ import annotations

import datetime as dt
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config import params
from pipelines.validation import suite, validate
from pipelines.validation.checks import Check

CONFIG = params.read()
DAYS = [dt.date(2024, month, 28) for month in range(1, 13)]
MONTHLY = 400


def world(seed: int = 0, **newest) -> pa.Table:
    """400 customers on each of 12 days; `newest` replaces columns of the last day."""
    random = np.random.default_rng(seed)
    parts = []
    for number, day in enumerate(DAYS):
        amount = np.round(random.lognormal(3, 1, MONTHLY), 2)
        columns = {
            "customer": [f"c{one}" for one in range(MONTHLY)],
            "day": [day] * MONTHLY,
            "left": (random.random(MONTHLY) < 0.2).astype(np.int32),
            "amount": amount,
            "highest": amount * random.uniform(1, 3, MONTHLY),
            "orders": np.where(random.random(MONTHLY) < 0.8, 0, random.integers(1, 9, MONTHLY)),
            "plan": random.choice(["basic", "fiber", "mobile"], MONTHLY),
            "info": pa.array([None if one % 5 else f"note {one}" for one in range(MONTHLY)]),
        }
        parts.append(pa.table(columns | (newest if number == len(DAYS) - 1 else {})))
    return pa.concat_tables(parts, promote_options="permissive")


def config(**changed) -> params.Params:
    data = {
        "entity": "customer",
        "time": "day",
        "target": "left",
        "protected": [],
        "personal": [],
        "horizon_days": 3,
        "embargo_days": 0,
    }
    made = CONFIG.data.model_copy(update=data | {"as_of": dt.date(2024, 12, 31)} | changed)
    return CONFIG.model_copy(update={"data": made})


def red(rows: pa.Table, of: params.Params | None = None, learnt: pa.Table | None = None) -> list[Check]:
    """Critical checks that fail, by what is learnt from the older snapshots of the clean world."""
    settings = of or config()
    reference = suite.window(learnt if learnt is not None else world(1), settings.data, newest_snapshots=1)
    proposed = suite.propose(reference, settings.data, settings.validate_)
    file = io.BytesIO()
    pq.write_table(rows, file)
    return [
        one for one in validate.judge_rows(file, proposed, settings).checks if not one.success and one.severity == "critical"
    ]


def named(rows: pa.Table, of: params.Params | None = None) -> set[tuple[str, str | None]]:
    return {(one.kind, one.column) for one in red(rows, of)}


def test_the_same_world_passes() -> None:
    assert [red(world(seed)) for seed in range(2, 8)] == [[]] * 6


@pytest.mark.parametrize(
    ("newest", "kind", "column"),
    [
        ({"amount": np.random.default_rng(9).lognormal(3, 1, MONTHLY) * 10}, "unit", "amount"),
        ({"amount": np.random.default_rng(9).lognormal(3, 1, MONTHLY) / 10}, "unit", "amount"),
        ({"orders": np.where(np.arange(MONTHLY) % 5, 0, 30)}, "unit", "orders"),
        ({"amount": -np.ones(MONTHLY)}, "range", "amount"),
        ({"amount": pa.nulls(MONTHLY, pa.float64())}, "nulls", "amount"),
        ({"plan": ["BASIC"] * 150 + ["fiber"] * 250}, "categories", "plan"),
        ({"plan": ["basic"] * 390 + ["fiber"] * 10}, "constant", "plan"),
        ({"info": ["\u00c3\u00a9 note"] * MONTHLY}, "encoding", "info"),
        ({"left": np.zeros(MONTHLY, np.int32)}, "labels", "left"),
        ({"highest": np.zeros(MONTHLY)}, "rule", "highest, amount"),
    ],
    ids=["x10", "/10", "x10 of a number that is mostly 0", "sign", "nulls", "case", "constant", "encoding", "labels", "rule"],
)
def test_what_is_wrong_with_the_newest_load_is_named(newest, kind, column) -> None:
    assert (kind, column) in named(world(2, **newest))


def test_a_load_that_was_cut_off_is_named() -> None:
    rows = world(2)
    keep = np.arange(rows.num_rows) < 11 * MONTHLY + 100
    assert ("rows", None) in named(rows.filter(pa.array(keep)))


@pytest.mark.parametrize(("as_of", "kind"), [(dt.date(2025, 2, 3), "stale"), (dt.date(2024, 12, 1), "future")])
def test_rows_that_are_old_or_of_days_to_come_are_named(as_of, kind) -> None:
    assert (kind, "day") in named(world(2), config(as_of=as_of))


def test_another_type_is_named_as_such_once() -> None:
    rows = world(2)
    texts = rows.set_column(rows.column_names.index("amount"), "amount", rows["amount"].cast(pa.string()))
    assert {kind for kind, column in named(texts) if "amount" in str(column)} == {"type"}


def test_the_newest_snapshots_take_no_part() -> None:
    learnt = suite.window(world(1), config().data, newest_snapshots=2)
    assert max(learnt["day"].to_pylist()) == DAYS[-3]
    few = world(1).filter(pa.array(np.arange(12 * MONTHLY) >= 8 * MONTHLY))
    assert suite.window(few, config().data, newest_snapshots=2).num_rows == few.num_rows  # two others are too few to learn from


def test_a_table_without_time_is_judged_as_a_whole() -> None:
    rows = world(1).drop_columns(["day", "customer"])
    rows = rows.append_column("customer", pa.array([f"c{one}" for one in range(rows.num_rows)]))
    timeless = config(time=None, as_of="timeless")
    assert red(rows, timeless, rows) == []
    assert [one.kind for one in red(rows.slice(0, 1500), timeless, rows)] == ["rows"]


def test_a_rule_is_one_only_where_it_could_be_broken() -> None:
    rows = world(1).append_column("percent", pa.array(np.random.default_rng(3).random(12 * MONTHLY) - 2))
    proposed = suite.propose(rows, config().data, CONFIG.validate_)
    pairs = {tuple(one.columns) for one in proposed if "pair" in one.type}
    assert pairs == {("highest", "amount")}  # percent is always below the others, and nobody needed a rule for that


def test_what_grows_from_snapshot_to_snapshot_may_go_on() -> None:
    total = np.repeat(np.arange(1, 13), MONTHLY) * 100.0 + np.random.default_rng(3).random(12 * MONTHLY)
    rows = world(1).append_column("total", pa.array(total))
    assert red(rows, learnt=rows) == []


def test_no_value_of_a_personal_column_or_of_a_large_category_is_listed() -> None:
    rows = world(1)
    proposed = suite.propose(rows, config(personal=["plan"]).data, CONFIG.validate_)
    assert not any("plan" in one.columns for one in proposed)
    assert not any("note 5" in str(one.kwargs) for one in proposed)
