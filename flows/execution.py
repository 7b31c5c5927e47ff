"""The stages of a run: each as a task, as soon as what it needs is there, on its pool."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture, as_completed
from prefect.runtime import flow_run

from flows import dag, handover, helping, workers
from flows.handover import OWN_POOL, Policy
from flows.workspace import Workspace
from pipelines import settings
from pipelines.errors import TransientError

REMOTE_PAUSES_S = (5, 20)
Found = TypeVar("Found")


@dataclass(frozen=True)
class Ran:
    """Where a stage ran, and why there."""

    stage: str
    pool: str  # that it asked for
    where: str  # the pool that it ran on; `restored` where its results were known
    worker: str
    why: str
    seconds: float

    def text(self) -> str:
        """Such as `gpu (worker gpu-1)` or `cpu: no worker in pool gpu within 60 s`."""
        if self.where == self.pool:
            worker = f" (worker {self.worker})" if self.worker else ""
            return f"{self.where}{worker}" + (f", {self.why}" if self.why else "")
        return f"{self.where}: {self.why}" if self.why else self.where


def where_markdown(ran: Sequence[Ran]) -> str:
    """For the version's page."""
    rows = "".join(f"| {one.stage} | {one.pool} | {one.text()} | {one.seconds:.1f} |\n" for one in ran)
    return f"## Where the stages ran\n\n| stage | pool asked for | ran on | seconds |\n|---|---|---|---|\n{rows}"


def can_help(_task: Any, _run: Any, state: Any) -> bool:
    """Retry where the world may have changed since; a wrong column stays wrong."""
    try:
        state.result()
    except (TransientError, dag.TransientStageError):
        return True
    except Exception:
        return False
    return False


def run_stages(place: Workspace, here: settings.Settings, policy: Policy, ran: list[Ran]) -> None:
    """Every stage of the graph. Of this pool one at a time; those of other pools meanwhile, on workers there.

    Args:
        ran: is given a row for each stage as it ends, so that the rows are there when a later one fails.
    """
    with dag.runner(place.folder, os.environ | here.environment()) as runner:
        stop = threading.Event()
        running: dict[PrefectFuture[Ran], dag.Stage] = {}
        try:
            for future, stage in _in_order(runner, place, policy, stop, running):
                ran.append(future.result())
                _say(stage, ran[-1])
        finally:  # also when a stage failed: nothing is left behind, here or elsewhere
            stop.set()
            if running:
                runner.end()
            for future in running:
                future.wait(timeout=60)
        if here.shares_remote:
            runner.exchange("push", get_run_logger().debug)


def _in_order(
    runner: dag.Runner,
    place: Workspace,
    policy: Policy,
    stop: threading.Event,
    running: dict[PrefectFuture[Ran], dag.Stage],
) -> Iterator[tuple[PrefectFuture[Ran], dag.Stage]]:
    """Begin each stage when those that it needs have ended; gives those that end."""
    waiting, done = list(runner.stages), set[str]()
    while waiting or running:
        for stage in ready(waiting, done, running.values()):
            waiting.remove(stage)
            running[_begin(stage, runner, place, policy, stop)] = stage
        future = next(as_completed(list(running)))
        stage = running.pop(future)
        yield future, stage
        done.add(stage.name)


def ready(waiting: Collection[dag.Stage], done: Collection[str], running: Collection[dag.Stage]) -> list[dag.Stage]:
    """What can begin now: all of other pools whose needs are done, and one of ours if none runs."""
    can = [stage for stage in waiting if set(stage.needs) <= set(done)]
    own = [stage for stage in can if stage.pool == OWN_POOL]
    is_free = all(stage.pool != OWN_POOL for stage in running)
    return [stage for stage in can if stage.pool != OWN_POOL] + (own[:1] if is_free else [])


def _begin(stage: dag.Stage, runner: dag.Runner, place: Workspace, policy: Policy, stop: threading.Event) -> PrefectFuture[Ran]:
    """The stage's task in a thread. What it hands over is prepared first, before our next stage takes the runner."""
    log = get_run_logger()
    elsewhere = stage.pool != OWN_POOL and not patiently(lambda: runner.restore(stage.name, log.debug))
    if elsewhere:
        patiently(lambda: handover.prepare(stage, runner, place, log))
    run = stage_task.with_options(
        name=stage.name,
        task_run_name=stage.name,
        tags={f"pool:{stage.pool}"},
        retries=stage.retries,
        retry_delay_seconds=[5 * 4**attempt for attempt in range(stage.retries)],
    )
    return run.submit(stage, runner, place, policy if elsewhere else None, stop)


def patiently(exchange: Callable[[], Found]) -> Found:
    """What an exchange with the DVC remote gives; a remote that is away for a moment costs no work of hours."""
    for pause in REMOTE_PAUSES_S:
        try:
            return exchange()
        except dag.TransientStageError as error:
            get_run_logger().warning("%s Trying again in %s s.", error, pause)
            time.sleep(pause)
    return exchange()


@task(cache_policy=NO_CACHE, retry_condition_fn=can_help)
def stage_task(stage: dag.Stage, runner: dag.Runner, place: Workspace, policy: Policy | None, stop: threading.Event) -> Ran:
    """One stage of the DAG: here or, with a policy for when nobody is there, on a worker of its pool."""
    log, began = get_run_logger(), time.monotonic()
    why = ""
    if policy:
        outcome = handover.send(stage, place, policy, stop, log)
        if outcome.worker:
            if not patiently(lambda: runner.restore(stage.name, log.info, pull=True)):
                raise dag.StageError(
                    f"Stage {stage.name} completed on worker {outcome.worker}, but the DVC remote does not hold its results. "
                    "Do both machines name the same one (EVERGREEN_DVC_REMOTE in .env)?"
                )
            return Ran(stage.name, stage.pool, stage.pool, outcome.worker, outcome.why, time.monotonic() - began)
        why = outcome.why
    with helping.helped(stage, runner, place, log) as variables:
        executed = runner.run(stage.name, log.info, variables)
    if executed:
        return Ran(stage.name, stage.pool, OWN_POOL, _own_worker(), why, time.monotonic() - began)
    log.info("%s: nothing changed, its results were restored.", stage.name)
    return Ran(stage.name, stage.pool, "restored", "", why, time.monotonic() - began)


def _own_worker() -> str:
    return workers.worker_of(workers.look(UUID(str(flow_run.id)))) if flow_run.id else ""


def _say(stage: dag.Stage, ran: Ran) -> None:
    if stage.pool != OWN_POOL:
        get_run_logger().info("Stage %s, of pool %s, ran on %s, %.0f s.", ran.stage, ran.pool, ran.text(), ran.seconds)
