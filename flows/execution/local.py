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


@dataclass(frozen=True)
class Means:
    """What the stages of one run are run with."""

    runner: dvc.Runner
    place: Workspace
    environment: dict[str, str]
    policy: Policy
    stop: threading.Event = field(default_factory=threading.Event)  # set when the run ends
    apart: list[dvc.Runner] = field(default_factory=list)  # of stages that run beside


def where_markdown(ran: Sequence[Ran]) -> str:
    """For the version's page."""
    rows = "".join(f"| {one.stage} | {one.pool} | {one.text()} | {one.seconds:.1f} |\n" for one in ran)
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
def stages_run(means: Means, settings: Settings, ran: list[Ran]) -> Iterator[Callable[[], None]]:
    """Run every stage of the graph: of this pool one at a time; those of other pools meanwhile, on workers there.

    The block begins when all are done but those that run beside, and is given what waits for them. When it ends, or a
    stage failed, nothing is left behind, here or elsewhere.

    Args:
        ran: is given a row for each stage as it ends, so that the rows are there when a later one fails.
    """
    running: dict[PrefectFuture[Ran], dvc.Stage] = {}
    ended = _in_order(means, running)
    try:
        beside = _until_only_beside(means.runner.stages, ended, ran)
        _push(means.runner, settings)
        yield lambda: _wait_for(beside, ended, ran, means.runner, settings)
    finally:
        means.stop.set()
        if running:
            for runner in (means.runner, *means.apart):
                runner.end()
        for future in running:
            future.wait(timeout=60)


def _until_only_beside(stages: Sequence[dvc.Stage], ended: Iterator[Ended], ran: list[Ran]) -> list[Ended]:
    """Take note of each stage as it ends, until the rest are beside; those of them that have ended, whichever way."""
    needed, beside = {stage.name for stage in stages if not stage.beside}, []
    while needed:
        future, stage = next(ended)
        if stage.beside:
            beside.append((future, stage))
        else:
            _note(future, stage, ran)
            needed.remove(stage.name)
    return beside


def _wait_for(beside: Sequence[Ended], ended: Iterator[Ended], ran: list[Ran], runner: dvc.Runner, settings: Settings) -> None:
    for future, stage in itertools.chain(beside, ended):
        _note(future, stage, ran)
    _push(runner, settings)


def _note(future: PrefectFuture[Ran], stage: dvc.Stage, ran: list[Ran]) -> None:
    """Keep where a stage ran; or raise what it failed with."""
    found = future.result()
    ran.append(found)
    if stage.pool != OWN_POOL:
        get_run_logger().info("Stage %s, of pool %s, ran on %s, %.0f s.", stage.name, stage.pool, found.text(), found.seconds)


def _push(runner: dvc.Runner, settings: Settings) -> None:
    """Results go where other machines and clones find them."""
    if settings.shares_remote:
        runner.exchange("push", get_run_logger().debug)


def _in_order(means: Means, running: dict[PrefectFuture[Ran], dvc.Stage]) -> Iterator[Ended]:
    """Begin each stage when those that it needs have ended; gives those that end."""
    waiting, done = list(means.runner.stages), set[str]()
    while waiting or running:
        for stage in ready(waiting, done, running.values()):
            waiting.remove(stage)
            running[_begin(stage, means)] = stage
        future = next(as_completed(list(running)))
        stage = running.pop(future)
        yield future, stage
        done.add(stage.name)


def ready(waiting: Collection[dvc.Stage], done: Collection[str], running: Collection[dvc.Stage]) -> list[dvc.Stage]:
    """What can begin now: all of other pools whose needs are done; of ours one that is beside, and one that is not."""
    can = [stage for stage in waiting if set(stage.needs) <= set(done)]
    found = [stage for stage in can if stage.pool != OWN_POOL]
    for beside in (True, False):  # in this order: the other one keeps the runner
        if not any(stage.pool == OWN_POOL and stage.beside == beside for stage in running):
            found += [stage for stage in can if stage.pool == OWN_POOL and stage.beside == beside][:1]
    return found


def _begin(stage: dvc.Stage, means: Means) -> PrefectFuture[Ran]:
    """The stage's task in a thread. What it hands over is prepared first, before our next stage takes the runner."""
    log = get_run_logger()
    is_apart = stage.pool != OWN_POOL or stage.beside
    known = is_apart and patiently(lambda: means.runner.restore(stage.name, log.debug))
    elsewhere = stage.pool != OWN_POOL and not known
    if elsewhere:
        patiently(lambda: remote.prepare(stage, means.runner, means.place, log))
    run = stage_task.with_options(
        name=stage.name,
        task_run_name=stage.name,
        tags={f"pool:{stage.pool}"},
        retries=stage.retries,
        retry_delay_seconds=[5 * 4**attempt for attempt in range(stage.retries)],
    )
    return run.submit(stage, means, known=known, elsewhere=elsewhere)


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
def stage_task(stage: dvc.Stage, means: Means, *, known: bool, elsewhere: bool) -> Ran:
    """One stage of the DAG: here or, with a policy for when nobody is there, on a worker of its pool.

    Args:
        known: its results were restored already.
    """
    log, began = get_run_logger(), time.monotonic()
    why = ""
    if elsewhere:
        outcome = remote.send(stage, means.place, means.policy, means.stop, log)
        if outcome.worker:
            if not patiently(lambda: means.runner.restore(stage.name, log.info, pull=True)):
                raise dvc.StageError(
                    f"Stage {stage.name} completed on worker {outcome.worker}, but the DVC remote does not hold its results. "
                    "Do both machines name the same one (EVERGREEN_DVC_REMOTE in .env)?"
                )
            return Ran(stage.name, stage.pool, stage.pool, outcome.worker, outcome.why, time.monotonic() - began)
        why = outcome.why
    if not known and _run_here(stage, means, log):
        return Ran(stage.name, stage.pool, OWN_POOL, _own_worker(), why, time.monotonic() - began)
    log.info("%s: nothing changed, its results were restored.", stage.name)
    return Ran(stage.name, stage.pool, "restored", "", why, time.monotonic() - began)


def _run_here(stage: dvc.Stage, means: Means, log: Any) -> bool:
    """Whether it had to run."""
    if stage.beside:
        _run_beside(stage, means, log)
        return True
    return means.runner.run(stage.name, log.info)


def _run_beside(stage: dvc.Stage, means: Means, log: Any) -> None:
    """By a runner of its own; DVC's books, whose lock waits for nobody, are written by the one alone."""
    with dvc.runner(means.place.folder, means.environment) as apart:
        means.apart.append(apart)
        if means.stop.is_set():
            raise remote.RunEndedError(f"Stage {stage.name} was not begun: the retraining ended.")
        apart.run_unrecorded(stage.name, log.info)
    means.runner.record(stage.name, log.info)


def _own_worker() -> str:
    return workers.worker_of(workers.look(UUID(str(flow_run.id)))) if flow_run.id else ""
