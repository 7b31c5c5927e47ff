"""Findings -> one action a window.

| what was found | action |
|---|---|
| the feed is broken: volume, nulls, unknown values, a constant, a unit, a range | **block** |
| performance on mature labels is lost beyond `max_loss` | **retrain** |
| confirmed drift, and the estimated performance is lost beyond `max_loss` | **retrain** |
| bias beyond the margin | **review** by a person |
| confirmed drift that does not hurt; an estimated loss without drift | **note** |
| a first suspicion; not enough evidence; nothing | **nothing** |

The first line that fits wins. Nothing is retrained on a blocked window, and its scores are flagged. A retraining that may not
start now (one is under way, cooldown, budget) is held back: its action is **note**, and the next window that shows it asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from monitoring.findings import Finding
from pipelines.params import MonitorParams

Action = Literal["nothing", "note", "review", "retrain", "block"]
BUDGET_DAYS = 30


@dataclass(frozen=True)
class Past:
    """What retraining has done so far.

    started: when each retraining that drift or performance asked for was started, failed ones included.
    running: whether one is under way or asked for, by anybody.
    """

    started: Sequence[datetime]
    running: bool


@dataclass(frozen=True)
class Decision:
    """One action, why, and `held`: None, or why a retraining that was due has not been asked for."""

    action: Action
    why: str
    held: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def decide(findings: Sequence[Finding], past: Past, now: datetime, params: MonitorParams) -> Decision:
    """The action for one window. `now` is the time of the decision, in the time zone of `past.started`."""
    by_kind: dict[str, list[Finding]] = {}
    for finding in findings:
        by_kind.setdefault(finding.kind, []).append(finding)
    if broken := by_kind.get("feed"):
        return Decision("block", _say(broken))
    if reason := by_kind.get("loss") or _harmful_drift(by_kind):
        if held := hold(past, now, params):
            return Decision("note", _say(reason), held)
        return Decision("retrain", _say(reason))
    if biased := by_kind.get("bias"):
        return Decision("review", _say(biased))
    if noted := [*by_kind.get("drift", []), *by_kind.get("estimated_loss", [])]:
        return Decision("note", _say(noted))
    return Decision("nothing", _quiet(by_kind))


def hold(past: Past, now: datetime, params: MonitorParams) -> str | None:
    """Why no retraining may be asked for now, or None. So a hundred triggers start at most one."""
    if past.running:
        return "A retraining is under way already."
    if past.started:
        free = max(past.started) + timedelta(days=params.cooldown_days)
        if now < free:
            return f"The newest retraining started on {max(past.started):%Y-%m-%d}: the next may start on {free:%Y-%m-%d}."
    recent = [one for one in past.started if one > now - timedelta(days=BUDGET_DAYS)]
    if len(recent) >= params.retrainings_a_month:
        return f"{len(recent)} retrainings within {BUDGET_DAYS} days are the budget."
    return None


def _harmful_drift(by_kind: dict[str, list[Finding]]) -> list[Finding]:
    drift, estimated = by_kind.get("drift", []), by_kind.get("estimated_loss", [])
    return [*estimated, *drift] if drift and estimated else []


def _say(findings: Sequence[Finding]) -> str:
    more = f" And {len(findings) - 3} more." if len(findings) > 3 else ""
    return " ".join(finding.says for finding in findings[:3]) + more


def _quiet(by_kind: dict[str, list[Finding]]) -> str:
    told = [*by_kind.get("suspicion", []), *by_kind.get("insufficient", [])]
    return _say(told) if told else "Nothing moved beyond what quiet windows do."
