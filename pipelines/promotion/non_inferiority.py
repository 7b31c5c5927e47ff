"""What a challenger may not lose while it gains: cost, ranking, calibration and speed, against the champion on the same rows.

Not inferior is something to be shown: the whole interval of the difference lies above what may be lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.evaluation.latency import Latency
from pipelines.promotion.verdict import Check, Comparison

if TYPE_CHECKING:
    from pipelines.config.params import PromotionParams
    from pipelines.statistics.metrics import Interval

COST, AUC, CALIBRATION = "cost", "roc_auc", "calibration_error"
FASTER = "Let a simpler candidate be the challenger (ensemble.rounds: 0, fewer rounds), or raise promotion.{key} with a reason."


WATCHED = [COST, AUC, CALIBRATION]


def watched(metric: str) -> list[str]:
    """What is compared besides the metric that decides."""
    return [name for name in WATCHED if name != metric]


def comparisons(gains: dict[str, Interval], base_rate: float, cost: float, params: PromotionParams) -> list[Comparison]:
    """Of each of `watched` that is in `gains`: calibration in shares of the base rate, as its floor is, and cost in shares of
    what the champion's decisions cost (a row)."""
    kinds = {
        COST: ("cost", "of the champion's", cost or 1.0, params.max_cost_loss),  # who never errs can only be equalled
        AUC: ("ROC-AUC", "", 1.0, params.max_auc_loss),
        CALIBRATION: ("calibration", "of the base rate", base_rate, params.max_calibration_loss),
    }
    return [
        Comparison(title, unit, gain.point / scale, gain.low / scale, gain.high / scale, -loss)
        for name, (title, unit, scale, loss) in kinds.items()
        if (gain := gains.get(name))
    ]


def checks(compared: Sequence[Comparison]) -> list[Check]:
    """One a comparison."""
    why = {
        "cost": "another metric decides, and wrong decisions are what is paid for: the gain, in shares of the champion's cost",
        "ROC-AUC": "a threshold may pay off where the order of scores got worse, and the order is what other uses rest on",
        "calibration": "a score is read as a probability: the gain in calibration error, in shares of the base rate",
    }
    next_steps = {
        "cost": "Look at both thresholds; pin more history where the interval is wide (data.history_days).",
        "ROC-AUC": "Look at both ROC curves: were columns taken away? Whoever accepts the loss raises promotion.max_auc_loss.",
        "calibration": "Look at the calibration plot; pin more history where the interval is wide (data.history_days).",
    }
    return [
        Check(
            f"{comparison.name} not inferior",
            comparison.holds,
            comparison.low,
            comparison.limit,
            why[comparison.name],
            next_steps[comparison.name],
        )
        for comparison in compared
    ]


def latency_checks(measured: Sequence[Latency], params: PromotionParams) -> list[Check]:
    """Slower by more than a factor, and by more than an allowance: a factor alone would weigh microseconds."""
    checks = []
    for latency in measured:
        single = latency.rows == 1
        allowance = params.latency_allowance_us if single else params.batch_allowance_us * latency.rows
        limit = max(latency.champion * params.max_latency_factor, latency.champion + allowance)
        checks.append(
            Check(
                f"latency of {'one row' if single else f'{latency.rows:,} rows'} not inferior",
                latency.challenger <= limit,
                f"{_spelt(latency.challenger)}, champion {_spelt(latency.champion)}",
                f"at most {_spelt(limit)}",
                "processor's time, the least of rounds in turns: what the graphs take by themselves",
                FASTER.format(key="latency_allowance_us" if single else "batch_allowance_us"),
            )
        )
    return checks


def _spelt(microseconds: float) -> str:
    return f"{microseconds:,.0f} µs" if microseconds < 10_000 else f"{microseconds / 1000:,.1f} ms"
