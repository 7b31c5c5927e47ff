"""What the API was asked, as rows: it stands in the prediction ledger, and is counted when its window is judged."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipelines.data import postgres
from pipelines.registry.schema import FOLDER

if TYPE_CHECKING:
    from pipelines.scoring.predictions import Run


def asked(url: str, run: Run, schema: Mapping[str, Any]) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """The features and scores of a run of the API, a part at a time.

    Args:
        schema: of the version: names of its numbers, which come as float64, and of its categories.
    """
    values = {"model": run.model, "run_key": run.run_key, "as_of": run.as_of}
    statement = postgres.bind(Path(FOLDER) / "streams" / "asked.sql", values)
    with postgres.snapshot(url) as ledger, ledger.batches(statement) as batches:
        for batch in batches:
            rows = [json.loads(text) for text in batch["features"].to_pylist()]
            yield _table(rows, schema), batch["score"].to_numpy()


def _table(rows: list[dict[str, Any]], schema: Mapping[str, Any]) -> pa.Table:
    """A boolean is 0 or 1, as the graph sees it."""
    numbers = {
        name: pa.array([None if row.get(name) is None else float(row[name]) for row in rows], pa.float64())
        for name in schema["numbers"]
    }
    return pa.table(numbers | {name: pa.array([row.get(name) for row in rows], pa.string()) for name in schema["categories"]})
