"""Histograms: every row is counted once, sums of parts are the whole, and JSON gives the very same numbers back."""

import json

import numpy as np
import pyarrow as pa
import pytest

from monitoring import histograms
from monitoring.histograms import Histograms, Layout, count, learn_layout, merge
from pipelines.config.errors import EvergreenError

RANDOM = np.random.default_rng(1)
KNOWN = {"plan": ["basic", "fiber"]}


def rows(size=1000):
    charge = RANDOM.normal(50, 10, size)
    charge[:5] = [np.nan, np.inf, -np.inf, 1e9, -1e9]
    plan = RANDOM.choice(["basic", "fiber", "new", ""], size).tolist()
    return pa.table({"charge": charge, "tickets": RANDOM.integers(0, 5, size), "plan": [None, *plan[1:]]})


REFERENCE = pa.table({"charge": RANDOM.normal(50, 10, 4000), "tickets": RANDOM.integers(0, 5, 4000), "plan": ["basic"] * 4000})
LAYOUT = learn_layout(REFERENCE, KNOWN, bins=10)


def counted(table, layout=LAYOUT, batch=None):
    return count(table.combine_chunks().to_batches(max_chunksize=batch), layout)


def test_every_row_is_in_one_cell_of_each_column():
    found = counted(rows())
    assert {name: int(found.column(name).cells.sum()) for name in found.columns} == dict.fromkeys(found.columns, 1000)
    charge = found.numbers["charge"]
    assert (charge.missing, charge.infinite, charge.low, charge.high) == (1, 2, -1e9, 1e9)


def test_the_reference_lies_inside_its_own_edges():
    charge = counted(REFERENCE).numbers["charge"]
    assert charge.counts[0] == charge.counts[-1] == 0
    assert charge.counts[1:-1] == pytest.approx(400, abs=1)


def test_few_values_have_a_bin_each():
    values, counts = np.unique(REFERENCE["tickets"], return_counts=True)
    assert LAYOUT.edges["tickets"][:-1] == values.tolist()
    assert counted(REFERENCE).numbers["tickets"].counts.tolist() == [0, *counts, 0]


def test_moments_are_those_of_the_finite_values():
    table = rows()
    charge = table["charge"].to_numpy()
    finite, found = charge[np.isfinite(charge)], counted(table).numbers["charge"]
    assert (found.mean, found.deviation) == pytest.approx((finite.mean(), finite.std()))


def test_categories_are_known_unknown_or_missing():
    table = pa.table({"charge": [1.0] * 6, "tickets": [1] * 6, "plan": ["fiber", "fiber", "basic", "new", "", None]})
    plan = counted(table).categories["plan"]
    assert (plan.counts.tolist(), plan.missing) == ([1, 2, 1], 2)


def test_a_year_is_the_sum_of_its_days():
    table = rows(1200)
    whole = counted(table)
    days = merge(counted(table.slice(start, 100)) for start in range(0, 1200, 100))
    for part in (days, counted(table, batch=7)):
        for name in whole.columns:
            assert part.column(name).cells.tolist() == whole.column(name).cells.tolist()
        assert part.correlations() == pytest.approx(whole.correlations(), abs=1e-5)
        assert part.numbers["charge"].total == pytest.approx(whole.numbers["charge"].total)


def test_json_gives_the_very_same_numbers_back():
    found = counted(rows())
    again = Histograms.from_json(found.to_json())
    assert again.to_json() == found.to_json()
    assert (again.products == found.products).all() and again.numbers["charge"].total == found.numbers["charge"].total
    assert Layout.from_json(LAYOUT.to_json()) == LAYOUT
    assert json.loads(found.to_json())["rows"] == 1000


def test_numbers_too_large_to_square_stay_writable():
    table = pa.table({"charge": [1e200, -1e308, 1e308], "tickets": [1, 2, 3], "plan": ["basic"] * 3})
    found = counted(table)
    assert Histograms.from_json(found.to_json()).numbers["charge"].high == 1e308


def test_the_size_does_not_grow_with_rows():
    assert len(counted(rows(20_000)).to_json()) < 1.2 * len(counted(rows(500)).to_json())


def test_ranks_correlate_as_the_columns_do():
    first = RANDOM.normal(size=5000)
    table = pa.table({"a": first, "b": -first, "c": RANDOM.normal(size=5000), "d": [7.0] * 5000})
    found = count(table.to_batches(), learn_layout(table, {}, bins=30)).correlations()
    assert found[0, 1] == pytest.approx(-1, abs=0.02) and abs(found[0, 2]) < 0.05
    assert np.isfinite(found).all() and found[0, 3] == 0


def test_a_column_that_is_gone_or_has_become_text_is_named():
    with pytest.raises(EvergreenError, match=r"lacks columns .* plan"):
        counted(rows().drop_columns(["plan"]))
    wrong = rows().set_column(0, "charge", pa.array(["12,5 €"] * 1000))
    with pytest.raises(EvergreenError, match="'charge' was a number in training and is string"):
        counted(wrong)


def test_a_column_without_any_value_can_be_a_reference():
    table = pa.table({"a": pa.array([None, None], pa.float64())})
    found = count(table.to_batches(), learn_layout(table, {}, bins=5))
    assert found.numbers["a"].missing == 2 and np.isnan(found.numbers["a"].mean)


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_the_table_of_cells_gives_the_bins_of_a_search(scale):
    values = np.concatenate([RANDOM.lognormal(0, 2, 9000), RANDOM.integers(-5, 5, 900)]) * scale
    for edges in (np.unique(values[::300]), np.unique(RANDOM.choice(values, 5)), np.array([0.0, 1.0]) * scale):
        probed = np.concatenate([values, edges, np.nextafter(edges, np.inf), np.nextafter(edges, -np.inf), [1e308, -1e308]])
        assert (histograms._places(probed, edges) == np.searchsorted(edges, probed, side="right")).all()
