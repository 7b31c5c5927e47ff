"""Batch scoring on a real Postgres: everyone once, whatever happens in between, and nothing half in sight."""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipelines.config import stage
from pipelines.config.errors import EvergreenError
from pipelines.data.postgres import connect
from pipelines.registry import schema
from pipelines.scoring import predictions
from pipelines.scoring.score import day, score
from tests.support import bundles
from tests.support.ledgers import at_once
from tests.support.scoring import DATA, ROOT, champion, change, crown, fetch, publish, queried, url

__all__ = ["champion", "url"]  # fixtures

AS_OF = dt.date(2024, 12, 31)
TIMED = """
select id as customer_id, cast(:as_of as date) as snapshot_date, 0 as churned, strong, weak
from people
where cast(:history_days as int) + cast(:horizon_days as int) + cast(:embargo_days as int) = 0
"""


@pytest.fixture
def source(company_url, tmp_path):
    """1,000 people with ids 1 to 1000; complete up to 2024-12-31."""
    change(
        company_url,
        "create table people as select i as id, sin(i) as strong, cos(i) as weak from generate_series(1, 1000) as i",
    )
    return queried(company_url, tmp_path / "sql", TIMED, "select date '2024-12-31'")


def latest(url):
    return dict(fetch(url, "select entity, score from evergreen.latest_scores where model = 'churn'"))


# what is written


def test_everyone_gets_the_models_score_and_its_decision(source, url, champion):
    run = score(source, url, *champion, as_of=AS_OF, chunk_rows=300)
    assert (run.state, run.row_count, run.run_key) == ("complete", 1000, "batch/v1/2024-12-31")
    found = fetch(
        url, "select entity::int, score, decision, model, version, as_of, source, features from evergreen.predictions"
    )
    ids = np.arange(1, 1001)
    expected = bundles.sigmoid(2 * np.sin(ids) - np.cos(ids))
    by_id = {row[0]: row[1:] for row in found}
    assert sorted(by_id) == ids.tolist() and len(found) == 1000
    assert np.allclose([by_id[one][0] for one in ids], expected, atol=1e-6)
    assert [by_id[one][1] for one in ids] == [bool(by_id[one][0] >= 0.5) for one in ids]
    assert {row[3:] for row in found} == {("churn", 1, AS_OF, "batch", None)}


def test_every_prediction_has_an_identifier_of_its_own(source, url, champion):
    score(source, url, *champion, as_of=AS_OF)
    ((count, versions),) = fetch(
        url, "select count(distinct prediction_id), array_agg(distinct uuid_extract_version(prediction_id)) "
        "from evergreen.predictions"
    )  # fmt: skip
    assert (count, versions) == (1000, [7])


def test_rows_of_a_group_are_scored_by_keys_of_their_own(company_url, url, champion, tmp_path):
    change(company_url, "create table visits as select i as visit, i % 40 as patient, sin(i) as strong, cos(i) as weak"
                        " from generate_series(1, 200) as i")  # fmt: skip
    data = DATA.model_copy(update={"entity": "patient", "row_key": "visit", "time": None})
    query = "select patient, visit, 0 as churned, strong, weak from visits where cast(:history_days as int) = 0"
    visits = queried(company_url, tmp_path / "visits", query, data=data)
    score(visits, url, *champion, as_of=AS_OF)
    assert {*latest(url)} == {str(number) for number in range(1, 201)}
    change(company_url, "insert into visits values (7, 1, 0, 0)")
    with pytest.raises(EvergreenError, match="1 rows repeat the visit of another"):
        score(visits, url, *champion, as_of=AS_OF, force=True)


@pytest.mark.parametrize(
    "entities",
    [
        "md5(i::text)",
        "md5(i::text)::uuid",
        "'Ünï ' || i || ' =cmd()'",
        "(10000000000000000 + i)::numeric",
        "date '2020-01-01' + i",
    ],
)
def test_any_type_of_entity_is_scored_once_in_small_chunks(company_url, url, champion, tmp_path, entities):
    change(
        company_url,
        f"create table people as select {entities} as id, 0.1 as strong, 0.2 as weak from generate_series(1, 200) i",
    )
    run = score(queried(company_url, tmp_path / "sql", TIMED), url, *champion, as_of=AS_OF, chunk_rows=7)
    expected = {row[0] for row in fetch(company_url, "select id::text from people")}
    assert run.row_count == 200 and set(latest(url)) == expected


def test_a_table_without_time_gives_all_its_rows(company_url, url, champion, tmp_path):
    change(company_url, "create table people as select i as id, 0.1 as strong, 0.2 as weak from generate_series(1, 20) i")
    data = DATA.model_copy(update={"time": None, "horizon_days": 0, "embargo_days": 0})
    timeless = queried(
        company_url, tmp_path / "sql", "select id as customer_id, strong, weak, 0 as churned from people", data=data
    )
    today = dt.date(2026, 11, 23)
    assert score(timeless, url, *champion, as_of=day(timeless, None, today)).as_of == today
    assert len(latest(url)) == 20


def test_a_month_gets_its_partition(source, url, champion):
    for as_of in (dt.date(2024, 11, 30), dt.date(2024, 12, 1), AS_OF):
        score(source, url, *champion, as_of=as_of)
    counts = fetch(url, "select tableoid::regclass::text, count(*) from evergreen.predictions group by 1 order by 1")
    assert counts == [("evergreen.predictions_2024_11", 1000), ("evergreen.predictions_2024_12", 2000)]


# which day


def test_the_day_is_the_newest_that_the_source_has_complete(source):
    assert day(source, None, dt.date(2026, 11, 23)) == AS_OF
    assert day(source, "2024-12-01", dt.date(2026, 11, 23)) == dt.date(2024, 12, 1)


@pytest.mark.parametrize(("asked", "said"), [("2025-01-01", "complete up to 2024-12-31 only"), ("soon", "YYYY-MM-DD")])
def test_a_day_that_cannot_be_scored_is_refused(source, asked, said):
    with pytest.raises(EvergreenError, match=said):
        day(source, asked, dt.date(2026, 11, 23))


# once


def test_the_same_run_again_writes_nothing(source, url, champion):
    first = score(source, url, *champion, as_of=AS_OF)
    assert score(source, url, *champion, as_of=AS_OF) == first
    assert fetch(url, "select count(*) from evergreen.predictions") == [(1000,)]


def test_force_scores_once_more_and_the_newest_is_shown(source, url, champion):
    score(source, url, *champion, as_of=AS_OF)
    change(source.url, "update people set strong = 100")
    again = score(source, url, *champion, as_of=AS_OF, force=True)
    assert again.run_key == "batch/v1/2024-12-31/2"
    assert min(latest(url).values()) == pytest.approx(1)
    assert fetch(url, "select run_key, count(*) from evergreen.predictions group by 1 order by 1") == [
        ("batch/v1/2024-12-31", 1000), (again.run_key, 1000),
    ]  # fmt: skip


def test_a_lock_that_was_let_go_is_free_at_once(url):
    for _ in range(60):
        with schema.locked(url, "evergreen/score/again", "held"):
            pass


def test_a_second_run_at_the_same_time_is_refused(source, url, champion):
    with schema.locked(url, "evergreen/score/churn/v1/2024-12-31", "held"), pytest.raises(EvergreenError) as refused:
        score(source, url, *champion, as_of=AS_OF)
    assert "Scoring of 'churn' by v1 as of 2024-12-31 is already running (by evergreen, since" in str(refused.value)
    assert fetch(url, "select count(*) from evergreen.predictions") == [(0,)]


def test_a_run_that_somebody_else_moved_writes_nothing(source, url, champion):
    version, bundle = champion
    stopped(source, url, version, bundle, rows=600)
    values = {"model": "churn", "version": 1, "as_of": AS_OF, "horizon_days": 30, "embargo_days": 14}
    query = stage.sha256(source.queries.training_set)
    run = predictions.begin(url, predictions.Plan(**values, query_sha256=query))
    change(url, "update evergreen.scoring_runs set row_count = row_count + 1")
    with pytest.raises(EvergreenError, match="Somebody else moved"), connect(url) as connection:
        predictions.Writer(connection, run).write(pa.array(["x"]), np.array([0.5]), np.array([True]))
    assert fetch(url, "select count(*) from evergreen.predictions") == [(600,)]


def stopped(source, url, version, bundle, rows, chunk_rows=100):
    """A run that ended with an error after `rows` rows."""

    class StopError(Exception):
        pass

    def say(line):
        if f" {rows:,} rows" in line:
            raise StopError

    with pytest.raises(StopError):
        score(source, url, version, bundle, as_of=AS_OF, chunk_rows=chunk_rows, say=say)
    assert fetch(url, "select row_count from evergreen.scoring_runs where state = 'running'") == [(rows,)]


def test_who_tries_another_version_out_changes_nothing_for_those_who_read_scores(source, url, champion, tmp_path):
    score(source, url, *champion, as_of=dt.date(2024, 12, 30))
    version, bundle = publish(url, tmp_path / "second", {"strong": -1.0})
    assert not score(source, url, version, bundle, as_of=AS_OF).as_champion
    assert _shown(url) == [(1, dt.date(2024, 12, 30))]
    crown(url, version)
    score(source, url, version, bundle, as_of=dt.date(2024, 12, 30))
    assert _shown(url) == [(2, dt.date(2024, 12, 30))]
    crown(url, champion[0])
    assert _shown(url) == [(1, dt.date(2024, 12, 30))]


def _shown(url):
    return fetch(url, "select distinct version, as_of from evergreen.latest_scores")


def test_two_who_need_a_partition_at_once_both_get_it(url):
    days = [f"select evergreen.predictions_partition('2030-0{month}-15')" for month in (1, 1, 1, 2)]
    found = at_once(*[lambda day=day: fetch(url, day) for day in days])
    assert found == [[("predictions_2030_01",)]] * 3 + [[("predictions_2030_02",)]]


# what people read


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_latest_scores_become_a_file(source, url, champion, tmp_path, suffix):
    score(source, url, *champion, as_of=AS_OF)
    out = tmp_path / "made" / f"scores{suffix}"
    assert predictions.export(url, "churn", out) == 1000
    table = pd.read_csv(out, float_precision="round_trip") if suffix == ".csv" else pd.read_parquet(out)
    assert list(table.columns) == ["customer_id", "as_of", "score", "decision", "tier", "version", "scored_at", "flagged"]
    assert table.score.is_monotonic_decreasing
    assert dict(zip(table.customer_id.astype(str), table.score, strict=True)) == latest(url)
    assert list(out.parent.iterdir()) == [out]


def test_scores_carry_their_tier_and_what_the_source_calls_the_entity(source, url, tmp_path):
    version, bundle = publish(url, tmp_path / "bundle", tiers=[["low", 0.0], ["high", 0.5], ["highest", 0.75]])
    crown(url, version)
    score(source, url, version, bundle, as_of=AS_OF)
    found = fetch(url, "select score, decision, tier, entity_column from evergreen.latest_scores")
    assert {row[2] for row in found} == {"low", "high", "highest"}
    for probability, decision, tier, name in found:
        assert tier == ("low" if probability < 0.5 else "high" if probability < 0.75 else "highest")
        assert decision == (tier != "low")
        assert name == "customer_id"
    predictions.export(url, "churn", tmp_path / "scores.parquet")
    table = pd.read_parquet(tmp_path / "scores.parquet")
    assert table.tier.value_counts().to_dict() == Counter(row[2] for row in found)


def test_an_entity_whose_name_is_another_columns_keeps_ours(tmp_path):
    batches = pa.table({"entity": ["a"], "score": [0.5]}).to_reader()
    predictions._write(batches, tmp_path / "scores.csv", ".csv", "score")
    assert pd.read_csv(tmp_path / "scores.csv").columns.tolist() == ["entity", "score"]


def test_an_export_that_makes_no_sense_is_refused(url, tmp_path):
    with pytest.raises(EvergreenError, match="'churn' has no scores yet"):
        predictions.export(url, "churn", tmp_path / "scores.csv")
    with pytest.raises(EvergreenError, match=r"ends with \.csv or \.parquet"):
        predictions.export(url, "churn", tmp_path / "scores.xlsx")
    (tmp_path / "mine.csv").write_text("mine")
    with pytest.raises(EvergreenError, match=r"mine\.csv is there already"):
        predictions.export(url, "churn", tmp_path / "mine.csv")
    assert (tmp_path / "mine.csv").read_text() == "mine"


# nothing half


def test_a_stopped_run_is_not_shown_and_the_next_goes_on_behind_it(source, url, champion):
    stopped(source, url, *champion, rows=300)
    assert latest(url) == {}
    said = []
    run = score(source, url, *champion, as_of=AS_OF, chunk_rows=100, say=said.append)
    assert said[0] == "batch/v1/2024-12-31: going on behind 300 rows."
    assert run.row_count == 1000 == len(latest(url))


def test_a_run_is_not_continued_by_another_query(source, url, champion):
    stopped(source, url, *champion, rows=300)
    source.queries.training_set.write_text(TIMED + " -- changed")
    with pytest.raises(EvergreenError, match="begun with another training_set"):
        score(source, url, *champion, as_of=AS_OF)
    assert score(source, url, *champion, as_of=AS_OF, force=True).row_count == 1000
    states = fetch(url, "select run_key, state, row_count from evergreen.scoring_runs order by sequence")
    assert states == [("batch/v1/2024-12-31", "superseded", 300), ("batch/v1/2024-12-31/2", "complete", 1000)]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("insert into people values (null, 0, 0)", "customer_id is NULL in 1 rows"),
        ("insert into people values (700, 0, 0)", "1 rows repeat the customer_id of another"),
        ("insert into people values (300, 0, 0)", "1 rows repeat the customer_id of another"),  # between two chunks
        ("delete from people", "0 rows to score as of 2024-12-31"),
    ],
)
def test_a_scoring_set_that_is_wrong_is_never_shown(source, url, champion, fault, said):
    change(source.url, fault)
    for _ in range(2):  # trying again does not pass over what was wrong
        with pytest.raises(EvergreenError, match=said):
            score(source, url, *champion, as_of=AS_OF, chunk_rows=100)
    assert latest(url) == {}


def test_a_day_on_which_nobody_came_is_complete_where_that_may_be(source, url, champion):
    change(source.url, "delete from people")
    with pytest.raises(EvergreenError, match="0 rows to score as of 2024-12-31"):
        score(source, url, *champion, as_of=AS_OF)
    run = score(source, url, *champion, as_of=AS_OF, may_be_empty=True)
    assert (run.state, run.row_count) == ("complete", 0)


def test_a_row_of_another_day_is_refused(source, url, champion):
    source.queries.training_set.write_text(TIMED.replace("cast(:as_of as date) as", "date '2024-12-30' as"))
    with pytest.raises(EvergreenError, match="snapshot_date is another day in 1,000 rows"):
        score(source, url, *champion, as_of=AS_OF)


def test_a_changed_bundle_scores_nobody(source, url, champion):
    (champion[1].folder / "decision.json").write_text(json.dumps({"threshold": 0.1}))
    with pytest.raises(EvergreenError, match=r"decision.json: changed"):
        score(source, url, *champion, as_of=AS_OF)
    assert fetch(url, "select count(*) from evergreen.scoring_runs") == [(0,)]


# killed

KILLED = """
import sys, datetime
from pathlib import Path
from pipelines import onnx_model
from pipelines.registry import ledger
from pipelines.data.extract import Queries
from pipelines.promotion.gate import Bundle
from pipelines.config.params import DataParams
from pipelines.scoring.score import Source, score
company, url, queries, bundle, data = sys.argv[1:]
version = ledger.version(url, "churn", 1)
source = Source(url=company, queries=Queries(Path(queries)), data=DataParams.model_validate_json(data))
as_of = datetime.date(2024, 12, 31)
say = lambda line: print(line, flush=True)
count = lambda rows, scores: '{"rows": %d}' % len(scores)
score(source, url, version, Bundle(Path(bundle), version.manifest), as_of=as_of, chunk_rows=1000, count=count, say=say)
"""


def begin_in_a_process(source, url, bundle, **environment):
    command = [
        sys.executable,
        "-c",
        KILLED,
        source.url,
        url,
        source.queries.folder,
        bundle.folder,
        source.data.model_dump_json(),
    ]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, text=True)


def undisturbed(source, url, version, bundle):
    """Entity -> score, of a run that is then forgotten."""
    score(source, url, version, bundle, as_of=AS_OF)
    found = latest(url)
    forget_everything(url)
    return found


def forget_everything(url):
    change(
        url,
        "alter table evergreen.predictions disable trigger user; delete from evergreen.predictions; "
        "alter table evergreen.predictions enable trigger user; delete from evergreen.scoring_runs; "
        "alter table evergreen.profiles disable trigger user; delete from evergreen.profiles; "
        "alter table evergreen.profiles enable trigger user",
    )


@pytest.fixture
def crowd(source):
    change(source.url, "insert into people select i, sin(i), cos(i) from generate_series(1001, 60000) as i")
    return source


def test_killed_at_any_moment_it_converges_to_what_an_undisturbed_run_gives(crowd, url, champion):
    expected = undisturbed(crowd, url, *champion)
    moments = random.Random(20240103)
    for number in range(5):
        forget_everything(url)
        with begin_in_a_process(crowd, url, champion[1]) as process:
            for _ in range(moments.randrange(1, 50)):  # of 60 chunks
                assert "rows." in process.stdout.readline()
            time.sleep(moments.uniform(0, 0.02))
            process.send_signal(signal.SIGKILL)
        ((left,),) = fetch(url, "select row_count from evergreen.scoring_runs where state = 'running'")
        assert fetch(url, "select count(*) from evergreen.predictions") == [(left,)]
        assert 0 < left < 60_000, f"kill {number} struck nothing"
        assert counted(url) == left, "what is counted is counted with the scores, or not at all"
        run = score(crowd, url, *champion, as_of=AS_OF, count=lambda _, scores: f'{{"rows": {len(scores)}}}')
        assert (run.state, run.row_count) == ("complete", 60_000)
        assert counted(url) == 60_000
        assert fetch(url, "select count(*), count(distinct entity) from evergreen.predictions") == [(60_000, 60_000)]
        assert latest(url) == expected


def counted(url):
    return fetch(url, "select coalesce(sum((histograms ->> 'rows')::int), 0)::int from evergreen.profiles")[0][0]


@pytest.mark.parametrize(("point", "kept"), [("score:copied", 0), ("score:moved", 0), ("score:chunk", 1000)])
def test_a_chunk_is_there_with_its_count_or_not_at_all(crowd, url, champion, point, kept):
    with begin_in_a_process(crowd, url, champion[1], EVERGREEN_FAULT=f"{point}:kill") as process:
        assert process.wait(60) == -signal.SIGKILL
    score(crowd, url, *champion, as_of=AS_OF, chunk_rows=30_000)
    # rows of one transaction share the time of its beginning
    sizes = fetch(url, "select count(*) from evergreen.predictions group by scored_at order by scored_at")
    assert sum(size for (size,) in sizes) == 60_000
    assert sizes[0] == (kept or 30_000,)
