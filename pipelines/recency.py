"""Stage recency: how fast the past stops to count.

A row counts half as much for each half-life that it is older than the newest one. Which half-life, or none, a quick
LightGBM says: it is fitted with each on the other folds and judged on the newest snapshots. One is chosen only where it is
shown to be better than none (pipelines/fitting/tune.py), and for each fold without its rows. So an old world fades when a
new one has come, and all rows count alike as long as nothing changes.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import out_of_fold, params, split, stage
from pipelines.row_weights import days_of, weights

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.fitting.folds import Validation

PROBE = {"learning_rate": 0.1, "max_rounds": 300, "early_stopping_rounds": 30, "num_leaves": 8, "min_data_in_leaf": 40}
PROBE |= {"feature_fraction": 0.7, "lambda_l2": 5.0}


def main(*, training: Path, schema: Path, recency: Path) -> None:
    """Write the half-life of each fold's model and of all rows, in days; null where all rows count alike."""
    import pyarrow.parquet as pq

    config = params.read()
    with stage.phase("read"):
        table, features = pq.read_table(training), json.loads(schema.read_text())
    if config.data.time is None or not config.recency.half_life_days:
        stage.write_json(recency, {"by_fold": [None] * config.split.folds, "overall": None, "tried": []})
        stage.say("All rows count alike.")
        return
    found = choose(table, features, config)
    stage.write_json(recency, found)
    stage.say(f"Half-life in days, chosen by the newest snapshots: {found['overall']}; for each fold {found['by_fold']}.")


def choose(table: pa.Table, features: dict[str, Any], config: params.Params) -> dict[str, Any]:
    """The content of recency.json: the half-lives that were chosen, and the metric of each that was tried."""
    import numpy as np
    import pyarrow as pa

    from pipelines.candidates import lightgbm
    from pipelines.fitting import folds, tune

    used = folds.sample_entities(out_of_fold.entity_codes(table, config.data), config.recency.rows, config.train.seed)
    sample = table.filter(pa.array(used))
    probe, days = _probe(sample, features, config), days_of(sample, config.data)
    section, options = lightgbm.Params.model_validate(PROBE), [None, *config.recency.half_life_days]
    margins = {}
    for number, half_life in enumerate(options):
        weighed = [replace(part, weights=weights(days, half_life)) for part in probe.parts]
        tried = replace(probe, parts=weighed, fits={})
        margins[number] = [tried.margins(section, part) for part in range(len(weighed))]
    values = [float(np.nanmean([probe.value(part, each) for part, each in enumerate(found)])) for found in margins.values()]
    return {
        "by_fold": [options[tune.choose(probe, margins, without=number)] for number in range(config.split.folds)],
        "overall": options[tune.choose(probe, margins)],
        "tried": [
            {"half_life_days": option, probe.metric: round(value, 9)} for option, value in zip(options, values, strict=True)
        ],
    }


def _probe(table: pa.Table, features: dict[str, Any], config: params.Params) -> Validation:
    """A part for each fold, which is judged on its rows of the newest snapshots."""
    from pipelines.candidates import lightgbm
    from pipelines.fitting.folds import Part, Validation, as_rows

    fold, late = table[split.FOLD].to_numpy(), split.newest(table, config.data, config.evaluate)
    parts = [Part(fold != number, (fold == number) & late) for number in range(config.split.folds)]
    rows, train = as_rows(table, features, config.data), config.train
    return Validation(lightgbm, rows, parts, fold, config.evaluate.metric, train.seed, train.threads)


if __name__ == "__main__":
    stage.run(main)
