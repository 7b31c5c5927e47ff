"""A protected attribute left out of the features: fitted again, at the same number selected, side by side."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from monitoring import ablation
from monitoring.ablation import stand_in
from pipelines.config import params
from pipelines.data import split
from pipelines.training.candidates import linear
from pipelines.training.fitting import folds

PARAMS = Path(__file__).parents[2] / "params.yaml"
SCHEMA = {"numbers": ["usage"], "categories": {"gender": ["f", "m"]}}
SCORED = {"metrics": {"roc_auc": {"point": 0.8}}}


def table(rows, seed):
    """Women are positive more often, and nothing but `gender` says so; `usage` says something of everybody."""
    random = np.random.default_rng(seed)
    gender, usage = random.choice(["f", "m"], rows), random.normal(size=rows)
    labels = random.random(rows) < 1 / (1 + np.exp(-(usage + 2.0 * (gender == "f") - 1.0)))
    entities = [f"c{number // 2}-{seed}" for number in range(rows)]
    return pa.table({"customer_id": entities, "gender": gender, "usage": usage, "churned": labels.astype(np.int32)})


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A project in which `linear` is the challenger; returns config, source and its out-of-fold scores."""
    monkeypatch.chdir(tmp_path)
    values = YAML(typ="safe").load(PARAMS)
    values["data"] |= {"entity": "customer_id", "time": None, "target": "churned", "protected": ["gender", "usage"]}
    values["evaluate"] |= {"bootstrap": 100}
    YAML().dump(values, Path("params.yaml"))
    config = params.read()
    trained_on = split.split(table(3000, 1), config.data, config.split)
    rows, fold = folds.as_rows(trained_on, SCHEMA, config.data), trained_on["fold"].to_numpy()
    margins = fitted(rows, fold, config)
    scores = 1 / (1 + np.exp(-margins))
    pq.write_table(trained_on, "training.parquet")
    pq.write_table(trained_on.append_column("score_linear", pa.array(scores)), "scores.parquet")
    paths = {name: Path(f"{name}.parquet") for name in ("training", "scores")}
    return config, ablation.Source(**paths, schema=SCHEMA, models=Path("models"), ensemble=Path("ensemble")), scores


def fitted(rows, fold, config):
    """Margins of the rows, each by `linear` fitted on the other folds."""
    margins = np.empty(len(rows))
    for number in range(config.split.folds):
        own = fold == number
        model = linear.fit(rows.take(~own), config.candidate("linear"), seed=config.train.seed + number, threads=1)
        margins[own] = linear.margin(model, rows.take(own))
    return margins


def leave_out(made, protected):
    config, source, scores = made
    config = config.model_copy(update={"data": config.data.model_copy(update={"protected": protected})})
    evaluation = {"challenger": "linear", "candidates": {"linear": SCORED}}
    return ablation.leave_out(source, evaluation, scores >= 0.5, config)


def test_without_the_attribute_groups_are_selected_alike_at_the_same_total(made):
    found = leave_out(made, ["gender"])["gender"]
    assert (found["candidate"], found["stands_for"]) == ("linear", None)
    whole, women, men = found["groups"]
    assert [group["group"] for group in found["groups"]] == ["", "f", "m"]
    assert whole["rates"]["selection_rate"]["change"]["point"] == 0
    apart = {
        name: women["rates"]["selection_rate"][name]["point"] - men["rates"]["selection_rate"][name]["point"]
        for name in ("with", "without")
    }
    assert apart["with"] > 0.4
    assert abs(apart["without"]) < 0.05
    assert women["rates"]["tpr"]["change"]["high"] < 0


def test_the_refits_have_not_seen_the_entities_that_they_judge(made):
    config, source, _ = made
    trained_on = pq.read_table(source.training)
    rows, fold = folds.as_rows(trained_on, SCHEMA | {"categories": {}}, config.data), trained_on["fold"].to_numpy()
    expected = folds.measure("roc_auc", rows.labels, fitted(rows, fold, config))
    found = leave_out(made, ["gender"])["gender"]["groups"][0]["rates"]["roc_auc"]["without"]["point"]
    assert found == pytest.approx(expected, abs=1e-9)


def test_what_it_costs_in_auc_is_a_paired_interval(made):
    auc = leave_out(made, ["gender"])["gender"]["groups"][0]["rates"]["roc_auc"]
    assert auc["change"]["high"] < -0.02
    assert auc["change"]["point"] == pytest.approx(auc["without"]["point"] - auc["with"]["point"], abs=2e-9)
    assert auc["change"]["high"] - auc["change"]["low"] < auc["with"]["high"] - auc["with"]["low"] + 0.02


def test_what_tuning_chose_is_fitted_again(made):
    section = made[0].candidate("linear")
    assert ablation.chosen_params(section, Path("models/linear/training.json")) == section
    Path("models/linear").mkdir(parents=True)
    Path("models/linear/training.json").write_text(json.dumps({"params": {"C": 7.5}}))
    assert ablation.chosen_params(section, Path("models/linear/training.json")).C == 7.5


POOLS = {"linear": "cpu", "lightgbm": "cpu", "mlp": "gpu"}


@pytest.mark.parametrize(
    ("challenger", "weights", "chosen"),
    [
        ("linear", {}, "linear"),
        ("mlp", {}, "lightgbm"),  # of the gpu pool: the best of the cpu pool instead
        ("ensemble", {"mlp": 0.6, "linear": 0.3, "lightgbm": 0.1}, "linear"),  # its heaviest member of the cpu pool
        ("ensemble", {"mlp": 1.0}, "lightgbm"),
    ],
)
def test_who_is_fitted_again(challenger, weights, chosen):
    points = {"linear": 0.7, "lightgbm": 0.8, "mlp": 0.9, "ensemble": 0.91}
    candidates = {name: {"metrics": {"roc_auc": {"point": point}}} for name, point in points.items()}
    assert stand_in({"challenger": challenger, "candidates": candidates}, weights, POOLS, "roc_auc") == chosen


def test_nobody_on_the_cpu_pool_is_nobody_to_fit_again():
    assert stand_in({"challenger": "mlp", "candidates": {"mlp": SCORED}}, {}, {"mlp": "gpu"}, "roc_auc") is None


def test_as_many_are_selected_as_before_but_for_ties():
    scores = np.array([0.1, 0.4, 0.3, 0.4])
    assert ablation.select(scores, 0).tolist() == [False] * 4
    assert ablation.select(scores, 3).tolist() == [False, True, True, True]
    assert ablation.select(scores, 1).tolist() == [False, True, False, True]
