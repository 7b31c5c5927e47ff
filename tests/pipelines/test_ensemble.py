"""The ensemble: weights that help, one graph that computes them, and no graph where one candidate is enough.

The figures that judge it are of weights that each fold's rows had no say in.
"""

import itertools
import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import expit, logit

from pipelines import onnx_model
from pipelines.config import params
from pipelines.config.errors import EvergreenError
from pipelines.evaluation import evaluate
from pipelines.stages import ensemble as ensemble_stage
from pipelines.stages import train as train_stage
from pipelines.training import ensemble
from pipelines.training.candidates import lightgbm, linear
from pipelines.training.fitting import folds
from pipelines.training.fitting.calibration import Isotonic, Platt, Uncalibrated
from pipelines.training.fitting.graph import Calibrations
from tests.support.candidate_tables import graph_of
from tests.support.customers import DATA, FOLDS, customers, learn_schema, shifting, write

CONFIG = params.read()
RANDOM = np.random.default_rng(3)
LABELS = (RANDOM.random(3000) < 0.3).astype(int)


def noisy(noise, seed):
    """Scores that tell something, spoilt by noise of their own."""
    return expit(LABELS - 1 + np.random.default_rng(seed).normal(0, noise, len(LABELS)))


ONES = np.ones(len(LABELS))
ROUNDS = 100


def loss(scores, weights):
    """Mean log loss of the weighted mean."""
    mean = sum(weight * scores[name] for name, weight in weights.items())
    return -np.log(np.where(LABELS == 1, mean, 1 - mean)).mean()


def test_two_that_err_apart_are_better_together_and_each_counts():
    scores = {"one": noisy(1, 1), "two": noisy(1, 2)}
    weights = ensemble.select(LABELS, scores, ONES, ROUNDS)
    assert weights == pytest.approx({"one": 0.5, "two": 0.5}, abs=0.1)
    together = sum(weight * scores[name] for name, weight in weights.items())
    assert folds.measure("roc_auc", LABELS, together) > 0.02 + max(
        folds.measure("roc_auc", LABELS, one) for one in scores.values()
    )


def test_one_that_only_adds_noise_is_left_out_and_the_rest_sums_to_one():
    scores = {"noise": np.clip(RANDOM.random(len(LABELS)), 0.01, 0.99), "good": noisy(0.3, 1), "other": noisy(0.3, 2)}
    weights = ensemble.select(LABELS, scores, ONES, ROUNDS)
    assert weights.keys() == {"good", "other"}
    assert sum(weights.values()) == pytest.approx(1, abs=1e-5)
    assert ensemble.select(LABELS, {name: scores[name] for name in ("noise", "good")}, ONES, ROUNDS) == {"good": 1.0}


def test_equals_share_alike():
    same = noisy(1, 1)
    assert ensemble.select(LABELS, {"one": same, "two": same}, ONES, ROUNDS) == {"one": 0.5, "two": 0.5}


def test_every_round_makes_the_labels_likelier_until_nothing_is_gained():
    scores = {"one": noisy(1, 1), "two": noisy(1.5, 2), "three": noisy(2, 3)}
    found = [ensemble.select(LABELS, scores, ONES, rounds) for rounds in (1, 2, 5, 10, 50, 200, 1000)]
    losses = [loss(scores, weights) for weights in found]
    assert all(later <= earlier + 1e-7 for earlier, later in itertools.pairwise(losses))
    others = [{"one": 1 - two - three, "two": two, "three": three} for two in (0.1, 0.2, 0.3) for three in (0, 0.1, 0.2)]
    assert losses[-1] < min(loss(scores, weights) for weights in others) + 1e-4


def test_rows_that_count_more_say_more():
    half = np.arange(len(LABELS)) < 1500
    scores = {"old": np.where(half, noisy(0.3, 1), 0.3), "new": np.where(half, 0.3, noisy(0.3, 2))}
    assert ensemble.select(LABELS, scores, ONES, ROUNDS) == pytest.approx({"old": 0.5, "new": 0.5}, abs=0.1)
    found = ensemble.select(LABELS, scores, np.where(half, 0.01, 1.0), ROUNDS)
    assert found["new"] > 0.9


def test_a_label_that_all_of_them_rule_out_leaves_the_weights_numbers():
    scores = {"one": noisy(1, 1), "two": noisy(1, 2)}
    for values in scores.values():
        values[0] = 1 - LABELS[0]
    found = ensemble.select(LABELS, scores, ONES, ROUNDS)
    assert sum(found.values()) == pytest.approx(1, abs=1e-5)


# weights for each fold


FOLD = np.arange(len(LABELS)) % 3
APART = {"one": noisy(1, 1), "two": noisy(1, 2), "three": noisy(2, 3)}


def test_weights_of_a_fold_are_those_that_the_other_folds_choose():
    weights = RANDOM.random(len(LABELS))
    by_fold = ensemble.cross_selected(LABELS, APART, weights, FOLD, 25)
    for number, found in enumerate(by_fold):
        others = number != FOLD
        kept = {name: values[others] for name, values in APART.items()}
        assert found == ensemble.select(LABELS[others], kept, weights[others], 25)


def test_labels_of_a_fold_turned_around_change_no_weight_of_its_own_and_others():
    before = ensemble.cross_selected(LABELS, APART, ONES, FOLD, 25)
    turned = ensemble.cross_selected(np.where(FOLD == 1, 1 - LABELS, LABELS), APART, ONES, FOLD, 25)
    assert turned[1] == before[1]
    assert turned[0] != before[0]


def test_each_row_is_scored_by_the_weights_of_its_fold():
    by_fold = [{"one": 1.0}, {"two": 0.5, "three": 0.5}, {"three": 1.0}]
    found = expit(ensemble.cross_mean(APART, by_fold, FOLD))
    expected = [APART["one"], (APART["two"] + APART["three"]) / 2, APART["three"]]
    for number, values in enumerate(expected):
        own = number == FOLD
        assert found[own] == pytest.approx(values[own], abs=1e-9)


# the graph


@pytest.fixture(scope="module")
def table():
    return customers(1500)


@pytest.fixture(scope="module")
def schema(table):
    return learn_schema(table)


@pytest.fixture(scope="module")
def members(table, schema):
    rows, fold = folds.as_rows(table, schema, DATA), table["fold"].to_numpy()
    calibrations = {"linear": Isotonic((-2.0, 0.0, 1.0), (0.05, 0.3, 0.8)), "lightgbm": Platt(0.8, 0.1)}
    made = {}
    for name, module in (("linear", linear), ("lightgbm", lightgbm)):
        section = CONFIG.candidate(name).model_copy(update={} if name == "linear" else {"max_rounds": 30})
        models = [module.fit(rows.take(fold != number), section, seed=1, threads=1) for number in range(FOLDS)]
        made[name] = graph_of(module, models, schema, calibration=calibrations[name])
    return made


def loaded(graph, schema, folder):
    onnx.save(graph, folder / "graph.onnx")
    return onnx_model.load_graph(folder / "graph.onnx", schema)


@pytest.mark.parametrize("chosen", [Uncalibrated(), Platt(1.2, -0.1), Isotonic((-2.0, 0.0, 1.0), (0.05, 0.3, 0.8))])
def test_both_outputs_of_the_graph_are_the_members_means_on_every_row(members, table, schema, tmp_path, chosen):
    weights, by_fold = {"linear": 0.3, "lightgbm": 0.7}, [{"lightgbm": 1.0}, {"linear": 1.0}, {"linear": 0.6, "lightgbm": 0.4}]
    calibrations = Calibrations(chosen, [chosen, Uncalibrated(), chosen])
    composed = ensemble.compose(members, weights, by_fold, calibrations, schema)
    assert {value.name for value in composed.graph.input} == {"numbers", "categories"}
    model, alone = loaded(composed, schema, tmp_path), {name: loaded(each, schema, tmp_path) for name, each in members.items()}
    served = sum(weight * alone[name].score(table) for name, weight in weights.items())
    assert model.score(table) == pytest.approx(chosen(logit(served)), abs=1e-6)
    for number, own in enumerate(by_fold):
        fold = np.full(table.num_rows, number)
        mean = sum(weight * alone[name].score_unseen(table, fold) for name, weight in own.items())
        expected = calibrations.folds[number](logit(mean))
        assert model.score_unseen(table, fold) == pytest.approx(expected, abs=1e-6)


def test_a_member_that_only_a_fold_has_is_in_no_served_score(members, table, schema, tmp_path):
    plain = Calibrations(Uncalibrated(), [Uncalibrated()] * 3)
    by_fold = [{"linear": 1.0}, {"lightgbm": 1.0}, {"lightgbm": 1.0}]
    model = loaded(ensemble.compose(members, {"lightgbm": 1.0}, by_fold, plain, schema), schema, tmp_path)
    alone = {name: loaded(each, schema, tmp_path) for name, each in members.items()}
    assert model.score(table) == pytest.approx(alone["lightgbm"].score(table), abs=1e-6)
    first = np.zeros(table.num_rows, int)
    assert model.score_unseen(table, first) == pytest.approx(alone["linear"].score_unseen(table, first), abs=1e-6)


def test_three_members_of_one_kind_do_not_mix_up_their_nodes(members, table, schema, tmp_path):
    weights = {"a": 0.5, "b": 0.25, "c": 0.25}
    same, plain = dict.fromkeys(weights, members["lightgbm"]), Calibrations(Uncalibrated(), [Uncalibrated()] * 3)
    composed = loaded(ensemble.compose(same, weights, [weights] * 3, plain, schema), schema, tmp_path)
    alone, fold = loaded(members["lightgbm"], schema, tmp_path), table["fold"].to_numpy()
    assert composed.score(table) == pytest.approx(alone.score(table), abs=1e-6)
    assert composed.score_unseen(table, fold) == pytest.approx(alone.score_unseen(table, fold), abs=1e-6)


def test_shares_are_weighted_and_sum_to_one():
    shap = {"one": {"a": 3.0, "b": 1.0}, "two": {"a": 0.0, "b": 0.2}}
    found = ensemble.shares(shap, {"one": 0.5, "two": 0.5})
    assert found == {"a": 0.375, "b": 0.625}


# the stage


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with two trained candidates, of a table with a clock."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write(shifting(12, turns=None, count=100), clock=True, data={"horizon_days": 20, "embargo_days": 5})
        for name in ("linear", "lightgbm"):
            paths = {"training": "training.parquet", "schema": "schema.json", "past": "recency.json", "model": f"models/{name}"}
            train_stage.main(candidate=name, **{key: Path(path) for key, path in paths.items()})
    return folder


@pytest.fixture
def project(trained, tmp_path, monkeypatch):
    """A copy of it, to change."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


def compose(rounds=ROUNDS, folder="ensemble"):
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(re.sub(r"(?<=ensemble:\n  rounds: )\d+", str(rounds), text))
    ensemble_stage.main(
        training=Path("training.parquet"), schema=Path("schema.json"), models=Path("models"), ensemble=Path(folder)
    )
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


def alike():
    """The graphs' own scores, of which each is better in its turn, so that the composed graph can be held against them."""
    return {name: pq.read_table(f"models/{name}/oof.parquet")["score"].to_numpy() for name in ("linear", "lightgbm")}


@pytest.fixture
def both(monkeypatch):
    """Whatever the scores say, both candidates count: half and half, and in the second fold three to one."""
    weights = {"linear": 0.5, "lightgbm": 0.5}
    by_fold = [weights, {"linear": 0.75, "lightgbm": 0.25}, weights]
    monkeypatch.setattr(ensemble_stage, "select", lambda *_: weights)
    monkeypatch.setattr(ensemble_stage, "cross_selected", lambda *_: by_fold)
    return weights, by_fold


@pytest.mark.usefixtures("project")
def test_the_stage_writes_what_a_candidate_writes_and_the_same_again(both):
    weights, by_fold = both
    found = compose()
    assert (found["reason"], found["weights"], found["by_fold"]) == (None, weights, by_fold)
    made = {path.name: path.read_bytes() for path in Path("ensemble").iterdir()}
    assert made.keys() == {path.name for path in Path("models/linear").iterdir()} | {"weights.json"}
    compose(folder="again")
    assert {path.name: path.read_bytes() for path in Path("again").iterdir()} == made
    training = json.loads(made["training.json"])
    assert training["params"] == {"weights": weights}
    oof = pq.read_table("ensemble/oof.parquet")
    assert oof.column_names == pq.read_table("models/linear/oof.parquet").column_names
    auc = folds.measure("roc_auc", oof["churned"].to_numpy(), oof["score"].to_numpy())
    assert training["roc_auc"] == pytest.approx(auc)


@pytest.mark.usefixtures("project", "both")
def test_its_scores_are_those_of_weights_that_the_rows_had_no_say_in():
    compose()
    oof, scores = pq.read_table("ensemble/oof.parquet"), alike()
    share = np.where(oof["fold"].to_numpy() == 1, 0.75, 0.5)
    margins = logit(share * scores["linear"] + (1 - share) * scores["lightgbm"])
    assert oof["margin"].to_numpy() == pytest.approx(margins, abs=1e-6)
    schema, table = json.loads(Path("schema.json").read_text()), pq.read_table("training.parquet")
    model = onnx_model.load_graph(Path("ensemble/model.onnx"), schema)
    assert (model.score_unseen(table, oof["fold"].to_numpy()) == oof["score"].to_numpy()).all()


@pytest.mark.usefixtures("project", "both")
def test_months_that_no_member_had_seen_are_scored_by_their_mean():
    compose()
    ahead = pq.read_table("ensemble/backtest.parquet")
    members = [pq.read_table(f"models/{name}/backtest.parquet") for name in ("linear", "lightgbm")]
    assert ahead.column_names == members[0].column_names
    assert ahead.drop_columns(["score"]).equals(members[0].drop_columns(["score"]))
    mean = sum(member["score"].to_numpy() for member in members) / 2
    order = np.argsort(mean, kind="stable")
    assert (np.diff(ahead["score"].to_numpy()[order]) >= -1e-12).all()  # calibrated, and in the same order


@pytest.mark.usefixtures("project", "both")
def test_scores_that_are_not_the_graphs_own_are_refused():
    apart()
    with pytest.raises(EvergreenError, match="differs from the fitted model"):
        compose()


@pytest.mark.usefixtures("project")
def test_where_one_is_enough_there_is_no_graph_and_the_reason_is_given():
    labels = pq.read_table("models/linear/oof.parquet")["churned"].to_numpy()
    rescore("linear", np.where(labels == 1, 0.9, 0.1))
    rescore("lightgbm", np.where(labels == 1, 0.1, 0.9))
    assert "no mean of several is better than linear alone" in compose()["reason"]
    assert [path.name for path in Path("ensemble").iterdir()] == ["weights.json"]
    assert evaluate.trained(Path("models"), Path("ensemble"), ["linear"]) == {"linear": Path("models/linear")}


@pytest.mark.usefixtures("project")
def test_no_rounds_make_none():
    assert compose(rounds=0)["reason"] == "none: ensemble.rounds is 0"


@pytest.mark.usefixtures("project")
def test_a_candidate_that_was_not_trained_is_named():
    Path("models/lightgbm/model.onnx").unlink()
    with pytest.raises(EvergreenError, match=r"lightgbm/model\.onnx is missing: run `dvc repro`"):
        compose()


@pytest.mark.usefixtures("project", "both")
def test_a_graph_that_is_not_its_members_mean_is_refused(monkeypatch):
    real = ensemble.mean
    monkeypatch.setattr(ensemble_stage, "mean", lambda scores, weights: real(scores, weights) + 0.001)
    with pytest.raises(EvergreenError, match="differs from"):
        compose()
