"""A stage on another pool's worker: what crosses is content in the DVC remote, never a return value."""

from __future__ import annotations

from typing import Any

from flows import dag
from flows.workspace import Workspace

OWN_POOL = "cpu"  # the pool that the retrain flow itself runs on


def run_elsewhere(stage: dag.Stage, runner: dag.Runner, place: Workspace, log: Any) -> None:
    """Have `stage/<pool>` run a stage at this run's ref; its results are then to be had from the remote.

    Raises:
        dag.StageError: the run over there did not complete.
    """
    from prefect.deployments import run_deployment

    runner.exchange("push", log.debug)
    place.commit(f"Before stage {stage.name} of run {place.run_id}", "params.yaml", "dvc.lock")
    parameters = {"name": stage.name, "repository": str(place.clone), "ref": place.ref}
    run = run_deployment(f"stage/{stage.pool}", parameters=parameters, poll_interval=1)
    if not run.state or not run.state.is_completed():
        found = run.state.message if run.state and run.state.message else "it has no state"
        raise dag.StageError(f"Stage {stage.name} on pool {stage.pool} did not complete (run {run.name}): {found}")
    runner.exchange("pull", log.debug, stage.name)
