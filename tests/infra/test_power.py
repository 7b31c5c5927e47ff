"""The claims about false alarms and power: the shifts are what they say, and a quiet company stays quiet."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from examples.telecom import worlds
from pipelines.config import params
from studies import injected_shifts, power, replay

PARAMS = params.read()


def rows(size=4000):
    random = np.random.default_rng(1)
    charges = random.lognormal(3.5, 0.4, size)
    return pa.table(
        {
            "customer_id": np.arange(size),
            "monthly_charges": charges,
            "usage_gb_3m": charges + random.normal(size=size),
            "channel": random.choice(["shop", "online"], size),
            "dropped_calls_3m": random.random(size),
            "churned": pa.array((random.random(size) < 0.1).astype("int32")),
        }
    )


def planted(name, size):
    kind = next(kind for kind in injected_shifts.KINDS if kind.name == name)
    return kind.plant(rows(), size, np.random.default_rng(2))


@pytest.mark.parametrize("name", ["mean", "variance", "category mix", "missingness", "correlation", "concept"])
def test_a_planted_shift_changes_one_column(name):
    before, after = rows(), planted(name, 0.2)
    changed = [column for column in before.column_names if not before[column].equals(after[column])]
    expected = {"category mix": "channel", "missingness": "dropped_calls_3m", "concept": "churned"}
    assert changed == [expected.get(name, "monthly_charges")]


def test_a_planted_shift_has_its_size():
    charges = rows()["monthly_charges"].to_numpy()
    moved = planted("mean", 0.2)["monthly_charges"].to_numpy()
    assert moved.mean() - charges.mean() == pytest.approx(0.2 * charges.std())
    assert planted("variance", 0.2)["monthly_charges"].to_numpy().std() == pytest.approx(1.2 * charges.std())
    assert planted("missingness", 0.2)["dropped_calls_3m"].null_count == pytest.approx(800, abs=100)
    assert sorted(planted("correlation", 0.2)["monthly_charges"].to_pylist()) == sorted(charges.tolist())
    assert pc.sum(planted("concept", 0.5)["churned"]).as_py() == pc.sum(rows()["churned"]).as_py()
    more = planted("prior", 2.0)
    assert more.num_rows == 4000 and pc.sum(more["churned"]).as_py() == 2 * pc.sum(rows()["churned"]).as_py()


@pytest.mark.parametrize(("hits", "trials", "bound"), [(0, 200, 0.0149), (10, 200, 0.0834), (5, 5, 1.0)])
def test_the_bound_of_a_rate_is_clopper_and_pearsons(hits, trials, bound):
    assert power.upper_bound(hits, trials) == pytest.approx(bound, abs=1e-4)


def test_the_page_says_what_was_measured():
    quiet = [{"month": month, "kinds": ["warning"] * (month == 14), "action": "none"} for month in range(13, 23)]
    cells = [{"kind": kind.name, "size": size, "delay": 2} for kind in injected_shifts.KINDS for size in kind.sizes]
    held = [{"month": 14, "covered": dict.fromkeys(power.COVERED, True), "error": 0.0}]
    faults = {fault.name: [[fault.about, fault.form]] if fault.form else [] for fault in injected_shifts.FAULTS}
    page = power.page([{"seed": 1, "quiet": quiet, "power": cells, "coverage": held, "faults": faults}])
    assert "1 seeds, 10 quiet windows" in page and "| over a threshold | 1 | 10.0% |" in page
    assert page.count("| 100% | 100% | 2 |") == len(cells)
    assert "| charges in cents | 100% |" in page and "| 15% of the customers | 0% |" in page


@pytest.mark.long
def test_of_quiet_companies_few_raise_an_alarm_and_none_starts_a_retraining(company_url):
    """Five of twenty raise one, for months in a row (docs/studies/power.md); what it leads to is a note."""
    said, alarmed = [], 0
    for seed in (101, 102, 103):
        world = worlds.months(company_url, PARAMS.data, customers=5_000, seed=seed)
        version, months = replay.train(world, PARAMS), power.by_month(world)
        windows = replay.watch(version, months, [version.count(rows) for rows in months[: replay.LAST]])
        alarmed += any(one.alarm for one in windows)
        said += windows
    assert len(said) == 36 and alarmed <= 1
    assert {one.decision.action for one in said} <= {"none", "info"}


@pytest.mark.long
def test_the_shifts_of_the_story_lead_to_their_actions(company_url):
    shifts = frozenset({"broken_feed", "concept_shift"})
    world = worlds.months(company_url, PARAMS.data, customers=12_000, seed=104, shifts=shifts)
    version, months = replay.train(world, PARAMS), power.by_month(world)
    said = {one.month: one.decision.action for one in replay.watch(version, months, [version.count(rows) for rows in months])}
    assert {said[14], said[15]} == {"quarantine"}  # until somebody has declared it
    assert {said[month] for month in (13, 16, 17, 18)} <= {"none", "info"}
    assert said[19] == "retrain"  # the first labels of the new world, which begins in month 17
