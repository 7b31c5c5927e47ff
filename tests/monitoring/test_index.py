"""The first page: each model in ten seconds, attention first, a picture that needs no script, and a row a window."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from monitoring.live import Answer
from monitoring.reports import chart, index
from monitoring.reports.marks import MARKS, mark
from monitoring.timeline import Model, Move, Now, Window
from pipelines.statistics.resampling import Interval
from tests.support.golden import assert_golden
from tests.support.hostile import LONG, PAYLOADS, Page, assert_inert

NOTHING = Interval(float("nan"), float("nan"), float("nan"))
API, SCHEDULES = "http://127.0.0.1:8000", "http://127.0.0.1:4200/api#churn"
NOW = Now(
    datetime(2025, 7, 1, 12, tzinfo=UTC),
    datetime(2025, 6, 19, 9, tzinfo=UTC),
    "2025-03-31",
    (date(2025, 6, 30), datetime(2025, 7, 1, 5, 2, tzinfo=UTC), 9381),
    API,
    SCHEDULES,
)
ANSWERS = {API: Answer("up", "good", "answers by v1"), SCHEDULES: Answer("paused", "warn", "monitor, score")}


def near(point):
    return Interval(point, point - 0.02, point + 0.02)


def window(key="2025-01", action="none", **changes):
    values = {
        "key": key,
        "version": 1,
        "rows": 9381,
        "action": action,
        "why": f"why of {key}",
        "suppressed": None,
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
        "next_command": {
            "quarantine": "evergreen incident usage",
            "start": "evergreen run monitor",
            "retrain": "evergreen run retrain",
        },
        "now": NOW,
    }
    return Model(**values | changes)


def view(*models):
    return index.view(models, "2026-01-02 08:00 UTC", ANSWERS)


def card(*windows, **changes):
    """The first card of a model."""
    return view(model(*windows, **changes))["cards"][0]


def tiles(shown):
    return {tile["title"]: tile for tile in index.status(shown, ANSWERS)}


def months(count):
    return [f"{2020 + at // 12}-{at % 12 + 1:02d}" for at in range(count)]


def test_the_page_is_as_it_was_looked_at():
    lost = window("2025-03", "retrain", also=["review"], because=[("2025-01", "roc_auc fell to 0.74.")], estimate=near(0.80))
    unknown = window("2025-04", "info", version=2, performance=None, suppressed="A retraining is under way already.")
    told = model(
        window("2025-01"),
        window("2025-02", "quarantine"),
        lost,
        unknown,
        champion=2,
        moves=[
            Move(3, "rejected", "too small a gain", "2025-06-20 09:00", "2025-04-30", "churn/v3/index.html"),
            Move(2, "promoted", "better", "2025-06-19 09:00", "2025-03-31", "churn/v2/index.html"),
        ],
        retrainings=[("2025-03", "2025-04-30", "rejected: v3"), ("", "2025-03-31", "promoted: v2")],
    )
    assert_golden("index.html", index.index([told], "2026-01-02 08:00 UTC", ANSWERS))


# a model in ten seconds


def test_the_status_names_version_age_figures_scoring_alerts_schedules_and_api():
    shown = tiles(model(window("2025-01", performance=near(0.74)), window("2025-02", performance=None)))
    assert shown["Champion"]["word"] == "churn v1" and shown["Champion"]["more"] == "for 12 days, trained as of 2025-03-31"
    figures = shown["roc_auc, at promotion → now"]
    assert (figures["word"], figures["tone"]) == ("0.851 → 0.740", "bad") and "2025-01" in figures["more"]
    assert (shown["Newest scoring"]["word"], shown["Newest scoring"]["more"]) == (
        "2025-06-30",
        "9,381 rows, 2025-07-01 05:02 UTC",
    )
    assert (shown["Open alerts"]["word"], shown["Open alerts"]["more"]) == ("1", "performance lost")
    assert shown["Schedules"]["answer"] == ANSWERS[SCHEDULES] and shown["API"]["answer"] == ANSWERS[API]


def test_a_new_champion_has_no_figure_of_now_yet():
    figures = tiles(model(window("2025-01"), champion=2))["roc_auc, at promotion → now"]
    assert (figures["word"], figures["tone"]) == ("0.851 → –", "")


def test_while_a_retraining_runs_it_is_said_and_nobody_is_told_to_start_one():
    running = model(window("2025-01", "retrain"), window("2025-02", "retrain"), retrainings=[("", "newest", "running")])
    assert tiles(running)["Retraining"]["word"] == "under way"
    assert [one["command"] for one in view(running)["cards"]] == [""]
    assert card(window("2025-01", "retrain"), window("2025-02", "retrain"))["command"] == "evergreen run retrain"


# what needs attention


def test_it_opens_on_what_needs_attention_with_verdict_owner_and_command():
    shown = card(window("2025-01"), window("2025-02", "quarantine"), window("2025-03", "quarantine"))
    assert shown["mark"].word == "quarantine"
    assert (shown["key"], shown["more"], shown["since"], shown["why"]) == ("2025-03", 1, "2025-02", "why of 2025-03")
    assert (shown["owner"], shown["command"]) == ("the churn team", "evergreen incident usage")


def test_nothing_to_do_is_said_and_since_when():
    shown = view(model(window("2025-01", "quarantine"), window("2025-02"), window("2025-03", "info")))
    (calm,) = shown["calm"]
    assert shown["cards"] == [] and calm["since"] == "2025-02"
    assert (calm["mark"].word, calm["newest"].key) == ("info", "2025-03")


def test_a_retraining_that_has_not_been_shown_to_help_is_open_and_says_what_was_tried():
    lost = window("2025-03", "retrain", seen_from="2025-03-16", shown_in="2025-01")
    tried = [("2025-03", "2025-03-31", "promoted: v2"), ("", "2025-03-01", "rejected: v1")]
    shown = card(lost, window("2025-04", version=2, performance=None), champion=2, retrainings=tried)
    assert (shown["mark"], shown["version"]) == (MARKS["promoted"], 1)
    assert shown["tried"][0] == "Tried: retraining as of 2025-03-31, promoted: v2."
    assert "2025-01" in shown["tried"][-1] and "2025-03-16" in shown["tried"][-1]
    early = card(lost, retrainings=[("2025-03", "2025-03-10", "rejected: v2")])["tried"][0]
    assert early.startswith("Tried: retraining as of 2025-03-10, rejected: v2: before 2025-03-16")


def test_two_findings_of_a_window_are_two_cards_and_two_marks():
    shown = view(model(window("2025-01", "retrain", also=["review"])))
    assert [one["mark"].word for one in shown["cards"]] == ["retrain", "review"]
    assert shown["models"][0]["windows"].rows[0][1] == [mark("retrain"), mark("review")]


def test_a_champion_below_its_promise_is_never_called_well():
    told = model(window("2025-01"), window("2025-02", performance=near(0.74)), window("2025-03", performance=None))
    shown = view(told)
    assert shown["calm"] == [] and [one["mark"] for one in shown["cards"]] == [MARKS["below"]]
    why = shown["cards"][0]["why"].replace("\xa0", " ")
    assert "0.740 [0.720, 0.760]" in why and "0.851 [0.831, 0.871]" in why
    assert [row[1] for row in shown["models"][0]["windows"].rows] == [[mark("none")], [mark("below")], [mark("none")]]


def test_a_row_quotes_its_own_windows_figure_and_names_the_window_of_any_other():
    told = window(
        "2025-03", "retrain", why="Nothing was found in this window itself.", because=[("2025-01", "It fell to 0.7.")]
    )
    why = view(model(window("2025-01"), told))["models"][0]["windows"].rows[0][2]
    assert why[0] == told.why and why[1].startswith("Labels of window 2025-01") and why[1].endswith("It fell to 0.7.")


def test_several_models_are_one_list_the_newest_matter_first():
    old = model(window("2025-01", "quarantine", judged_on=date(2025, 2, 1)), name="first")
    new = model(window("2025-02", "quarantine", judged_on=date(2025, 3, 1)), name="second")
    calm = model(window("2025-02"), name="third")
    shown = view(old, calm, new)
    assert [one["model"] for one in shown["cards"]] == ["second", "first"]
    assert [one["name"] for one in shown["calm"]] == ["third"]


def test_a_page_without_models_and_a_model_without_windows_say_how_to_begin():
    nothing, empty = index.index([], "now"), index.index([model()], "now", ANSWERS)
    assert "evergreen run retrain" in nothing and "svg" not in Page(nothing).tags
    assert "evergreen run monitor" in empty and "svg" not in Page(empty).tags
    assert_inert(nothing)
    assert_inert(empty)


def test_a_suppressed_retraining_and_one_that_changed_nothing_say_why():
    suppressed = "A retraining is under way already."
    assert card(window("2025-01", "info", suppressed=suppressed))["suppressed"] == suppressed
    rejected = card(window("2025-01", "retrain"), retrainings=[("2025-01", "2025-01-31", "rejected: gains too little")])
    assert rejected["mark"] == MARKS["rejected"]
    assert rejected["tried"] == ["Tried: retraining as of 2025-01-31, rejected: gains too little."]


def test_a_row_a_window_newest_first_with_its_links():
    rows = view(model(window("2025-01"), window("2025-02", performance=None)))["models"][0]["windows"].rows
    assert [row[0][0] for row in rows] == [
        ("2025-02", "churn/windows/2025-02/index.html"),
        ("2025-01", "churn/windows/2025-01/index.html"),
    ]
    assert rows[1][-1] == [("drift", "churn/windows/2025-01/drift.html")]


def test_sixty_windows_unfold_and_the_page_stays_small():
    page = index.index([model(*(window(key) for key in months(60)))], "now", ANSWERS)
    assert page.count("<title>") == 61
    assert "48 earlier windows" in page
    assert page.count('data-label="verdict"') == 60
    assert len(page.encode()) < 300_000


def test_words_of_the_ledger_are_read_as_the_fields():
    rows = view(model(moves=[Move(2, "rejected", "", "", None, ""), Move(1, "rolled back", "", "", None, "")]))["models"][0][
        "moves"
    ]
    assert [row[1].word for row in rows.rows] == ["rejected", "rolled back"]


# the picture


def drawn(*windows, **changes):
    return chart.view(model(*windows, **changes))


def test_estimates_are_hollow_and_only_where_labels_are_not_mature():
    shown = drawn(window("2025-01"), window("2025-02", performance=None), window("2025-03", performance=NOTHING))
    assert [one["estimated"] for one in shown["windows"]] == [False, True, True]
    assert "estimated 0.840 [0.820, 0.860]" in shown["windows"][1]["words"].replace("\xa0", " ")


def test_a_window_without_any_figure_has_no_point_and_breaks_the_line():
    shown = drawn(window("2025-01"), window("2025-02", estimate=None, performance=None), window("2025-03"))
    assert [bool(one["ends"]) for one in shown["windows"]] == [True, False, True]
    assert shown["paths"] == []


def test_no_line_joins_two_versions():
    shown = drawn(window("2025-01"), window("2025-02"), window("2025-03", version=2), window("2025-04", version=2))
    assert len(shown["paths"]) == 2
    assert [one["version"] for one in shown["windows"]] == [1, None, 2, None]


def test_actions_have_a_sign_and_a_word_and_not_only_a_colour():
    shown = drawn(window("2025-01", "quarantine"), window("2025-02", "info", suppressed="budget"), window("2025-03"))
    assert [(one["sign"], one["word"]) for one in shown["windows"]] == [("✕", "quarantine"), ("△", "suppressed"), ("·", "")]


def test_promotions_stand_between_the_windows_that_they_came_between():
    keys = ["2025-01", "2025-02", "2025-03"]
    assert chart.border("2024-12-31", keys) == 0
    assert chart.border("2025-02-28", keys) == 2
    assert chart.border("2025-12-31T00:00", keys) == 3
    assert chart.border("2025-01-05", ["2025-W01", "2025-W02"]) == 1
    assert chart.border("2025-01-05", ["2025-01-04", "2025-01-06"]) == 1
    assert chart.border("timeless", keys) is None and chart.border(None, keys) is None
    (promotion,) = drawn(window("2025-01"), window("2025-02"))["promotions"]
    assert (promotion["x"], promotion["text"]) == (0.3, "v1 promoted")
    for decision in ("rejected", "rolled back", "awaits review"):
        assert drawn(window("2025-01"), moves=[Move(2, decision, "", "", "2025-01-31", "")])["promotions"] == []


@pytest.mark.parametrize(("low", "high"), [(0.7, 0.9), (0.851, 0.852), (0.5, 0.5), (0.0, 1.0), (12.0, 480.0)])
def test_the_scale_holds_its_figures_in_round_steps(low, high):
    ticks = chart.ticks_of(low, high)
    assert ticks[0] <= low and ticks[-1] >= high
    assert 2 <= len(ticks) <= 8
    if low >= 0 and high <= 1:
        assert ticks[0] >= 0 and ticks[-1] <= 1, "a share is never drawn below 0 or above 1"


def test_a_flat_interval_of_one_window_draws():
    flat = Interval(0.8, 0.8, 0.8)
    page = index.index([model(window(performance=flat), reference=flat, moves=[])], "now", ANSWERS)
    assert '="nan' not in page and 'class="point"' in page


def test_two_versions_in_a_window_stand_side_by_side():
    assert [one["aside"] for one in drawn(window("2025-01"), window("2025-01", version=2))["windows"]] == [-4.5, 4.5]


def test_days_and_weeks_are_as_good_as_months():
    days = [(date(2025, 12, 28) + timedelta(days=at)).isoformat() for at in range(6)]
    shown = drawn(*(window(key) for key in days))
    assert (shown["unit"], shown["places"][0]["part"]) == ("day", "28")
    assert [one["period"] for one in shown["places"] if one["period"]] == ["2025-12", "2026-01"]
    week = drawn(window("2025-W14"))
    assert (week["unit"], week["places"][0]["part"]) == ("week", "W14")


# nothing of it runs


@pytest.mark.parametrize("attack", [*PAYLOADS, LONG, "javascript:alert(1)"])
def test_texts_names_and_addresses_are_inert(attack):
    links = {attack: attack, "x": "javascript:x"}
    hostile = window("2025-01", "review", why=attack, suppressed=attack, known=attack, links=links, because=[(attack, attack)])
    other = replace(hostile, key="2025-02", action=attack)
    move = Move(1, attack, attack, attack, attack, attack)
    told = model(
        hostile,
        other,
        name=attack,
        owner=attack,
        metric=attack,
        champion_link=attack,
        moves=[move],
        retrainings=[("2025-01", attack, attack)],
        next_command={"review": attack, "suppressed": attack},
        now=replace(NOW, as_of=attack),
    )
    page = index.index([told], attack, {API: Answer(attack, "bad", attack)})
    assert_inert(re.sub(r'<pre class="command">[^<]*</pre>', "", page))  # a command is ours, and shown as it is typed
    assert len(page.encode()) < 200_000
