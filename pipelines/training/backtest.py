"""Rolling origins: what a model would have done on months that nobody had seen (Tashman 2000).

At each origin a model is fitted on the rows whose labels were mature by then, and judged on the snapshots that begin there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.data.row_weights import days_of, weights
from pipelines.training.fitting.folds import Part

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from pipelines.config.params import DataParams, EvaluateParams

SHARE = 12  # a block of snapshots to judge is a twelfth of them: a month of a year
LEAST = 30  # rows of either label, to fit on and to judge


def origins(table: pa.Table, data: DataParams, evaluate: EvaluateParams, since: str | None) -> list[Part]:
    """A part for each of the newest `evaluate.origins` blocks of snapshots, the oldest first; fewer where history is short.

    None where there would be one: a model's rounds are those that the other origins find best.
    """
    if data.time is None:
        return []
    days, labels = days_of(table, data), table[data.target].to_numpy()
    parts = []
    for block in blocks(days)[-evaluate.origins :]:
        fitted = days + data.horizon_days + data.embargo_days <= block[0]
        judged = (days >= block[0]) & (days <= block[-1])
        if all(_enough(labels[side]) for side in (fitted, judged)):
            parts.append(Part(fitted, judged, _weights(days, fitted, since)))
    return parts if len(parts) > 1 else []


def blocks(days: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """The distinct days in runs of equal length, the newest run whole."""
    distinct = np.unique(days)
    length = -(-len(distinct) // SHARE)
    return [distinct[max(0, end - length) : end] for end in range(len(distinct), 0, -length)][::-1]


def _enough(labels: NDArray[Any]) -> bool:
    return min(int((labels == 1).sum()), int((labels != 1).sum())) >= LEAST


def _weights(days: NDArray[np.float64], fitted: NDArray[np.bool_], since: str | None) -> NDArray[np.float32]:
    """1 for the newest row that is fitted on: where the present began later, nothing that is fitted on is of it."""
    by_age = weights(days, since)
    return np.minimum(by_age / by_age[fitted].max(), 1).astype(np.float32)
