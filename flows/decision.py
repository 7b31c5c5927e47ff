"""What a retraining does after its DAG: publish the bundle, let the gate decide, announce a promotion, and write the pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from prefect import get_run_logger, task
from prefect.runtime import flow_run

from flows import events, promote, results
from flows.execution import dvc
from flows.execution.local import REPEATED, Context, Ran, run_stages, where_markdown
from flows.execution.remote import OWN_POOL
from flows.execution.workspace import Workspace, tag
from pipelines.config.settings import Settings
from pipelines.promotion.verdict import Verdict
from pipelines.registry import ledger


@contextmanager
def table_of_stages(ran: list[Ran], model: str) -> Iterator[None]:
    """A table of where the stages ran on the run's page, also when the run stops."""
    from prefect.artifacts import create_table_artifact

    try:
        yield
    finally:
        rows = [{**asdict(stage_run), "seconds": round(stage_run.seconds, 1)} for stage_run in ran]
        create_table_artifact(
            rows, key=events.key_of(model, "where-stages-ran"), description="Where the stages ran, and why there."
        )


@task(task_run_name="publish", **REPEATED)
def publish(place: Workspace, settings: Settings, commit: str, ran: list[Ran]) -> ledger.Version:
    """One MLflow run and one registered version of the bundle, however often this runs."""
    places = {stage_run.stage: stage_run.text() for stage_run in ran if stage_run.pool != OWN_POOL}
    version = results.publish_results(settings, place.folder, git_commit=commit, git_ref=place.ref, ran=places)
    tag(place.clone, version.model, version.version, version.git_ref)
    get_run_logger().info("Published as %s.", version)
    return version


@task(task_run_name="decide", **REPEATED)
def decide(place: Workspace, settings: Settings, version: ledger.Version) -> Verdict:
    """The gate, the ledger and the aliases."""
    verdict = results.decide(settings, place.folder, version, actor=_actor(place.run_id))
    get_run_logger().info("%s: %s", verdict.outcome.upper(), verdict.headline)
    return verdict


def show(
    context: Context,
    settings: Settings,
    version: ledger.Version,
    verdict: Verdict,
    reports: Sequence[dvc.Stage],
    ran: list[Ran],
) -> None:
    """Run the stages that make reports, which the decision did not wait for, and write the pages that people read.

    Raises:
        dvc.StageError: a report failed. The decision stands, and the version's page says what is missing.
    """
    workspace = context.workspace
    try:
        run_stages(context, settings, reports, ran)
    except dvc.StageError as error:
        pages(workspace, settings, version, verdict, ran, missing=str(error))
        raise dvc.StageError(
            f"{version.model} {version} is decided ({verdict.outcome}), and its reports are missing. {error}\nMend that and "
            "retrain by this commit and date: what is done is restored, and the reports are added."
        ) from error
    workspace.commit(f"Reports of run {workspace.run_id}", "dvc.lock")
    tag(workspace.clone, version.model, version.version, version.git_ref)
    pages(workspace, settings, version, verdict, ran)


@task(task_run_name="pages", **REPEATED)
def pages(
    place: Workspace, settings: Settings, version: ledger.Version, verdict: Verdict, ran: list[Ran], missing: str = ""
) -> None:
    """The version's pages and the links to them.

    Args:
        missing: why there are no reports.
    """
    from prefect.artifacts import create_link_artifact, create_markdown_artifact

    if verdict.finding == "awaits review":  # a person may have answered while the reports were made
        decisions = ledger.history(settings.promoter_url, version.model)
        verdict = next(Verdict.from_dict(row.verdict) for row in decisions if row.to_version == version.version)
    if not missing:
        results.add_reports(settings, place.folder, version)
    warning = f"\n\n**The reports are missing.** {missing}" if missing else ""
    results.write_pages(settings, place.folder, version, verdict, place.run_id, stages=where_markdown(ran) + warning)
    create_markdown_artifact(verdict.markdown(), key=events.key_of(version.model, "verdict"), description=verdict.headline)
    for name, address in results.links(settings, version).items():
        create_link_artifact(address, link_text=f"{version.model} {version}: {name}", key=events.key_of(version.model, name))


def _actor(run_id: str) -> str:
    """Who the ledger says decided."""
    return f"retrain/{run_id}"


@task(task_run_name="ask", **REPEATED)
def ask(settings: Settings, version: ledger.Version) -> None:
    """Where a person has the last word: the flow run that waits for it, and word that it does."""
    address = promote.begin(settings, version)
    get_run_logger().warning("%s awaits a person's answer: %s", version, address)


@task(task_run_name="announce", **REPEATED)
def announce(settings: Settings, version: ledger.Version, cause: str) -> None:
    """Emit `promoted` if this run made the version champion: one that was champion before is no news."""
    decisions = ledger.history(settings.promoter_url, version.model)
    promotion = next((row for row in decisions if row.decision == "promoted" and row.actor == _actor(flow_run.id)), None)
    if promotion:
        events.announce_promotion(settings, promotion, cause=cause)
