"""The flow `stage`: one stage of the DAG, on whatever pool it is deployed to, for a run that works elsewhere."""

from __future__ import annotations

import os

from prefect import flow, get_run_logger
from prefect.runtime import flow_run

from flows import dag, workspace
from pipelines import settings


@flow(name="stage", flow_run_name="stage-{name}", persist_result=False)
def stage(name: str, repository: str, ref: str) -> None:
    """Restore what the stage reads from the DVC remote, run it, and push what it made.

    Args:
        name: the stage as DVC writes it, such as `train@mlp`.
        repository: where the run's ref is to be fetched from: a path or URL that git reads.
        ref: the run's ref, whose dvc.lock knows the results so far.
    """
    here = settings.load()
    workspace.git(here.folder, "fetch", "--quiet", "--no-tags", repository, f"+{ref}:{ref}")
    place = workspace.create(here, flow_run.id, workspace.git(here.folder, "rev-parse", ref))
    try:
        with dag.runner(place.folder, os.environ | here.environment()) as runner:
            runner.exchange("repro", get_run_logger().info, name)
    finally:
        workspace.remove(place)
