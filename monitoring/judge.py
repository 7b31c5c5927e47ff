"""The judgement of one window: from what was counted of it, and of those before it, to findings. No disk, no database.

The feed and the data are judged in the window itself; performance, the share of positives and bias in an earlier one, whose
labels are mature by now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from monitoring import changes, feed, findings, performance, quiet, target
from monitoring.drift import statistics
from monitoring.findings import Finding
from monitoring.histograms import Histograms
from monitoring.quiet import Novelty
from monitoring.reference import Reference
from pipelines.config.params import MonitorParams
from pipelines.statistics.resampling import Interval

OVER = ("suspicion", "drift")


@dataclass(frozen=True)
class Block:
    """An earlier window, by the histograms of the version that is watched, and what was said of it.

    exceeded: its change was beyond the threshold; alarmed: drift was confirmed in it; broken: its feed was, so it is compared
    with nothing; learnt: nothing in it is new, since the version was trained as of a later day, or since the state that it was
    quarantined for has been taken as the baseline.
    """

    histograms: Histograms
    exceeded: bool = False
    alarmed: bool = False
    broken: bool = False
    learnt: bool = False


@dataclass(frozen=True)
class Look:
    """What the rows of a window show."""

    found: list[Finding]
    novelty: Novelty
    alarm: bool


def look(before: Sequence[Block], now: Histograms, reference: Reference, params: MonitorParams) -> Look:
    """Whether the feed is broken, and whether the data moved.

    Args:
        before: earlier windows, oldest first.
    """
    usable = [block for block in before if not block.broken]
    earlier = [block.histograms for block in usable]
    faults = feed.check_volume(now, earlier, params) if earlier else []
    faults += feed.check(now, earlier or [reference.training], reference.layout, params)
    exceeded, alarmed = [block.exceeded for block in usable], [block.alarmed for block in usable]
    past = quiet.quiet_past(exceeded, alarmed, params)
    taken = {place for place, block in enumerate(usable) if block.learnt} - set(past.blocks)
    past = quiet.Past(sorted({*past.blocks, *taken}), past.accepted | taken)
    moved = changes.compare([*(block.histograms for block in usable), now], params.trending)
    novelty = quiet.judge(moved, now.rows, params, past)
    news = [block.exceeded and not block.learnt for block in usable]  # what an earlier version suspected, this one has learnt
    alarm = quiet.confirmed([*news, novelty.exceeds], params)
    return Look([*faults, *findings.of_novelty(novelty, alarm, now.rows)], novelty, alarm)


def empty() -> Look:
    """Of a window without a row, which is no fault: nobody came."""
    says = "No row came. Where that cannot be, see whether a load is missing."
    novelty = Novelty(quiet.FEW_ROWS, float("nan"), float("nan"), [], 0)
    return Look([Finding("info", "volume", says, 0, 0)], novelty, alarm=False)


def estimated(
    expected: Mapping[str, Interval], reference: Reference, rows: int, positives: float, metric: str, params: MonitorParams
) -> list[Finding]:
    """Whether the estimate of a window says that performance is lost.

    Args:
        expected: of the window, by monitoring.estimate; positives: how many it expects.
    """
    if metric not in reference.expected:
        return []
    return performance.judge(
        metric, reference.expected, expected, rows=rows, positives=positives, params=params, estimated=True
    )  # fmt: skip


def moved_before(judged: Sequence[tuple[str, bool]]) -> list[str]:
    """Keys of the newest windows that were over their thresholds one after the other.

    Args:
        judged: key, and whether it was; oldest first, without the window that is judged.
    """
    found = []
    for key, exceeded in reversed(judged):
        if not exceeded:
            break
        found.append(key)
    return found


def refute(found: Sequence[Finding], fine: Sequence[str]) -> list[Finding]:
    """The findings, in which a loss that is only estimated is a suspicion where mature labels say otherwise.

    Args:
        fine: windows that had moved as this one has, and whose mature labels show no loss.
    """
    says = f"But the mature labels of {', '.join(fine)}, which had moved as well, show no loss."
    return [
        replace(one, kind="suspicion", about=f"estimated {one.about}", says=f"{one.says} {says}")
        if fine and one.kind == "estimated_loss"
        else one
        for one in found
    ]


def shares(
    quiet_shares: Sequence[target.Block], now: target.Block, over: Sequence[bool], params: MonitorParams
) -> list[Finding]:
    """Whether the share of positives has moved.

    Args:
        over: whether each judged window before this one was over its bounds, oldest first.
    """
    confirms = quiet.confirmed([*over, True], params)
    return target.judge(quiet_shares, now, confirms, params)


def bias(measured: Mapping[str, Any] | None) -> list[Finding]:
    """The groups that are shown to be treated worse (`monitoring.stages.audit.measure`); one finding a group and measure."""
    if measured is None:
        return []
    return [
        Finding(
            "bias",
            f"{harm['attribute']}: {harm['group']}",
            f"{harm['measure']} of {harm['attribute']} {harm['group']} is {harm['point']:+.3f} [{harm['low']:+.3f}, "
            f"{harm['high']:+.3f}] against everybody else; {harm['limit']:.3g} is what may be.",
            measured["whole"]["rows"],
            harm["low"],
            harm["limit"],
            dict(harm),
        )
        for harm in measured["verdict"]["harmed"]
    ]


def against_training(now: Histograms, reference: Reference) -> dict[str, dict[str, float | None]]:
    """Of every watched column the distances between a window and the version's training rows; None where there is none."""
    found = {}
    for name in reference.layout.columns:
        values = statistics(reference.training.column(name), now.column(name), reference.layout, name)
        found[name] = {key: round(value, 6) if value == value else None for key, value in values.items()}
    return found


def too_few(labelled: int, positives: int, params: MonitorParams) -> bool:
    """Whether mature labels are too few for any figure: of either kind."""
    return min(positives, labelled - positives) < params.min_positives
