"""A model's windows judged one after the other on a real Postgres: each ends in one verdict, and late labels show."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from dataclasses import replace

import pytest

from monitoring import labels, store, windows
from monitoring.watch import earlier, judge_window
from pipelines.config.errors import EvergreenError
from pipelines.data.postgres import connect
from pipelines.scoring import predictions
from pipelines.scoring.score import score
from tests.support.scoring import change, fetch, url
from tests.support.watching import CONFIG, FIRST, LATER, LATEST, PEOPLE, publish, watch, world

__all__ = ["url", "watch", "world"]  # fixtures


def judged(watch, *keys, **values):
    """The verdict on the last of some windows, which are scored and judged in turn."""
    for key in keys:
        window, subject = windows.named(key, "month"), watch.subject_of(1)
        score(subject.source, watch.url, subject.version, subject.bundle, as_of=window.last, count=subject.count)
        found = judge_window(watch, window, judged_on=values.get("judged_on", window.last))
    return found


def kinds(verdict) -> set[str]:
    return {found.kind for found in verdict.findings}


def test_quiet_windows_end_in_nothing_and_their_labels_are_measured(watch):
    verdict = judged(watch, FIRST, LATER, LATEST)
    assert [one.action for one in store.verdicts(watch.url, "churn")] == ["none"] * 3
    assert verdict.matured == FIRST and verdict.figures["drift"]["blocks"] >= CONFIG.monitor.min_baseline_windows
    (measured,) = store.performances(watch.url, "churn", groups=True)
    assert (measured.window_key, measured.judged_on, measured.labelled) == (FIRST, dt.date(2025, 3, 31), PEOPLE)
    assert measured.metrics["roc_auc"]["low"] < 0.85 < measured.metrics["roc_auc"]["high"] + 0.02
    assert set(measured.groups["attributes"]) == {"gender"}


def test_immature_labels_are_not_negatives(watch):
    assert judged(watch, FIRST, LATER).matured is None
    assert store.performances(watch.url, "churn") == []


def test_a_changed_unit_blocks_and_its_labels_judge_nobody(watch, company_url):
    change(company_url, "update people set weak = weak * 1000 where day = '2025-01-31'")
    assert judged(watch, FIRST).action == "quarantine" and "data_incident" in kinds(store.verdicts(watch.url, "churn")[0])
    later = judged(watch, LATER, LATEST)
    assert later.action == "none" and later.matured == FIRST and kinds(later) == set()
    flagged = fetch(watch.url, "select distinct flagged from evergreen.latest_scores")
    assert flagged == [(False,)]  # March's, and not January's


def test_a_fault_whose_labels_show_a_loss_escalates_and_is_the_baseline_from_then_on(watch, company_url):
    change(company_url, "update people set weak = weak * 1000 where day >= '2025-01-31'")
    assert [judged(watch, key).action for key in (FIRST, LATER)] == ["quarantine", "quarantine"]
    verdict = judged(watch, LATEST)
    assert verdict.action == "retrain" and "its mature labels show a loss" in verdict.why
    assert {one.window for one in verdict.findings if one.kind == "loss"} == {FIRST}
    assert verdict.figures["accepted"] == [FIRST, LATER, LATEST]
    assert verdict.figures["seen_from"] == {"window": FIRST, "day": "2025-03-16"}
    later = judged(watch, "2025-04")
    assert (
        "data_incident" not in kinds(later) and later.action == "info" and later.suppressed
    )  # the loss goes on, and the retraining is waited for


@pytest.mark.long
def test_a_fault_that_lasts_escalates_without_any_label(watch, company_url):
    watch.subject_of(1).source.queries.outcomes.unlink()
    change(company_url, "update people set weak = weak * 1000 where day >= '2025-01-31'")
    keys = (FIRST, LATER, LATEST, "2025-04", "2025-05")
    asking = replace(
        watch, params=CONFIG.model_copy(update={"monitor": CONFIG.monitor.model_copy(update={"escalate": "review"})})
    )
    verdicts = [judged(asking, key) for key in keys]
    assert [one.action for one in verdicts][:4] == ["quarantine", "quarantine", "quarantine", "review"]
    assert "has lasted for 4 windows" in verdicts[3].why and "data_incident" not in kinds(verdicts[4])


def test_scores_of_a_broken_feed_are_flagged(watch, company_url):
    change(company_url, "update people set weak = weak * 1000 where day = '2025-01-31'")
    judged(watch, FIRST)
    assert fetch(watch.url, "select distinct flagged from evergreen.latest_scores") == [(True,)]


def test_a_shift_is_suspected_then_confirmed_and_noted_where_it_does_not_hurt(watch, company_url):
    change(company_url, "update people set weak = weak * 0.5 + 0.1 where day in ('2025-01-31', '2025-02-28')")
    assert judged(watch, FIRST).action == "none" and "warning" in kinds(store.verdicts(watch.url, "churn")[0])
    later = judged(watch, LATER)
    assert "drift" in kinds(later) and later.action == "info" and "weak" in later.why


def test_a_lost_relation_asks_for_one_retraining_when_its_labels_are_mature(watch, company_url):
    change(company_url, "update people set left_in = (random() < 0.5)::int where day >= '2025-01-31'")
    assert judged(watch, FIRST, LATER).action == "none"
    verdict = judged(watch, LATEST)
    assert verdict.action == "retrain" and verdict.matured == FIRST and "worse than the" in verdict.why
    assert store.unanswered(watch.url, "churn") == verdict and store.pending(watch.url, "churn") == [verdict]


@pytest.mark.long
def test_the_estimate_does_not_see_a_lost_relation(watch, company_url):
    change(company_url, "update people set left_in = 0 where day >= '2025-01-31'")
    estimates = [judged(watch, key).figures["estimate"]["roc_auc"] for key in (FIRST, LATER)]
    assert all(one["low"] < 0.85 < one["high"] + 0.03 for one in estimates)


def test_a_group_that_is_underestimated_is_found(watch, company_url):
    change(company_url, "update people set left_in = 1 where day >= '2025-01-31' and gender = 'f' and id % 3 = 0")
    verdict = judged(watch, FIRST, LATER, LATEST)
    found = [one for one in verdict.findings if one.kind == "bias"]
    assert {one.about for one in found} == {"gender: f"}
    assert any("underestimation of gender f" in one.message for one in found)


def test_late_labels_change_the_figures_and_what_was_known_stays(watch, company_url):
    change(company_url, "update people set available_at = '2025-05-20' where day = '2025-01-31' and id % 2 = 0")
    judged(watch, FIRST, LATER, LATEST, "2025-04")
    assert [one.labelled for one in store.performances(watch.url, "churn", FIRST)] == [PEOPLE / 2]
    judged(watch, "2025-05")
    now, before = store.performances(watch.url, "churn", FIRST)
    assert (now.labelled, before.labelled) == (PEOPLE, PEOPLE / 2) and now.late == PEOPLE / 2
    assert (now.judged_on, before.judged_on) == (dt.date(2025, 5, 31), dt.date(2025, 3, 31))


def test_a_window_has_one_verdict_however_often_it_is_asked_for(watch):
    first = judged(watch, FIRST)
    assert judged(watch, FIRST) == first and len(store.verdicts(watch.url, "churn")) == 1
    again = judge_window(watch, windows.named(FIRST, "month"), judged_on=dt.date(2025, 1, 31), force=True)
    assert again.sequence > first.sequence and store.verdicts(watch.url, "churn") == [again]


def test_a_window_of_every_day_is_the_sum_of_its_days(watch, company_url):
    change(company_url, "update people set day = day - 1 where day >= '2024-12-31' and id % 3 = 0")
    every_day = CONFIG.monitor.model_copy(update={"snapshot_policy": "every", "history": 1})
    daily = replace(watch, params=CONFIG.model_copy(update={"monitor": every_day}))
    subject, window = watch.subject_of(1), windows.named(FIRST, "month")
    for day in window.days[-2:]:
        score(subject.source, watch.url, subject.version, subject.bundle, as_of=day, count=subject.count)
    verdict = judge_window(daily, window, judged_on=window.last)
    assert (verdict.row_count, len(verdict.figures["runs"])) == (PEOPLE, 2)
    december = earlier(daily, subject, window, {})[-1].histograms
    assert december.rows == PEOPLE


def test_a_window_without_scores_says_what_to_do(watch):
    with pytest.raises(EvergreenError, match=r"Nothing was scored in 2025-01.*`evergreen run score --as-of 2025-01-31`, then"):
        judge_window(watch, windows.named(FIRST, "month"), judged_on=dt.date(2025, 1, 31))


def test_another_judge_is_refused(watch):
    with store.one_at_a_time(watch.url, "churn"), pytest.raises(EvergreenError, match="is being judged already"):
        judged(watch, FIRST)


def test_a_table_without_outcomes_is_watched_without_labels(watch):
    watch.subject_of(1).source.queries.outcomes.unlink()
    verdict = judged(watch, FIRST, LATER, LATEST)
    assert verdict.action == "none" and "outcomes.sql is missing" in verdict.why


def test_labels_of_an_earlier_champion_do_not_judge_this_one(watch, company_url, url, tmp_path, world):
    change(company_url, "update people set left_in = (random() < 0.5)::int where day >= '2025-01-31'")
    judged(watch, FIRST, LATER)
    version, bundle = publish(url, tmp_path / "other", world, threshold=0.4)
    data = watch.subject_of(1).source.data.model_copy(update={"as_of": dt.date(2025, 3, 16)})  # January's labels were final
    second = replace(watch.subject_of(1), version=version, bundle=bundle, source=replace(watch.subject_of(1).source, data=data))
    both = replace(watch, subject_of=lambda number: {1: watch.subject_of(1), 2: second}[number])
    score(second.source, url, version, bundle, as_of=dt.date(2025, 3, 31), count=second.count)
    verdict = judge_window(both, windows.named(LATEST, "month"), judged_on=dt.date(2025, 3, 31))
    assert verdict.version == 2 and verdict.action == "none" and "scored by v1" in verdict.why


def test_a_champion_that_has_not_seen_what_the_earlier_ones_labels_show_is_retrained(watch, company_url, url, tmp_path, world):
    change(company_url, "update people set left_in = (random() < 0.5)::int where day >= '2025-01-31'")
    judged(watch, FIRST, LATER)
    version, bundle = publish(url, tmp_path / "other", world, threshold=0.4)
    second = replace(watch.subject_of(1), version=version, bundle=bundle)
    both = replace(watch, subject_of=lambda number: {1: watch.subject_of(1), 2: second}[number])
    score(second.source, url, version, bundle, as_of=dt.date(2025, 3, 31), count=second.count)
    verdict = judge_window(both, windows.named(LATEST, "month"), judged_on=dt.date(2025, 3, 31))
    assert verdict.version == 2 and verdict.action == "retrain" and "roc_auc of v1 is" in verdict.why


def test_of_every_day_a_window_takes_those_of_the_champion_that_it_ended_with(watch, url, tmp_path, world):
    def empty_run(version, day):
        values = {"model": "churn", "version": version.version, "as_of": dt.date(2025, 1, day)}
        run = predictions.begin(url, predictions.Plan(**values, horizon_days=30, embargo_days=14, query_sha256="0"))
        with connect(url) as connection:
            predictions.Writer(connection, run).finish()

    first = watch.subject_of(1).version
    empty_run(first, 1)
    second, _ = publish(url, tmp_path / "other", world, threshold=0.4)
    empty_run(second, 2)
    empty_run(second, 3)
    window = windows.named(FIRST, "month")
    monitor = CONFIG.monitor.model_copy(update={"snapshot_policy": "every"})
    every_day = replace(watch, params=CONFIG.model_copy(update={"monitor": monitor}))
    assert [(run.version, run.as_of.day) for run in every_day.runs(window)] == [(2, 2), (2, 3)]
    assert [(run.version, run.as_of.day) for run in watch.runs(window)] == [(2, 3)]
    assert [(run.version, run.as_of.day) for run in watch.runs(window, 1)] == [(1, 1)]


@pytest.mark.long
def test_a_window_that_is_judged_anew_knows_nothing_of_those_after_it(watch, company_url):
    judged(watch, FIRST, LATER)
    change(company_url, "update people set left_in = 0 where day >= '2025-01-31'")
    before = judged(watch, LATEST)
    judged(watch, "2025-04", "2025-05")
    again = judge_window(watch, windows.named(LATEST, "month"), judged_on=dt.date(2025, 3, 31), force=True)
    assert (again.matured, again.findings) == (before.matured, before.findings)


def test_a_feed_that_was_mended_is_scored_anew_and_no_longer_blocked(watch, company_url):
    change(
        company_url, "create table kept as select * from people; update people set weak = weak * 1000 where day = '2025-01-31'"
    )
    assert judged(watch, FIRST).action == "quarantine"
    change(company_url, "update people set weak = kept.weak from kept where kept.id = people.id and kept.day = people.day")
    window, subject = windows.named(FIRST, "month"), watch.subject_of(1)
    score(subject.source, watch.url, subject.version, subject.bundle, as_of=window.last, force=True, count=subject.count)
    assert judge_window(watch, window, judged_on=window.last, version=1, force=True).action == "none"
    assert fetch(watch.url, "select distinct flagged from evergreen.latest_scores") == [(False,)]


def test_what_a_version_was_trained_on_is_no_broken_feed_to_it(watch, company_url):
    change(company_url, "update people set weak = weak * 1000 where day >= '2025-01-31'")
    assert {one.action for one in (judged(watch, FIRST), judged(watch, LATER))} == {"quarantine"}
    data = watch.subject_of(1).source.data.model_copy(update={"as_of": dt.date(2025, 2, 28)})
    retrained = replace(watch.subject_of(1), source=replace(watch.subject_of(1).source, data=data))
    later = replace(watch, subject_of=lambda _: retrained)
    known = {one.window_key: one for one in store.verdicts(watch.url, "churn")}
    blocks = earlier(later, retrained, windows.named(LATEST, "month"), known)
    assert [block.broken for block in blocks[-2:]] == [False, False]
    assert judged(later, LATEST).action != "quarantine"


def test_a_month_without_rows_does_not_end_the_history(watch, company_url):
    change(company_url, "delete from people where day = '2024-11-30'")
    verdict = judged(watch, FIRST)
    assert verdict.action == "none" and verdict.figures["drift"]["blocks"] >= CONFIG.monitor.min_baseline_windows


def test_a_window_scored_long_before_its_end_says_so_and_blocks_nothing(watch, company_url):
    change(company_url, "update people set day = '2025-01-20' where day = '2025-01-31'")
    subject = watch.subject_of(1)
    score(subject.source, watch.url, subject.version, subject.bundle, as_of=dt.date(2025, 1, 20), count=subject.count)
    verdict = judge_window(watch, windows.named(FIRST, "month"), judged_on=dt.date(2025, 1, 31))
    assert verdict.action == "none" and "scored last on 2025-01-20, 11 days before its end" in verdict.why


def test_a_window_without_a_row_is_judged_and_its_neighbours_go_on(watch, company_url):
    change(company_url, "delete from people where day = '2025-02-28'")
    judged(watch, FIRST)
    empty = judge_window(
        watch, windows.named(LATER, "month"), judged_on=dt.date(2025, 2, 28)
    )  # nobody scored it: nobody was there
    assert (empty.row_count, empty.action) == (0, "info") and "No row came." in empty.why
    later = judged(watch, LATEST)
    assert later.action == "none" and later.matured == FIRST
    assert judged(watch, "2025-04").matured == LATER  # whose labels there are none of


def test_few_labels_a_month_are_judged_together(watch, company_url):
    change(
        company_url,
        "update people set left_in = (random() < 0.5)::int where day >= '2025-01-31'; "
        "delete from people where day >= '2025-01-31' and id % 40 <> 0",
    )
    verdict = judged(watch, FIRST, LATER, LATEST)
    assert verdict.matured == FIRST and "roc_auc cannot be judged" in verdict.why
    verdict = judged(watch, "2025-04")
    assert "roc_auc of 2025-01 to 2025-02 together is" in str([one.message for one in verdict.findings])
    assert verdict.action == "retrain"


@pytest.mark.long
def test_labels_of_every_window_are_judged_also_when_one_was_left_out(watch, company_url):
    change(company_url, "update people set left_in = (random() < 0.5)::int where day = '2025-02-28'")
    judged(watch, FIRST, LATER, LATEST)
    verdict = judged(watch, "2025-05")
    assert verdict.matured == LATEST
    assert verdict.action == "retrain", "February's labels, which April would have judged"


def test_labels_that_all_are_late_are_no_figure_and_no_fault(watch, company_url):
    change(company_url, "update people set available_at = '2026-01-01' where day = '2025-01-31'")
    verdict = judged(watch, FIRST, LATER, LATEST)
    (measured,) = store.performances(watch.url, "churn")
    assert (measured.labelled, measured.metrics, verdict.action) == (0, {}, "none")
    subject = watch.subject_of(1)
    frame = labels.with_groups(subject, subject.matured(watch.runs(windows.named(FIRST, "month")), dt.date(2025, 3, 31)))
    assert frame.empty and "group_gender" in frame


@pytest.mark.long
def test_very_many_labels_are_judged_by_a_sample_and_counted_whole(watch):
    few = CONFIG.model_copy(update={"monitor": CONFIG.monitor.model_copy(update={"max_rows_judged": 1000})})
    judged(replace(watch, params=few), FIRST, LATER, LATEST)
    (measured,) = store.performances(watch.url, "churn", groups=True)
    assert measured.labelled == PEOPLE and measured.groups["whole"]["rows"] == 1000


@pytest.mark.long
def test_a_window_that_is_judged_anew_knows_no_label_that_came_later(watch, company_url):
    change(company_url, "update people set available_at = '2025-05-20' where day = '2025-01-31' and id % 2 = 0")
    before = judged(watch, FIRST, LATER, LATEST)
    judged(watch, "2025-04", "2025-05")
    again = judge_window(watch, windows.named(LATEST, "month"), judged_on=dt.date(2025, 3, 31), force=True)
    assert again.findings == before.findings


@pytest.mark.long
def test_a_retraining_that_is_asked_for_and_has_not_begun_counts_as_under_way(watch, company_url):
    change(company_url, "update people set left_in = (random() < 0.5)::int where day >= '2025-01-31'")
    assert judged(watch, FIRST, LATER, LATEST).action == "retrain"
    suppressed = judged(watch, "2025-04")
    assert (suppressed.action, suppressed.suppressed) == ("info", "A retraining is under way already.")


# retrainings that windows ask for


def test_of_many_runs_of_one_cause_the_first_is_done(url):
    assert store.begin_retraining(url, "churn", "run-1", "2025-03", "2025-03-31")
    assert store.begin_retraining(url, "churn", "run-1", "2025-03", "2025-03-31")  # the same run, tried again
    assert not store.begin_retraining(url, "churn", "run-2", "2025-03", "2025-03-31")
    assert store.begin_retraining(url, "other", "run-3", "2025-03", None)
    assert store.begin_retraining(url, "churn", "run-4", None, None)


def test_a_retraining_that_was_killed_is_written_down_by_the_next_one(url):
    store.begin_retraining(url, "churn", "run-1", "2025-03", None)
    store.begin_retraining(url, "churn", "run-2", "2025-04", None)
    with suppress(EvergreenError):
        store.end_retraining(url, "churn", "run-2", "rejected", version=None)
    assert [(one.run_id, one.outcome) for one in store.retrainings(url, "churn")] == [
        ("run-2", "rejected"),
        ("run-1", "failed"),
    ]
