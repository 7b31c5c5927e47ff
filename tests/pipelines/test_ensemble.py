"""The ensemble: weights that help, one graph that computes them, and no graph where one candidate is enough."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import expit, logit

from pipelines import ensemble, evaluate, features, params, scoring, stage, train
from pipelines.candidates import lightgbm, linear
from pipelines.errors import EvergreenError
from pipelines.fitting import folds
from pipelines.fitting.calibration import Isotonic, Platt, Uncalibrated
from tests.pipelines.customers import customers

CONFIG = params.read()
RANDOM = np.random.default_rng(3)
LABELS = (RANDOM.random(3000) < 0.3).astype(int)


def noisy(noise, seed):
    """Scores that tell something, spoilt by noise of their own."""
    return expit(LABELS - 1 + np.random.default_rng(seed).normal(0, noise, len(LABELS)))


def test_two_that_err_apart_are_better_together_and_each_counts():
    scores = {"one": noisy(1, 1), "two": noisy(1, 2)}
    weights = ensemble.select(LABELS, scores, "roc_auc", 25)
    assert weights == pytest.approx({"one": 0.5, "two": 0.5}, abs=0.1)
    together = sum(weight * scores[name] for name, weight in weights.items())
    assert folds.measure("roc_auc", LABELS, together) > 0.02 + max(
        folds.measure("roc_auc", LABELS, one) for one in scores.values()
    )


def test_one_that_only_adds_noise_is_left_out():
    scores = {"noise": RANDOM.random(len(LABELS)), "good": noisy(0.3, 1)}
    assert ensemble.select(LABELS, scores, "roc_auc", 25) == {"good": 1.0}


def test_the_first_of_equals_is_chosen_and_alone():
    same = noisy(1, 1)
    assert ensemble.select(LABELS, {"one": same, "two": same}, "roc_auc", 25) == {"one": 1.0}


def test_no_prefix_of_the_path_is_better():
    scores = {"one": noisy(1, 1), "two": noisy(1.5, 2), "three": noisy(3, 3)}
    found = [ensemble.select(LABELS, scores, "pr_auc", rounds) for rounds in range(1, 12)]
    values = [folds.measure("pr_auc", LABELS, sum(weight * scores[name] for name, weight in one.items())) for one in found]
    assert values == sorted(values)


@pytest.fixture(scope="module")
def table():
    return customers()


@pytest.fixture(scope="module")
def schema(table):
    return features.learn_schema(table, DATA, FEATURES)


@pytest.fixture(scope="module")
def members(table, schema):
    rows = folds.as_rows(table, schema, DATA)
    calibrations = {"linear": Isotonic((-2.0, 0.0, 1.0), (0.05, 0.3, 0.8)), "lightgbm": Platt(0.8, 0.1)}
    made = {}
    for name, module in (("linear", linear), ("lightgbm", lightgbm)):
        fitted = module.fit(rows, CONFIG.candidate(name), seed=1, threads=1)
        made[name] = module.export(fitted, schema, calibrations[name])
    return made


@pytest.mark.parametrize("chosen", [Uncalibrated(), Platt(1.2, -0.1), Isotonic((-2.0, 0.0, 1.0), (0.05, 0.3, 0.8))])
def test_the_graph_scores_as_its_members_mean_on_every_row(members, table, schema, tmp_path, chosen):
    weights = {"linear": 0.3, "lightgbm": 0.7}
    total = 0.0
    for name, weight in weights.items():
        onnx.save(members[name], tmp_path / f"{name}.onnx")
        total = total + weight * scoring.load_graph(tmp_path / f"{name}.onnx", schema).score(table)
    composed = ensemble.compose(members, weights, schema, chosen)
    onnx.save(composed, tmp_path / "model.onnx")
    found = scoring.load_graph(tmp_path / "model.onnx", schema).score(table)
    assert found == pytest.approx(chosen(logit(total)), abs=1e-6)
    assert {value.name for value in composed.graph.input} == {"numbers", "categories"}


def test_three_members_of_one_kind_do_not_mix_up_their_nodes(members, table, schema, tmp_path):
    weights = {"a": 0.5, "b": 0.25, "c": 0.25}
    onnx.save(
        ensemble.compose(dict.fromkeys(weights, members["lightgbm"]), weights, schema, Uncalibrated()), tmp_path / "c.onnx"
    )
    onnx.save(members["lightgbm"], tmp_path / "alone.onnx")
    both = [scoring.load_graph(tmp_path / f"{name}.onnx", schema).score(table) for name in ("c", "alone")]
    assert both[0] == pytest.approx(both[1], abs=1e-6)


def test_shares_are_weighted_and_sum_to_one():
    shap = {"one": {"a": 3.0, "b": 1.0}, "two": {"a": 0.0, "b": 0.2}}
    found = ensemble.shares(shap, {"one": 0.5, "two": 0.5})
    assert found == {"a": 0.375, "b": 0.625}


# the stage


@pytest.fixture(scope="module")
def trained(table, schema, tmp_path_factory):
    """A folder with two trained candidates, of a table without a clock."""
    text = Path("params.yaml").read_text().replace("time: snapshot_date", "time: null")
    text = text.replace("boosting: cpu, lightgbm: cpu, mlp: gpu", "lightgbm: cpu")
    text = text.replace("  trials: 6 ", "  trials: 0 ").replace("exclude: [gender]", "exclude: []")
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("params.yaml").write_text(text)
        pq.write_table(table, "train.parquet")
        stage.write_json(Path("schema.json"), schema)
        for name in ("linear", "lightgbm"):
            paths = {"model": Path("models") / name, "checkpoints": Path("checkpoints")}
            train.main(candidate=name, train=Path("train.parquet"), schema=Path("schema.json"), **paths)
    return folder


@pytest.fixture
def project(trained, tmp_path, monkeypatch):
    """A copy of it, to change."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


def compose(rounds=25, folder="ensemble"):
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("  rounds: 25 ", f"  rounds: {rounds} "))
    ensemble.main(train=Path("train.parquet"), schema=Path("schema.json"), models=Path("models"), ensemble=Path(folder))
    return json.loads((Path(folder) / "weights.json").read_text())


def rescore(name, scores):
    """Give a candidate other out-of-fold scores."""
    oof = pq.read_table(f"models/{name}/oof.parquet")
    place = oof.column_names.index("score")
    pq.write_table(oof.set_column(place, "score", pa.array(scores)), f"models/{name}/oof.parquet")


def apart():
    """Two candidates that err apart."""
    labels = pq.read_table("models/linear/oof.parquet")["churned"].to_numpy()
    for seed, name in enumerate(("linear", "lightgbm")):
        rescore(name, expit(labels - 1 + np.random.default_rng(seed).normal(0, 1, len(labels))))


@pytest.mark.usefixtures("project")
def test_the_stage_writes_what_a_candidate_writes_and_the_same_again():
    apart()
    said = compose()
    assert said["reason"] is None and set(said["weights"]) == {"linear", "lightgbm"}
    made = {path.name: path.read_bytes() for path in Path("ensemble").iterdir()}
    assert made.keys() == {path.name for path in Path("models/linear").iterdir()} | {"weights.json"}
    compose(folder="again")
    assert {path.name: path.read_bytes() for path in Path("again").iterdir()} == made
    training = json.loads(made["training.json"])
    assert training["params"] == {"weights": said["weights"]}
    oof = pq.read_table("ensemble/oof.parquet")
    assert oof.column_names == pq.read_table("models/linear/oof.parquet").column_names
    auc = folds.measure("roc_auc", oof["churned"].to_numpy(), oof["score"].to_numpy())
    assert training["roc_auc"] == pytest.approx(auc)


@pytest.mark.usefixtures("project")
def test_rows_are_matched_by_key_and_not_by_place():
    apart()
    expected = compose()
    oof = pq.read_table("models/linear/oof.parquet")
    order = np.random.default_rng(1).permutation(oof.num_rows)
    pq.write_table(oof.take(order), "models/linear/oof.parquet")
    assert compose() == expected


@pytest.mark.usefixtures("project")
def test_where_one_is_enough_there_is_no_graph_and_the_reason_is_given():
    labels = pq.read_table("models/linear/oof.parquet")["churned"].to_numpy()
    rescore("linear", np.where(labels == 1, 0.9, 0.1))
    assert "no mean of several is better than linear alone" in compose()["reason"]
    assert [path.name for path in Path("ensemble").iterdir()] == ["weights.json"]
    assert evaluate.trained(Path("models"), Path("ensemble"), ["linear"]) == {"linear": Path("models/linear")}


@pytest.mark.usefixtures("project")
def test_no_rounds_make_none():
    assert compose(rounds=0)["reason"] == "none: ensemble.rounds is 0"


@pytest.mark.usefixtures("project")
def test_a_candidate_that_was_not_trained_is_named():
    Path("models/lightgbm/oof.parquet").unlink()
    with pytest.raises(EvergreenError, match=r"lightgbm/oof\.parquet is missing"):
        compose()


@pytest.mark.usefixtures("project")
def test_a_graph_that_is_not_its_members_mean_is_refused(monkeypatch):
    apart()
    real = ensemble.mean
    monkeypatch.setattr(ensemble, "mean", lambda scores, weights: real(scores, weights) + 0.001)
    with pytest.raises(EvergreenError, match="differs from"):
        compose()
