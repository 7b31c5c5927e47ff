"""Profiles: the histograms of the rows that a version scored, with the columns as they are watched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from monitoring import histograms
from monitoring.histograms import PREDICTION, Histograms

if TYPE_CHECKING:
    from monitoring.reference import Reference


def watched(rows: pa.Table, scores: NDArray[Any], schema: Mapping[str, Any], rates: Mapping[str, str]) -> pa.Table:
    """The columns whose drift is watched: the features, sums among them as rates, and the prediction.

    Args:
        schema: of the version, with the names of its numbers and its categories.
        rates: number -> the number that counts how long it has been summed; at least 1 is taken.
    """
    columns = {name: rows[name] for name in [*schema["numbers"], *schema["categories"]]}
    for name, unit in rates.items():
        units = pc.max_element_wise(rows[unit].cast(pa.float64(), safe=False), 1.0, skip_nulls=False)
        columns[name] = pc.divide(rows[name].cast(pa.float64(), safe=False), units)
    return pa.table(columns | {PREDICTION: scores})


def count(rows: pa.Table, scores: NDArray[Any], reference: Reference) -> Histograms:
    """What one chunk of scored rows adds to the profile of its day."""
    return histograms.count(watched(rows, scores, reference.schema, reference.rates).to_batches(), reference.layout)


def merge(parts: Iterable[str]) -> Histograms:
    """The profile of all rows, from those of its parts as they are kept.

    Raises:
        ValueError: there is no part.
    """
    blocks: Sequence[Histograms] = [Histograms.from_json(part) for part in parts]
    if not blocks:
        raise ValueError("a profile has parts")
    return histograms.merge(blocks)
