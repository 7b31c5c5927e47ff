"""Calibration: the kind that the margins need, out of fold, and the same in numpy as in the graph."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from pipelines.training.fitting import calibration
from pipelines.training.fitting.calibration import Isotonic, Margins, Platt, Uncalibrated
from pipelines.training.fitting.graph import Calibrations, Graph

KINDS = ["none", "platt", "isotonic"]


def drawn(truth, count=30_000, seed=3):
    """Margins and labels that follow `truth` of them, in three folds, of customers of three rows each that count alike."""
    random = np.random.default_rng(seed)
    margins = random.normal(0, 2, count)
    labels = (random.random(count) < truth(margins)).astype(np.int8)
    customers = np.arange(count) // 3
    return Margins(margins, labels, customers % 3, customers, np.ones(count, np.float32))


def bent(margins):
    """Level, then steep: nothing that a slope and an offset can follow."""
    return np.where(margins < 0, 0.05, np.minimum(0.05 + 0.3 * margins, 0.6))


TRUTHS = {"none": expit, "platt": lambda margins: expit(0.5 * margins - 1), "isotonic": bent}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_margins_get_the_calibration_that_they_need(kind, seed):
    chosen, calibrations, _ = calibration.choose(drawn(TRUTHS[kind], seed=seed), KINDS)
    assert chosen == kind
    assert {one.kind for one in (calibrations.served, *calibrations.folds)} == {kind}


def test_only_what_is_allowed_is_chosen():
    assert calibration.choose(drawn(bent), ["none", "platt"])[0] == "platt"
    assert calibration.choose(drawn(bent), ["none"])[0] == "none"
    assert calibration.choose(drawn(expit), ["isotonic", "platt"])[0] == "platt"


def test_few_customers_show_nothing_even_with_many_rows():
    gains = np.repeat([1.5, -1.0, 1.0, -1.0], 1000)
    assert calibration.gain_is_shown(gains, np.arange(4000))
    assert not calibration.gain_is_shown(gains, np.repeat(np.arange(4), 1000))


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_no_row_has_a_part_in_its_own_calibration(kind):
    margins = drawn(bent, 3000)
    own = margins.fold == 1
    folds, before = calibration.cross_fitted(kind, margins)
    turned = replace(margins, labels=np.where(own, 1 - margins.labels, margins.labels))
    others, after = calibration.cross_fitted(kind, turned)
    assert (before[own] == after[own]).all()
    assert (before[~own] != after[~own]).any()
    assert [one == other for one, other in zip(folds, others, strict=True)] == [False, True, False]
    assert (before[own] == folds[1](margins.values[own])).all()


def fit(kind, margins):
    return calibration.KINDS[kind](margins.values, margins.labels, margins.weights)


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_rows_that_count_nothing_change_nothing_and_a_row_that_counts_twice_is_two(kind):
    old, new = drawn(lambda margins: expit(-margins), 2997), drawn(expit, 3000, seed=4)
    both = [np.concatenate(pair) for pair in zip((old.values, old.labels), (new.values, new.labels), strict=True)]
    found = calibration.KINDS[kind](*both, np.repeat([1e-9, 1.0], [2997, 3000]))
    assert found(np.array([-2.0, 0.0, 2.0])) == pytest.approx(expit(np.array([-2.0, 0.0, 2.0])), abs=0.06)
    alike = calibration.KINDS[kind](*both, np.ones(5997))
    assert alike(np.array([2.0]))[0] < 0.7


def test_what_is_served_is_fitted_with_the_weights_of_all_rows():
    margins = drawn(lambda margins: expit(0.5 * margins - 1), 3000)
    _, calibrations, _ = calibration.choose(margins, ["platt"])
    assert calibrations.served == fit("platt", margins)
    weighed = replace(margins, weights=np.where(margins.labels == 1, 0.5, 1.0).astype(np.float32))
    assert calibration.choose(weighed, ["platt"])[1].served.offset < calibrations.served.offset - 0.5


def test_platt_scaling_finds_slope_and_offset():
    found = fit("platt", drawn(lambda margins: expit(0.5 * margins - 1), 100_000))
    assert found.slope == pytest.approx(0.5, abs=0.02)
    assert found.offset == pytest.approx(-1, abs=0.03)


def test_an_isotonic_curve_is_near_the_truth_and_scikit_learns():
    margins = drawn(bent, 100_000)
    found = fit("isotonic", margins)
    at = np.linspace(-3, 3, 50)
    assert found(at) == pytest.approx(bent(at), abs=0.03)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(margins.values, margins.labels)
    assert found(at) == pytest.approx(theirs.predict(at), abs=0.04)


def test_an_isotonic_curve_rises_everywhere_between_its_ends():
    found = fit("isotonic", drawn(bent, 5000))
    knots = np.array(found.margins)
    assert 2 <= len(knots) <= calibration.GROUPS
    assert (np.diff(found(np.linspace(knots[0], knots[-1], 10_000))) > 0).all()
    assert (np.diff(found.probabilities) / np.diff(knots)).max() <= calibration.STEEPEST


def test_an_isotonic_curve_never_says_never():
    margins = np.linspace(-5, 5, 1000)
    found = calibration.fit_isotonic(margins, (margins > 0).astype(int), np.ones(1000))
    assert found(np.array([-1e9, 1e9])) == pytest.approx([0.0005, 0.9995])


@pytest.mark.parametrize(
    ("margins", "labels"),
    [
        (np.zeros(50), np.arange(50) % 2),  # one margin for all
        (np.repeat([0.0, 1e-9], 25), np.repeat([0, 1], 25)),  # nearer to each other than float32 can tell
        (np.linspace(0, 1, 50), np.repeat([1, 0], 25)),  # the wrong way round
        (np.array([0.0, 1.0]), np.array([0, 1])),
    ],
)
def test_odd_margins_give_a_curve_that_can_be_drawn(margins, labels):
    found = calibration.fit_isotonic(margins, labels, np.ones(len(labels)))
    assert (np.diff(found.margins) > 0).all()
    assert (np.diff(found.probabilities) / np.diff(found.margins)).max() <= calibration.STEEPEST + 1e-9
    assert ((found(margins) > 0) & (found(margins) < 1)).all()


CALIBRATIONS = [Uncalibrated(), Platt(0.7, -1.3), Isotonic((-1.0, 0.5), (0.1, 0.8)), fit("isotonic", drawn(bent))]


@pytest.mark.parametrize("chosen", CALIBRATIONS, ids=["none", "platt", "two knots", "many knots"])
def test_the_graph_computes_the_same_on_any_margin(chosen):
    random = np.random.default_rng(7)
    knots = getattr(chosen, "margins", ())
    margins = np.concatenate([random.normal(0, 3, 10_000), random.normal(0, 1e3, 100), [0.0, 1e300, -1e300], knots])
    graph = Graph()
    numbers = {"numbers": ["margin"], "categories": {}}
    wide = graph.add("Cast", ["numbers"], "margin", to=11)
    calibrations = Calibrations(chosen, [chosen])
    session = onnxruntime.InferenceSession(graph.model(wide, calibrations, numbers).SerializeToString())
    with np.errstate(over="ignore"):
        given = margins.astype(np.float32)  # 1e300 is infinite in it
    served, folds = session.run(["probability", "fold_probabilities"], {"numbers": given[:, None]})
    for found in (served[:, 0], folds[:, 0]):
        assert found == pytest.approx(chosen(given.astype(np.float64)), abs=1e-7)
        assert ((found >= 0) & (found <= 1)).all()


def test_each_fold_has_its_own_calibration_in_the_graph_and_what_is_served_another():
    graph, wide = Graph(), {"numbers": ["one", "two"], "categories": {}}
    calibrations = Calibrations(Platt(1.0, 0.5), [Platt(0.5, 0.0), Uncalibrated()])
    margins = graph.add("Identity", ["numbers"], "margins")
    session = onnxruntime.InferenceSession(graph.model(margins, calibrations, wide).SerializeToString())
    served, folds = session.run(["probability", "fold_probabilities"], {"numbers": np.array([[1.0, -3.0]], np.float32)})
    assert served[0, 0] == pytest.approx(expit(-1 + 0.5))
    assert folds[0] == pytest.approx([expit(0.5), expit(-3)])


def test_a_refit_is_the_last_column_and_no_fold():
    graph, wide = Graph(), {"numbers": ["one", "two", "refit"], "categories": {}}
    margins = graph.add("Identity", ["numbers"], "margins")
    calibrations = Calibrations(Uncalibrated(), [Uncalibrated()] * 2)
    session = onnxruntime.InferenceSession(graph.model(margins, calibrations, wide, refit=True).SerializeToString())
    given = {"numbers": np.array([[1.0, -3.0, 2.0]], np.float32)}
    served, folds = session.run(["probability", "fold_probabilities"], given)
    assert served[0, 0] == pytest.approx(expit(2))
    assert folds[0] == pytest.approx([expit(1), expit(-3)])
