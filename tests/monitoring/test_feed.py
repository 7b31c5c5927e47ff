"""A broken feed is found in its first window, and what a quiet world does is no fault."""

from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from monitoring import feed
from monitoring.histograms import count, learn_layout
from pipelines import params

MONITOR = params.read().monitor.model_copy(update={"trending": [], "rates": {}})
RANDOM = np.random.default_rng(4)


def rows(size=1000, **columns):
    usual = {
        "usage": RANDOM.lognormal(2, 1, size),
        "tickets": RANDOM.poisson(0.3, size),
        "plan": ["basic", "fiber"] * (size // 2),
    }
    return pa.table(usual | columns)


REFERENCE = [rows() for _ in range(4)]
LAYOUT = learn_layout(pa.concat_tables(REFERENCE), {"plan": ["basic", "fiber"]}, bins=20)
QUIET = [count(table.to_batches(), LAYOUT) for table in REFERENCE]


def check(table, monitor=MONITOR):
    counted = count(table.to_batches(), LAYOUT)
    return [*feed.check_volume(counted, QUIET, monitor), *feed.check(counted, QUIET, LAYOUT, monitor)]


def test_a_quiet_window_has_no_fault():
    assert check(rows()) == []


@pytest.mark.parametrize(
    ("table", "about", "said"),
    [
        (rows(usage=RANDOM.lognormal(2, 1, 1000) * 1000), "usage", "times what it was in quiet windows: has its unit changed"),
        (rows(usage=RANDOM.lognormal(2, 1, 1000) / 1000), "usage", "has its unit changed"),
        (rows(usage=[3.5] * 1000), "usage", "3.5 in every row"),
        (rows(usage=[None, 8.0] * 500), "usage", "missing in 50% of the rows"),
        (rows(usage=[float("inf"), 8.0] * 500), "usage", "missing in 50%"),
        (rows(tickets=RANDOM.poisson(30, 1000)), "tickets", "has its unit changed"),
        (rows(tickets=[-1] * 100 + [0] * 600 + [1] * 300), "tickets", "outside what training saw in 10%"),
        (rows(plan=["Basic", "fiber"] * 500), "plan", "unknown to the model in 50%"),
        (rows(plan=[None, "fiber"] * 500), "plan", "missing in 50%"),
        (rows(450 * 1), "volume", "450 rows came where"),
        (rows(2200), "volume", "2,200 rows came where"),
    ],
)
def test_a_fault_is_found_and_said(table, about, said):
    found = check(table)
    assert about in {one.about for one in found}
    assert any(said in one.says for one in found if one.about == about), found
    assert {one.kind for one in found} == {"feed"}


def test_a_trending_column_may_leave_its_range():
    later = rows(tickets=[-1] * 100 + [0] * 600 + [1] * 300)
    assert check(later, MONITOR.model_copy(update={"trending": ["tickets"]})) == []


def test_an_old_source_is_late_and_one_without_a_clock_is_not():
    (found,) = feed.check_age(date(2025, 3, 31), date(2025, 3, 1), MONITOR, 900)
    assert found.value == 30 and "30 days before 2025-03-31" in found.says
    assert feed.check_age(date(2025, 3, 31), date(2025, 3, 30), MONITOR, 900) == []
    assert feed.check_age(date(2025, 3, 31), None, MONITOR, 900) == []
