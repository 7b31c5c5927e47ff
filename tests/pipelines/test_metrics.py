"""Metrics against scikit-learn's, and intervals that know that rows of one customer are not independent."""

import numpy as np
import pytest
from sklearn import metrics as reference

from pipelines.statistics import metrics, resampling

RANDOM = np.random.default_rng(3)
SCORES = RANDOM.random(2000).round(2)  # rounded, so that there are ties
LABELS = (RANDOM.random(2000) < SCORES * 0.3).astype(int)
WEIGHTS = RANDOM.integers(0, 4, (3, 2000)).astype(float)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (metrics.roc_auc, reference.roc_auc_score),
        (metrics.pr_auc, reference.average_precision_score),
        (metrics.brier, reference.brier_score_loss),
    ],
)
def test_weighted_metrics_equal_the_reference(ours, theirs):
    expected = [theirs(LABELS, SCORES, sample_weight=weights) for weights in WEIGHTS]
    assert ours(LABELS, SCORES, WEIGHTS) == pytest.approx(expected)


def resample_counts(entities, resamples, seed):
    """How often each row is drawn, in blocks of shape (n, rows)."""
    for weights in metrics.draw(entities, resamples, seed):
        yield weights.counts[weights.entity].T.astype(float)


def test_log_loss_equals_the_reference_and_stays_finite():
    inner = np.clip(SCORES, 0.01, 0.99)
    expected = [reference.log_loss(LABELS, inner, sample_weight=weights) for weights in WEIGHTS]
    assert metrics.log_loss(LABELS, inner, WEIGHTS) == pytest.approx(expected)
    assert np.isfinite(metrics.log_loss(np.array([1, 0]), np.array([0.0, 1.0]), np.ones((1, 2)))).all()


def test_calibration_error_is_zero_when_each_bin_is_right_and_grows_when_off():
    labels, scores = np.tile([0, 1], 500), np.full(1000, 0.5)
    whole = np.ones((1, 1000))
    assert metrics.calibration_error(labels, scores, whole) == pytest.approx([0])
    assert metrics.calibration_error(labels, scores + 0.2, whole) == pytest.approx([0.2])


def test_decision_metrics_equal_the_reference():
    chosen = SCORES >= 0.5
    found = metrics.decision_metrics(metrics.confusion(LABELS, chosen, np.ones((1, 2000))))
    assert found["precision"][0] == pytest.approx(reference.precision_score(LABELS, chosen))
    assert found["recall"][0] == pytest.approx(reference.recall_score(LABELS, chosen))
    assert found["f1"][0] == pytest.approx(reference.f1_score(LABELS, chosen))
    assert found["accuracy"][0] == pytest.approx(reference.accuracy_score(LABELS, chosen))


def test_rows_of_a_customer_are_drawn_together():
    entities = np.repeat([7, 8, 9], 2)
    counts = np.vstack(list(resample_counts(entities, 50, seed=1)))
    assert counts.shape == (50, 6)
    assert (counts[:, ::2] == counts[:, 1::2]).all()
    assert (counts[:, ::2].sum(axis=1) == 3).all()


def test_repeating_every_row_does_not_narrow_the_interval():
    entities = np.arange(2000)
    options = {"resamples": 300, "confidence": 0.95, "seed": 1}
    worse = np.clip(SCORES + RANDOM.normal(0, 0.2, 2000), 0, 1)
    once = metrics.paired_interval("roc_auc", LABELS, SCORES, worse, entities, **options)
    four = [np.repeat(values, 4) for values in (LABELS, SCORES, worse, entities)]
    repeated = metrics.paired_interval("roc_auc", *four, **options)
    assert repeated.high - repeated.low == pytest.approx(once.high - once.low, rel=0.05)
    assert once.low < once.point < once.high


@pytest.mark.parametrize("cells", ["CELLS_DRAWN", "CELLS_SUMMED"])
def test_blocks_of_resamples_do_not_change_the_answer(monkeypatch, cells):
    entities = np.repeat(np.arange(500), 4)
    options = {"resamples": 40, "confidence": 0.95, "seed": 2}
    measure = {"roc_auc": lambda weights: metrics.roc_auc(LABELS, SCORES, weights)}
    whole = np.vstack(list(resample_counts(entities, 40, seed=2)))
    found = metrics.intervals(measure, entities, **options)
    monkeypatch.setattr(resampling, cells, 7 * 500)
    assert (np.vstack(list(resample_counts(entities, 40, seed=2))) == whole).all()
    assert metrics.intervals(measure, entities, **options) == found


@pytest.mark.parametrize("name", metrics.RANKING)
def test_an_interval_is_that_of_rows_copied_as_often_as_their_customer_is_drawn(name):
    entities = RANDOM.integers(0, 300, 2000)
    _, customer = np.unique(entities, return_inverse=True)
    random = np.random.default_rng(5)
    figures = []
    for _ in range(100):
        copies = random.multinomial(300, np.full(300, 1 / 300))[customer]
        figures.append(_plain(name, LABELS, SCORES, copies))
    measure = {name: lambda weights: metrics.RANKING[name](LABELS, SCORES, weights)}
    found = metrics.intervals(measure, entities, resamples=100, confidence=0.9, seed=5)[name]
    expected = [_plain(name, LABELS, SCORES, np.ones(2000, dtype=int)), *np.quantile(figures, [0.05, 0.95])]
    assert [found.point, found.low, found.high] == pytest.approx(expected, abs=1e-9)


def _plain(name, labels, scores, copies):
    """A metric of copied rows, by the reference; calibration error, which the reference lacks, by its definition."""
    edges = np.quantile(scores, np.linspace(0, 1, 11)[1:-1])
    bins = np.repeat(np.searchsorted(edges, scores, side="right"), copies)
    labels, scores = np.repeat(labels, copies), np.repeat(scores, copies)
    if name == "calibration_error":
        return sum(abs((scores - labels)[bins == number].sum()) for number in range(10)) / len(labels)
    if name == "log_loss":
        return reference.log_loss(labels, np.clip(scores, metrics.EPSILON, 1 - metrics.EPSILON))
    theirs = {
        "roc_auc": reference.roc_auc_score,
        "pr_auc": reference.average_precision_score,
        "brier": reference.brier_score_loss,
    }
    return theirs[name](labels, scores)


def test_a_group_of_rows_keeps_the_resamples_of_all_rows():
    entities, group = np.repeat(np.arange(500), 4), np.arange(2000) % 3 == 0
    (weights,) = metrics.draw(entities, 20, seed=4)
    by_row = np.vstack(list(resample_counts(entities, 20, seed=4)))
    expected = metrics.pr_auc(LABELS[group], SCORES[group], by_row[:, group])
    assert metrics.pr_auc(LABELS[group], SCORES[group], weights.take(group)) == pytest.approx(expected, abs=1e-12)


def test_a_resample_without_positives_gives_no_figure_and_none_without_negatives_is_perfect():
    weights = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    labels, scores = np.array([0, 0, 1]), np.array([0.1, 0.9, 0.5])
    assert np.isnan(metrics.roc_auc(labels, scores, weights)).all()
    assert np.isnan(metrics.pr_auc(labels, scores, weights)[0])
    assert metrics.pr_auc(labels, scores, weights)[1] == 1
    assert np.isnan(metrics.roc_auc(labels[:2], scores[:2], np.ones((1, 2))))


def test_a_metric_that_is_not_defined_has_no_interval():
    measure = {"precision": lambda weights: np.full(len(weights), np.nan)}
    found = metrics.intervals(measure, np.arange(5), resamples=100, confidence=0.9, seed=1)["precision"]
    assert np.isnan([found.point, found.low, found.high]).all()
