"""The page of a window: why, from what, what was estimated and what came true, and what was known when."""

from dataclasses import replace
from datetime import date

import pytest

from monitoring.findings import Finding
from monitoring.histograms import PREDICTION, TARGET
from monitoring.reports import window
from monitoring.reports.window import Details, Judgement
from monitoring.timeline import Window
from pipelines.statistics.resampling import Interval
from tests.support.golden import assert_golden
from tests.support.hostile import LONG, PAYLOADS, assert_inert

NAN = float("nan")
DRIFT = {
    "evidence": None,
    "exceeds": True,
    "blocks": 11,
    "score": 5.21,
    "threshold": 3.92,
    "largest": [
        {"column": "plan", "channel": "distribution", "change": 5.21},
        {"column": PREDICTION, "channel": "order", "change": 3.1},
        {"column": "plan", "channel": "missing", "change": 0.4},
    ],
}


def near(point):
    return Interval(point, point - 0.02, point + 0.02)


MISSING = {"missing": 0.031, "missing_reference": 0.0}


def details(**changes):
    shown = Window("2025-09", 1, 9010, "retrain", "It got worse.", None, date(2025, 10, 1), None, None, "655 of 9,010", {})
    values = {
        "model": "churn",
        "owner": "the churn team",
        "metric": "roc_auc",
        "window": shown,
        "home": "../../../index.html",
        "next_command": "prefect deployment run retrain/churn",
        "reference": {"roc_auc": near(0.851)},
        "estimates": {"roc_auc": near(0.846), "pr_auc": near(0.33)},
        "performance": {"roc_auc": near(0.729)},
        "findings": [Finding("estimated_loss", TARGET, "It moved.", 9010, 0.099, 0.02)],
        "statistics": dict.fromkeys(["age", "calls", "plan", PREDICTION], MISSING),
        "drift": DRIFT,
        "judgements": [
            Judgement(date(2025, 11, 14), 8410, 561, near(0.741)),
            Judgement(date(2025, 12, 1), 9010, 655, near(0.729)),
        ],
    }
    return Details(**values | changes)


def view(**changes):
    return window.view(details(**changes))


def test_the_page_is_as_it_was_looked_at():
    told = replace(
        details().window, because=[("2025-06", "roc_auc fell to 0.72.")], suppressed="cooldown", links={"MLflow": "http://m"}
    )
    assert_golden("window.html", window.page(details(window=told), ["drift.html"]))


def test_its_verdict_is_of_its_own_window_and_names_any_other():
    told = replace(details().window, because=[("2025-06", "roc_auc fell to 0.72.")], also=["review"])
    shown = view(window=told)["verdict"]
    assert [one.word for one in shown["marks"]] == ["retrain", "review"] and shown["why"] == "It got worse."
    assert shown["because"] == ["Labels of window 2025-06, which are mature by now: roc_auc fell to 0.72."]


def test_a_window_that_asks_for_nothing_gives_no_command():
    calm = replace(details().window, action="none")
    assert view()["command"] == "prefect deployment run retrain/churn" and view(window=calm)["command"] == ""
    held = view(window=replace(calm, suppressed="cooldown"))["verdict"]
    assert held["suppressed"] == "cooldown" and held["marks"][1].word == "retraining suppressed"


def test_an_owner_that_is_not_known_is_not_named():
    assert "Owner" in window.page(details()) and "Owner" not in window.page(details(owner=""))


def test_only_reports_that_were_made_are_linked():
    shown = window.view(details(), ["drift.html", "index.html"])
    assert [link.address for link, _ in shown["reports"]] == ["drift.html"]
    assert shown["trail"][0] == ("Evergreen", "../../../index.html")


def test_a_finding_stands_with_its_evidence():
    assert view()["findings"].rows[0][0] == "estimated loss"
    assert view()["findings"].rows[0][3:] == ["It moved.", "0.099", "0.02", "9,010"]
    assert view(findings=[]).get("findings").rows == []
    few = view(findings=[Finding("insufficient", "drift", "too few", 120, None, 0.00530215)])["findings"].rows[0]
    assert few[4:] == ["–", "0.0053", "120"]


def test_an_estimate_stands_beside_what_came_true_and_what_it_cannot_see():
    shown = view()
    assert shown["performance"].rows[0][4] == "missed by 0.117, beyond its interval"
    assert "concept shift" in shown["blind"]
    assert window.outcome(near(0.84), near(0.85)) == "came true within its interval"
    assert window.outcome(near(0.84), None) == ""
    assert window.outcome(near(0.84), Interval(NAN, NAN, NAN)) == ""


def test_an_interval_that_says_nothing_is_no_figure():
    assert view(estimates={"roc_auc": Interval(0.54, 0.0, 1.0)})["performance"].rows[0][2] == "too few rows"


def test_late_and_corrected_labels_are_seen_as_what_was_known_when():
    first, second = view()["judgements"].rows
    assert first[:4] == ["2025-11-14", "8,410", "561", "6.7%"] and first[5] == ""
    assert second[:4] == ["2025-12-01", "9,010", "655", "7.3%"] and second[5] == "−0.0120"
    assert view(judgements=[])["judgements"].rows == []
    few = [Judgement(date(2025, 11, 14), 0, 0, None), Judgement(date(2025, 12, 1), 10, 1, near(0.7))]
    assert view(judgements=few)["judgements"].rows[0] == ["2025-11-14", "0", "0", "–", "–", ""]


def test_columns_are_sorted_by_their_change():
    rows = view()["columns"].rows
    assert [row[0] for row in rows] == ["plan", "score of the model", "age", "calls"]
    assert rows[0] == ["plan", "+5.2", "3.1%", "0.0%"] and rows[3][1] == "–"


def test_drift_says_its_control_limit_and_how_much_of_a_baseline_is_behind_it():
    assert "Drift score 5.21, above the control limit 3.92, which comes from 11 baseline windows." in view()["drift"]
    few = DRIFT | {"evidence": "not enough baseline windows", "blocks": 1, "largest": []}
    assert window.drift_sentence(few) == "Drift cannot be judged: not enough baseline windows (1 baseline window)."
    assert window.drift_sentence(None) == "Drift was not judged."
    assert window.changes_of(few) == window.changes_of(None) == {}


@pytest.mark.parametrize("attack", [*PAYLOADS, LONG])
def test_texts_names_and_addresses_are_inert(attack):
    shown = Window("2025-09", 1, 1, "retrain", attack, attack, date(2025, 10, 1), None, None, attack, {attack: attack})
    shown = replace(shown, because=[(attack, attack)])
    page = window.page(
        details(
            model=attack,
            owner=attack,
            metric=attack,
            window=shown,
            home=attack,
            reference={attack: near(0.5)},
            estimates={attack: near(0.5)},
            findings=[Finding("drift", attack, attack, 1)],
            statistics={attack: MISSING},
            drift=DRIFT | {"evidence": attack},
        )
    )
    assert_inert(page)
    assert len(page.encode()) < 100_000
