"""Thresholds from quiet blocks: a world of seasons and trends stays quiet, a step does not, and history is chosen well."""

import numpy as np
import pyarrow as pa
import pytest

from monitoring import drift
from monitoring.changes import compare
from monitoring.histograms import count, learn_layout
from pipelines.config import params

MONITOR = params.read().monitor


def month(random, at, *, size=2000, shift=0.0, share=0.3, missing=0.02):
    """A month of a world with a season, a slow trend and two columns that belong together."""
    base = random.normal(size=size)
    season, trend = 0.05 * np.sin(at * np.pi / 6), 0.01 * at
    third = random.normal(season, 1, size)
    third[random.random(size) < missing] = np.nan
    return pa.table(
        {
            "first": base + trend + shift,
            "second": base + random.normal(size=size),
            "third": third,
            "plan": random.choice(["basic", "fiber"], size, p=[1 - share, share]),
        }
    )


def world(seed, months=20, first=None, **moved):
    random = np.random.default_rng(seed)
    tables = [month(random, at, **(moved if first is not None and at >= first else {})) for at in range(months)]
    layout = learn_layout(pa.concat_tables(tables[:6]), {"plan": ["basic", "fiber"]}, bins=20)
    return [count(table.to_batches(), layout) for table in tables]


def watch(blocks, start=12, monitor=MONITOR):
    """Windows from `start` on: whether they exceed, and whether they alarm."""
    moved, above_limit, alarmed = compare(blocks), [False] * start, [False] * start
    for at in range(start, len(blocks)):
        past = drift.baseline_past(above_limit, alarmed, monitor)
        verdict = drift.judge(moved.of(range(at + 1)), blocks[at].rows, monitor, past)
        above_limit.append(verdict.above_limit)
        alarmed.append(drift.confirmed(above_limit, monitor))
    return above_limit[start:], alarmed[start:]


def test_a_quiet_world_hardly_ever_alarms():
    alarms = [alarm for seed in range(12) for alarm in watch(world(seed))[1]]
    assert np.mean(alarms) <= 0.05


@pytest.mark.parametrize("moved", [{"shift": 0.4}, {"share": 0.45}, {"missing": 0.1}])
def test_a_step_is_found_within_two_windows(moved):
    found = [watch(world(seed, months=16, first=13, **moved))[1][2] for seed in range(6)]
    assert np.mean(found) >= 0.8


def test_a_change_is_that_to_the_nearest_block_before():
    apart = np.ones((1, 4, 4))
    apart[0, 3] = [0.5, 4, 9, 0]  # the season of the first block returns
    assert np.exp(drift.nearest(apart))[0, -1] == pytest.approx(0.5)


def test_the_shape_of_a_trending_column_is_not_judged_but_its_gaps_are():
    channels = compare(world(1, months=3), trending=["first"]).channels
    assert [kind for column, kind in channels if column == "first"] == ["missing"]


@pytest.mark.parametrize(("rows", "months", "why"), [(100, 13, drift.FEW_ROWS), (2000, 5, drift.SHORT_HISTORY)])
def test_too_little_evidence_is_said_and_exceeds_nothing(rows, months, why):
    verdict = drift.judge(compare(world(1, months=months)), rows, MONITOR)
    assert (verdict.evidence, verdict.above_limit) == (why, False)
    assert "score" not in verdict.to_dict()


def test_the_first_blocks_of_a_table_that_fills_up_are_left_out():
    steps = np.random.default_rng(1).normal(size=(30, 12))
    steps[:, 0] += 30
    kept, scores = drift.in_control(steps, MONITOR)
    assert kept.shape[1] == 11 and len(scores) == 11


def test_the_bound_is_exceeded_as_often_as_it_says():
    random = np.random.default_rng(2)
    draws = random.normal(size=(4000, 11))
    over = [last > drift.control_limit(history, 0.05) for *history, last in draws for history in [np.array(history)]]
    assert np.mean(over) == pytest.approx(0.05, abs=0.012)


def test_the_bound_is_never_below_the_conformal_one():
    scores = np.append(np.zeros(37), [5.0, 5.0])
    assert drift.control_limit(scores, 0.05) == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("above_limit", "alarm"),
    [([True], False), ([True, True], True), ([True, False], False), ([False, True], False), ([], False)],
)
def test_two_in_a_row_make_an_alarm(above_limit, alarm):
    assert drift.confirmed(above_limit, MONITOR) is alarm


@pytest.mark.parametrize(
    ("above_limit", "alarmed", "blocks", "accepted"),
    [
        ("...x", "....", [0, 1, 2], []),  # still open
        ("..x.", "....", [0, 1, 2, 3], []),  # not confirmed
        ("..xx.", "...A.", [0, 1, 4], []),
        (".xxxx", "..AAA", [0, 1, 2, 3, 4], [1, 2, 3, 4]),  # taken as it is
    ],
)
def test_what_counts_as_quiet_history(above_limit, alarmed, blocks, accepted):
    past = drift.baseline_past([one == "x" for one in above_limit], [one == "A" for one in alarmed], MONITOR)
    assert (past.blocks, sorted(past.accepted)) == (blocks, accepted)


def test_a_tables_very_first_window_is_compared_with_nothing():
    (first,) = world(1, months=1)
    past = drift.baseline_past([], [], MONITOR)
    verdict = drift.judge(compare([first]), first.rows, MONITOR, past)
    assert (verdict.evidence, verdict.above_limit, past.blocks) == (drift.SHORT_HISTORY, False, [])
