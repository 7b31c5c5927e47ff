"""The report site: static files, each sandboxed, since reports carry scripts of other people's libraries.

On the first page, what changes without anybody writing it is asked anew (monitoring/live.py).
"""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from hmac import compare_digest
from pathlib import Path
from typing import TYPE_CHECKING

from monitoring import live
from pipelines.config.settings import load as load_settings

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = (
    (b"content-security-policy", b"sandbox allow-scripts"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-cache"),
)


class Guarded:
    """Lets in who sends this NAME:PASSWORD."""

    def __init__(self, app: ASGIApp, auth: str) -> None:
        self.app, self.expected = app, b"Basic " + b64encode(auth.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.responses import PlainTextResponse

        sent = dict(scope.get("headers", ())).get(b"authorization", b"")
        if scope["type"] == "http" and not compare_digest(sent, self.expected):
            refusal = PlainTextResponse("Sign on, please.\n", 401, {"WWW-Authenticate": 'Basic realm="Evergreen"'})
            await refusal(scope, receive, send)
        else:
            await self.app(scope, receive, send)


class Sandboxed:
    """Adds the headers to every answer, errors included."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *HEADERS]}
            await send(message)

        await self.app(scope, receive, send_with_headers)


def folder(home: Path) -> Path:
    """The site's folder; made, with a first page that says how to begin, when it is not there."""
    site = home / "site"
    site.mkdir(parents=True, exist_ok=True)
    index = site / "index.html"
    if not index.exists():
        from monitoring.reports.index import index as first_page

        index.write_text(first_page([], f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"), encoding="utf-8")
    return site


def app() -> ASGIApp:
    """What uvicorn serves (`--factory`)."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import HTMLResponse
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    settings = load_settings()
    site = folder(settings.home)

    def first_page(_request: object) -> Response:
        return HTMLResponse(live.refresh((site / "index.html").read_text(encoding="utf-8")))

    first = [Route(path, first_page) for path in ("/", "/index.html")]
    guard = [Middleware(Guarded, auth=settings.site_auth)] if settings.site_auth else []
    routes = [*first, Mount("/", StaticFiles(directory=site, html=True))]
    return Starlette(routes=routes, middleware=[Middleware(Sandboxed), *guard])
