"""Run a deployment from a terminal: a line for every step that ends, then how it ended and where to look."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from flows import events, ownership
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings

POLL_S = 1.0
WAITING_S = 20.0  # until it is said that no worker has taken the run
SILENT_S = 30.0  # without a line: then what runs is named
WARNING = 30  # the level of logs from which on they are shown
Say = Callable[[str], None]


@dataclass(frozen=True)
class Ended:
    """The final state of a run: its name, such as Promoted or Failed, and its message."""

    name: str
    message: str
    is_completed: bool
    address: str

    def text(self) -> str:
        return f"{self.name}: {self.message or 'without a word.'}\nThe run: {self.address}"


def run(settings: Settings, deployment: str, parameters: Mapping[str, Any], say: Say) -> Ended:
    """Start a run of a deployment of this clone, such as `retrain/churn`, and wait until it has ended.

    Raises:
        EvergreenError: there is no such deployment, it is another clone's, or Prefect is out of reach.
    """
    given = {name: value for name, value in parameters.items() if value is not None}
    with events.client(f"run {deployment}", settings.prefect_api_url) as prefect:
        made = prefect.create_flow_run_from_deployment(_own(prefect, settings, deployment), parameters=given)
        address = f"{settings.prefect_api_url.removesuffix('/api')}/runs/flow-run/{made.id}"
        say(f"{deployment} is run {made.name}: {address}")
        try:
            state = _Watcher(prefect, made.id, say).follow()
        except KeyboardInterrupt:
            say(f"The run goes on without this terminal. To end it: prefect flow-run cancel {made.id}")
            raise
    return Ended(state.name or state.type.value, state.message or "", state.is_completed(), address)


def _own(prefect: Any, settings: Settings, name: str) -> UUID:
    from prefect.exceptions import ObjectNotFound

    try:
        deployment = prefect.read_deployment_by_name(name)
    except ObjectNotFound:
        raise EvergreenError(
            f"Prefect at {settings.prefect_api_url} has no deployment {name}: run `evergreen deploy`."
        ) from None
    if (owner := ownership.read(deployment.tags)) != ownership.of(settings):
        raise EvergreenError(
            f"{name} works in {owner}, not in this clone: run it there, or make it this one's: `evergreen deploy --take-over`."
        )
    return deployment.id


@dataclass
class _Watcher:
    """Tells of a run's steps as they end, and of its warnings as they come."""

    prefect: Any
    run_id: UUID
    say: Say
    began: float = field(default_factory=time.monotonic)
    reported: set[UUID] = field(default_factory=set)
    logs: int = 0
    has_waited: bool = False
    running: list[str] = field(default_factory=list)
    spoke: float = field(default_factory=time.monotonic)

    def follow(self) -> Any:
        """The final state."""
        while True:
            state = self.prefect.read_flow_run(self.run_id).state  # first: what ended before it is then all reported
            self._tell_steps()
            self._log_warnings()
            if state is not None and state.is_final():
                return state
            if state is not None and not state.is_running() and not self.has_waited and self._seconds() > WAITING_S:
                self.has_waited = True
                self._line(f"waits ({state.name}): is a worker free? `evergreen status`")
            if state is not None and time.monotonic() - self.spoke > SILENT_S:
                self._line(f"still at {', '.join(self.running) or f'no step ({state.name})'}")
            time.sleep(POLL_S)

    def _tell_steps(self) -> None:
        from prefect.client.schemas.filters import FlowRunFilter
        from prefect.client.schemas.sorting import TaskRunSort

        of_run = FlowRunFilter.model_validate({"id": {"any_": [self.run_id]}})
        steps = self.prefect.read_task_runs(flow_run_filter=of_run, sort=TaskRunSort.END_TIME_DESC)
        self.running = [step.name for step in reversed(steps) if step.state is not None and step.state.is_running()]
        for step in reversed(steps):
            if step.id not in self.reported and step.state is not None and step.state.is_final():
                self.reported.add(step.id)
                if step.state.state_details.child_flow_run_id:
                    continue  # Prefect's stand-in for a run on another pool, whose own step is a line
                word = "" if step.state.is_completed() else f"  {step.state.name}"
                self._line(f"{step.name:<28} {step.total_run_time.total_seconds():6.1f} s{word}")

    def _log_warnings(self) -> None:
        from prefect.client.schemas.filters import LogFilter

        wanted = LogFilter.model_validate({"flow_run_id": {"any_": [self.run_id]}, "level": {"ge_": WARNING}})
        for log in self.prefect.read_logs(wanted, offset=self.logs):
            self.logs += 1
            if log.level < 40 or not log.message.startswith("Finished in state"):  # that is reported at the end
                self._line(f"{'WARNING' if log.level < 40 else 'ERROR'} {log.message.splitlines()[0]}")

    def _line(self, text: str) -> None:
        self.spoke = time.monotonic()
        self.say(f"[{self._seconds():5.0f} s] {text}")

    def _seconds(self) -> float:
        return time.monotonic() - self.began
