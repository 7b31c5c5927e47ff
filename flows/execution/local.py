"""The stages of a run: each as a task, as soon as what it needs is there, on its pool."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
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
Found = TypeVar("Found")
Ended = tuple[PrefectFuture["Ran"], dvc.Stage]


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
    place: Workspace
    environment: dict[str, str]
    policy: Policy
    stop: threading.Event = field(default_factory=threading.Event)  # set when the run ends
    apart: list[dvc.Runner] = field(default_factory=list)  # of stages that run beside


def where_markdown(ran: Sequence[Ran]) -> str:
    """For the version's page."""
    rows = "".join(
        f"| {stage_run.stage} | {stage_run.pool} | {stage_run.text()} | {stage_run.seconds:.1f} |\n" for stage_run in ran
    )
    return f"## Where the stages ran\n\n| stage | pool asked for | ran on | seconds |\n|---|---|---|---|\n{rows}"


def can_help(_task: Any, _run: Any, state: Any) -> bool:
    """Retry where the world may have changed since; a wrong column stays wrong."""
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


@contextmanager
def stages_run(context: Context, settings: Settings, ran: list[Ran]) -> Iterator[Callable[[], None]]:
    """Run every stage of the graph: of this pool one at a time; those of other pools meanwhile, on workers there.

    The block begins when all are done but those that run beside, and is given what waits for them. When it ends, or a
    stage failed, nothing is left behind, here or elsewhere.

    Args:
        ran: is given a row for each stage as it ends, so that the rows are there when a later one fails.
    """
    running: dict[PrefectFuture[Ran], dvc.Stage] = {}
    ended = _in_order(context, running)
    try:
        is_nonblocking = _until_only_nonblocking(context.runner.stages, ended, ran)
        _push(context.runner, settings)
        yield lambda: _wait_for(is_nonblocking, ended, ran, context.runner, settings)
    finally:
        context.stop.set()
        if running:
            for runner in (context.runner, *context.apart):
                runner.end()
        for future in running:
            future.wait(timeout=60)


def _until_only_nonblocking(stages: Sequence[dvc.Stage], ended: Iterator[Ended], ran: list[Ran]) -> list[Ended]:
    """Take note of each stage as it ends, until the rest are beside; those of them that have ended, whichever way."""
    needed, is_nonblocking = {stage.name for stage in stages if not stage.is_nonblocking}, []
    while needed:
        future, stage = next(ended)
        if stage.is_nonblocking:
            is_nonblocking.append((future, stage))
        else:
            _note(future, stage, ran)
            needed.remove(stage.name)
    return is_nonblocking


def _wait_for(
    is_nonblocking: Sequence[Ended], ended: Iterator[Ended], ran: list[Ran], runner: dvc.Runner, settings: Settings
) -> None:
    for future, stage in itertools.chain(is_nonblocking, ended):
        _note(future, stage, ran)
    _push(runner, settings)


def _note(future: PrefectFuture[Ran], stage: dvc.Stage, ran: list[Ran]) -> None:
    """Keep where a stage ran; or raise what it failed with."""
    stage_run = future.result()
    ran.append(stage_run)
    if stage.pool != OWN_POOL:
        get_run_logger().info(
            "Stage %s, of pool %s, ran on %s, %.0f s.", stage.name, stage.pool, stage_run.text(), stage_run.seconds
        )


def _push(runner: dvc.Runner, settings: Settings) -> None:
    """Results go where other machines and clones find them."""
    if settings.shares_remote:
        runner.exchange("push", get_run_logger().debug)


def _in_order(context: Context, running: dict[PrefectFuture[Ran], dvc.Stage]) -> Iterator[Ended]:
    """Begin each stage when those that it needs have ended; gives those that end."""
    waiting, done = list(context.runner.stages), set[str]()
    while waiting or running:
        for stage in ready(waiting, done, running.values()):
            waiting.remove(stage)
            running[_begin(stage, context)] = stage
        future = next(as_completed(list(running)))
        stage = running.pop(future)
        yield future, stage
        done.add(stage.name)


def ready(waiting: Collection[dvc.Stage], done: Collection[str], running: Collection[dvc.Stage]) -> list[dvc.Stage]:
    """What can begin now: all of other pools whose needs are done; of ours one that is beside, and one that is not."""
    can = [stage for stage in waiting if set(stage.needs) <= set(done)]
    chosen = [stage for stage in can if stage.pool != OWN_POOL]
    for is_nonblocking in (True, False):  # in this order: the other one keeps the runner
        if not any(stage.pool == OWN_POOL and stage.is_nonblocking == is_nonblocking for stage in running):
            chosen += [stage for stage in can if stage.pool == OWN_POOL and stage.is_nonblocking == is_nonblocking][:1]
    return chosen


def _begin(stage: dvc.Stage, context: Context) -> PrefectFuture[Ran]:
    """The stage's task in a thread. What it hands over is prepared first, before our next stage takes the runner."""
    log = get_run_logger()
    is_apart = stage.pool != OWN_POOL or stage.is_nonblocking
    is_restored = is_apart and patiently(lambda: context.runner.restore(stage.name, log.debug))
    is_remote = stage.pool != OWN_POOL and not is_restored
    if is_remote:
        patiently(lambda: remote.prepare(stage, context.runner, context.place, log))
    run = stage_task.with_options(
        name=stage.name,
        task_run_name=stage.name,
        tags={f"pool:{stage.pool}"},
        retries=stage.retries,
        retry_delay_seconds=[5 * 4**attempt for attempt in range(stage.retries)],
    )
    return run.submit(stage, context, is_restored=is_restored, is_remote=is_remote)


def patiently(exchange: Callable[[], Found]) -> Found:
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
    """One stage of the DAG: here or, with a policy for when nobody is there, on a worker of its pool.

    Args:
        known: its results were restored already.
    """
    log, began = get_run_logger(), time.monotonic()
    why = ""
    if is_remote:
        outcome = remote.send(stage, context.place, context.policy, context.stop, log)
        if outcome.worker:
            if not patiently(lambda: context.runner.restore(stage.name, log.info, pull=True)):
                raise dvc.StageError(
                    f"Stage {stage.name} completed on worker {outcome.worker}, but the DVC remote does not hold its results. "
                    "Do both machines name the same one (EVERGREEN_DVC_REMOTE in .env)?"
                )
            return Ran(stage.name, stage.pool, stage.pool, outcome.worker, outcome.why, time.monotonic() - began)
        why = outcome.why
    if not is_restored and _run_here(stage, context, log):
        return Ran(stage.name, stage.pool, OWN_POOL, _own_worker(), why, time.monotonic() - began)
    log.info("%s: nothing changed, its results were restored.", stage.name)
    return Ran(stage.name, stage.pool, "restored", "", why, time.monotonic() - began)


def _run_here(stage: dvc.Stage, context: Context, log: Any) -> bool:
    """Whether it had to run."""
    if stage.is_nonblocking:
        _run_unrecorded(stage, context, log)
        return True
    return context.runner.run(stage.name, log.info)


def _run_unrecorded(stage: dvc.Stage, context: Context, log: Any) -> None:
    """By a runner of its own; DVC's books, whose lock waits for nobody, are written by the one alone."""
    with dvc.runner(context.place.folder, context.environment) as apart:
        context.apart.append(apart)
        if context.stop.is_set():
            raise remote.RunEndedError(f"Stage {stage.name} was not begun: the retraining ended.")
        apart.run_unrecorded(stage.name, log.info)
    context.runner.record(stage.name, log.info)


def _own_worker() -> str:
    return workers.worker_of(workers.look(UUID(str(flow_run.id)))) if flow_run.id else ""
