"""Paired gains: their sign, how much later uses of the same rows ask for, and what can be detected."""

import numpy as np
import pytest

from pipelines.promotion import gains
from pipelines.promotion.gains import Pair, Scored
from pipelines.statistics.metrics import Interval
from tests.support.bundles import EVALUATE, customers, sigmoid


def pair(seed: int = 1):
    strong, weak, labels, entities = customers(seed)
    return labels, Scored(sigmoid(1.5 * strong + weak), 1 / 6), Scored(sigmoid(1.5 * strong), 1 / 6), entities


@pytest.mark.parametrize("metric", ["cost", "roc_auc", "pr_auc", "log_loss", "brier", "calibration_error"])
def test_a_gain_is_positive_where_the_challenger_is_better_whatever_the_metric(metric):
    labels, better, worse, entities = pair()
    poor = Scored(np.clip(worse.scores * 0.6, 0, 1), 0.3)
    found = Pair(labels, better, poor, entities).gains([metric], EVALUATE)[metric]
    back = Pair(labels, poor, better, entities).gains([metric], EVALUATE)[metric]
    assert found.low > 0
    assert (back.point, back.low, back.high) == pytest.approx((-found.point, -found.high, -found.low))


def test_a_pair_on_some_of_its_rows_is_that_pair_of_these_rows():
    labels, better, worse, entities = pair()
    kept = np.arange(len(labels)) % 2 == 0
    some = Pair(labels, better, worse, entities).take(kept)
    by_hand = Pair(labels[kept], Scored(better.scores[kept], 1 / 6), Scored(worse.scores[kept], 1 / 6), entities[kept])
    assert some.gains(["cost", "roc_auc"], EVALUATE) == by_hand.gains(["cost", "roc_auc"], EVALUATE)
    assert (some.challenger.threshold, len(some.labels)) == (1 / 6, len(labels) / 2)


def test_costs_are_those_of_the_params():
    scored = Scored(np.array([0.1, 0.9, 0.1, 0.9]), 0.5)
    assert gains.costs(np.array([1, 1, 0, 0]), scored, EVALUATE).tolist() == [5.0, 0.0, 0.0, 1.0]


def test_all_uses_together_err_no_more_than_one_interval():
    assert gains.error_of(1, 0.95) == pytest.approx(0.025)  # one end of a two-sided interval of 95%
    spent = sum(gains.error_of(reuse, 0.95) for reuse in range(1, 100_000))
    assert 0.0499 < spent < 0.05


def test_the_first_use_keeps_the_interval_and_later_ones_widen_both_arms():
    interval = Interval(0.02, 0.01, 0.035)
    first, second = (gains.widened(interval, reuse, 0.95) for reuse in (1, 2))
    assert (first.low, first.high) == pytest.approx((0.01, 0.035))
    stretched = (second.point - second.low) / 0.01, (second.high - second.point) / 0.015
    assert stretched == pytest.approx((1.2214, 1.2214), abs=1e-3)  # quantiles of 1/120 and 1/40


def test_nine_of_ten_comparisons_show_a_gain_that_is_called_detectable():
    """The whole way: normal estimates around the truth, against the rule that promotes."""
    random, error = np.random.default_rng(1), 0.004
    for min_effect, reuse in [(0.0, 1), (0.0, 5), (0.02, 1)]:
        truth = gains.detectable(error, min_effect, reuse, 0.95)
        estimates = random.normal(truth, error, 100_000)
        quantile = -gains.NORMAL.inv_cdf(gains.error_of(reuse, 0.95))
        promoted = (estimates - quantile * error > 0) & (estimates >= min_effect)
        assert promoted.mean() == pytest.approx(0.9, abs=0.005)


def test_the_standard_error_is_that_of_the_estimate():
    errors = []
    points = []
    for seed in range(20):
        labels, better, worse, entities = pair(seed)
        found = gains.gains(["cost"], labels, better, worse, entities, EVALUATE)["cost"]
        errors.append(gains.standard_error(found, EVALUATE.confidence))
        points.append(found.point)
    assert np.mean(errors) == pytest.approx(np.std(points), rel=0.4)
