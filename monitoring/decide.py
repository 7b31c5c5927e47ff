"""Findings -> one action a window, and whatever else its findings ask for.

| what was found | action |
|---|---|
| the feed is broken: nulls, a constant, a unit, an encoding, swapped columns | **quarantine** |
| performance on mature labels is lost beyond `max_loss` | **retrain** |
| confirmed drift, and the estimated performance is lost, which no mature label contradicts | **retrain** |
| bias beyond the margin | **review** by a person |
| confirmed drift that does not hurt; an estimated loss without drift; what is worth knowing | **info** |
| a first warning; not enough evidence; nothing | **none** |

The first line that fits is the action; `why` says all that asks for something, and `asks` names it. A quarantine does not last
for ever: it escalates once `quarantine_windows` in a row were in the same new state of the feed, or once the labels of one of
them show a loss. `escalate` says whether to a retraining or to a person; the new state then is the baseline.

A retraining that may not start now (one is under way, cooldown, budget, a feed that is broken just now) is held back, and the
next window that shows it asks again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from monitoring.findings import Finding
from pipelines.config.params import MonitorParams

Action = Literal["none", "info", "review", "retrain", "quarantine"]
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
    """One action, and why.

    held: None, or why a retraining that is due has not been asked for.
    escalated: whether a quarantine ends here: its windows and this one are the baseline of those to come.
    """

    action: Action
    why: str
    suppressed: str | None = None
    escalated: bool = False


def decide(
    findings: Sequence[Finding], past: Past, now: datetime, params: MonitorParams, lasting: Sequence[str] = ()
) -> Decision:
    """The action for one window.

    Args:
        now: the time of the decision, in the time zone of `past.started`.
        lasting: keys of the windows before that were quarantined in the state that this one shows (monitoring/quarantine.py).
    """
    by_kind: dict[str, list[Finding]] = {}
    for finding in findings:
        by_kind.setdefault(finding.kind, []).append(finding)
    lost, biased = by_kind.get("loss", []), by_kind.get("bias", [])
    if broken := by_kind.get("data_incident"):
        return _on_fault(broken, lost, biased, lasting, hold(past, now, params), params)
    if reason := lost or _harmful_drift(by_kind):
        return _retrain(reason, biased, hold(past, now, params))
    if biased:
        return Decision("review", _say(biased))
    if noted := [finding for kind in ("drift", "estimated_loss", "info") for finding in by_kind.get(kind, [])]:
        return Decision("info", _say(noted))
    return Decision("none", _quiet(by_kind))


def asks(findings: Sequence[Finding], action: str, suppressed: str | None) -> list[str]:
    """Everything that a window asks a person or a retraining for, its action first; empty where it asks for nothing."""
    wishes = [action] if action in ("quarantine", "review", "retrain") else []
    wishes += ["retrain"] if suppressed else []
    wishes += ["review"] if any(finding.kind == "bias" for finding in findings) else []
    return list(dict.fromkeys(wishes))


def hold(past: Past, now: datetime, params: MonitorParams) -> str | None:
    """Why no retraining may be asked for now, or None. So a hundred triggers start at most one."""
    if past.running:
        return "A retraining is under way already."
    if past.started:
        free = max(past.started) + timedelta(days=params.cooldown_days)
        if now < free:
            return f"The newest retraining started on {max(past.started):%Y-%m-%d}: the next may start on {free:%Y-%m-%d}."
    recent = [start for start in past.started if start > now - timedelta(days=BUDGET_DAYS)]
    if len(recent) >= params.retrainings_a_month:
        return f"{len(recent)} retrainings within {BUDGET_DAYS} days are the budget."
    return None


def _on_fault(
    broken: list[Finding],
    lost: list[Finding],
    biased: list[Finding],
    lasting: Sequence[str],
    suppressed: str | None,
    params: MonitorParams,
) -> Decision:
    """A quarantine, or its end."""
    hurts = [finding for finding in lost if finding.window in lasting]
    sentence = _say(hurts, broken, biased)
    if not hurts and len(lasting) < params.quarantine_windows:
        waits = "There is a data incident in this window: the next one without asks for it." if lost else None
        return Decision("quarantine", _say(broken, lost, biased), waits)
    because = "its mature labels show a loss" if hurts else f"it has lasted for {len(lasting) + 1} windows"
    why = f"The new state of the data is not temporary: {because}. {sentence}"
    if params.escalate == "review":
        return Decision("review", why, escalated=True)
    return Decision("quarantine", why, suppressed) if suppressed else Decision("retrain", why, escalated=True)


def _retrain(lost: list[Finding], biased: list[Finding], suppressed: str | None) -> Decision:
    if suppressed:
        return Decision("review" if biased else "info", _say(lost, biased), suppressed)
    return Decision("retrain", _say(lost, biased))


def _harmful_drift(by_kind: dict[str, list[Finding]]) -> list[Finding]:
    drift, estimated = by_kind.get("drift", []), by_kind.get("estimated_loss", [])
    return [*estimated, *drift] if drift and estimated else []


def _say(*several: Sequence[Finding]) -> str:
    """What was found, of each kind the first three; each said to be of its window."""
    return " ".join(part for findings in several if findings for part in _sentences(findings))


def _sentences(findings: Sequence[Finding]) -> list[str]:
    more = [f"And {len(findings) - 3} more."] if len(findings) > 3 else []
    return [*(f"{finding.window}: {finding.message}" if finding.window else finding.message for finding in findings[:3]), *more]


def _quiet(by_kind: dict[str, list[Finding]]) -> str:
    notable = [*by_kind.get("warning", []), *by_kind.get("insufficient", [])]
    return _say(notable) if notable else "Nothing moved beyond what baseline windows do."
