"""What the folder of a trained candidate, or of the ensemble, holds besides its graph; and that the graph is right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.config.errors import EvergreenError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray


PARITY = 1e-5  # largest difference between the graph and the fitted models, in probability, on any row
SERVED_ROWS = 20_000


def sample(rows: int, seed: int) -> NDArray[np.int64]:
    """Places of the rows on which what is served is compared: every fold's model on all rows would take as long as a fit."""
    import numpy as np

    return np.sort(np.random.default_rng(seed).choice(rows, min(rows, SERVED_ROWS), replace=False))


def check_parity(
    graph: Path,
    schema: dict[str, Any],
    table: pa.Table,
    expected: NDArray[np.float64],
    served: tuple[NDArray[np.int64], NDArray[np.float64]],
) -> tuple[NDArray[np.float64], float]:
    """The graph's score of each row by its own fold's model, (rows,), and its largest difference from the fitted models.

    Args:
        table: the rows, with the column `fold`.
        expected: of each row the probability by its own fold's fitted model, (rows,).
        served: places of some rows, and what is to be served for them, both (some rows,).

    Raises:
        EvergreenError: it is above `PARITY`, or a score is not finite.
    """
    import numpy as np

    from pipelines import onnx_model

    model = onnx_model.load_graph(graph, schema)
    scores = model.score_unseen(table, table["fold"].to_numpy())
    differences = scores - expected, model.score(table.take(served[0])) - served[1]
    difference = max(float(np.abs(each).max()) for each in differences)
    if not difference <= PARITY:
        raise EvergreenError(
            f"{graph} differs from the fitted model by {difference:.2g} on some row; at most {PARITY} is allowed."
        )
    return scores, difference


def write_scores(path: Path, keys: pa.Table, **columns: NDArray[Any]) -> None:
    """A Parquet file of the grain of the training rows: their keys and target, and the columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name, values in columns.items():
        keys = keys.append_column(name, pa.array(values))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(keys, path, compression="zstd")


def record(params: dict[str, Any], kind: str, auc: float, rows: int, metadata: dict[str, Any]) -> dict[str, Any]:
    """The content of training.json; `auc` is out of fold, on so many rows; `kind` is of the calibration."""
    return {"params": params, "calibration": kind, "roc_auc": round(auc, 9), "rows": rows, "metadata": metadata}
