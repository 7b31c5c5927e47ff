"""What is counted over all rows is what Great Expectations says of them, and the newest snapshot is counted by itself."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.validation.counting import COUNTED, SAMPLED, Counts
from pipelines.validation.expectations import SUPPORTED, Expectation, Result, ask_great_expectations

NEWEST = dt.date(2025, 3, 31)
SHARES = (0.05, 0.3, 0.6, 0.9)


def expect(kind: str, of: str = "both", **kwargs) -> Expectation:
    return Expectation(type=f"expect_{kind}", severity="critical", kwargs=kwargs, of=of)


def judged(rows: pa.Table, *items: Expectation, newest: dt.date | None = None, least: int = 1) -> list[Result]:
    found = []
    for item in items:
        wanted = COUNTED if item.type in COUNTED else SAMPLED
        counts = Counts(wanted, [item], "day" if newest else None, newest, least)
        found += counts.judge(rows.to_batches(max_chunksize=37))
    return found


def drawn(seed: int) -> pa.Table:
    """200 rows with gaps: two numbers and a text."""
    random = np.random.default_rng(seed)
    gaps = random.random((3, 200)) < random.choice([0.0, 0.1, 0.6])
    numbers = [np.round(random.normal(scale=3, size=200)), random.integers(0, 6, 200).astype(float)]
    texts = random.choice(["anna", "ben", "c1", ""], 200)
    return pa.table(
        {
            "a": pa.array(numbers[0], mask=gaps[0]), "b": pa.array(numbers[1], mask=gaps[1]),
            "t": pa.array(texts, mask=gaps[2]),
        }
    )  # fmt: skip


def asked(random: np.random.Generator) -> list[Expectation]:
    """Every expectation that both can judge, with limits that are sometimes met."""
    low, high = float(random.integers(-12, 3)), float(random.integers(3, 12))
    mostly, limits = {"mostly": float(random.choice(SHARES))}, {"min_value": low, "max_value": high}
    names = ["anna", "ben", "c1", ""][: random.integers(1, 5)]
    numbers = [f"column_{what}_to_be_between" for what in ("min", "max", "mean", "sum", "stdev", "median")]
    absence = [f"column_values_{how}" for how in ("to_not_be_null", "to_be_null")]
    return [
        *(expect(name, column=column, **mostly) for name in absence for column in "ab"),
        *(expect("column_values_to_be_between", column=column, **limits, **mostly) for column in "ab"),
        expect("column_values_to_be_between", column="b", min_value=low, strict_min=True, **mostly),
        expect("column_value_lengths_to_be_between", column="t", min_value=1, max_value=int(random.integers(1, 5)), **mostly),
        expect("column_values_to_be_in_set", column="t", value_set=names, **mostly),
        expect("column_values_to_not_be_in_set", column="t", value_set=names, **mostly),
        expect("column_values_to_be_in_set", column="b", value_set=[0, 1, 2], **mostly),
        expect("column_values_to_match_regex", column="t", regex="^[a-b]", **mostly),
        expect("column_values_to_not_match_regex", column="t", regex="[0-9]", **mostly),
        expect("column_pair_values_a_to_be_greater_than_b", column_A="b", column_B="a", or_equal=True, **mostly),
        expect("column_pair_values_a_to_be_greater_than_b", column_A="a", column_B="b",
               ignore_row_if="either_value_is_missing", **mostly),
        *(expect(name, column="a", min_value=low * 20 if "sum" in name else low / 4, max_value=high) for name in numbers),
        expect("column_proportion_of_non_null_values_to_be_between", column="t", min_value=0.5, max_value=0.95),
        expect("table_row_count_to_be_between", min_value=100, max_value=195 + int(high)),
    ]  # fmt: skip


def test_every_offer_is_judged_as_great_expectations_judges_it() -> None:
    both = {name for name, supported in SUPPORTED.items() if not supported.ours} & {*COUNTED, *SAMPLED}
    outcomes: dict[str, set[bool]] = {}
    for seed in range(2):
        rows, items = drawn(seed), [one for number in range(4) for one in asked(np.random.default_rng([seed, number]))]
        answers = ask_great_expectations(rows.to_pandas(), items)
        for item, theirs, ours in zip(items, answers, judged(rows, *items), strict=True):
            assert ours.success == theirs.success, (seed, item, ours, theirs)
            outcomes.setdefault(item.type, set()).add(ours.success)
    assert set(outcomes) == both
    assert sum(len(seen) == 2 for seen in outcomes.values()) >= len(both) - 3  # nearly each could have been told apart


def of_days(old: list, new: list) -> pa.Table:
    days = [dt.date(2025, 2, 28)] * len(old) + [NEWEST] * len(new)
    return pa.table({"day": days, "x": old + new})


@pytest.mark.parametrize(
    ("item", "old", "new", "said"),
    [
        (expect("column_values_to_not_be_null", column="x", mostly=0.9), [1.0] * 950, [None] * 50, "50 of 50 unexpected"),
        (expect("column_values_to_be_between", column="x", max_value=5, mostly=0.9), [1.0] * 950, [9.0] * 50, "50 of 50"),
        (expect("column_mean_to_be_between", column="x", min_value=0.3), [0.0, 1.0] * 475, [0.0] * 50, "0 in"),
        (
            expect("column_largest_share_to_be_at_most", column="x", max_value=0.6),
            [*map(float, range(950))],
            [3.0] * 50,
            "100.00%",
        ),
        (expect("table_row_count_to_be_between", of="newest", min_value=80), [1.0] * 950, [1.0] * 50, "50 in"),
    ],
    ids=["nulls", "range", "mean", "constant", "rows"],
)
def test_a_fault_of_the_newest_snapshot_is_seen_that_all_rows_hide(item, old, new, said) -> None:
    (of_all,) = judged(of_days(old, new), item)
    (found,) = judged(of_days(old, new), item, newest=NEWEST)
    assert of_all.success or item.of == "newest"
    assert not found.success and said in found.observed and found.observed.endswith("in the newest snapshot")


def test_a_small_newest_snapshot_is_given_what_chance_does_and_a_tiny_one_is_not_judged() -> None:
    item = expect("column_values_to_not_be_null", column="x", mostly=0.95)
    rows = of_days([1.0] * 1000, [None] * 4 + [1.0] * 46)  # 8% of 50, where 5% may be
    assert judged(rows, item, newest=NEWEST)[0].success
    assert not judged(of_days([1.0] * 1000, [None] * 20 + [1.0] * 30), item, newest=NEWEST)[0].success
    assert judged(of_days([1.0] * 1000, [None] * 50), item, newest=NEWEST, least=51)[0].success
    never = expect("column_values_to_not_be_null", column="x")
    assert not judged(of_days([1.0] * 1000, [None] + [1.0] * 49), never, newest=NEWEST)[0].success


def test_an_entry_is_judged_of_the_rows_that_it_names() -> None:
    rows = of_days([None] * 50, [1.0] * 50)
    items = [expect("column_values_to_not_be_null", of, column="x") for of in ("all", "newest", "both")]
    assert [one.success for one in judged(rows, *items, newest=NEWEST)] == [False, True, False]


MEASURED = """
import resource, sys
import pyarrow as pa
import pyarrow.parquet as pq
from pipelines.validation.counting import COUNTED, Counts
from pipelines.validation.expectations import Expectation
asked = {"to_not_be_null": {}, "to_be_between": {"max_value": 2.0}, "to_be_in_set": {"value_set": [0, 1]}}
items = [Expectation(type=f"expect_column_values_{how}", severity="critical", kwargs={"column": "x", **more})
         for how, more in asked.items()]
with pq.ParquetFile(sys.argv[1]) as file:
    print([one.observed for one in Counts(COUNTED, items, None, None, 1).judge(file.iter_batches(columns=["x"]))])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.long
def test_memory_does_not_grow_with_the_rows(tmp_path) -> None:
    peaks = []
    for million in (1, 20):
        with pq.ParquetWriter(tmp_path / "rows.parquet", pa.schema([("x", pa.float64())])) as writer:
            for part in range(million):
                writer.write_table(pa.table({"x": np.random.default_rng(part).random(1_000_000)}))
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, tmp_path / "rows.parquet"], capture_output=True, text=True, check=True
        )
        assert f"0 of {million * 1_000_000} unexpected" in done.stdout
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] < 1.3 * peaks[0]
