"""One action a window: the table of monitoring/decide.py, line by line, and that retrainings cannot pile up."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from monitoring import performance
from monitoring.decide import Past, asks, decide
from monitoring.drift import FEW_ROWS, Drift
from monitoring.findings import Finding, of_drift, of_window
from monitoring.quarantine import Judged, lasting
from pipelines.config import params
from pipelines.statistics.metrics import Interval

CONFIG = params.read()
MONITOR = CONFIG.monitor
NOW = datetime(2025, 6, 1, tzinfo=UTC)
NOTHING_YET = Past([], running=False)


def found(*kinds):
    return [Finding(kind, "x", f"{kind} was seen.", 1000) for kind in kinds]


@pytest.mark.parametrize(
    ("kinds", "action"),
    [
        ([], "none"),
        (["warning"], "none"),
        (["insufficient"], "none"),
        (["drift"], "info"),
        (["estimated_loss"], "info"),
        (["bias"], "review"),
        (["bias", "drift"], "review"),
        (["loss"], "retrain"),
        (["drift", "estimated_loss"], "retrain"),
        (["bias", "loss"], "retrain"),
        (["warning", "estimated_loss"], "info"),
        (["info"], "info"),
        (["data_incident"], "quarantine"),
        (["data_incident", "drift", "estimated_loss", "bias"], "quarantine"),
    ],
)
def test_findings_lead_to_one_action(kinds, action):
    decision = decide(found(*kinds), NOTHING_YET, NOW, MONITOR)
    assert (decision.action, decision.suppressed) == (action, None)
    assert decision.why


def test_a_hundred_triggers_start_one_retraining():
    started = []
    for _ in range(100):
        decision = decide(found("loss"), Past(started, running=bool(started)), NOW, MONITOR)
        started += [NOW] * (decision.action == "retrain")
    assert len(started) == 1


@pytest.mark.parametrize(
    ("past", "suppressed"),
    [
        (Past([], running=True), "under way"),
        (Past([NOW - timedelta(days=1)], running=False), "the next may start on 2025-06-07"),
        (Past([NOW - timedelta(days=day) for day in (8, 15, 22, 29)], running=False), "4 retrainings within 30 days"),
    ],
)
def test_a_retraining_is_held_back_and_the_window_says_why(past, suppressed):
    decision = decide(found("loss"), past, NOW, MONITOR)
    assert decision.action == "info" and suppressed in decision.suppressed


def test_old_retrainings_hold_nothing_back():
    old = Past([NOW - timedelta(days=day) for day in range(31, 100)], running=False)
    assert decide(found("loss"), old, NOW, MONITOR).action == "retrain"


def test_every_finding_that_asks_for_something_is_said_and_named():
    decision = decide(found("loss", "bias"), NOTHING_YET, NOW, MONITOR)
    assert decision.action == "retrain" and "loss was seen. bias was seen." in decision.why
    assert asks(found("loss", "bias"), "retrain", None) == ["retrain", "review"]
    suppressed = decide(found("loss", "bias"), Past([], running=True), NOW, MONITOR)
    assert (
        suppressed.action == "review"
        and suppressed.suppressed
        and asks(found("loss", "bias"), "review", suppressed.suppressed) == ["review", "retrain"]
    )
    assert asks(found("drift"), "info", None) == []


def test_a_sentence_says_which_window_it_is_of():
    lost = of_window(found("loss"), "2025-01")
    assert decide([*lost, *of_window(found("bias"), "2025-02")], NOTHING_YET, NOW, MONITOR).why == (
        "2025-01: loss was seen. 2025-02: bias was seen."
    )


# a quarantine ends


BEFORE = ["2025-01", "2025-02", "2025-03"]
REVIEWED = MONITOR.model_copy(update={"escalate": "review"})


def test_a_new_state_that_lasts_escalates_to_a_retraining_or_to_a_person():
    broken = found("data_incident")
    actions = [decide(broken, NOTHING_YET, NOW, MONITOR, BEFORE[:windows]).action for windows in range(4)]
    assert actions == ["quarantine", "quarantine", "quarantine", "retrain"]
    decision = decide(broken, NOTHING_YET, NOW, MONITOR, BEFORE)
    assert decision.escalated and "has lasted for 4 windows" in decision.why
    asked = decide(broken, NOTHING_YET, NOW, REVIEWED, BEFORE)
    assert (asked.action, asked.escalated) == ("review", True)


def test_mature_labels_of_the_new_state_that_show_a_loss_escalate_at_once():
    lost = of_window(found("loss"), "2025-01")
    decision = decide([*found("data_incident"), *lost], NOTHING_YET, NOW, MONITOR, ["2025-01"])
    assert (decision.action, decision.escalated) == ("retrain", True) and "2025-01: loss was seen." in decision.why
    assert decide([*found("data_incident"), *lost], NOTHING_YET, NOW, REVIEWED, ["2025-01"]).action == "review"


def test_a_loss_of_the_sound_windows_before_waits_for_a_sound_one():
    lost = of_window(found("loss"), "2024-11")
    decision = decide([*found("data_incident"), *lost], NOTHING_YET, NOW, MONITOR, ["2025-01"])
    assert decision.action == "quarantine" and "the next one without" in decision.suppressed and "2024-11: loss" in decision.why


def test_an_escalation_that_may_not_start_goes_on_as_a_quarantine_and_is_asked_for_again():
    decision = decide(found("data_incident"), Past([], running=True), NOW, MONITOR, BEFORE)
    assert (decision.action, decision.escalated) == ("quarantine", False) and "under way" in decision.suppressed


def fault(about, form):
    return Finding("data_incident", about, "", 1000, evidence={"form": form})


def test_only_windows_in_a_row_that_share_a_fault_are_one_state():
    unit, nulls = fault("usage", "unit"), fault("usage", "nulls")
    told = [Judged("a", True, [unit]), Judged("b", True, [nulls]), Judged("c", True, [unit, nulls]), Judged("d", True, [unit])]
    assert lasting(told, [unit]) == ["c", "d"]
    assert lasting([*told, Judged("e", False, [])], [unit]) == [] and lasting(told, []) == []


def test_a_suspicion_becomes_drift_when_it_is_confirmed():
    drift = Drift(None, 5.2, 4.1, [("plan", "distribution", 5.2), ("age", "order", 2.0)], 12)
    (first,), (second,) = of_drift(drift, False, 900), of_drift(drift, True, 900)
    assert (first.kind, second.kind) == ("warning", "drift")
    assert first.about == "plan" and "next window" in first.message and (second.value, second.threshold) == (5.2, 4.1)
    assert of_drift(Drift(None, 3.0, 4.1, drift.largest, 12), False, 900) == []
    (few,) = of_drift(Drift(FEW_ROWS, float("nan"), float("nan"), [], 12), False, 40)
    assert few.kind == "insufficient" and "40 rows" in few.message


def judge(now, **sizes):
    reference = {"roc_auc": Interval(0.85, 0.84, 0.86)}
    return performance.judge(
        "roc_auc", reference, {"roc_auc": now}, **{"rows": 5000, "positives": 250, "params": MONITOR} | sizes
    )  # fmt: skip


def test_a_loss_counts_when_its_whole_interval_lies_beyond_the_margin():
    assert judge(Interval(0.82, 0.80, 0.84)) == []
    (lost,) = judge(Interval(0.72, 0.70, 0.74))
    assert lost.kind == "loss" and lost.value == pytest.approx(0.13 - np.hypot(0.01, 0.02)) and "0.130 worse" in lost.message
    assert judge(Interval(0.72, 0.70, 0.74), estimated=True)[0].kind == "estimated_loss"


def test_a_slim_loss_asks_for_a_second_window():
    slim = Interval(0.80, 0.78, 0.82)
    assert judge(slim)[0].kind == "warning" and "the next window confirm" in judge(slim)[0].message
    assert judge(slim, before=True)[0].kind == "loss"


def test_a_measure_of_which_less_is_better_is_lost_when_it_rises():
    lost = performance.loss("log_loss", Interval(0.2, 0.19, 0.22), Interval(0.3, 0.28, 0.31))
    assert lost.point == pytest.approx(0.1) and 0 < lost.low < lost.point < lost.high


@pytest.mark.parametrize("sizes", [{"positives": 3}, {"positives": 4990}])
def test_few_labels_are_no_evidence(sizes):
    (few,) = judge(Interval(0.6, 0.5, 0.7), **sizes)
    assert few.kind == "insufficient"


def test_performance_is_measured_with_intervals_by_customer():
    random = np.random.default_rng(1)
    scores = random.random(800)
    labels = (random.random(800) < scores).astype(int)
    evaluate = CONFIG.evaluate.model_copy(update={"bootstrap": 100})
    once = performance.measure(labels, scores, np.arange(800), 0.5, evaluate)
    twice = performance.measure(*[np.repeat(one, 4) for one in (labels, scores, np.arange(800))], 0.5, evaluate)
    assert twice["roc_auc"].high - twice["roc_auc"].low == pytest.approx(once["roc_auc"].high - once["roc_auc"].low, rel=0.2)
    assert once["accuracy"].point == pytest.approx(((scores >= 0.5) == labels).mean())
