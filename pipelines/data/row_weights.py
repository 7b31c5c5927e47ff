"""What a row counts: 1, or less where it is of a world that stage recency has found to be gone."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from pipelines.config.params import DataParams

PAST = 0.08  # what a row from before the present counts: much of what moves people stays the same (docs/studies/healing.md)


def days_of(table: pa.Table, data: DataParams) -> NDArray[np.float64]:
    """The time of each row in days since 1970, (rows,); 0 where there is no clock."""
    import numpy as np

    if data.time is None:
        return np.zeros(table.num_rows)
    return table[data.time].cast("timestamp[us]").cast("int64").to_numpy() / 86_400e6


def weights(days: NDArray[np.float64], since: str | None) -> NDArray[np.float32]:
    """What each row counts, shape (rows,).

    Args:
        since: the date on which the present began, YYYY-MM-DD; None where all rows are of it.
    """
    import numpy as np

    if since is None:
        return np.ones(len(days), dtype=np.float32)
    began = (date.fromisoformat(since) - date(1970, 1, 1)).days
    return np.where(days >= began, 1.0, PAST).astype(np.float32)


def thinned(weights: NDArray[np.float32], seed: int) -> NDArray[np.bool_]:
    """A draw of rows by their weights, (rows,): what is measured on it is measured with the weights."""
    import numpy as np

    return np.random.default_rng(seed).random(len(weights)) < weights
