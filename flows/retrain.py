"""The flow `retrain`: pin, run the DAG's stages, publish the bundle, and let the gate decide.

The stages come from DVC's graph. What touches MLflow or the ledger comes after the DAG, since a cached stage does
not run.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import deployment, flow_run

from flows import dag, execution, results, workers, workspace
from flows.execution import Ran, can_help, where_markdown
from flows.handover import OWN_POOL, Choice, Policy, tag_of
from flows.workspace import Workspace
from monitoring import site
from pipelines import extract, ledger, params, settings
from pipelines.errors import EvergreenError

BEGUN = ["RUNNING", "CRASHED", "CANCELLING", "CANCELLED", "FAILED"]  # states of a run whose process may have been killed
DATABASE_RETRIES = {"retries": 2, "retry_delay_seconds": [5, 20]}


def _run_name() -> str:
    return f"retrain-{flow_run.parameters.get('as_of') or 'newest'}"


@flow(name="retrain", flow_run_name=_run_name, persist_result=False)
def retrain(
    as_of: str | None = None,
    commit: str | None = None,
    use_uncommitted: bool = False,
    without_worker: Choice = "cpu",
    worker_deadline: int = 120,
) -> None:
    """Retrain the model of this project, and promote the result when it is shown to be better.

    Args:
        as_of: date to pin, YYYY-MM-DD; by default the newest that the source has complete.
        commit: what to train by; by default the deployed commit.
        use_uncommitted: train by the files as they lie in the clone, kept on the run's ref.
        without_worker: what happens to a stage of another pool that no worker there begins within the deadline, be it
            that none lives or that all are busy. `cpu`: it is cancelled there and runs here, slower. `fail`: it is
            cancelled, and this run ends with what to do. `wait`: it goes on waiting, and says so at every deadline.
            A stage whose worker is lost after it began is handed over again, and the deadline begins again.
        worker_deadline: seconds that a stage of another pool waits to be begun.
    """
    here = settings.load()
    # MLflow takes seconds to import: it does so while the stages run in a process of their own
    threading.Thread(target=importlib.import_module, args=("mlflow.tracking.client",), daemon=True).start()
    base = _base_commit(here, commit, use_uncommitted)
    model = workspace.params_at(here.folder, base).model
    ran: list[Ran] = []
    with ledger.retraining_lock(here.evergreen_url, model) as confirm_lock:
        bury_dead_runs(here)
        place = workspace.create(here, flow_run.id, base)
        try:
            pin(place, here, as_of)
            with _kept(ran, model):
                execution.run_stages(place, here, Policy(without_worker, worker_deadline), ran)
            results_commit = place.commit(f"Results of run {place.run_id}", "params.yaml", "dvc.lock")
            confirm_lock()
            decide(place, here, publish(place, here, results_commit, ran), ran)
        except dag.StageError as error:
            _leave_something_to_read(place, here, model, error)
            raise
        finally:
            workspace.remove(place)


def _leave_something_to_read(place: Workspace, here: settings.Settings, model: str, error: dag.StageError) -> None:
    """The reports of a run that stopped, and a link to them on the run."""
    from prefect.artifacts import create_link_artifact

    page = site.write_red(here.home / "site", model, place.run_id, error=str(error), reports=place.folder / results.REPORTS)
    create_link_artifact(f"{here.site_url}/{page}", link_text="What stopped this run", key=_key(model, "stopped"))


def _key(model: str, what: str) -> str:
    """Prefect's keys have no underscores."""
    return f"{model}-{what}".replace("_", "-")


def _base_commit(here: settings.Settings, commit: str | None, use_uncommitted: bool) -> str:
    """What the run is made from.

    Raises:
        EvergreenError: files were changed and nobody asked to use them.
    """
    if use_uncommitted:
        return workspace.snapshot_commit(here.folder)
    changed = workspace.changed_files(here.folder)
    if changed:
        raise EvergreenError(
            f"{here.folder} has uncommitted files: {', '.join(changed[:20])}. Commit them and run `evergreen deploy`, "
            "or pass -p use_uncommitted=true to train by them as they are."
        )
    chosen = workspace.git(here.folder, "rev-parse", f"{commit or deployment.version or 'HEAD'}^{{commit}}")
    newest = workspace.git(here.folder, "rev-parse", "HEAD")
    get_run_logger().info("Training by commit %s.", chosen)
    if chosen != newest and not commit:
        get_run_logger().warning("The clone is at %s by now: `evergreen deploy` makes runs use that.", newest)
    return chosen


def bury_dead_runs(here: settings.Settings) -> None:
    """Mark killed runs as Crashed, and take their workspaces away.

    To be called by the holder of the model's lock: a workspace is made and removed under it, so one that is there now
    belongs to a run that was killed. (A run that merely waits to be refused has none.) Its state may say so already: what
    it had handed over is cancelled all the same.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.states import Crashed

    if not deployment.id:
        return
    with get_client(sync_client=True) as client:
        begun = client.read_flow_runs(
            flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": BEGUN}}}),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            deployment_filter=DeploymentFilter.model_validate({"id": {"any_": [deployment.id]}}),
        )
        for run in begun:
            left = workspace.at(here, str(run.id))
            if left.folder.exists():
                for orphan in workers.unfinished(tag_of(left.run_id)):
                    workers.cancel(orphan, "The retraining that asked for it is gone.")
                if run.state and not run.state.is_final():
                    gone = Crashed(message="Its process is gone: it no longer held the model's lock.")
                    client.set_flow_run_state(run.id, gone, force=True)
                workspace.remove(left)


@task(cache_policy=NO_CACHE, retry_condition_fn=can_help, task_run_name="pin", **DATABASE_RETRIES)
def pin(place: Workspace, here: settings.Settings, as_of: str | None) -> None:
    """Write the pin into the workspace's params.yaml, and commit it before the first stage."""
    config = params.read(place.folder / "params.yaml")
    queries = extract.Queries(place.folder / "sql" / config.data.dataset)
    found = extract.pin(here.source_url, queries, config.data, as_of)
    params.write_pin(place.folder / "params.yaml", found.as_of, found.fingerprint)
    place.commit(f"Pin of run {place.run_id}: {found.as_of}", "params.yaml")
    get_run_logger().info("As of %s: %s rows, %s positive.", found.as_of, f"{found.rows:,}", f"{found.positives:,}")


@contextmanager
def _kept(ran: list[Ran], model: str) -> Iterator[None]:
    """A table of where the stages ran on the run's page, also when the run stops."""
    from prefect.artifacts import create_table_artifact

    try:
        yield
    finally:
        rows = [{**asdict(one), "seconds": round(one.seconds, 1)} for one in ran]
        create_table_artifact(rows, key=_key(model, "where-stages-ran"), description="Where the stages ran, and why there.")


@task(cache_policy=NO_CACHE, retry_condition_fn=can_help, task_run_name="publish", **DATABASE_RETRIES)
def publish(place: Workspace, here: settings.Settings, commit: str, ran: list[Ran]) -> ledger.Version:
    """One MLflow run and one registered version of the bundle, however often this runs."""
    where = {one.stage: one.text() for one in ran if one.pool != OWN_POOL}
    version = results.publish_results(here, place.folder, git_commit=commit, git_ref=place.ref, ran=where)
    workspace.tag(place.clone, version.model, version.version, version.git_ref)
    get_run_logger().info("Published as %s.", version)
    return version


@task(cache_policy=NO_CACHE, retry_condition_fn=can_help, task_run_name="decide", **DATABASE_RETRIES)
def decide(place: Workspace, here: settings.Settings, version: ledger.Version, ran: list[Ran]) -> None:
    """The gate, the ledger, the aliases, and the pages that people read."""
    from prefect.artifacts import create_link_artifact, create_markdown_artifact

    verdict = results.decide(here, place.folder, version, actor=f"retrain/{place.run_id}")
    get_run_logger().info("%s: %s", verdict.outcome.upper(), verdict.headline)
    results.write_pages(here, place.folder, version, verdict, place.run_id, where=where_markdown(ran))
    create_markdown_artifact(verdict.markdown(), key=_key(version.model, "verdict"), description=verdict.headline)
    for name, address in results.links(here, version).items():
        create_link_artifact(address, link_text=f"{version.model} {version}: {name}", key=_key(version.model, name))
