"""What a version hands to those who watch it: complete, the same each time, and nobody's name in it."""

import json
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitoring.histograms import PREDICTION
from monitoring.reference import Reference, newest_metrics
from monitoring.stages import reference
from pipelines import features
from pipelines.config import params, stage

PARAMS = params.read()
DATA = PARAMS.data.model_copy(update={"personal": ["email"], "protected": ["gender"]})
CONFIG = PARAMS.model_copy(
    update={
        "data": DATA,
        "monitor": PARAMS.monitor.model_copy(update={"per_unit_columns": {"total": "tenure"}, "non_stationary_columns": []}),
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


def write(folder, monkeypatch, since=None):
    """The stage's output; the scores of the newest day are lower than those before."""
    training = rows(0)
    late = np.array(training["snapshot_date"].to_pylist()) == DAYS[-1]
    schema = features.learn_schema(training, DATA, CONFIG.features)
    stage.write_json(folder / "schema.json", schema)
    stage.write_json(folder / "recency.json", {"by_fold": [since] * 5, "overall": since})
    pq.write_table(training, folder / "training.parquet")
    scores = np.where(late, 0.2, 0.6) + np.linspace(0, 0.1, training.num_rows)
    judged = training.select([*DATA.key_columns, DATA.target]).append_column("newest", pa.array(late))
    pq.write_table(judged.append_column("score_linear", pa.array(scores)), folder / "scores.parquet")
    figures = {"metrics": figure(0.5), "newest": figure(0.7), "threshold": 0.3}
    evaluated = {"challenger": "linear", "candidates": {"linear": figures}}
    stage.write_json(folder / "evaluation.json", evaluated)
    stage.write_json(folder / "decision.json", {"candidate": "linear", "threshold": 0.3})
    monkeypatch.setattr(reference.parameters, "read", lambda: CONFIG)
    reference.main(
        training=folder / "training.parquet",
        schema=folder / "schema.json",
        past=folder / "recency.json",
        scores=folder / "scores.parquet",
        evaluation=folder / "evaluation.json",
        reference=folder / "reference.json",
        sample=folder / "reference.parquet",
    )
    return training, scores


def figure(roc_auc):
    return {
        "roc_auc": {"point": roc_auc, "low": roc_auc - 0.1, "high": roc_auc + 0.1},
        "log_loss": {"point": 0.3, "low": 0.2, "high": 0.4},
    }


def test_it_counts_the_training_rows_with_the_scores_that_they_were_given_out_of_fold(tmp_path, monkeypatch):
    training, scores = write(tmp_path, monkeypatch)
    found = Reference.read(tmp_path)
    assert found.training.rows == training.num_rows
    assert found.training.numbers[PREDICTION].total == pytest.approx(scores.sum())
    rates = training["total"].to_numpy() / np.maximum(training["tenure"].to_numpy(), 1)
    assert found.training.numbers["total"].total == pytest.approx(rates.sum())
    assert sum(found.training.categories["plan"].counts) == training.num_rows


def test_positives_are_those_of_all_rows_by_snapshot(tmp_path, monkeypatch):
    training, _ = write(tmp_path, monkeypatch)
    days = training.to_pandas().groupby("snapshot_date")
    expected = {day: (int(rows_of_day["churned"].sum()), len(rows_of_day)) for day, rows_of_day in days}
    assert Reference.read(tmp_path).positives == expected


def test_what_a_window_is_compared_with_is_of_the_newest_snapshots(tmp_path, monkeypatch):
    write(tmp_path, monkeypatch)
    found = Reference.read(tmp_path)
    assert found.threshold == 0.3 and found.held_out["roc_auc"].low == pytest.approx(0.6)
    assert found.expected["roc_auc"].low < 0.5 < found.expected["roc_auc"].high
    assert found.expected["accuracy"].point == pytest.approx(0.7, abs=0.05)  # most of the newest are below the threshold
    stage.write_json(tmp_path / "evaluation.json", {"candidates": {"linear": {"metrics": figure(0.5)}}})
    assert Reference.read(tmp_path).held_out["roc_auc"].low == pytest.approx(0.4)  # of a table without a clock


def test_a_version_from_before_cross_fitting_is_compared_with_all_its_rows():
    unseen = {"roc_auc": {"point": 0.7, "low": 0.6, "high": 0.8}}  # of the metric alone
    assert newest_metrics({"metrics": figure(0.5), "newest": unseen}) == figure(0.5)


def test_what_counts_little_in_training_counts_little_in_the_estimate(tmp_path, monkeypatch):
    write(tmp_path, monkeypatch, since=str(DAYS[-1]))
    centres = Reference.read(tmp_path).calibration.centres
    assert np.median(centres) < 0.4, "the scores of days that are past"


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
    from pipelines.config.errors import EvergreenError

    with pytest.raises(EvergreenError, match=r"has no reference\.json: it cannot be watched"):
        Reference.read(tmp_path)
