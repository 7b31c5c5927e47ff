"""What mature labels say of windows: measured when they are known, again when more become known, and judged once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from monitoring import findings, judge, losses, performance, store, windows
from monitoring.findings import Finding
from monitoring.stages import audit
from monitoring.store import Counts, Performance, Verdict
from monitoring.subject import Subject
from monitoring.windows import Window
from pipelines.data import postgres
from pipelines.registry import schema
from pipelines.scoring import outcomes
from pipelines.scoring.predictions import Run
from pipelines.scoring.score import ENTITY
from pipelines.statistics import fairness
from pipelines.statistics.resampling import Interval

if TYPE_CHECKING:
    from monitoring.subject import Watch


def learn(watch: Watch, subject: Subject, judged_on: date) -> None:
    """Pull what became known of the windows whose figures may still change, and judge those again that it changes."""
    if not subject.source.queries.outcomes.exists():
        return
    monitor = watch.params.monitor
    oldest = watch.window(judged_on - timedelta(days=subject.maturity_days))
    for _ in range(monitor.revisit):
        oldest = windows.before(oldest, monitor.window)
    pulled = outcomes.pull(subject.source, watch.url, watch.model, available_by=judged_on, as_of_from=oldest.first)
    if pulled.recorded:
        watch.say(f"{pulled.recorded:,} labels became known by {judged_on}.")
    newest: dict[tuple[str, int], Performance] = {}
    for measured in store.performances(watch.url, watch.model):
        newest.setdefault((measured.window_key, measured.version), measured)
    for verdict in store.verdicts(watch.url, watch.model):
        if not verdict.row_count:
            continue
        if verdict.first_day >= oldest.first and verdict.last_day + timedelta(days=subject.maturity_days) <= judged_on:
            _measure_anew(watch, verdict, newest.get((verdict.window_key, verdict.version)), judged_on)


def judge_mature(
    watch: Watch, subject: Subject, verdicts: Mapping[str, Verdict], judged_on: date, lasting: Sequence[str] = ()
) -> tuple[str | None, list[Finding]]:
    """Key of the newest window with mature labels, and what those of all windows say that nobody has said yet.

    The labels of a feed that was broken and is fixed say nothing about the model; those of a state that lasts, or has become
    the baseline, do. Those of an earlier champion's scores say something about this one where it has not seen what they show.

    Args:
        verdicts: on the windows before the one that is judged, by key, oldest first.
        lasting: of them those that were quarantined in the state that the window shows that is judged.
    """
    matured = (verdicts[key].last_day for verdict in verdicts.values() if (key := verdict.matured) and key in verdicts)
    judged_to = max(matured, default=date.min)
    ends = judged_on - timedelta(days=subject.maturity_days)
    news = [verdict for verdict in verdicts.values() if judged_to < verdict.last_day <= ends][
        -1 - watch.params.monitor.revisit :
    ]
    if not news:
        return None, []
    if not subject.source.queries.outcomes.exists():
        message = f"Nobody knows what came true of the scores: {subject.source.queries.outcomes.name} is missing."
        return news[-1].window_key, [Finding("insufficient", "labels", message, news[-1].row_count)]
    counted = {*lasting, *(key for verdict in verdicts.values() for key in verdict.figures.get("accepted", []))}
    collected: list[Finding] = []
    for verdict in news:
        if verdict.row_count and (not verdict.broken or verdict.window_key in counted):
            new = _judge(watch, subject, verdicts, verdict, judged_on, collected)
            collected += findings.of_window(new, verdict.window_key)
    return news[-1].window_key, collected


def _judge(
    watch: Watch,
    subject: Subject,
    verdicts: Mapping[str, Verdict],
    verdict: Verdict,
    judged_on: date,
    so_far: Sequence[Finding],
) -> list[Finding]:
    """What one window's mature labels say.

    Args:
        so_far: what those of earlier windows have just said.
    """
    newest = _known_on(watch, verdict, judged_on) or _measure_anew(watch, verdict, None, judged_on)
    collected, metric = _moved_positives(watch, subject, verdicts, newest), watch.params.evaluate.metric
    all_findings = [*so_far, *losses.findings_of(verdicts)]
    run = losses.run_of(all_findings, metric, verdicts, verdict.window_key)
    by, scorer = subject, ""
    if verdict.version != subject.version.version:
        if losses.has_seen(watch, subject, verdicts[run[0]]):
            message = f"{verdict.window_key} was scored by v{verdict.version}: its labels say nothing about {subject.version}."
            return [*collected, Finding("insufficient", "labels", message, newest.labelled)]
        by, scorer = watch.subject_of(verdict.version), f" of v{verdict.version}"
    lost: list[Finding] = []
    before = any(losses.is_loss(finding, metric) and finding.window in run[-2:-1] for finding in all_findings)
    for windows_together in (1, 2) if before else (1,):  # where it does not confirm a slim loss alone, both may together
        counts, figures, together = _enough(watch, by, verdicts, verdict, newest, judged_on, least=windows_together)
        judged = performance.judge(
            metric, by.reference.held_out, figures,
            rows=counts.labelled, positives=counts.positives, params=watch.params.monitor,
            before=before, what=f"{metric}{scorer}{together}",
        )  # fmt: skip
        is_shown = any(finding.kind == "loss" for finding in judged)
        lost = judged if is_shown or windows_together == 1 else lost
        if is_shown:
            break
    return [*lost, *collected, *(judge.bias(newest.groups) if by is subject else [])]


def _enough(
    watch: Watch,
    by: Subject,
    verdicts: Mapping[str, Verdict],
    verdict: Verdict,
    newest: Performance,
    judged_on: date,
    *,
    least: int = 1,
) -> tuple[Counts, dict[str, Interval], str]:
    """The labels of a window; where these are too few, with those of the windows before it, as many as it takes.

    Args:
        least: so many windows at least.

    Returns their number, the figures, of which that of the metric is there and may be NaN, and " of A to B together" or "".
    """
    metric = watch.params.evaluate.metric
    nothing: dict[str, Interval] = {metric: Interval(float("nan"), float("nan"), float("nan"))}
    counts = Counts(newest.labelled, newest.positives, newest.late)
    if metric in newest.metrics and least == 1:
        return counts, nothing | {name: Interval(**figure) for name, figure in newest.metrics.items()}, ""
    usable = (earlier for earlier in verdicts.values() if earlier.row_count and not earlier.broken)
    before = [earlier for earlier in usable if earlier.last_day < verdict.first_day]
    runs = watch.runs(_stretch(verdict), verdict.version)
    for earlier in before[: -1 - watch.params.monitor.revisit : -1]:
        if earlier.version != verdict.version:
            break
        runs += watch.runs(_stretch(earlier), earlier.version)
        pooled, figures, _ = measure(watch, by, runs, judged_on)
        if metric in figures:
            return pooled, nothing | figures, f" of {earlier.window_key} to {verdict.window_key} together"
    return counts, nothing, ""


def _stretch(verdict: Verdict) -> Window:
    return Window(verdict.window_key, verdict.first_day, verdict.last_day)


def measure(watch: Watch, subject: Subject, runs: Sequence[Run], judged_on: date) -> tuple[Counts, dict[str, Interval], Any]:
    """What the mature labels of a window say: how many they are, each metric, and the figures by protected group.

    The latter two are empty and None where there are too few labels, and of a sample where there are very many.
    """
    rows = subject.matured(runs, judged_on)
    labels = rows["label"].to_numpy().astype(np.int64)
    final_on = pc.add(rows["as_of"].cast(pa.date32()).cast(pa.int32()), subject.maturity_days)
    late = pc.sum(pc.greater(rows["available_at"].cast(pa.date32()).cast(pa.int32()), final_on)).as_py() or 0
    counts = Counts(labelled=len(labels), positives=int(labels.sum()), late=int(late))
    monitor, evaluation = watch.params.monitor, watch.params.evaluate
    if judge.too_few(counts.labelled, counts.positives, monitor):
        return counts, {}, None
    frame, threshold = (
        with_groups(subject, sampled(rows, monitor.max_rows_judged, evaluation.seed)),
        subject.reference.threshold,
    )
    label, score, entity = (frame[name].to_numpy() for name in ("label", "score", "entity"))
    metrics = performance.measure(label, score, entity, threshold, evaluation)
    protected = subject.source.data.protected
    groups = audit.measure(frame, threshold, protected, watch.params.audit, evaluation) if protected else None
    return counts, metrics, groups


def sampled(rows: pa.Table, most: int, seed: int) -> pa.Table:
    """At most so many of the rows, drawn evenly."""
    if rows.num_rows <= most:
        return rows
    return rows.take(pa.array(np.sort(np.random.default_rng(seed).choice(rows.num_rows, most, replace=False))))


def with_groups(subject: Subject, rows: pa.Table) -> pd.DataFrame:
    """entity (code), label, score, and the group of each row's entity on its day: one text column an attribute."""
    protected, parts = subject.source.data.protected, []
    rows = rows.sort_by("as_of")
    days = rows["as_of"].cast(pa.date32())
    if protected:
        everybody = subject.groups(sorted(set(days.to_pylist())))
        for day in sorted(set(days.to_pylist())):
            of_day = rows.filter(pc.equal(days, pa.scalar(day, pa.date32())))
            if day not in everybody:  # the source has lost them: their group is not known any more
                parts.append(pa.table({name: pa.nulls(of_day.num_rows, pa.string()) for name in protected}))
                continue
            people = everybody[day]
            place = pc.index_in(of_day["entity"].cast(pa.string()), people[ENTITY].cast(pa.string()).combine_chunks())
            parts.append(pa.table({name: people[name].cast(pa.string()).take(place) for name in protected}))
    joined = pa.concat_tables(parts) if parts else pa.table({name: pa.nulls(rows.num_rows, pa.string()) for name in protected})
    columns = {
        "entity": pd.factorize(rows["entity"].to_pandas())[0],
        "label": rows["label"].to_numpy().astype(np.int64),
        "score": rows["score"].to_numpy(),
    }
    return pd.DataFrame(columns | {f"group_{name}": fairness.group_values(name, joined[name]) for name in protected})


def _moved_positives(watch: Watch, subject: Subject, verdicts: Mapping[str, Verdict], now: Performance) -> list[Finding]:
    """Whether the share of positives left what it was in the training's snapshots, and in windows that were within them."""
    baseline_shares, over = list(subject.reference.positives.values()), []
    measured = {
        earlier.window_key: earlier
        for earlier in reversed(store.performances(watch.url, watch.model))
        if earlier.judged_on <= now.judged_on
    }
    for verdict in verdicts.values():
        key = verdict.matured or ""
        earlier_one = measured.get(key)
        if earlier_one is None or earlier_one.window_key == now.window_key or key not in verdicts:
            continue
        if verdicts[key].broken:
            continue
        over.append(any(finding.about == "target" and finding.kind in judge.OVER for finding in verdict.findings))
        is_trained_on = subject.as_of is not None and verdicts[key].last_day <= subject.as_of
        if not over[-1] and not is_trained_on:
            baseline_shares.append((earlier_one.positives, earlier_one.labelled))
    return judge.shares(baseline_shares, (now.positives, now.labelled), over, watch.params.monitor)


def _known_on(watch: Watch, verdict: Verdict, day: date) -> Performance | None:
    """What a window's labels had said by a day."""
    performances = store.performances(watch.url, watch.model, verdict.window_key, groups=True)
    return next(
        (measured for measured in performances if measured.version == verdict.version and measured.judged_on <= day), None
    )


def _measure_anew(watch: Watch, verdict: Verdict, before: Performance | None, judged_on: date) -> Performance:
    """The newest judgement of a window's labels: a new one where there was none, or labels were heard of since."""
    days = {"first_day": verdict.first_day, "last_day": verdict.last_day}
    if before is not None:
        with postgres.connect(watch.url) as ledger:
            news = schema.query(ledger, "news_of_labels", model=watch.model, since=before.recorded_at, **days)[0]["news"]
        if not news:
            return before
    subject = watch.subject_of(verdict.version)
    counts, metrics, groups = measure(watch, subject, watch.runs(_stretch(verdict), verdict.version), judged_on)
    if before is not None and (before.labelled, before.positives, before.late) == (
        counts.labelled,
        counts.positives,
        counts.late,
    ):
        return before
    figures = {name: figure.to_dict() for name, figure in metrics.items() if np.isfinite(figure.point)}
    return store.record_performance(watch.url, subject.version, verdict.window_key, judged_on, counts, figures, groups)
