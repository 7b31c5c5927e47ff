"""What asks for a person: the newest state counts, and what has been settled since is no matter any more."""

from datetime import date

import pytest

from monitoring.timeline import Model, Window, calm_since, is_below, open_matters
from pipelines.statistics.resampling import Interval

KNOWN, POOR = Interval(0.8, 0.78, 0.82), Interval(0.74, 0.72, 0.76)


def window(key, action="none", *, version=1, suppressed=None, mature=True, rows=9000, performance=KNOWN, **more):
    known = performance if mature else None
    return Window(key, version, rows, action, "because", suppressed, date(2025, 6, 1), KNOWN, known, "", {}, **more)


def model(*windows, champion=1, retrainings=(), commands=None):
    """Windows oldest first, as a story is told."""
    newest_first = list(reversed(windows))
    commands = commands or {}
    return Model("churn", "us", "roc_auc", champion, "", KNOWN, newest_first, [], retrainings, commands)


def kinds(of):
    return [(matter.kind, matter.window.key, matter.since, matter.windows) for matter in open_matters(of)]


@pytest.mark.parametrize("action", ["quarantine", "review", "retrain"])
def test_the_newest_window_needs_attention_above_a_note(action):
    assert kinds(model(window("2025-01"), window("2025-02", action))) == [(action, "2025-02", "2025-02", 1)]


@pytest.mark.parametrize("action", ["none", "info"])
def test_a_note_is_none(action):
    assert not kinds(model(window("2025-01", action)))


def test_blocks_that_go_on_are_one_matter():
    blocked = model(window("2025-01"), *(window(f"2025-0{month}", "quarantine", mature=False) for month in (2, 3, 4)))
    assert kinds(blocked) == [("quarantine", "2025-04", "2025-02", 3)]


def test_a_block_is_over_once_the_feed_is_sound_even_before_labels_are_mature():
    assert not kinds(model(window("2025-01", "quarantine"), window("2025-02", mature=False)))
    assert kinds(
        model(window("2025-01", "quarantine"), window("2025-02", rows=0, mature=False))
    )  # nobody came: nothing is shown


def test_a_block_of_five_windows_ago_and_a_new_one_are_two_and_the_old_one_is_settled():
    told = model(
        window("2025-01", "quarantine"), *(window(f"2025-0{month}") for month in range(2, 6)), window("2025-06", "quarantine")
    )
    assert kinds(told) == [("quarantine", "2025-06", "2025-06", 1)]


def test_a_review_stays_until_mature_labels_say_otherwise():
    review = window("2025-01", "review")
    assert kinds(model(review, window("2025-02", mature=False))) == [("review", "2025-01", "2025-01", 1)]
    assert kinds(model(review, window("2025-02", "quarantine"))) == [
        ("quarantine", "2025-02", "2025-02", 1),
        ("review", "2025-01", "2025-01", 1),
    ]
    assert not kinds(model(review, window("2025-02")))


def test_a_new_champion_repairs_nothing_until_its_own_labels_say_so():
    told = [window("2025-01", "review"), window("2025-02", "retrain"), window("2025-03", version=2, mature=False)]
    promoted = [("2025-02", "2025-02-28", "promoted: version 2")]
    assert [kind for kind, *_ in kinds(model(*told, champion=2, retrainings=promoted))] == ["promoted", "review"]
    assert [kind for kind, *_ in kinds(model(*told, champion=1))] == ["missing", "review"]
    healed = model(*told, window("2025-04", version=2), champion=2, retrainings=promoted)
    assert not kinds(healed)
    poor = model(*told, window("2025-04", version=2, performance=POOR), champion=2, retrainings=promoted)
    assert [kind for kind, *_ in kinds(poor)] == ["promoted", "review"]


def test_a_matter_says_what_was_tried_and_from_when_on_a_retraining_can_see_it():
    lost = [window("2025-03", "retrain", seen_from="2025-03-16", shown_in="2025-01"), window("2025-04", "retrain")]
    tried = [("2025-04", "2025-04-30", "rejected: v3"), ("2025-03", "2025-03-31", "failed"), ("", "2024-12-31", "promoted: v1")]
    (matter,) = open_matters(model(*lost, retrainings=tried))
    assert (matter.kind, matter.windows, matter.since) == ("rejected", 2, "2025-03")
    assert matter.tried == [("2025-04-30", "rejected: v3"), ("2025-03-31", "failed")]
    assert (matter.shown_in, matter.seen_from) == ("2025-01", "2025-03-16")


def test_a_window_that_asks_for_two_things_is_two_matters():
    both = model(window("2025-01", "retrain", also=["review"]))
    assert kinds(both) == [("retrain", "2025-01", "2025-01", 1), ("review", "2025-01", "2025-01", 1)]


def test_a_champion_below_its_promise_needs_attention_though_nobody_asked():
    told = [
        window("2025-01"),
        *(window(f"2025-0{month}", performance=POOR) for month in (2, 3)),
        window("2025-04", mature=False),
    ]
    assert kinds(model(*told)) == [("below", "2025-03", "2025-02", 2)]
    assert not kinds(model(*told, window("2025-05")))
    assert not kinds(model(*told, champion=2))  # another version's windows
    own = window("2025-01", performance=POOR, promised=POOR)
    assert is_below(told[1], model(champion=1)) and not is_below(own, model(champion=1))


def test_a_table_without_labels_is_repaired_by_a_champion_whose_window_asks_for_nothing():
    told = [window("2025-01", "retrain", mature=False), window("2025-02", version=2, mature=False)]
    assert not kinds(model(*told, champion=2))


def test_a_block_is_about_the_feed_and_not_about_the_version():
    assert kinds(model(window("2025-01", "quarantine"), champion=2)) == [("quarantine", "2025-01", "2025-01", 1)]


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [("rejected: version 2", "rejected"), ("failed: validate", "failed"), ("running", "running"), ("", "retrain")],
)
def test_what_became_of_the_newest_windows_retraining(outcome, kind):
    asked = model(window("2025-01", "retrain"), retrainings=[("2025-01", "2025-01-31", outcome)] if outcome else [])
    assert kinds(asked) == [(kind, "2025-01", "2025-01", 1)]


def test_a_retraining_that_runs_is_told_from_one_that_nobody_started():
    told = [window("2025-01", "retrain"), window("2025-02", mature=False)]
    told.insert(0, window("2024-12"))
    assert kinds(model(*told, retrainings=[("2025-01", "2025-01-31", "running")])) == [("running", "2025-01", "2025-01", 1)]
    assert kinds(model(*told)) == [("missing", "2025-01", "2025-01", 1)]


def test_a_held_retraining_needs_attention_and_is_one_matter_with_the_one_that_was_asked_for():
    suppressed = window("2025-01", "info", suppressed="cooldown")
    assert kinds(model(suppressed)) == [("suppressed", "2025-01", "2025-01", 1)]
    asked = model(suppressed, window("2025-02", "retrain"), retrainings=[("2025-02", "2025-02-28", "rejected: no gain")])
    assert kinds(asked) == [("rejected", "2025-02", "2025-01", 2)]


def test_two_versions_in_the_newest_window_are_both_the_newest():
    both = model(window("2025-01", "retrain", version=1), window("2025-01", version=2), champion=1)
    assert kinds(both) == [("retrain", "2025-01", "2025-01", 1)]


def test_calm_is_counted_from_the_last_window_that_asked():
    told = model(window("2025-01"), window("2025-02", "quarantine"), window("2025-03", "info"), window("2025-04"))
    assert calm_since(told).key == "2025-03"
    assert calm_since(model(window("2025-01", "quarantine"))) is None
    assert calm_since(model()) is None


def test_the_command_for_a_retraining_stands_in_for_what_became_of_it():
    commands = model(commands={"retrain": "retrain it", "rejected": "look at it"})
    assert [commands.command(kind) for kind in ("rejected", "suppressed", "missing", "quarantine")] == [
        "look at it",
        "retrain it",
        "retrain it",
        "",
    ]
