"""The first page: attention first, a picture that needs no script, and a row a window."""

import re
from dataclasses import replace
from datetime import date, timedelta

import pytest

from monitoring.reports import chart, index
from monitoring.timeline import Model, Move, Window
from pipelines.statistics.resampling import Interval
from tests.monitoring.hostile import LONG, PAYLOADS, Page, assert_inert

NOTHING = Interval(float("nan"), float("nan"), float("nan"))


def near(point):
    return Interval(point, point - 0.02, point + 0.02)


def window(key="2025-01", action="nothing", **changes):
    values = {
        "key": key,
        "version": 1,
        "rows": 9381,
        "action": action,
        "why": f"why of {key}",
        "held": None,
        "judged_on": date(2025, 6, 1),
        "estimate": near(0.84),
        "performance": near(0.85),
        "known": "412 of 9,381 labels positive",
        "links": {"window": f"churn/windows/{key}/index.html", "drift": f"churn/windows/{key}/drift.html"},
    }
    return Window(**values | changes)


def model(*windows, **changes):
    """Windows oldest first."""
    values = {
        "name": "churn",
        "owner": "the churn team",
        "metric": "roc_auc",
        "champion": 1,
        "champion_link": "churn/v1/index.html",
        "reference": near(0.851),
        "windows": list(reversed(windows)),
        "moves": [Move(1, "promoted", "the first", "2025-01-14 09:00", "2024-12-31", "churn/v1/index.html")],
        "retrainings": [],
        "next_command": {"block": "evergreen incident usage", "start": "prefect deployment run 'monitor/churn'"},
    }
    return Model(**values | changes)


def shown(*models):
    return index.index(models, "2026-01-02 08:00 UTC")


def months(count):
    return [f"{2020 + at // 12}-{at % 12 + 1:02d}" for at in range(count)]


def test_it_opens_on_what_needs_attention_with_verdict_owner_and_command():
    page = shown(model(window("2025-01"), window("2025-02", "block"), window("2025-03", "block")))
    text = Page(page).text
    card = text[: text.index("roc_auc by window")]
    for part in (
        "✕ block",
        "window 2025-03",
        "1 more since 2025-02",
        "why of 2025-03",
        "the churn team",
        "evergreen incident usage",
    ):
        assert part in card
    assert text.index("What needs attention") < text.index("✕ block") < text.index("roc_auc by window")


def test_nothing_to_do_is_said_and_since_when():
    text = Page(shown(model(window("2025-01", "block"), window("2025-02"), window("2025-03", "note")))).text
    assert "churn: nothing needs attention since window 2025-02." in text
    assert "● note in the newest window, 2025-03" in text


def test_a_retraining_that_has_not_been_shown_to_help_is_open_and_says_what_was_tried():
    lost = window("2025-03", "retrain", seen_from="2025-03-16", shown_in="2025-01")
    tried = [("2025-03", "2025-03-31", "promoted: v2"), ("", "2025-03-01", "kept: v1")]
    told = model(lost, window("2025-04", version=2, performance=None), champion=2, retrainings=tried)
    text = Page(shown(told)).text
    assert "nothing needs attention" not in text and "△ retrained, not yet shown to help churn v1" in text
    assert "Tried: retraining as of 2025-03-31, promoted: v2." in text
    assert "stays open until the labels of a window of the new champion show that it is repaired" in text
    assert "The first window that shows it is 2025-01. A retraining as of 2025-03-16 or later can see it" in text
    early = model(lost, retrainings=[("2025-03", "2025-03-10", "kept: v2")])
    assert "as of 2025-03-10, kept: v2: before 2025-03-16 it could not see what has changed." in Page(shown(early)).text


def test_two_findings_of_a_window_are_two_cards_and_two_marks():
    text = Page(shown(model(window("2025-01", "retrain", also=["review"])))).text
    assert text.index("▲ retrain churn v1") < text.index("◆ review churn v1") < text.index("roc_auc by window")
    assert "▲ retrain ◆ review" in text[text.index("Windows") :]


def test_a_champion_below_its_promise_is_never_called_well():
    text = Page(
        shown(model(window("2025-01"), window("2025-02", performance=near(0.74)), window("2025-03", performance=None)))
    ).text
    assert "nothing needs attention" not in text
    assert "▽ below its promise churn v1, window 2025-02" in text
    assert "2025-02: roc_auc is 0.740 [0.720, 0.760] on mature labels, and v1 promised 0.851" in text.replace("\xa0", " ")
    assert text.count("▽ below its promise") == 2, "the card, and the row of the window"


def test_several_models_are_one_list_the_newest_matter_first():
    old = model(window("2025-01", "block", judged_on=date(2025, 2, 1)), name="first")
    new = model(window("2025-02", "block", judged_on=date(2025, 3, 1)), name="second")
    calm = model(window("2025-02"), name="third")
    text = Page(shown(old, calm, new)).text
    assert text.index("second v1") < text.index("first v1") < text.index("third: nothing needs attention")


def test_without_a_model_it_says_how_to_make_one():
    page = shown()
    assert "No model was published yet" in page
    assert "svg" not in Page(page).tags
    assert_inert(page)


def test_a_model_without_windows_says_how_to_begin():
    page = shown(model())
    assert "no window was watched yet" in page
    assert "prefect deployment run &#x27;monitor/churn&#x27;" in page
    assert "svg" not in Page(page).tags
    assert "version 1" in page


def test_a_held_retraining_and_one_that_changed_nothing_say_why():
    held = model(window("2025-01", "note", held="A retraining is under way already."))
    assert "Not asked for: A retraining is under way already." in Page(shown(held)).text
    kept = model(window("2025-01", "retrain"), retrainings=[("2025-01", "2025-01-31", "kept: gains too little")])
    text = Page(shown(kept)).text
    assert "△ retrained, champion kept" in text
    assert "Tried: retraining as of 2025-01-31, kept: gains too little." in text


def test_a_row_a_window_newest_first_with_its_links():
    page = shown(model(window("2025-01"), window("2025-02", known="corrected twice, last on 2025-05-02", performance=None)))
    assert page.index('data-label="window"><div><span class="plain"><a href="churn/windows/2025-02/index.html"') < page.index(
        'data-label="window"><div><span class="plain"><a href="churn/windows/2025-01/index.html"'
    )
    assert "corrected twice, last on 2025-05-02" in page
    assert "churn/windows/2025-01/drift.html" in Page(page).addresses


def test_sixty_windows_unfold_and_the_page_stays_small():
    page = shown(model(*(window(key) for key in months(60))))
    assert page.count("<title>") == 61
    assert "48 earlier windows" in page
    assert page.count('data-label="verdict"') == 60
    assert len(page.encode()) < 300_000


# the picture


def test_estimates_are_hollow_and_only_where_labels_are_not_mature():
    drawn = chart.chart(model(window("2025-01"), window("2025-02", performance=None), window("2025-03", performance=NOTHING)))
    assert drawn.count('class="point"') == 3
    assert drawn.count('<g class="v0 estimated">') == 2
    assert "estimated 0.840 [0.820, 0.860]" in drawn


def test_a_window_without_any_figure_has_no_point_and_breaks_the_line():
    nothing = window("2025-02", estimate=None, performance=None)
    drawn = chart.chart(model(window("2025-01"), nothing, window("2025-03")))
    assert drawn.count('class="point"') == 2
    assert 'class="path' not in drawn


def test_no_line_joins_two_versions():
    drawn = chart.chart(model(window("2025-01"), window("2025-02"), window("2025-03", version=2), window("2025-04", version=2)))
    assert drawn.count('class="path') == 2
    assert len(re.findall(r'class="who"[^>]*>(v\d)<', drawn)) == 2


def test_actions_have_a_sign_and_a_word_and_not_only_a_colour():
    drawn = Page(
        chart.chart(model(window("2025-01", "block"), window("2025-02", "note", held="budget"), window("2025-03")))
    ).texts
    assert [text for text in drawn if text in "✕△·"] == ["✕", "△", "·"]
    assert "block" in drawn and "held" in drawn


def test_promotions_stand_between_the_windows_that_they_came_between():
    keys = ["2025-01", "2025-02", "2025-03"]
    assert chart.border("2024-12-31", keys) == 0
    assert chart.border("2025-02-28", keys) == 2
    assert chart.border("2025-12-31T00:00", keys) == 3
    assert chart.border("2025-01-05", ["2025-W01", "2025-W02"]) == 1
    assert chart.border("2025-01-05", ["2025-01-04", "2025-01-06"]) == 1
    assert chart.border("timeless", keys) is None and chart.border(None, keys) is None
    drawn = chart.chart(model(window("2025-01"), window("2025-02")))
    assert "v1 promoted" in drawn and 'class="promotion"' in drawn
    kept = model(window("2025-01"), moves=[Move(2, "kept", "", "", "2025-01-31", "")])
    assert 'class="promotion"' not in chart.chart(kept)


@pytest.mark.parametrize(("low", "high"), [(0.7, 0.9), (0.851, 0.852), (0.5, 0.5), (0.0, 1.0), (12.0, 480.0)])
def test_the_scale_holds_its_figures_in_round_steps(low, high):
    ticks = chart.ticks_of(low, high)
    assert ticks[0] <= low and ticks[-1] >= high
    assert 2 <= len(ticks) <= 8


def test_a_flat_interval_of_one_window_draws():
    flat = Interval(0.8, 0.8, 0.8)
    drawn = chart.chart(model(window(performance=flat), reference=flat, moves=[]))
    assert "nan" not in drawn and 'class="point"' in drawn


def test_two_versions_in_a_window_stand_side_by_side():
    drawn = chart.chart(model(window("2025-01"), window("2025-01", version=2)))
    assert re.findall(r'class="point" cx="([-\d.]+)"', drawn) == ["-4.5", "4.5"]


def test_days_and_weeks_are_as_good_as_months():
    days = [(date(2025, 12, 28) + timedelta(days=at)).isoformat() for at in range(6)]
    texts = Page(chart.chart(model(*(window(key) for key in days)))).texts
    assert "2025-12" in texts and "2026-01" in texts and "28" in texts
    assert "W14" in Page(chart.chart(model(window("2025-W14")))).texts


# nothing of it runs


@pytest.mark.parametrize("attack", [*PAYLOADS, LONG, "javascript:alert(1)"])
def test_texts_names_and_addresses_are_inert(attack):
    hostile = window("2025-01", "review", why=attack, held=attack, known=attack, links={attack: attack, "x": "javascript:x"})
    other = replace(hostile, key="2025-02", action=attack)
    move = Move(1, attack, attack, attack, attack, attack)
    page = shown(
        model(
            hostile,
            other,
            name=attack,
            owner=attack,
            metric=attack,
            champion_link=attack,
            moves=[move],
            retrainings=[("2025-01", attack, attack)],
            next_command={"review": attack, "held": attack},
        )
    )
    assert_inert(re.sub(r'<pre class="command">[^<]*</pre>', "", page))  # a command is ours, and shown as it is typed
    assert len(page.encode()) < 200_000
