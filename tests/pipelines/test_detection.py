"""What a pin could show: from the newest comparison, else by an assumption that is said."""

import numpy as np
import pytest

from pipelines.promotion import comparison, detection, gains
from pipelines.promotion.gains import Scored
from tests.support.bundles import EVALUATE, PROMOTION, customers, sigmoid

SMALL = PROMOTION.model_copy(update={"min_effect": 0.0})


def minimum_detectable_effect(verdicts, *, entities=1000, rows=3000, reuse=1, settings=SMALL):
    return detection.minimum_detectable_effect(
        verdicts, entities=entities, rows=rows, reuse=reuse, evaluate=EVALUATE, promotion=settings
    )


def verdict(reuse: int = 1, **changes):
    """As the ledger holds it."""
    strong, weak, labels, entities = customers(1)
    pair = Scored(sigmoid(1.5 * strong + weak), 1 / 6), Scored(sigmoid(1.5 * strong), 1 / 6)
    settings = {"evaluate": EVALUATE, "promotion": SMALL.model_copy(update=changes), "groups": {}, "reuse": reuse}
    found = comparison.challenger_verdict(gains.Pair(labels, *pair, entities), None, **settings)
    return found.to_dict() | {"rules": {"confidence": EVALUATE.confidence}}


def test_the_same_customers_again_can_show_what_the_newest_comparison_could():
    known = verdict()
    found = minimum_detectable_effect([{"comparisons": []}, {}, known])
    assert found.gain == pytest.approx(known["evidence"]["minimum_detectable_effect"])
    assert "the newest comparison" in found.message and f"{found.gain:.4f}" in found.message
    assert minimum_detectable_effect([verdict(reuse=3)]).gain == pytest.approx(
        found.gain, rel=0.01
    )  # a later use was only read more widely


def test_four_times_the_customers_show_half_of_it_and_later_uses_less():
    known = [verdict()]
    assert minimum_detectable_effect(known, entities=4000).gain == pytest.approx(minimum_detectable_effect(known).gain / 2)
    assert minimum_detectable_effect(known, reuse=5).gain > minimum_detectable_effect(known).gain
    assert minimum_detectable_effect(known, settings=PROMOTION.model_copy(update={"min_effect": 0.5})).gain > 0.5


def test_another_metrics_comparison_tells_nothing():
    assert "the assumption that two versions" in minimum_detectable_effect([verdict(metric="roc_auc")]).message
    unknown = minimum_detectable_effect([verdict()], settings=SMALL.model_copy(update={"metric": "brier"}))
    assert unknown.gain is None and "the first comparison will tell" in unknown.message


def test_the_assumptions_variance_is_that_of_two_versions_which_differ_at_the_threshold():
    """Simulated: on so many of 20,000 rows the one misses a positive, or alarms falsely, where the other does not."""
    random, rows = np.random.default_rng(1), 20_000
    differ = random.random((400, rows)) < detection.DIFFERING
    positive = random.random((400, rows)) < 1 / 6
    means = np.where(differ, np.where(positive, 5.0, -1.0), 0.0).mean(axis=1)
    quantile = -gains.NORMAL.inv_cdf(0.025)
    expected = (quantile + gains.NORMAL.inv_cdf(0.9)) * means.std()
    assert minimum_detectable_effect([], rows=rows).gain == pytest.approx(expected, rel=0.1)
