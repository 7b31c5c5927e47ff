"""Candidates: what is fitted is what the graph computes, on every row, however odd; and no row is judged by who has seen it."""

import importlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import features, onnx_model
from pipelines.config import params
from pipelines.config.errors import EvergreenError
from pipelines.config.sections import CandidateParams
from pipelines.data.row_weights import PAST
from pipelines.stages import train as train_stage
from pipelines.training import train
from pipelines.training.candidates import Rows, lightgbm
from pipelines.training.fitting import folds, outputs, tune
from pipelines.training.fitting.calibration import Platt
from pipelines.training.fitting.graph import float32_below
from tests.support.candidate_tables import graph_of
from tests.support.customers import DATA, FEATURES, customers, learn_schema, shifting, write

CONFIG = params.read()
NAMES = ["linear", "lightgbm"]
QUICK = {"max_rounds": 60, "early_stopping_rounds": 10, "learning_rate": 0.2}


@pytest.fixture(scope="module")
def table():
    return customers()


@pytest.fixture(scope="module")
def schema(table):
    return learn_schema(table)


@pytest.fixture(scope="module", params=NAMES)
def candidate(request):
    section = CONFIG.candidate(request.param)
    quick = {} if request.param == "linear" else QUICK
    return importlib.import_module(f"pipelines.training.candidates.{request.param}"), section.model_copy(update=quick)


@pytest.fixture(scope="module")
def by_fold(candidate, table, schema):
    return validation(candidate[0], folds.as_rows(table, schema, DATA), table["fold"].to_numpy())


@pytest.fixture(scope="module")
def fitted(candidate, by_fold):
    """The candidate, the models of its folds, and each row's margin by its own fold's."""
    module, section = candidate
    return module, *folds.cross_fit(by_fold, [section] * by_fold.folds)


def validation(module, rows, fold, metric="roc_auc"):
    return folds.Validation(module, rows, folds.fold_parts(fold), fold, metric, seed=1, threads=1)


def loaded(graph, schema, tmp_path):
    onnx.save(graph, tmp_path / "model.onnx")
    return onnx_model.load_graph(tmp_path / "model.onnx", schema)


def test_the_schema_knows_frequent_categories_only(schema):
    assert schema["numbers"] == ["tenure", "charge", "year", "active"]
    assert schema["categories"] == {"contract": ["monthly", "two years", "yearly"]}
    assert schema["ranges"]["year"] == [2019, 2025]


def test_the_graph_scores_as_the_fitted_models_on_every_row(fitted, table, schema, tmp_path):
    module, models, margins = fitted
    calibration = Platt(0.9, -0.1)
    model = loaded(graph_of(module, models, schema, calibration=calibration), schema, tmp_path)
    rows = folds.as_rows(table, schema, DATA)
    mean = sum(module.margin(one, rows) for one in models) / len(models)
    assert model.score(table) == pytest.approx(calibration(mean), abs=outputs.PARITY)
    found = model.score_unseen(table, table["fold"].to_numpy())
    assert found == pytest.approx(calibration(margins), abs=outputs.PARITY)
    assert np.abs(found - model.score(table)).max() > 1e-3


def test_a_refit_is_what_is_served_and_the_folds_scores_stay_their_own(fitted, table, schema, tmp_path):
    module, models, margins = fitted
    model = loaded(graph_of(module, [*models[1:], models[0]], schema, refit=True), schema, tmp_path)
    rows = folds.as_rows(table, schema, DATA)
    assert model.score(table) == pytest.approx(Platt(1, 0)(module.margin(models[0], rows)), abs=outputs.PARITY)
    second = table["fold"].to_numpy() == 1
    found = model.score_unseen(table.filter(pa.array(second)), np.zeros(second.sum(), int))
    assert found == pytest.approx(Platt(1, 0)(margins[second]), abs=outputs.PARITY)


def test_unseen_rows_get_the_score_of_the_fitted_model_too(fitted, schema, tmp_path):
    module, models, _ = fitted
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
    expected = Platt(1, 0)(module.margin(models[0], folds.as_rows(unseen, schema, DATA)))
    model = loaded(graph_of(module, models, schema), schema, tmp_path)
    found = model.score_unseen(unseen, np.zeros(5, int))
    assert np.isfinite(found).all() and np.isfinite(model.score(unseen)).all()
    assert found == pytest.approx(expected, abs=outputs.PARITY)


@pytest.mark.parametrize("wrong", ["unseen", "served"])
def test_a_graph_that_differs_is_refused(fitted, table, schema, tmp_path, wrong):
    module, models, margins = fitted
    onnx.save(graph_of(module, models, schema), tmp_path / "model.onnx")
    rows, places = folds.as_rows(table, schema, DATA), outputs.sample(table.num_rows, 1)
    unseen = Platt(1, 0)(margins)
    served = Platt(1, 0)(sum(module.margin(one, rows) for one in models) / len(models))[places]
    scores, difference = outputs.check_parity(tmp_path / "model.onnx", schema, table, unseen, (places, served))
    assert difference < outputs.PARITY
    assert scores == pytest.approx(unseen, abs=outputs.PARITY)
    (unseen if wrong == "unseen" else served)[17] += 2e-5
    with pytest.raises(EvergreenError, match="differs from the fitted model by 2"):
        outputs.check_parity(tmp_path / "model.onnx", schema, table, unseen, (places, served))


def test_shap_values_sum_to_the_margin_up_to_a_constant(fitted, table, schema):
    module, models, _ = fitted
    rows = folds.as_rows(table, schema, DATA)
    rest = module.margin(models[0], rows) - module.explain(models[0], rows).sum(axis=1)
    assert np.ptp(rest) < 1e-6


def test_fitting_twice_gives_the_same_bytes(candidate, fitted, by_fold, schema):
    module, section = candidate
    again, margins = folds.cross_fit(replace(by_fold, fits={}), [section] * by_fold.folds)
    one, two = (graph_of(module, models, schema).SerializeToString() for models in (fitted[1], again))
    assert one == two
    assert (margins == fitted[2]).all()


def test_thresholds_are_rounded_down_so_that_no_float32_changes_its_leaf():
    exact = np.random.default_rng(1).normal(0, 1000, 10_000)
    below = float32_below(exact)
    above = np.nextafter(below, np.float32(np.inf))
    assert (below.astype(float) <= exact).all()
    assert (above.astype(float) > exact).all()


def test_a_threshold_above_every_float32_becomes_the_largest():
    assert float32_below(np.array([1.7e308])) == np.finfo(np.float32).max


def test_a_sample_takes_whole_customers_up_to_its_rows_and_leaves_them_in_their_parts():
    empty, entities, fold = np.zeros((3000, 0), np.float32), np.repeat(np.arange(1000), 3), np.repeat(np.arange(1000) % 4, 3)
    rows = Rows(empty, empty, np.arange(3000, dtype=np.int8) % 2, entities, np.ones(3000, np.float32), ())
    whole = validation(None, rows, fold.astype(np.int8))
    sample = whole.sample(600)
    assert len(sample.rows) == 600
    assert (np.unique(sample.rows.entities, return_counts=True)[1] == 3).all()
    assert (sample.fold == sample.rows.entities % 4).all()
    assert all((part.judged == (sample.fold == number)).all() for number, part in enumerate(sample.parts))
    assert whole.sample(3000) is whole


def test_a_date_as_feature_is_refused_with_its_name():
    table = pa.table({"customer_id": [1], "churned": [0], "joined": pa.array([1], pa.date32())})
    with pytest.raises(EvergreenError, match="'joined' is date32"):
        features.learn_schema(table, DATA, FEATURES)


# who has seen what


class Spy:
    """A candidate with rounds, that remembers which rows were fitted, watched and scored; a model is what it was made of."""

    __name__ = "spy"

    class Params(CandidateParams):
        max_rounds: int = 10

    def __init__(self, best):
        self.best, self.stopped = best, []

    def fit_stopped(self, rows, watched, _params, **_options):
        """The lowest loss is after as many rounds as `best` says for the fold of the watched rows."""
        number = len(self.stopped)
        self.stopped.append((set(rows.entities), set(watched.entities)))
        losses = np.abs(np.arange(1, 11) - self.best[number]).astype(float)
        return {"entities": set(rows.entities), "rounds": 10}, losses

    def first_rounds(self, model, rounds):
        return model | {"rounds": rounds}

    def fit(self, rows, params, **_options):
        return {"entities": set(rows.entities), "rounds": params.max_rounds}

    def margin(self, model, rows):
        return np.array([model["rounds"] + 100 * (entity in model["entities"]) for entity in rows.entities], float)


def spied(best=(1, 4, 10)):
    entities = np.arange(90)
    empty = np.zeros((90, 0), np.float32)
    rows = Rows(empty, empty, (entities % 2).astype(np.int8), entities, np.ones(90, np.float32), ())
    return validation(Spy(best), rows, (entities % 3).astype(np.int8))


def test_no_row_is_judged_by_a_model_that_was_fitted_on_its_customer():
    by_fold = spied()
    models, margins = folds.cross_fit(by_fold, [Spy.Params()] * 3)
    assert (margins < 100).all()
    for number, model in enumerate(models):
        assert model["entities"] == set(np.flatnonzero(by_fold.fold != number))


def test_rounds_of_a_folds_model_are_what_was_best_in_the_other_folds():
    models, margins = folds.cross_fit(spied(best=(1, 4, 10)), [Spy.Params()] * 3)
    assert [model["rounds"] for model in models] == [7, 6, 2]  # means of 4 and 10, of 1 and 10, of 1 and 4
    assert set(margins.tolist()) == {7, 6, 2}


def test_what_a_folds_rows_say_of_their_own_rounds_changes_nothing_for_them():
    alike = [folds.cross_fit(spied(best=(best, 4, 10)), [Spy.Params()] * 3)[0] for best in (1, 9)]
    assert alike[0][0] == alike[1][0]
    assert alike[0][1] != alike[1][1]


def test_a_refit_has_the_mean_of_the_folds_rounds_and_all_rows():
    by_fold = spied(best=(1, 4, 10))
    tuned = tune.Tuned([Spy.Params()] * 3, Spy.Params(), {})
    fitted = train.fit(by_fold, tuned, np.ones(90, np.float32), "refit")
    assert fitted.is_refit and len(fitted.models) == 4
    assert fitted.models[-1] == {"entities": set(range(90)), "rounds": 5}  # of 7, 6 and 2
    assert (fitted.margins < 100).all()
    assert (fitted.served(by_fold.candidate, by_fold.rows) == 105).all()
    assert not train.fit(by_fold, tuned, np.ones(90, np.float32), "mean").is_refit


def test_a_refit_is_held_against_the_mean_on_a_fold_that_neither_has_seen():
    by_fold, seen = spied(), []
    real = by_fold.candidate.margin

    def margin(model, rows):
        seen.append((model["entities"], set(rows.entities)))
        return real(model, rows) + rows.labels * (len(model["entities"]) == 60)  # what has more rows knows the label

    by_fold.candidate.margin = margin
    found = train.refit_loss(by_fold, Spy.Params())
    assert found == {"refit": 1.0, "mean": 0.5}
    first = set(np.flatnonzero(by_fold.fold == 0))
    assert all(not fitted & first and judged == first for fitted, judged in seen)
    assert [len(fitted) for fitted, _ in seen] == [30, 30, 60]


def test_of_two_folds_no_rows_are_left_to_hold_a_refit_against():
    three = spied()
    fold = (three.rows.entities % 2).astype(np.int8)
    assert train.refit_loss(validation(Spy((1, 4)), three.rows, fold), Spy.Params()) == {}


def test_a_fold_part_is_judged_by_the_others_with_the_weights_of_its_fold():
    dated = shifting(4, turns=None)
    past = {"by_fold": [None, str(dated["snapshot_date"][-1].as_py()), None], "overall": None}
    by_fold, _ = train.validations(lightgbm, dated, learn_schema(dated, CONFIG.data), past, CONFIG)
    fold = dated["fold"].to_numpy()
    assert [(part.judged == (fold == number)).all() for number, part in enumerate(by_fold.parts)] == [True] * 3
    assert (by_fold.parts[0].weights == 1).all()
    assert by_fold.parts[1].weights == pytest.approx(np.where(np.arange(1600) < 1200, PAST, 1))


# the stage


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(name="lightgbm", model="model"):
    paths = {"training": "training.parquet", "schema": "schema.json", "past": "recency.json", "model": model}
    train_stage.main(candidate=name, **{key: Path(path) for key, path in paths.items()})
    return json.loads((Path(model) / "training.json").read_text())


def scores(model="model"):
    """The graph's two outputs for the training rows."""
    schema, table = json.loads(Path("schema.json").read_text()), pq.read_table("training.parquet")
    loaded = onnx_model.load_graph(Path(model) / "model.onnx", schema)
    return loaded.score(table), loaded.score_unseen(table, table["fold"].to_numpy())


@pytest.mark.usefixtures("folder")
def test_the_stage_serves_the_mean_or_a_refit_and_the_folds_scores_are_the_same():
    write(customers(1200))
    record = run()
    write(customers(1200), train={"serve": "refit"})
    refit = run(model="refit")
    (mean, unseen), (served, unseen_of_refit) = scores("model"), scores("refit")
    assert (unseen == unseen_of_refit).all()
    assert np.abs(mean - served).max() > 1e-3
    assert (pq.read_table("refit/oof.parquet")["score"].to_numpy() == unseen).all()
    assert (record["metadata"]["models"], refit["metadata"]["models"]) == (3, 4)
    assert refit["metadata"].keys() - record["metadata"].keys() == {"fold_1_refit", "fold_1_mean"}
    assert 0.5 < refit["metadata"]["fold_1_refit"] < 1 and 0.5 < refit["metadata"]["fold_1_mean"] < 1
    outputs_of = [
        onnx.load(f"{name}/model.onnx").graph.output[1].type.tensor_type.shape.dim[1].dim_value for name in ("model", "refit")
    ]
    assert outputs_of == [3, 3]


@pytest.mark.usefixtures("folder")
def test_the_stage_writes_scores_of_all_rows_and_the_same_again():
    table = customers(1200)
    write(table)
    record = run()
    oof = pq.read_table("model/oof.parquet")
    assert oof.column_names == ["customer_id", "churned", "fold", "margin", "score", "weight"]
    assert oof["customer_id"].equals(table["customer_id"])
    assert (oof["score"].to_numpy() == scores()[1]).all()
    assert record["roc_auc"] == pytest.approx(folds.measure("roc_auc", table["churned"].to_numpy(), oof["score"].to_numpy()))
    assert record["rows"] == 1200
    assert not Path("model/backtest.parquet").exists()
    made = {path.name: path.read_bytes() for path in Path("model").iterdir()}
    assert made.keys() == {"model.onnx", "oof.parquet", "shap.json", "training.json", "trials.json"}
    run(model="again")
    assert {path.name: path.read_bytes() for path in Path("again").iterdir()} == made


@pytest.mark.usefixtures("folder")
def test_with_a_clock_months_that_it_had_not_seen_are_scored_as_well():
    table = shifting(12, turns=None, count=150)
    write(table, clock=True, data={"horizon_days": 20, "embargo_days": 5}, evaluate={"origins": 3})
    run("linear")
    ahead = pq.read_table("model/backtest.parquet")
    places = ahead["place"].to_numpy()
    assert ahead.select(["customer_id", "snapshot_date", "churned"]).equals(
        table.select(["customer_id", "snapshot_date", "churned"]).take(pa.array(places))
    )
    newest = np.repeat([0, 1, 2], 150)
    assert (ahead["origin"].to_numpy() == newest).all()
    assert (np.sort(places) == np.arange(9 * 150, 12 * 150)).all()
    assert folds.measure("roc_auc", ahead["churned"].to_numpy(), ahead["score"].to_numpy()) > 0.75


@pytest.mark.usefixtures("folder")
def test_shap_values_are_of_the_first_folds_model_on_rows_that_it_has_not_seen(monkeypatch):
    write(customers(1200))
    asked = []
    monkeypatch.setattr(lightgbm, "explain", lambda _, rows: asked.append(rows) or np.zeros(rows.matrix().shape))
    run()
    first = pq.read_table("training.parquet").filter(pa.array(pq.read_table("training.parquet")["fold"].to_numpy() == 0))
    known = first["customer_id"].to_numpy()
    assert set(asked[0].entities) <= set(known)  # customers are numbered as they come, and so are entities here
