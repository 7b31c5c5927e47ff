"""What a version hands to those who watch it: complete, the same each time, and nobody's name in it."""

import json
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitoring import reference
from monitoring.histograms import PREDICTION
from monitoring.reference import Reference
from pipelines import features, params, stage

PARAMS = params.read()
DATA = PARAMS.data.model_copy(update={"personal": ["email"], "protected": ["gender"]})
CONFIG = PARAMS.model_copy(
    update={
        "data": DATA,
        "monitor": PARAMS.monitor.model_copy(update={"rates": {"total": "tenure"}, "trending": []}),
        "evaluate": PARAMS.evaluate.model_copy(update={"bootstrap": 100}),
        "features": PARAMS.features.model_copy(update={"exclude": ["gender"]}),
        "audit": PARAMS.audit.model_copy(update={"report_rows": 300}),
    }
)
DAYS = [date(2024, month, 28) for month in (1, 2, 3)]


def rows(first, count=400):
    """A row a customer and day."""
    random = np.random.default_rng(first)
    size = count * len(DAYS)
    columns = {
        "customer_id": np.repeat(np.arange(first, first + count), len(DAYS)),
        "snapshot_date": DAYS * count,
        "churned": (random.random(size) < 0.3).astype(int),
        "tenure": random.integers(0, 50, size),
        "total": random.gamma(2, 100, size),
        "plan": random.choice(["basic", "fiber"], size),
        "gender": random.choice(["f", "m"], size),
        "email": [f"canary-{number}@example.org" for number in range(size)],
    }
    return pa.table(columns)


def write(folder, monkeypatch):
    """The stage's output; half of the training rows were cross-validated, in another order."""
    train, test = rows(0), rows(1000)
    schema = features.learn_schema(train, DATA, CONFIG.features)
    stage.write_json(folder / "schema.json", schema)
    pq.write_table(train, folder / "train.parquet")
    score = pa.array(np.linspace(0.01, 0.9, test.num_rows))
    pq.write_table(test.append_column("score_linear", score), folder / "scores.parquet")
    used = np.random.default_rng(1).permutation(train.num_rows)[: train.num_rows // 2]
    keys = train.select([*DATA.key_columns, DATA.target]).append_column("score", pa.array(np.arange(train.num_rows) / 2000))
    (folder / "models" / "linear").mkdir(parents=True, exist_ok=True)
    pq.write_table(keys.take(pa.array(used)), folder / "models" / "linear" / "oof.parquet")
    figures = {"metrics": {"roc_auc": {"point": 0.5, "low": 0.4, "high": 0.6}}, "threshold": 0.3}
    evaluated = {"challenger": "linear", "candidates": {"linear": figures}}
    stage.write_json(folder / "evaluation.json", evaluated)
    stage.write_json(folder / "decision.json", {"candidate": "linear", "threshold": 0.3})
    monkeypatch.setattr(reference.parameters, "read", lambda: CONFIG)
    reference.main(
        train=folder / "train.parquet",
        schema=folder / "schema.json",
        models=folder / "models",
        ensemble=folder / "ensemble",
        scores=folder / "scores.parquet",
        evaluation=folder / "evaluation.json",
        reference=folder / "reference.json",
        sample=folder / "reference.parquet",
    )
    return train, test, used


def test_it_counts_the_training_rows_with_the_scores_that_they_were_given_out_of_fold(tmp_path, monkeypatch):
    train, _, used = write(tmp_path, monkeypatch)
    found = Reference.read(tmp_path)
    assert found.training.rows == len(used)
    expected = np.arange(train.num_rows)[used] / 2000
    assert found.training.numbers[PREDICTION].total == pytest.approx(expected.sum())
    rates = train["total"].to_numpy()[used] / np.maximum(train["tenure"].to_numpy()[used], 1)
    assert found.training.numbers["total"].total == pytest.approx(rates.sum())
    assert sum(found.training.categories["plan"].counts) == len(used)


def test_positives_are_those_of_all_rows_by_snapshot(tmp_path, monkeypatch):
    train, test, _ = write(tmp_path, monkeypatch)
    both = pa.concat_tables([train, test]).to_pandas()
    expected = {day: (int(one["churned"].sum()), len(one)) for day, one in both.groupby("snapshot_date")}
    assert Reference.read(tmp_path).positives == expected


def test_the_estimate_of_the_held_out_rows_is_theirs(tmp_path, monkeypatch):
    write(tmp_path, monkeypatch)
    found = Reference.read(tmp_path)
    assert found.threshold == 0.3 and found.held_out["roc_auc"].low == 0.4
    assert found.expected["roc_auc"].low < 0.5 < found.expected["roc_auc"].high


def test_nobody_is_named_in_it(tmp_path, monkeypatch):
    write(tmp_path, monkeypatch)
    sample = pq.read_table(tmp_path / "reference.parquet")
    assert set(sample.column_names) == {"tenure", "total", "plan", "gender", PREDICTION} and sample.num_rows == 300
    assert "canary" not in (tmp_path / "reference.json").read_text()
    assert set(json.loads((tmp_path / "schema.json").read_text())["categories"]) == {"plan"}


def test_two_runs_write_the_same_bytes(tmp_path, monkeypatch):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, monkeypatch)
    for file in ("reference.json", "reference.parquet"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


def test_a_bundle_of_earlier_days_says_that_it_cannot_be_watched(tmp_path):
    from pipelines.errors import EvergreenError

    with pytest.raises(EvergreenError, match=r"has no reference\.json: it cannot be watched"):
        Reference.read(tmp_path)
