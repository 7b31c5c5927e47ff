"""The flow `promote`: asks a person, in Prefect, about what the gate would promote, and does what the answer says.

It is a flow of its own, so that a retraining ends when its work is done: a run that waits has no process, and begins from its
top when somebody resumes it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from prefect import flow, get_run_logger, task
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from prefect.states import Completed
from pydantic import Field

from flows import events, results
from flows.ending import explained
from flows.execution.local import REPEATED
from pipelines.config import params
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.config.settings import load as load_settings
from pipelines.promotion.verdict import Verdict
from pipelines.registry import ledger, publish, reviews
from pipelines.registry.reviews import Review

ANSWERED = REPEATED | {"retries": 3, "retry_delay_seconds": [2, 10, 30]}  # somebody has just answered, and looks


class Answer(RunInput):
    """What the form of Prefect's UI asks when the run is resumed."""

    answer: Literal["approve", "reject"] = Field(description="approve: it becomes champion now. reject: the champion stays")
    name: str = Field(min_length=1, description="who answers; stands in the ledger for good")
    comment: str = Field(min_length=1, description="why; stands in the ledger for good")


def _run_name() -> str:
    review = flow_run.parameters.get("review")
    return f"promote-review-{review}" if review else "promote-newest-review"


@flow(name="promote", flow_run_name=_run_name, persist_result=False)
@explained
def promote(review: int | None = None) -> Any:
    """Ask a person about a version that the gate would promote; the answer, with who and why, enters the ledger.

    Args:
        review: number of the decision that awaits an answer; by default the newest.

    Raises:
        EvergreenError: it was approved, and another version had become champion meanwhile.
    """
    settings, log = load_settings(), get_run_logger()
    model = params.read(settings.folder / "params.yaml").model
    expire_reviews(settings, model)
    pending = next(
        (
            open_review
            for open_review in reviews.open_reviews(settings.promoter_url, model)
            if review in (None, open_review.sequence)
        ),
        None,
    )
    if pending is None:
        publish.reconcile(
            settings.promoter_url, settings.mlflow_tracking_uri, model
        )  # a kill after the answer leaves them behind
        return Completed(
            message="Nothing awaits an answer: it was given, or came too late. `evergreen model history` shows which."
        )
    seconds = max(1, round(pending.seconds_left(datetime.now(UTC))))
    given = suspend_flow_run(wait_for_input=_form(settings, model, pending), timeout=seconds, key=f"review-{pending.sequence}")
    verdict = settle(settings, model, pending, given.answer, given.name, given.comment)
    log.info("%s: %s", verdict.outcome.upper(), verdict.headline)
    show(settings, model, pending.version, verdict)
    if verdict.finding == "champion moved":
        raise EvergreenError(verdict.headline)
    if verdict.outcome == "promoted":
        announce(settings, model, pending.version)
    return Completed(message=verdict.headline)


def begin(settings: Settings, version: ledger.Version) -> str:
    """Start the flow run that asks about a version which awaits review, and notify people; its address. Twice is once.

    Raises:
        EvergreenError: no such deployment: this clone was deployed before there were reviews.
    """
    from prefect.exceptions import ObjectNotFound

    model = version.model
    pending = next(
        open_review
        for open_review in reviews.open_reviews(settings.promoter_url, model)
        if open_review.version == version.version
    )
    with events.client(f"ask a person about {model} {version}", settings.prefect_api_url) as client:
        try:
            deployment = client.read_deployment_by_name(f"promote/{model}")
        except ObjectNotFound:
            raise EvergreenError(
                f"Prefect has no deployment promote/{model}, by which a person is asked: run `evergreen deploy`, then "
                f"`prefect deployment run 'promote/{model}'`."
            ) from None
        key = f"review-{model}-{pending.sequence}"
        made = client.create_flow_run_from_deployment(
            deployment.id, parameters={"review": pending.sequence}, idempotency_key=key
        )
    address = f"{settings.prefect_api_url.removesuffix('/api')}/runs/flow-run/{made.id}"
    payload = {
        "version": str(version.version),
        "message": f"v{version.version} awaits approval",
        "why": pending.verdict.headline,
        "next": f"Open {address} and press Resume: approve or reject within {pending.verdict.review['hours']:g} hours.",
    }
    events.emit(model, "review", payload, api=settings.prefect_api_url)
    return address


def expire_reviews(settings: Settings, model: str) -> None:
    """Enter into the ledger that nobody has answered, where the time for it is over."""
    url = settings.promoter_url
    for review in reviews.open_reviews(url, model):
        if review.seconds_left(datetime.now(UTC)) <= 0:
            version, verdict = ledger.version(url, model, review.version), reviews.expired(review)
            publish.record_decision(url, version, verdict, revision=review.revision, actor="evergreen")
            get_run_logger().warning("%s", verdict.headline)


@task(task_run_name="settle", **ANSWERED)
def settle(settings: Settings, model: str, review: Review, answer: reviews.Answer, by: str, comment: str) -> Verdict:
    """The answer in the ledger, and MLflow's aliases after it."""
    url, version = settings.promoter_url, ledger.version(settings.promoter_url, model, review.version)
    verdict = reviews.answered(review, answer, by=by, comment=comment)
    try:
        if verdict.outcome == "promoted":  # what cannot be loaded must not become champion
            publish.fetch(settings.mlflow_tracking_uri, version, settings.home / "models")
        publish.record_decision(url, version, verdict, revision=review.revision, actor=by)
    except ledger.ChampionMovedError:
        champion = ledger.champion(url, model)
        if champion is None or champion.version != version.version:  # else it is this very answer, recorded before a retry
            verdict = reviews.moved(verdict, champion)
            publish.record_decision(url, version, verdict, revision=champion.revision if champion else 0, actor=by)
    publish.reconcile(url, settings.mlflow_tracking_uri, model)
    return verdict


@task(task_run_name="pages", **ANSWERED)
def show(settings: Settings, model: str, version: int, verdict: Verdict) -> None:
    """The verdict on the version's pages, the first page, and the run."""
    from prefect.artifacts import create_markdown_artifact

    results.replace_verdict(settings, model, version, verdict)
    create_markdown_artifact(verdict.markdown(), key=events.key_of(model, "verdict"), description=verdict.headline)


@task(task_run_name="announce", **ANSWERED)
def announce(settings: Settings, model: str, version: int) -> None:
    """Emit `promoted`."""
    decisions = ledger.history(settings.promoter_url, model)
    row = next(row for row in decisions if row.decision == "promoted" and row.to_version == version)
    events.announce_promotion(settings, row)


def _form(settings: Settings, model: str, review: Review) -> type[Answer]:
    """The form, which begins with what is to be known."""
    page = f"{settings.site_url}/{model}/v{review.version}"
    about = f"[The verdict with its pictures]({page}/verdict.html) · [all of v{review.version}]({page}/index.html)"
    return Answer.with_initial_data(description=f"{about}\n\n{review.verdict.markdown()}")
