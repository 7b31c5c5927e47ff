"""Small tables that candidates are trained on, for the tests of the stages."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from pipelines import features
from pipelines.config import params, stage
from pipelines.config.params import DataParams, FeaturesParams
from pipelines.data import split

CONFIG = params.read()
FEATURES = FeaturesParams(exclude=[], min_category_rows=20, max_categories=3)
DATA = CONFIG.data.model_copy(update={"time": None})
FOLDS = 3
DAY_0 = np.datetime64("2023-01-01")


def customers(count: int = 3000, seed: int = 5) -> pa.Table:
    """A table with an interaction, missing numbers, missing, rare and many categories, in three folds."""
    random = np.random.default_rng(seed)
    tenure = random.integers(0, 70, count)
    charge = random.normal(60, 25, count)
    contract = random.choice(["monthly", "yearly", "two years", "rare"], count, p=[0.6, 0.25, 0.145, 0.005])
    odds = -2 + 2.5 * (tenure < 12) * (contract == "monthly") + 0.03 * (charge - 60) * (contract != "monthly")
    table = pa.table(
        {
            "customer_id": np.arange(count) // 2,
            "churned": pa.array((random.random(count) < 1 / (1 + np.exp(-odds))).astype("int32")),
            "tenure": pa.array(tenure, pa.int32(), mask=random.random(count) < 0.1),
            "charge": pa.array(charge),
            "year": pa.array(random.integers(2019, 2026, count), pa.int64()),
            "active": pa.array(random.random(count) < 0.5),
            "contract": pa.array(contract, mask=random.random(count) < 0.05),
        }
    )
    return with_folds(table)


def shifting(days: int, *, turns: int | None, count: int = 400, apart: int = 10, seed: int = 1) -> pa.Table:
    """`count` customers at each of `days` snapshots, `apart` days from each other, whose label follows `signal`.

    Args:
        turns: the snapshot from which on the label follows the opposite of it; None where it never does.
    """
    random = np.random.default_rng(seed)
    day = np.repeat(np.arange(days), count)
    signal, noise = random.normal(size=(2, len(day)))
    sign = np.where(day >= turns, -1, 1) if turns is not None else 1
    labels = random.random(len(day)) < 1 / (1 + np.exp(-2 * sign * signal))
    table = pa.table(
        {
            "customer_id": np.tile(np.arange(count), days),
            "snapshot_date": DAY_0 + apart * day,
            "churned": labels.astype("int32"),
            "signal": signal,
            "noise": noise,
        }
    )
    return with_folds(table)


def with_folds(table: pa.Table, folds: int = FOLDS) -> pa.Table:
    return table.append_column(split.FOLD, pa.array(split.fold_of(table["customer_id"], "salt", folds)))


def learn_schema(table: pa.Table, data: DataParams = DATA) -> dict:
    return features.learn_schema(table.drop_columns([split.FOLD]), data, FEATURES)


def write(table: pa.Table, *, clock: bool = False, **sections: dict) -> None:
    """params.yaml, training.parquet, schema.json and recency.json in the current folder, for stages to be run in it."""
    values = YAML(typ="safe").load(Path(CONFIG_PATH))
    values["data"] |= {"time": "snapshot_date" if clock else None, "protected": []}
    values["split"] |= {"folds": FOLDS, "salt": "salt"}
    values["features"] |= {"exclude": []}
    values["tune"] |= {"trials": 0}
    values["train"] |= {"threads": 1, "explain_rows": 50}
    values["evaluate"] |= {"bootstrap": 100}
    values["candidates"] |= {"enabled": {"linear": "cpu", "lightgbm": "cpu"}}
    values["candidates"]["lightgbm"] |= {"max_rounds": 60, "early_stopping_rounds": 10, "learning_rate": 0.12}
    for name, changes in sections.items():
        values[name] |= changes
    with Path("params.yaml").open("w") as file:
        YAML().dump(values, file)
    pq.write_table(table, "training.parquet")
    data = DATA.model_copy(update={"time": values["data"]["time"]})
    Path("schema.json").write_text(json.dumps(learn_schema(table, data)))
    stage.write_json(Path("recency.json"), {"by_fold": [None] * FOLDS, "overall": None, "tried": []})


CONFIG_PATH = Path("params.yaml").resolve()
