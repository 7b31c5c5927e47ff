"""Rolling origins: nothing is fitted that was not mature, the newest months are judged, and short histories give fewer."""

import numpy as np
import pyarrow as pa
import pytest

from pipelines.config import params
from pipelines.data.row_weights import PAST, days_of
from pipelines.training import backtest
from tests.support.customers import shifting

CONFIG = params.read()


def origins(table, count=3, since=None, horizon=30, embargo=14):
    data = CONFIG.data.model_copy(update={"horizon_days": horizon, "embargo_days": embargo})
    return backtest.origins(table, data, CONFIG.evaluate.model_copy(update={"origins": count}), since)


def snapshots(table, mask):
    """Numbers of the snapshots of some rows."""
    days = days_of(table, CONFIG.data)
    return sorted({int(each) // 10 for each in (days - days.min())[mask]})


@pytest.mark.parametrize(("horizon", "embargo"), [(30, 14), (10, 0), (0, 0), (25, 5)])
def test_what_is_fitted_was_mature_when_the_judged_snapshots_began(horizon, embargo):
    table = shifting(36, turns=None, count=100)
    days = days_of(table, CONFIG.data)
    for part in origins(table, horizon=horizon, embargo=embargo):
        begins = days[part.judged].min()
        assert (days[part.fitted] + horizon + embargo <= begins).all()
        left_out = ~part.fitted & (days < begins)
        assert (days[left_out] + horizon + embargo > begins).all(), "rows that were mature"


def test_the_newest_blocks_are_judged_the_oldest_first_and_each_row_once():
    table = shifting(36, turns=None, count=100)
    judged = [snapshots(table, part.judged) for part in origins(table)]
    assert judged == [[27, 28, 29], [30, 31, 32], [33, 34, 35]]
    assert [snapshots(table, part.judged) for part in origins(table, count=2)] == [[30, 31, 32], [33, 34, 35]]


def test_a_block_is_a_snapshot_where_a_year_has_twelve_and_the_newest_is_whole():
    twelve = shifting(12, turns=None, count=100)
    assert [snapshots(twelve, part.judged) for part in origins(twelve)] == [[9], [10], [11]]
    odd = shifting(14, turns=None, count=100)
    assert [snapshots(odd, part.judged) for part in origins(odd)] == [[8, 9], [10, 11], [12, 13]]


def test_history_that_is_too_short_gives_fewer_origins_and_none():
    table = shifting(6, turns=None, count=100)
    assert [snapshots(table, part.judged) for part in origins(table, horizon=30, embargo=0)] == [[3], [4], [5]]
    assert [snapshots(table, part.judged) for part in origins(table, horizon=40, embargo=0)] == [[4], [5]]
    assert origins(table, horizon=50, embargo=0) == [], "one origin has no other to learn its rounds from"
    assert origins(table, horizon=60, embargo=0) == []


def test_an_origin_with_few_rows_of_a_label_is_left_out():
    table = shifting(6, turns=None, count=100)
    last = np.repeat(np.arange(6), 100) == 5
    labels = table["churned"].to_numpy().copy()
    labels[last] = np.arange(100) < backtest.LEAST - 1
    poor = table.set_column(table.column_names.index("churned"), "churned", pa.array(labels))
    assert [snapshots(poor, part.judged) for part in origins(poor, horizon=10, embargo=0)] == [[3], [4]]
    labels[last] = np.arange(100) < backtest.LEAST
    enough = table.set_column(table.column_names.index("churned"), "churned", pa.array(labels))
    assert [snapshots(enough, part.judged) for part in origins(enough, horizon=10, embargo=0)] == [[3], [4], [5]]


def test_rows_count_by_the_present_as_far_as_an_origin_has_seen_it():
    table = shifting(12, turns=None, count=100)
    days = days_of(table, CONFIG.data)
    began = np.unique(days)[-6]
    early, late = (
        origins(table, since=str(np.datetime64(int(np.unique(days)[-1]), "D")))[0],
        origins(table, since=str(np.datetime64(int(began), "D")))[-1],
    )
    assert (early.weights[early.fitted] == 1).all(), "the present began after all that it could know"
    assert late.weights[late.fitted] == pytest.approx(np.where(days[late.fitted] >= began, 1, PAST))


def test_without_a_clock_there_is_none():
    data = CONFIG.data.model_copy(update={"time": None})
    assert backtest.origins(shifting(12, turns=None, count=50), data, CONFIG.evaluate, None) == []
