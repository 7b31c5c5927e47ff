"""How well the version did where labels are mature, and whether that is less than it promised."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.findings import Finding, Kind
from pipelines.config.params import EvaluateParams, MonitorParams
from pipelines.statistics import metrics
from pipelines.statistics.metrics import Interval

Floats = NDArray[np.float64]
CLEAR = 1.5  # half-widths beyond the margin: a loss so clear is not chance
RISES = {"roc_auc", "pr_auc", "accuracy"}  # of the others less is better


def measure(
    labels: NDArray[Any],
    scores: Floats,
    entities: NDArray[Any],
    threshold: float,
    params: EvaluateParams,
    only: str | None = None,
) -> dict[str, Interval]:
    """By default roc_auc, pr_auc, log_loss, brier, calibration_error, and accuracy at the threshold, resampling entities.

    Args:
        labels: 0 or 1 of matured rows only: an immature row is not a negative. Shape (rows,), as the next two.
    """

    def accuracy(weights: metrics.Weights) -> Floats:
        return metrics.decision_metrics(metrics.confusion(labels, scores >= threshold, weights))["accuracy"]

    def ranking(name: str) -> metrics.Measure:
        return lambda weights: metrics.RANKING[name](labels, scores, weights)

    measures = {name: ranking(name) for name in metrics.RANKING} | {"accuracy": accuracy}
    measures = {name: measure_of for name, measure_of in measures.items() if only in (None, name)}
    return metrics.intervals(measures, entities, **metrics.bootstrap(params))


def loss(metric: str, reference: Interval, now: Interval) -> Interval:
    """How much of `metric` was lost since the reference, positive when it got worse.

    The two are of different rows, so their half-widths add in squares (as Newcombe 1998 does for two proportions).
    """
    if metric not in RISES:
        reference, now = now, reference
    lost = reference.point - now.point
    return Interval(
        lost,
        lost - math.hypot(reference.point - reference.low, now.high - now.point),
        lost + math.hypot(reference.high - reference.point, now.point - now.low),
    )


def judge(
    metric: str,
    reference: Mapping[str, Interval],
    now: Mapping[str, Interval],
    *,
    rows: int,
    positives: float,
    params: MonitorParams,
    estimated: bool = False,
    before: bool = False,
    what: str = "",
) -> list[Finding]:
    """A loss beyond the margin `max_loss`, with its whole interval; a suspicion of one; or that there is too little evidence.

    Args:
        reference, now: intervals by metric, of the version's newest snapshots, out of fold, and of the window.
        positives: labels 1 among the rows; expected ones for an estimate.
        estimated: whether `now` comes from monitoring.estimate: then the finding is of kind `estimated_loss`.
        before: whether the window before has shown a loss or a suspicion of one: a slim loss asks for that.
        what: how the sentence calls the figure; by default as the metric is called.
    """
    what = what or (f"estimated {metric}" if estimated else metric)
    if _too_few(rows, positives, estimated, params) or math.isnan(now[metric].point):
        message = f"{what} cannot be judged: {rows:,} rows, {positives:,.0f} of them positive, are not enough."
        return [Finding("insufficient", what, message, rows, positives, params.min_positives)]
    lost = loss(metric, reference[metric], now[metric])
    if lost.low <= params.max_loss:
        return []
    message = (
        f"{what} is {now[metric]}, {lost.point:.3f} worse than the {reference[metric].point:.3f} of its newest snapshots; "
        f"at least {lost.low:.3f}, and {params.max_loss:g} is what may be lost."
    )
    evidence = {"reference": reference[metric].to_dict(), "now": now[metric].to_dict(), "loss": lost.to_dict()}
    kind: Kind = "estimated_loss" if estimated else "loss"
    if not (estimated or before or lost.point - params.max_loss >= CLEAR * (lost.point - lost.low)):
        kind, message = "warning", f"{message} That is slim: the labels of the next window confirm it or not."
    return [Finding(kind, metric, message, rows, lost.low, params.max_loss, evidence)]


def _too_few(rows: int, positives: float, estimated: bool, params: MonitorParams) -> bool:
    """Of labels both kinds are needed, and how many rows that takes does not matter: the interval says what they show."""
    if estimated:
        return rows < params.min_rows or positives < params.min_positives
    return min(positives, rows - positives) < params.min_positives
