"""Stage split: which fold each entity belongs to, and what a model sees."""

from __future__ import annotations

import json
from pathlib import Path

from pipelines import features
from pipelines.config import params, stage
from pipelines.config.errors import EvergreenError
from pipelines.data.split import FOLD, split


def main(*, rows: Path, verdict: Path, training: Path, schema: Path) -> None:
    """Split validated rows; `verdict` is here because rows that did not pass are not to be learnt from."""
    import pyarrow.parquet as pq

    config = params.read()
    if not verdict.exists() or not json.loads(verdict.read_text(encoding="utf-8"))["success"]:
        raise EvergreenError(f"{verdict} says no, or nothing: only rows that passed validation are split. Run `dvc repro`.")
    with stage.phase("read"):
        table = pq.read_table(rows)
    if FOLD in table.column_names:
        raise EvergreenError(f"The query returns a column {FOLD!r}, which is the name of ours: rename it in training_set.sql.")
    learned = features.learn_schema(table, config.data, config.features)
    divided = split(table, config.data, config.split)
    training.parent.mkdir(parents=True, exist_ok=True)
    with stage.phase("write"):
        pq.write_table(divided, training, compression="zstd")
        stage.write_json(schema, learned)
    stage.say(f"{divided.num_rows:,} rows in {config.split.folds} folds by {config.data.entity}.")


if __name__ == "__main__":
    stage.run(main)
