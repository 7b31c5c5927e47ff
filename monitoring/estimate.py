"""Performance before labels come: confidence-based performance estimation (CBPE, as published by NannyML 2022).

A calibrated score says how likely each label is, so the expected confusion at every score, and from it AUC, log loss and
accuracy, follow from the scores alone. Three things blur that, and the interval covers all of them:

- chance: labels are drawn from their probabilities;
- calibration: it is learnt on the version's rows out of fold, whose entities are resampled;
- what calibration on all of the reference misses in one calendar block (seasons): the errors that the estimate made in the
  blocks of the reference, beyond what chance explains, are added (method of moments as in DerSimonian & Laird 1986, with an
  upper confidence bound for the mean square).

What it cannot see: **concept shift**. It takes the relation of score and label from the reference, so when customers of the
same score leave more often than they used to, the estimate stays as it was, and only mature labels tell. Under covariate
shift it holds as far as the score stays calibrated where the rows have moved to.

Everything runs on counts of scores in fixed bins, so time and memory do not grow with rows, and windows can be added.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.config.params import EvaluateParams
from pipelines.statistics.metrics import Interval, draw

Floats = NDArray[np.float64]
BLIND = (
    "This estimate takes the relation between score and outcome from the training data. If that relation has changed "
    "(a concept shift), it cannot see it: wait for mature labels."
)
SHARES = ("roc_auc", "pr_auc", "brier", "accuracy")  # between 0 and 1
METRICS = ("roc_auc", "pr_auc", "log_loss", "brier", "accuracy")
BINS = 200  # of scores: AUC moves by less than 0.0002 against the exact one
NEWTON_STEPS = 12
BEYOND_CONFIDENCE = 0.8  # a mean square of few block errors is as likely as not too small: its upper bound is taken
RIDGE = 1e-3  # on the recalibration's slope and bend: keeps Newton's steps finite where a resample has few positives


@dataclass(frozen=True)
class Calibration:
    """What is learnt on the reference.

    edges: rising, of the bins of scores: below edges[0], ..., from edges[-1] on; the threshold is one of them.
    centres: a score for each bin. weights: of the recalibration, first on all rows and then on each resample of customers,
    shape (1 + resamples, 3). threshold: scores from here on are chosen.
    beyond: metric -> standard deviation of the block errors that chance does not explain.
    """

    edges: Floats
    centres: Floats
    weights: Floats
    threshold: float
    beyond: dict[str, float]

    @cached_property
    def point(self) -> Floats:
        """Probability of a positive in each bin, shape (bins,)."""
        return _probabilities(self.weights[:1], self.centres)[0]

    @cached_property
    def resampled(self) -> Floats:
        """The same by each resample, shape (resamples, bins)."""
        return _probabilities(self.weights[1:], self.centres)

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which gives the very same numbers back."""
        arrays = {"edges": self.edges.tolist(), "centres": self.centres.tolist(), "weights": self.weights.tolist()}
        return arrays | {"threshold": self.threshold, "beyond": self.beyond}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Calibration:
        arrays = {name: np.array(saved[name]) for name in ("edges", "centres", "weights")}
        return cls(**saved | arrays)

    def count(self, scores: Floats) -> NDArray[np.int64]:
        """Rows in each bin, shape (bins,). Counts of several windows add up to that of all."""
        return np.bincount(np.searchsorted(self.edges, scores, side="right"), minlength=len(self.edges) + 1)


def learn(
    labels: NDArray[Any], scores: Floats, entities: NDArray[Any], blocks: NDArray[Any], threshold: float, params: EvaluateParams
) -> Calibration:
    """Recalibrate the version's out-of-fold scores, once on all of them and once on each resample of entities.

    The logit of a probability is a parabola of the logit of the score (beta calibration's family, Kull et al. 2017).

    Args:
        labels, scores, entities, blocks: shape (rows,); `blocks` names the calendar window of each row.
    """
    inner = np.quantile(scores, np.linspace(0, 1, BINS + 1)[1:-1])
    edges = np.unique(np.append(inner, threshold))
    bins = np.searchsorted(edges, scores, side="right")
    size = len(edges) + 1
    rows = np.bincount(bins, minlength=size).astype(float)
    means = np.bincount(bins, weights=scores, minlength=size) / np.maximum(rows, 1)
    borders = np.concatenate([[min(scores.min(), edges[0])], edges, [max(scores.max(), edges[-1])]])
    centres = np.where(rows > 0, means, (borders[:-1] + borders[1:]) / 2)
    resamples = list(draw(entities, params.bootstrap, params.seed))
    ones = np.ones(len(labels))
    drawn, drawn_positives = (
        np.concatenate([block.by_cell(bins, size, each) for block in resamples]) for each in (ones, labels)
    )
    positives = np.bincount(bins, weights=labels, minlength=size)
    weights = recalibrate(centres, np.vstack([rows, drawn]), np.vstack([positives, drawn_positives])).round(9)
    calibration = Calibration(edges, centres, weights, threshold, dict.fromkeys(METRICS, 0.0))
    members = [blocks == block for block in np.unique(blocks)]
    beyond = _beyond(
        calibration,
        [(calibration.count(scores[at]), count_positives(calibration, scores[at], labels[at])) for at in members],
        params,
    )
    return replace(calibration, beyond=beyond)


def expect(calibration: Calibration, counts: NDArray[Any], params: EvaluateParams) -> dict[str, Interval]:
    """Expected roc_auc, pr_auc, log_loss, brier and accuracy of rows with these counts of scores, with intervals.

    An interval says where the figure on the mature labels of these very rows will lie. Rows count as independent, so one
    row an entity: a window of several is to be estimated by its parts.
    """
    random = np.random.default_rng(params.seed)
    drawn = random.binomial(counts.astype(np.int64), calibration.resampled).astype(float)
    around = measure(calibration, counts, drawn)
    point = measure(calibration, counts, (counts * calibration.point)[None])
    noise = random.standard_normal(len(drawn))
    return {
        name: within(_interval(float(point[name][0]), around[name] + calibration.beyond[name] * noise, params.confidence), name)
        for name in METRICS
    }


def within(interval: Interval, metric: str) -> Interval:
    """An interval without what the metric cannot be: below 0, and of a share above 1."""
    highest = 1.0 if metric in SHARES else np.inf
    if metric not in METRICS:
        return interval
    return Interval(interval.point, *(float(np.clip(end, 0.0, highest)) for end in (interval.low, interval.high)))


def recalibrate(centres: Floats, rows: Floats, positives: Floats) -> Floats:
    """Weights of logistic regressions on (1, x, x squared), x the logit of the bin's score.

    Args:
        centres: shape (bins,). rows, positives: shape (fits, bins). Returns shape (fits, 3).
    """
    design, logit = _design(centres)
    start = np.linalg.lstsq(design, logit, rcond=None)[0]  # the score itself
    weights = np.tile(start, (len(rows), 1))
    penalty = RIDGE * np.diag([0.0, 1.0, 1.0])
    for _ in range(NEWTON_STEPS):
        chance = _sigmoid(weights @ design.T)
        slope = (positives - rows * chance) @ design - (weights - start) @ penalty
        curve = np.einsum("fb,bi,bj->fij", rows * chance * (1 - chance), design, design) + penalty + 1e-9 * np.eye(3)
        weights = weights + np.clip(np.linalg.solve(curve, slope[..., None])[..., 0], -2, 2)
    return weights


def measure(calibration: Calibration, counts: NDArray[Any], positives: Floats) -> dict[str, Floats]:
    """METRICS of rows known by their bins alone; ties within a bin count half.

    Args:
        counts: shape (bins,). positives: shape (n, bins). Each metric has shape (n,).
    """
    negatives = counts - positives
    won, lost = positives.sum(axis=1), negatives.sum(axis=1)
    below = np.cumsum(negatives, axis=1) - negatives / 2
    scores = np.clip(calibration.centres, 1e-7, 1 - 1e-7)
    chosen = np.append(-np.inf, calibration.edges) >= calibration.threshold
    hits = np.cumsum(positives[:, ::-1], axis=1)[:, ::-1]
    alarms = np.cumsum(negatives[:, ::-1], axis=1)[:, ::-1]
    rows = counts.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(hits + alarms > 0, hits / (hits + alarms), 0.0)
        return {
            "roc_auc": (positives * below).sum(axis=1) / (won * lost),
            "pr_auc": (positives * precision).sum(axis=1) / won,
            "log_loss": -(positives @ np.log(scores) + negatives @ np.log(1 - scores)) / rows,
            "brier": (positives @ (1 - scores) ** 2 + negatives @ scores**2) / rows,
            "accuracy": (positives[:, chosen].sum(axis=1) + negatives[:, ~chosen].sum(axis=1)) / rows,
        }


def _design(centres: Floats) -> tuple[Floats, Floats]:
    """What the bins are regressed on, shape (bins, 3), and the logits of their scores."""
    clipped = np.clip(centres, 1e-6, 1 - 1e-6)
    logit = np.log(clipped / (1 - clipped))
    scaled = (logit - logit.mean()) / max(float(logit.std()), 1e-6)
    return np.stack([np.ones_like(scaled), scaled, scaled**2], axis=1), logit


def _probabilities(weights: Floats, centres: Floats) -> Floats:
    return _sigmoid(weights @ _design(centres)[0].T)


def _beyond(calibration: Calibration, blocks: list[tuple[NDArray[Any], Floats]], params: EvaluateParams) -> dict[str, float]:
    """Standard deviation of the blocks' errors beyond chance, by metric; 0 with fewer than two blocks."""
    if len(blocks) < 2:
        return dict.fromkeys(METRICS, 0.0)
    errors: dict[str, list[tuple[float, float]]] = {name: [] for name in METRICS}
    for counts, positives in blocks:
        drawn = np.random.default_rng(params.seed).binomial(counts, calibration.resampled).astype(float)
        around = measure(calibration, counts, drawn)
        expected = measure(calibration, counts, (counts * calibration.point)[None])
        real = measure(calibration, counts, positives[None])
        for name in METRICS:
            errors[name].append((float(real[name][0] - expected[name][0]) ** 2, float(np.nanvar(around[name]))))
    from scipy import stats

    widening = len(blocks) / stats.chi2.ppf(1 - BEYOND_CONFIDENCE, len(blocks))
    means = {name: np.nanmean(pairs, axis=0) for name, pairs in errors.items()}
    return {name: round(float(np.sqrt(max(widening * error - chance, 0.0))), 9) for name, (error, chance) in means.items()}


def count_positives(calibration: Calibration, scores: Floats, labels: NDArray[Any]) -> Floats:
    """Labels that are 1 in each bin, shape (bins,)."""
    places = np.searchsorted(calibration.edges, scores, side="right")
    return np.bincount(places, weights=labels, minlength=len(calibration.edges) + 1).astype(float)


def _interval(point: float, around: Floats, confidence: float) -> Interval:
    usable = around[np.isfinite(around)]
    if not len(usable) or not np.isfinite(point):
        return Interval(float("nan"), float("nan"), float("nan"))
    low, high = np.quantile(usable, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(point, float(low), float(high))


def _sigmoid(values: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(values, -30, 30)))
