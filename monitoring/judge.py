"""The judgement of one window: from what was counted of it, and of those before it, to findings. No disk, no database.

The feed and the data are judged in the window itself; performance, the share of positives and bias in an earlier one, whose
labels are mature by now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from monitoring import changes, feed, findings, performance, target
from monitoring.drift import FEW_ROWS, Drift, Past, baseline_past, confirmed
from monitoring.drift import judge as judge_drift
from monitoring.findings import Finding
from monitoring.histograms import Histograms
from monitoring.reference import Reference
from pipelines.config.params import MonitorParams
from pipelines.statistics.resampling import Interval

OVER = ("warning", "drift")


@dataclass(frozen=True)
class Block:
    """An earlier window: its histograms by the watched version, and its verdict.

    above_limit: its drift score was above the control limit. alarmed: drift was confirmed. broken: it had a data incident, so
    nothing is compared with it. learnt: nothing in it is new, because the version was trained as of a later day, or because
    the state that it was quarantined for is part of the baseline now.
    """

    histograms: Histograms
    above_limit: bool = False
    alarmed: bool = False
    broken: bool = False
    trained_on: bool = False


@dataclass(frozen=True)
class Assessment:
    """What the rows of a window show: findings, the drift score, and whether drift is confirmed."""

    findings: list[Finding]
    drift: Drift
    alarm: bool


def assess(before: Sequence[Block], now: Histograms, reference: Reference, params: MonitorParams) -> Assessment:
    """Whether the window has a data incident, and whether the data drifted.

    Args:
        before: earlier windows, oldest first.
    """
    usable = [block for block in before if not block.broken]
    earlier = [block.histograms for block in usable]
    faults = feed.check_volume(now, earlier, params) if earlier else []
    faults += feed.check(now, earlier or [reference.training], reference.layout, params)
    above_limit, alarmed = [block.above_limit for block in usable], [block.alarmed for block in usable]
    past = baseline_past(above_limit, alarmed, params)
    taken = {place for place, block in enumerate(usable) if block.trained_on} - set(past.blocks)
    past = Past(sorted({*past.blocks, *taken}), past.accepted | taken)
    moved = changes.compare([*(block.histograms for block in usable), now], params.non_stationary_columns)
    drift = judge_drift(moved, now.rows, params, past)
    # what was new to an earlier version is known to this one
    news = [block.above_limit and not block.trained_on for block in usable]
    alarm = confirmed([*news, drift.above_limit], params)
    return Assessment([*faults, *findings.of_drift(drift, alarm, now.rows)], drift, alarm)


def empty() -> Assessment:
    """A window without rows, which is no incident by itself."""
    message = "No row came. Where that cannot be, see whether a load is missing."
    drift = Drift(FEW_ROWS, float("nan"), float("nan"), [], 0)
    return Assessment([Finding("info", "volume", message, 0, 0)], drift, alarm=False)


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
    """Keys of the newest consecutive windows above their control limits.

    Args:
        judged: key, and whether it was; oldest first, without the window that is judged.
    """
    keys = []
    for key, above_limit in reversed(judged):
        if not above_limit:
            break
        keys.append(key)
    return keys


def refute(findings: Sequence[Finding], fine: Sequence[str]) -> list[Finding]:
    """The findings, in which an estimated loss becomes a warning where mature labels contradict it.

    Args:
        fine: windows that had moved as this one has, and whose mature labels show no loss.
    """
    message = f"But the mature labels of {', '.join(fine)}, which had moved as well, show no loss."
    return [
        replace(finding, kind="warning", about=f"estimated {finding.about}", message=f"{finding.message} {message}")
        if fine and finding.kind == "estimated_loss"
        else finding
        for finding in findings
    ]


def shares(
    baseline_shares: Sequence[target.Block], now: target.Block, over: Sequence[bool], params: MonitorParams
) -> list[Finding]:
    """Whether the share of positives has moved.

    Args:
        over: whether each judged window before this one was over its bounds, oldest first.
    """
    confirms = confirmed([*over, True], params)
    return target.judge(baseline_shares, now, confirms, params)


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


def missing_shares(now: Histograms, reference: Reference) -> dict[str, dict[str, float]]:
    """Of every watched column the share of missing rows in a window, and in the version's training rows."""
    sides = {"missing": now, "missing_reference": reference.training}
    return {
        name: {key: round(side.column(name).missing / max(side.rows, 1), 6) for key, side in sides.items()}
        for name in reference.layout.columns
    }


def too_few(labelled: int, positives: int, params: MonitorParams) -> bool:
    """Whether mature labels are too few for any figure: of either kind."""
    return min(positives, labelled - positives) < params.min_positives
