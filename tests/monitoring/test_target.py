"""The share of positives against its own quiet blocks: seasons stay inside, a new share does not."""

import numpy as np
import pytest

from monitoring import target
from pipelines.config import params

MONITOR = params.read().monitor
SEASON = [1.2, 1.1, 1.0, 0.95, 0.9, 0.85, 0.85, 1.05, 1.2, 1.05]
QUIET = [(int(300 * factor), 5000) for factor in SEASON]


@pytest.mark.parametrize("share", [0.05, 0.06, 0.07])
def test_a_season_is_no_drift(share):
    assert target.judge(QUIET, (int(5000 * share), 5000), True, MONITOR) == []


@pytest.mark.parametrize(("share", "side"), [(0.1, "high"), (0.03, "low")])
def test_a_new_share_is_a_suspicion_and_then_drift(share, side):
    now = (int(5000 * share), 5000)
    (first,), (second,) = target.judge(QUIET, now, False, MONITOR), target.judge(QUIET, now, True, MONITOR)
    assert (first.kind, second.kind, second.about) == ("warning", "drift", "target")
    assert (second.value > second.threshold) == (side == "high") and f"{share:.1%} of the mature labels" in second.message


def test_a_small_window_may_vary_more():
    assert target.judge(QUIET, (60, 700), False, MONITOR) == []
    assert target.judge(QUIET, (450, 5250), False, MONITOR) != []


@pytest.mark.parametrize(("baseline", "now"), [(QUIET, (5, 5000)), (QUIET, (40, 60)), (QUIET[:4], (300, 5000))])
def test_too_little_evidence_is_said(baseline, now):
    (found,) = target.judge(baseline, now, True, MONITOR)
    assert found.kind == "insufficient" and "cannot be judged" in found.message


def test_a_quiet_share_exceeds_as_often_as_alpha_says():
    random = np.random.default_rng(1)
    over = []
    for _ in range(600):
        counts = random.binomial(5000, 1 / (1 + np.exp(2.7 - random.normal(0, 0.12, 11))))
        *baseline, now = [(int(count), 5000) for count in counts]
        over.append(bool(target.judge(baseline, now, False, MONITOR)))
    assert np.mean(over) == pytest.approx(0.05, abs=0.03)
