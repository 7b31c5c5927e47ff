"""What holds for every candidate: its graph is its model on odd rows, it is reproducible, and it earns its cost."""

import importlib

import numpy as np
import onnx
import pytest
from scipy.special import expit

from pipelines import params
from pipelines.errors import EvergreenError
from pipelines.fitting import stopping
from tests.pipelines.candidates.tables import SCHEMA, auc, graph_scores, odd, plain, planted, with_numbers

CONFIG = params.read()
TREES = ["forest", "boosting", "xgboost", "lightgbm"]
NAMES = [*TREES, "mlp"]


def fit(name, rows, **options):
    module = importlib.import_module(f"pipelines.candidates.{name}")
    return module, module.fit(rows, CONFIG.candidate(name), seed=1, threads=1, **options)


@pytest.fixture(scope="module", params=NAMES)
def fitted(request):
    return fit(request.param, planted())


@pytest.fixture(scope="module", params=TREES)
def trees(request):
    return fit(request.param, planted())


def test_the_graph_scores_odd_rows_as_the_fitted_model(fitted, tmp_path):
    module, model = fitted
    rows = odd()
    found = graph_scores(module.export(model, SCHEMA, plain()), rows, tmp_path)
    assert found == pytest.approx(expit(module.margin(model, rows)), abs=1e-6)
    assert len(np.unique(found)) > 100


def test_a_value_on_a_threshold_or_beside_it_takes_the_branch_it_took_in_training(trees, tmp_path):
    module, model = trees
    graph = module.export(model, SCHEMA, plain())
    [ensemble] = [node for node in graph.graph.node if node.op_type == "TreeEnsembleRegressor"]
    found = {item.name: onnx.helper.get_attribute_value(item) for item in ensemble.attribute}
    feature, threshold = np.array(found["nodes_featureids"]), np.array(found["nodes_values"], np.float32)
    inner = np.array(found["nodes_modes"]) != b"LEAF"
    numbers = odd().numbers.copy()
    random = np.random.default_rng(3)
    for column in range(4):
        known = threshold[inner & (feature == column)]
        exact = random.choice(known, len(numbers))
        towards = random.choice(np.array([-np.inf, 0, np.inf], np.float32), len(numbers))
        numbers[:, column] = np.where(towards == 0, exact, np.nextafter(exact, towards))
    rows = with_numbers(odd(), numbers)
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
    module = importlib.import_module(f"pipelines.candidates.{name}")
    models = [module.fit(rows, CONFIG.candidate(name), seed=1, threads=2) for _ in "ab"]
    one, two = (module.export(model, SCHEMA, plain()).SerializeToString() for model in models)
    assert one == two
    assert (module.margin(models[0], rows) == module.margin(models[1], rows)).all()


def test_customers_are_set_aside_whole():
    customers = np.repeat(np.arange(1000), 3)
    aside = stopping.set_aside(np.random.default_rng(1).permutation(customers), seed=1)
    assert aside.sum() == 3 * 150
    chosen = stopping.set_aside(customers, seed=1).reshape(1000, 3)
    assert (chosen == chosen[:, :1]).all()
    assert (stopping.set_aside(customers, seed=2).reshape(1000, 3) != chosen).any()


@pytest.mark.parametrize("name", ["boosting", "xgboost", "lightgbm"])
def test_rounds_are_chosen_on_other_customers_than_the_learnt_ones(name):
    """Labels that follow the customer and nothing else: whoever leaks customers finds much to learn in their rows."""
    rows, random = planted(4000), np.random.default_rng(1)
    fingerprint = np.repeat(random.normal(size=(2000, 4)), 2, axis=0).astype(np.float32)
    leaky = with_numbers(rows, fingerprint)
    labels = np.repeat((random.random(2000) < 0.5).astype(np.int8), 2)
    module = importlib.import_module(f"pipelines.candidates.{name}")
    section = CONFIG.candidate(name).model_copy(update={"learning_rate": 0.3})
    model = module.fit(type(rows)(leaky.numbers, rows.codes, labels, rows.customers, rows.known), section, seed=1, threads=1)
    graph = module.export(model, SCHEMA, plain())
    [ensemble] = [node for node in graph.graph.node if node.op_type == "TreeEnsembleRegressor"]
    [trees] = [item.ints for item in ensemble.attribute if item.name == "nodes_treeids"]
    assert max(trees) < 20


def test_without_xgboost_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "xgboost", None)
    with pytest.raises(EvergreenError, match=r"pip install 'evergreen\[xgboost\]'"):
        fit("xgboost", planted(1000))
