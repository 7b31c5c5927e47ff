"""What the folder of a trained candidate, or of the ensemble, holds besides its graph; and that the graph is right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import EvergreenError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from pipelines.fitting.calibration import Calibration

PARITY = 1e-5  # largest difference between the graph and the fitted model, in probability, on any row


def check_parity(graph: Path, schema: dict[str, Any], table: pa.Table, expected: NDArray[np.float64]) -> float:
    """Largest difference between the graph's scores and the fitted model's, over every row.

    Raises:
        EvergreenError: it is above `PARITY`, or a score is not finite.
    """
    import numpy as np

    from pipelines import scoring

    difference = float(np.abs(scoring.load_graph(graph, schema).score(table) - expected).max())
    if not difference <= PARITY:
        raise EvergreenError(
            f"{graph} differs from the fitted model by {difference:.2g} on some row; at most {PARITY} is allowed."
        )
    return difference


def write_scores(path: Path, keys: pa.Table, fold: NDArray, margins: NDArray[np.float64], scores: NDArray[np.float64]) -> None:
    """oof.parquet: the grain of the training rows; their keys and target, `fold`, `margin`, and `score`, cross-fitted."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"fold": fold.astype("int8"), "margin": margins, "score": scores}
    for name, values in columns.items():
        keys = keys.append_column(name, pa.array(values))
    pq.write_table(keys, path, compression="zstd")


def record(params: dict[str, Any], chosen: Calibration, auc: float, rows: int, facts: dict[str, Any]) -> dict[str, Any]:
    """The content of training.json; `auc` is out of fold, on so many rows."""
    return {"params": params, "calibration": chosen.kind, "roc_auc": round(auc, 9), "rows": rows, "facts": facts}
