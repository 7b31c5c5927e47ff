"""The flow `monitor`: one verdict for every window that has ended, and what follows from it."""

from __future__ import annotations

from datetime import date
from typing import Any, cast

from prefect import flow, get_run_logger, task
from prefect.context import FlowRunContext
from prefect.runtime import flow_run

from flows import ending, events, reports, score, watching
from flows.ending import explained
from flows.execution.local import REPEATED
from monitoring import feed, store, windows
from monitoring.findings import Finding
from monitoring.store import Verdict
from monitoring.subject import Watch
from monitoring.watch import is_empty, judge_window
from monitoring.windows import Window
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.config.settings import load as load_settings
from pipelines.registry import ledger


def _run_name() -> str:
    return f"monitor-{flow_run.parameters.get('window') or 'newest'}"


@flow(name="monitor", flow_run_name=_run_name, persist_result=False)
@explained
def monitor(window: str | None = None, force: bool = False) -> Any:
    """One verdict for every window that has ended: feed, drift, performance, bias; then note, ask for a person, block, or ask
    for a retraining.

    A window that has its verdict keeps it; labels that became known meanwhile are learnt all the same.

    Args:
        window: such as 2025-03; by default all that ended since the newest verdict, or the newest where there is none.
        force: score the window once more, from the source as it is now, and judge it anew.

    Raises:
        EvergreenError: the window has not ended, or nobody scored it; or the source is late, and the schedule began the run:
            who begins one himself reads it at the end of the verdict.
    """
    settings, log = load_settings(), get_run_logger()
    with watching.watching(settings, log.info, str(flow_run.id)) as watch:
        today = flow_run.scheduled_start_time.date()
        complete = watching.complete_through(settings, watch) or today
        chosen, verdicts = _chosen(watch, window, complete), []
        for current in chosen:
            if current != chosen[-1] and _was_left_out(watch, current):
                log.warning("%s was never scored, and has no verdict.", current.key)
                continue
            asked_before = store.unanswered(watch.url, watch.model)
            version = score_anew(settings, watch, current) if force else None
            verdict = judged(
                watch, current, current.last if window or current != chosen[-1] else complete, version=version, force=force
            )
            verdicts.append(verdict)
            follow_up(watch, asked_before)
            pages(settings, watch, verdict)
        late = "" if window else _lateness(feed.check_age(today, complete, watch.params.monitor, 0), is_scheduled())
        summary = " ".join(f"{current.window_key}: {current.action}. {current.why}{_held(current)}" for current in verdicts)
        return ending.done(f"{summary}{late}", reports.address(settings, watch.model, verdicts[-1].window_key))


def is_scheduled() -> bool:
    """Whether the schedule began the run, and not a person."""
    context = FlowRunContext.get()
    return bool(context and context.flow_run and context.flow_run.auto_scheduled)


def _lateness(late: list[Finding], scheduled: bool) -> str:
    """What is said of a source that ends long ago.

    Raises:
        EvergreenError: nobody is there to read it: a failed run notifies people.
    """
    if not late:
        return ""
    if scheduled:
        raise EvergreenError(
            f"{late[0].message} Look after what loads the source; `evergreen run monitor` judges what there is."
        )
    get_run_logger().warning("%s", late[0].message)
    return f" {late[0].message}"


def _was_left_out(watch: Watch, window: Window) -> bool:
    """Whether a window has rows, and nobody scored them. One without a row needs no scores to be judged."""
    champion = ledger.champion(watch.url, watch.model)
    if champion is None or store.runs_of(watch.url, watch.model, window):
        return champion is None
    return not is_empty(watch, watch.subject_of(champion.version), window)


def _chosen(watch: Watch, name: str | None, complete: date) -> list[Window]:
    """The windows to judge, oldest first."""
    unit = watch.params.monitor.window
    newest = windows.newest_complete(complete, unit)
    if name:
        chosen = windows.named(name, unit)
        if chosen.last > newest.last:
            raise EvergreenError(
                f"{name} has not ended: the source is complete up to {complete}, so {newest.key} is the newest."
            )
        return [chosen]
    judged_before = store.verdicts(watch.url, watch.model)
    since = judged_before[-1].last_day if judged_before else newest.first - windows.DAY
    missed = [window for window in windows.between(since + windows.DAY, newest.last, unit) if window.last <= newest.last]
    return missed[-watch.params.monitor.history :] or [newest]


def score_anew(settings: Settings, watch: Watch, window: Window) -> int:
    """Score the window's days once more, by the version that did; its number."""
    versions = {verdict.window_key: verdict.version for verdict in store.verdicts(watch.url, watch.model)}
    runs = watch.runs(window, versions.get(window.key))
    for run in runs:
        score.score_day(settings.scorer_url, watch.subject_of(run.version), run.as_of, force=True)
    return runs[-1].version


@task(task_run_name="judge-{window.key}", **REPEATED)
def judged(watch: Watch, window: Window, judged_on: date, *, version: int | None = None, force: bool = False) -> Verdict:
    """The verdict on a window, in the ledger."""
    verdict = judge_window(watch, window, judged_on=judged_on, version=version, force=force)
    get_run_logger().info("%s: %s. %s%s", window.key, verdict.action.upper(), verdict.why, _held(verdict))
    return verdict


@task(task_run_name="pages-{verdict.window_key}", **REPEATED)
def pages(settings: Settings, watch: Watch, verdict: Verdict, *, full: bool = True) -> None:
    """Its pages and the first one: a step of its own, since Evidently's reports take long."""
    reports.write(settings, watch, verdict, full=full)


def follow_up(watch: Watch, asked_before: Verdict | None) -> None:
    """Tell the world what was decided about the champion, and what it was not told of the last time.

    Events are how it is told, and the ledger is what holds the decision. Of several windows that ask for a retraining the
    newest speaks for all. One that was asked for before, and never began, since the server that starts it was away, is
    asked for again.
    """
    current = ledger.champion(watch.url, watch.model)
    still = store.unanswered(watch.url, watch.model)
    pending = store.pending(watch.url, watch.model)
    for verdict in pending:
        concerns = current is None or verdict.version == current.version
        answered = verdict.action == "retrain" and (still is None or verdict.sequence != still.sequence)
        wishes = [wish for wish in verdict.asks if not (wish == "retrain" and (answered or verdict.suppressed))]
        if not concerns or all(_emit(watch, verdict, cast("events.Kind", wish)) for wish in wishes):
            store.record_notification(watch.url, verdict)
    if still and asked_before and still.sequence == asked_before.sequence not in {earlier.sequence for earlier in pending}:
        get_run_logger().warning("%s asked for a retraining that never began: it is asked for again.", still.window_key)
        _emit(watch, still, "retrain")


def _emit(watch: Watch, verdict: Verdict, wish: events.Kind) -> bool:
    """One event for one thing that a verdict asks for; whether the server has it.

    A retraining is to know all that is known by the newest sound window.
    """
    sound = [earlier.last_day for earlier in store.verdicts(watch.url, watch.model) if not earlier.broken]
    as_of = str(max([verdict.last_day, *sound])) if watch.params.data.time else ""
    try:
        events.emit(watch.model, wish, {"cause": verdict.window_key, "as_of": as_of, "why": verdict.why})
    except EvergreenError as error:
        get_run_logger().warning("%s is not told yet, and will be by the next run: %s", verdict.window_key, error)
        return False
    return True


def _held(verdict: Verdict) -> str:
    return f" No retraining now: {verdict.suppressed}" if verdict.suppressed else ""
