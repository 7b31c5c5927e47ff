"""What a pin could show, before anything is trained: the smallest gain that its newest snapshots are enough for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.promotion import gains
from pipelines.statistics.metrics import Interval

if TYPE_CHECKING:
    from pipelines.config.params import EvaluateParams, PromotionParams

DIFFERING = 0.03  # share of rows on which two versions decide differently: in the demo 1% a month later, 4% a year later


@dataclass(frozen=True)
class DetectableEffect:
    """gain: the smallest true one that nine of ten comparisons would promote, in the metric's unit; None where nothing tells
    how wide an interval would be. says: the same as a sentence, with where the width comes from."""

    gain: float | None
    message: str


def minimum_detectable_effect(
    verdicts: Sequence[Mapping[str, Any]],
    *,
    entities: float,
    rows: float,
    reuse: int,
    evaluate: EvaluateParams,
    promotion: PromotionParams,
    dated: bool = True,
) -> DetectableEffect:
    """From the newest comparison in the ledger; without one by an assumption, where there is one for the metric.

    An interval's width goes with one over the root of how many entities are judged on.

    Args:
        verdicts: of the model, as the ledger holds them, newest first.
        entities, rows: of the newest snapshots; of all where the table has no dates (`dated`).
        reuse: how many decisions its rows have served, the next one included.
    """
    error = next((width for saved in verdicts if (width := _of_verdict(saved, entities, promotion.metric))), None)
    source = "the newest comparison's interval, scaled to these entities"
    if error is None and promotion.metric == "cost":
        error, source = (
            _assumed(rows, evaluate),
            f"the assumption that two versions decide differently on {DIFFERING:.0%} of rows",
        )
    newest = " of the newest snapshots" if dated else ""
    about = f"{entities:,.0f} entities{newest} decide; the next decision is use {reuse} of their rows."
    if error is None:
        return DetectableEffect(
            None, f"{about} How small a gain in {promotion.metric} they can show, the first comparison will tell."
        )
    gain = gains.detectable(error, promotion.min_effect, reuse, evaluate.confidence)
    return DetectableEffect(
        gain, f"{about} They can show a gain in {promotion.metric} of {gain:.4f} in nine of ten cases, by {source}."
    )


def _of_verdict(saved: Mapping[str, Any], entities: float, metric: str) -> float | None:
    """Standard error of a verdict's gain, had it been of this many entities; None where it compared nothing in the metric."""
    compared, evidence, rules = saved.get("comparisons"), saved.get("evidence", {}), saved.get("rules", {})
    if not compared or compared[0]["name"] != metric or compared[0]["low"] is None:
        return None
    first = Interval(*(compared[0][end] for end in ("point", "low", "high")))
    narrowed = gains.widened(first, evidence["reuse"], rules["confidence"], back=True)
    return gains.standard_error(narrowed, rules["confidence"]) * math.sqrt(evidence["entities"] / entities)


def _assumed(rows: float, evaluate: EvaluateParams) -> float:
    """Standard error of the mean cost where two calibrated versions decide differently on a share q of independent rows.

    They differ near the threshold, where a row is positive with probability p = fp / (fn + fp) and either decision costs the
    same on average. Then the difference in cost is fn or fp with chances p and 1 - p, and its mean square is fn * fp; so
    the variance of a mean over n rows is q * fn * fp / n.
    """
    return math.sqrt(DIFFERING * evaluate.cost_false_negative * evaluate.cost_false_positive / rows)
