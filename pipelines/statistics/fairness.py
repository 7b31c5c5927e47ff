"""Decisions and errors by group. Pure functions from arrays to figures; what they prove is in pipelines/promotion/harm.py.

Rates by group as in Hardt, Price & Srebro 2016 (equality of opportunity). Intervals resample customers, not rows, and
every group is seen on the same resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.config.errors import EvergreenError
from pipelines.statistics import metrics

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.config.params import AuditParams, EvaluateParams

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
MOST_GROUPS = 50  # of one attribute: more is a measurement, to be put into bands, and no group
CELLS = 6
RATES = ("base_rate", "selection_rate", "tpr", "fpr", "precision", "calibration", "calibration_selected")


@dataclass(frozen=True)
class Group:
    """Rows with these values of one attribute or two; of none: all rows."""

    attributes: tuple[str, ...]
    values: tuple[str, ...]
    mask: Mask  # (rows,)

    @property
    def attribute(self) -> str:
        return " and ".join(self.attributes)

    @property
    def name(self) -> str:
        return ", ".join(self.values)


def group_values(name: str, column: pa.ChunkedArray) -> NDArray[np.object_]:
    """An attribute as text without NULLs, shape (rows,).

    Raises:
        EvergreenError: it has more than 50 values.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    text = column.cast(pa.string())
    values = text.unique().drop_null().to_pylist()
    if len(values) > MOST_GROUPS:
        raise EvergreenError(
            f"{name} has {len(values)} values, at most {MOST_GROUPS} can be audited: band it in training_set.sql."
        )
    missing = "missing" if "missing" not in values else "missing (NULL)"
    return np.array(pc.fill_null(text, missing).to_pylist(), dtype=object)


def groups_of(columns: Mapping[str, NDArray[np.object_]], rows: int) -> list[Group]:
    """All rows first, then each value of each attribute, then each two values that occur together."""
    masks = {name: {value: column == value for value in sorted(set(column))} for name, column in columns.items()}
    groups = [Group((), (), np.ones(rows, dtype=bool))]
    groups += [Group((name,), (value,), mask) for name, values in masks.items() for value, mask in values.items()]
    for first, other in combinations(masks, 2):
        for value, mask in masks[first].items():
            pairs = [(second, mask & third) for second, third in masks[other].items()]
            groups += [Group((first, other), (value, second), joint) for second, joint in pairs if joint.any()]
    return groups


def enough(labels: NDArray[Any], entities: NDArray[Any], mask: Mask, params: AuditParams) -> bool:
    """Whether the rows of `mask` can be judged: enough of them, and enough customers of either label among them."""
    if mask.sum() < params.min_rows:
        return False
    return all(len(np.unique(entities[mask & (labels == label)])) >= params.min_positives for label in (1, 0))


def cells(labels: NDArray[Any], scores: Floats, selected: Mask | Floats) -> Floats:
    """What rates are made of, shape (rows, 6): row, positive, selected, hit, score, score where selected.

    Args:
        selected: whether each row is, or how far (0 to 1), shape (rows,).
    """
    positive = labels == 1
    parts = [np.ones(len(labels)), positive, selected, positive * selected, scores, scores * selected]
    return np.column_stack(parts).astype(np.float64)


def rates(totals: Floats) -> Floats:
    """Rates in the order of RATES from sums of cells (..., 6): shape (..., 7); a rate of nothing is NaN.

    Calibration is that in the large, mean score less share of positives: of all rows, and of the selected ones. An
    error over bins is left out: in small groups it measures noise, which adds up and never cancels.
    """
    rows, positives, selected, hits, score, score_selected = np.moveaxis(totals, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        figures = [
            positives / rows,
            selected / rows,
            hits / positives,
            (selected - hits) / (rows - positives),
            hits / selected,
            (score - positives) / rows,
            (score_selected - hits) / selected,
        ]
    return np.stack(figures, axis=-1)


def resample(
    groups: Iterable[Group],
    measure: Callable[[Mask, metrics.Weights], Floats],
    entities: NDArray[Any],
    bootstrap: EvaluateParams,
) -> Floats:
    """A measure of each group on all rows, then on each resample of entities: (1 + resamples, groups, figures).

    Args:
        measure: from a group's mask and what its rows count in n resamples, to figures (n, k).
        entities: entity of each row, shape (rows,).
    """

    def measured(weights: metrics.Weights) -> Floats:
        return np.stack([measure(group.mask, weights.take(group.mask)) for group in groups], axis=1)

    figures = [measured(metrics.Weights.of(np.ones((1, len(entities)))))]
    figures += [measured(weights) for weights in metrics.draw(entities, bootstrap.bootstrap, bootstrap.seed)]
    return np.concatenate(figures)


def sums(weights: metrics.Weights, cells: Floats) -> Floats:
    """Weighted sum of each column of `cells` (rows, k), in each of n resamples: (n, k)."""
    return np.stack(weights.total(*cells.T), axis=1)


def interval(drawn: Floats, confidence: float) -> dict[str, float] | None:
    """Percentile bootstrap interval around the first of `drawn`; None where the figure is of nothing."""
    usable = drawn[1:][np.isfinite(drawn[1:])]
    if not np.isfinite(drawn[0]) or not len(usable):
        return None
    low, high = np.quantile(usable, [(1 - confidence) / 2, (1 + confidence) / 2])
    return {"point": round(float(drawn[0]), 9), "low": round(float(low), 9), "high": round(float(high), 9)}
