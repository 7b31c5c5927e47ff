"""Has the share of positives moved, where labels are mature? Drift of the target, judged by its own quiet blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from monitoring.findings import Finding
from pipelines.config.params import MonitorParams

Block = tuple[int, int]  # positives and rows with mature labels


def above_limit(baseline: Sequence[Block], now: Block, params: MonitorParams) -> tuple[float, float, float] | None:
    """The share's standardised distance from the quiet ones, and the two shares between which it stays in a quiet world.

    The logits of the quiet shares are taken as normal; the bounds are their two-sided prediction interval at `alpha` (Hahn &
    Meeker 1991, section 4.7). Their spread holds seasons as well as chance; what chance adds in a window smaller than the
    quiet ones is added. None where there is too little evidence: few rows, few positives or few blocks.
    """
    from scipy import stats

    if len(baseline) < params.min_baseline_windows or now[1] < params.min_rows or now[0] < params.min_positives:
        return None
    logits = np.array([_logit(block) for block in baseline])
    usual = float(np.mean([_chance(block) for block in baseline]))
    spread = math.sqrt(logits.var(ddof=1) * (1 + 1 / len(baseline)) + max(_chance(now) - usual, 0.0))
    reach = float(stats.t.ppf(1 - params.alpha / 2, len(baseline) - 1)) * spread
    low, high = (1 / (1 + math.exp(-(logits.mean() + side * reach))) for side in (-1, 1))
    return abs(_logit(now) - float(logits.mean())) / spread, low, high


def judge(baseline: Sequence[Block], now: Block, before: bool, params: MonitorParams) -> list[Finding]:
    """Nothing, a suspicion, or drift of the target where the window before was over its bounds as well.

    Args:
        before: whether the windows before make this one the confirming one (monitoring.drift.confirmed).
    """
    bounds = above_limit(baseline, now, params)
    if bounds is None:
        message = f"The share of positives cannot be judged: {now[1]:,} mature rows, {now[0]:,} of them positive."
        return [Finding("insufficient", "target", message, now[1], evidence={"blocks": len(baseline)})]
    score, low, high = bounds
    share = now[0] / now[1]
    if low <= share <= high:
        return []
    message = f"{share:.1%} of the mature labels are positive; in baseline windows {low:.1%} to {high:.1%}."
    return [
        Finding(
            "drift" if before else "warning", "target", message, now[1], share, high if share > high else low, {"score": score}
        )
    ]


def _logit(block: Block) -> float:
    positives, rows = block
    return math.log((positives + 0.5) / (rows - positives + 0.5))


def _chance(block: Block) -> float:
    """Sampling variance of the logit."""
    positives, rows = block
    return 1 / (positives + 0.5) + 1 / (rows - positives + 0.5)
