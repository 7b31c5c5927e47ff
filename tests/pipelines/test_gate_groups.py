"""The gate and protected groups: proven harm blocks, against everybody else and against the champion; the rest does not."""

import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from pipelines import onnx_model
from pipelines.config.params import AuditParams, DataParams
from pipelines.promotion import comparison, gate, group_checks
from pipelines.promotion.group_checks import AGAINST_CHAMPION, APART
from tests.support import bundles
from tests.support.bundles import AUDIT, EVALUATE, FAIR, PROMOTION, evaluation, sigmoid

HARM = {"measure": "TPR shortfall", "point": 0.6, "low": 0.5, "high": 0.7, "limit": 0.2, "finding": "significant"}
UNFAIR = {"attributes": {"gender": "significant"}, "harmed": [{"attribute": "gender", "group": "f"} | HARM], "inconclusive": []}


@pytest.fixture
def held_out():
    """Three features: `strong` tells everybody apart, `weak` men only, and `low` is 1 for women."""
    random = np.random.default_rng(3)
    size = 9000
    women = np.repeat(random.random(size // 3) < 0.3, 3)
    strong, weak = random.normal(size=(2, size))
    labels = (random.random(size) < sigmoid(1.5 * strong + np.where(women, 0.0, 1.5 * weak))).astype(np.int64)
    few = np.repeat(random.random(size // 3) < 0.01, 3)
    gender = np.where(few, "x", np.where(women, "f", "m"))
    columns = {"strong": strong, "weak": np.where(women, 0.0, weak), "low": women.astype(float)}
    return pa.table({"customer_id": np.arange(size) // 3, "gender": gender, "churned": labels, **columns})


@pytest.fixture
def params():
    data = DataParams(
        dataset="churn", as_of=None, fingerprint=None, entity="customer_id", time=None, target="churned",
        protected=["gender"], personal=[], history_days=1, horizon_days=1, embargo_days=1,
    )  # fmt: skip
    settings = PROMOTION.model_copy(update={"max_calibration_error": 0.9})
    return SimpleNamespace(data=data, audit=AUDIT, evaluate=EVALUATE, promotion=settings)


def judge(folder, held_out, params, weights, champion=None, **audit):
    """The verdict on a model of these weights, against one that knows `strong` alone."""
    made = bundles.write(folder / "challenger", weights)
    if audit:
        (made / "audit.json").write_text(json.dumps({"verdict": FAIR | audit}))
    current = gate.Bundle(bundles.write(folder / "champion", champion or {"strong": 1.5}))
    return gate.judge(gate.Bundle(made), current, held_out, {}, params)


def checks(verdict):
    return {check.name: check.passed for check in verdict.checks if "harm" in check.name or "inconclusive" in check.name}


def test_better_for_all_and_worse_for_one_group_is_blocked(tmp_path, held_out, params):
    """Its ROC-AUC is higher; women's scores are lowered, so that their leavers fall below the threshold."""
    params.promotion = params.promotion.model_copy(update={"metric": "roc_auc"})
    verdict = judge(tmp_path, held_out, params, {"strong": 1.5, "weak": 1.5, "low": -1.5})
    assert (verdict.outcome, verdict.finding) == ("rejected", "unfair")
    assert verdict.evidence["low"] > 0  # better it is
    assert "TPR loss of gender f" in verdict.headline
    assert checks(verdict)["no significant harm, against the champion"] is False
    assert verdict.evidence["significant_harm"] == 1


def test_better_and_no_worse_for_any_group_is_promoted(tmp_path, held_out, params):
    verdict = judge(tmp_path, held_out, params, {"strong": 1.5, "weak": 1.5})
    assert (verdict.outcome, verdict.finding) == ("promoted", "better")
    assert checks(verdict)["no significant harm, against the champion"] is True


def test_a_group_that_was_always_low_is_not_harmed_again(tmp_path, held_out, params):
    champion = {"strong": 1.5, "low": -1.5}
    verdict = judge(tmp_path, held_out, params, {"strong": 1.5, "weak": 1.5, "low": -1.5}, champion)
    assert verdict.finding == "better"


def test_a_small_group_is_unproven_is_said_so_and_does_not_block(tmp_path, held_out, params):
    """The few of `x` lose everything: too few to prove it by."""
    gone = pa.array(np.asarray(held_out["gender"]) == "x").cast("float64")
    rows = held_out.set_column(held_out.column_names.index("low"), "low", gone)
    verdict = judge(tmp_path, rows, params, {"strong": 1.5, "weak": 1.5, "low": -9.0})
    assert verdict.outcome == "promoted"
    assert checks(verdict)["groups inconclusive, against the champion"] is None
    assert verdict.evidence["inconclusive_harm"] == 1
    assert "insufficient evidence: gender x" in verdict.markdown()
    assert "not asked" in verdict.markdown()


def test_the_champions_own_threshold_decides_for_the_champion(tmp_path, held_out, params):
    """A champion that selects hardly anybody finds few: the very challenger that is blocked above takes from nobody."""
    challenger = gate.Bundle(bundles.write(tmp_path / "challenger", {"strong": 1.5, "weak": 1.5, "low": -1.5}))
    champion = gate.Bundle(bundles.write(tmp_path / "champion", {"strong": 1.5}, threshold=0.99))
    verdict = gate.judge(challenger, champion, held_out, {}, params)
    against = next(check for check in verdict.checks if check.name == "no significant harm, against the champion")
    assert "TPR loss" not in against.observed


def test_harm_that_the_audit_proved_blocks_the_first_and_every_later_one(tmp_path, held_out, params):
    first = comparison.first_verdict(evaluation(), UNFAIR, np.linspace(0.01, 0.9, 1000), PROMOTION)
    assert (first.outcome, first.finding) == ("rejected", "unfair")
    assert "TPR shortfall of gender f +0.600 [+0.500, +0.700], at most 0.2" in first.headline
    later = judge(tmp_path, held_out, params, {"strong": 1.5, "weak": 1.5}, **UNFAIR)
    assert (later.outcome, later.finding) == ("rejected", "unfair")
    assert checks(later) | {"groups inconclusive, against the champion": None} == {
        "no significant harm, against everybody else": False,
        "no significant harm, against the champion": True,
        "groups inconclusive, against the champion": None,
    }


def test_unproven_harm_blocks_no_first_champion_and_stands_in_its_evidence():
    thin = [
        {"attribute": "gender", "group": f"<b>{number}|" + "y" * 90, "why": "insufficient evidence"} for number in range(12)
    ]
    audit = {"attributes": {"gender": "inconclusive"}, "harmed": [], "inconclusive": thin}
    verdict = comparison.first_verdict(evaluation(), audit, np.linspace(0.01, 0.9, 1000), PROMOTION)
    assert verdict.outcome == "promoted"
    assert verdict.evidence["inconclusive_harm"] == 12
    page = verdict.markdown()
    assert "<b>" not in page and "y" * 61 not in page and "and 6 more" in page


def test_the_way_out_is_named_word_for_word_and_what_is_accepted_passes_with_its_reason():
    refused = comparison.first_verdict(evaluation(), UNFAIR | {"hidden": ["gender"]}, np.linspace(0.01, 0.9, 1000), PROMOTION)
    (check,) = [check for check in refused.checks if check.passed is False]
    assert '`audit: {accepted: {"gender: f": "why this is right"}}`' in check.next_step
    assert "take gender out of features.exclude" in check.next_step
    line, reason = "gender: f", "agreed with the works council"
    (harm,) = UNFAIR["harmed"]
    accepted = {"attributes": {"gender": "accepted"}, "harmed": [], "inconclusive": [], "accepted": [harm | {"reason": reason}]}
    verdict = comparison.first_verdict(evaluation(), accepted, np.linspace(0.01, 0.9, 1000), PROMOTION)
    assert verdict.outcome == "promoted"
    assert (verdict.evidence["significant_harm"], verdict.evidence["accepted_harm"]) == (0, 1)
    assert any(check.passed and reason in str(check.observed) for check in verdict.checks)
    assert line in verdict.headline


def test_the_line_that_the_message_names_is_one_that_params_take():
    line = json.loads("{" + group_checks._way_out(UNFAIR).partition("accepted: {")[2].partition("}")[0] + "}")
    assert AuditParams.model_validate(AUDIT.model_dump() | {"accepted": line}).accepted == {"gender: f": "why this is right"}
    with pytest.raises(ValueError, match="women: a line names a group"):
        AuditParams.model_validate(AUDIT.model_dump() | {"accepted": {"women": "why this is right"}})


def test_a_line_that_accepts_nothing_is_on_the_verdict_and_blocks_nothing():
    audit = FAIR | {"unmatched": {"gender: x": "there is no such group"}}
    verdict = comparison.first_verdict(evaluation(), audit, np.linspace(0.01, 0.9, 1000), PROMOTION)
    assert verdict.outcome == "promoted"
    (check,) = [check for check in verdict.checks if "accepted" in check.name]
    assert (check.passed, check.observed) == (None, "gender: x: there is no such group")


def test_harm_against_the_champion_cannot_be_accepted():
    (against,) = [check for check in group_checks.checks(AGAINST_CHAMPION, UNFAIR) if check.passed is False]
    assert "accepted" not in against.next_step


def test_the_whole_of_a_gap_stands_beside_what_is_judged():
    harm = UNFAIR["harmed"][0] | {"raw": 0.8, "explained": 0.2}
    (check,) = group_checks.checks(APART, UNFAIR | {"harmed": [harm]})
    assert "(the whole gap +0.800, explained +0.200)" in check.observed


def test_no_protected_attribute_asks_nothing():
    nothing = {"attributes": {}, "harmed": [], "inconclusive": []}
    verdict = comparison.first_verdict(evaluation(), nothing, np.linspace(0.01, 0.9, 1000), PROMOTION)
    assert checks(verdict) == {}
    assert "significant_harm" not in verdict.evidence


def test_a_capacity_decides_between_two_versions(tmp_path, held_out, params):
    params.promotion = params.promotion.model_copy(update={"metric": "precision_at_capacity"})
    params.evaluate = params.evaluate.model_copy(update={"capacity": 450})
    challenger = gate.Bundle(bundles.write(tmp_path / "challenger", {"strong": 1.5, "weak": 1.5}))
    champion = gate.Bundle(bundles.write(tmp_path / "champion", {"strong": 1.5}))
    verdict = gate.judge(challenger, champion, held_out, {}, params)
    labels = held_out["churned"].to_numpy()
    precision = [
        labels[np.argsort(-onnx_model.load(bundle.folder, None).score(held_out))[:450]].mean()
        for bundle in (challenger, champion)
    ]
    assert verdict.comparisons[0].name == "precision_at_capacity"
    assert verdict.comparisons[0].point == pytest.approx(precision[0] - precision[1])
    assert (verdict.finding, verdict.outcome) == ("better", "promoted")
