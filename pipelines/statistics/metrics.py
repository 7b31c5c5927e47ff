"""Metrics of a binary classifier, each in n resamples at once: `weights` says what a row counts in each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.statistics.resampling import Bootstrap, Floats, Interval, Measure, Weights, bootstrap, draw, intervals

# resampling's, offered here too
__all__ = ["Bootstrap", "Floats", "Interval", "Measure", "Weights", "bootstrap", "draw", "intervals"]
CALIBRATION_BINS = 10
EPSILON = 1e-7  # log loss is bounded: float32 scores may round to 0 or 1


def roc_auc(labels: NDArray[Any], scores: Floats, weights: Weights | NDArray[Any]) -> Floats:
    """Area under the ROC curve, ties counted half (Mann-Whitney), in each of n resamples: shape (n,)."""

    def area(runs: Floats) -> Floats:
        won, lost = _positives_and_negatives(runs)
        below = np.cumsum(lost, axis=0)
        wins = (below[:-1:2] + below[1::2]) / 2
        return (won * wins).sum(axis=0) / (won.sum(axis=0) * below[-1])

    with np.errstate(invalid="ignore", divide="ignore"):
        return Weights.of(weights).of_runs(*_ranked(labels, scores), area)


def pr_auc(labels: NDArray[Any], scores: Floats, weights: Weights | NDArray[Any]) -> Floats:
    """Average precision (the step-wise area under precision and recall), shape (n,)."""

    def area(runs: Floats) -> Floats:
        positives, negatives = _positives_and_negatives(runs)
        hits = np.cumsum(positives[::-1], axis=0)[::-1]  # with at least this score
        alarms = np.cumsum(negatives[:0:-1], axis=0)[1::2][::-1]
        precision = np.where(hits > 0, hits / (hits + alarms), 0.0)
        return (precision * positives).sum(axis=0) / positives.sum(axis=0)

    with np.errstate(invalid="ignore", divide="ignore"):
        return Weights.of(weights).of_runs(*_ranked(labels, scores), area)


def log_loss(labels: NDArray[Any], scores: Floats, weights: Weights | NDArray[Any]) -> Floats:
    """Mean negative log likelihood in nats, shape (n,)."""
    clipped = np.clip(scores, EPSILON, 1 - EPSILON)
    return mean(-np.log(np.where(labels == 1, clipped, 1 - clipped)), weights)


def brier(labels: NDArray[Any], scores: Floats, weights: Weights | NDArray[Any]) -> Floats:
    """Mean squared difference of score and label, shape (n,)."""
    return mean((scores - labels) ** 2, weights)


def calibration_error(labels: NDArray[Any], scores: Floats, weights: Weights | NDArray[Any]) -> Floats:
    """Expected calibration error over ten bins of equal size (Naeini et al. 2015), shape (n,)."""
    edges = np.quantile(scores, np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1])
    bins = np.searchsorted(edges, scores, side="right")
    gaps = [np.where(bins == number, scores - labels, 0.0) for number in range(CALIBRATION_BINS)]
    *sums, rows = Weights.of(weights).total(*gaps, np.ones(len(labels)))
    return np.abs(sums).sum(axis=0) / rows


RANKING: dict[str, Callable[[NDArray[Any], Floats, Any], Floats]] = {
    "roc_auc": roc_auc,
    "pr_auc": pr_auc,
    "log_loss": log_loss,
    "brier": brier,
    "calibration_error": calibration_error,
}


def confusion(labels: NDArray[Any], chosen: NDArray[np.bool_], weights: Weights | NDArray[Any]) -> dict[str, Floats]:
    """Weighted counts of true and false positives and negatives, each of shape (n,)."""
    positive = labels == 1
    cells = {
        "true_positive": chosen & positive,
        "false_positive": chosen & ~positive,
        "false_negative": ~chosen & positive,
        "true_negative": ~chosen & ~positive,
    }
    return dict(zip(cells, Weights.of(weights).total(*cells.values()), strict=True))


DECISIONS = ("accuracy", "precision", "recall", "f1")


def decision_metrics(cells: dict[str, Floats]) -> dict[str, Floats]:
    """Accuracy, precision, recall and F1 from confusion counts; a ratio over nothing is NaN."""
    tp, fp, fn, tn = (cells[name] for name in ("true_positive", "false_positive", "false_negative", "true_negative"))
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "accuracy": (tp + tn) / (tp + fp + fn + tn),
            "precision": tp / (tp + fp),
            "recall": tp / (tp + fn),
            "f1": 2 * tp / (2 * tp + fp + fn),
        }


def paired_interval(
    metric: str,
    labels: NDArray[Any],
    challenger: Floats,
    champion: Floats,
    entities: NDArray[Any],
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> Interval:
    """How much `metric` gains from champion to challenger on the same rows, resampling entities.

    Args:
        labels, challenger, champion, entities: shape (rows,).
    """
    measure = RANKING[metric]
    gain = {"gain": lambda weights: measure(labels, challenger, weights) - measure(labels, champion, weights)}
    return intervals(gain, entities, resamples=resamples, confidence=confidence, seed=seed)["gain"]


def _ranked(labels: NDArray[Any], scores: Floats) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rows in runs, and where each run ends, for `Weights.of_runs`.

    First the positives by rising score, one run a distinct score of theirs; then the negatives in the same order: those
    below the first such score, those equal to it, those between it and the next, and so on.
    """
    order = np.argsort(scores, kind="stable")
    positives, negatives = order[labels[order] == 1], order[labels[order] != 1]
    steps = np.unique(scores[positives])
    positive_ends = np.searchsorted(scores[positives], steps, side="right")
    negative_ends = np.searchsorted(scores[negatives], np.repeat(steps, 2), side="left")
    negative_ends[1::2] = np.searchsorted(scores[negatives], steps, side="right")
    ends = np.concatenate([positive_ends, len(positives) + negative_ends, [len(order)]])
    return np.concatenate([positives, negatives]), ends


def _positives_and_negatives(runs: Floats) -> tuple[Floats, Floats]:
    """The runs of `_ranked`: of k distinct scores of positives there are k and 2k + 1."""
    steps = len(runs) // 3
    return runs[:steps], runs[steps:]


def mean(values: Floats, weights: Weights | NDArray[Any]) -> Floats:
    """Weighted mean of `values` (rows,), in each of n resamples: shape (n,)."""
    total, rows = Weights.of(weights).total(values, np.ones(len(values)))
    return total / rows
