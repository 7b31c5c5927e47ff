"""Losses that mature labels have shown, window after window: where one began, and whether a version has learnt what it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

from monitoring import store
from monitoring.findings import Finding
from monitoring.store import Verdict
from monitoring.subject import Subject

if TYPE_CHECKING:
    from monitoring.subject import Watch


def run_of(findings: Sequence[Finding], metric: str, verdicts: Mapping[str, Verdict], key: str) -> list[str]:
    """The windows up to this one, oldest first, that have shown a loss one after the other; this one is the last of them.

    One whose labels were not judged, since the champion had learnt what they show, does not end it.
    """
    shown = {finding.window for finding in findings if is_loss(finding, metric) or finding.about == "labels"}
    run = [key]
    keys = [verdict.window_key for verdict in verdicts.values() if verdict.row_count]
    for earlier in reversed(keys[: keys.index(key)]):
        if earlier not in shown:
            break
        run.append(earlier)
    return run[::-1]


def first_shifted(watch: Watch, verdicts: Mapping[str, Verdict], key: str) -> Verdict:
    """The first of the windows that have shown a loss one after the other, up to this one."""
    return verdicts[run_of(findings_of(verdicts), watch.params.evaluate.metric, verdicts, key)[0]]


def without_loss(
    watch: Watch, verdicts: Mapping[str, Verdict], findings: Sequence[Finding], keys: Sequence[str], judged_on: date
) -> list[str]:
    """Those of some windows whose mature labels were measured by a day, and showed no loss nor a suspicion of one.

    Args:
        findings: new ones, which no verdict has yet.
    """
    metric = watch.params.evaluate.metric
    lost = {finding.window for finding in [*findings, *findings_of(verdicts)] if is_loss(finding, metric)}
    measured = {
        performance.window_key
        for performance in store.performances(watch.url, watch.model)
        if performance.judged_on <= judged_on and metric in performance.metrics
    }
    return [key for key in keys if key in measured and key not in lost]


def has_seen(watch: Watch, subject: Subject, first: Verdict) -> bool:
    """Whether a version was trained when the labels of the first snapshot of a window were final."""
    return subject.as_of is None or subject.as_of >= seen_from(watch, subject, first)


def seen_from(watch: Watch, subject: Subject, verdict: Verdict) -> date:
    """The first day on which a retraining sees what a window shows: its first snapshot, the horizon and the embargo."""
    first = verdict.last_day if watch.params.monitor.snapshot_policy == "latest" else verdict.first_day
    return first + timedelta(days=subject.maturity_days)


def is_loss(finding: Finding, metric: str) -> bool:
    """Whether mature labels showed a loss, or a suspicion of one."""
    return finding.kind in ("loss", "warning") and finding.about == metric


def findings_of(verdicts: Mapping[str, Verdict]) -> list[Finding]:
    return [finding for verdict in verdicts.values() for finding in verdict.findings]
