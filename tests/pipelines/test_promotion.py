"""Verdicts from numbers alone, then the gate on two small ONNX files."""

from __future__ import annotations

import datetime as dt
import json
import math

import numpy as np
import onnx
import pyarrow as pa
import pytest

from pipelines.config.errors import EvergreenError
from pipelines.data import split
from pipelines.data.row_weights import PAST
from pipelines.evaluation.latency import Latency
from pipelines.promotion import comparison, gate
from pipelines.promotion.gains import Pair, Scored
from pipelines.promotion.verdict import Check, Verdict
from pipelines.registry.publish import bundle_digests
from tests.support import bundles
from tests.support.bundles import EVALUATE, FAIR, OLD_SPLIT, PROMOTION, SPLIT, customers, evaluation, sigmoid


def compare(labels, challenger, champion, entities, latencies=(), reuse=1, **changes):
    """A verdict on scores, each version deciding at 1/6, where a miss that costs 5 and a false alarm that costs 1 are even."""
    pair = Pair(labels, Scored(challenger, 1 / 6), Scored(champion, 1 / 6), entities)
    return verdict_on(pair, None, latencies=latencies, reuse=reuse, **changes)


def verdict_on(now, over_all, latencies=(), reuse=1, **changes):
    """A verdict on the newest snapshots and all rows."""
    settings = {"evaluate": EVALUATE, "promotion": PROMOTION.model_copy(update=changes), "groups": {}}
    return comparison.challenger_verdict(now, over_all, latencies=latencies, reuse=reuse, **settings)


def failed(verdict: Verdict) -> list[str]:
    return [check.name for check in verdict.checks if check.passed is False]


GOOD_SCORES = np.linspace(0.01, 0.9, 1000)


def test_a_good_first_model_becomes_champion():
    verdict = comparison.first_verdict(evaluation(), FAIR, GOOD_SCORES, PROMOTION)
    assert (verdict.outcome, verdict.finding, failed(verdict)) == ("promoted", "fit to serve", [])
    assert verdict.evidence == {"rows": 1000, "entities": 400, "positives": 200, "significant_harm": 0, "inconclusive_harm": 0}


@pytest.mark.parametrize(
    ("found", "check"),
    [
        (evaluation(log_loss=0.51), "log loss below the prior's"),  # the prior's is 0.5004 nats at a base rate of 0.2
        (evaluation(brier=0.161), "Brier score below the prior's"),  # the prior's is 0.16
        (evaluation(roc_auc=0.505), "ROC-AUC beyond chance"),  # its lower bound is 0.495
        (evaluation(calibration_error=0.06), "calibrated"),
        (evaluation(log_loss=None), "log loss below the prior's"),
        (evaluation(calibration_error=None), "calibrated"),
    ],
)
def test_each_floor_alone_blocks_a_first_champion(found, check):
    verdict = comparison.first_verdict(found, FAIR, GOOD_SCORES, PROMOTION)
    assert (verdict.outcome, verdict.finding, failed(verdict)) == ("rejected", "ineligible", [check])
    assert check in verdict.headline


def test_the_baseline_itself_may_be_the_first_champion():
    assert comparison.first_verdict(evaluation("linear", gain=0.0), FAIR, GOOD_SCORES, PROMOTION).outcome == "promoted"


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 1.1])
def test_one_score_that_is_no_probability_blocks(value):
    strong, weak, labels, entities = customers(1)
    scores = sigmoid(1.5 * strong + weak)
    broken = np.where(np.arange(len(scores)) == 7, value, scores)
    assert "probabilities" in failed(comparison.first_verdict(evaluation(), FAIR, broken, PROMOTION))
    verdict = compare(labels, broken, sigmoid(weak), entities)
    assert (verdict.outcome, verdict.finding) == ("rejected", "ineligible")
    assert "probabilities" in failed(verdict)


def test_one_score_for_everybody_blocks():
    _, weak, labels, entities = customers(1)
    constant = np.full(len(labels), labels.mean())
    assert failed(compare(labels, constant, sigmoid(weak), entities)) == ["not constant"]
    assert failed(comparison.first_verdict(evaluation(), FAIR, constant, PROMOTION)) == ["not constant"]


def test_a_planted_gain_promotes():
    strong, weak, labels, entities = customers(1)
    verdict = compare(labels, sigmoid(1.5 * strong + weak), sigmoid(1.5 * strong), entities)
    assert (verdict.outcome, verdict.finding, failed(verdict)) == ("promoted", "better", [])
    assert 0 < verdict.evidence["low"] < verdict.evidence["gain"] < verdict.evidence["high"]
    assert {name: verdict.evidence[name] for name in ("rows", "entities")} == {"rows": 3000, "entities": 1000}


def test_what_decides_is_the_cost_of_decisions_and_not_the_order_of_scores():
    """The same order, and a threshold at which three times as many are missed."""
    strong, weak, labels, entities = customers(1)
    scores = sigmoid(1.5 * strong + weak)
    verdict = verdict_on(Pair(labels, Scored(scores, 1 / 6), Scored(scores, 0.6), entities), None)
    assert verdict.finding == "better"
    old, new = (np.where(labels == 1, 5 * (scores < at), scores >= at).mean() for at in (0.6, 1 / 6))
    assert verdict.evidence["gain"] == pytest.approx(old - new)
    by_auc = compare(labels, scores, scores, entities, metric="roc_auc")
    assert (by_auc.finding, by_auc.evidence["gain"]) == ("insufficient evidence", 0.0)


def test_a_gain_in_cost_at_a_loss_of_ranking_is_kept_out():
    """Scores that know little but on which side of the threshold somebody is."""
    strong, weak, labels, entities = customers(1)
    scores = sigmoid(1.5 * strong + weak)
    flat = np.where(scores >= 1 / 6, labels[scores >= 1 / 6].mean(), labels[scores < 1 / 6].mean())
    champion = scores**1.7  # in the same order, and too low
    ranking_alone = {"max_calibration_error": 0.9, "max_calibration_loss": 0.9}
    verdict = compare(labels, flat + 1e-6 * strong, champion, entities, **ranking_alone)
    assert (verdict.outcome, verdict.finding) == ("rejected", "not as good elsewhere")
    assert verdict.evidence["low"] > 0
    assert failed(verdict) == ["ROC-AUC not inferior"]
    assert "'ROC-AUC not inferior'" in verdict.headline
    accepted = compare(labels, flat + 1e-6 * strong, champion, entities, max_auc_loss=0.5, **ranking_alone)
    assert accepted.finding == "better"


def test_a_gain_in_ranking_at_a_loss_of_cost_is_kept_out():
    """It ranks better, and decides at a threshold that costs more."""
    strong, weak, labels, entities = customers(1)
    better, worse = sigmoid(1.5 * strong + weak), Scored(sigmoid(1.5 * strong), 1 / 6)
    verdict = verdict_on(Pair(labels, Scored(better, 0.5), worse, entities), None, metric="roc_auc")
    assert (verdict.finding, failed(verdict)) == ("not as good elsewhere", ["cost not inferior"])
    cheap = Pair(labels, Scored(better, 1 / 6), worse, entities)
    assert verdict_on(cheap, None, metric="roc_auc").finding == "better"


def test_a_gain_at_a_loss_of_calibration_is_kept_out():
    strong, weak, labels, entities = customers(1)
    better, worse = sigmoid(1.5 * strong + weak), sigmoid(1.3 * strong)
    off = better + 0.1 * better * (1 - better) * np.sign(better - 0.4)
    verdict = compare(labels, off, worse, entities, max_calibration_loss=0.01)
    assert (verdict.finding, failed(verdict)) == ("not as good elsewhere", ["calibration not inferior"])
    assert compare(labels, off, worse, entities, max_calibration_loss=0.5).finding == "better"


@pytest.mark.parametrize(
    ("measured", "blocked"),
    [
        (Latency(1, 900.0, 10.0), False),  # 90 times as long, and less than a request takes
        (Latency(1, 5_000.0, 1_000.0), True),
        (Latency(1, 7_900.0, 4_000.0), False),  # less than twice as long
        (Latency(1000, 25_000.0, 10_000.0), False),
        (Latency(1000, 60_000.0, 25_000.0), True),
    ],
)
def test_a_challenger_that_is_much_slower_is_kept_out(measured, blocked):
    strong, weak, labels, entities = customers(1)
    verdict = compare(labels, sigmoid(1.5 * strong + weak), sigmoid(1.5 * strong), entities, latencies=[measured])
    assert verdict.finding == ("not as good elsewhere" if blocked else "better")
    assert [name for name in failed(verdict) if "latency" in name] == failed(verdict)


def test_every_use_of_the_same_rows_asks_for_more():
    strong, weak, labels, entities = customers(1)
    pair = sigmoid(1.5 * strong + 0.3 * weak), sigmoid(1.5 * strong + 0.1 * weak)
    verdicts = {reuse: compare(labels, *pair, entities, reuse=reuse, max_auc_loss=0.1) for reuse in (1, 2, 10, 10_000)}
    assert [one.evidence["reuse"] for one in verdicts.values()] == [1, 2, 10, 10_000]
    lows = [one.evidence["low"] for one in verdicts.values()]
    assert lows == sorted(lows, reverse=True)
    detectable = [one.evidence["minimum_detectable_effect"] for one in verdicts.values()]
    assert detectable == sorted(detectable)
    assert (verdicts[1].finding, verdicts[10_000].finding) == ("better", "insufficient evidence")
    assert "at use 10 of these rows" in next(check.why for check in verdicts[10].checks if check.name == "better beyond chance")


def test_a_worse_challenger_is_called_worse():
    strong, weak, labels, entities = customers(1)
    verdict = compare(labels, sigmoid(1.5 * strong), sigmoid(1.5 * strong + weak), entities, max_calibration_error=5.0)
    assert (verdict.outcome, verdict.finding) == ("rejected", "worse")


def test_an_equal_challenger_is_kept_out():
    """A/A: two models that differ by noise alone; promoting on the estimate would let about half of these in."""
    promoted, ahead = 0, 0
    for seed in range(20):
        strong, weak, labels, entities = customers(seed, rows=1500)
        noise = np.random.default_rng(1000 + seed).normal(scale=0.3, size=(2, len(labels)))
        verdict = compare(labels, *sigmoid(1.5 * strong + weak + noise), entities, min_effect=0.0)
        promoted += verdict.outcome == "promoted"
        ahead += verdict.evidence["gain"] > 0
    assert promoted <= 2
    assert ahead >= 5


def test_the_very_same_scores_are_insufficient_evidence():
    strong, weak, labels, entities = customers(1)
    scores = sigmoid(1.5 * strong + weak)
    assert compare(labels, scores, scores, entities).finding == "insufficient evidence"


def test_a_real_gain_below_the_minimum_effect_is_not_worth_a_version():
    strong, weak, labels, entities = customers(1)
    verdict = compare(labels, sigmoid(1.5 * strong + weak), sigmoid(1.5 * strong), entities, min_effect=0.5)
    assert (verdict.outcome, verdict.finding, failed(verdict)) == ("rejected", "too small a gain", ["worth a new version"])


def test_an_uncalibrated_challenger_is_unfit_however_well_it_ranks():
    strong, weak, labels, entities = customers(1)
    verdict = compare(labels, sigmoid(1.5 * strong + weak) ** 3, sigmoid(weak), entities)
    assert (verdict.outcome, failed(verdict)) == ("rejected", ["calibrated"])


def test_a_customers_repeated_rows_are_no_new_evidence():
    strong, weak, labels, _ = (np.repeat(column, 9) for column in customers(1, rows=900))
    pair = (labels, sigmoid(1.5 * strong + weak), sigmoid(1.5 * strong))
    by_customer = compare(*pair, np.arange(8100) // 9, max_calibration_error=5.0).evidence
    by_row = compare(*pair, np.arange(8100), max_calibration_error=5.0).evidence
    assert by_customer["high"] - by_customer["low"] > 2 * (by_row["high"] - by_row["low"])


# the newest snapshots decide, and over all rows nothing may be lost


def newer_and_older(now_gains=True, older_gains=True):
    """Two versions on 12,000 rows, the second half of them the newest; where one gains it knows a feature more."""
    strong, weak, labels, entities = customers(1, rows=12_000)
    late = np.arange(len(labels)) >= len(labels) // 2
    knows = np.where(late, now_gains, older_gains)
    better, worse = sigmoid(1.5 * strong + weak), sigmoid(1.5 * strong)
    pair = Pair(labels, Scored(np.where(knows, better, worse), 1 / 6), Scored(np.where(knows, worse, better), 1 / 6), entities)
    return pair.take(late), pair


LENIENT = {"max_calibration_error": 0.9, "max_calibration_loss": 0.9}
STRICT = LENIENT | {"max_cost_loss": 0.001, "max_auc_loss": 0.001}


def test_a_gain_on_the_newest_snapshots_that_costs_nothing_elsewhere_promotes():
    now, whole = newer_and_older()
    verdict = verdict_on(now, whole, **LENIENT)
    assert verdict.finding == "better"
    assert (verdict.evidence["rows"], verdict.evidence["rows_over_all"]) == (6000, 12_000)
    assert verdict.evidence["gain"] == now.gains(["cost"], EVALUATE)["cost"].point
    assert "on the newest 6,000 rows of 2,000 entities" in verdict.headline


def test_a_gain_on_older_rows_alone_promotes_nobody():
    now, whole = newer_and_older(now_gains=False)
    assert verdict_on(now, whole, **LENIENT).finding == "worse"
    equal = Pair(now.labels, now.champion, now.champion, now.entities)
    assert verdict_on(equal, whole, **LENIENT).finding == "insufficient evidence"


def test_a_gain_on_the_newest_snapshots_at_a_loss_over_all_rows_is_kept_out():
    now, whole = newer_and_older(older_gains=False)
    older = Pair(whole.labels, whole.champion, whole.challenger, whole.entities).take(np.arange(12_000) < 6000)
    assert verdict_on(now, whole, **STRICT).finding == "not as good elsewhere"
    assert verdict_on(now, None, **STRICT).finding == "better"
    assert verdict_on(now, older, **STRICT).finding == "better"
    lost = failed(verdict_on(now, whole, **STRICT))
    assert set(lost) <= {"cost not inferior", "ROC-AUC not inferior"} and lost


def test_cost_over_all_rows_is_watched_although_cost_on_the_newest_decides():
    now, whole = newer_and_older()
    compared = verdict_on(now, whole, **LENIENT).comparisons
    assert [each.name for each in compared] == ["cost", "cost", "ROC-AUC", "calibration"]
    assert (compared[0].unit, compared[1].unit) == ("cost a row", "of the champion's")
    assert [each.name for each in verdict_on(now, None, **LENIENT).comparisons] == ["cost", "ROC-AUC", "calibration"]


@pytest.mark.parametrize("labels", [np.zeros(10, int), np.ones(10, int), np.zeros(0, int)])
def test_rows_of_one_class_are_insufficient_evidence(labels):
    scores = np.linspace(0.1, 0.9, len(labels))
    verdict = compare(labels, scores, scores, np.arange(len(labels)))
    assert (verdict.outcome, verdict.finding) == ("rejected", "insufficient evidence")


def test_a_champion_without_numbers_is_an_error_and_no_promotion():
    strong, weak, labels, entities = customers(1)
    with pytest.raises(EvergreenError, match="evergreen model promote VERSION"):
        compare(labels, sigmoid(1.5 * strong + weak), np.full(len(labels), np.nan), entities)


def test_a_verdict_is_finite_json_and_comes_back():
    verdict = Verdict(
        "ineligible", "No.", [Check("a", False, math.nan, math.inf, "why", "next")], {"gain": math.nan, "rows": 3}
    )
    saved = json.loads(json.dumps(verdict.to_dict(), allow_nan=False))
    assert (saved["evidence"], saved["checks"][0]["observed"]) == ({"gain": None, "rows": 3}, None)
    assert Verdict.from_dict(saved).to_dict() == saved


def test_the_page_starts_with_the_verdict_and_survives_any_column_name():
    page = comparison.incomparable_verdict(["a|b <script> is missing"]).markdown()
    assert page.startswith("# Rejected: not comparable\n")
    assert "<script>" not in page
    table = [line for line in page.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in table} == {7}


# The gate: what scores is the file in the bundle.


def write_bundle(folder, weights, **options) -> gate.Bundle:
    return gate.Bundle(bundles.write(folder, weights, **options), bundle_digests(folder))


@pytest.fixture
def held_out():
    return bundles.held_out_rows()


@pytest.fixture
def params():
    return bundles.params()


def test_the_gate_promotes_the_better_file(tmp_path, held_out, params):
    champion = write_bundle(tmp_path / "champion", {"strong": 1.5})
    challenger = write_bundle(tmp_path / "challenger", {"strong": 1.5, "weak": 1.0})
    assert gate.judge(challenger, champion, held_out, {}, params).finding == "better"
    assert gate.judge(champion, challenger, held_out, {}, params).outcome == "rejected"


def test_the_gate_asks_the_floors_where_there_is_no_champion(tmp_path, held_out, params):
    good = write_bundle(tmp_path / "good", {"strong": 1.5, "weak": 1.0})
    constant = write_bundle(tmp_path / "constant", {"strong": 0.0})
    assert gate.judge(good, None, held_out, evaluation(), params).finding == "fit to serve"
    assert failed(gate.judge(constant, None, held_out, evaluation(), params)) == ["not constant"]


def test_a_verdict_holds_what_it_was_judged_on_and_by(tmp_path, held_out, params):
    champion = write_bundle(tmp_path / "champion", {"strong": 1.5})
    challenger = write_bundle(tmp_path / "challenger", {"strong": 1.5, "weak": 1.0})
    verdict = gate.judge(challenger, champion, held_out, {}, params, reuse=3)
    assert (verdict.snapshot, verdict.evidence["reuse"]) == ("2024-12-31 abc", 3)
    assert verdict.rules["max_auc_loss"] == PROMOTION.max_auc_loss
    assert {"confidence", "bootstrap", "seed", "cost_false_negative"} <= verdict.rules.keys()
    assert [one.name for one in verdict.comparisons] == ["cost", "ROC-AUC", "calibration"]
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict(), allow_nan=False))).to_dict() == verdict.to_dict()
    assert gate.judge(champion, None, held_out, evaluation(), params).snapshot == "2024-12-31 abc"
    assert gate.judge(champion, champion, held_out, {}, params).snapshot is None  # no row was looked at


def test_the_champions_own_file_is_identical(tmp_path, held_out, params):
    champion = write_bundle(tmp_path / "champion", {"strong": 1.5})
    again = write_bundle(tmp_path / "again", {"strong": 1.5}, split=SPLIT | {"salt": "other"})
    verdict = gate.judge(again, champion, held_out, {}, params)
    assert (verdict.outcome, verdict.finding) == ("rejected", "identical")


def test_a_champion_that_lacks_its_columns_is_not_comparable(tmp_path, held_out, params):
    champion = write_bundle(tmp_path / "champion", {"strong": 1.5, "gone": 1.0, "weak": 1.0})
    challenger = write_bundle(tmp_path / "challenger", {"strong": 1.5})
    as_text = held_out.set_column(2, "weak", held_out["weak"].cast("string"))
    verdict = gate.judge(challenger, champion, as_text, {}, params)
    assert (verdict.outcome, verdict.finding) == ("rejected", "not comparable")
    assert verdict.checks[0].observed == "gone is missing; weak was a number and is string"


def test_a_changed_bundle_is_not_judged(tmp_path, held_out, params):
    champion = write_bundle(tmp_path / "champion", {"strong": 1.5})
    challenger = write_bundle(tmp_path / "challenger", {"strong": 1.5, "weak": 1.0})
    (challenger.folder / "schema.json").write_text("{}")
    with pytest.raises(EvergreenError, match=r"schema\.json: changed"):
        gate.judge(challenger, champion, held_out, {}, params)


def test_each_version_judges_each_row_by_the_model_that_has_not_seen_its_customer(tmp_path, held_out, params):
    """Every model of a version but the right one gives nonsense for a row."""
    champion = write_bundle(tmp_path / "champion", {"strong": 1.5})
    right = {"strong": 1.5, "weak": 1.0}
    folds = [{"strong": -1.5, "weak": -1.0}] * 5
    fold = split.fold_of(held_out["customer_id"], SPLIT["salt"], 5)
    verdicts = {}
    for number in range(5):
        own = held_out.filter(pa.array(fold == number))
        given = [right if number == other else wrong for other, wrong in enumerate(folds)]
        challenger = write_bundle(tmp_path / f"challenger {number}", {"strong": -1.0}, folds=given)
        verdicts[number] = gate.judge(challenger, champion, own, {}, params).evidence["gain"]
    assert min(verdicts.values()) > 0.01
    other = write_bundle(tmp_path / "other", {"strong": -1.0}, folds=[right, *folds[1:]], split=SPLIT | {"salt": "other"})
    assert gate.judge(other, champion, held_out.filter(pa.array(fold == 0)), {}, params).finding != "better"


def test_all_rows_judge_two_cross_fitted_versions(tmp_path, held_out, params):
    champion = write_bundle(tmp_path / "champion", {"strong": 1.5}, split=SPLIT | {"salt": "older", "folds": 3})
    challenger = write_bundle(tmp_path / "challenger", {"strong": 1.5, "weak": 1.0})
    assert gate.judge(challenger, champion, held_out, {}, params).evidence["rows"] == 3000


def test_a_champion_from_before_cross_fitting_is_compared_on_those_that_it_held_out(tmp_path, held_out, params):
    older = OLD_SPLIT | {"salt": "older", "test_share": 0.5}
    champion = write_bundle(tmp_path / "champion", {"strong": 1.5}, split=older)
    challenger = write_bundle(tmp_path / "challenger", {"strong": 1.5, "weak": 1.0})
    verdict = gate.judge(challenger, champion, held_out, {}, params)
    kept = split.unseen_fold(held_out["customer_id"], older) != split.ALL_SEEN
    assert verdict.evidence["rows"] == kept.sum()
    assert 0.4 < verdict.evidence["entities"] / 1000 < 0.6
    assert (verdict.finding, "fold_probabilities" in outputs(champion)) == ("better", False)
    back = gate.judge(champion, challenger, held_out, {}, params)  # rolled back to, it is judged in the same way
    assert (back.outcome, back.evidence["rows"]) == ("rejected", kept.sum())


def outputs(bundle):
    return {output.name for output in onnx.load(bundle.folder / "model.onnx").graph.output}


# in time


DAYS = [dt.date(2024, month, 28) for month in range(1, 13)]


@pytest.fixture
def year():
    """Twelve snapshots of 600 customers; in the last two what counted does the opposite: `strong` becomes -`strong`."""
    random = np.random.default_rng(5)
    day = np.repeat(np.arange(12), 600)
    strong = random.normal(size=len(day))
    turned = np.where(day >= 10, -1.0, 1.0)
    labels = (random.random(len(day)) < sigmoid(2 * turned * strong)).astype(np.int64)
    return pa.table(
        {
            "customer_id": np.tile(np.arange(600), 12),
            "snapshot_date": pa.array([DAYS[number] for number in day]),
            "strong": strong,
            "churned": labels,
        }
    )


@pytest.fixture
def timed(params):
    data = params.data.model_copy(update={"time": "snapshot_date"})
    promotion = PROMOTION.model_copy(update={"max_calibration_error": 9.0, "max_calibration_loss": 9.0})
    return bundles.params(data=data, promotion=promotion)


NEW_WORLD, OLD_WORLD, NEITHER = {"strong": -2.0}, {"strong": 2.0}, {"strong": 0.1}


def test_a_challenger_of_the_new_world_wins_where_the_present_began_with_it(tmp_path, year, timed):
    champion = write_bundle(tmp_path / "champion", OLD_WORLD)
    quick = write_bundle(tmp_path / "quick", NEW_WORLD, since=str(DAYS[10]))
    assert gate.judge(quick, champion, year, {}, timed).finding == "better"
    slow = write_bundle(tmp_path / "slow", NEW_WORLD, since=None)
    verdict = gate.judge(slow, champion, year, {}, timed)
    assert (verdict.finding, verdict.outcome) == ("not as good elsewhere", "rejected")


def test_the_champions_present_draws_nothing(tmp_path, year, timed):
    champion = write_bundle(tmp_path / "champion", OLD_WORLD, since=str(DAYS[10]))
    slow = write_bundle(tmp_path / "slow", NEW_WORLD, since=None)
    assert gate.judge(slow, champion, year, {}, timed).finding == "not as good elsewhere"


@pytest.mark.parametrize("since", [None, str(DAYS[10])])
def test_a_challenger_that_is_better_on_last_years_rows_alone_cannot_win(tmp_path, year, timed, since):
    champion = write_bundle(tmp_path / "champion", NEITHER, threshold=0.1)  # selects everybody
    challenger = write_bundle(tmp_path / "challenger", OLD_WORLD, since=since)
    verdict = gate.judge(challenger, champion, year, {}, timed)
    assert (verdict.outcome, verdict.finding) == ("rejected", "worse")


def test_rows_over_all_are_drawn_by_what_they_counted_in_training(tmp_path, year, timed):
    champion, challenger = (gate.Bundle(bundles.write(tmp_path / name, OLD_WORLD)) for name in ("a", "b"))
    judged, now, drawn = gate.sides(year, challenger, champion, timed)
    assert judged.num_rows == 7200 and drawn.all() and now.sum() == 600
    fading = gate.Bundle(bundles.write(tmp_path / "c", OLD_WORLD, since=str(DAYS[9])))
    _, now, drawn = gate.sides(year, fading, champion, timed)
    shares = drawn.reshape(12, 600).mean(axis=1)
    assert (shares[9:] == 1.0).all() and shares[:9] == pytest.approx(PAST, abs=0.05)
    assert (now == (np.arange(7200) >= 6600)).all()
