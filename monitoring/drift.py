"""Is a window's change larger than the changes between this table's own baseline windows?

Blocks are whole windows of the past (months, say), never rows drawn at random: seasons, ageing and growth move a table that is
in control from one block to the next, and rows drawn at random would not show it.

1. A channel (monitoring/changes.py) is one statistic of one column. Its change between two windows is divided by what two
   independent samples of their sizes would show.
2. A window's change in a channel is the change to the *nearest* earlier baseline block. So a season that returns is not new,
   and a slow trend is judged by its last step, not by all that has added up since the training.
3. The same is done for each baseline block with the blocks before it. The logarithms of these changes give a channel its mean
   and its standard deviation. Few blocks make that uncertain, so its variance is shrunk towards the median channel's
   (`prior_windows` pseudo-blocks). A window's change is standardised with them.
4. A window's drift score is the largest standardised change of all channels: one test a window, however many columns. The
   same score of each baseline block, standardised without that block, gives n scores of a table in control.
5. The control limit is the upper prediction bound of the next score, mean + t(n - 1, 1 - alpha) sd sqrt(1 + 1/n) (Hahn &
   Meeker 1991, section 4.7): it widens by itself where history is short. It is never below the conformal bound (Vovk et
   al. 2005), the score of rank ceil((1 - alpha)(n + 1)), once n is large enough to have one.
6. The oldest blocks are left out while their score lies above the limit of those after them: a table that fills up
   (rolling sums of three months, say) is not in control yet.

A window raises an alarm when it and enough of the newest windows are above their limits (`alarm_count` of `alarm_span`), so
alarms are never more frequent than scores above the limit. After `rebaseline_after` alarms in a row the new state becomes the
baseline, and only what is new against it alarms again: by then its labels have shown whether it hurts. Not seen: a change no
faster than the baseline's own, and one in the shape of a non-stationary column. Performance and its estimate show whether
these do harm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.changes import ALL, Changes
from pipelines.config.params import MonitorParams

Floats = NDArray[np.float64]
SHORT_HISTORY, FEW_ROWS = "not enough baseline windows", "not enough rows"
SHOWN = 10  # channels kept as evidence


@dataclass(frozen=True)
class Drift:
    """The drift of a window.

    evidence: None, or why there can be no verdict; then the figures are NaN.
    score, threshold: of steps 4 and 5; largest: (column, channel, standardised change), the largest first.
    blocks: baseline blocks that the limit comes from.
    """

    evidence: str | None
    score: float
    threshold: float
    largest: list[tuple[str, str, float]]
    blocks: int

    @property
    def above_limit(self) -> bool:
        return self.evidence is None and self.score > self.threshold

    @property
    def columns(self) -> list[str]:
        """Columns with a channel beyond the threshold, the farthest first."""
        beyond = [column for column, _, change in self.largest if change > self.threshold and column != ALL]
        return list(dict.fromkeys(beyond))

    def to_dict(self) -> dict[str, Any]:
        figures = {} if self.evidence else {"score": round(self.score, 6), "threshold": round(self.threshold, 6)}
        largest = [{"column": column, "channel": kind, "change": round(change, 6)} for column, kind, change in self.largest]
        return {
            "evidence": self.evidence,
            "above_limit": self.above_limit,
            "blocks": self.blocks,
            **figures,
            "largest": largest,
        }


@dataclass(frozen=True)
class Past:
    """Which past windows the next one is compared with.

    blocks: their indices, oldest first; accepted: those among them that became the baseline after alarms, whose own change
    is none of a table in control.
    """

    blocks: list[int]
    accepted: frozenset[int]


def judge(changes: Changes, rows: int, params: MonitorParams, past: Past | None = None) -> Drift:
    """The verdict on the last window of `changes`, against the blocks of `past`; by default against all before it.

    Args:
        rows: of the last window.
    """
    last = changes.apart.shape[1] - 1
    past = past or Past(list(range(last)), frozenset())
    changes = changes.of([*past.blocks, last])
    blocks = len(past.blocks)
    lacking = FEW_ROWS if rows < params.min_rows else SHORT_HISTORY if blocks < params.min_baseline_windows else None
    if lacking:
        return Drift(lacking, float("nan"), float("nan"), [], blocks)
    steps = nearest(changes.apart)
    shown = [place for place, block in enumerate(past.blocks[1:]) if block not in past.accepted]
    baseline, scores = in_control(steps[:, shown], params)
    standardised = _standardise(steps[:, -1], baseline, params.prior_windows)
    order = np.argsort(-standardised)[:SHOWN]
    largest = [(*changes.channels[index], float(standardised[index])) for index in order]
    return Drift(None, largest[0][2], control_limit(scores, params.alpha), largest, baseline.shape[1])


def nearest(apart: Floats) -> Floats:
    """Logarithm of each window's change to the nearest before it, shape (channels, windows - 1): the first has none."""
    return np.log(np.array([apart[:, window, :window].min(axis=1) for window in range(1, apart.shape[1])]).T)


def in_control(baseline: Floats, params: MonitorParams) -> tuple[Floats, Floats]:
    """Baseline changes without those of a table that was filling up (step 6), and the scores of the rest (step 4)."""
    scores = _left_out_scores(baseline, params.prior_windows)
    while len(scores) > params.min_baseline_windows - 2 and scores[0] > control_limit(scores[1:], params.alpha):
        baseline = baseline[:, 1:]
        scores = _left_out_scores(baseline, params.prior_windows)
    return baseline, scores


def control_limit(scores: Floats, alpha: float) -> float:
    """The bound that the next score of a table in control exceeds with a probability of about `alpha` at most: step 5."""
    from scipy import stats

    n = len(scores)
    parametric = scores.mean() + stats.t.ppf(1 - alpha, n - 1) * scores.std(ddof=1) * math.sqrt(1 + 1 / n)
    rank = math.ceil((1 - alpha) * (n + 1))
    return float(max(parametric, np.sort(scores)[rank - 1] if rank <= n else -np.inf))


def confirmed(above_limit: Sequence[bool], params: MonitorParams) -> bool:
    """Whether the newest window (the last) raises an alarm: it is above its limit, with enough of those before it."""
    return bool(above_limit and above_limit[-1]) and sum(above_limit[-params.alarm_span :]) >= params.alarm_count


def baseline_past(above_limit: Sequence[bool], alarmed: Sequence[bool], params: MonitorParams) -> Past:
    """The past of the next window: blocks within their limits; warnings that the next window did not confirm; and a new state
    once it has alarmed `rebaseline_after` times in a row. A warning that is still open is left out.

    Windows with a data incident are not part of it: leave them out of the arguments, and of the changes that are judged.
    """
    blocks: list[int] = []
    accepted: set[int] = set()
    for first, end, over in _runs(above_limit):
        run = range(first, end)
        if not over or (end < len(above_limit) and not any(alarmed[first:end])):
            blocks += run
        elif sum(alarmed[first:end]) >= params.rebaseline_after:
            blocks += run
            accepted |= set(run)
    return Past(blocks, frozenset(accepted))


def _runs(flags: Sequence[bool]) -> list[tuple[int, int, bool]]:
    """Start, end (exclusive) and value of each stretch of equal flags."""
    starts = [at for at in range(len(flags)) if at == 0 or flags[at] != flags[at - 1]]
    return [(start, end, flags[start]) for start, end in zip(starts, [*starts, len(flags)][1:], strict=True)]


def _left_out_scores(baseline: Floats, prior_windows: float) -> Floats:
    """The score of each baseline block, by what the others show, shape (blocks,)."""
    every = range(baseline.shape[1])
    return np.array([_standardise(baseline[:, at], np.delete(baseline, at, axis=1), prior_windows).max() for at in every])


def _standardise(step: Floats, baseline: Floats, prior_windows: float) -> Floats:
    """Changes in standard deviations above the channels' baseline means, shape (channels,)."""
    freedom = baseline.shape[1] - 1
    variance = baseline.var(axis=1, ddof=1)
    moved = variance[variance > 1e-9]  # a channel that never moves says nothing about the others
    typical = float(np.median(moved)) if len(moved) else 1.0
    shrunk = (prior_windows * typical + freedom * variance) / (prior_windows + freedom)
    return (step - baseline.mean(axis=1)) / np.sqrt(shrunk)
