"""Prefect's work pools as the stack needs them: made, seen alive, and free of runs whose process is gone.

Spoken over the HTTP API by the standard library: importing Prefect takes seconds, and an HTTP client half of one.
"""

from __future__ import annotations

import time
from base64 import b64encode
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPException
from json import dumps, loads
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings

LIMITS = {"cpu": None, "gpu": 1}  # pool -> runs at once; None is no limit
UNFINISHED = ["RUNNING", "PENDING", "CANCELLING"]


def make(settings: Settings) -> None:
    """The pools with their limits; harmless when they are there.

    Raises:
        EvergreenError: Prefect refuses or does not answer.
    """
    for pool, limit in LIMITS.items():
        body = {"name": pool, "type": "process", "concurrency_limit": limit}
        answer = _ask_prefect(settings, "post", "work_pools/", body)
        if answer is None or answer.status_code not in {201, 409}:
            status = "it does not answer" if answer is None else f"status {answer.status_code}"
            raise EvergreenError(
                f"Prefect at {settings.prefect_api_url} did not make the work pool {pool!r}: {status}. "
                "Read its log, then run `evergreen up` again."
            )


def exists(settings: Settings, pool: str) -> bool:
    """Whether Prefect has the pool.

    Raises:
        EvergreenError: Prefect refuses our password.
    """
    return bool(type_of(settings, pool))


def type_of(settings: Settings, pool: str) -> str:
    """Of which type a pool is, such as `process` or `kubernetes`; "" where Prefect does not have it.

    Raises:
        EvergreenError: Prefect refuses our password.
    """
    answer = _ask_prefect(settings, "get", f"work_pools/{pool}")
    return answer.json()["type"] if answer is not None and answer.is_success else ""


def heartbeat_age(settings: Settings, pool: str, since: float = 0.0) -> float | None:
    """Seconds since a worker of the pool was last heard; None for never, or not since `since` (seconds since 1970).

    The age, not the worker's status: that stays ONLINE for a while after the worker died.

    Raises:
        EvergreenError: Prefect refuses our password.
    """
    answer = _ask_prefect(settings, "post", f"work_pools/{pool}/workers/filter", {})
    if answer is None or not answer.is_success:
        return None
    beats = [datetime.fromisoformat(worker["last_heartbeat_time"]).timestamp() for worker in answer.json()]
    newest = max(beats, default=0.0)
    return time.time() - newest if newest > since else None


def crash_runs_of(settings: Settings, worker: str, reason: str) -> list[str]:
    """Mark as Crashed the runs that this worker began and that did not end; returns their names.

    To be called when no process of the worker lives. Prefect itself would show such a run as Running for ever.

    Raises:
        EvergreenError: Prefect refuses our password.
    """
    wanted = {"flow_runs": {"state": {"type": {"any_": UNFINISHED}}}}
    named = _ask_prefect(settings, "post", "flow_runs/filter", wanted)
    if named is None or not named.is_success:
        return []
    worker_runs = [run for run in named.json() if (run.get("labels") or {}).get("prefect.worker.name") == worker]
    state = {"type": "CRASHED", "name": "Crashed", "message": reason}
    for run in worker_runs:
        _ask_prefect(settings, "post", f"flow_runs/{run['id']}/set_state", {"state": state, "force": True})
    return [run["name"] for run in worker_runs]


def _ask_prefect(settings: Settings, method: str, path: str, json: Any = None) -> Answer | None:
    """One request to Prefect's API; None when nobody answers."""
    answer = ask(method, f"{settings.prefect_api_url}/{path}", json=json, auth=settings.prefect_auth)
    if answer is not None and answer.is_refusal:
        raise EvergreenError(
            f"Prefect at {settings.prefect_api_url} refuses our password (status {answer.status_code}). Put the server's "
            "NAME:PASSWORD into PREFECT_API_AUTH_STRING in .env."
        )
    return answer


def succeeds(url: str, auth: str = "") -> bool:
    answer = ask("get", url, auth=auth)
    return answer is not None and answer.is_success


@dataclass(frozen=True)
class Answer:
    """A server's answer."""

    status_code: int
    content: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status_code < 300

    @property
    def is_refusal(self) -> bool:
        """Whether the server does not accept the password that was sent, or asks for one."""
        return self.status_code in {401, 403}

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        return loads(self.content)


def ask(method: str, url: str, json: Any = None, content: bytes | None = None, auth: str = "") -> Answer | None:
    """One request, past any proxy, with `json` or with `content` as it is; None when nobody answers.

    Args:
        auth: NAME:PASSWORD of a server that asks for it.
    """
    data = content if json is None else dumps(json).encode()
    headers = {"Content-Type": "application/octet-stream" if json is None else "application/json"}
    if auth:
        headers["Authorization"] = f"Basic {b64encode(auth.encode()).decode()}"
    try:
        with build_opener(ProxyHandler({})).open(Request(url, data, headers, method=method.upper()), timeout=5) as answer:
            return Answer(answer.status, answer.read())
    except HTTPError as error:
        return Answer(error.code, error.read())
    except (OSError, HTTPException):
        return None
