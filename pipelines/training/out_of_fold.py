"""The candidates' scores of rows that their models have not seen, as stage train wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.config.errors import EvergreenError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from pipelines.config.params import DataParams


@dataclass(frozen=True)
class Scored:
    """Rows that all the candidates have scored, in the same order: keys and target, each one's scores, and weights."""

    keys: pa.Table
    scores: dict[str, NDArray[np.float64]]
    weights: NDArray[np.float32]


def read(folders: Mapping[str, Path], file: str) -> Scored | None:
    """Of oof.parquet or backtest.parquet; None where a candidate has no such file. All have their rows in one order.

    Raises:
        EvergreenError: a candidate was not trained.
    """
    import numpy as np
    import pyarrow.parquet as pq

    for name, folder in folders.items():
        if not (folder / "model.onnx").exists():
            raise EvergreenError(f"{folder / 'model.onnx'} is missing: run `dvc repro`, which trains {name} first.")
    if not all((folder / file).exists() for folder in folders.values()):
        return None
    tables = {name: pq.read_table(folder / file) for name, folder in folders.items()}
    first = next(iter(tables.values()))
    weights = first["weight"].to_numpy() if "weight" in first.column_names else np.ones(first.num_rows, np.float32)
    fitted_columns = [name for name in ("score", "margin", "weight") if name in first.column_names]
    return Scored(
        first.drop_columns(fitted_columns), {name: table["score"].to_numpy() for name, table in tables.items()}, weights
    )


def entity_codes(table: pa.Table, data: DataParams) -> NDArray[np.int64]:
    """Number of each row's entity, (rows,)."""
    return table[data.entity].combine_chunks().dictionary_encode().indices.to_numpy().astype("int64")
