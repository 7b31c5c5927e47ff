"""Since when the world is as it is now: always, as long as nothing changes; else since the newest snapshots show it."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.config import params
from pipelines.data import row_weights
from pipelines.stages import recency as recency_stage
from pipelines.training import recency
from tests.support.customers import learn_schema, shifting, write

pytestmark = pytest.mark.slow

CONFIG = params.read()
DAYS = np.array([0.0, 10.0, 40.0, 100.0])


# weights


def test_rows_from_before_the_present_count_little():
    found = row_weights.weights(DAYS, "1970-02-10")  # day 40
    assert found == pytest.approx([row_weights.PAST] * 2 + [1, 1])


def test_without_a_new_present_all_rows_count_alike():
    assert (row_weights.weights(DAYS, None) == 1).all()


def test_days_are_those_of_the_clock_and_none_without_one():
    table = shifting(3, turns=None, count=2, apart=10)
    days = row_weights.days_of(table, CONFIG.data)
    assert (days - days[0]).tolist() == [0, 0, 10, 10, 20, 20]
    assert (row_weights.days_of(table, CONFIG.data.model_copy(update={"time": None})) == 0).all()


def test_rows_are_drawn_by_their_weights():
    weights = np.repeat(np.array([1.0, 0.5, 0.1, 0.0], np.float32), 5000)
    drawn = row_weights.thinned(weights, seed=1)
    assert drawn.reshape(4, 5000).mean(axis=1) == pytest.approx([1, 0.5, 0.1, 0], abs=0.02)
    assert (row_weights.thinned(weights, seed=1) == drawn).all()
    assert (row_weights.thinned(weights, seed=2) != drawn).any()


# the choice


def choose(table, snapshots=(1, 3), **changes):
    evaluate = CONFIG.evaluate.model_copy(update={"newest_snapshots": 1, "newest_positives": 100})
    options = params.RecencyParams(snapshots=list(snapshots), rows=changes.get("rows", 40_000))
    split = CONFIG.split.model_copy(update={"folds": 3})
    config = CONFIG.model_copy(update={"evaluate": evaluate, "recency": options, "split": split})
    dates = recency.candidates(row_weights.days_of(table, config.data), options.snapshots)
    return recency.choose(table, learn_schema(table, config.data), dates, config)


def begin(table, count):
    """The day of the first of the newest `count` snapshots."""
    return str(sorted(set(table["snapshot_date"].to_pylist()))[-count])


def test_a_new_world_in_the_newest_snapshots_is_the_present():
    table = shifting(12, turns=9)
    found = choose(table)
    assert found["overall"] == begin(table, 3)
    assert found["by_fold"] == [begin(table, 3)] * 3
    tried = {each["since"]: each["roc_auc"] for each in found["tried"]}
    assert tried[begin(table, 3)] > 0.6
    assert tried[None] < 0.5


@pytest.mark.parametrize("seed", range(3))
def test_as_long_as_nothing_changes_all_rows_count_alike(seed):
    found = choose(shifting(12, turns=None, seed=seed))
    assert found["overall"] is None
    assert found["by_fold"].count(None) >= 2


def test_what_is_tried_has_something_before_it():
    days = np.array([1.0, 2.0, 3.0])
    assert recency.candidates(days, [1, 2, 4]) == ["1970-01-04", "1970-01-03"]
    assert recency.candidates(np.array([5.0]), [1, 2]) == []


def test_it_is_chosen_for_a_fold_without_its_rows():
    """The labels of a fold turned around: what is chosen for it is chosen by others, judged by models that do see them."""
    from dataclasses import replace

    from pipelines.training.fitting import tune

    table = shifting(12, turns=9, count=200)
    evaluate = CONFIG.evaluate.model_copy(update={"newest_positives": 50})
    config = CONFIG.model_copy(update={"evaluate": evaluate, "split": CONFIG.split.model_copy(update={"folds": 3})})
    probe = recency._probe(table, learn_schema(table, CONFIG.data), config)
    fold = table["fold"].to_numpy()
    newest = np.repeat(np.arange(12), 200) == 11
    assert [(part.judged == ((fold == number) & newest)).all() for number, part in enumerate(probe.parts)] == [True] * 3
    assert [(part.fitted == (fold != number)).all() for number, part in enumerate(probe.parts)] == [True] * 3
    labels = probe.rows.labels
    margins = {0: [0.0 * labels[part.judged] for part in probe.parts], 1: [1.0 * labels[part.judged] for part in probe.parts]}
    turned = replace(probe, rows=replace(probe.rows, labels=np.where(fold == 1, 1 - labels, labels)))
    assert tune.choose(turned, margins, without=1) == tune.choose(probe, margins, without=1) == 1


def test_it_is_tried_on_whole_customers_up_to_its_rows(monkeypatch):
    seen = []
    real = recency._probe
    monkeypatch.setattr(recency, "_probe", lambda table, *rest: seen.append(table) or real(table, *rest))
    choose(shifting(12, turns=9), rows=2400)
    assert seen[0].num_rows == 2400
    assert len(seen[0]["customer_id"].unique()) == 200


# the stage


def run():
    recency_stage.main(training=Path("training.parquet"), schema=Path("schema.json"), recency=Path("recency.json"))
    return json.loads(Path("recency.json").read_text())


@pytest.mark.parametrize("changes", [{"clock": False}, {"clock": True, "recency": {"snapshots": []}}])
def test_without_a_clock_or_snapshots_nothing_is_tried(tmp_path, monkeypatch, changes):
    monkeypatch.chdir(tmp_path)
    table = shifting(4, turns=None, count=30)
    write(table if changes["clock"] else table.drop_columns(["snapshot_date"]), **changes)
    assert run() == {"by_fold": [None] * 3, "overall": None, "tried": []}


def test_the_stage_writes_a_day_for_each_fold(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = shifting(12, turns=9, count=150)
    write(table, clock=True, recency={"snapshots": [2]}, evaluate={"newest_positives": 50})
    found = run()
    assert len(found["by_fold"]) == 3
    assert [each["since"] for each in found["tried"]] == [None, begin(table, 2)]
