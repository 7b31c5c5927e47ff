"""The flow `score`: the champion's scores of everyone there is, on the newest day that the source has complete."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from prefect import flow, get_run_logger, task
from prefect.runtime import flow_run

from flows import ending, lineage
from flows.ending import explained
from flows.execution.local import REPEATED
from pipelines.config import params
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.config.settings import load as load_settings
from pipelines.registry import ledger
from pipelines.scoring import predictions

if TYPE_CHECKING:
    from monitoring.subject import Subject


def _run_name() -> str:
    return f"score-{flow_run.parameters.get('as_of') or 'newest'}"


@flow(name="score", flow_run_name=_run_name, persist_result=False)
@explained
def score(as_of: str | None = None, version: int | None = None, force: bool = False) -> Any:
    """Score everyone once, by the champion; a run that was killed is taken up where it was.

    Args:
        as_of: the day, YYYY-MM-DD; by default the newest that the source has complete.
        version: number of the version; by default the champion. The scores of another are kept and not shown.
        force: score once more although this version and day have scores.
    """
    settings = load_settings()
    config = params.read(settings.folder / "params.yaml")
    today, empty = flow_run.scheduled_start_time.date(), config.monitor.snapshot_policy == "every"
    run = write_scores(settings, _version(settings, config.model, version), as_of, today, force, empty)
    summary = f"{run.row_count:,} scores of {run.as_of} by {config.model} v{run.version} are complete ({run.run_key})."
    return ending.done(f"{summary} `evergreen monitor scores --out FILE` writes them to a file.")


def _version(settings: Settings, model: str, number: int | None) -> ledger.Version:
    chosen = ledger.version(settings.scorer_url, model, number) if number else ledger.champion(settings.scorer_url, model)
    if chosen is None:
        raise EvergreenError(f"{model!r} has no champion to score by: `evergreen run retrain`.")
    return chosen


@task(task_run_name="write_scores", **REPEATED)
def write_scores(
    settings: Settings, version: ledger.Version, as_of: str | None, today: date, force: bool, may_be_empty: bool
) -> predictions.Run:
    """The scores of one version and day, in the prediction ledger."""
    from monitoring.subject import Subject
    from pipelines.registry import publish
    from pipelines.scoring import score as scoring

    bundle = publish.fetch(settings.mlflow_tracking_uri, version, settings.home / "models")
    with lineage.source(settings, version) as source:
        day = scoring.day(source, as_of, today)
        subject = Subject(settings.scorer_url, version, source, bundle)
        return score_day(settings.scorer_url, subject, day, force=force, may_be_empty=may_be_empty)


def score_day(url: str, subject: Subject, day: date, *, force: bool = False, may_be_empty: bool = False) -> predictions.Run:
    """Everyone's score on a day, and what those who watch the version count of the rows while they pass.

    Args:
        url: our own database by who scores; the subject's is that of who watches.
    """
    from pipelines.scoring import score as scoring

    say, count = get_run_logger().info, subject.count if subject.can_be_watched else None
    return scoring.score(
        subject.source,
        url,
        subject.version,
        subject.bundle,
        as_of=day,
        force=force,
        may_be_empty=may_be_empty,
        count=count,
        say=say,
    )
