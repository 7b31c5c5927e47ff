"""How a flow run ends: with a state whose message says, in words for people, what came of it and where to look."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any

from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from pipelines import ledger, postgres
from pipelines.errors import EvergreenError
from pipelines.settings import Settings
from pipelines.verdict import Verdict


def explained(body: Callable[..., Any]) -> Callable[..., Any]:
    """A flow's body whose own errors end the run as Failed in their own words: a traceback would say where our code is.

    Nor do its tasks log one. Locks that it takes are in the name of the run, so that whoever is refused reads which run it
    waits for.
    """

    @functools.wraps(body)
    def run(*arguments: Any, **named: Any) -> Any:
        postgres.work_as(f"{flow_run.name} {flow_run.id}")
        for logger in ("prefect.flow_runs", "prefect.task_runs"):
            logging.getLogger(logger).addFilter(_without_traceback)
        try:
            return body(*arguments, **named)
        except EvergreenError as error:
            return Failed(message=str(error))

    # Prefect would look for the names of types in this module, not in the flow's own
    run.__signature__ = inspect.signature(body, eval_str=True)  # type: ignore[attr-defined]
    run.__annotations__ = inspect.get_annotations(body, eval_str=True)
    return run


def _without_traceback(record: logging.LogRecord) -> bool:
    """Of our own errors the words are logged and no more; every record passes."""
    if record.exc_info and isinstance(record.exc_info[1], EvergreenError):
        record.exc_info = None
    return True


def decided(here: Settings, version: ledger.Version, verdict: Verdict) -> Any:
    """The end of a retraining whose version the gate has judged."""
    awaits = verdict.finding == "awaits review"
    name = "Awaiting review" if awaits else "Promoted" if verdict.outcome == "promoted" else "Rejected"
    page = f"{here.site_url}/{version.model}/v{version.version}/index.html"
    return Completed(name=name, message=f"{version.model} {version}, {name.lower()}: {verdict.headline} {page}")


def done(said: str, page: str = "") -> Any:
    """The end of a run that did what it was asked to."""
    return Completed(message=f"{said} {page}".strip())
