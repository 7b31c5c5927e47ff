"""The application: FastAPI with its documentation, and under it the fast route for predictions."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from serving import card
from serving.errors import Fault, RequestError, http_error, internal_error, words
from serving.explanation import Explainer
from serving.metrics import Collector, Metrics, exposition, progress
from serving.predict import Predict, authorize

if TYPE_CHECKING:
    from serving.answers import Scorer
    from serving.watcher import State

BEARER = "key"
BEARER_SCHEME = {"type": "http", "scheme": "bearer", "description": "A key, as `evergreen key create` makes it."}
KINDS = {404: "not_found", 405: "method_not_allowed"}
SUMMARY = "Scores of the champion. Keys, versions and predictions are in Postgres, schema evergreen."
Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]


class Api:
    """The ASGI application. `scorer` makes the scorer when the event loop runs; `log` is the folder of the prediction log."""

    def __init__(self, state: State, metrics: Metrics, log: Path, scorer: Callable[[], Scorer], lifespan: Lifespan) -> None:
        self.state, self.metrics, self.log = state, metrics, log
        self._make_scorer, self._around = scorer, lifespan
        self.explainer = Explainer()
        self.scorer: Scorer
        self.predict: Predict
        self.slow = _application(self)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/predict" and scope["method"] == "POST" and not scope["query_string"]:
            await self.predict(scope, receive, send)
        else:
            with suppress(Exception):  # answered by then, and raised once more for a log that may not quote a row
                await self.slow(scope, receive, send)

    @asynccontextmanager
    async def lifespan(self, _app: Any) -> AsyncIterator[None]:
        self.scorer = self._make_scorer()
        self.predict = Predict(self.state, self.scorer, self.metrics)
        async with self._around(self):
            yield

    async def explain(self, request: Request) -> bytes:
        """Answers with reasons, as JSON.

        Raises:
            RefusedError: as `Predict.read`, and where nothing can be explained now.
        """
        served, rows, several = await self.predict.read(request.scope, request.receive)
        plain = [msgspec.structs.astuple(row) for row in rows]
        reasons = await self.explainer.explain(served, plain)
        answers = await self.scorer.answer(served, rows)
        self.metrics.explained += len(rows)
        explained = [
            msgspec.json.decode(scored) | {"explanation": reason} for scored, reason in zip(answers, reasons, strict=True)
        ]
        return msgspec.json.encode(explained if several else explained[0])


def _application(api: Api) -> FastAPI:
    app = FastAPIOffline(title="Evergreen", summary=SUMMARY, lifespan=api.lifespan, redoc_url=None)
    _add_routes(app, api)
    _add_error_handlers(app, api)
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        served = api.state.served
        document = copy.deepcopy(plain())
        components = document.setdefault("components", {})
        components |= {"schemas": components.get("schemas", {}), "securitySchemes": {BEARER: BEARER_SCHEME}}
        return card.describe(document, served) if served else document

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def _add_routes(app: FastAPI, api: Api) -> None:
    responses = card.responses(401, 403, 422, 503)
    every = card.responses(400, 401, 403, 409, 413, 415, 422, 500, 503)

    @app.post("/predict", responses=every, openapi_extra=_secured())
    async def predict(
        request: Request,
        explain: Annotated[bool, Query(description="With the reasons for each row; at most 10 rows, and slower.")] = False,
    ) -> Response:
        """The probability, decision and risk tier of one row, an object, or of several, an array."""
        if explain:
            return Response(await api.explain(request), media_type="application/json")
        return Delegated(api.predict)

    @app.get("/health")
    def health() -> dict[str, str]:
        """That the server lives."""
        return {"status": "ok"}

    @app.get("/ready", responses={503: {"description": "Nothing serves yet; `reason` says why."}})
    def ready(response: Response) -> dict[str, Any]:
        """Whether a verified version serves, and what is wrong where something is."""
        state = api.state
        response.status_code = 200 if state.served else 503
        return {
            "ready": state.served is not None,
            "version": state.served.version if state.served else None,
            "stale": state.is_stale(),
            "reason": state.trouble,
            "log": progress(api.log)["error"],
        }

    @app.get("/model", responses=responses, openapi_extra=_secured())
    def model(request: Request) -> dict[str, Any]:
        """The version that serves: threshold, features with types and ranges, training, figures out of fold."""
        authorize(api.state, request.headers.get("authorization", "").encode(), "predict")
        if api.state.served is None:
            raise http_error(503, "no_version")
        return card.card(api.state.served) | {"stale": api.state.is_stale()}

    @app.get("/metrics", responses=responses, openapi_extra=_secured())
    def metrics(request: Request) -> Response:
        """Counts for Prometheus; needs a key with the scope admin."""
        authorize(api.state, request.headers.get("authorization", "").encode(), "admin")
        text = exposition(Collector(api.metrics, lambda: api.state, api.log))
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


class Delegated(Response):
    """A response that another ASGI application makes."""

    def __init__(self, to: Any) -> None:
        super().__init__()
        self._to = to

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._to(scope, receive, send)


def _secured() -> dict[str, Any]:
    return {"security": [{BEARER: []}]}


def _add_error_handlers(app: FastAPI, api: Api) -> None:
    """Every error has the one shape, and holds nothing that the client sent."""

    def answer(refused: RequestError) -> Response:
        api.metrics.refused[refused.status, refused.faults[0].type] += 1
        headers = {name.decode(): value.decode() for name, value in refused.headers}
        return Response(refused.body(), refused.status, headers, media_type="application/json")

    @app.exception_handler(RequestError)
    async def refused(_request: Request, error: RequestError) -> Response:
        return answer(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        return answer(
            RequestError(422, [Fault(tuple(item["loc"]), item["type"], words(item["type"])) for item in error.errors()])
        )

    @app.exception_handler(HTTPException)
    async def other(_request: Request, error: HTTPException) -> Response:
        kind = KINDS.get(error.status_code, "refused")
        given = tuple((name.encode(), value.encode()) for name, value in (error.headers or {}).items())
        return answer(http_error(error.status_code, kind, headers=given))

    @app.exception_handler(Exception)
    async def fault(_request: Request, error: Exception) -> Response:
        return answer(internal_error(error))
