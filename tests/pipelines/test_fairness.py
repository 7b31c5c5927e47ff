"""Figures by group: the same as fairlearn's, on the same resamples for everybody, of customers and not of rows."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from fairlearn.metrics import MetricFrame, count, false_positive_rate, selection_rate, true_positive_rate
from sklearn.metrics import precision_score, roc_auc_score

from monitoring.stages import audit
from pipelines.config.errors import EvergreenError
from pipelines.statistics import fairness
from tests.support.bundles import AUDIT, EVALUATE


@pytest.fixture(scope="module")
def rows():
    """Groups of two attributes with different rates; two rows a customer."""
    random = np.random.default_rng(4)
    size = 2400
    gender = np.repeat(random.choice(["f", "m", "x"], size // 2, p=[0.5, 0.45, 0.05]), 2).astype(object)
    band = np.repeat(random.choice(["old", "young"], size // 2), 2).astype(object)
    score = np.clip(random.beta(2, 4, size) + 0.1 * (gender == "m"), 0, 1)
    label = (random.random(size) < score * np.where(band == "old", 1.2, 0.8)).astype(np.int64)
    frame = {"entity": np.arange(size) // 2, "label": label, "score": score, "group_gender": gender, "group_band": band}
    return pd.DataFrame(frame)


@pytest.fixture(scope="module")
def found(rows):
    return audit.measure(rows, 0.4, ["gender", "band"], AUDIT, EVALUATE)


METRICS = {
    "rows": count,
    "selection_rate": selection_rate,
    "tpr": true_positive_rate,
    "fpr": false_positive_rate,
    "precision": precision_score,
}


@pytest.mark.parametrize("attributes", [("gender",), ("band",), ("gender", "band")])
def test_rates_differences_and_ratios_are_fairlearns(rows, found, attributes):
    chosen = (rows["score"] >= 0.4).astype(int)
    sensitive = rows[[f"group_{name}" for name in attributes]]
    theirs = MetricFrame(metrics=METRICS, y_true=rows["label"], y_pred=chosen, sensitive_features=sensitive)
    ours = {**found["attributes"], **found["pairs"]}[" and ".join(attributes)]
    assert len(ours) == len(theirs.by_group)
    for group in ours:
        expected = theirs.by_group.loc[tuple(group["values"]) if len(attributes) > 1 else group["values"][0]]
        assert group["rows"] == expected["rows"]
        for rate in list(METRICS)[1:]:
            value, whole = expected[rate], theirs.overall[rate]
            points = {name: one["point"] for name, one in group["rates"][rate].items()}
            assert points == pytest.approx({"value": value, "difference": value - whole, "ratio": value / whole}, abs=2e-9)


def test_the_largest_gap_is_fairlearns_difference_between_groups(rows, found):
    known = rows[rows["group_gender"] != "x"]  # too few of them: never part of a gap
    chosen = (known["score"] >= 0.4).astype(int)
    theirs = MetricFrame(
        metrics=METRICS, y_true=known["label"], y_pred=chosen, sensitive_features=known["group_gender"]
    ).difference(method="between_groups")
    assert [group["evidence"] for group in found["attributes"]["gender"]] == ["sufficient", "sufficient", audit.INSUFFICIENT]
    for rate in list(METRICS)[1:]:
        assert found["gaps"]["gender"][rate]["difference"]["point"] == pytest.approx(theirs[rate], abs=2e-9)


def test_auc_and_calibration_are_of_the_groups_own_rows(rows, found):
    own = rows[rows["group_gender"] == "m"]
    rates = {rate: figure["value"]["point"] for rate, figure in found["attributes"]["gender"][1]["rates"].items()}
    selected = own[own["score"] >= 0.4]
    assert rates["roc_auc"] == pytest.approx(roc_auc_score(own["label"], own["score"]), abs=2e-9)
    assert rates["calibration"] == pytest.approx(own["score"].mean() - own["label"].mean(), abs=2e-9)
    assert rates["calibration_selected"] == pytest.approx(selected["score"].mean() - selected["label"].mean(), abs=2e-9)


def test_pairs_are_made_of_the_values_that_occur_together():
    columns = {"a": np.array(["1", "1", "2"], object), "b": np.array(["x", "y", "x"], object)}
    found = fairness.groups_of(columns, 3)
    assert [(group.attribute, group.name, group.mask.tolist()) for group in found if len(group.attributes) == 2] == [
        ("a and b", "1, x", [True, False, False]),
        ("a and b", "1, y", [False, True, False]),
        ("a and b", "2, x", [False, False, True]),
    ]


def test_the_whole_and_every_group_see_the_same_resamples():
    """Two halves always make the whole, in each resample and not only on average."""
    entities = np.arange(40)
    groups = fairness.groups_of({"a": np.array(["1", "2"] * 20, object)}, 40)
    drawn = fairness.resample(
        groups, lambda mask, weights: fairness.sums(weights, np.ones((mask.sum(), 1))), entities, EVALUATE
    )
    assert drawn.shape == (1 + EVALUATE.bootstrap, 3, 1)
    assert drawn[0].ravel().tolist() == [40, 20, 20]
    assert (drawn[:, 1] + drawn[:, 2] == drawn[:, 0]).all()
    assert drawn[1:, 1].std() > 1


def test_many_rows_of_few_customers_are_not_enough():
    labels, mask = np.repeat([1, 0], 500), np.ones(1000, dtype=bool)
    assert fairness.enough(labels, np.arange(1000), mask, AUDIT)
    assert not fairness.enough(labels, np.arange(1000) % 15, mask, AUDIT)
    assert not fairness.enough(labels, np.arange(1000), np.arange(1000) < 500, AUDIT)  # nobody negative
    assert not fairness.enough(labels[::8], np.arange(125), mask[::8], AUDIT)


def test_null_is_a_group_of_its_own():
    assert fairness.group_values("g", pa.chunked_array([["a", None]])).tolist() == ["a", "missing"]
    assert fairness.group_values("g", pa.chunked_array([["missing", None]])).tolist() == ["missing", "missing (NULL)"]
    assert fairness.group_values("g", pa.chunked_array([[1, 0]])).tolist() == ["1", "0"]


def test_an_attribute_of_many_values_is_refused():
    with pytest.raises(EvergreenError, match="age has 51 values, at most 50"):
        fairness.group_values("age", pa.chunked_array([list(range(51))]))
