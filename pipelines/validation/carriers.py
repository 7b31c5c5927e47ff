"""Is a model on all columns too good to be true, and which few columns is it that make it so?

A column that is filled in once the outcome is known need not tell the label by itself: several, each for some of the
positives, do together. So the columns of the greatest gain are taken out one after the other. Where a model is ordinary
without one to three of them, they carry it; where it stays good, many columns do, as in honest tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.statistics import metrics
from pipelines.statistics.resampling import Interval
from pipelines.validation import quick_model

LOOKED_AT = 0.9  # ROC-AUC of all columns, from which on the refits are worth their seconds
MOST = 3  # columns that are taken out, and no more than a fifth of all: of few columns each carries much
PART = 5
TELLING = 10.0  # times as often a column is filled in for one label: such columns are taken out together ...
COVERED = 0.2  # ... where they are for this share of it
RESAMPLES = 200


@dataclass(frozen=True)
class Carriers:
    """What a model reaches with all columns, on held-out rows, and without those of the greatest gain.

    taken_out: which were taken out, in their order, groups of columns that are filled in for the same rows or label;
    without: ROC-AUC after each of these. may: how many of them count as few.
    """

    whole: Interval
    taken_out: tuple[tuple[str, ...], ...] = ()
    without: tuple[float, ...] = ()
    may: int = 0

    def few(self, rise: float, ordinary: float = 1.0) -> int:
        """The fewest groups without which `rise` times as many pairs are ranked wrongly, and ROC-AUC is below `ordinary`; 0
        where they are not few."""
        wrong = max(1 - self.whole.point, 1e-4)
        found = (
            number for number, area in enumerate(self.without[: self.may], 1) if area < ordinary and 1 - area >= rise * wrong
        )
        return next(found, 0)

    def describe(self, groups: int) -> str:
        """All columns, and what is left without the first `groups`, one after the other."""
        steps = [f"{self.without[at]:.4f} without {', '.join(self.taken_out[at])}" for at in range(groups)]
        return f"{self.whole} on held-out rows; {', then '.join(steps)}"


@dataclass(frozen=True)
class Side:
    """inputs: (rows, columns), as quick_model makes them. entities: whose they are."""

    inputs: NDArray[np.float32]
    labels: NDArray[np.int8]
    entities: NDArray[Any]


def find(train: Side, test: Side, names: Sequence[str], *, confidence: float, seed: int) -> Carriers:
    """Fit on one side, judge by the other; where that is good, once more without the columns of the greatest gain."""
    kept = np.arange(len(names))
    taken_out: list[Any] = []
    without: list[Any] = []
    groups = together(train, len(names))
    model = quick_model.fit(train.inputs, train.labels)
    whole = _interval(test, quick_model.scores(model, test.inputs), confidence, seed)
    may = min(MOST, len(names) // PART)
    while whole.point >= LOOKED_AT and len(taken_out) < MOST:
        best = kept[np.argmax(model.feature_importance("gain"))]
        gone = groups == groups[best]
        taken_out.append(tuple(np.array(names, dtype=object)[kept[gone[kept]]]))
        kept = kept[~gone[kept]]
        if not len(kept):
            without.append(0.5)
            break
        model = quick_model.fit(train.inputs[:, kept], train.labels)
        without.append(area(test.labels, quick_model.scores(model, test.inputs[:, kept])))
    return Carriers(whole, tuple(taken_out), tuple(without), may)


def together(side: Side, columns: int) -> NDArray[np.intp]:
    """The group of each column, (columns,): those that are filled in for one label almost alone are one, and so are those that
    are missing for the same rows."""
    groups = np.arange(columns)
    patterns: dict[bytes, int] = {}
    for at in range(columns):
        values = side.inputs[:, at]
        filled = ~np.isnan(values) & (values != _usual(values))
        if _tells(filled, side.labels):
            groups[at] = patterns.setdefault(b"telling", at)
        elif not filled.all() and np.isnan(values).any():
            groups[at] = patterns.setdefault(np.packbits(filled).tobytes(), at)
    return groups


def _tells(filled: NDArray[np.bool_], labels: NDArray[Any]) -> bool:
    often, seldom = sorted([filled[labels == 1].mean(), filled[labels == 0].mean()], reverse=True)
    return often >= COVERED and often >= TELLING * seldom


def area(labels: NDArray[Any], scores: NDArray[Any]) -> float:
    """ROC-AUC; 0.5 where one of the labels is not there."""
    found = float(metrics.roc_auc(labels, scores, np.ones((1, len(labels))))[0])
    return 0.5 if np.isnan(found) else found


def _usual(values: NDArray[Any]) -> float:
    """The value of more than half of the rows, such as a zero that means that nothing was filled in; NaN where none is."""
    middle = np.nanmedian(values) if not np.isnan(values).all() else np.nan
    return float(middle) if (values == middle).mean() > 0.5 else float("nan")


def _interval(test: Side, scores: NDArray[Any], confidence: float, seed: int) -> Interval:
    ranking = {"auc": lambda weights: metrics.roc_auc(test.labels, scores, weights)}
    return metrics.intervals(ranking, test.entities, resamples=RESAMPLES, confidence=confidence, seed=seed)["auc"]
