"""Stage recency: since when the world is as it is now."""

from __future__ import annotations

import json
from pathlib import Path

from pipelines.config import params, stage
from pipelines.data.row_weights import days_of
from pipelines.training.recency import candidates, choose


def main(*, training: Path, schema: Path, recency: Path) -> None:
    """Write the day on which the present began, for each fold's model and for all rows; null where all rows count alike."""
    import pyarrow.parquet as pq

    config = params.read()
    with stage.phase("read"):
        table, features = pq.read_table(training), json.loads(schema.read_text())
    dates = candidates(days_of(table, config.data), config.recency.snapshots) if config.data.time else []
    if not dates:
        stage.write_json(recency, {"by_fold": [None] * config.split.folds, "overall": None, "tried": []})
        stage.say("All rows count alike.")
        return
    choice = choose(table, features, dates, config)
    stage.write_json(recency, choice)
    stage.say(f"The present began on {choice['overall']}, by the newest snapshots; for each fold {choice['by_fold']}.")


if __name__ == "__main__":
    stage.run(main)
