"""Outcomes on a real Postgres: immature is not negative, and a late label changes the past without hiding what was known."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from examples.telecom.load import load_demo
from pipelines.config.errors import EvergreenError
from pipelines.data.extract import Queries
from pipelines.data.postgres import bind, connect, snapshot
from pipelines.scoring import outcomes
from pipelines.scoring.outcomes import Counts
from pipelines.scoring.score import score
from tests.conftest import _fresh_database
from tests.support.scoring import DATA, ROOT, champion, change, fetch, publish, queried, url

__all__ = ["champion", "url"]  # fixtures
SCORED = dt.date(2024, 12, 31)
FINAL = dt.date(2025, 2, 13)  # 30 and 14 days later
WINDOW = {"as_of_from": dt.date(2024, 12, 1), "as_of_to": SCORED}
OUTCOMES = """
select id as customer_id, score_day as snapshot_date, coalesce(left_on <= score_day + :horizon_days, false)::int as churned,
    case when left_on <= score_day + :horizon_days then told_on else score_day + :horizon_days + :embargo_days end
        as available_at
from people
cross join unnest(cast(:score_days as date [])) as score_day
where told_on is null or told_on <= :as_of
union all
select id, score_day, 0, score_day + :horizon_days + :embargo_days
from people
cross join unnest(cast(:score_days as date [])) as score_day
where told_on > :as_of
"""


@pytest.fixture
def source(company_url, tmp_path, url, champion):
    """Ten people, scored on the last day of 2024: person 1 left on 10 January, which was told on the 15th."""
    change(
        company_url,
        "create table people as select i as id, i::float8 as strong, 0.0::float8 as weak, null::date as left_on, "
        "null::date as told_on from generate_series(1, 10) as i; "
        "update people set left_on = '2025-01-10', told_on = '2025-01-15' where id = 1",
    )
    training = "select id as customer_id, cast(:as_of as date) as snapshot_date, 0 as churned, strong, weak from people"
    source = queried(company_url, tmp_path / "sql", training)
    source.queries.outcomes.write_text(OUTCOMES)
    score(source, url, *champion, as_of=SCORED)
    return source


def leaves(source, person, left_on, told_on):
    change(source.url, f"update people set left_on = '{left_on}', told_on = '{told_on}' where id = {person}")


def pull(source, url, available_by=FINAL):
    return outcomes.pull(source, url, "churn", available_by=available_by)


def labels(url, judged_on=FINAL, **values):
    """Entity -> label."""
    with outcomes.matured(url, "churn", **WINDOW, judged_on=judged_on, **values) as batches:
        rows = batches.read_all()
    found = dict(zip(rows["entity"].to_pylist(), rows["label"].to_pylist(), strict=True))
    assert len(found) == rows.num_rows
    return found


def count(url, judged_on=FINAL):
    return outcomes.counts(url, "churn", **WINDOW, judged_on=judged_on)


def positives(found):
    return sorted(entity for entity, label in found.items() if label)


# maturity


def test_a_matured_prediction_comes_with_its_label(source, url):
    assert pull(source, url) == outcomes.Pulled(days=1, labels=10, recorded=10)
    with outcomes.matured(url, "churn", **WINDOW, judged_on=FINAL) as batches:
        rows = batches.read_all()
    assert rows.column_names == ["version", "entity", "as_of", "score", "decision", "label", "available_at"]
    found = {row["entity"]: row for row in rows.to_pylist()}
    assert len(found) == 10 == rows.num_rows
    assert (found["1"]["label"], found["1"]["available_at"]) == (1, dt.date(2025, 1, 15))
    assert (found["2"]["label"], found["2"]["available_at"], found["2"]["as_of"]) == (0, FINAL, SCORED)
    assert found["2"]["score"] == pytest.approx(1 / (1 + 2.718281828 ** (-2 * 2)), abs=1e-4) and found["2"]["decision"]
    assert count(url) == Counts(immature=0, matured=10, labelled=10, positives=1, late=0)


@pytest.mark.parametrize("days_before", [1, 14, 44])
def test_the_immature_are_counted_and_never_judged(source, url, days_before):
    day = FINAL - dt.timedelta(days_before)
    assert pull(source, url, available_by=day).days == 0
    pull(source, url)  # even when the labels are there
    assert labels(url, judged_on=day) == {}
    assert count(url, judged_on=day) == Counts(immature=10, matured=0, labelled=0, positives=0, late=0)


def test_a_query_that_gives_negatives_too_early_does_not_make_them_count(source, url):
    early = OUTCOMES.replace("where told_on > :as_of", "where true")
    source.queries.outcomes.write_text(early.replace("score_day + :horizon_days + :embargo_days", "date '2026-01-01'"))
    with pytest.raises(EvergreenError, match="repeat the customer_id of another"):
        pull(source, url)
    source.queries.outcomes.write_text(OUTCOMES.replace("score_day + :horizon_days + :embargo_days", "date '2026-01-01'"))
    assert pull(source, url).recorded == 1
    assert labels(url) == {"1": 1}


def test_who_had_left_before_is_matured_and_has_no_label(source, url):
    source.queries.outcomes.write_text(f"select * from ({OUTCOMES}) as everyone where customer_id <> 2")
    pull(source, url)
    assert count(url) == Counts(immature=0, matured=10, labelled=9, positives=1, late=0)


# late and corrected


def test_a_late_churner_changes_a_past_window_and_both_views_can_be_asked(source, url):
    pull(source, url)
    told_on = dt.date(2025, 3, 20)
    leaves(source, 2, "2025-01-20", told_on)
    assert pull(source, url, available_by=told_on) == outcomes.Pulled(days=1, labels=10, recorded=1)
    assert positives(labels(url, judged_on=told_on)) == ["1", "2"]
    assert positives(labels(url, judged_on=FINAL)) == ["1"]
    assert len(labels(url, judged_on=told_on)) == len(labels(url, judged_on=FINAL)) == 10
    assert count(url, judged_on=told_on) == Counts(immature=0, matured=10, labelled=10, positives=2, late=1)
    assert count(url, judged_on=FINAL).late == 0
    current = fetch(url, "select label from evergreen.current_outcomes where entity = '2'")
    assert current == [(1,)]
    assert fetch(url, "select label from evergreen.outcomes where entity = '2' order by sequence") == [(0,), (1,)]


def test_a_label_that_is_taken_back_is_known_since_it_was(source, url):
    pull(source, url)
    change(source.url, "update people set left_on = null, told_on = null where id = 1")
    later = dt.date(2025, 4, 1)
    assert pull(source, url, available_by=later).recorded == 1
    assert [positives(labels(url, judged_on=day)) for day in (FINAL, later)] == [["1"], []]


def test_a_late_label_that_is_taken_back_counts_as_long_as_it_stood(source, url):
    pull(source, url)
    leaves(source, 2, "2025-01-20", "2025-03-20")
    pull(source, url, available_by=dt.date(2025, 3, 20))
    change(source.url, "update people set left_on = null, told_on = null where id = 2")
    back = dt.date(2025, 5, 5)
    assert pull(source, url, available_by=back).recorded == 1
    assert pull(source, url, available_by=back + dt.timedelta(30)).recorded == 0
    seen = [positives(labels(url, judged_on=day)) for day in (FINAL, dt.date(2025, 4, 1), back)]
    assert seen == [["1"], ["1", "2"], ["1"]]


def test_what_we_had_not_heard_of_can_be_left_out(source, url):
    pull(source, url)
    ((heard,),) = fetch(url, "select clock_timestamp()")
    leaves(source, 2, "2025-01-20", "2025-02-01")  # in time, but we are told after our pull
    pull(source, url, available_by=dt.date(2025, 3, 1))
    assert positives(labels(url, judged_on=dt.date(2025, 3, 1), recorded_by=heard)) == ["1"]


def test_a_day_that_is_looked_at_later_is_seen_as_of_then(source, url):
    """A backfill pulls an earlier day after a later one."""
    leaves(source, 2, "2025-01-20", "2025-03-20")
    pull(source, url, available_by=dt.date(2025, 3, 20))
    assert pull(source, url).recorded == 1
    assert positives(labels(url)) == ["1"]
    assert positives(labels(url, judged_on=dt.date(2025, 3, 20))) == ["1", "2"]
    assert [pull(source, url, available_by=day).recorded for day in (FINAL, dt.date(2025, 3, 20))] == [0, 0]


@pytest.mark.parametrize("together", [0, 200_000])
def test_days_have_their_own_labels_whether_they_are_asked_for_together_or_alone(source, url, champion, monkeypatch, together):
    monkeypatch.setattr(outcomes, "TOGETHER", together)
    later = dt.date(2025, 1, 12)  # after person 1 had left
    score(source, url, *champion, as_of=later)
    available_by = FINAL + dt.timedelta(12)
    assert pull(source, url, available_by=available_by) == outcomes.Pulled(days=2, labels=20, recorded=20)
    told = fetch(url, "select as_of, available_at from evergreen.outcomes where entity = '2' order by as_of")
    assert told == [(SCORED, FINAL), (later, available_by)]


def test_a_day_that_was_not_asked_for_is_refused_among_several(source, url, champion):
    score(source, url, *champion, as_of=SCORED - dt.timedelta(1))
    wrong = f"select customer_id, snapshot_date + 1 as snapshot_date, churned, available_at from ({OUTCOMES}) as everyone"
    source.queries.outcomes.write_text(wrong)
    with pytest.raises(EvergreenError, match="rows of a day that is not in :score_days"):
        pull(source, url)


# once, and by whom


def test_pulling_again_records_nothing(source, url):
    pull(source, url)
    assert pull(source, url) == outcomes.Pulled(days=1, labels=10, recorded=0)


def test_a_version_scored_twice_is_judged_by_its_newest_run(source, url, champion):
    change(source.url, "update people set strong = -5")
    score(source, url, *champion, as_of=SCORED, force=True)
    pull(source, url)
    with outcomes.matured(url, "churn", **WINDOW, judged_on=FINAL) as batches:
        rows = batches.read_all()
    assert rows.num_rows == 10 and max(rows["score"].to_pylist()) < 0.001
    assert count(url).matured == 10


def test_every_version_is_judged(source, url, tmp_path):
    score(source, url, *publish(url, tmp_path / "second", {"strong": -1.0}), as_of=SCORED)
    pull(source, url)
    with outcomes.matured(url, "churn", **WINDOW, judged_on=FINAL) as batches:
        assert sorted(batches.read_all()["version"].to_pylist()) == [1] * 10 + [2] * 10


def test_another_horizon_has_labels_of_its_own(source, url, tmp_path):
    version, bundle = publish(url, tmp_path / "second", {"strong": -1.0})
    longer = replace(source, data=DATA.model_copy(update={"horizon_days": 60}))
    score(longer, url, version, bundle, as_of=SCORED)
    leaves(source, 2, "2025-02-20", "2025-02-21")  # after 51 days
    judged_on = dt.date(2025, 6, 1)
    pull(source, url, available_by=judged_on)
    with outcomes.matured(url, "churn", **WINDOW, judged_on=judged_on) as batches:
        rows = batches.read_all().to_pylist()
    assert {row["version"]: row["label"] for row in rows if row["entity"] == "2"} == {1: 0, 2: 1}


def test_other_days_are_left_alone(source, url):
    first = SCORED + dt.timedelta(1)
    assert outcomes.pull(source, url, "churn", available_by=FINAL, as_of_from=first) == outcomes.Pulled(0, 0, 0)


# wrong ones


def test_without_a_query_it_says_what_to_do(source, url):
    source.queries.outcomes.unlink()
    with pytest.raises(
        EvergreenError, match=r"outcomes\.sql is missing, so nobody knows what came true of the scores of 'churn'"
    ):
        pull(source, url)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("select customer_id, snapshot_date, 2 as churned, available_at", "10 labels are neither 0 nor 1"),
        ("select customer_id, snapshot_date, null::int as churned, available_at", "label is NULL in 10 rows"),
        ("select customer_id, snapshot_date - 1 as snapshot_date, churned, available_at", "10 rows are of a day"),
        ("select 1 as customer_id, snapshot_date, churned, available_at", "9 rows repeat the customer_id"),
    ],
)
def test_labels_that_are_wrong_are_refused_whole(source, url, expression, said):
    source.queries.outcomes.write_text(f"{expression} from ({OUTCOMES}) as everyone")
    with pytest.raises(EvergreenError, match=said):
        pull(source, url)
    assert fetch(url, "select count(*) from evergreen.outcomes") == [(0,)]


@pytest.mark.parametrize("table", ["outcomes", "predictions", "predictions_2024_12"])
@pytest.mark.parametrize("statement", ["update {} set as_of = as_of", "delete from {}", "truncate {}"])
def test_nothing_is_changed_or_removed(source, url, table, statement):
    pull(source, url)
    with pytest.raises(EvergreenError, match=rf"evergreen.{table}(_2024_12)? is append-only"):
        change(url, statement.format(f"evergreen.{table}"))


KILLED = """
import sys, datetime
from pathlib import Path
from pipelines.scoring import outcomes
from pipelines.data.extract import Queries
from pipelines.config.params import DataParams
from pipelines.scoring.score import Source
company, url, queries, data = sys.argv[1:]
source = Source(url=company, queries=Queries(Path(queries)), data=DataParams.model_validate_json(data))
outcomes.pull(source, url, "churn", available_by=datetime.date(2025, 2, 13))
"""


def test_a_pull_that_is_killed_records_a_day_whole_or_not_at_all(source, url, champion):
    score(source, url, *champion, as_of=dt.date(2024, 12, 30))
    command = [sys.executable, "-c", KILLED, source.url, url, source.queries.folder, source.data.model_dump_json()]
    killed = {"EVERGREEN_FAULT": "outcomes:recorded:kill"}
    assert subprocess.run(command, cwd=ROOT, env=os.environ | killed, check=False).returncode == -signal.SIGKILL
    assert fetch(url, "select count(*) from evergreen.outcomes") == [(0,)]
    assert pull(source, url) == outcomes.Pulled(days=2, labels=20, recorded=20)


# sql/churn


@pytest.fixture(scope="module")
def company(postgres_url):
    for company_url in _fresh_database(postgres_url, "company"):
        load_demo(company_url, customers=1_500, months=14, say=lambda _: None)
        yield company_url


CHURN = Queries(ROOT / "sql" / "churn")


def read(url, query: Path, **binds):
    values = {"as_of": FINAL, "history_days": 0, "horizon_days": 30, "embargo_days": 14}
    with snapshot(url) as opened, opened.batches(bind(query, values | binds)) as batches:
        return batches.read_all().to_pandas()


def test_churns_outcomes_are_the_labels_that_training_sees(company):
    trained = read(company, CHURN.training_set, as_of="2025-02-28", history_days=200)
    days = sorted(set(trained.snapshot_date))
    found = read(company, CHURN.outcomes, as_of="2025-02-28", score_days=days)
    keys = ["customer_id", "snapshot_date"]
    assert len(days) >= 4 and trained.churned.sum() > 20
    joined = trained[[*keys, "churned"]].merge(found, on=keys, how="outer", suffixes=("", "_found"), indicator=True)
    assert set(joined._merge) == {"both"}
    assert (joined.churned == joined.churned_found).all()


def test_churns_outcomes_hold_nothing_that_was_not_known(company):
    found = read(company, CHURN.outcomes, score_days=[dt.date(2024, 11, 30), SCORED, dt.date(2025, 1, 1)])
    assert set(found.snapshot_date) == {dt.date(2024, 11, 30), SCORED}  # the third is final a day later
    assert found.available_at.max() <= FINAL
    assert (found.available_at[found.churned == 0] == found.snapshot_date[found.churned == 0] + dt.timedelta(44)).all()


def test_a_churner_who_reaches_the_books_late_is_a_0_until_then(company):
    changed = "insert into telecom.terminations select customer_id, '2025-01-15', null, '2025-02-20' from telecom.customers "
    changed += "where customer_id not in (select customer_id from telecom.terminations) and joined_on < '2024-12-01' limit 1 "
    ((late,),) = _returned(company, changed + "returning customer_id")
    before, after = (
        read(company, CHURN.outcomes, as_of=day, score_days=[SCORED]).set_index("customer_id").loc[late]
        for day in ("2025-02-19", "2025-02-20")
    )
    assert (before.churned, before.available_at) == (0, FINAL)
    assert (after.churned, after.available_at) == (1, dt.date(2025, 2, 20))


def _returned(url, statement):
    with connect(url) as connection:
        return connection.execute(statement).fetchall()


def test_select_is_all_that_churns_outcomes_need(company):
    values = {"as_of": FINAL, "horizon_days": 30, "embargo_days": 14, "score_days": [SCORED]}
    with connect(company) as connection:
        connection.execute("create role only_reads; grant usage on schema telecom to only_reads")
        connection.execute("grant select on all tables in schema telecom to only_reads; set role only_reads")
        connection.execute("set transaction read only")
        assert connection.execute(bind(CHURN.outcomes, values)).fetchone()
        connection.rollback()
