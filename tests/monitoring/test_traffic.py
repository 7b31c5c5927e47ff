"""What the API was asked is watched as batch scores are: counted once, judged by its labels, and behind a batch run."""

from __future__ import annotations

import datetime as dt
import json
import uuid

import msgspec
import numpy as np

from monitoring import store, windows
from monitoring.traffic import _table
from monitoring.watch import judge_window
from pipelines.data.postgres import connect
from pipelines.registry.schema import query
from pipelines.scoring.score import score
from serving import records
from tests.support import bundles
from tests.support.scoring import url
from tests.support.watching import FIRST, LATER, LATEST, PEOPLE, watch, world

__all__ = ["url", "watch", "world"]  # fixtures


def ask(watch, month, shift=0.0):
    """The API's answers about the people of a month on its last day, as its log brings them."""
    day = month["day"][0].as_py()
    strong, weak = month["strong"].to_numpy() + shift, month["weak"].to_numpy()
    scores = bundles.sigmoid(1.5 * strong + weak)
    at = int(dt.datetime(day.year, day.month, day.day, 12, tzinfo=dt.UTC).timestamp() * 1e6)
    rows = zip(month["id"].to_pylist(), strong.tolist(), weak.tolist(), scores.tolist(), strict=True)
    asked = [
        records.Record(str(uuid.uuid4()), at, 1, 30, 14, value, value >= 0.5, str(who), raw({"strong": one, "weak": other}))
        for who, one, other, value in rows
    ]
    with connect(watch.url) as connection:
        records.insert(connection, "churn", asked)
    end_runs(watch, day + dt.timedelta(days=1))


def raw(features):
    return msgspec.Raw(json.dumps(features).encode())


def end_runs(watch, today):
    with connect(watch.url) as connection:
        query(connection, "end_api_runs", model="churn", today=today)


def look(watch, key):
    window = windows.named(key, "month")
    return judge_window(watch, window, judged_on=window.last)


def test_traffic_ends_in_verdicts_and_its_labels_are_measured(watch, world):
    for number, key in enumerate((FIRST, LATER, LATEST), start=12):
        ask(watch, world[number])
        verdict = look(watch, key)
    assert [(one.action, one.row_count) for one in store.verdicts(watch.url, "churn")] == [("none", PEOPLE)] * 3
    assert verdict.matured == FIRST
    (measured,) = store.performances(watch.url, "churn", groups=True)
    assert (measured.window_key, measured.labelled) == (FIRST, PEOPLE)
    assert measured.metrics["roc_auc"]["low"] < 0.85 < measured.metrics["roc_auc"]["high"] + 0.02
    assert store.profiles_of(watch.url, "churn", ["api/v1/2025-01-31"]).keys() == {"api/v1/2025-01-31"}


def test_askers_of_another_kind_are_drift(watch, world):
    for number, key in enumerate((FIRST, LATER), start=12):
        ask(watch, world[number], shift=1.0)
        verdict = look(watch, key)
    assert verdict.alarmed


def test_where_a_window_has_a_batch_run_the_api_is_not_judged_beside_it(watch, world):
    subject = watch.subject_of(1)
    score(subject.source, watch.url, subject.version, subject.bundle, as_of=dt.date(2025, 1, 31), count=subject.count)
    ask(watch, world[12].slice(0, 600), shift=1.0)
    verdict = look(watch, FIRST)
    assert (verdict.row_count, verdict.above_limit) == (PEOPLE, False)
    assert verdict.figures["runs"] == ["batch/v1/2025-01-31"]


def test_what_is_missing_or_boolean_is_counted_as_the_graph_sees_it():
    table = _table([{"one": True, "plan": None}, {"one": None}], {"numbers": ["one"], "categories": {"plan": ["a"]}})
    assert table.to_pylist() == [{"one": 1.0, "plan": None}, {"one": None, "plan": None}]
    assert np.isnan(table["one"].to_numpy()[1])


def test_a_run_of_today_is_not_judged_yet(watch):
    day = dt.date(2025, 1, 31)
    at = int(dt.datetime(day.year, day.month, day.day, 12, tzinfo=dt.UTC).timestamp() * 1e6)
    one = records.Record(str(uuid.uuid4()), at, 1, 30, 14, 0.2, False, "1", raw({"strong": 0.0, "weak": 0.0}))
    with connect(watch.url) as connection:
        records.insert(connection, "churn", [one])
    end_runs(watch, day)
    assert store.runs_of(watch.url, "churn", windows.named(FIRST, "month")) == []
