"""Is a window's change larger than this table's own quiet changes? Thresholds learnt from whole calendar blocks.

Blocks are whole windows of the past (months, say), never rows drawn at random: seasons, ageing and growth move a quiet
world from one block to the next, and rows drawn at random know nothing of that.

1. A channel (monitoring/changes.py) is one statistic of one column. Its change between two windows is divided by what two
   independent samples of their sizes would show.
2. A window's change in a channel is that to the *nearest* earlier quiet block. So a season that returns is not new, and
   a slow trend is judged by its last step, not by all that has added up since the training.
3. The same is done for each quiet block with the blocks before it. The logarithms of these quiet changes give a channel its
   mean and its standard deviation; as few blocks make that uncertain, its variance is shrunk towards the median channel's
   (`prior_blocks` pseudo-blocks). A window's change is standardised with them.
4. A window's score is the largest standardised change of all channels: one test a window, however many columns. The same
   score of each quiet block, standardised without that block, gives n scores of a quiet world.
5. The threshold is the upper prediction bound of the next score, mean + t(n - 1, 1 - alpha) sd sqrt(1 + 1/n) (Hahn &
   Meeker 1991, section 4.7): it widens by itself where history is short. It is never less than the conformal bound (Vovk et
   al. 2005), the score of rank ceil((1 - alpha)(n + 1)), once n is large enough to have one.
6. The oldest blocks are left out while their score lies above the bound of those after them: a table that fills up
   (rolling sums of three months, say) does not show what quiet is.

A window raises an alarm when `confirm` of the newest `within`, it among them, are over their thresholds; so alarms are
never more frequent than scores over the threshold. After `accept` alarms in a row the new world is taken as it is, and only
what is new against it alarms again: by then its labels have said whether it hurts. What this cannot see: a change no faster
than the quiet history's own, and one in the shape of a trending column. Whether these do harm is for performance and its
estimate to show.
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
SHORT_HISTORY, FEW_ROWS = "not enough quiet history", "not enough rows"
SHOWN = 10  # channels kept as evidence


@dataclass(frozen=True)
class Novelty:
    """How new a window is.

    evidence: None, or why there can be no verdict; then nothing is exceeded and the figures are NaN.
    score, threshold: of steps 4 and 5; largest: (column, channel, standardised change), the largest first.
    blocks: quiet blocks that the threshold comes from.
    """

    evidence: str | None
    score: float
    threshold: float
    largest: list[tuple[str, str, float]]
    blocks: int

    @property
    def exceeds(self) -> bool:
        return self.evidence is None and self.score > self.threshold

    @property
    def columns(self) -> list[str]:
        """Columns with a channel beyond the threshold, the farthest first."""
        beyond = [column for column, _, change in self.largest if change > self.threshold and column != ALL]
        return list(dict.fromkeys(beyond))

    def to_dict(self) -> dict[str, Any]:
        figures = {} if self.evidence else {"score": round(self.score, 6), "threshold": round(self.threshold, 6)}
        largest = [{"column": column, "channel": kind, "change": round(change, 6)} for column, kind, change in self.largest]
        return {"evidence": self.evidence, "exceeds": self.exceeds, "blocks": self.blocks, **figures, "largest": largest}


@dataclass(frozen=True)
class Past:
    """Which past windows the next one is compared with.

    blocks: their indices, oldest first; accepted: those among them that are a new world taken as it is, whose own change
    was none of a quiet world.
    """

    blocks: list[int]
    accepted: frozenset[int]


def judge(changes: Changes, rows: int, params: MonitorParams, past: Past | None = None) -> Novelty:
    """The verdict on the last window of `changes`, against the blocks of `past`; by default against all before it.

    Args:
        rows: of the last window.
    """
    last = changes.apart.shape[1] - 1
    past = past or Past(list(range(last)), frozenset())
    changes = changes.of([*past.blocks, last])
    blocks = len(past.blocks)
    lacking = FEW_ROWS if rows < params.min_rows else SHORT_HISTORY if blocks < params.min_blocks else None
    if lacking:
        return Novelty(lacking, float("nan"), float("nan"), [], blocks)
    steps = nearest(changes.apart)
    shown = [place for place, block in enumerate(past.blocks[1:]) if block not in past.accepted]
    quiet, scores = settled(steps[:, shown], params)
    standardised = _standardise(steps[:, -1], quiet, params.prior_blocks)
    order = np.argsort(-standardised)[:SHOWN]
    largest = [(*changes.channels[index], float(standardised[index])) for index in order]
    return Novelty(None, largest[0][2], quiet_bound(scores, params.alpha), largest, quiet.shape[1])


def nearest(apart: Floats) -> Floats:
    """Logarithm of each window's change to the nearest before it, shape (channels, windows - 1): the first has none."""
    return np.log(np.array([apart[:, window, :window].min(axis=1) for window in range(1, apart.shape[1])]).T)


def settled(quiet: Floats, params: MonitorParams) -> tuple[Floats, Floats]:
    """Quiet changes without those of a table that was filling up (step 6), and the scores of what is left (step 4)."""
    scores = _left_out_scores(quiet, params.prior_blocks)
    while len(scores) > params.min_blocks - 2 and scores[0] > quiet_bound(scores[1:], params.alpha):
        quiet = quiet[:, 1:]
        scores = _left_out_scores(quiet, params.prior_blocks)
    return quiet, scores


def quiet_bound(scores: Floats, alpha: float) -> float:
    """What the next of some quiet scores exceeds with a probability of at most about `alpha`: step 5."""
    from scipy import stats

    n = len(scores)
    parametric = scores.mean() + stats.t.ppf(1 - alpha, n - 1) * scores.std(ddof=1) * math.sqrt(1 + 1 / n)
    rank = math.ceil((1 - alpha) * (n + 1))
    return float(max(parametric, np.sort(scores)[rank - 1] if rank <= n else -np.inf))


def confirmed(exceeded: Sequence[bool], params: MonitorParams) -> bool:
    """Whether the newest window (the last) raises an alarm: it exceeds, as the `confirm`-th of the newest `within`."""
    return bool(exceeded and exceeded[-1]) and sum(exceeded[-params.within :]) >= params.confirm


def quiet_past(exceeded: Sequence[bool], alarmed: Sequence[bool], params: MonitorParams) -> Past:
    """The past of the next window: blocks that did not exceed; those whose suspicion the window after them did not share;
    and a new world once it has alarmed `accept` times in a row. A suspicion that is still open is left out.

    Windows whose feed was broken are none: leave them out of `exceeded` and `alarmed`, and of the changes that are judged.
    """
    blocks, accepted = [], set()
    for first, end, over in _runs(exceeded):
        run = range(first, end)
        if not over or (end < len(exceeded) and not any(alarmed[first:end])):
            blocks += run
        elif sum(alarmed[first:end]) >= params.accept:
            blocks += run
            accepted |= set(run)
    return Past(blocks, frozenset(accepted))


def _runs(flags: Sequence[bool]) -> list[tuple[int, int, bool]]:
    """Start, end (exclusive) and value of each stretch of equal flags."""
    starts = [at for at in range(len(flags)) if at == 0 or flags[at] != flags[at - 1]]
    return [(start, end, flags[start]) for start, end in zip(starts, [*starts, len(flags)][1:], strict=True)]


def _left_out_scores(quiet: Floats, prior_blocks: float) -> Floats:
    """The score of each quiet block by what was learnt without it, shape (blocks,)."""
    every = range(quiet.shape[1])
    return np.array([_standardise(quiet[:, at], np.delete(quiet, at, axis=1), prior_blocks).max() for at in every])


def _standardise(step: Floats, quiet: Floats, prior_blocks: float) -> Floats:
    """Changes in standard deviations above the channels' quiet means, shape (channels,)."""
    freedom = quiet.shape[1] - 1
    variance = quiet.var(axis=1, ddof=1)
    moved = variance[variance > 1e-9]  # a channel that never moves says nothing about the others
    typical = float(np.median(moved)) if len(moved) else 1.0
    shrunk = (prior_blocks * typical + freedom * variance) / (prior_blocks + freedom)
    return (step - quiet.mean(axis=1)) / np.sqrt(shrunk)
