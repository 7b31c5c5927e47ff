"""What holds for every candidate: its graph is its model on odd rows, it is reproducible, and it earns its cost.

No score is by a model that has seen the row's entity, and rows count their weights.
"""

import importlib
from dataclasses import replace

import numpy as np
import onnx
import pyarrow as pa
import pytest
from scipy.special import expit

from pipelines import features, onnx_model
from pipelines.config import params
from pipelines.config.errors import EvergreenError
from pipelines.config.params import FeaturesParams
from pipelines.training.fitting import folds, stopping
from tests.support.candidate_tables import auc, graph_of, graph_scores, odd, planted
from tests.support.customers import DATA, with_folds

pytestmark = pytest.mark.slow

CONFIG = params.read()
ROUNDS = ["boosting", "xgboost", "lightgbm"]  # those that early stopping ends
TREES = ["forest", *ROUNDS]
NAMES = [*TREES, "mlp"]
FEW = {"max_rounds": 80, "early_stopping_rounds": 10}


def section_of(name):
    """The candidate's section of params.yaml, with few rounds where it has any."""
    return CONFIG.candidate(name).model_copy(update=FEW if name in ROUNDS else {})


def fit(name, rows, **options):
    module = importlib.import_module(f"pipelines.training.candidates.{name}")
    return module, module.fit(rows, section_of(name), seed=1, threads=1, **options)


@pytest.fixture(scope="module", params=NAMES)
def fitted(request):
    return fit(request.param, planted())


@pytest.fixture(scope="module", params=TREES)
def trees(request):
    return fit(request.param, planted())


def test_the_graph_scores_odd_rows_as_the_fitted_model(fitted, tmp_path):
    module, model = fitted
    rows = odd()
    found = graph_scores(graph_of(module, [model]), rows, tmp_path)
    assert found == pytest.approx(expit(module.margin(model, rows)), abs=1e-6)
    assert len(np.unique(found)) > 100


def test_a_value_on_a_threshold_or_beside_it_takes_the_branch_it_took_in_training(trees, tmp_path):
    module, model = trees
    graph = graph_of(module, [model])
    [ensemble] = [node for node in graph.graph.node if node.op_type == "TreeEnsemble"]
    found = {item.name: onnx.helper.get_attribute_value(item) for item in ensemble.attribute}
    threshold, modes = (onnx.numpy_helper.to_array(found[name]) for name in ("nodes_splits", "nodes_modes"))
    feature, inner = np.array(found["nodes_featureids"]), modes == 0
    numbers = odd().numbers.copy()
    random = np.random.default_rng(3)
    for column in range(4):
        known = threshold[inner & (feature == column)]
        exact = random.choice(known, len(numbers))
        towards = random.choice(np.array([-np.inf, 0, np.inf], np.float32), len(numbers))
        numbers[:, column] = np.where(towards == 0, exact, np.nextafter(exact, towards))
    rows = replace(odd(), numbers=numbers)
    difference = np.abs(graph_scores(graph, rows, tmp_path) - expit(module.margin(model, rows)))
    assert difference.max() < 1e-6


def test_an_interaction_is_found_that_the_linear_candidate_cannot_see(fitted):
    module, model = fitted
    linear, baseline = fit("linear", planted())
    fresh = planted(seed=6)
    ours, theirs = auc(fresh.labels, module.margin(model, fresh)), auc(fresh.labels, linear.margin(baseline, fresh))
    assert ours > theirs + 0.1


@pytest.mark.parametrize("name", NAMES)
def test_fitting_twice_gives_the_same_bytes_and_margins(name):
    rows = planted(2000)
    module = importlib.import_module(f"pipelines.training.candidates.{name}")
    models = [module.fit(rows, section_of(name), seed=1, threads=2) for _ in "ab"]
    one, two = (graph_of(module, [model]).SerializeToString() for model in models)
    assert one == two
    assert (module.margin(models[0], rows) == module.margin(models[1], rows)).all()


def test_several_models_in_one_graph_keep_their_own_margins(fitted, tmp_path):
    """Of different rows, so that trees and layers differ in number and in size."""
    module, model = fitted
    others = [fit(module.__name__.split(".")[-1], planted(count, seed))[1] for count, seed in ((1500, 7), (900, 8))]
    rows, models = odd(2000), [others[0], model, others[1]]
    found = graph_scores(graph_of(module, models), rows, tmp_path, output="fold_probabilities")
    for number, each in enumerate(models):
        assert found[:, number] == pytest.approx(expit(module.margin(each, rows)), abs=1e-6)
    mean = sum(module.margin(each, rows) for each in models) / 3
    assert graph_scores(graph_of(module, models), rows, tmp_path) == pytest.approx(expit(mean), abs=1e-6)


# weights


@pytest.mark.parametrize("name", ["linear", *NAMES])
def test_rows_count_their_weights(name):
    """Half of the rows have their labels turned around: what is learnt is what the heavier half says."""
    rows = planted(4000)
    turned = np.repeat(np.arange(2000) % 2 == 0, 2)
    mixed = replace(rows, labels=np.where(turned, 1 - rows.labels, rows.labels))
    fresh = planted(seed=6)

    def learned(weights):
        module, model = fit(name, replace(mixed, weights=weights.astype(np.float32)))
        return auc(fresh.labels, module.margin(model, fresh))

    assert learned(np.where(turned, 0.02, 1.0)) > 0.6
    assert learned(np.where(turned, 1.0, 0.02)) < 0.4


@pytest.mark.parametrize("name", ["linear", "boosting", "xgboost"])
def test_a_row_that_counts_nothing_changes_no_score(name):
    """Its features are those of others, since medians and bins are of rows and not of weights."""
    rows = planted(1000)
    doubled = rows.take(np.arange(2000) % 1000)
    labels = np.where(np.arange(2000) < 1000, doubled.labels, 1 - doubled.labels)
    weights = (np.arange(2000) < 1000).astype(np.float32)
    section = section_of(name).model_copy(update=UNBOUND.get(name, {}))
    module = importlib.import_module(f"pipelines.training.candidates.{name}")
    weighed = replace(doubled, labels=labels, weights=weights)
    alone, among = (module.fit(given, section, seed=1, threads=1) for given in (rows, weighed))
    assert module.margin(among, rows) == pytest.approx(module.margin(alone, rows), abs=1e-3)


# leaves are bounded by numbers of rows, in which those that count nothing are counted
UNBOUND = {
    "boosting": {"min_leaf_rows": 1, "features_per_split": 1.0, "max_rounds": 20},
    "xgboost": {"colsample_bytree": 1.0, "max_rounds": 20},
}


def test_lightgbm_corrects_itself_on_the_present_alone():
    """What holds in both is learned from all rows; what has turned around, from those of weight 1."""
    rows = planted(3000)
    past = np.arange(3000) < 2000
    turned = replace(rows, labels=np.where(past, 1 - rows.labels, rows.labels).astype(np.int8))
    module, section = importlib.import_module("pipelines.training.candidates.lightgbm"), section_of("lightgbm")
    weighed = replace(turned, weights=np.where(past, 0.1, 1.0).astype(np.float32))
    fitted = [
        module.fit(given, section.model_copy(update={"max_rounds": 60}), seed=1, threads=1) for given in (turned, weighed)
    ]
    assert [len(model.boosters) for model in fitted] == [1, 2]
    now = rows.take(~past)
    alike, corrected = (folds.measure("roc_auc", now.labels, module.margin(model, now)) for model in fitted)
    assert alike < 0.5 < 0.6 < corrected
    assert module.explain(fitted[1], now).shape == (1000, now.matrix().shape[1])
    losses = module.fit_stopped(weighed, replace(now, weights=np.ones(1000, np.float32)), section, seed=1, threads=1)[1]
    assert losses[-1] < losses[0]


# rounds


@pytest.mark.parametrize("name", ROUNDS)
def test_the_first_rounds_of_a_model_are_those_of_a_shorter_fit(name, tmp_path):
    rows, fresh = planted(2000), odd(1000)
    module, section = importlib.import_module(f"pipelines.training.candidates.{name}"), section_of(name)
    model, losses = module.fit_stopped(rows, planted(800, seed=6), section, seed=1, threads=1)
    assert len(losses) > 12
    fewer = module.first_rounds(model, 7)
    shorter = module.fit(rows, section.model_copy(update={"max_rounds": 7}), seed=1, threads=1)
    assert module.margin(fewer, fresh) == pytest.approx(module.margin(shorter, fresh), abs=1e-6)
    assert (module.margin(fewer, fresh) != module.margin(model, fresh)).any()
    assert graph_scores(graph_of(module, [fewer]), fresh, tmp_path) == pytest.approx(
        expit(module.margin(shorter, fresh)), abs=1e-6
    )
    whole = module.first_rounds(model, len(losses))
    assert module.margin(whole, fresh) == pytest.approx(module.margin(model, fresh), abs=1e-12)


@pytest.mark.parametrize("name", ROUNDS)
def test_losses_are_those_of_the_watched_rows_after_each_round_by_weight(name):
    rows, watched = planted(2000), planted(800, seed=6)
    watched = replace(watched, weights=np.linspace(0.1, 1, 800).astype(np.float32))
    module = importlib.import_module(f"pipelines.training.candidates.{name}")
    model, losses = module.fit_stopped(rows, watched, section_of(name), seed=1, threads=1)
    for rounds in (1, 5, len(losses)):
        margins = module.margin(module.first_rounds(model, rounds), watched)
        loss = np.average(np.logaddexp(0, np.where(watched.labels == 1, -margins, margins)), weights=watched.weights)
        assert losses[rounds - 1] == pytest.approx(loss, abs=1e-5)


# leaks


# nearly every model can learn these by heart: a value of a category for each customer, and labels that follow nothing else
BY_HEART = {
    "linear": {"C": 100.0},
    "lightgbm": {"learning_rate": 1.0, "num_leaves": 600, "min_data_in_leaf": 1, "lambda_l2": 0.0, "feature_fraction": 1.0},
    "boosting": {"learning_rate": 1.0, "max_leaves": 600, "min_leaf_rows": 1, "l2": 0.0, "features_per_split": 1.0},
    "xgboost": {"learning_rate": 1.0, "max_depth": 20, "min_child_weight": 0.0, "reg_lambda": 0.0, "colsample_bytree": 1.0},
    "forest": {"trees": 20, "max_depth": 30, "max_leaves": 2000, "min_leaf_rows": 1, "features_per_split": 1.0},
    "mlp": {"learning_rate": 0.05, "dropout": 0.0, "weight_decay": 0.0, "embedding": 16, "bins": 32, "epochs": 3},
}


@pytest.mark.parametrize("name", BY_HEART)
def test_what_is_learned_by_heart_shows_in_what_is_served_and_in_no_score_that_judges(name, tmp_path):
    random, count = np.random.default_rng(3), 400
    customer = np.repeat(np.arange(count), 4)
    traits = random.normal(size=(2, count))
    labels = (random.random(count) < 0.5).astype("int32")[customer]
    names = [f"person {number}" for number in customer]
    table = with_folds(
        pa.table({"customer_id": customer, "churned": labels, "a": traits[0][customer], "b": traits[1][customer], "who": names})
    )
    learned = features.learn_schema(
        table.drop_columns(["fold"]), DATA, FeaturesParams(exclude=[], min_category_rows=1, max_categories=count)
    )
    module, fold = importlib.import_module(f"pipelines.training.candidates.{name}"), table["fold"].to_numpy()
    rows = folds.as_rows(table, learned, DATA)
    by_fold = folds.Validation(module, rows, folds.fold_parts(fold), fold, "roc_auc", seed=1, threads=1)
    section = section_of(name).model_copy(update=BY_HEART[name])
    models, margins = folds.cross_fit(by_fold, [section] * by_fold.folds)
    onnx.save(graph_of(module, models, learned), tmp_path / "model.onnx")
    model = onnx_model.load_graph(tmp_path / "model.onnx", learned)
    unseen = model.score_unseen(table, fold)
    assert unseen == pytest.approx(expit(margins), abs=1e-5)
    assert auc(labels, model.score(table)) > 0.7
    assert auc(labels, unseen) == pytest.approx(0.5, abs=0.1)


def test_customers_are_set_aside_whole():
    customers = np.repeat(np.arange(1000), 3)
    aside = stopping.validation_rows(np.random.default_rng(1).permutation(customers), seed=1)
    assert aside.sum() == 3 * 150
    chosen = stopping.validation_rows(customers, seed=1).reshape(1000, 3)
    assert (chosen == chosen[:, :1]).all()
    assert (stopping.validation_rows(customers, seed=2).reshape(1000, 3) != chosen).any()


def test_without_xgboost_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "xgboost", None)
    with pytest.raises(EvergreenError, match=r"pip install 'evergreen\[xgboost\]'"):
        fit("xgboost", planted(1000))


@pytest.mark.parametrize(("thresholds", "splitter"), [("random", "random"), ("best", "best")])
def test_the_forest_draws_its_thresholds_as_it_is_told(thresholds, splitter):
    section = section_of("forest").model_copy(update={"trees": 2, "thresholds": thresholds})
    forest = importlib.import_module("pipelines.training.candidates.forest").fit(planted(), section, seed=1, threads=1)
    assert {tree.splitter for tree in forest.estimators_} == {splitter}
