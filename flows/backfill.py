"""The flow `backfill`: a stretch of the past as it would have been scored and judged, window by window."""

from __future__ import annotations

import time
from datetime import date, timedelta
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.runtime import flow_run

from flows import ending, monitor, score, watching
from flows.ending import explained
from flows.execution import workspace
from flows.execution.local import REPEATED
from monitoring import store, windows
from monitoring.store import Verdict
from monitoring.subject import Watch
from monitoring.timeline import ASKING
from monitoring.windows import Window
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.config.settings import load as load_settings
from pipelines.registry import ledger

POLL_S, BEGIN_S, END_S = 2.0, 240.0, 3600.0


@flow(name="backfill", flow_run_name="backfill-{start}-{end}", persist_result=False)
@explained
def backfill(start: str, end: str, wait_for_retraining: bool = True) -> Any:
    """Score and judge every window between two days: with the version, the SQL and the reference of its time.

    What is there already is left as it is, so a run that was killed is taken up by running it again.

    Args:
        start, end: days, YYYY-MM-DD; windows that have not ended by `end` are left out.
        wait_for_retraining: where a window asks for a retraining, go on when that has ended, so that the next window is
            scored by whoever is champion then.
    """
    settings, log = load_settings(), get_run_logger()
    with watching.watching(settings, log.info, str(flow_run.id)) as watch:
        first, last = _stretch(start, end, watching.complete_through(settings, watch))
        for window in windows.between(first, last, watch.params.monitor.window):
            if window.last > last:
                break
            asked_before = store.unanswered(watch.url, watch.model)
            verdicts = {judged.window_key: judged for judged in store.verdicts(watch.url, watch.model)}
            number = (
                verdicts[window.key].version
                if window.key in verdicts
                else champion_on(settings, watch.model, window.last).version
            )
            write_scores(settings, watch, window, number)
            verdict = monitor.judged(watch, window, window.last, version=number)
            monitor.follow_up(watch, asked_before)
            monitor.pages(settings, watch, verdict, full=verdict.action in ASKING)
            if verdict.action == "retrain" and wait_for_retraining and began(watch, verdict):
                log.info("The retraining that %s asked for has ended: %s.", window.key, waited(watch, verdict))
        if newest := store.verdicts(watch.url, watch.model)[-1:]:
            monitor.pages(settings, watch, newest[0])
        return ending.done(
            f"The windows from {first} to {last} have their verdicts: `evergreen monitor windows` lists them.",
            settings.site_url,
        )


def champion_on(settings: Settings, model: str, day: date) -> ledger.Version:
    """The newest champion that was trained as of an earlier day: whoever could have been champion on that one.

    Raises:
        EvergreenError: there is none.
    """
    pins = []
    for row in ledger.history(settings.watcher_url, model):
        if row.decision != "promoted":
            continue
        version = ledger.version(settings.watcher_url, model, row.to_version)
        as_of = workspace.data_at(settings.folder, version.git_commit).as_of
        if not isinstance(as_of, date) or as_of < day:
            return version
        pins.append(f"{version} as of {as_of}")
    raise EvergreenError(
        f"Nobody could have been champion of {model!r} on {day}: {', '.join(pins) or 'it has none'}. Begin later, or "
        f"`evergreen run retrain --as-of {day - timedelta(days=1)}` first."
    )


@task(task_run_name="score-{window.key}", **REPEATED)
def write_scores(settings: Settings, watch: Watch, window: Window, version: int) -> None:
    """The scores of every day that the window's verdict needs, by one version. A day without a row is no error: nobody came."""
    every_day = watch.params.monitor.snapshot_policy == "every"
    for day in window.days if every_day else [window.last]:
        score.score_day(settings.scorer_url, watch.subject_of(version), day, may_be_empty=True)


def _stretch(start: str, end: str, complete: date | None) -> tuple[date, date]:
    try:
        first, last = date.fromisoformat(start), date.fromisoformat(end)
    except ValueError:
        raise EvergreenError(f"start {start!r} or end {end!r} is not a date: write YYYY-MM-DD.") from None
    if complete is None:
        raise EvergreenError("The table has no watermark.sql, so nobody knows what it looked like on another day.")
    if first > last or last > complete:
        raise EvergreenError(f"{start} to {end} cannot be replayed: the source is complete up to {complete}.")
    return first, last


@task(task_run_name="start-of-the-retraining-{verdict.window_key}", **REPEATED)
def began(watch: Watch, verdict: Verdict) -> bool:
    """Whether the retraining has begun, after some time for the event to arrive."""
    deadline = time.monotonic() + BEGIN_S
    while time.monotonic() < deadline:
        if any(retraining.cause == verdict.window_key for retraining in store.retrainings(watch.url, watch.model)):
            return True
        time.sleep(POLL_S)
    get_run_logger().warning("The retraining that %s asked for does not begin: the next window asks again.", verdict.window_key)
    return False


@task(task_run_name="retraining-{verdict.window_key}", **REPEATED)
def waited(watch: Watch, verdict: Verdict) -> str:
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline:
        (retraining,) = [
            retraining for retraining in store.retrainings(watch.url, watch.model) if retraining.cause == verdict.window_key
        ]
        if retraining.outcome:
            return retraining.outcome
        time.sleep(POLL_S)
    return "not yet, after an hour"
