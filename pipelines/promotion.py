"""Does a challenger become champion? Pure functions from numbers to a verdict.

The first champion must hold absolute floors. A later one must gain in the metric on rows that neither version was
trained on: beyond chance, resampling customers (Efron & Tibshirani 1993), and by enough to be worth a new version.
Neither may be shown to harm a protected group; what is not shown blocks nothing, and is never called a pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipelines import group_checks
from pipelines.errors import EvergreenError
from pipelines.verdict import Check, Finding, Verdict

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipelines.metrics import Floats, Interval
    from pipelines.params import EvaluateParams, PromotionParams

RETRAIN = "Look at this candidate's cross-validation, and retrain."
WAIT = "Nothing: the next retraining will have more rows."


def first_verdict(evaluation: Mapping[str, Any], audit: Mapping[str, Any], scores: Floats, params: PromotionParams) -> Verdict:
    """Absolute floors for a model without a champion.

    Args:
        evaluation: the content of evaluation.json.
        audit: `verdict` of audit.json.
        scores: the challenger's, on the held-out rows, shape (rows,).
    """
    name, baseline = evaluation["challenger"], evaluation["baseline"]
    candidate = evaluation["candidates"][name]
    checks = [
        *_score_checks(scores),
        *_prior_checks(candidate["metrics"], evaluation["base_rate"]),
        _baseline_check(name, baseline, candidate["against_baseline"]),
        _calibration_check(
            _number(candidate["metrics"]["calibration_error"]["point"]), evaluation["base_rate"], params.max_calibration_error
        ),
    ]
    groups = group_checks.checks(group_checks.APART, audit)
    evidence = {key: evaluation[key] for key in ("rows", "entities", "positives")} | group_checks.evidence(audit)
    everything = [*checks, *groups]
    if failed := _failed(checks):
        return Verdict("unfit", f"There is still no champion: {name} fails {failed}.", everything, evidence)
    if _failed(groups):
        return Verdict("unfair", f"There is still no champion: {name} {group_checks.sentence(audit)}.", everything, evidence)
    headline = f"{name} becomes the first champion: it passes all {len(checks)} floors, and no harm to a group is proven."
    return Verdict("fit to serve", headline, everything, evidence)


def challenger_verdict(
    labels: NDArray,
    challenger: Floats,
    champion: Floats,
    entities: NDArray,
    *,
    evaluate: EvaluateParams,
    promotion: PromotionParams,
    groups: Mapping[str, Mapping[str, Any]],
) -> Verdict:
    """Paired comparison on the same rows, none of which either version was trained on.

    Args:
        labels, challenger, champion, entities: labels, scores of both, customers; shape (rows,).
        groups: what was compared by group -> what was found, as `harm.summarise` returns it.

    Raises:
        EvergreenError: the champion's scores are no numbers.
    """
    import numpy as np

    from pipelines.metrics import paired_interval

    evidence = {"rows": len(labels), "entities": len(np.unique(entities)), "positives": int((labels == 1).sum())}
    if not 0 < evidence["positives"] < evidence["rows"]:
        return _one_class_verdict(evidence)
    floors = _challenger_floors(labels, challenger, promotion)
    fair = [check for name, found in groups.items() for check in group_checks.checks(name, found)]
    evidence |= group_checks.evidence(*groups.values())
    if failed := _failed(floors):
        return Verdict("unfit", f"The champion stays: the challenger fails {failed}.", floors, evidence)
    if not np.isfinite(champion).all():
        raise EvergreenError(
            "The champion's scores are no numbers: nothing compares with it. "
            "Choose an earlier version: `evergreen promote VERSION --reason TEXT`."
        )
    drawn = {"resamples": evaluate.bootstrap, "confidence": evaluate.confidence, "seed": evaluate.seed}
    gain = paired_interval(evaluate.metric, labels, challenger, champion, entities, **drawn)
    finding = _compare(gain, promotion.min_effect)
    headline = f"{_sentence(finding, promotion.min_effect)} {_figures(evaluate.metric, gain, evidence)}"
    if finding == "better" and _failed(fair):
        finding, harm = "unfair", " and ".join(group_checks.sentence(found) for found in groups.values() if found["harmed"])
        headline = (
            f"The champion stays: the challenger is better overall and {harm}. {_figures(evaluate.metric, gain, evidence)}"
        )
    checks = [*floors, *_gain_checks(gain, promotion.min_effect), *fair]
    return Verdict(finding, headline, checks, _gain_evidence(gain) | evidence)


def identical_verdict(onnx_sha256: str) -> Verdict:
    """The challenger scores by the champion's very file."""
    return Verdict("identical", f"The champion stays: the challenger is the same model, byte for byte ( {onnx_sha256[:12]}).")


def incomparable_verdict(changed: list[str]) -> Verdict:
    """The champion cannot score the rows, so nothing can show which of the two is better."""
    check = Check(
        name="comparable",
        passed=False,
        observed="; ".join(changed),
        limit="every column that the champion reads",
        why="both must score the same rows",
        next_step="Give the query these columns back, or decide it yourself: `evergreen promote VERSION --reason TEXT`.",
    )
    return Verdict("not comparable", f"The champion stays: not comparable, {', '.join(changed)}.", [check])


def _gain_evidence(gain: Interval) -> dict[str, float]:
    return {"gain": gain.point, "low": gain.low, "high": gain.high}


def _one_class_verdict(evidence: Mapping[str, float]) -> Verdict:
    check = Check(
        name="labels of both classes",
        passed=False,
        observed=f"{evidence['positives']} positives in {evidence['rows']} rows",
        limit="both classes",
        why="no metric is defined without",
        next_step="Pin more history, or hold out more customers (split.test_share).",
    )
    headline = "The champion stays: insufficient evidence, too few rows that neither version was trained on."
    return Verdict("insufficient evidence", headline, [check], evidence)


def _challenger_floors(labels: NDArray, scores: Floats, params: PromotionParams) -> list[Check]:
    import numpy as np

    from pipelines.metrics import calibration_error

    checks = _score_checks(scores)
    if _failed(checks):
        return checks
    error = float(calibration_error(labels, scores, np.ones((1, len(labels))))[0])
    return [*checks, _calibration_check(error, float((labels == 1).mean()), params.max_calibration_error)]


def _score_checks(scores: Floats) -> list[Check]:
    import numpy as np

    wrong = int((~((scores >= 0) & (scores <= 1))).sum())  # NaN is on neither side
    spread = float(np.ptp(scores)) if len(scores) and not wrong else math.nan
    return [
        Check("probabilities", wrong == 0, f"{wrong:,} of {len(scores):,} fail", "0", "finite, 0 to 1, every row", RETRAIN),
        Check("not constant", spread > 0, spread, "> 0", "one score for everybody ranks nobody", RETRAIN),
    ]


def _prior_checks(metrics: Mapping[str, Any], base_rate: float) -> list[Check]:
    """Better than giving everybody the base rate: log loss (nats), Brier score, and the order of scores beyond chance."""
    entropy = -(base_rate * math.log(base_rate) + (1 - base_rate) * math.log(1 - base_rate))
    variance = base_rate * (1 - base_rate)
    loss, brier = _number(metrics["log_loss"]["point"]), _number(metrics["brier"]["point"])
    auc = _number(metrics["roc_auc"]["low"])
    why, next_step = "better than the base rate for everybody", "Give the query columns that say something about the target."
    return [
        Check("log loss below the prior's", loss < entropy, loss, entropy, why, next_step),
        Check("Brier score below the prior's", brier < variance, brier, variance, why, next_step),
        Check("ROC-AUC beyond chance", auc > 0.5, auc, 0.5, "the lower bound, so not by luck", next_step),
    ]


def _baseline_check(name: str, baseline: str, gain: Mapping[str, float]) -> Check:
    """Shown to be better than a simpler model; evaluate offers the simpler one itself where nothing is."""
    low = _number(gain["low"])
    is_it = name == baseline
    observed = "is the baseline" if is_it else f"{_number(gain['point']):+.4f} [{low:+.4f}, {_number(gain['high']):+.4f}]"
    why = "a model that is no better than a simple one is not worth its upkeep"
    return Check(f"better than {baseline}, or it", is_it or low > 0, observed, "> 0", why, f"Let {baseline} be the challenger.")


def _calibration_check(error: float, base_rate: float, limit: float) -> Check:
    """Relative to the base rate: among 5% positives, scores that are off by half are off by 0.025 only."""
    next_step = "Look at the calibration plot; calibrate on more rows, and retrain."
    share = error / base_rate if base_rate else math.nan
    return Check(
        "calibrated", share <= limit, share, limit, "error in shares of the base rate: a score is a probability", next_step
    )


def _gain_checks(gain: Interval, min_effect: float) -> list[Check]:
    return [
        Check("better beyond chance", gain.low > 0, gain.low, "> 0", "the lower bound of the gain, resampling customers", WAIT),
        Check("worth a new version", gain.point >= min_effect, gain.point, min_effect, "the estimate of the gain", WAIT),
    ]


def _compare(gain: Interval, min_effect: float) -> Finding:
    if gain.low > 0:
        return "better" if gain.point >= min_effect else "too small a gain"
    return "worse" if gain.high < 0 else "insufficient evidence"


def _sentence(finding: Finding, min_effect: float) -> str:
    return {
        "better": "The challenger becomes champion:",
        "too small a gain": f"The champion stays: the gain is real and below the minimum effect of {min_effect:g}:",
        "worse": "The champion stays: the challenger is worse:",
    }.get(finding, "The champion stays: insufficient evidence that the challenger is better:")


def _figures(metric: str, gain: Interval, evidence: Mapping[str, float]) -> str:
    interval = f"{gain.point:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
    seen = f"{evidence['rows']:,} rows of {evidence['entities']:,} customers that neither was trained on"
    return f"{metric} {interval} on {seen}."


def _failed(checks: list[Check]) -> str:
    return ", ".join(f"{check.name!r}" for check in checks if check.passed is False)


def _number(value: float | None) -> float:
    """JSON has no NaN: a figure that is not defined is null there, and here it compares as false."""
    return math.nan if value is None else value
