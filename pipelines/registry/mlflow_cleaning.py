"""What of MLflow's can go: runs that failed, and the reports of a run. A bundle is never taken away."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from pipelines.registry.mlflow_registry import MOST_RUNS, PARENT, REPORTS
from pipelines.registry.mlflow_registry import _client as connected

if TYPE_CHECKING:
    from mlflow import MlflowClient

ENDED_BADLY = "attributes.status = 'FAILED'"


def failed_runs(tracking_uri: str, model: str, before: datetime) -> list[str]:
    """Runs of a model that failed before a moment, each after the trials below it."""
    with connected(tracking_uri) as client:
        experiment = client.get_experiment_by_name(model)
        if experiment is None:
            return []
        moment = int(before.timestamp() * 1000)
        failed = client.search_runs(
            [experiment.experiment_id], f"{ENDED_BADLY} and attributes.end_time < {moment}", max_results=MOST_RUNS
        )
        ids = [run.info.run_id for run in failed if PARENT not in run.data.tags]  # a trial that failed belongs to its version
        return [identifier for run_id in ids for identifier in (*_below(client, experiment.experiment_id, run_id), run_id)]


def delete_run(tracking_uri: str, run_id: str) -> None:
    """Take a run out of MLflow, with its files."""
    with connected(tracking_uri) as client:
        _delete_files(client, tracking_uri, run_id, None)
        client.delete_run(run_id)


def delete_reports(tracking_uri: str, run_id: str) -> None:
    """Take the reports of a run away; its bundle, figures and params stay."""
    with connected(tracking_uri) as client:
        _delete_files(client, tracking_uri, run_id, REPORTS)


def reports_size(tracking_uri: str, run_id: str) -> int:
    """Bytes of a run's reports; 0 without any."""
    with connected(tracking_uri) as client:
        return sum(_sizes(client, run_id, REPORTS))


def _below(client: MlflowClient, experiment: str, run_id: str) -> Iterator[str]:
    for run in client.search_runs([experiment], f"tags.`{PARENT}` = '{run_id}'", max_results=MOST_RUNS):
        yield run.info.run_id


def _sizes(client: MlflowClient, run_id: str, path: str) -> Iterator[int]:
    for entry in client.list_artifacts(run_id, path):
        if entry.is_dir:
            yield from _sizes(client, run_id, entry.path)
        else:
            yield entry.file_size or 0


def _delete_files(client: MlflowClient, tracking_uri: str, run_id: str, path: str | None) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    uri = client.get_run(run_id).info.artifact_uri
    get_artifact_repository(uri, tracking_uri=tracking_uri).delete_artifacts(path)
