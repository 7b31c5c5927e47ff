"""A broken feed is found in its first window, and what a quiet world does is no fault."""

import json
from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from monitoring import feed
from monitoring.histograms import Histograms, count, learn_layout
from pipelines.config import params

MONITOR = params.read().monitor.model_copy(update={"non_stationary_columns": [], "rates": {}})
RANDOM = np.random.default_rng(4)


def rows(size=1000, **columns):
    usual = {
        "usage": RANDOM.lognormal(2, 1, size),
        "tickets": RANDOM.poisson(0.3, size),
        "rate": RANDOM.normal(4.86, 0.01, size),
        "balance": RANDOM.normal(0, 3, size),
        "plan": ["basic", "fiber"] * (size // 2),
        "region": RANDOM.choice(["north", "south", "west"], size, p=[0.6, 0.3, 0.1]),
    }
    return pa.table(usual | columns)


REFERENCE = [rows() for _ in range(4)]
KNOWN = {"plan": ["basic", "fiber"], "region": ["east", "north", "south", "west"]}
LAYOUT = learn_layout(pa.concat_tables(REFERENCE), KNOWN, bins=20)


def counted(table):
    return count(table.to_batches(), LAYOUT)


QUIET = [counted(table) for table in REFERENCE]


def check(table, monitor=MONITOR):
    now = counted(table)
    return [*feed.check_volume(now, QUIET, monitor), *feed.check(now, QUIET, LAYOUT, monitor)]


def faults(table):
    return [one for one in check(table) if one.kind == "data_incident"]


def test_a_quiet_window_has_no_fault():
    assert check(rows()) == []


@pytest.mark.parametrize(
    ("table", "about", "said"),
    [
        (rows(usage=RANDOM.lognormal(2, 1, 1000) * 1000), "usage", "its shape is kept: has its unit changed"),
        (rows(usage=RANDOM.lognormal(2, 1, 1000) / 1000), "usage", "has its unit changed"),
        (
            rows(tickets=RANDOM.poisson(0.3, 1000) * 60),
            "tickets",
            "times what it was in baseline windows, and its shape is kept",
        ),
        (
            rows(rate=RANDOM.normal(4.86, 0.01, 1000) * 100),
            "rate",
            "about 100 times what it was in baseline windows, and a power",
        ),
        (rows(balance=RANDOM.normal(0, 3, 1000) * 1000), "balance", "has its unit changed"),
        (rows(usage=[3.5] * 1000), "usage", "3.5 in every row"),
        (rows(usage=[None, 8.0] * 500), "usage", "missing in 50% of the rows"),
        (rows(usage=[float("inf"), 8.0] * 500), "usage", "missing in 50%"),
        (rows(plan=["Basic", "fiber"] * 500), "plan", "unknown to the model in 50% of the rows: has its spelling changed"),
        (rows(plan=[f"p{at}" for at in range(1000)]), "plan", "unknown to the model in 100%"),
        (rows(plan=["fiber"] * 1000), "plan", "one value in every row"),
        (rows(plan=[None, "fiber"] * 500), "plan", "missing in 50%"),
        (rows(region=["south"] * 100 + ["north"] * 300 + ["west"] * 600), "region", "have its codes been swapped"),
        (rows(usage=RANDOM.normal(4.86, 0.01, 1000), rate=RANDOM.lognormal(2, 1, 1000)), "usage, rate", "been swapped"),
    ],
)
def test_a_fault_is_found_by_its_form_and_says_how_sure_it_is(table, about, said):
    found = check(table)
    assert about in {one.about for one in found}
    assert any(said in one.message and "% sure." in one.message for one in found if one.about == about), found
    assert {one.kind for one in found} == {"data_incident"}
    assert all(one.evidence["sure"] >= feed.SURE and one.evidence["form"] for one in found)


@pytest.mark.parametrize(
    ("table", "about", "said"),
    [
        (rows(450), "volume", "450 rows came where"),
        (rows(2200), "volume", "2,200 rows came where"),
        (rows(tickets=[-1] * 100 + [0] * 600 + [1] * 300), "tickets", "outside what training saw in 10%"),
        (rows(rate=RANDOM.normal(-1.8, 0.01, 1000)), "rate", "outside what training saw in 100%"),
        (rows(rate=RANDOM.normal(0.71, 0.01, 1000)), "rate", "outside what training saw in 100%"),
        (rows(balance=RANDOM.normal(5000, 1000, 1000)), "balance", "outside"),
        (rows(plan=RANDOM.choice(["basic", "fiber", "new"], 1000)), "plan", "are these new values?"),
    ],
)
def test_a_value_that_moves_turns_sign_or_is_new_and_another_volume_are_told_and_no_fault(table, about, said):
    found = check(table)
    assert any(said in one.message for one in found if one.about == about), found
    assert {one.kind for one in found} <= {"info", "warning"}


@pytest.mark.parametrize(
    "moved",
    [
        {"tickets": RANDOM.poisson(30, 1000)},
        {"usage": RANDOM.normal(60, 2, 1000)},
        {"balance": abs(RANDOM.normal(0, 3, 1000)) * 1000},  # the sizes have a factor, and the signs have gone
    ],
)
def test_what_grew_by_other_than_a_factor_has_no_new_unit(moved):
    assert not faults(rows(**moved))


def test_two_values_that_exchange_their_shares_are_no_fault():
    assert not faults(rows(region=RANDOM.choice(["north", "south", "west"], 1000, p=[0.1, 0.3, 0.6])))


def test_a_rare_value_that_nobody_has_for_once_is_no_constant():
    baseline = [counted(rows(tickets=(RANDOM.random(1000) < 0.003).astype(int))) for _ in range(4)]
    now = counted(rows(tickets=np.zeros(1000, dtype=int)))
    assert not [one for one in feed.check(now, baseline, LAYOUT, MONITOR) if one.kind == "data_incident"]


def test_a_category_that_changes_every_month_is_not_broken_by_the_next_one():
    baseline = [counted(rows(region=[name] * 1000)) for name in ("north", "south", "west")]
    for value in ("east", "north", "unheard of"):
        assert not [
            one
            for one in feed.check(counted(rows(region=[value] * 1000)), baseline, LAYOUT, MONITOR)
            if one.kind == "data_incident"
        ]


def test_what_one_window_alone_was_never_like_is_no_proof():
    (found,) = feed.check(counted(rows(usage=[3.5] * 1000)), QUIET[:1], LAYOUT, MONITOR)
    assert found.kind == "info" and found.evidence["sure"] == 0.5


def test_counts_of_earlier_days_know_no_sizes_and_find_no_unit():
    saved = json.loads(QUIET[0].to_json())
    for one in saved["numbers"].values():
        del one["magnitudes"], one["negative"]
    old = Histograms.from_json(json.dumps(saved))
    found = feed.check(counted(rows(usage=RANDOM.lognormal(2, 1, 1000) * 1000)), [old], LAYOUT, MONITOR)
    assert {one.kind for one in found} == {"warning"}


def test_a_trending_column_may_leave_its_range():
    later = rows(tickets=[-1] * 100 + [0] * 600 + [1] * 300)
    assert check(later, MONITOR.model_copy(update={"non_stationary_columns": ["tickets"]})) == []


def test_an_old_source_is_late_and_one_without_a_clock_is_not():
    (found,) = feed.check_age(date(2025, 3, 31), date(2025, 3, 1), MONITOR, 900)
    assert found.value == 30 and "30 days before 2025-03-31" in found.message
    assert feed.check_age(date(2025, 3, 31), date(2025, 3, 30), MONITOR, 900) == []
    assert feed.check_age(date(2025, 3, 31), None, MONITOR, 900) == []
