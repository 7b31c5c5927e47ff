"""One window from the ledger to its verdict: what was scored, what came before, what the labels say by now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import numpy as np

from monitoring import decide, estimate, findings, histograms, judge, labels, losses, quarantine, store, windows
from monitoring.findings import Finding
from monitoring.histograms import Histograms
from monitoring.judge import Block
from monitoring.quarantine import Judged
from monitoring.store import Judgement, Verdict
from monitoring.subject import Subject, Watch, of_api
from monitoring.windows import Window
from pipelines.config.errors import EvergreenError
from pipelines.registry import ledger
from pipelines.scoring.predictions import Run
from pipelines.statistics.resampling import Interval

EMPTY = 3  # windows without a row, one after the other: the source begins after them


def judge_window(watch: Watch, window: Window, *, judged_on: date, version: int | None = None, force: bool = False) -> Verdict:
    """The verdict on a window, kept in the ledger; the one that it has, if it was judged before.

    Args:
        judged_on: the day whose knowledge counts.
        version: whose scores are judged; by default those of who was champion.
        force: judge it once more.

    Raises:
        EvergreenError: nothing was scored in it, or a window of the model is being judged by somebody else.
    """
    with store.one_at_a_time(watch.url, watch.model):
        verdicts = {verdict.window_key: verdict for verdict in store.verdicts(watch.url, watch.model)}
        if (before := verdicts.get(window.key)) and not force:
            labels.learn(watch, watch.subject_of(before.version), judged_on)
            return before
        subject, runs, counted = _scored(watch, window, version)
        labels.learn(watch, subject, judged_on)
        past = {key: verdict for key, verdict in verdicts.items() if verdict.last_day < window.first}
        judged = _judgement(watch, subject, window, runs, counted, past, judged_on)
        return store.record_verdict(watch.url, subject.version, window, judged)


def _scored(watch: Watch, window: Window, version: int | None) -> tuple[Subject, list[Run], Histograms | None]:
    """Who scored a window, its runs, and what was counted of it: None where it has no row, and needs no run then.

    Raises:
        EvergreenError: it has rows and nobody scored them, or they were scored and have gone.
    """
    runs = store.runs_of(watch.url, watch.model, window, version)
    if runs:
        runs = watch.runs(window, version)
        subject = watch.subject_of(runs[-1].version)
        counted = _counted(watch, subject, window)
        if counted is None and any(run.row_count for run in runs):
            raise EvergreenError(f"The rows that were scored in {window.key} are not in the source any more: score them again.")
        return subject, runs, counted
    champion = ledger.champion(watch.url, watch.model)
    number = version or (champion.version if champion else None)
    if number is None or not is_empty(watch, watch.subject_of(number), window):
        watch.runs(window, version)  # says what to do
    assert number is not None
    return watch.subject_of(number), [], None


def is_empty(watch: Watch, subject: Subject, window: Window) -> bool:
    """Whether the source has no row for a window to judge. A table without time always has some."""
    every_day = watch.params.monitor.snapshot_policy == "every"
    return subject.as_of is not None and not any(map(subject.has_rows, window.days if every_day else [window.last]))


def _judgement(
    watch: Watch,
    subject: Subject,
    window: Window,
    runs: Sequence[Run],
    now: Histograms | None,
    verdicts: Mapping[str, Verdict],
    judged_on: date,
) -> Judgement:
    """What is found in a window, and the action that it leads to."""
    monitor = watch.params.monitor
    rows = now.rows if now else 0
    assessment = (
        judge.assess(earlier(watch, subject, window, verdicts), now, subject.reference, monitor) if now else judge.empty()
    )
    expected, estimated = _estimated(watch, subject, runs) if now else ({}, [])
    window_findings = [*(_gap(window, runs[-1], watch, rows) if now else []), *assessment.findings, *estimated]
    before = [
        Judged(verdict.window_key, verdict.broken, verdict.findings) for verdict in verdicts.values() if verdict.row_count
    ]
    lasting = quarantine.lasting(before, window_findings)
    matured, of_labels = labels.judge_mature(watch, subject, verdicts, judged_on, lasting)
    moved = judge.moved_before(
        [(verdict.window_key, verdict.above_limit) for verdict in verdicts.values() if verdict.row_count]
    )
    window_findings = judge.refute(window_findings, losses.without_loss(watch, verdicts, of_labels, moved, judged_on))
    all_findings = [*findings.of_window(window_findings, window.key), *of_labels]
    moment = datetime.combine(judged_on, time(), UTC)
    decision = decide.decide(all_findings, store.past(watch.url, watch.model, judged_on), moment, monitor, lasting)
    figures = {
        "metric": watch.params.evaluate.metric,
        "owner": watch.params.owner,
        "final_on": str(window.last + timedelta(days=subject.maturity_days)),
        "seen_from": _seen_from(watch, subject, all_findings, verdicts),
        "accepted": [*lasting, window.key] if decision.escalated else [],
        "estimate": {name: figure.to_dict() for name, figure in expected.items() if np.isfinite(figure.point)},
        "drift": assessment.drift.to_dict(),
        "statistics": judge.missing_shares(now, subject.reference) if now else {},
        "runs": [run.run_key for run in runs],
        "judged_by": watch.run_id,
    }
    return Judgement(judged_on, rows, assessment.drift.above_limit, assessment.alarm, decision, matured, all_findings, figures)


def _seen_from(
    watch: Watch, subject: Subject, window_findings: Sequence[Finding], verdicts: Mapping[str, Verdict]
) -> dict[str, str]:
    """Where mature labels show a loss: the first window that shows it, and the day from which on a retraining can see it."""
    lost = [finding.window for finding in window_findings if finding.kind == "loss" and finding.window in verdicts]
    if not lost:
        return {}
    first = losses.first_shifted(watch, verdicts, lost[0])
    return {"window": first.window_key, "day": str(losses.seen_from(watch, subject, first))}


def earlier(watch: Watch, subject: Subject, window: Window, verdicts: Mapping[str, Verdict]) -> list[Block]:
    """The windows before one, oldest first, as the version's layout counts them, up to where the source begins."""
    blocks: list[Block] = []
    accepted = {key for judged in verdicts.values() for key in judged.figures.get("accepted", [])}
    empty = 0
    for _ in range(watch.params.monitor.history):
        window = windows.before(window, watch.params.monitor.window)
        counted = _counted(watch, subject, window)
        if counted is None:
            empty += window.key not in verdicts  # one that was judged is known to have had none
            if empty == EMPTY:
                break
            continue
        empty = 0
        verdict = verdicts.get(window.key)
        is_trained_on = subject.as_of is not None and window.last <= subject.as_of
        flags = (verdict.above_limit, verdict.alarmed, verdict.broken) if verdict else (False, False, False)
        blocks.append(Block(counted, *flags, trained_on=is_trained_on))
        if window.key in accepted:  # the state that it was quarantined for is the baseline
            blocks[-1] = replace(blocks[-1], broken=False, trained_on=True)
    return _accepted(blocks)[::-1]


def _accepted(blocks: list[Block]) -> list[Block]:
    """Newest first: a feed that was blocked up to the day that the version was trained as of is its world, and not broken.

    A fault that was over before is still one: nobody trained on it on purpose.
    """
    trained_on = [place for place, block in enumerate(blocks) if block.trained_on]
    for place in trained_on:
        if not blocks[place].broken:
            break
        blocks[place] = replace(blocks[place], broken=False)
    return blocks


def _gap(window: Window, run: Run, watch: Watch, rows: int) -> list[Finding]:
    """That the newest day scored is not the window's last: what happened after it, nobody knows."""
    days = (window.last - run.as_of).days
    if days <= watch.params.monitor.max_age_days:
        return []
    message = f"{window.key} was scored last on {run.as_of}, {days} days before its end: what came after that is not judged."
    return [Finding("insufficient", "freshness", message, rows, days, watch.params.monitor.max_age_days)]


def _counted(watch: Watch, subject: Subject, window: Window) -> Histograms | None:
    """A window before, from what was scored in it or else from the source as it was known then; None where there is nothing.

    A table without time has only what was scored: what it looked like on another day, nobody can say.
    """
    runs = {run.as_of: run for run in store.runs_of(watch.url, watch.model, window, subject.version.version)}
    if of_api(runs.values()):
        days = list(runs)  # on the others nobody asked
    elif watch.params.monitor.snapshot_policy == "every":
        days = window.days
    else:
        days = [max(runs, default=window.last)]
    parts = subject.profiles([day for day in days if day in runs or subject.as_of], runs)
    counted = histograms.merge(parts) if parts else None
    return counted if counted and counted.rows else None


def _estimated(watch: Watch, subject: Subject, runs: Sequence[Run]) -> tuple[dict[str, Interval], list[Finding]]:
    calibration = subject.reference.calibration
    counts = sum(
        (calibration.count(scores) for scores in subject.scores(runs)), np.zeros(len(calibration.centres), dtype=np.int64)
    )
    expected = estimate.expect(calibration, counts, watch.params.evaluate)
    positives, metric = float(counts @ calibration.point), watch.params.evaluate.metric
    return expected, judge.estimated(expected, subject.reference, int(counts.sum()), positives, metric, watch.params.monitor)
