"""From margins to probabilities: not at all, by Platt scaling, or by isotonic regression; chosen out of fold.

A calibration is called on margins (numpy, double) and writes the same sum into a graph, in double as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

if TYPE_CHECKING:
    from pipelines.fitting.graph import Graph

Floats = NDArray[np.float64]
GROUPS = 100  # of equal size, behind an isotonic curve: at most as many knots, and rows x knots numbers while scoring
STEEPEST = 2.0  # rise of an isotonic curve a unit of margin: margins that differ by 1e-6 (float32) stay within parity


class Calibration(Protocol):
    kind: str

    def __call__(self, margins: Floats) -> Floats:
        """Probabilities strictly between 0 and 1 (but for rounding), of the margins' shape."""

    def write(self, graph: Graph, margin: str) -> str:
        """Append the same to a graph: name of the probabilities, double (rows, 1), of double margins (rows, 1)."""


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
        begun = graph.add("Max", [beyond, graph.constant("zero", 0.0, np.float64)], "begun")
        way = graph.add("Min", [begun, graph.constant("widths", np.diff(knots)[None, :], np.float64)], "way")
        slopes = np.diff(values) / np.diff(knots)
        risen = graph.add("MatMul", [way, graph.constant("rises", slopes[:, None], np.float64)], "risen")
        return graph.add("Add", [risen, graph.constant("lowest", values[0], np.float64)], "isotonic")


def fit_platt(margins: Floats, labels: NDArray) -> Platt:
    """Slope and offset by maximum likelihood."""
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=np.inf).fit(margins[:, None], labels)
    return Platt(float(fitted.coef_[0, 0]), float(fitted.intercept_[0]))


def fit_isotonic(margins: Floats, labels: NDArray) -> Isotonic:
    """Centred isotonic regression (Oron & Flournoy 2017) of the rates in groups of equal size.

    Groups whose rates fall are pooled, as always, and a pool is one knot at its mean margin instead of a level
    stretch, so that the curve ties no two margins between its ends. A rise above `STEEPEST` is pooled as well.
    With rates of 0 and 1 held off by half a row: log loss is finite whatever comes.
    """
    pools: list[tuple[float, float, float]] = []  # rows, mean margin, rate
    order = np.argsort(margins, kind="stable")
    for rows in np.array_split(order, min(GROUPS, len(order))):
        pool = (float(len(rows)), float(margins[rows].mean()), float(labels[rows].mean()))
        while pools and not 0 < pool[2] - pools[-1][2] <= STEEPEST * (pool[1] - pools[-1][1]):
            pool = _pooled(pools.pop(), pool)
        pools.append(pool)
    if len(pools) == 1:
        pools.append((pools[0][0], pools[0][1] + 1, pools[0][2]))
    off = 0.5 / len(margins)
    return Isotonic(tuple(pool[1] for pool in pools), tuple(float(np.clip(pool[2], off, 1 - off)) for pool in pools))


def _pooled(one: tuple[float, float, float], other: tuple[float, float, float]) -> tuple[float, float, float]:
    rows = one[0] + other[0]
    margin, rate = ((one[0] * one[part] + other[0] * other[part]) / rows for part in (1, 2))
    return rows, margin, rate


# the simpler first: a tie goes to the one that comes first
KINDS: dict[str, Callable[[Floats, NDArray], Calibration]] = {
    "none": lambda _margins, _labels: Uncalibrated(),
    "platt": fit_platt,
    "isotonic": fit_isotonic,
}


def cross_fitted(kind: str, margins: Floats, labels: NDArray, fold: NDArray) -> Floats:
    """Probability of each row, (rows,), by a calibration that was fitted on the other folds."""
    scores = np.empty(len(margins))
    for number in np.unique(fold):
        held_out = fold == number
        scores[held_out] = KINDS[kind](margins[~held_out], labels[~held_out])(margins[held_out])
    return scores


def choose(
    margins: Floats, labels: NDArray, fold: NDArray, customers: NDArray, kinds: Sequence[str]
) -> tuple[Calibration, Floats]:
    """The calibration, fitted on all margins, and the cross-fitted probability of each row.

    A kind replaces a simpler one when its cross-fitted log loss is lower by more than one standard error of the
    difference, over customers: less than that is a tie, which goes to the simpler.

    Args:
        margins, labels, fold, customers: out-of-fold, shape (rows,).
        kinds: those to choose from.
    """
    best = None
    for kind in sorted(kinds, key=list(KINDS).index):
        scores = cross_fitted(kind, margins, labels, fold)
        if best is None or gain_is_shown(_losses(labels, best[1]) - _losses(labels, scores), customers):
            best = (kind, scores)
    kind, scores = best
    return KINDS[kind](margins, labels), scores


def _losses(labels: NDArray, scores: Floats) -> Floats:
    """Negative log likelihood of each row, in nats."""
    from pipelines.metrics import EPSILON

    clipped = np.clip(scores, EPSILON, 1 - EPSILON)
    return -np.log(np.where(labels == 1, clipped, 1 - clipped))


def gain_is_shown(gains: Floats, customers: NDArray) -> bool:
    """Whether the total gain is above its standard error, when customers vary and not rows."""
    _, customer = np.unique(customers, return_inverse=True)
    totals = np.bincount(customer, weights=gains)
    return bool(totals.mean() > totals.std() / np.sqrt(len(totals)))
