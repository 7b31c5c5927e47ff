"""`POST /predict`, the fast way: a bare ASGI route under the application, without routing, models or middleware."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from serving.errors import BODY_BYTES, RequestError, http_error, internal_error

if TYPE_CHECKING:
    from serving.answers import Scorer
    from serving.metrics import Metrics
    from serving.version import Served
    from serving.watcher import State

JSON = (b"content-type", b"application/json")
AGAIN = ((b"retry-after", b"5"),)


class Predict:
    """Answers one row by an object and several by an array, in their order."""

    def __init__(self, state: State, scorer: Scorer, metrics: Metrics) -> None:
        self._state, self._scorer, self._metrics = state, scorer, metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        began = time.perf_counter()
        try:
            served, rows, several = await self.read(scope, receive)
            answers = await self._scorer.answer(served, rows)
            body = b"[" + b",".join(answers) + b"]" if several else answers[0]
        except RequestError as refused:
            await self.refuse(refused, send)
            return
        except Exception as error:
            await self.refuse(internal_error(error), send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [JSON, (b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})
        self._metrics.answered(len(rows), time.perf_counter() - began)

    async def read(self, scope: Any, receive: Any) -> tuple[Served, list[Any], bool]:
        """The version that answers, the rows of a request, and whether they came as an array.

        Raises:
            RefusedError: no key, no JSON, too much of it, or not this version's rows; or nothing serves.
        """
        authorization = kind = b""
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value
            elif name == b"content-type":
                kind = value
            elif name == b"content-encoding":
                raise http_error(415, "content_encoding")
            elif name == b"content-length" and (not value.isdigit() or int(value) > BODY_BYTES):
                raise too_large()
        authorize(self._state, authorization, "predict")
        if kind and not kind.lower().startswith(b"application/json"):
            raise http_error(415, "content_type")
        body = await read_body(receive)
        served = self._state.served
        if served is None:
            raise http_error(503, "no_version", headers=AGAIN)
        return served, *served.requests.decode(body)

    async def refuse(self, refused: RequestError, send: Any) -> None:
        """Send a refusal, and count it."""
        self._metrics.refused[refused.status, refused.faults[0].type] += 1
        body = refused.body()
        headers = [JSON, (b"content-length", b"%d" % len(body)), *refused.headers]
        await send({"type": "http.response.start", "status": refused.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def authorize(state: State, authorization: bytes, scope: str) -> None:
    """Refuse who has no valid key (401), or one without this scope (403)."""
    scopes = state.keyring.scopes(authorization)
    if scopes is None:
        raise http_error(
            401, "key_missing" if not authorization else "key_invalid", headers=((b"www-authenticate", b"Bearer"),)
        )
    if scope not in scopes:
        raise http_error(403, "key_scope")


async def read_body(receive: Any) -> bytes:
    """The body of a request, counted while it comes in.

    Raises:
        RefusedError: it is too large, or the client has gone.
    """
    message = await receive()
    if not message.get("more_body"):
        body = message.get("body", b"")
        if len(body) > BODY_BYTES:
            raise too_large()
        return body
    parts, size = [], 0
    while True:
        if message["type"] == "http.disconnect":
            raise http_error(400, "disconnected")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > BODY_BYTES:
            raise too_large()
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()


def too_large() -> RequestError:
    return http_error(413, "body_too_large", headers=((b"connection", b"close"),))  # the rest of the body is not waited for
