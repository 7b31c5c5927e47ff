"""Figures at a capacity: against brute force, in each resample; lots among ties; and by date."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.config.params import Params
from pipelines.evaluation import capacity
from pipelines.evaluation.capacity import NAMES, Dates
from pipelines.promotion import gains
from pipelines.promotion.gains import Scored
from pipelines.statistics.resampling import draw
from tests.support.bundles import EVALUATE, params


def by_hand(labels, scores, codes, limit, share, counts):
    """The three figures of one resample, row by row: each row comes as often as it counts, ties are taken in equal parts."""
    acted = hits = by_lot = 0.0
    for date in np.unique(codes):
        rows = [row for row in np.flatnonzero(codes == date) for _ in range(int(counts[row]))]
        if not rows:
            continue
        places = min(limit * share, len(rows)) if limit >= 1 else limit * len(rows)
        acted += places
        by_lot += places * np.mean(labels[rows])
        left = places
        for score in sorted({scores[row] for row in rows}, reverse=True):
            tied = [row for row in rows if scores[row] == score]
            part = min(1.0, left / len(tied))
            hits += part * labels[tied].sum()
            left -= part * len(tied)
    return hits / acted, hits / (labels * counts).sum(), hits / by_lot


@pytest.mark.parametrize(("limit", "share"), [(0.1, 1.0), (0.37, 0.5), (5, 1.0), (20, 0.3), (1, 1.0), (10_000, 1.0)])
def test_every_resample_is_that_of_brute_force(limit, share):
    random = np.random.default_rng(3)
    labels = random.integers(0, 2, 200)
    scores, codes = random.integers(0, 12, 200) / 12, random.integers(0, 4, 200)
    entities = np.arange(200) // 2
    (weights,) = draw(entities, 30, 1)
    found = capacity.figures(labels, scores, Dates(codes, share), limit, weights)
    for index in range(30):
        counts = weights.counts[:, index][entities]
        assert found[index] == pytest.approx(by_hand(labels, scores, codes, limit, share, counts), rel=1e-12)


def test_a_tie_at_the_cut_is_the_mean_over_all_ways_to_draw_lots():
    labels, scores = np.array([1, 0, 1, 1, 0, 0]), np.array([0.9, 0.5, 0.5, 0.5, 0.5, 0.1])
    ways = [1 + labels[list(drawn)].sum() for drawn in combinations((1, 2, 3, 4), 2)]
    found = capacity.figures(labels, scores, Dates(np.zeros(6, int)), 3, np.ones((1, 6)))[0]
    assert found == pytest.approx([np.mean(ways) / 3, np.mean(ways) / 3, np.mean(ways) / 1.5])
    assert capacity.taken(scores, Dates(np.zeros(6, int)), 3).tolist() == [1, 0.5, 0.5, 0.5, 0.5, 0]


def test_each_date_has_its_own_places_and_a_row_that_counts_nothing_takes_none():
    labels, scores, codes = np.array([1, 0, 0, 1]), np.array([0.9, 0.8, 0.2, 0.1]), np.array([0, 0, 1, 1])
    assert capacity.taken(scores, Dates(codes), 1).tolist() == [1, 0, 1, 0]
    weights = np.array([[1, 1, 1, 1], [0, 1, 0, 1]])
    found = capacity.figures(labels, scores, Dates(codes), 1, weights)
    assert found[:, 0].tolist() == [0.5, 0.5]
    assert found[:, 1].tolist() == [0.5, 1.0]


def test_a_number_is_of_the_whole_population_and_a_share_of_the_rows_there_are():
    codes = np.repeat([0, 1], [100, 4])
    assert capacity.share_within(Dates(codes, 0.3), 10) == pytest.approx((3 + 3) / 104)
    assert capacity.share_within(Dates(codes, 0.3), 50) == pytest.approx((15 + 4) / 104)
    assert capacity.share_within(Dates(codes, 0.3), 0.25) == pytest.approx(0.25)


def test_dates_are_those_of_the_rows_and_one_where_there_is_no_clock():
    data = params().data
    rows = pa.table({"day": ["b", "a", "b"]})
    assert Dates.of(rows, data).codes.tolist() == [0, 0, 0]
    assert Dates.of(rows, data.model_copy(update={"time": "day"})).codes.tolist() == [0, 1, 0]


def test_the_threshold_is_reached_by_as_many_as_can_be_acted_on():
    scores = np.random.default_rng(0).random(1000)
    assert (scores >= capacity.threshold(scores, 0.13)).sum() == 130
    assert capacity.threshold(scores, 1e-9) == scores.max()
    assert capacity.threshold(scores, 1.0) == scores.min()


def test_it_decides_between_two_versions_on_the_same_resamples():
    random = np.random.default_rng(1)
    labels = (random.random(3000) < 0.2).astype(int)
    dates = Dates(np.arange(3000) % 3)
    good, poor = (Scored(labels + noise * random.normal(size=3000), 0.5, dates) for noise in (0.5, 2.0))
    settings = EVALUATE.model_copy(update={"capacity": 0.1})
    found = gains.gains(list(NAMES), labels, good, poor, np.arange(3000), settings)
    assert all(interval.low > 0 for interval in found.values())
    points = [capacity.figures(labels, one.scores, dates, 0.1, np.ones((1, 3000)))[0] for one in (good, poor)]
    assert [found[name].point for name in NAMES] == pytest.approx(points[0] - points[1])


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("evaluate", {"capacity": 1.0}, "capacity"),
        ("evaluate", {"capacity": 0}, "capacity"),
        ("evaluate", {"threshold": "capacity"}, "evaluate.capacity"),
        ("promotion", {"metric": "precision_at_capacity"}, "evaluate.capacity"),
    ],
)
def test_a_capacity_that_is_none_is_refused_by_name(section, values, message):
    from ruamel.yaml import YAML

    read = YAML(typ="safe").load(Path("params.yaml"))
    read[section] |= values
    with pytest.raises(ValueError, match=message):
        Params.model_validate(read)
