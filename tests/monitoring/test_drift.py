"""Statistics on counts: equal to Evidently's on the same bins, and within the stated bounds of the exact ones."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from monitoring import drift
from monitoring.histograms import Layout, count, learn_layout

RANDOM = np.random.default_rng(5)


def samples(seed):
    """Two samples of one of many shapes: smooth, heavy-tailed, with atoms, in few values, far apart, tiny."""
    random = np.random.default_rng(seed)
    shapes = [
        lambda n: random.normal(random.normal(), random.uniform(0.1, 5), n),
        lambda n: random.lognormal(0, random.uniform(0.2, 2), n),
        lambda n: np.where(random.random(n) < 0.4, 0.0, random.exponential(3, n)),
        lambda n: random.integers(0, random.integers(2, 60), n).astype(float),
        lambda n: random.standard_t(2, n) * 10 + random.integers(-30, 30),
    ]
    pick = shapes[random.integers(len(shapes))]
    return pick(int(random.integers(1, 800))), pick(int(random.integers(1, 800)))


def number(values, layout):
    return count(pa.table({"x": values}).to_batches(), layout).numbers["x"]


def binned(reference, current, bins):
    layout = learn_layout(pa.table({"x": reference}), {}, bins=bins)
    return number(reference, layout), number(current, layout), layout.edges["x"]


@pytest.mark.parametrize(("ours", "name"), [(drift.psi, "psi"), (drift.jensen_shannon, "jensenshannon")])
@pytest.mark.parametrize("seed", range(12))
def test_psi_and_jensen_shannon_equal_evidentlys_on_its_bins(ours, name, seed):
    import pandas as pd
    from evidently.legacy.calculations.stattests import jensenshannon, psi
    from evidently.legacy.core import ColumnType

    theirs = {"psi": psi._psi, "jensenshannon": jensenshannon._jensenshannon}[name]
    reference, current = RANDOM.normal(0, 1, 3000), RANDOM.standard_t(2 + seed, 1500) * (1 + seed / 5)
    edges = np.histogram_bin_edges(np.concatenate([reference, current]), bins="sturges")
    layout = Layout({"x": [*edges[:-1].tolist(), float(np.nextafter(edges[-1], np.inf))]}, {})
    mine = ours(number(reference, layout).counts[1:-1], number(current, layout).counts[1:-1])
    expected, _ = theirs(pd.Series(reference), pd.Series(current), ColumnType.Numerical, 0.1)
    assert mine == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("ours", "name"), [(drift.psi, "psi"), (drift.jensen_shannon, "jensenshannon")])
def test_categories_equal_evidentlys(ours, name):
    import pandas as pd
    from evidently.legacy.calculations.stattests import jensenshannon, psi
    from evidently.legacy.core import ColumnType

    theirs = {"psi": psi._psi, "jensenshannon": jensenshannon._jensenshannon}[name]
    reference = RANDOM.choice(["a", "b", "c"], 4000, p=[0.9, 0.0999, 0.0001])
    current = RANDOM.choice(["a", "b", "d"], 1000)
    layout = Layout({}, {"x": ["a", "b", "c", "d"]})
    one, other = (count(pa.table({"x": side}).to_batches(), layout).categories["x"] for side in (reference, current))
    expected, _ = theirs(pd.Series(reference), pd.Series(current), ColumnType.Categorical, 0.1)
    used = (one.counts + other.counts) > 0
    assert ours(one.counts[used], other.counts[used]) == pytest.approx(expected, abs=1e-6)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 5, 30, 200]))
def test_kolmogorov_smirnov_bounds_the_exact_one(seed, bins):
    reference, current = samples(seed)
    one, other, _ = binned(reference, current, bins)
    found, exact = drift.kolmogorov_smirnov(one, other), stats.ks_2samp(reference, current, method="asymp").statistic
    assert found.low - 1e-12 <= exact <= found.high + 1e-12
    widest = max(one.counts.max() / one.finite, other.counts.max() / other.finite)
    assert found.high - found.low <= widest + 1e-12


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 5, 30, 200]))
def test_wasserstein_bounds_the_exact_one(seed, bins):
    reference, current = samples(seed)
    one, other, edges = binned(reference, current, bins)
    found, exact = drift.wasserstein(one, other, edges), stats.wasserstein_distance(reference, current)
    slack = 1e-9 * (1 + abs(exact))
    assert found.low - slack <= exact <= found.high + slack


def test_thirty_bins_come_close():
    reference, current = RANDOM.normal(0, 1, 20_000), RANDOM.normal(0.3, 1.2, 20_000)
    one, other, edges = binned(reference, current, 30)
    assert drift.kolmogorov_smirnov(one, other).value == pytest.approx(
        stats.ks_2samp(reference, current, method="asymp").statistic, abs=0.01
    )
    assert drift.wasserstein(one, other, edges).value == pytest.approx(stats.wasserstein_distance(reference, current), rel=0.15)


def test_nothing_is_apart_from_itself():
    one, other, edges = binned(*[RANDOM.normal(size=500)] * 2, 30)
    assert drift.psi(one.counts, other.counts) == drift.jensen_shannon(one.counts, other.counts) == 0
    assert drift.kolmogorov_smirnov(one, other).value == drift.wasserstein(one, other, edges).value == 0


def test_a_window_without_values_has_no_figures_but_its_missing_share():
    reference = pa.table({"x": RANDOM.normal(size=100)})
    layout = learn_layout(reference, {}, bins=5)
    empty = number(np.full(10, np.nan), layout)
    found = drift.statistics(number(reference["x"].to_numpy(), layout), empty, layout, "x")
    assert found["missing"] == 1 and found["missing_reference"] == 0
    assert all(np.isnan(found[name]) for name in ("psi", "jensen_shannon", "kolmogorov_smirnov", "wasserstein"))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_quantiles_are_near_the_exact_ones(share):
    values = RANDOM.lognormal(size=20_000)
    one, _, edges = binned(values, values, 100)
    assert drift.quantile(one, edges, share) == pytest.approx(np.quantile(values, share), rel=0.02)
