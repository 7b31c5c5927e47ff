"""Metrics of a binary classifier, with intervals that resample customers.

Every metric is a weighted one: a resample of customers is a vector of counts, one a row, so no row is ever copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Measure = Callable[[Floats], Floats]
BLOCK_CELLS = 2_000_000
CALIBRATION_BINS = 10
EPSILON = 1e-7  # log loss is bounded: float32 scores may round to 0 or 1


@dataclass(frozen=True)
class Interval:
    """A figure and its two-sided percentile bootstrap interval (Efron & Tibshirani 1993, section 13.3)."""

    point: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.point:.4f} [{self.low:.4f}, {self.high:.4f}]"


def resample_counts(entities: NDArray, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each row is drawn when customers are drawn with replacement.

    Args:
        entities: customer of each row, shape (rows,).

    Yields:
        Blocks of counts, shape (n, rows), `resamples` of them in all; rows of one customer share a count.
        A block is at most 16 MB, so memory does not grow with `resamples`.
    """
    _, customer = np.unique(entities, return_inverse=True)
    customers = int(customer.max()) + 1
    random = np.random.default_rng(seed)
    block = max(1, BLOCK_CELLS // len(entities))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = random.multinomial(customers, np.full(customers, 1 / customers), size=size)
        yield drawn.astype(np.float64)[:, customer]


def intervals(
    measures: Mapping[str, Measure], entities: NDArray, *, resamples: int, confidence: float, seed: int
) -> dict[str, Interval]:
    """Each measure on all rows, with its interval; all of them on the same resamples.

    A measure maps weights of shape (n, rows) to n figures. Resamples that give no figure (no positive drawn,
    say) are left out; a measure without a figure on all rows gets NaN three times.
    """
    whole = np.ones((1, len(entities)))
    points = {name: float(measure(whole)[0]) for name, measure in measures.items()}
    drawn: dict[str, list[Floats]] = {name: [] for name in measures}
    for counts in resample_counts(entities, resamples, seed):
        for name, measure in measures.items():
            drawn[name].append(measure(counts))
    return {name: _percentiles(points[name], np.concatenate(drawn[name]), confidence) for name in measures}


def _percentiles(point: float, drawn: Floats, confidence: float) -> Interval:
    usable = drawn[np.isfinite(drawn)]
    if not len(usable) or not np.isfinite(point):
        return Interval(float("nan"), float("nan"), float("nan"))
    low, high = np.quantile(usable, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(point, float(low), float(high))


def roc_auc(labels: NDArray, scores: Floats, weights: NDArray) -> Floats:
    """Area under the ROC curve, ties counted half (Mann-Whitney), for each row of `weights` (n, rows): shape (n,)."""
    positives, negatives, below, upto = _ranked(labels, scores)
    lost = _cumulated(weights[:, negatives])
    wins = (lost[:, below] + lost[:, upto]) / 2
    won = weights[:, positives]
    with np.errstate(invalid="ignore", divide="ignore"):
        return (won * wins).sum(axis=1) / (won.sum(axis=1) * lost[:, -1])


def pr_auc(labels: NDArray, scores: Floats, weights: NDArray) -> Floats:
    """Average precision (the step-wise area under precision and recall), shape (n,)."""
    positives, negatives, below, _ = _ranked(labels, scores)
    lost, found = _cumulated(weights[:, negatives]), _cumulated(weights[:, positives])
    tied = np.searchsorted(scores[positives], scores[positives], side="left")
    hits = found[:, -1:] - found[:, tied]  # with at least the score of each positive
    alarms = lost[:, -1:] - lost[:, below]
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(hits > 0, hits / (hits + alarms), 0.0)
        return (precision * weights[:, positives]).sum(axis=1) / found[:, -1]


def log_loss(labels: NDArray, scores: Floats, weights: NDArray) -> Floats:
    """Mean negative log likelihood in nats, shape (n,)."""
    clipped = np.clip(scores, EPSILON, 1 - EPSILON)
    return _mean(-np.log(np.where(labels == 1, clipped, 1 - clipped)), weights)


def brier(labels: NDArray, scores: Floats, weights: NDArray) -> Floats:
    """Mean squared difference of score and label, shape (n,)."""
    return _mean((scores - labels) ** 2, weights)


def calibration_error(labels: NDArray, scores: Floats, weights: NDArray) -> Floats:
    """Expected calibration error over ten bins of equal size (Naeini et al. 2015), shape (n,)."""
    edges = np.quantile(scores, np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1])
    bins = np.searchsorted(edges, scores, side="right")
    member = np.eye(CALIBRATION_BINS)[bins]
    gap = np.abs(weights @ (member * (scores - labels)[:, None]))
    return gap.sum(axis=1) / weights.sum(axis=1)


RANKING: dict[str, Callable[[NDArray, Floats, NDArray], Floats]] = {
    "roc_auc": roc_auc,
    "pr_auc": pr_auc,
    "log_loss": log_loss,
    "brier": brier,
    "calibration_error": calibration_error,
}


def confusion(labels: NDArray, chosen: NDArray[np.bool_], weights: NDArray) -> dict[str, Floats]:
    """Weighted counts of true and false positives and negatives, each of shape (n,)."""
    positive = labels == 1
    cells = {
        "true_positive": chosen & positive,
        "false_positive": chosen & ~positive,
        "false_negative": ~chosen & positive,
        "true_negative": ~chosen & ~positive,
    }
    return {name: (weights @ cell.astype(np.float64)) for name, cell in cells.items()}


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
    labels: NDArray,
    challenger: Floats,
    champion: Floats,
    entities: NDArray,
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> Interval:
    """How much `metric` gains from champion to challenger on the same rows, resampling customers.

    Args:
        labels, challenger, champion, entities: shape (rows,).
    """
    measure = RANKING[metric]
    gain = {"gain": lambda weights: measure(labels, challenger, weights) - measure(labels, champion, weights)}
    return intervals(gain, entities, resamples=resamples, confidence=confidence, seed=seed)["gain"]


def _ranked(labels: NDArray, scores: Floats) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Rows of the positives and of the negatives, each by rising score; and for each of those positives, how many
    negatives score less, and how many at most as much."""
    order = np.argsort(scores, kind="stable")
    positives, negatives = order[labels[order] == 1], order[labels[order] != 1]
    below = np.searchsorted(scores[negatives], scores[positives], side="left")
    upto = np.searchsorted(scores[negatives], scores[positives], side="right")
    return positives, negatives, below, upto


def _cumulated(weights: Floats) -> Floats:
    """Sums of the first 0, 1, ... columns, shape (n, columns + 1)."""
    return np.cumsum(np.pad(weights, ((0, 0), (1, 0))), axis=1)


def _mean(values: Floats, weights: NDArray) -> Floats:
    return (weights @ values) / weights.sum(axis=1)
