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


def run_of(found: Sequence[Finding], metric: str, known: Mapping[str, Verdict], key: str) -> list[str]:
    """The windows up to this one, oldest first, that have shown a loss one after the other; this one is the last of them.

    One whose labels were not judged, since the champion had learnt what they show, does not end it.
    """
    shown = {one.window for one in found if is_loss(one, metric) or one.about == "labels"}
    run = [key]
    keys = [one.window_key for one in known.values() if one.row_count]
    for earlier in reversed(keys[: keys.index(key)]):
        if earlier not in shown:
            break
        run.append(earlier)
    return run[::-1]


def first_shifted(watch: Watch, known: Mapping[str, Verdict], key: str) -> Verdict:
    """The first of the windows that have shown a loss one after the other, up to this one."""
    return known[run_of(findings_of(known), watch.params.evaluate.metric, known, key)[0]]


def without_loss(
    watch: Watch, known: Mapping[str, Verdict], found: Sequence[Finding], keys: Sequence[str], judged_on: date
) -> list[str]:
    """Those of some windows whose mature labels were measured by a day, and showed no loss nor a suspicion of one.

    Args:
        found: what has just been found, beside what the verdicts say.
    """
    metric = watch.params.evaluate.metric
    lost = {one.window for one in [*found, *findings_of(known)] if is_loss(one, metric)}
    measured = {
        one.window_key
        for one in store.performances(watch.url, watch.model)
        if one.judged_on <= judged_on and metric in one.metrics
    }
    return [key for key in keys if key in measured and key not in lost]


def has_seen(watch: Watch, subject: Subject, first: Verdict) -> bool:
    """Whether a version was trained when the labels of the first snapshot of a window were final."""
    return subject.as_of is None or subject.as_of >= seen_from(watch, subject, first)


def seen_from(watch: Watch, subject: Subject, verdict: Verdict) -> date:
    """The first day on which a retraining sees what a window shows: its first snapshot, the horizon and the embargo."""
    first = verdict.last_day if watch.params.monitor.of_window == "newest day" else verdict.first_day
    return first + timedelta(days=subject.maturity_days)


def is_loss(finding: Finding, metric: str) -> bool:
    """Whether mature labels showed a loss, or a suspicion of one."""
    return finding.kind in ("loss", "suspicion") and finding.about == metric


def findings_of(known: Mapping[str, Verdict]) -> list[Finding]:
    return [finding for verdict in known.values() for finding in verdict.findings]
