"""A stage on another pool's worker: what crosses is content in the DVC remote, never a return value.

A retraining never hangs on a machine that is away: `Policy` says how long a stage waits to be begun, and what then.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from flows.execution import dvc, workers
from flows.execution.workspace import Workspace

OWN_POOL = "cpu"  # the pool that the retrain flow itself runs on
POLL_S = 1.0
SILENCE_S = 60.0  # the process of a run gives a sign of life every few seconds,
START_S = 180.0  # the first one when it has imported what it needs
MAX_ATTEMPTS = 3  # a stage whose process dies on every try is not tried for ever
Choice = Literal["wait", "cpu", "fail"]


@dataclass(frozen=True)
class Policy:
    """What happens to a stage that no worker of its pool begins within `deadline` seconds."""

    otherwise: Choice
    deadline: float


@dataclass(frozen=True)
class Outcome:
    """How a handover ended: the worker that did the stage, or "" and why it is to be done here."""

    worker: str
    why: str = ""


@dataclass(frozen=True)
class _Lost:
    """A run that ended without having failed."""

    why: str
    started: bool


class RunEndedError(dvc.StageError):
    """The retraining ended, and with it everything that it had handed over."""


def tag_of(run_id: str) -> str:
    """Marks the runs that a retraining handed over."""
    return f"retrain:{run_id}"


def prepare(stage: dvc.Stage, runner: dvc.Runner, workspace: Workspace) -> None:
    """Put where another machine finds them: the results so far, and the ref that names them."""
    with runner.lock():
        runner.push()
        workspace.commit(f"Before stage {stage.name} of run {workspace.run_id}", "params.yaml", "dvc.lock")


def parameters_of(stage: dvc.Stage, place: Workspace) -> dict[str, str]:
    """What the flow `stage` needs to be told."""
    return {"name": stage.name, "repository": place.repository, "ref": place.ref}


def send(stage: dvc.Stage, place: Workspace, policy: Policy, stop: threading.Event, log: Any) -> Outcome:
    """Have a worker of the stage's pool do it, and wait for that; its results are then to be had from the remote.

    Args:
        stop: set when the retraining ends: the run is then cancelled.

    Raises:
        dvc.StageError: the stage failed over there, or nobody did it and the policy is not to do it here.
    """
    why = ""
    for attempt in range(1, MAX_ATTEMPTS + 1):
        if attempt > 1:
            log.warning("Stage %s is handed over again: %s.", stage.name, why)
        outcome = _begin_and_follow(stage, place, policy, stop, log)
        if isinstance(outcome, str):
            return Outcome(outcome, f"again: {why}" if why else "")
        why = outcome.why
        if not outcome.started:
            break
    else:
        why = f"begun {MAX_ATTEMPTS} times on pool {stage.pool}, the last time {why}"
    if policy.otherwise == "cpu":
        log.warning("Stage %s runs here, on pool %s: %s.", stage.name, OWN_POOL, why)
        return Outcome("", why)
    raise dvc.StageError(
        f"Stage {stage.name} was not done: {why}. Start a worker there (`prefect worker start --pool {stage.pool}`, or "
        "`evergreen deploy` and `evergreen up` for the local one), or retrain with without_worker=cpu to do such stages "
        "here, or without_worker=wait to wait for one. Then run it again: finished stages are restored."
    )


def _begin_and_follow(stage: dvc.Stage, place: Workspace, policy: Policy, stop: threading.Event, log: Any) -> str | _Lost:
    """The worker that completed the stage, or what became of the run, which is then cancelled."""
    run = workers.begin(stage.pool, parameters_of(stage, place), [tag_of(place.run_id), f"pool:{stage.pool}"])
    if run is None:
        return _Lost(f"no machine has deployed stage/{stage.pool}", started=False)
    log.info("Stage %s is handed over to pool %s (run %s).", stage.name, stage.pool, run)
    why = "the retraining that asked for it ended"
    try:
        outcome = _RemoteRun(stage, run, policy, log).follow(stop)
        why = outcome.why if isinstance(outcome, _Lost) else ""
    except BaseException:
        workers.cancel(run, why)
        raise
    if isinstance(outcome, _Lost):
        after = workers.cancel(run, why)
        if after and after.is_completed():  # while we made up our mind
            return workers.worker_of(workers.look(run))
    return outcome


class _RemoteRun:
    """Watches one run until it is done, or until it is clear that it will not be."""

    def __init__(self, stage: dvc.Stage, run: UUID, policy: Policy, log: Any) -> None:
        self._stage, self._run, self._policy, self._log = stage, run, policy, log
        self._since = self._heard = time.monotonic()
        self._sign: Any = None

    def follow(self, stop: threading.Event) -> str | _Lost:
        import httpx

        while not stop.is_set():
            try:
                if (outcome := self._look()) is not None:
                    return outcome
            except httpx.TransportError as error:  # a server that restarts; the client has tried for a while
                self._log.warning("Prefect does not answer (%s); asking again.", type(error).__name__)
            stop.wait(POLL_S)
        raise RunEndedError(f"Stage {self._stage.name} was cancelled: the retraining ended.")

    def _look(self) -> str | _Lost | None:
        run = workers.look(self._run)
        state, worker = run.state, workers.worker_of(run)
        if state is None or state.is_scheduled():
            return self._waiting()
        if state.is_completed():
            return worker
        if state.is_failed() or state.is_cancelled() or state.is_cancelling():
            description = f"Stage {self._stage.name} on pool {self._stage.pool} (worker {worker})"
            raise dvc.StageError(f"{description} is {state.name}: {state.message}")
        if state.is_crashed():
            return _Lost(f"its process on worker {worker} crashed ({state.message})", started=True)
        return self._working(worker, run.labels.get(workers.ALIVE))

    def _waiting(self) -> _Lost | None:
        """Nobody has begun it."""
        self._heard = time.monotonic()
        if time.monotonic() - self._since < self._policy.deadline:
            return None
        why = f"{_absence(self._stage.pool)} within {self._policy.deadline:g} s"
        if self._policy.otherwise != "wait":
            return _Lost(why, started=False)
        self._log.warning("Stage %s waits on, as without_worker=wait says: %s.", self._stage.name, why)
        self._since = time.monotonic()
        return None

    def _working(self, worker: str, sign: Any) -> _Lost | None:
        """A worker has taken it: lives the worker, and lives the process?"""
        now = time.monotonic()
        if sign != self._sign:
            self._sign, self._heard = sign, now
        by_name = {other.name: other for other in workers.of_pool(self._stage.pool)}
        if worker and worker not in by_name:
            return _Lost(f"worker {worker}, which had begun it, was taken out of the pool", started=True)
        if worker and not by_name[worker].lives:
            return _Lost(f"worker {worker}, which had begun it, was last heard {by_name[worker].age:.0f} s ago", started=True)
        limit = START_S if self._sign is None else SILENCE_S
        if now - self._heard > limit:
            return _Lost(f"its process on worker {worker} was not heard for {limit:g} s", started=True)
        return None


def _absence(pool: str) -> str:
    """Why a run of the pool was not begun."""
    alive = [worker for worker in workers.of_pool(pool) if worker.lives]
    if not alive:
        return f"no worker in pool {pool}"
    busy = [f"{worker.name} ({', '.join(workers.busy_with(worker.name)) or 'idle'})" for worker in alive]
    return f"no free worker in pool {pool}, where {', '.join(busy)} lives,"
