"""A gap between groups is split: what their risks explain, and what the model adds, however it does."""

import numpy as np
import pytest
from scipy.optimize import minimize

from pipelines.evaluation import disparity
from pipelines.statistics import fairness
from tests.support.bundles import EVALUATE, sigmoid

ROWS = 12_000


@pytest.fixture(scope="module")
def world():
    """Risks that the model knows: in `few` a fifth as many are positive. Scores are the risks: calibrated in every group."""
    random = np.random.default_rng(2)
    few = random.random(ROWS) < 0.3
    odds = np.where(few, -2.8, 0.0) + 1.2 * random.normal(size=ROWS)
    return few, odds, (random.random(ROWS) < sigmoid(odds)).astype(np.int64)


def gap(few, odds, labels, threshold=0.4, rate="TPR shortfall"):
    """How `few` fares: raw, explained and added on all rows."""
    scores, entities = sigmoid(odds), np.arange(len(labels))
    groups = fairness.groups_of({"g": np.where(few, "few", "other").astype(object)}, len(labels))[:2]
    cells = fairness.cells(labels, scores, scores >= threshold)
    totals = fairness.resample(groups, lambda mask, weights: fairness.sums(weights, cells[mask]), entities, EVALUATE)
    again = disparity.decide_again(labels, scores, threshold, groups, entities, EVALUATE)
    found = disparity.gaps(totals, again)[rate]
    return found.raw[0, 0], found.explained[0, 0], found.added[:, 0]


def test_a_difference_of_base_rates_is_explained(world):
    raw, explained, added = gap(*world)
    assert raw > 0.4
    assert explained == pytest.approx(raw, abs=0.03)
    assert added[0] == pytest.approx(0, abs=0.03)
    raw, explained, added = gap(*world, rate="FPR excess")
    assert raw < -0.2
    assert added[0] == pytest.approx(0, abs=0.03)


def lowered(odds, few, _):
    return np.where(few, odds - 2.0, odds)


def shrunk(odds, few, _):
    """To their mean, so that as many are expected as come, and nobody stands out."""
    return np.where(few, -1.6 + 0.25 * (odds - odds[few].mean()), odds)


def cut_off(odds, few, _):
    """A higher threshold, for them alone: they are put just below the one that holds for all."""
    return np.where(few & (odds > -0.41) & (odds < 1.5), -0.42, odds)


def noisy(odds, few, random):
    mixed = odds.copy()
    mixed[few] = random.permutation(odds[few])
    return mixed


@pytest.mark.parametrize("harm", [lowered, shrunk, cut_off, noisy])
def test_what_a_model_does_to_a_group_is_added(world, harm):
    """Half of their base rate away from the others', so that there is something to find at the threshold."""
    few, odds, _ = world
    random = np.random.default_rng(5)
    near = np.where(few, odds + 1.4, odds)
    labels = (random.random(ROWS) < sigmoid(near)).astype(np.int64)
    honest = gap(few, near, labels)[2]
    harmed = gap(few, harm(near, few, random), labels)[2]
    assert abs(honest[0]) < 0.05
    assert np.quantile(harmed, 0.025) > 0.1


def test_the_curve_is_the_maximum_likelihood_one_in_every_resample(world):
    odds = world[1]
    counts = np.random.default_rng(0).integers(0, 3, size=(4, 300)).astype(float)
    positives = np.minimum(counts, np.random.default_rng(1).integers(0, 2, size=(4, 300)))
    level, slope = disparity._fit(counts, positives, odds[:300])
    for index in range(4):

        def loss(values, index=index):
            chance = sigmoid(values[0] + values[1] * odds[:300])
            seen, lost = positives[index], counts[index] - positives[index]
            return -(seen * np.log(chance) + lost * np.log(1 - chance)).sum()

        best = minimize(loss, [0.0, 1.0]).x
        assert (level[index], slope[index]) == pytest.approx(tuple(best), abs=0.01)


def test_bins_cut_no_decision_in_two():
    edges = disparity._edges(np.linspace(-3, 3, 1000), 0.123)
    assert 0.123 in edges and (np.diff(edges) > 0).all()


def test_a_group_of_one_class_and_scores_at_the_ends_give_figures_all_the_same():
    scores = np.array([0.0, 1.0, 0.5, 0.5] * 50)
    labels = np.array([0, 1, 1, 0] * 50)
    few = np.arange(200) < 40
    raw, explained, added = gap(few, disparity._log_odds(scores), np.where(few, 0, labels))
    assert np.isnan(raw)  # nobody of them is positive: there is no TPR
    assert not np.isinf(added).any() and not np.isinf(explained)


def test_another_cut_than_the_curves_is_taken_only_where_the_rows_between_are_shown_to_be_on_its_other_side():
    """Four bins, the curve's cut above the last but one: of its rows 70 of 100 are positive, or 55, at a threshold of 0.5."""
    rows = np.full((2, 4), 100.0)
    positives = np.array([[1.0, 5, 70, 90], [1.0, 5, 55, 90]])
    share = np.array([[0.0, 0, 0, 1]] * 2)
    found = disparity._moved(share, rows, positives, 0.5)
    assert found.tolist() == [[0, 0, 1, 1], [0, 0, 0, 1]]
