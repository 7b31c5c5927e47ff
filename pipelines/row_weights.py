"""What a row counts by its age: half as much for each half-life that it is older than the newest one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from pipelines.params import DataParams


def days_of(table: pa.Table, data: DataParams) -> NDArray[np.float64]:
    """The time of each row in days, (rows,); 0 where there is no clock."""
    import numpy as np

    if data.time is None:
        return np.zeros(table.num_rows)
    return table[data.time].cast("timestamp[us]").cast("int64").to_numpy() / 86_400e6


def weights(days: NDArray[np.float64], half_life: float | None) -> NDArray[np.float32]:
    """What each row counts, 1 for the newest, shape (rows,)."""
    import numpy as np

    if half_life is None:
        return np.ones(len(days), dtype=np.float32)
    return np.exp2((days - days.max()) / half_life).astype(np.float32)


def thinned(weights: NDArray[np.float32], seed: int) -> NDArray[np.bool_]:
    """A draw of rows by their weights, (rows,): what is measured on it is measured with the weights."""
    import numpy as np

    return np.random.default_rng(seed).random(len(weights)) < weights
