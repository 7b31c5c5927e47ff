"""Who is the challenger, on which rows each figure is measured, and at which threshold a row is decided."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config import params
from pipelines.evaluation import evaluate
from pipelines.evaluation.capacity import Dates
from pipelines.evaluation.evaluate import Judged
from pipelines.stages import ensemble as ensemble_stage
from pipelines.stages import evaluate as evaluate_stage
from pipelines.stages import train as train_stage
from tests.support.customers import shifting, write

CONFIG = params.read()
JUDGING = CONFIG.evaluate.model_copy(update={"bootstrap": 100})
RANDOM = np.random.default_rng(2)
LABELS = (RANDOM.random(1200) < 0.3).astype(int)
GOOD = np.clip(0.3 + 0.3 * (LABELS - 0.3) + RANDOM.normal(0, 0.1, 1200), 0.01, 0.99)
POOR = np.clip(0.3 + 0.1 * (LABELS - 0.3) + RANDOM.normal(0, 0.1, 1200), 0.01, 0.99)
ENTITIES = np.repeat(np.arange(400), 3)
FOLD = (ENTITIES % 5).astype(np.int8)
ALL, LATE = np.ones(1200, bool), np.tile([False, False, True], 400)
AHEAD = [np.arange(0, 600), np.arange(600, 1200)]  # places of the rows that two origins judge
TABLE = pa.table({"customer_id": ENTITIES, "churned": pa.array(LABELS, pa.int32())})


def judged(scores, ahead=None, late=ALL):
    """A candidate that scores all rows so, and months that it had not seen like `ahead` where that is given."""
    backtest = [] if ahead is None else [(place, ahead[place]) for place in AHEAD]
    return Judged(LABELS, FOLD, ENTITIES, late, scores, backtest)


def evaluated(candidates, sizes=None, late=ALL):
    data = CONFIG.data.model_copy(update={"time": None})
    config = CONFIG.model_copy(update={"evaluate": JUDGING, "data": data})
    found = {name: each if isinstance(each, Judged) else judged(each, late=late) for name, each in candidates.items()}
    sizes = sizes or {name: 1000 * (number + 1) for number, name in enumerate(found)}
    return evaluate.evaluate(TABLE, found, sizes, [], config)


@pytest.mark.parametrize(("missed", "alarm"), [(5.0, 1.0), (1.0, 1.0), (1.0, 4.0)])
def test_no_other_threshold_costs_less(missed, alarm):
    judging = JUDGING.model_copy(update={"cost_false_negative": missed, "cost_false_positive": alarm})

    def cost(threshold):
        chosen = threshold <= GOOD
        return missed * (LABELS[~chosen] == 1).sum() + alarm * (LABELS[chosen] == 0).sum()

    found = evaluate.threshold_by_cost(LABELS, GOOD, judging)
    assert cost(found) == min(cost(threshold) for threshold in np.quantile(GOOD, np.linspace(0, 1, evaluate.THRESHOLDS)))


def test_the_gain_over_the_baseline_is_paired():
    found = evaluated({"linear": POOR, "lightgbm": GOOD})
    assert (found["challenger"], found["baseline"]) == ("lightgbm", "linear")
    gain = found["candidates"]["lightgbm"]["against_baseline"]
    points = [found["candidates"][name]["metrics"]["roc_auc"]["point"] for name in ("lightgbm", "linear")]
    assert gain["point"] == pytest.approx(points[0] - points[1])
    assert 0 < gain["low"] < gain["point"] < gain["high"]
    assert found["candidates"]["linear"]["against_baseline"] == {"point": 0.0, "low": 0.0, "high": 0.0}


def test_counts_are_of_the_rows():
    found = evaluated({"linear": GOOD})
    assert (found["rows"], found["entities"], found["positives"]) == (1200, 400, LABELS.sum())
    assert sum(found["candidates"]["linear"]["confusion"].values()) == 1200


# the challenger


def chosen(candidates, sizes=None):
    found = {name: each if isinstance(each, Judged) else judged(each) for name, each in candidates.items()}
    return evaluate.choose(found, sizes or {name: 1000 * (number + 1) for number, name in enumerate(found)}, JUDGING)


def alike(size, less=0.92):
    """Scores that tell as much as GOOD: of customers who are alike, one is scored better and the next one worse."""
    rank = np.argsort(np.argsort(GOOD.reshape(400, 3).sum(axis=1) + 10 * LABELS.reshape(400, 3).sum(axis=1)))
    sign = np.repeat(np.where(rank % 2, 1.0, -less), 3)
    return np.clip(GOOD + size * sign * np.where(LABELS == 1, 1, -1), 0.001, 0.999)


def test_the_best_is_the_challenger_where_it_is_better_by_more_than_one_standard_error():
    found = chosen({"linear": POOR, "lightgbm": GOOD})
    assert (found["challenger"], found["best"]) == ("lightgbm", "lightgbm")
    behind, best = (found["candidates"][name] for name in ("linear", "lightgbm"))
    assert behind["roc_auc"]["behind"] > behind["roc_auc"]["error"] > 0
    assert best["roc_auc"] == best["log_loss"] == {"behind": 0.0, "error": 0.0}
    assert best["value"] == pytest.approx(behind["value"] + behind["roc_auc"]["behind"], abs=2e-9)


def test_of_those_within_one_standard_error_of_the_best_the_simplest_is_the_challenger():
    candidates = {"linear": POOR, "lightgbm": GOOD, "boosting": alike(0.02)}
    assert chosen(candidates, {"linear": 10, "lightgbm": 500, "boosting": 300})["challenger"] == "boosting"
    assert chosen(candidates, {"linear": 10, "lightgbm": 200, "boosting": 300})["challenger"] == "lightgbm"


def test_of_those_with_about_the_highest_metric_the_one_of_lowest_log_loss_is_the_best():
    found = chosen({"linear": POOR, "lightgbm": GOOD, "boosting": alike(0.02, less=0.85)})
    assert found["candidates"]["lightgbm"]["value"] > found["candidates"]["boosting"]["value"]
    assert found["candidates"]["lightgbm"]["log_loss"]["behind"] > 0
    assert found["best"] == "boosting"


def test_the_ensemble_is_the_best_unless_one_of_its_members_is_shown_to_be_better():
    assert chosen({"lightgbm": GOOD, "ensemble": alike(0.02, less=1.0)})["best"] == "ensemble"
    found = chosen({"lightgbm": GOOD, "ensemble": np.clip(GOOD - 0.1 * (LABELS - 0.5), 0.001, 0.999)})
    assert (found["best"], found["challenger"]) == ("lightgbm", "lightgbm")


def test_within_no_error_the_best_itself_is_the_challenger():
    candidates = {"lightgbm": judged(GOOD), "ensemble": judged(alike(0.02, less=1.0))}
    sizes = {"lightgbm": 1, "ensemble": 2}
    found = evaluate.choose(candidates, sizes, JUDGING)
    assert (found["best"], found["challenger"]) == ("ensemble", "lightgbm")
    assert all(found["candidates"]["lightgbm"][score]["behind"] < 0 for score in ("roc_auc", "log_loss"))  # ahead by chance
    strict = JUDGING.model_copy(update={"simplest_within": 0.0})
    assert evaluate.choose(candidates, sizes, strict)["challenger"] == "ensemble"


def test_an_ensemble_is_chosen_like_any_other():
    better = np.clip(GOOD + 0.1 * LABELS, 0, 1)
    assert chosen({"linear": POOR, "lightgbm": GOOD, "ensemble": better})["challenger"] == "ensemble"
    equal = {"linear": POOR, "lightgbm": GOOD, "ensemble": alike(0.02)}
    assert chosen(equal)["challenger"] == "lightgbm"
    assert chosen(equal, {"linear": 1, "lightgbm": 900, "ensemble": 800})["challenger"] == "ensemble"


def test_a_baseline_that_is_as_good_is_the_challenger_as_the_simplest():
    assert chosen({"linear": alike(0.02), "lightgbm": GOOD})["challenger"] == "linear"


def test_who_ranks_as_well_and_is_worse_in_log_loss_is_not_as_good():
    flat = np.clip(0.5 + 0.1 * (alike(0.02) - 0.5), 0, 1)  # in the same order, and all of them near one half
    found = chosen({"linear": flat, "lightgbm": GOOD})
    assert found["challenger"] == "lightgbm"
    assert found["candidates"]["linear"]["roc_auc"]["behind"] <= found["candidates"]["linear"]["roc_auc"]["error"]
    assert found["candidates"]["linear"]["log_loss"]["behind"] > found["candidates"]["linear"]["log_loss"]["error"]


def test_the_newest_snapshots_choose_and_not_the_older_rows():
    turned = {
        "linear": judged(np.where(LATE, GOOD, POOR), late=LATE),
        "lightgbm": judged(np.where(LATE, POOR, GOOD), late=LATE),
    }
    assert chosen(turned, {"linear": 2, "lightgbm": 1})["challenger"] == "linear"
    whole = {name: replace(each, late=ALL) for name, each in turned.items()}
    assert chosen(whole, {"linear": 2, "lightgbm": 1})["challenger"] == "lightgbm"


def test_months_that_it_had_not_seen_choose_as_much_as_the_newest_snapshots():
    seen, unseen = judged(GOOD, ahead=POOR, late=LATE), judged(GOOD, ahead=GOOD, late=LATE)
    found = chosen({"linear": seen, "lightgbm": unseen})
    assert found["challenger"] == "lightgbm"
    values = []
    for rows, scores in ((np.flatnonzero(LATE), GOOD), (AHEAD[0], POOR), (AHEAD[1], POOR)):
        values.append(ranking(rows, scores))
    assert found["candidates"]["linear"]["value"] == pytest.approx((values[0] + (values[1] + values[2]) / 2) / 2)


def ranking(rows, scores):
    from pipelines.training.fitting import folds

    return folds.measure("roc_auc", LABELS[rows], scores[rows])


# figures


def test_the_newest_snapshots_are_judged_on_their_own():
    assert "newest" not in evaluated({"linear": GOOD})["candidates"]["linear"]
    found = evaluated({"linear": np.where(LATE, POOR, GOOD)}, late=LATE)["candidates"]["linear"]
    newest, whole = (found[part]["roc_auc"] for part in ("newest", "metrics"))
    assert newest["point"] == pytest.approx(ranking(np.flatnonzero(LATE), POOR))
    assert whole["point"] == pytest.approx(ranking(np.arange(1200), np.where(LATE, POOR, GOOD)))
    assert newest["high"] - newest["low"] > whole["high"] - whole["low"]
    assert found["newest"].keys() == found["metrics"].keys()


def test_figures_of_unseen_months_are_the_mean_over_origins():
    found = evaluated({"linear": judged(GOOD, ahead=POOR, late=LATE)})["candidates"]["linear"]
    mean = (ranking(AHEAD[0], POOR) + ranking(AHEAD[1], POOR)) / 2
    assert found["backtest"]["roc_auc"]["point"] == pytest.approx(mean)
    assert found["backtest"]["roc_auc"]["low"] < mean < found["backtest"]["roc_auc"]["high"]
    assert "backtest" not in evaluated({"linear": GOOD})["candidates"]["linear"]


def test_a_fold_is_decided_by_the_threshold_that_the_other_folds_choose():
    each = judged(GOOD)
    before = each.decided(JUDGING)
    for number in range(5):
        own = number == FOLD
        threshold = evaluate.threshold_by_cost(LABELS[~own], GOOD[~own], JUDGING)
        assert (before[own] == (GOOD[own] >= threshold)).all()
    own = FOLD == 2
    turned = replace(each, labels=np.where(own, 1 - LABELS, LABELS))
    assert (turned.decided(JUDGING)[own] == before[own]).all()
    assert (turned.decided(JUDGING) != before).any()


def test_what_is_said_of_decisions_is_said_of_these():
    found = evaluated({"linear": GOOD})["candidates"]["linear"]
    decided = judged(GOOD).decided(JUDGING)
    assert found["confusion"]["true_positive"] == (decided & (LABELS == 1)).sum()
    assert found["metrics"]["recall"]["point"] == pytest.approx(decided[LABELS == 1].mean(), abs=1e-9)
    assert found["threshold"] == evaluate.threshold_by_cost(LABELS, GOOD, JUDGING)


def test_a_ratio_over_nothing_is_null():
    """An alarm costs so much that whoever the other folds have no higher score than is left alone."""
    dear = JUDGING.model_copy(update={"cost_false_positive": 1e9})
    unsure = judged(np.where(np.arange(1200) == 0, 0.9, 0.5 + 0.1 * (LABELS == 0)))
    found = evaluate.judge(replace(unsure, late=FOLD == 1), dear)
    assert found["newest"]["precision"] == {"point": None, "low": None, "high": None}


def test_the_plots_name_the_ensemble_and_its_shares(tmp_path):
    from pipelines.evaluation import plot

    scores = {"linear": POOR, "lightgbm": GOOD, "ensemble": np.clip(GOOD + 0.1 * LABELS, 0, 1)}
    found = evaluated(scores)
    plot.write(tmp_path, LABELS, scores, found, {name: {"tenure": 0.7, "charge": 0.3} for name in scores})
    assert (tmp_path / "shap.svg").stat().st_size > 0


# the stage, of candidates that were trained


def test_the_stage_judges_all_rows_the_newest_and_unseen_months_of_candidates_and_their_ensemble(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = shifting(12, turns=None, count=150)
    write(table, clock=True, data={"horizon_days": 20, "embargo_days": 5}, evaluate={"newest_positives": 100, "origins": 2})
    shared = {"training": Path("training.parquet"), "schema": Path("schema.json")}
    for name in ("linear", "lightgbm"):
        train_stage.main(candidate=name, past=Path("recency.json"), model=Path("models") / name, **shared)
    ensemble_stage.main(models=Path("models"), ensemble=Path("ensemble"), **shared)
    files = {"scores": "scores.parquet", "evaluation": "evaluation.json", "metrics": "metrics", "plots": "plots"}
    evaluate_stage.main(
        training=shared["training"], models=Path("models"), ensemble=Path("ensemble"),
        **{name: Path(path) for name, path in files.items()},
    )  # fmt: skip
    found, scores = json.loads(Path("evaluation.json").read_text()), pq.read_table("scores.parquet")
    assert (found["rows"], found["newest"]["rows"]) == (1800, 300)
    assert [origin["rows"] for origin in found["origins"]] == [150, 150]
    assert scores["fold"].equals(table["fold"]) and sum(scores["newest"].to_pylist()) == 300
    for name in ("linear", "lightgbm"):
        assert scores[f"score_{name}"].equals(pq.read_table(f"models/{name}/oof.parquet")["score"])
        assert found["candidates"][name].keys() >= {"metrics", "newest", "backtest", "threshold", "graph_bytes"}
    assert found["challenger"] == "linear"  # what the label follows is linear in the signal
    assert sorted(path.name for path in Path("metrics").iterdir()) == ["ensemble.json", "lightgbm.json", "linear.json"]
    shown = json.loads(Path("metrics/linear.json").read_text())
    assert len(shown) <= 12 and not any(isinstance(figure, dict) for figure in shown.values())
    assert shown["unseen_months_roc_auc"] == found["candidates"]["linear"]["backtest"]["roc_auc"]["point"]


def test_a_capacity_gives_figures_of_the_highest_scores_and_may_set_the_threshold():
    judging = JUDGING.model_copy(update={"capacity": 0.1, "threshold": "capacity"})
    good = replace(judged(GOOD), dates=Dates(np.zeros(len(GOOD), np.intp)))
    found = evaluate.judge(good, judging)
    points = {name: figure["point"] for name, figure in found["metrics"].items()}
    best = LABELS[np.argsort(-GOOD)[:120]]
    assert points["precision_at_capacity"] == pytest.approx(best.mean())
    assert points["recall_at_capacity"] == pytest.approx(best.sum() / LABELS.sum())
    assert points["gain_at_capacity"] == pytest.approx(best.mean() / LABELS.mean())
    assert (found["threshold"] <= GOOD).sum() == 120
    assert good.decided(judging).sum() == pytest.approx(120, abs=30), "each fold's cut is of the others"
    by_cost = judging.model_copy(update={"threshold": "cost"})
    assert evaluate.judge(good, by_cost)["threshold"] == evaluate.threshold_by_cost(LABELS, GOOD, judging)
    assert not any("capacity" in name for name in evaluate.judge(judged(GOOD), JUDGING)["metrics"])
