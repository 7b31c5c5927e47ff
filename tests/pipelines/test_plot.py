"""Curves against scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics as reference

from pipelines.evaluation import plot

RANDOM = np.random.default_rng(4)
SCORES = RANDOM.random(3000)
LABELS = (RANDOM.random(3000) < SCORES * 0.5).astype(int)


def test_the_roc_curve_encloses_the_reference_area():
    x, y = plot.roc(LABELS, SCORES)
    assert np.trapezoid(y, x) == pytest.approx(reference.roc_auc_score(LABELS, SCORES), abs=0.002)


def test_precision_is_the_best_at_a_recall_or_more():
    precision, recall, _ = reference.precision_recall_curve(LABELS, SCORES)
    x, y = plot.precision_recall(LABELS, SCORES)
    expected = [precision[:-1][recall[:-1] >= at - 1e-12].max() for at in x]
    assert y == pytest.approx(expected)


def test_all_positives_are_found_when_everybody_is_contacted():
    x, y = plot.gain(LABELS, SCORES)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert (y >= x - 0.02).all()


def test_calibration_bins_hold_a_tenth_of_the_rows_each():
    predicted, observed = plot.calibration(LABELS, SCORES)
    assert predicted == pytest.approx(np.arange(0.05, 1, 0.1), abs=0.02)
    assert observed == pytest.approx(predicted / 2, abs=0.06)
