"""The report site: static files, each sandboxed, since reports carry scripts of other people's libraries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.config import settings

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = (
    (b"content-security-policy", b"sandbox allow-scripts"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-cache"),
)
PLACEHOLDER = """<!doctype html>
<meta charset="utf-8">
<title>Evergreen reports</title>
<h1>No reports yet</h1>
<p>The first retraining writes them: <code>prefect deployment run retrain/churn --watch</code>.</p>
"""


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
    """The site's folder; made, with a placeholder page, when it is not there."""
    site = home / "site"
    site.mkdir(parents=True, exist_ok=True)
    index = site / "index.html"
    if not index.exists():
        index.write_text(PLACEHOLDER, encoding="utf-8")
    return site


def app() -> ASGIApp:
    """What uvicorn serves (`--factory`)."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles

    files = StaticFiles(directory=folder(settings.load().home), html=True)
    return Starlette(routes=[Mount("/", files)], middleware=[Middleware(Sandboxed)])
