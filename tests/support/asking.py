"""The API in this process, without a socket: what it answers to the bytes of a request."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from serving import keys
from serving.answers import Scorer
from serving.app import Api
from serving.keys import Keyring
from serving.metrics import Metrics
from serving.spool import Spool
from serving.watcher import State

KEY, ADMIN = "eg_0000000a_predict", "eg_0000000b_admin"


def keyring() -> Keyring:
    def row(key: str, scope: str) -> dict[str, Any]:
        return {"key_id": key[3:11], "sha256": keys.digest(key), "scopes": [scope], "revoked_at": None}

    return Keyring.of([row(KEY, "predict"), row(ADMIN, "admin")])


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def faults(self) -> list[tuple[list[Any], str]]:
        return [(one["loc"], one["type"]) for one in self.json["detail"]]


class Asking:
    """An API with one version; `ask` sends it requests, all those of a call in one turn of the event loop."""

    def __init__(self, folder, served=None, *, durable: bool = False) -> None:
        self.state = State(served=served, keyring=keyring(), trouble="")
        self.state.followed_at = 1e12
        self.metrics, self.spool = Metrics(), Spool(folder)
        is_stale = self.state.is_stale

        @asynccontextmanager
        async def nothing(_api):
            yield

        def scorer() -> Scorer:
            return Scorer(self.spool, self.metrics, is_stale, durable=durable)

        self.api = Api(self.state, self.metrics, folder, scorer, nothing)

    def ask(self, *requests: tuple) -> list[Answer]:
        """Each request: method, path, body (bytes, or what becomes JSON, or a list of parts as they arrive), headers."""

        async def all_of_them() -> list[Answer]:
            async with self.api.lifespan(None):
                return await asyncio.gather(*(self._one(*request) for request in requests))

        return asyncio.run(all_of_them())

    def predict(self, *bodies: Any, query: str = "", **headers: str) -> list[Answer]:
        return self.ask(*(("POST", f"/predict{query}", body, headers) for body in bodies))

    def get(self, path: str, key: str = KEY) -> Answer:
        return self.ask(("GET", path, b"", {"authorization": f"Bearer {key}"}))[0]

    async def _one(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Answer:
        content = body if isinstance(body, bytes | list) and not _is_rows(body) else json.dumps(body).encode()
        parts = content if isinstance(content, list) else [content]
        given = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        path, _, query = path.partition("?")
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
            "raw_path": path.encode(), "query_string": query.encode(), "root_path": "", "scheme": "http",
            "headers": [(name.encode(), value.encode()) for name, value in given.items() if value],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "state": {},
        }  # fmt: skip
        waiting = [
            {"type": "http.request", "body": part, "more_body": place < len(parts) - 1} for place, part in enumerate(parts)
        ]
        answer = Answer()

        async def receive() -> dict[str, Any]:
            return waiting.pop(0) if waiting else {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
            else:
                answer.body += message.get("body", b"")

        await self.api(scope, receive, send)
        return answer


def _is_rows(body: Any) -> bool:
    return isinstance(body, list) and not all(isinstance(part, bytes) for part in body)
