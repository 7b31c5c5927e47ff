"""The flow `score`: the champion's scores of everyone there is, on the newest day that the source has complete."""

from __future__ import annotations

from datetime import date

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from flows import lineage
from flows.execution import can_help
from pipelines import ledger, params, predictions, settings
from pipelines.errors import EvergreenError


def _run_name() -> str:
    return f"score-{flow_run.parameters.get('as_of') or 'newest'}"


@flow(name="score", flow_run_name=_run_name, persist_result=False)
def score(as_of: str | None = None, version: int | None = None, force: bool = False) -> None:
    """Score everyone once, by the champion; a run that was killed is taken up where it was.

    Args:
        as_of: the day, YYYY-MM-DD; by default the newest that the source has complete.
        version: number of the version; by default the champion. The scores of another are kept and not shown.
        force: score once more although this version and day have scores.
    """
    here = settings.load()
    run = write_scores(here, _version(here, version), as_of, flow_run.scheduled_start_time.date(), force)
    get_run_logger().info("%s: %s scores, complete.", run.run_key, f"{run.row_count:,}")


def _version(here: settings.Settings, number: int | None) -> ledger.Version:
    model = params.read(here.folder / "params.yaml").model
    chosen = ledger.version(here.evergreen_url, model, number) if number else ledger.champion(here.evergreen_url, model)
    if chosen is None:
        raise EvergreenError(f"{model!r} has no champion to score by: `prefect deployment run 'retrain/{model}' --watch`.")
    return chosen


@task(cache_policy=NO_CACHE, retry_condition_fn=can_help, task_run_name="write_scores", retries=2, retry_delay_seconds=[5, 20])
def write_scores(
    here: settings.Settings, version: ledger.Version, as_of: str | None, today: date, force: bool
) -> predictions.Run:
    """The scores of one version and day, in the prediction ledger."""
    from pipelines import publish
    from pipelines import score as scoring

    bundle = publish.fetch(here.mlflow_tracking_uri, version, here.home / "models")
    with lineage.source(here, version) as source:
        day = scoring.day(source, as_of, today)
        return scoring.score(source, here.evergreen_url, version, bundle, as_of=day, force=force, say=get_run_logger().info)
