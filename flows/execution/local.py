"""The stages of a run: each as a task, as soon as what it needs is there, on its pool."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture, as_completed
from prefect.runtime import flow_run

from flows.execution import dvc, remote, workers
from flows.execution.remote import OWN_POOL, Policy
from flows.execution.workspace import Workspace
from pipelines.config.errors import TransientError
from pipelines.config.settings import Settings

REMOTE_PAUSES_S = (5, 20)
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Ran:
    """Where a stage ran, and why there."""

    stage: str
    pool: str  # that it asked for
    ran_on: str  # a pool; `restored` where its results were known
    worker: str
    why: str
    seconds: float

    def text(self) -> str:
        """Such as `gpu (worker gpu-1)` or `cpu: no worker in pool gpu within 60 s`."""
        if self.ran_on == self.pool:
            worker = f" (worker {self.worker})" if self.worker else ""
            return f"{self.ran_on}{worker}" + (f", {self.why}" if self.why else "")
        return f"{self.ran_on}: {self.why}" if self.why else self.ran_on


@dataclass(frozen=True)
class Context:
    """What the stages of one run are run with."""

    runner: dvc.Runner
    workspace: Workspace
    policy: Policy
    stop: threading.Event = field(default_factory=threading.Event)  # set when a stage failed


def where_markdown(ran: Sequence[Ran]) -> str:
    """For the version's page."""
    rows = "".join(
        f"| {stage_run.stage} | {stage_run.pool} | {stage_run.text()} | {stage_run.seconds:.1f} |\n" for stage_run in ran
    )
    return f"## Where the stages ran\n\n| stage | pool asked for | ran on | seconds |\n|---|---|---|---|\n{rows}"


def can_help(_task: Any, _run: Any, state: Any) -> bool:
    """Retry where another try can end otherwise; a wrong column stays wrong."""
    try:
        state.result()
    except (TransientError, dvc.TransientStageError):
        return True
    except Exception:
        return False
    return False


# a task that changes nothing when it is repeated, and whose database or server may be back in a minute
REPEATED: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "retry_condition_fn": can_help,
    "retries": 2,
    "retry_delay_seconds": [5, 20],
}


def run_stages(context: Context, settings: Settings, stages: Sequence[dvc.Stage], ran: list[Ran]) -> None:
    """Run stages, each when those that it needs have ended: of this pool one at a time; those of other pools meanwhile, on
    workers there. When a stage fails, none is left running, neither in this process nor on another worker.

    Args:
        stages: what they need beside one another has been run before.
        ran: is given a row for each stage as it ends, so that the rows are there when a later one fails.
    """
    waiting, running = list(stages), dict[PrefectFuture[Ran], dvc.Stage]()
    try:
        while waiting or running:
            for stage in ready(waiting, running.values()):
                waiting.remove(stage)
                running[_start(stage, context)] = stage
            future = next(as_completed(list(running)))
            _note(future, running.pop(future), ran)
    finally:
        if running:
            context.stop.set()
            context.runner.end()
        for future in running:
            future.wait(timeout=60)
    if settings.shares_remote:  # results go where other machines and clones find them
        context.runner.push()


def _note(future: PrefectFuture[Ran], stage: dvc.Stage, ran: list[Ran]) -> None:
    """Keep where a stage ran; or raise what it failed with."""
    stage_run = future.result()
    ran.append(stage_run)
    if stage.pool != OWN_POOL:
        get_run_logger().info(
            "Stage %s, of pool %s, ran on %s, %.0f s.", stage.name, stage.pool, stage_run.text(), stage_run.seconds
        )


def ready(waiting: Collection[dvc.Stage], running: Collection[dvc.Stage]) -> list[dvc.Stage]:
    """What can begin now: all of other pools whose needs are done, and one of this pool if none of it runs."""
    unfinished = {stage.name for stage in (*waiting, *running)}
    startable = [stage for stage in waiting if unfinished.isdisjoint(stage.needs)]
    chosen = [stage for stage in startable if stage.pool != OWN_POOL]
    if all(stage.pool != OWN_POOL for stage in running):
        chosen += [stage for stage in startable if stage.pool == OWN_POOL][:1]
    return chosen


def _start(stage: dvc.Stage, context: Context) -> PrefectFuture[Ran]:
    """The stage's task in a thread. What another worker reads is pushed first, before the next stage of this pool begins."""
    is_restored = stage.pool != OWN_POOL and patiently(lambda: context.runner.restore(stage.name))
    is_remote = stage.pool != OWN_POOL and not is_restored
    if is_remote:
        patiently(lambda: remote.prepare(stage, context.runner, context.workspace))
    run = stage_task.with_options(
        name=stage.name,
        task_run_name=stage.name,
        tags={f"pool:{stage.pool}"},
        retries=stage.retries,
        retry_delay_seconds=[5 * 4**attempt for attempt in range(stage.retries)],
    )
    return run.submit(stage, context, is_restored=is_restored, is_remote=is_remote)


def patiently(exchange: Callable[[], Answer]) -> Answer:
    """What an exchange with the DVC remote gives; a remote that is away for a moment costs no work of hours."""
    for pause in REMOTE_PAUSES_S:
        try:
            return exchange()
        except dvc.TransientStageError as error:
            get_run_logger().warning("%s Trying again in %s s.", error, pause)
            time.sleep(pause)
    return exchange()


@task(cache_policy=NO_CACHE, retry_condition_fn=can_help)
def stage_task(stage: dvc.Stage, context: Context, *, is_restored: bool, is_remote: bool) -> Ran:
    """One stage of the DAG: in this process's pool or, with a policy for when no worker takes it, on a worker of its own pool.

    Args:
        is_restored: its results were restored already.
        is_remote: it is to be dispatched to a worker of its pool.
    """
    log, began = get_run_logger(), time.monotonic()
    why = ""
    if is_remote:
        outcome = remote.send(stage, context.workspace, context.policy, context.stop, log)
        if outcome.worker:
            if not patiently(lambda: context.runner.restore(stage.name, pull=True)):
                raise dvc.StageError(
                    f"Stage {stage.name} completed on worker {outcome.worker}, but the DVC remote does not hold its results. "
                    "Do both machines name the same one (EVERGREEN_DVC_REMOTE in .env)?"
                )
            return Ran(stage.name, stage.pool, stage.pool, outcome.worker, outcome.why, time.monotonic() - began)
        why = outcome.why
    if not is_restored and context.runner.run(stage.name, log.info):
        return Ran(stage.name, stage.pool, OWN_POOL, _own_worker(), why, time.monotonic() - began)
    log.info("%s: nothing changed, its results were restored.", stage.name)
    return Ran(stage.name, stage.pool, "restored", "", why, time.monotonic() - began)


def _own_worker() -> str:
    return workers.worker_of(workers.look(UUID(str(flow_run.id)))) if flow_run.id else ""
