"""A real crisis is retrained for as soon as labels show it, and a quiet table of three years never is."""

import pytest

from pipelines.config import params
from studies import replay
from studies.replay import MATURE, Calendar
from tests.support import crisis

pytestmark = pytest.mark.slow

PARAMS = crisis.settings(params.read())
LEARNT, NEWEST = 10, 12  # months that the first version learns from, and that a retraining does


def watched(months, *, retrains=True):
    """What is said of the months from 13 on; each retraining is promoted."""
    version = replay.fit(months[:LEARNT], PARAMS, trained_in=LEARNT)

    def retrain(month):
        known = month - MATURE
        return replay.fit(months[max(known - NEWEST, 0) : known], PARAMS, trained_in=month)

    blocks = [version.count(rows) for rows in months]
    return replay.watch(version, months, blocks, calendar=Calendar(retrain=retrain if retrains else None))


@pytest.fixture(scope="module")
def of_crisis():
    months = [crisis.month(number, seed=1) for number in range(1, 29)]
    return months, {one.month: one for one in watched(months)}


def test_nothing_of_a_crisis_is_a_broken_feed(of_crisis):
    _, said = of_crisis
    assert "quarantine" not in {one.decision.action for one in said.values()}
    assert not [found for one in said.values() for found in one.found if found.kind == "data_incident"]


def test_it_is_retrained_for_within_two_windows_of_the_labels_that_show_it(of_crisis):
    _, said = of_crisis
    asked = [number for number, one in said.items() if one.decision.action == "retrain"]
    first_labels = crisis.CRISIS + MATURE
    assert first_labels <= asked[0] <= first_labels + 1
    assert "subscribed" not in said[asked[0]].decision.why and "roc_auc" in said[asked[0]].decision.why


def test_a_month_without_calls_is_said_and_the_months_after_it_are_judged(of_crisis):
    _, said = of_crisis
    assert "No row came." in said[crisis.EMPTY].decision.why
    assert set(range(13, 29)) == set(said) and said[crisis.EMPTY].rows == 0


def test_it_heals(of_crisis):
    months, said = of_crisis
    old, new = said[crisis.CRISIS], said[28]
    assert replay.measured(old.version, months[crisis.CRISIS - 1])["roc_auc"].point < 0.57
    assert replay.measured(new.version, months[27])["roc_auc"].point > 0.75
    assert sum(one.decision.action == "retrain" for one in said.values()) <= 4, "each has more of the new world to learn from"


@pytest.mark.parametrize(("seed", "calls"), [(1, 900), pytest.param(2, 3000, marks=pytest.mark.long)])
def test_a_quiet_table_of_three_years_is_never_retrained_and_hardly_alarms(seed, calls):
    months = [crisis.month(number, seed, calls=calls, crisis=999, empty=999) for number in range(1, 49)]
    said = watched(months, retrains=False)
    assert len(said) == 36
    assert not [
        one.month for one in said if one.decision.action in ("quarantine", "review", "retrain") or one.decision.suppressed
    ]
    assert sum(one.alarm for one in said) <= 2
    assert sum(one.decision.action != "none" for one in said) <= 2
