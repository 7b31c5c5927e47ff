"""What is proven of groups: for all of them at once, and never of one with too few rows."""

import numpy as np
import pytest

from pipelines.evaluation import disparity
from pipelines.promotion import harm
from pipelines.promotion.harm import Measure
from pipelines.statistics import fairness
from pipelines.statistics.fairness import Group
from tests.support.bundles import AUDIT

MASK = np.ones(1, dtype=bool)


def groups(number):
    return [Group(("g",), (str(index),), MASK) for index in range(number)]


def drawn(points, error=0.01, resamples=400, seed=0):
    noise = np.random.default_rng(seed).normal(scale=error, size=(resamples, len(points)))
    return np.vstack([points, np.asarray(points) + noise])


def test_harm_is_proven_within_the_limit_or_open():
    found = harm.harms({"TPR shortfall": Measure(drawn([0.5, 0.2, 0.0]), 0.2)}, groups(3), 0.95)
    assert [one["finding"] for one in found] == ["significant", "inconclusive", "none"]
    assert found[0] | {"low": 0, "high": 0} == {
        "attribute": "g", "group": "0", "measure": "TPR shortfall", "point": 0.5, "low": 0, "high": 0, "limit": 0.2,
        "finding": "significant",
    }  # fmt: skip


def test_of_many_equal_groups_none_is_harmed_by_chance():
    """Sixty groups at their limit, drawn anew each time: pointwise intervals would accuse one in most of 60 audits."""
    accused = {"pointwise": 0, "at once": 0}
    for seed in range(60):
        estimates = np.random.default_rng(1000 + seed).normal(scale=0.01, size=60)
        around = drawn(estimates, seed=seed)
        found = harm.harms({"m": Measure(around, 0.0)}, groups(60), 0.95)
        accused["at once"] += any(one["finding"] == "significant" for one in found)
        accused["pointwise"] += any(fairness.interval(column, 0.95)["low"] > 0 for column in around.T)
    assert accused["pointwise"] > 30
    assert accused["at once"] <= 6


def test_of_a_part_of_a_gap_the_whole_and_what_explains_it_are_said():
    found = harm.harms({"m": Measure(drawn([0.1]), 0.2, np.array([0.5]))}, groups(1), 0.95)
    assert (found[0]["raw"], found[0]["explained"], found[0]["point"]) == (0.5, 0.4, 0.1)


def totals(*tpr_by_group, positives=100, fpr=0.1, score=0.0):
    """Sums of cells of all rows and of each group, twice over: exact rates, no spread."""
    own = np.array(
        [[300, positives, rate * positives + fpr * (300 - positives), rate * positives, score, 0] for rate in tpr_by_group]
    )
    return np.repeat(np.vstack([own.sum(axis=0), own])[None], 2, axis=0)


GAPS = {name: disparity.Gap(np.array([[0.5, -0.5]]), np.array([[0.3, -0.1]])) for name in ("TPR shortfall", "FPR excess")}


def test_of_gaps_what_the_model_adds_is_judged():
    measures = harm.apart_from_rest(totals(0.9, 0.3), GAPS, AUDIT)
    assert list(measures) == ["added TPR shortfall", "added FPR excess"]
    assert measures["added TPR shortfall"].drawn[0] == pytest.approx([0.2, -0.4])
    assert measures["added TPR shortfall"].raw == pytest.approx([0.5, -0.5])
    assert measures["added TPR shortfall"].limit == AUDIT.max_tpr_shortfall


def test_underestimation_is_in_shares_of_the_groups_own_positives_and_held_against_the_rest():
    """50 of 100 positives are not expected in the one group, 10 of 100 in the other."""
    settings = AUDIT.model_copy(update={"max_underestimation": 0.1, "max_tpr_shortfall": None, "max_fpr_excess": None})
    one, other = totals(0.5, score=50.0), totals(0.5, score=90.0)
    together = np.stack([one[:, 0] + other[:, 0], one[:, 1], other[:, 1]], axis=1)
    beyond, limit, _ = harm.apart_from_rest(together, GAPS, settings)["underestimation"]
    assert beyond[0] == pytest.approx([0.4, -0.4])
    assert limit == 0.1


def test_a_measure_without_a_limit_is_not_judged():
    settings = AUDIT.model_copy(update={"max_fpr_excess": None})
    assert list(harm.apart_from_rest(totals(0.9, 0.3), GAPS, settings)) == ["added TPR shortfall"]


@pytest.mark.parametrize(
    ("champion", "challenger", "loss"),
    [
        ((0.6, 0.6), (0.6, 0.4), [-0.2, 0.2]),  # one loses
        ((0.6, 0.6), (0.4, 0.4), [0.0, 0.0]),  # a threshold that moves for all is no matter of groups
        ((0.6, 0.6), (0.9, 0.6), [-0.3, 0.0]),  # what others gain is not held against it
        ((0.6, 0.6), (0.5, 0.3), [-0.2, 0.2]),  # all lose, one more than the other
    ],
)
def test_a_loss_against_the_champion_is_what_others_do_not_lose(champion, challenger, loss):
    measures = harm.apart_from_champion(totals(*challenger), totals(*champion), 0.05, None)
    assert list(measures) == ["TPR loss"]
    assert measures["TPR loss"].drawn[0] == pytest.approx(loss)


def test_a_gain_in_false_alarms_is_the_same_the_other_way_round():
    gain = harm.apart_from_champion(totals(0.5, 0.5, fpr=0.3), totals(0.5, 0.5, fpr=0.1), None, 0.1)["FPR gain"]
    assert gain.drawn[0] == pytest.approx([0, 0])


def test_a_thin_group_makes_its_attribute_unproven_and_never_passed():
    thin = Group(("g",), ("few",), MASK)
    found = harm.harms({"m": Measure(drawn([0.0]), 0.2)}, groups(1), 0.95)
    assert harm.summarise(found, groups(1), groups(1))["attributes"] == {"g": "none"}
    summary = harm.summarise(found, [*groups(1), thin], groups(1))
    assert summary["attributes"] == {"g": "inconclusive"}
    assert summary["inconclusive"] == [{"attribute": "g", "group": "few", "why": "insufficient evidence"}]


def test_nobody_to_judge_and_nothing_to_judge_by_are_no_pass():
    assert harm.summarise([], groups(1), [])["attributes"] == {"g": "inconclusive"}
    assert harm.summarise([], groups(1), groups(1))["attributes"] == {"g": "not judged"}


def test_what_a_person_accepts_harms_nobody_and_keeps_its_reason():
    found = harm.harms({"m": Measure(drawn([0.5, 0.5]), 0.2)}, groups(2), 0.95)
    one = harm.summarise(found, groups(2), groups(2), {"g: 0": "it is known why"})
    assert one["attributes"] == {"g": "significant"}
    assert [harmed["group"] for harmed in one["harmed"]] == ["1"]
    assert [(agreed["group"], agreed["reason"]) for agreed in one["accepted"]] == [("0", "it is known why")]
    both = harm.summarise(found, groups(2), groups(2), {"g: 0": "it is known why", "g: 1": "it is known why"})
    assert (both["attributes"], both["harmed"]) == ({"g": "accepted"}, [])


def test_a_line_that_accepts_nothing_is_named():
    found = harm.harms({"m": Measure(drawn([0.0]), 0.2)}, groups(1), 0.95)
    summary = harm.summarise(found, groups(1), groups(1), {"g: 0": "it is known why", "g: zero": "it is known why"})
    assert summary["unmatched"] == {"g: 0": harm.NOT_HARMED, "g: zero": harm.NO_GROUP}
    assert summary["accepted"] == []
