"""Other pools as a flow sees them: which workers live, and the runs of `stage` that they are given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, State

BEATS = 4  # a worker that missed so many of its heartbeats is gone: Prefect itself shows it as online for longer
DEFAULT_BEAT_S = 30
UNWANTED = "evergreen.unwanted"  # label of a run whose result nobody waits for any more, and why
ALIVE = "evergreen.alive"  # label that the process of a run renews while it lives


@dataclass(frozen=True)
class Worker:
    """A worker as its pool knows it, dead ones included."""

    name: str
    age: float  # seconds since it was last heard, by the server's clock
    beat: float  # seconds between two of its heartbeats

    @property
    def lives(self) -> bool:
        return self.age < BEATS * self.beat


def of_pool(pool: str) -> list[Worker]:
    """Every worker that ever polled a pool; those heard last come first."""
    with _client() as client:
        answer = client.request(
            "POST", "/work_pools/{work_pool_name}/workers/filter", path_params={"work_pool_name": pool}, json={}
        )
    now = parsedate_to_datetime(answer.headers["date"]) if "date" in answer.headers else datetime.now(UTC)
    heard = [
        Worker(
            answered["name"],
            max(0.0, (now - datetime.fromisoformat(answered["last_heartbeat_time"])).total_seconds()),
            answered.get("heartbeat_interval_seconds") or DEFAULT_BEAT_S,
        )
        for answered in answer.json()
        if answered["last_heartbeat_time"]
    ]
    return sorted(heard, key=lambda worker: worker.age)


def begin(pool: str, parameters: Mapping[str, Any], tags: Iterable[str]) -> UUID | None:
    """Have `stage/<pool>` run as soon as a worker of the pool is free; returns at once. None: no machine has deployed it."""
    from prefect.deployments import run_deployment
    from prefect.exceptions import ObjectNotFound

    try:
        return run_deployment(f"stage/{pool}", parameters=dict(parameters), tags=list(tags), timeout=0).id
    except ObjectNotFound:
        return None


def look(run: UUID) -> FlowRun:
    """A run with its state and labels."""
    with _client() as client:
        return client.read_flow_run(run)


def worker_of(run: FlowRun) -> str:
    """Name of the worker that took a run; empty before one did."""
    return str(run.labels.get("prefect.worker.name", ""))


def note_alive(run: UUID) -> FlowRun:
    """Renew the sign of life of a run's process; the run as it is."""
    with _client() as client:
        client.update_flow_run_labels(run, {ALIVE: datetime.now(UTC).isoformat()})
        return client.read_flow_run(run)


def is_wanted(run: FlowRun) -> bool:
    """Whether anybody waits for the result of a run. The label outlasts the state: a process that a worker was just
    about to start sets it to Running again."""
    return UNWANTED not in run.labels and not (run.state and (run.state.is_cancelling() or run.state.is_cancelled()))


def cancel(run: UUID, why: str) -> State | None:
    """Make sure that a run never executes, or that its process ends soon and its result is not used; its state after that.

    A run that ended by itself stays as it is.
    """
    from prefect.states import Cancelled, Cancelling

    with _client() as client:
        before = client.read_flow_run(run).state
        if before and before.is_completed():
            return before
        client.update_flow_run_labels(run, {UNWANTED: why})
        if before and before.is_final():  # it failed or crashed, and may stay so
            return before
        client.set_flow_run_state(run, Cancelling(message=why))
        after = client.read_flow_run(run).state
        if after and after.is_final() and not after.is_cancelled():  # in the meantime
            return after
        client.set_flow_run_state(run, Cancelled(message=why), force=True)
        return client.read_flow_run(run).state


def unfinished(tag: str) -> list[UUID]:
    """Runs of `stage` with this tag that did not end."""
    from prefect.client.schemas.filters import FlowRunFilter

    wanted = {"tags": {"all_": [tag]}, "state": {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING", "CANCELLING"]}}}
    with _client() as client:
        return [run.id for run in client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(wanted))]


def busy_with(worker: str) -> list[str]:
    """Names of the runs that a worker is at."""
    from prefect.client.schemas.filters import FlowRunFilter

    running = FlowRunFilter.model_validate({"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}})
    with _client() as client:
        return [run.name for run in client.read_flow_runs(flow_run_filter=running) if worker_of(run) == worker]


def _client() -> Any:
    from prefect.client.orchestration import get_client

    return get_client(sync_client=True)
