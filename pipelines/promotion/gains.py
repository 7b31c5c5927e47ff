"""How much a challenger gains over a champion on the same rows: paired, resampling entities, and positive is better.

Uses of the same rows are corrected for by spending the error: of 1 - confidence the k-th use is given 1 / (k (k + 1)),
which over all k sums to 1, so that by Bonferroni's inequality the chance that any of them promotes an equal challenger stays
below it, however the challengers were chosen (alpha spending of Lan & DeMets 1983, over uses and not over time).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.evaluation import capacity
from pipelines.statistics import metrics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipelines.config.params import EvaluateParams
    from pipelines.evaluation.capacity import Dates
    from pipelines.statistics.metrics import Floats, Interval, Measure

LOSSES = ("cost", "log_loss", "brier", "calibration_error")  # less is better
POWER = 0.9
NORMAL = NormalDist()


@dataclass(frozen=True)
class Scored:
    """A version on the judged rows: its scores, shape (rows,), and the score from which it decides for positive.

    dates: of these rows, where a capacity is set.
    """

    scores: Floats
    threshold: float
    dates: Dates | None = None

    @property
    def selected(self) -> NDArray[np.bool_]:
        return self.scores >= self.threshold

    def take(self, kept: NDArray[Any]) -> Scored:
        return Scored(self.scores[kept], self.threshold, self.dates and self.dates.take(kept))


@dataclass(frozen=True)
class Pair:
    """Two versions on the same rows, none of which the models that judge them were trained on.

    labels, entities: of each row, shape (rows,).
    """

    labels: NDArray[Any]
    challenger: Scored
    champion: Scored
    entities: NDArray[Any]

    def take(self, kept: NDArray[Any]) -> Pair:
        """On some of the rows, by mask."""
        return Pair(self.labels[kept], self.challenger.take(kept), self.champion.take(kept), self.entities[kept])

    def gains(self, names: list[str], evaluate: EvaluateParams) -> dict[str, Interval]:
        """Gain of the challenger in each of these metrics, all of them on the same resamples of entities."""
        return gains(names, self.labels, self.challenger, self.champion, self.entities, evaluate)


def costs(labels: NDArray[Any], scored: Scored, evaluate: EvaluateParams) -> Floats:
    """What each row's decision costs, shape (rows,): nothing where it is right."""
    missed = np.where(scored.selected, 0.0, evaluate.cost_false_negative)
    return np.where(labels == 1, missed, np.where(scored.selected, evaluate.cost_false_positive, 0.0))


def measure(metric: str, labels: NDArray[Any], scored: Scored, evaluate: EvaluateParams) -> Measure:
    """One version's figure in n resamples; `cost` is the mean over rows."""
    if metric == "cost":
        values = costs(labels, scored, evaluate)
        return lambda weights: metrics.mean(values, weights)
    if metric in capacity.NAMES and scored.dates and evaluate.capacity:
        return capacity.measures(labels, scored.scores, scored.dates, evaluate.capacity)[metric]
    return lambda weights: metrics.RANKING[metric](labels, scored.scores, weights)


def gains(
    names: list[str],
    labels: NDArray[Any],
    challenger: Scored,
    champion: Scored,
    entities: NDArray[Any],
    evaluate: EvaluateParams,
) -> dict[str, Interval]:
    """Gain of the challenger in each of these metrics, all of them on the same resamples of entities."""

    def gain(metric: str) -> Measure:
        new, old = (measure(metric, labels, version, evaluate) for version in (challenger, champion))
        sign = -1 if metric in LOSSES else 1
        return lambda weights: sign * (new(weights) - old(weights))

    return metrics.intervals({name: gain(name) for name in names}, entities, **metrics.bootstrap(evaluate))


def error_of(reuse: int, confidence: float) -> float:
    """The chance of a wrong promotion that the `use`-th use of the same rows (1 is the first) may take."""
    return (1 - confidence) / (reuse * (reuse + 1))


def widened(interval: Interval, reuse: int, confidence: float, *, back: bool = False) -> Interval:
    """A two-sided interval of `confidence`, as wide as the error of this use asks for.

    The first use has half of 1 - confidence, which is what one end of the interval leaves out: nothing changes. For later ones
    either arm is stretched by the ratio of the normal quantiles.

    Args:
        back: undo it.
    """
    stretch = _quantile(error_of(reuse, confidence)) / _quantile(error_of(1, confidence))
    stretch = 1 / stretch if back else stretch
    low, high = (interval.point + stretch * (end - interval.point) for end in (interval.low, interval.high))
    return replace(interval, low=low, high=high)


def standard_error(interval: Interval, confidence: float) -> float:
    """Of the estimate that has this two-sided interval, as if it were normal."""
    return (interval.high - interval.low) / (2 * _quantile((1 - confidence) / 2))


def detectable(error: float, min_effect: float, reuse: int, confidence: float) -> float:
    """The smallest true gain that nine of ten comparisons would promote, where the estimate has the standard error `error`.

    The estimate has to reach max(z * error, min_effect), z being the normal quantile of this use's error; nine of ten do
    when the truth lies NORMAL.inv_cdf(0.9) standard errors above that (Cohen 1988, chapter 2, for a power of 0.9).
    """
    return max(_quantile(error_of(reuse, confidence)) * error, min_effect) + NORMAL.inv_cdf(POWER) * error


def _quantile(error: float) -> float:
    return -NORMAL.inv_cdf(error)
