"""What happened to a model, as Prefect events: automations listen for them, to retrain and to notify people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from pipelines.config.errors import EvergreenError, TransientError
from pipelines.config.settings import Settings
from pipelines.config.settings import load as load_settings
from pipelines.registry import ledger

Kind = Literal["retrain", "quarantine", "review", "promoted"]
CAUSE = "evergreen.cause"  # label of the event's resource: events of one cause within a minute start one retraining

# What a person reads first, and what to do next, by kind
SAYS: Mapping[Kind, str] = {
    "retrain": "a retraining is due",
    "quarantine": "a data incident",
    "review": "a person has to look",
    "promoted": "a new champion",
}
NEXT: Mapping[Kind, str] = {
    "retrain": "Nothing: it starts by itself. `evergreen model history` shows how it ends.",
    "quarantine": "Fix the feed, then `prefect deployment run 'monitor/{model}' -p window={cause} -p force=true --watch`.",
    "review": "Read its page and its bias report. `evergreen model rollback --reason TEXT` goes back to the champion before.",
    "promoted": "Nothing. `evergreen model champion` shows its figures.",
}


def resource_id(model: str) -> str:
    """Whom the events of a model are about."""
    return f"evergreen.model.{model}"


def emit(model: str, kind: Kind, payload: Mapping[str, str], *, api: str | None = None) -> None:
    """Have the Prefect server take one event `evergreen.<kind>`; it has it when this returns.

    Sent by one HTTP request whose answer is known. Prefect's own `emit_event` hands over to a thread that gives up in
    silence. A server that is killed within the second after its answer may still lose an event: whoever must not miss
    one keeps the decision in Postgres, and asks again at the next window.

    Args:
        payload: goes to people as it is, so it holds no secret and no row of data. `why` is one sentence; `cause` the
            key of the window, such as 2025-10; `as_of` the date to retrain by, YYYY-MM-DD, or empty. `message` and `next`
            have defaults by kind.
        api: address of the server; by default Prefect's own setting.

    Raises:
        TransientError: the server is away, or has trouble of its own. Nothing was emitted.
        EvergreenError: the server refuses the event.
    """
    event = describe(model, kind, payload)
    with client(f"take the event {event['event']} of {model!r}", api) as prefect:
        prefect.request("POST", "/events", json=[event])


def describe(model: str, kind: Kind, payload: Mapping[str, str]) -> dict[str, Any]:
    """An event as Prefect's API takes it."""
    from prefect.events import Event

    cause = payload.get("cause", "")
    defaults = {"message": SAYS[kind], "next": NEXT[kind].format(model=model, cause=cause or "WINDOW")}
    event = Event(
        event=f"evergreen.{kind}",
        resource={"prefect.resource.id": resource_id(model), "prefect.resource.name": model, CAUSE: cause},
        payload={**defaults, **payload},
    )
    return event.model_dump(mode="json")


def announce_promotion(settings: Settings, row: ledger.Promotion, *, cause: str = "") -> None:
    """Emit `promoted` for a row of the ledger: the one announcement of a new champion, whoever promoted it.

    Args:
        cause: key of the window whose verdict asked for the retraining, if one did.

    Raises:
        EvergreenError: as `emit`. The promotion stands.
    """
    emit(row.model, "promoted", promotion(row) | {"cause": cause}, api=settings.prefect_api_url)


def promotion(row: ledger.Promotion) -> dict[str, str]:
    """The payload of `promoted`, without its cause."""
    before = f" after v{row.from_version}" if row.from_version else ""
    return {"version": str(row.to_version), "why": f"v{row.to_version} is champion{before}. {row.reason}"}


def key_of(model: str, name: str) -> str:
    """Key of an artifact of a model. Prefect's keys have no underscores."""
    return f"{model}-{name}".replace("_", "-")


@contextmanager
def client(purpose: str, api: str | None = None) -> Iterator[Any]:
    """Prefect's client, with errors that a person can read.

    Args:
        purpose: what the server is to do, as in "Prefect did not <purpose>".
        api: address of the server; by default Prefect's own setting.

    Raises:
        TransientError: the server is away, or has trouble of its own.
        EvergreenError: the server refuses.
    """
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    given = {PREFECT_API_URL: api, PREFECT_API_AUTH_STRING: load_settings().prefect_auth}
    given = {setting: value for setting, value in given.items() if value}
    try:
        with temporary_settings(given), get_client(sync_client=True) as prefect:
            yield prefect
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        if status >= 500:
            raise TransientError(f"Prefect did not {purpose}: status {status}. Read its log, and try again.") from None
        advice = "Are its version and PREFECT_API_AUTH_STRING those of this clone?"
        raise EvergreenError(f"Prefect did not {purpose}: status {status}. {advice}") from None
    except httpx.TransportError as error:
        gone = f"Prefect did not {purpose}: no answer ({type(error).__name__})."
        raise TransientError(f"{gone} Check `evergreen status`, and try again.") from None
