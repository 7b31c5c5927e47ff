"""Who is the challenger, and at which threshold it decides."""

import numpy as np
import pyarrow as pa
import pytest

from pipelines import evaluate, params

CONFIG = params.read()
JUDGING = CONFIG.evaluate.model_copy(update={"bootstrap": 100})
RANDOM = np.random.default_rng(2)
LABELS = (RANDOM.random(1200) < 0.3).astype(int)
GOOD = np.clip(0.3 + 0.3 * (LABELS - 0.3) + RANDOM.normal(0, 0.1, 1200), 0.01, 0.99)
POOR = np.clip(0.3 + 0.1 * (LABELS - 0.3) + RANDOM.normal(0, 0.1, 1200), 0.01, 0.99)

OUT_OF_FOLD = {"linear": 0.6, "lightgbm": 0.8, "boosting": 0.7, "ensemble": 0.8}


def held_out(late=False):
    return pa.table(
        {
            "customer_id": np.repeat(np.arange(400), 3),
            "churned": pa.array(LABELS, pa.int32()),
            "held_out_in_time": pa.array(np.tile([False, False, late], 400)),
        }
    )


def evaluated(table, challenger="lightgbm"):
    scores = {"linear": POOR, "lightgbm": GOOD} if challenger == "lightgbm" else {"linear": GOOD, "lightgbm": POOR}
    config = CONFIG.model_copy(update={"evaluate": JUDGING})
    return evaluate.evaluate(table, scores, {"linear": 0.3, "lightgbm": 0.3}, OUT_OF_FOLD, config)


@pytest.mark.parametrize(("missed", "alarm"), [(5.0, 1.0), (1.0, 1.0), (1.0, 4.0)])
def test_no_other_threshold_costs_less(missed, alarm):
    judging = JUDGING.model_copy(update={"cost_false_negative": missed, "cost_false_positive": alarm})

    def cost(threshold):
        chosen = threshold <= GOOD
        return missed * (LABELS[~chosen] == 1).sum() + alarm * (LABELS[chosen] == 0).sum()

    found = evaluate.threshold_by_cost(LABELS, GOOD, judging)
    assert cost(found) == min(cost(threshold) for threshold in np.quantile(GOOD, np.linspace(0, 1, evaluate.THRESHOLDS)))


def test_the_best_candidate_is_the_challenger_and_its_gain_is_paired():
    found = evaluated(held_out())
    assert (found["challenger"], found["baseline"]) == ("lightgbm", "linear")
    gain = found["candidates"]["lightgbm"]["against_baseline"]
    points = [found["candidates"][name]["metrics"]["roc_auc"]["point"] for name in ("lightgbm", "linear")]
    assert gain["point"] == pytest.approx(points[0] - points[1])
    assert 0 < gain["low"] < gain["point"] < gain["high"]


def test_the_held_out_rows_do_not_choose_among_those_that_beat_the_baseline():
    """They judge the challenger against the champion afterwards: the luckiest on them would be judged by its luck."""
    config = CONFIG.model_copy(update={"evaluate": JUDGING})
    scores = {"linear": POOR, "lightgbm": GOOD, "boosting": np.clip(GOOD + 0.05 * LABELS, 0, 1)}
    found = evaluate.evaluate(held_out(), scores, dict.fromkeys(scores, 0.3), OUT_OF_FOLD, config)
    points = {name: one["metrics"]["roc_auc"]["point"] for name, one in found["candidates"].items()}
    assert max(points, key=points.get) == "boosting"
    assert found["challenger"] == "lightgbm"


def test_a_baseline_that_wins_is_the_challenger():
    found = evaluated(held_out(), challenger="linear")
    assert found["challenger"] == "linear"
    assert found["candidates"]["linear"]["against_baseline"] == {"point": 0.0, "low": 0.0, "high": 0.0}


def test_a_tie_goes_to_the_baseline():
    config = CONFIG.model_copy(update={"evaluate": JUDGING})
    scores = {"linear": GOOD, "lightgbm": np.clip(GOOD + RANDOM.normal(0, 0.001, 1200), 0, 1)}
    found = evaluate.evaluate(held_out(), scores, dict.fromkeys(scores, 0.3), OUT_OF_FOLD, config)
    assert found["challenger"] == "linear"


def test_counts_are_of_the_rows():
    found = evaluated(held_out())
    assert (found["rows"], found["entities"], found["positives"]) == (1200, 400, LABELS.sum())
    assert sum(found["candidates"]["linear"]["confusion"].values()) == 1200


def test_the_newest_snapshots_are_judged_on_their_own():
    assert "newest" not in evaluated(held_out())["candidates"]["lightgbm"]
    found = evaluated(held_out(late=True))
    newest, whole = (found["candidates"]["lightgbm"][part] for part in ("newest", "metrics"))
    assert found["newest_rows"] == 400
    assert newest["roc_auc"]["high"] - newest["roc_auc"]["low"] > whole["roc_auc"]["high"] - whole["roc_auc"]["low"]


def test_a_ratio_over_nothing_is_null():
    found = evaluate.judge(LABELS, GOOD, 2.0, np.arange(1200), JUDGING)
    assert found["metrics"]["precision"] == {"point": None, "low": None, "high": None}


def judged_with(ensemble):
    """The challenger, and what is said of the ensemble, when its scores are these."""
    config = CONFIG.model_copy(update={"evaluate": JUDGING})
    scores = {"linear": POOR, "lightgbm": GOOD, "ensemble": ensemble}
    found = evaluate.evaluate(held_out(), scores, dict.fromkeys(scores, 0.3), OUT_OF_FOLD, config)
    return found["challenger"], found["candidates"]["ensemble"]


def test_an_ensemble_that_beats_the_best_single_one_is_the_challenger():
    challenger, found = judged_with(np.clip(GOOD + 0.1 * LABELS, 0, 1))
    assert challenger == "ensemble"
    assert found["best"] == "lightgbm"
    assert found["against_best"]["low"] > 0


@pytest.mark.parametrize("seed", range(5))
def test_an_ensemble_that_does_not_beat_it_is_never_offered(seed):
    jitter = np.random.default_rng(seed).normal(0, 0.003, len(GOOD))
    challenger, found = judged_with(np.clip(GOOD + jitter, 0, 1))
    assert challenger == "lightgbm"
    assert found["against_baseline"]["low"] > 0
    assert found["against_best"]["low"] <= 0


def test_an_ensemble_that_is_better_by_its_point_alone_is_not_offered():
    random = np.random.default_rng(3)
    tried = (np.clip(GOOD + random.normal(0, 0.003, len(GOOD)), 0, 1) for _ in range(200))
    lucky = next(one for one in tried if judged_with(one)[1]["against_best"]["point"] > 0)
    assert judged_with(lucky)[0] == "lightgbm"


def test_the_plots_name_the_ensemble_and_its_shares(tmp_path):
    from pipelines import plot

    config = CONFIG.model_copy(update={"evaluate": JUDGING})
    scores = {"linear": POOR, "lightgbm": GOOD, "ensemble": np.clip(GOOD + 0.1 * LABELS, 0, 1)}
    found = evaluate.evaluate(held_out(), scores, dict.fromkeys(scores, 0.3), OUT_OF_FOLD, config)
    plot.write(tmp_path, LABELS, scores, found, {name: {"tenure": 0.7, "charge": 0.3} for name in scores})
    assert (tmp_path / "shap.png").stat().st_size > 0


def test_a_capacity_gives_figures_of_the_highest_scores_and_may_set_the_threshold():
    judging = JUDGING.model_copy(update={"capacity": 0.1, "threshold": "capacity"})
    data = CONFIG.data.model_copy(update={"time": None})
    config = CONFIG.model_copy(update={"evaluate": judging, "data": data})
    scores = {"linear": POOR, "lightgbm": GOOD}
    found = evaluate.evaluate(held_out(), scores, {"linear": 0.3, "lightgbm": 0.3}, OUT_OF_FOLD, config)
    points = {name: figure["point"] for name, figure in found["candidates"]["lightgbm"]["metrics"].items()}
    best = LABELS[np.argsort(-GOOD)[:120]]
    assert points["precision_at_capacity"] == pytest.approx(best.mean())
    assert points["recall_at_capacity"] == pytest.approx(best.sum() / LABELS.sum())
    assert points["gain_at_capacity"] == pytest.approx(best.mean() / LABELS.mean())
    assert found["judged_share"] == CONFIG.split.test_share
    assert (evaluate.decide_from(LABELS, GOOD, held_out(), config) <= GOOD).sum() == 120
    by_cost = config.model_copy(update={"evaluate": judging.model_copy(update={"threshold": "cost"})})
    threshold = evaluate.decide_from(LABELS, GOOD, held_out(), by_cost)
    assert threshold == evaluate.threshold_by_cost(LABELS, GOOD, judging)


def test_without_a_capacity_there_are_no_such_figures():
    found = evaluated(held_out())
    assert "judged_share" not in found
    assert not any("capacity" in name for name in found["candidates"]["lightgbm"]["metrics"])
