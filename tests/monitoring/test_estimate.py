"""Performance before labels: right where the score stays calibrated, honest about its width, and blind to concept shift."""

from dataclasses import replace

import numpy as np
import pytest

from monitoring import estimate
from pipelines.config import params
from pipelines.statistics import metrics

EVALUATE = params.read().evaluate.model_copy(update={"bootstrap": 200})
THRESHOLD = 0.2


def draw(random, size, shift=0.0, noise=0.0, season=0.0):
    """Scores of a model that is overconfident, and labels: rows of a shifted world have other log odds, same relation."""
    odds = random.normal(-2.5 + shift, 1.3 * (1 + shift / 3), size)
    labels = (random.random(size) < 1 / (1 + np.exp(-odds - season - random.normal(0, noise, size)))).astype(int)
    return labels, 1 / (1 + np.exp(-1.4 * odds - 0.5))


def trained_on(seed, **world):
    random = np.random.default_rng(seed)
    parts = [draw(random, 1500, **world, season=0.1 * np.sin(block)) for block in range(8)]
    labels, scores = (np.concatenate(side) for side in zip(*parts, strict=True))
    return estimate.learn(labels, scores, np.arange(len(labels)), np.repeat(np.arange(8), 1500), THRESHOLD, EVALUATE)


def real(calibration, labels, scores):
    counts = calibration.count(scores)
    found = estimate.measure(calibration, counts, estimate.count_positives(calibration, scores, labels)[None])
    return {name: float(value[0]) for name, value in found.items()}


def test_figures_from_bins_are_those_of_the_rows():
    calibration = trained_on(1)
    labels, scores = draw(np.random.default_rng(2), 5000)
    found, whole = real(calibration, labels, scores), np.ones((1, 5000))
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc(labels, scores, whole)[0], abs=5e-4)
    assert found["brier"] == pytest.approx(metrics.brier(labels, scores, whole)[0], rel=0.02)
    assert found["log_loss"] == pytest.approx(metrics.log_loss(labels, scores, whole)[0], rel=0.02)
    assert found["pr_auc"] == pytest.approx(metrics.pr_auc(labels, scores, whole)[0], rel=0.05)
    assert found["accuracy"] == pytest.approx(((scores >= THRESHOLD) == labels).mean())


def test_an_overconfident_score_is_recalibrated():
    calibration = trained_on(3)
    odds = (np.log(calibration.centres / (1 - calibration.centres)) - 0.5) / 1.4
    inner = (odds > -5) & (odds < 0.5)
    assert calibration.point[inner] == pytest.approx(1 / (1 + np.exp(-odds[inner])), abs=0.06)


def test_95_of_100_intervals_cover_at_least_90_under_covariate_shift():
    covered = {name: [] for name in estimate.METRICS}
    for seed in range(12):
        calibration, random = trained_on(seed), np.random.default_rng([seed, 1])
        for shift in (-0.6, 0.4, 0.8):
            labels, scores = draw(random, 3000, shift=shift, season=0.1 * np.sin(seed))
            expected, found = (
                estimate.expect(calibration, calibration.count(scores), EVALUATE),
                real(calibration, labels, scores),
            )
            for name, values in covered.items():
                values.append(expected[name].low <= found[name] <= expected[name].high)
    assert min(np.mean(values) for values in covered.values()) >= 0.9, {k: np.mean(v) for k, v in covered.items()}


def test_it_cannot_see_a_concept_shift_and_says_so():
    calibration, random = trained_on(5), np.random.default_rng(6)
    _, scores = draw(random, 5000)
    labels = (random.random(5000) < 0.1).astype(int)  # nothing to do with the score any more
    expected = estimate.expect(calibration, calibration.count(scores), EVALUATE)["roc_auc"]
    assert expected.low > 0.7 and real(calibration, labels, scores)["roc_auc"] < 0.6
    assert "cannot see it" in estimate.BLIND


def test_errors_of_whole_blocks_widen_the_interval():
    calibration = trained_on(11)
    _, scores = draw(np.random.default_rng(12), 20_000)
    alone = replace(calibration, beyond=dict.fromkeys(estimate.METRICS, 0.0))
    widths = [
        found.high - found.low
        for found in (estimate.expect(one, one.count(scores), EVALUATE)["log_loss"] for one in (calibration, alone))
    ]
    assert calibration.beyond["log_loss"] > 0 and widths[0] > 1.1 * widths[1]


def test_windows_can_be_added():
    calibration = trained_on(7)
    _, scores = draw(np.random.default_rng(8), 4000)
    parts = calibration.count(scores[:1000]) + calibration.count(scores[1000:])
    assert (parts == calibration.count(scores)).all()


def test_a_window_without_rows_has_no_estimate():
    calibration = trained_on(9)
    assert np.isnan(estimate.expect(calibration, calibration.count(np.array([])), EVALUATE)["roc_auc"].point)
