"""Default LightGBM is cross-fitted by the candidates' own folds and judged on the same rows, beside what they scored."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows import results
from pipelines.config import params, stage
from pipelines.config.errors import EvergreenError
from studies import compare_default, tables

ROOT = Path(__file__).parents[2]


def some_rows(seed, count=600):
    """The label follows the text, and a number that says nothing."""
    random = np.random.default_rng(seed)
    plan = random.choice(["basic", "fiber", "rare"], count)
    label = random.random(count) < np.where(plan == "fiber", 0.7, 0.2)
    fold = np.arange(count) // 2 % 5
    plan[(plan == "rare") & (fold > 0)] = "basic"  # a text that one fold alone has
    columns = {"customer_id": np.arange(count) // 2, "churned": label.astype("int32"), "plan": plan}
    return pa.table(columns | {"noise": random.random(count), "fold": fold})


@pytest.fixture
def folder(tmp_path):
    """What `dvc repro` leaves, with a candidate that knows all and one that knows nothing."""
    training = some_rows(2)
    scores = training.select(["customer_id", "churned"]).append_column("score_oracle", training["churned"].cast("float64"))
    scores = scores.append_column("score_dice", training["noise"]).append_column("newest", pa.array(np.arange(600) >= 400))
    for name, table in {results.TRAINING: training, results.SCORES: scores}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pq.write_table(table, tmp_path / name)
    stage.write_json(tmp_path / results.RECENCY, {"overall": None})
    stage.write_json(tmp_path / results.SCHEMA, {"numbers": ["noise"], "categories": {"plan": ["basic", "fiber"]}})
    stage.write_json(tmp_path / results.EVALUATION, {"challenger": "oracle", "candidates": {"oracle": {}, "dice": {}}})
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(
        text.replace("  threads: 2 ", "  threads: 1 ").replace("bootstrap: 1000", "bootstrap: 200")
    )
    return tmp_path


def test_each_candidate_is_judged_against_the_default_on_the_same_rows(folder):
    found = compare_default.compare(folder)
    assert found.counts == f"600 rows, 300 entities, {sum(some_rows(2)['churned'].to_pylist())} positive"
    assert (
        found.figures["oracle"].point == 1.0 > found.figures[compare_default.DEFAULT].point > 0.6 > found.figures["dice"].point
    )
    assert found.gains["oracle"].low > 0 > found.gains["dice"].high
    assert compare_default.DEFAULT not in found.gains
    text = tables.page([found])
    assert "| **oracle**, the challenger | 1.0000 [1.0000, 1.0000] |" in text
    assert "| churn | evergreen-1 | 600 rows" in text


def test_where_older_rows_count_less_the_newest_snapshots_are_compared(folder):
    stage.write_json(folder / results.RECENCY, {"overall": "2025-03-31"})
    found = compare_default.compare(folder)
    newest = some_rows(2)["churned"].to_numpy()[400:]
    assert found.counts == f"200 rows of the newest snapshots, 100 entities, {newest.sum()} positive"


def test_what_is_missing_is_named(folder):
    (folder / results.SCORES).unlink()
    with pytest.raises(EvergreenError, match=r"evaluation/scores\.parquet missing: run `dvc repro`"):
        compare_default.compare(folder)


def test_the_default_takes_nothing_from_the_labels_of_the_fold_that_it_judges(folder):
    rows, config = pq.read_table(folder / results.TRAINING), params.read(folder / "params.yaml")
    own, labels = rows["fold"].to_numpy() == 0, rows["churned"].to_numpy()
    flipped = pa.array(np.where(own, 1 - labels, labels))
    changed = rows.set_column(rows.column_names.index("churned"), "churned", flipped)
    schema = json.loads((folder / results.SCHEMA).read_text())
    before, after = (compare_default.default_scores(table, schema, config) for table in (rows, changed))
    assert (before[own] == after[own]).all() and (before[~own] != after[~own]).any()
