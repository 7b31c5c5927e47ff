"""From margins to probabilities: not at all, by Platt scaling, or by isotonic regression; chosen out of fold.

A calibration is called on margins (numpy, double) and writes the same sum into a graph, in double as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

if TYPE_CHECKING:
    from pipelines.training.fitting.graph import Calibration, Calibrations, Graph

Floats = NDArray[np.float64]
GROUPS = 100  # of equal size, behind an isotonic curve: at most as many knots, and rows x knots numbers while scoring
STEEPEST = 2.0  # rise of an isotonic curve a unit of margin: margins that differ by 1e-6 (float32) stay within parity


@dataclass(frozen=True)
class Platt:
    """probability = sigmoid(slope * margin + offset). Platt 1999."""

    slope: float
    offset: float
    kind = "platt"

    def __call__(self, margins: Floats) -> Floats:
        return expit(self.slope * margins + self.offset)

    def write(self, graph: Graph, margin: str) -> str:
        scaled = graph.add("Mul", [margin, graph.constant("slope", self.slope, np.float64)], "scaled")
        shifted = graph.add("Add", [scaled, graph.constant("offset", self.offset, np.float64)], "shifted")
        return graph.add("Sigmoid", [shifted], "sigmoid")


@dataclass(frozen=True)
class Uncalibrated:
    """The margin is taken for the log odds that it claims to be."""

    kind = "none"

    def __call__(self, margins: Floats) -> Floats:
        return expit(margins)

    def write(self, graph: Graph, margin: str) -> str:
        return graph.add("Sigmoid", [margin], "sigmoid")


@dataclass(frozen=True)
class Isotonic:
    """Linear between knots of rising margin, (knots,) with at least two of them, and level outside of them."""

    margins: tuple[float, ...]
    probabilities: tuple[float, ...]
    kind = "isotonic"

    def __call__(self, margins: Floats) -> Floats:
        return np.interp(margins, self.margins, self.probabilities)

    def write(self, graph: Graph, margin: str) -> str:
        """As a sum of ramps: each knot's rise times how far the margin has come on its way to the next."""
        knots, values = np.array(self.margins), np.array(self.probabilities)
        beyond = graph.add("Sub", [margin, graph.constant("knots", knots[None, :-1], np.float64)], "beyond")
        started = graph.add("Max", [beyond, graph.constant("zero", 0.0, np.float64)], "started")
        way = graph.add("Min", [started, graph.constant("widths", np.diff(knots)[None, :], np.float64)], "way")
        slopes = np.diff(values) / np.diff(knots)
        risen = graph.add("MatMul", [way, graph.constant("rises", slopes[:, None], np.float64)], "risen")
        return graph.add("Add", [risen, graph.constant("lowest", values[0], np.float64)], "isotonic")


def fit_platt(margins: Floats, labels: NDArray[Any], weights: NDArray[Any]) -> Platt:
    """Slope and offset by maximum likelihood."""
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=np.inf).fit(margins[:, None], labels, weights)
    return Platt(float(fitted.coef_[0, 0]), float(fitted.intercept_[0]))


def fit_isotonic(margins: Floats, labels: NDArray[Any], weights: NDArray[Any]) -> Isotonic:
    """Centred isotonic regression (Oron & Flournoy 2017) of the rates in groups of equal size.

    Groups whose rates fall are pooled, as always, and a pool is one knot at its mean margin instead of a level
    stretch, so that the curve ties no two margins between its ends. A rise above `STEEPEST` is pooled as well.
    With rates of 0 and 1 held off by half a row: log loss is finite whatever comes.
    """
    pools: list[tuple[float, float, float]] = []  # weight, mean margin, rate
    order = np.argsort(margins, kind="stable")
    for rows in np.array_split(order, min(GROUPS, len(order))):
        pool_weights = weights[rows]
        margin, rate = (float(np.average(values[rows], weights=pool_weights)) for values in (margins, labels))
        pool = float(pool_weights.sum()), margin, rate
        while pools and not 0 < pool[2] - pools[-1][2] <= STEEPEST * (pool[1] - pools[-1][1]):
            pool = _pooled(pools.pop(), pool)
        pools.append(pool)
    if len(pools) == 1:
        pools.append((pools[0][0], pools[0][1] + 1, pools[0][2]))
    off = 0.5 / len(margins)
    return Isotonic(tuple(pool[1] for pool in pools), tuple(float(np.clip(pool[2], off, 1 - off)) for pool in pools))


def _pooled(pool: tuple[float, float, float], other: tuple[float, float, float]) -> tuple[float, float, float]:
    weight = pool[0] + other[0]
    margin, rate = ((pool[0] * pool[part] + other[0] * other[part]) / weight for part in (1, 2))
    return weight, margin, rate


# the simpler first: a tie goes to the one that comes first
KINDS: dict[str, Callable[[Floats, NDArray[Any], NDArray[Any]], Calibration]] = {
    "none": lambda _margins, _labels, _weights: Uncalibrated(),
    "platt": fit_platt,
    "isotonic": fit_isotonic,
}


@dataclass(frozen=True)
class Margins:
    """Out-of-fold margins and what is needed to calibrate them, each of shape (rows,)."""

    values: Floats
    labels: NDArray[Any]
    fold: NDArray[Any]
    entities: NDArray[Any]
    weights: NDArray[Any]  # what a row counts

    def fit(self, kind: str, kept: NDArray[Any] | slice = slice(None)) -> Calibration:
        """A calibration of some of the rows, by mask."""
        return KINDS[kind](self.values[kept], self.labels[kept], self.weights[kept])


def cross_fitted(kind: str, margins: Margins) -> tuple[list[Calibration], Floats]:
    """Of each fold the calibration that was fitted without its rows, and the probabilities that it gives them, (rows,)."""
    folds = [margins.fit(kind, margins.fold != number) for number in range(int(margins.fold.max()) + 1)]
    scores = np.empty(len(margins.values))
    for number, calibration in enumerate(folds):
        in_fold = margins.fold == number
        scores[in_fold] = calibration(margins.values[in_fold])
    return folds, scores


def choose(margins: Margins, kinds: Sequence[str]) -> tuple[str, Calibrations, Floats]:
    """The kind of calibration, the fitted ones, and the cross-fitted probability of each row.

    A kind replaces a simpler one when its cross-fitted log loss is lower by more than one standard error of the
    difference, over entities: less than that is a tie, which goes to the simpler.

    Args:
        kinds: those to choose from.
    """
    from pipelines.training.fitting.graph import Calibrations

    best: tuple[str, list[Calibration], Floats] | None = None
    for kind in sorted(kinds, key=list(KINDS).index):
        folds, scores = cross_fitted(kind, margins)
        if best is None or gain_is_shown(_losses(margins, best[2]) - _losses(margins, scores), margins.entities):
            best = (kind, folds, scores)
    assert best is not None
    return best[0], Calibrations(margins.fit(best[0]), best[1]), best[2]


def _losses(margins: Margins, scores: Floats) -> Floats:
    """Weighted negative log likelihood of each row, in nats."""
    from pipelines.statistics.metrics import EPSILON

    clipped = np.clip(scores, EPSILON, 1 - EPSILON)
    return -np.log(np.where(margins.labels == 1, clipped, 1 - clipped)) * margins.weights


def gain_is_shown(gains: Floats, entities: NDArray[Any]) -> bool:
    """Whether the total gain is above its standard error, when entities vary and not rows."""
    _, entity = np.unique(entities, return_inverse=True)
    totals = np.bincount(entity, weights=gains)
    return bool(totals.mean() > totals.std() / np.sqrt(len(totals)))
