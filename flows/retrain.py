"""The flow `retrain`: pin, run the DAG's stages, publish the bundle, and let the gate decide.

The stages come from DVC's graph. What touches MLflow or the ledger comes after the DAG, since a cached stage does
not run.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger, task
from prefect.runtime import deployment, flow_run
from prefect.states import Completed

from flows import decision, ending, events, promote, results
from flows.ending import explained
from flows.execution import dvc, local, workers, workspace
from flows.execution.local import REPEATED, Ran
from flows.execution.remote import Choice, Policy, tag_of
from flows.execution.workspace import Workspace
from monitoring import store
from monitoring.reports import site
from pipelines.config import params
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.config.settings import load as load_settings
from pipelines.data import extract
from pipelines.registry import ledger

BEGUN = ["RUNNING", "CRASHED", "CANCELLING", "CANCELLED", "FAILED"]  # states of a run whose process may have been killed


def _run_name() -> str:
    return f"retrain-{flow_run.parameters.get('as_of') or 'newest'}"


@flow(name="retrain", flow_run_name=_run_name, persist_result=False)
@explained
def retrain(
    as_of: str | None = None,
    commit: str | None = None,
    use_uncommitted: bool = False,
    without_worker: Choice = "cpu",
    worker_deadline: int = 120,
    cause: str | None = None,
) -> Any:
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
        cause: key of the window whose verdict asked for it, such as 2025-10; by default a person or the schedule did. Of
            several runs of one cause the first is done.
    """
    settings = load_settings()
    if as_of and as_of != params.TIMELESS:
        extract.day(as_of)  # before the ledger is to note it as one
    if cause:
        _label(cause)
    threading.Thread(target=_import_ahead, daemon=True).start()
    base = _base_commit(settings, commit, use_uncommitted)
    model = workspace.params_at(settings.folder, base).model
    ran: list[Ran] = []
    with ledger.retraining_lock(settings.promoter_url, model) as confirm_lock, _noted(settings, model, cause, as_of) as noted:
        if not noted.is_new:
            return Completed(message=f"Window {cause} was answered by another retraining.")
        crash_dead_runs(settings)
        promote.expire_reviews(settings, model)
        place = workspace.create(settings, flow_run.id, base)
        environment = os.environ | settings.environment()
        try:
            with dvc.runner(place.folder, environment) as runner:
                pin(place, settings, as_of)
                context = local.Context(runner, place, Policy(without_worker, worker_deadline))
                with decision.table_of_stages(ran, model):
                    needed = dvc.needed_by(runner.stages, results.PACKAGE)
                    local.run_stages(context, settings, needed, ran)
                    results_commit = place.commit(f"Results of run {place.run_id}", "params.yaml", "dvc.lock")
                    confirm_lock()
                    noted.version = decision.publish(place, settings, results_commit, ran)
                    verdict = decision.decide(place, settings, noted.version)
                    noted.outcome = verdict.outcome
                    # the decision stands, whatever fails from here on
                    if verdict.finding == "awaits review":
                        decision.ask(settings, noted.version, return_state=True)
                    decision.announce(settings, noted.version, cause or "", return_state=True)
                    reports = [stage for stage in runner.stages if stage not in needed]
                    decision.show(context, settings, noted.version, verdict, reports, ran)
                    return ending.decided(settings, noted.version, verdict)
        except dvc.StageError as error:
            _leave_something_to_read(place, settings, model, error)
            raise
        finally:
            workspace.remove(place)


@dataclass
class _Noted:
    """A retraining as the ledger of windows is to remember it."""

    is_new: bool
    outcome: store.Outcome = "failed"
    version: ledger.Version | None = None


@contextmanager
def _noted(settings: Settings, model: str, cause: str | None, as_of: str | None) -> Iterator[_Noted]:
    """Whether a retraining of this cause is still to be done; how it ended is written down whatever happens."""
    noted = _Noted(store.begin_retraining(settings.promoter_url, model, str(flow_run.id), cause, as_of))
    opening = threading.Thread(target=_write_first_page, args=(settings,), daemon=True)  # while the stages run
    try:
        opening.start()
        yield noted
    finally:
        if noted.is_new:
            version = noted.version.version if noted.version else None
            with suppress(EvergreenError):  # a database that is away: the next retraining writes it down
                store.end_retraining(settings.promoter_url, model, str(flow_run.id), noted.outcome, version=version)
            opening.join()
            _write_first_page(settings)


def _write_first_page(settings: Settings) -> None:
    """So that it says of a retraining that it runs, and no longer than it does."""
    from flows import first_page  # and with it all that watches

    with suppress(EvergreenError):  # a database that is away: whoever writes it next says so
        first_page.write(settings)


def _import_ahead() -> None:
    """DVC and MLflow take seconds to import: one does so while the source is asked, the other while the stages run."""
    for module in ("dvc.repo", "mlflow.tracking.client"):
        importlib.import_module(module)


def _label(cause: str) -> None:
    """For whoever looks at the run; its parameter says the same, so nothing fails with it."""
    with suppress(EvergreenError), events.client("label the run") as prefect:
        prefect.update_flow_run_labels(UUID(str(flow_run.id)), {events.CAUSE: cause})


def _leave_something_to_read(place: Workspace, settings: Settings, model: str, error: dvc.StageError) -> None:
    """The reports of a run that stopped, and a link to them on the run."""
    from prefect.artifacts import create_link_artifact

    page = site.write_red(settings.home / "site", model, place.run_id, error=str(error), reports=place.folder / results.REPORTS)
    create_link_artifact(f"{settings.site_url}/{page}", link_text="What stopped this run", key=events.key_of(model, "stopped"))


def _base_commit(settings: Settings, commit: str | None, use_uncommitted: bool) -> str:
    """What the run is made from.

    Raises:
        EvergreenError: files were changed and nobody asked to use them.
    """
    if use_uncommitted:
        return workspace.snapshot_commit(settings.folder)
    changed = workspace.changed_files(settings.folder)
    if changed:
        raise EvergreenError(
            f"{settings.folder} has uncommitted files: {', '.join(changed[:20])}. Commit them and run `evergreen deploy`, "
            "or pass -p use_uncommitted=true to train by them as they are."
        )
    chosen = workspace.git(settings.folder, "rev-parse", f"{commit or deployment.version or 'HEAD'}^{{commit}}")
    newest = workspace.git(settings.folder, "rev-parse", "HEAD")
    get_run_logger().info("Training by commit %s.", chosen)
    if chosen != newest and not commit:
        get_run_logger().warning("The clone is at %s by now: `evergreen deploy` makes runs use that.", newest)
    return chosen


def crash_dead_runs(settings: Settings) -> None:
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
        started = client.read_flow_runs(
            flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": BEGUN}}}),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            deployment_filter=DeploymentFilter.model_validate({"id": {"any_": [deployment.id]}}),
        )
        for run in started:
            left = workspace.at(settings, str(run.id))
            if left.folder.exists():
                for orphan in workers.unfinished(tag_of(left.run_id)):
                    workers.cancel(orphan, "The retraining that asked for it is gone.")
                if run.state and not run.state.is_final():
                    gone = Crashed(message="Its process is gone: it no longer held the model's lock.")
                    client.set_flow_run_state(run.id, gone, force=True)
                workspace.remove(left)


@task(task_run_name="pin", **REPEATED)
def pin(place: Workspace, settings: Settings, as_of: str | None) -> None:
    """Write the pin into the workspace's params.yaml, and commit it before the first stage."""
    config = params.read(place.folder / "params.yaml")
    queries = extract.Queries(place.folder / "sql" / config.data.dataset)
    chosen = extract.pin(settings.source_url, queries, config.data, as_of, count=False)
    params.write_pin(place.folder / "params.yaml", chosen.as_of, chosen.fingerprint)
    place.commit(f"Pin of run {place.run_id}: {chosen.as_of}", "params.yaml")
    get_run_logger().info("As of %s, fingerprint %s.", chosen.as_of, chosen.fingerprint)
