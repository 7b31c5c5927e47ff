"""What any champion must hold, whatever it is compared with: checks of scores and of absolute figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipelines.promotion.verdict import Check

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipelines.config.params import PromotionParams
    from pipelines.statistics.metrics import Floats

RETRAIN = "Look at this candidate's cross-validation, and retrain."


def first_floors(evaluation: Mapping[str, Any], scores: Floats, params: PromotionParams) -> list[Check]:
    """Of a model without a champion.

    Args:
        evaluation: the content of evaluation.json.
        scores: the challenger's, shape (rows,).
    """
    candidate, base_rate = evaluation["candidates"][evaluation["challenger"]], evaluation["base_rate"]
    error = number(candidate["metrics"]["calibration_error"]["point"])
    return [
        *_score_checks(scores),
        *_prior_checks(candidate["metrics"], base_rate),
        _calibration_check(error, base_rate, params.max_calibration_error),
    ]


def challenger_floors(labels: NDArray[Any], scores: Floats, params: PromotionParams) -> list[Check]:
    """Of a challenger, on the rows that it is compared on; both of shape (rows,)."""
    import numpy as np

    from pipelines.statistics.metrics import calibration_error

    checks = _score_checks(scores)
    if failed(checks):
        return checks
    error = float(calibration_error(labels, scores, np.ones((1, len(labels))))[0])
    return [*checks, _calibration_check(error, float((labels == 1).mean()), params.max_calibration_error)]


def failed(checks: list[Check]) -> str:
    """Names of those that did not pass, for a sentence; "" where all did."""
    return ", ".join(f"{check.name!r}" for check in checks if check.passed is False)


def number(value: float | None) -> float:
    """JSON has no NaN: a figure that is not defined is null there, and here it compares as false."""
    return math.nan if value is None else value


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
    loss, brier = number(metrics["log_loss"]["point"]), number(metrics["brier"]["point"])
    auc = number(metrics["roc_auc"]["low"])
    why, next_step = "better than the base rate for everybody", "Give the query columns that say something about the target."
    return [
        Check("log loss below the prior's", loss < entropy, loss, entropy, why, next_step),
        Check("Brier score below the prior's", brier < variance, brier, variance, why, next_step),
        Check("ROC-AUC beyond chance", auc > 0.5, auc, 0.5, "the lower bound, so not by luck", next_step),
    ]


def _calibration_check(error: float, base_rate: float, limit: float) -> Check:
    """Relative to the base rate: among 5% positives, scores that are off by half are off by 0.025 only."""
    next_step = "Look at the calibration plot; calibrate on more rows, and retrain."
    share = error / base_rate if base_rate else math.nan
    return Check(
        "calibrated", share <= limit, share, limit, "error in shares of the base rate: a score is a probability", next_step
    )
