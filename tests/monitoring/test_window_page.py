"""The page of a window: why, from what, what was estimated and what came true, and what was known when."""

from dataclasses import replace
from datetime import date

import pytest

from monitoring.drift import statistics
from monitoring.findings import Finding
from monitoring.histograms import PREDICTION, TARGET, count, learn_layout
from monitoring.reports import window
from monitoring.reports.window import Details, Judgement
from monitoring.timeline import Window
from pipelines.statistics.resampling import Interval
from tests.monitoring.hostile import LONG, PAYLOADS, Page, assert_inert

NAN = float("nan")
NOVELTY = {
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


def line(psi):
    return {"psi": psi, "jensen_shannon": 0.1, "missing": 0.031, "missing_reference": 0.0}


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
        "statistics": {"age": line(NAN), "calls": line(0.3), "plan": line(0.1), PREDICTION: line(0.05)},
        "novelty": NOVELTY,
        "judgements": [
            Judgement(date(2025, 11, 14), 8410, 561, near(0.741)),
            Judgement(date(2025, 12, 1), 9010, 655, near(0.729)),
        ],
    }
    return Details(**values | changes)


def text_of(**changes):
    return Page(window.page(details(**changes))).text


def test_it_opens_with_the_verdict_why_the_owner_and_what_to_type():
    text = text_of()
    opening = text[: text.index("Findings")]
    for part in (
        "▲ retrain",
        "It got worse.",
        "9,010 rows scored by version 1",
        "655 of 9,010",
        "the churn team",
        "retrain/churn",
    ):
        assert part in opening


def test_a_window_that_asks_for_nothing_gives_no_command():
    calm = replace(details().window, action="nothing")
    assert "retrain/churn" not in text_of(window=calm)
    assert "Retraining held: cooldown" in text_of(window=replace(calm, held="cooldown"))


def test_only_reports_that_were_made_are_linked():
    page = window.page(details(), ["drift.html", "index.html"])
    assert "drift.html" in Page(page).addresses
    assert "bias.html" not in Page(page).addresses
    assert "../../../index.html" in Page(page).addresses


def test_a_finding_stands_with_its_evidence():
    text = text_of()
    assert "estimated loss target It moved. 0.099 0.02 9,010" in text
    assert "Nothing was found." in text_of(findings=[])
    assert "– – 120" in text_of(findings=[Finding("insufficient", "drift", "too few", 120)])


def test_an_estimate_stands_beside_what_came_true_and_what_it_cannot_see():
    text = text_of()
    assert "missed by 0.117, beyond its interval" in text
    assert "concept shift" in text
    assert window.outcome(near(0.84), near(0.85)) == "came true within its interval"
    assert window.outcome(near(0.84), None) == ""
    assert window.outcome(near(0.84), Interval(NAN, NAN, NAN)) == ""


def test_late_and_corrected_labels_are_seen_as_what_was_known_when():
    text = text_of()
    assert "2025-11-14 8,410 561 6.7% 0.7410" in text
    assert "2025-12-01 9,010 655 7.3% 0.7290" in text
    assert "-0.0120" in text
    assert "No label is mature yet." in text_of(judgements=[])
    few = [Judgement(date(2025, 11, 14), 0, 0, None), Judgement(date(2025, 12, 1), 10, 1, near(0.7))]
    assert "2025-11-14 0 0 – –" in text_of(judgements=few)


def test_columns_are_sorted_by_their_change_then_by_psi():
    text = text_of()
    table = text[text.index("missing in training") :]
    places = [table.index(name) for name in ("plan", "score of the model", "calls", "age")]
    assert places == sorted(places)
    assert "plan +5.2 0.100" in table
    assert "age – – 0.100" in table


def test_novelty_says_its_threshold_and_how_much_quiet_history_is_behind_it():
    assert "Novelty 5.21, above the threshold 3.92, which comes from 11 quiet windows." in text_of()
    few = NOVELTY | {"evidence": "not enough quiet history", "blocks": 1, "largest": []}
    assert window.novelty_sentence(few) == "Drift cannot be judged: not enough quiet history (1 quiet window)."
    assert window.novelty_sentence(None) == "Drift was not judged."
    assert window.changes_of(few) == window.changes_of(None) == {}


def test_statistics_are_those_of_monitoring_drift():
    import pyarrow as pa

    rows = pa.table({"calls": [float(at % 7) for at in range(200)], "plan": ["a", "b"] * 100})
    layout = learn_layout(rows, {"plan": ["a", "b"]}, bins=5)
    counted = count(rows.to_batches(), layout)
    shown = {name: statistics(counted.column(name), counted.column(name), layout, name) for name in layout.columns}
    assert "calls – 0.000 0.000 0.000 0.000 0.0% 0.0%" in text_of(statistics=shown, novelty=None)


@pytest.mark.parametrize("attack", [*PAYLOADS, LONG])
def test_texts_names_and_addresses_are_inert(attack):
    shown = Window("2025-09", 1, 1, "retrain", attack, attack, date(2025, 10, 1), None, None, attack, {attack: attack})
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
            statistics={attack: line(0.1)},
            novelty=NOVELTY | {"evidence": attack},
        )
    )
    assert_inert(page)
    assert len(page.encode()) < 100_000
