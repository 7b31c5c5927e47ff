"""How a flow run ends: with a state whose message says, in words for people, what came of it and where to look."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from prefect.client.schemas.objects import State
from prefect.events import Event
from prefect.exceptions import FailedRun
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows import events
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.data import postgres
from pipelines.promotion.verdict import Verdict
from pipelines.registry import ledger


def explained(body: Callable[..., Any]) -> Callable[..., Any]:
    """A flow's body whose own errors end the run as Failed in their own words: a traceback would say where our code is.

    Nor do its tasks log one. Locks that it takes are in the name of the run, so that whoever is refused reads which run it
    waits for.
    """

    @functools.wraps(body)
    def run(*arguments: Any, **named: Any) -> Any:
        postgres.work_as(f"{flow_run.name} {flow_run.id}" if flow_run.id else "evergreen")
        for logger in ("prefect.flow_runs", "prefect.task_runs"):
            logging.getLogger(logger).addFilter(_without_traceback)
        try:
            state = body(*arguments, **named)
        except EvergreenError as error:
            state = Failed(message=str(error))
        _say(state)
        return state

    # Prefect would look for the names of types in this module, not in the flow's own
    run.__signature__ = inspect.signature(body, eval_str=True)  # type: ignore[attr-defined]
    run.__annotations__ = inspect.get_annotations(body, eval_str=True)
    return run


def _say(state: Any) -> None:
    """Tell whoever watches the run (`prefect deployment run --watch`) how it ends: the watch prints the names of events,
    and stops at the last of them, often before the last lines of the log have come."""
    if not flow_run.id or not isinstance(state, State) or not state.message:
        return
    resource = {"prefect.resource.id": f"prefect.flow-run.{flow_run.id}", "prefect.resource.name": state.message}
    event = Event(event="evergreen.ended", resource=resource).model_dump(mode="json")
    with suppress(EvergreenError), events.client("take the end of the run") as prefect:
        prefect.request("POST", "/events", json=[event])


def _without_traceback(record: logging.LogRecord) -> bool:
    """Of our own errors the words are logged and no more; that a run ended as Failed is no error of Prefect's engine."""
    if record.exc_info and isinstance(record.exc_info[1], EvergreenError):
        record.exc_info = None
    return not (record.exc_info and isinstance(record.exc_info[1], FailedRun))


def decided(settings: Settings, version: ledger.Version, verdict: Verdict) -> Any:
    """The end of a retraining whose version the gate has judged."""
    awaits = verdict.finding == "awaits review"
    name = "Awaiting review" if awaits else "Promoted" if verdict.outcome == "promoted" else "Rejected"
    page = f"{settings.site_url}/{version.model}/v{version.version}/index.html"
    return Completed(name=name, message=f"{version.model} {version}, {name.lower()}: {verdict.headline} {page}")


def done(text: str, page: str = "") -> Any:
    """The end of a run that did what it was asked to."""
    return Completed(message=f"{text} {page}".strip())
