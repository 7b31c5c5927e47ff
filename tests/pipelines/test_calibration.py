"""Calibration: the kind that the margins need, out of fold, and the same in numpy as in the graph."""

import numpy as np
import onnxruntime
import pytest
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from pipelines.fitting import calibration
from pipelines.fitting.calibration import Isotonic, Platt, Uncalibrated
from pipelines.fitting.graph import Graph

KINDS = ["none", "platt", "isotonic"]


def drawn(truth, count=30_000, seed=3):
    """Margins, labels that follow `truth` of them, folds and customers of three rows each."""
    random = np.random.default_rng(seed)
    margins = random.normal(0, 2, count)
    labels = (random.random(count) < truth(margins)).astype(np.int8)
    customers = np.arange(count) // 3
    return margins, labels, customers % 3, customers


def bent(margins):
    """Level, then steep: nothing that a slope and an offset can follow."""
    return np.where(margins < 0, 0.05, np.minimum(0.05 + 0.3 * margins, 0.6))


TRUTHS = {"none": expit, "platt": lambda margins: expit(0.5 * margins - 1), "isotonic": bent}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_margins_get_the_calibration_that_they_need(kind, seed):
    chosen, _ = calibration.choose(*drawn(TRUTHS[kind], seed=seed), KINDS)
    assert chosen.kind == kind


def test_only_what_is_allowed_is_chosen():
    assert calibration.choose(*drawn(bent), ["none", "platt"])[0].kind == "platt"
    assert calibration.choose(*drawn(bent), ["none"])[0].kind == "none"
    assert calibration.choose(*drawn(expit), ["isotonic", "platt"])[0].kind == "platt"


def test_few_customers_show_nothing_even_with_many_rows():
    gains = np.repeat([1.5, -1.0, 1.0, -1.0], 1000)
    assert calibration.gain_is_shown(gains, np.arange(4000))
    assert not calibration.gain_is_shown(gains, np.repeat(np.arange(4), 1000))


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_no_row_has_a_part_in_its_own_calibration(kind):
    margins, labels, fold, _ = drawn(bent, 3000)
    before = calibration.cross_fitted(kind, margins, labels, fold)
    turned = np.where(fold == 1, 1 - labels, labels)
    after = calibration.cross_fitted(kind, margins, turned, fold)
    assert (before[fold == 1] == after[fold == 1]).all()
    assert (before[fold != 1] != after[fold != 1]).any()


def test_platt_scaling_finds_slope_and_offset():
    margins, labels, _, _ = drawn(lambda margins: expit(0.5 * margins - 1), 100_000)
    found = calibration.fit_platt(margins, labels)
    assert found.slope == pytest.approx(0.5, abs=0.02)
    assert found.offset == pytest.approx(-1, abs=0.03)


def test_an_isotonic_curve_is_near_the_truth_and_scikit_learns():
    margins, labels, _, _ = drawn(bent, 100_000)
    found = calibration.fit_isotonic(margins, labels)
    at = np.linspace(-3, 3, 50)
    assert found(at) == pytest.approx(bent(at), abs=0.03)
    assert found(at) == pytest.approx(IsotonicRegression(out_of_bounds="clip").fit(margins, labels).predict(at), abs=0.04)


def test_an_isotonic_curve_rises_everywhere_between_its_ends():
    margins, labels, _, _ = drawn(bent, 5000)
    found = calibration.fit_isotonic(margins, labels)
    knots = np.array(found.margins)
    assert 2 <= len(knots) <= calibration.GROUPS
    assert (np.diff(found(np.linspace(knots[0], knots[-1], 10_000))) > 0).all()
    assert (np.diff(found.probabilities) / np.diff(knots)).max() <= calibration.STEEPEST


def test_an_isotonic_curve_never_says_never():
    margins = np.linspace(-5, 5, 1000)
    found = calibration.fit_isotonic(margins, (margins > 0).astype(int))
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
    found = calibration.fit_isotonic(margins, labels)
    assert (np.diff(found.margins) > 0).all()
    assert (np.diff(found.probabilities) / np.diff(found.margins)).max() <= calibration.STEEPEST + 1e-9
    assert ((found(margins) > 0) & (found(margins) < 1)).all()


CALIBRATIONS = [Uncalibrated(), Platt(0.7, -1.3), Isotonic((-1.0, 0.5), (0.1, 0.8)), calibration.fit_isotonic(*drawn(bent)[:2])]


@pytest.mark.parametrize("chosen", CALIBRATIONS, ids=["none", "platt", "two knots", "many knots"])
def test_the_graph_computes_the_same_on_any_margin(chosen):
    random = np.random.default_rng(7)
    knots = getattr(chosen, "margins", ())
    margins = np.concatenate([random.normal(0, 3, 10_000), random.normal(0, 1e3, 100), [0.0, 1e300, -1e300], knots])
    graph = Graph()
    numbers = {"numbers": ["margin"], "categories": {}}
    wide = graph.add("Cast", ["numbers"], "margin", to=11)
    session = onnxruntime.InferenceSession(graph.model(wide, chosen, numbers).SerializeToString())
    with np.errstate(over="ignore"):
        given = margins.astype(np.float32)  # 1e300 is infinite in it
    found = session.run(["probability"], {"numbers": given[:, None]})[0][:, 0]
    assert found == pytest.approx(chosen(given.astype(np.float64)), abs=1e-7)
    assert ((found >= 0) & (found <= 1)).all()
