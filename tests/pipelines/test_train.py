"""Candidates: what is fitted is what the graph computes, on every row, however odd."""

import importlib

import numpy as np
import onnx
import pyarrow as pa
import pytest

from pipelines import features, params, scoring
from pipelines.candidates import Rows
from pipelines.errors import EvergreenError
from pipelines.fitting import folds, outputs
from pipelines.fitting.calibration import Platt
from pipelines.fitting.graph import float32_below

CONFIG = params.read()
NAMES = ["linear", "lightgbm"]
FEATURES = params.FeaturesParams(exclude=[], min_category_rows=20, max_categories=3)
DATA = CONFIG.data.model_copy(update={"time": None})


def customers(count=3000, seed=5):
    """A table with an interaction, missing numbers, missing, rare and many categories."""
    random = np.random.default_rng(seed)
    tenure = random.integers(0, 70, count)
    charge = random.normal(60, 25, count)
    contract = random.choice(["monthly", "yearly", "two years", "rare"], count, p=[0.6, 0.25, 0.145, 0.005])
    odds = -2 + 2.5 * (tenure < 12) * (contract == "monthly") + 0.03 * (charge - 60) * (contract != "monthly")
    return pa.table(
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


@pytest.fixture(scope="module")
def table():
    return customers()


@pytest.fixture(scope="module")
def schema(table):
    return features.learn_schema(table, DATA, FEATURES)


@pytest.fixture(scope="module", params=NAMES)
def candidate(request):
    return importlib.import_module(f"pipelines.candidates.{request.param}"), CONFIG.candidate(request.param)


@pytest.fixture(scope="module")
def fitted(candidate, table, schema):
    module, section = candidate
    return module, module.fit(folds.as_rows(table, schema, DATA), section, seed=1, threads=1)


def score_graph(module, model, schema, table, tmp_path, calibration):
    onnx.save(module.export(model, schema, calibration), tmp_path / "model.onnx")
    return scoring.load_graph(tmp_path / "model.onnx", schema).score(table)


def test_the_schema_knows_frequent_categories_only(schema):
    assert schema["numbers"] == ["tenure", "charge", "year", "active"]
    assert schema["categories"] == {"contract": ["monthly", "two years", "yearly"]}
    assert schema["ranges"]["year"] == [2019, 2025]


def test_the_graph_scores_as_the_fitted_model_on_every_row(fitted, table, schema, tmp_path):
    module, model = fitted
    calibration = Platt(0.9, -0.1)
    expected = calibration(module.margin(model, folds.as_rows(table, schema, DATA)))
    assert score_graph(module, model, schema, table, tmp_path, calibration) == pytest.approx(expected, abs=outputs.PARITY)


def test_unseen_rows_get_the_score_of_the_fitted_model_too(fitted, schema, tmp_path):
    module, model = fitted
    unseen = pa.table(
        {
            "customer_id": [1, 2, 3, 4, 5],
            "churned": pa.array([0, 1, 0, 1, 0], pa.int32()),
            "tenure": pa.array([None, -5, 10_000, 0, 3], pa.int32()),
            "charge": pa.array([float("nan"), float("inf"), 1e300, -1e300, 60.5]),
            "year": pa.array([None, 1, 2**40, 2020, 2021], pa.int64()),
            "active": pa.array([None, True, False, True, False]),
            "contract": [None, "never seen", "", "rare", "monthly"],
        }
    )
    expected = Platt(1, 0)(module.margin(model, folds.as_rows(unseen, schema, DATA)))
    found = score_graph(module, model, schema, unseen, tmp_path, Platt(1, 0))
    assert np.isfinite(found).all()
    assert found == pytest.approx(expected, abs=outputs.PARITY)


def test_a_graph_that_differs_is_refused(fitted, table, schema, tmp_path):
    module, model = fitted
    onnx.save(module.export(model, schema, Platt(1, 0)), tmp_path / "model.onnx")
    expected = Platt(1, 0)(module.margin(model, folds.as_rows(table, schema, DATA)))
    expected[17] += 2e-5
    with pytest.raises(EvergreenError, match="differs from the fitted model by 2e-05"):
        outputs.check_parity(tmp_path / "model.onnx", schema, table, expected)


def test_shap_values_sum_to_the_margin_up_to_a_constant(fitted, table, schema):
    module, model = fitted
    rows = folds.as_rows(table, schema, DATA)
    rest = module.margin(model, rows) - module.explain(model, rows).sum(axis=1)
    assert np.ptp(rest) < 1e-6


def test_fitting_twice_gives_the_same_bytes(candidate, table, schema):
    module, section = candidate
    rows = folds.as_rows(table, schema, DATA)
    one, two = (
        module.export(module.fit(rows, section, seed=1, threads=2), schema, Platt(1, 0)).SerializeToString() for _ in "ab"
    )
    assert one == two


def test_thresholds_are_rounded_down_so_that_no_float32_changes_its_leaf():
    exact = np.random.default_rng(1).normal(0, 1000, 10_000)
    below = float32_below(exact)
    above = np.nextafter(below, np.float32(np.inf))
    assert (below.astype(float) <= exact).all()
    assert (above.astype(float) > exact).all()


def test_a_threshold_above_every_float32_becomes_the_largest():
    assert float32_below(np.array([1.7e308])) == np.finfo(np.float32).max


def test_folds_keep_customers_whole_and_positives_even():
    random = np.random.default_rng(0)
    labels = (random.random(3000) < 0.1).astype(np.int8)
    empty = np.zeros((3000, 0), np.float32)
    rows = Rows(empty, empty, labels, np.repeat(np.arange(1000), 3), ())
    fold = folds.fold_of(rows, 3, seed=1)
    assert (fold.reshape(1000, 3) == fold[::3, None]).all()
    assert np.bincount(fold, weights=labels) == pytest.approx(labels.sum() / 3, rel=0.1)


def test_too_few_positive_customers_for_the_folds_are_named():
    empty = np.zeros((10, 0), np.float32)
    rows = Rows(empty, empty, np.array([1, 1] + [0] * 8, np.int8), np.arange(10), ())
    with pytest.raises(EvergreenError, match="2 customers are positive and 8 are not: 3 folds need 3 of each"):
        folds.fold_of(rows, 3, seed=1)


def test_cross_validation_takes_whole_customers_up_to_its_rows():
    empty = np.zeros((3000, 0), np.float32)
    rows = Rows(empty, empty, np.zeros(3000, np.int8), np.repeat(np.arange(1000), 3), ())
    used = folds.sample_customers(rows, 600, seed=1)
    assert used.sum() == 600
    assert (used.reshape(1000, 3) == used[::3, None]).all()


def test_a_date_as_feature_is_refused_with_its_name():
    table = pa.table({"customer_id": [1], "churned": [0], "joined": pa.array([1], pa.date32())})
    with pytest.raises(EvergreenError, match="'joined' is date32"):
        features.learn_schema(table, DATA, FEATURES)
