"""A gap between a group and everybody else, split in two: what their risks explain, and what the model adds.

Groups that differ in how many are positive have different TPR and FPR at one threshold, however fair the model is
(infra-marginality: Corbett-Davies & Goel 2018, section 3.2; Kleinberg, Mullainathan & Raghavan 2017): with calibrated scores s
and decisions d a group's TPR is sum(s d) / sum(s), its FPR sum((1 - s) d) / sum(1 - s) (Pleiss et al. 2017, generalised rates).
So much of a gap is explained as there would be between these groups under a model that is calibrated in each of them. There are
two such models, and a gap is explained only as far as both of them have it:

- taken at their word: the expected rates above, of these very scores and decisions. Scores that tell a group's positives
  apart less well than they claim (noise, say) do not reach them;
- recalibrated: a logistic curve of outcomes over log odds (Cox 1958) in the group and in the rest, decisions at the same
  threshold of that risk. Scores that were lowered, shrunk or cut off for a group come back by it. What the rest has beyond
  its own recalibrated decisions is not held against the group.

A model that is calibrated in every group adds nothing. What scores cannot show is one that is calibrated and knows less about a
group than it could: ROC-AUC by group stands beside, and harm against the champion asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.statistics import fairness

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipelines.config.params import EvaluateParams
    from pipelines.statistics import metrics
    from pipelines.statistics.fairness import Floats, Group, Mask

BINS = 64  # of log odds: half of them even in number, half in width
GROUPS_AT_ONCE = 20
EPSILON = 1e-6
STEPS = 20  # of Newton's method, at most: it converges in four to eight ...
TOLERANCE = 1e-3  # ... to within this of a log odd
LONGEST_STEP = 1.0  # in log odds, and in log odds a standard deviation of them
CERTAINTY = 1.5  # standard errors, beyond which another cut than the curve's is taken
PRIOR = 1e-2  # rows' worth of belief in scores as they are: a group without a curve keeps them


@dataclass(frozen=True)
class Gap:
    """How much worse each group fares than the rest in one rate, in each resample: arrays (1 + resamples, groups)."""

    raw: Floats
    explained: Floats

    @property
    def added(self) -> Floats:
        return self.raw - self.explained


def gaps(totals: Floats, recalibrated: tuple[Floats, Floats]) -> dict[str, Gap]:
    """TPR shortfall and FPR excess of each group.

    Args:
        totals: sums of cells, shape (1 + resamples, 1 + groups, 6); the first group is all rows.
        recalibrated: of each group, and of the rest of each, as `decide_again` returns them.
    """
    cells = totals[:, 1:], totals[:, :1] - totals[:, 1:]
    by_name = {}
    for name, rate, sign in (("TPR shortfall", 0, -1), ("FPR excess", 1, 1)):
        harm = [
            [sign * rates[..., rate] for rates in pair] for pair in (map(_seen, cells), map(_expected, cells), recalibrated)
        ]
        (group, rest), (group_expected, rest_expected), (group_again, rest_again) = harm
        by_name[name] = Gap(
            group - rest, np.minimum(group_expected - rest_expected, group_again - np.minimum(rest, rest_again))
        )
    return by_name


def decide_again(
    labels: NDArray[Any],
    scores: Floats,
    threshold: float,
    groups: list[Group],
    entities: NDArray[Any],
    bootstrap: EvaluateParams,
) -> tuple[Floats, Floats]:
    """TPR and FPR of each group, and of the rest of each, with decisions by risks that are recalibrated within it.

    Args:
        labels, scores, entities: of each row, shape (rows,).
        groups: all rows first.

    Returns:
        Two arrays of shape (1 + resamples, groups - 1, 2), on the resamples that `fairness.resample` draws.
    """
    odds = _log_odds(scores)
    edges = _edges(odds, float(_log_odds(np.array([threshold]))[0]))
    cell = np.clip(np.searchsorted(edges, odds, side="right") - 1, 0, len(edges) - 2)
    positive = (labels == 1).astype(np.float64)

    bins = len(edges) - 1

    def binned(mask: Mask, weights: metrics.Weights) -> Floats:
        """Rows, positives and log odds by bin, in one product: what counts is converted once."""
        parts = (np.ones(int(mask.sum())), positive[mask], odds[mask])
        cells = np.concatenate([cell[mask] + bins * number for number in range(len(parts))])
        thrice = weights.take(np.tile(np.arange(len(weights.entity)), len(parts)))
        return thrice.by_cell(cells, bins * len(parts), np.concatenate(parts)).reshape(-1, len(parts), bins)

    everybody, *judged = groups
    group_rates, rest_rates = [], []
    for start in range(0, len(judged), GROUPS_AT_ONCE):
        drawn = fairness.resample([everybody, *judged[start : start + GROUPS_AT_ONCE]], binned, entities, bootstrap)
        for index in range(1, drawn.shape[1]):
            group_rates.append(_rates_of_curve(drawn[:, index], edges, threshold))
            rest_rates.append(_rates_of_curve(drawn[:, 0] - drawn[:, index], edges, threshold))
    return np.stack(group_rates, axis=1), np.stack(rest_rates, axis=1)


def _seen(totals: Floats) -> Floats:
    tpr, fpr = (fairness.RATES.index(name) for name in ("tpr", "fpr"))
    return fairness.rates(totals)[..., [tpr, fpr]]


def _expected(totals: Floats) -> Floats:
    """TPR and FPR that calibrated scores would have: each row is positive as often as its score says."""
    rows, _, selected, _, score, score_selected = np.moveaxis(totals, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([score_selected / score, (selected - score_selected) / (rows - score)], axis=-1)


def _rates_of_curve(binned: Floats, edges: Floats, threshold: float) -> Floats:
    """TPR and FPR of decisions at the threshold of the recalibrated risk, shape (n, 2).

    Args:
        binned: rows, positives and sum of log odds of each bin, shape (n, 3, bins).
    """
    rows, positives, sums = np.moveaxis(binned, 1, 0)
    centre = np.where(rows > 0, sums / np.maximum(rows, EPSILON), 0.0)
    level, slope = _fit(rows, positives, centre)
    cut = (float(_log_odds(np.array([threshold]))[0]) - level) / np.maximum(slope, EPSILON)
    share = np.clip((edges[1:] - cut[:, None]) / np.diff(edges), 0, 1)  # of a bin that lies above the cut
    share = _moved(share, rows, positives, threshold)
    negatives = rows - positives
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = [(share * part).sum(axis=1) / part.sum(axis=1) for part in (positives, negatives)]
    return np.stack(rates, axis=1)


def _moved(share: Floats, rows: Floats, positives: Floats, threshold: float) -> Floats:
    """The curve's cut, or another one where the rows between the two are shown to lie on the other side of the threshold.

    A curve is smooth, and scores need not be: whoever is put just below the threshold is a step in it. A cut is worth the sum
    of label less threshold over the rows above it (the net benefit of Vickers & Elkin 2006), and of m rows at the threshold
    that sum has the variance m t (1 - t).

    Args:
        share: of each bin that lies above the curve's cut, shape (n, bins).
    """
    worth = positives - threshold * rows
    above_worth, above = (np.cumsum(part[:, ::-1], axis=1)[:, ::-1] for part in (worth, rows))
    gain = above_worth - (share * worth).sum(axis=1, keepdims=True)
    between = np.abs(above - (share * rows).sum(axis=1, keepdims=True))
    shown = gain - CERTAINTY * np.sqrt(threshold * (1 - threshold) * between)
    best = shown.argmax(axis=1)
    other = np.arange(rows.shape[1]) >= best[:, None]
    return np.where(shown.max(axis=1, keepdims=True) > EPSILON, other, share)


def _fit(rows: Floats, positives: Floats, odds: Floats) -> tuple[Floats, Floats]:
    """Level and slope of a logistic curve in each of n resamples, by Newton's method with a prior at (0, 1).

    The odds are standardised, where level and slope hardly depend on each other, and long steps are shortened.

    Args:
        rows, positives: of each bin, shape (n, bins). odds: its mean log odds, the same shape or (bins,).
    """
    size = np.maximum(rows.sum(axis=1), EPSILON)
    middle = (rows * odds).sum(axis=1) / size
    width = np.sqrt((rows * (odds - middle[:, None]) ** 2).sum(axis=1) / size) + EPSILON
    apart = (odds - middle[:, None]) / width[:, None]
    height, rise = middle.copy(), width.copy()
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-np.clip(height[:, None] + rise[:, None] * apart, -30, 30)))
        error, spread = positives - rows * chance, rows * chance * (1 - chance)
        first, second = error.sum(axis=1) - PRIOR * (height - middle), (error * apart).sum(axis=1) - PRIOR * (rise - width)
        a, b, c = spread.sum(axis=1) + PRIOR, (spread * apart).sum(axis=1), (spread * apart**2).sum(axis=1) + PRIOR
        step = np.stack([c * first - b * second, a * second - b * first]) / (a * c - b * b)
        step *= np.minimum(1, LONGEST_STEP / np.maximum(np.abs(step).max(axis=0), EPSILON))
        height, rise = height + step[0], rise + step[1]
        if np.abs(step).max() < TOLERANCE:
            break
    return height - rise / width * middle, rise / width


def _edges(odds: Floats, threshold: float) -> Floats:
    """Borders of bins; one of them is the threshold, which no bin lies on both sides of."""
    low, high = min(odds.min(), threshold) - EPSILON, max(odds.max(), threshold) + EPSILON
    even = np.quantile(odds, np.linspace(0, 1, BINS // 2 + 1))
    return np.unique(np.concatenate([np.linspace(low, high, BINS // 2 + 1), even, [threshold]]))


def _log_odds(scores: Floats) -> Floats:
    clipped = np.clip(scores, EPSILON, 1 - EPSILON)
    return np.log(clipped / (1 - clipped))
