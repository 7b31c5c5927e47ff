"""The API as a program: `python -m serving` serves the champion of one model, and sends its log to Postgres."""

from __future__ import annotations

import asyncio
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn

from pipelines.config.errors import EvergreenError
from pipelines.config.settings import LOCAL, Settings
from pipelines.config.settings import load as load_settings
from serving import connections, download
from serving.answers import Scorer
from serving.app import Api
from serving.metrics import Metrics
from serving.spool import Spool
from serving.watcher import ModelWatcher

IDLE_SECONDS = 30  # of a connection between two requests
DRAIN_SECONDS = 10
TICK_SECONDS = 1.0
BACKLOG = 2048


class Service:
    """The server's parts, put together for one model.

    Args:
        here: with the address to listen on, the database and the folder for what is kept.
    """

    def __init__(self, settings: Settings) -> None:
        if not settings.api_model:
            raise EvergreenError("No model to serve is named: set EVERGREEN_API_MODEL in .env, or run `evergreen up`.")
        self.settings = settings
        self.folder = settings.home / "serving" / settings.api_model
        self.metrics, self.spool = Metrics(), Spool(self.folder / "log")
        fetch = partial(download.fetch, settings.mlflow_tracking_uri)
        note = self.folder / "champion.json"
        self.watcher = ModelWatcher(lambda: settings.scorer_url, settings.api_model, settings.home / "models", note, fetch)
        self.api = Api(self.watcher.state, self.metrics, self.spool.folder, self._scorer, self._lifespan)
        self.server = uvicorn.Server(self._config())

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then let the requests on their way end."""
        for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them again at its end: that is no failure
            signal.signal(number, lambda *_: None)
        _allow_connections()
        self.server.run()

    def _config(self) -> uvicorn.Config:
        parts = urlsplit(self.settings.api_url)
        return uvicorn.Config(
            self.api,
            host=parts.hostname or LOCAL if self.settings.listen == LOCAL else self.settings.listen,
            port=parts.port or 80,
            loop="uvloop",
            http=connections.Bounded,
            ws="none",
            lifespan="on",
            access_log=False,
            log_level="warning",
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )

    def _scorer(self) -> Scorer:
        return Scorer(self.spool, self.metrics, self.watcher.state.is_stale, durable=self.settings.api_fsync)

    @asynccontextmanager
    async def _lifespan(self, api: Api) -> AsyncIterator[None]:
        self.watcher.start()
        sender = _Sender(self.spool.folder, self.settings.api_model)
        tasks = [
            asyncio.create_task(connections.sweep(self.server.server_state.connections)),
            asyncio.create_task(_tick(api.scorer, sender)),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            self.watcher.stop()
            self.spool.close()
            await asyncio.to_thread(sender.end)


class _Sender:
    """The process that sends the log; started again when it dies. It ends when its standard input does, so with us."""

    def __init__(self, folder: Path, model: str) -> None:
        self._command = [sys.executable, "-m", "serving.sender", str(folder), model]
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdin=subprocess.PIPE)

    def see_to(self) -> None:
        if self._process.poll() is not None:
            print(f"The sender ended with {self._process.returncode}: started again.", file=sys.stderr, flush=True)
            self._process = self._start()

    def end(self) -> None:
        """Let it send what is left."""
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(DRAIN_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()


async def _tick(scorer: Scorer, sender: _Sender) -> None:
    while True:
        await asyncio.sleep(TICK_SECONDS)
        scorer.rotate()
        sender.see_to()


def _allow_connections() -> None:
    """As many open files as the system lets us have: a thousand idle clients are more than the usual limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> Any:
    try:
        service = Service(load_settings())
    except EvergreenError as error:
        sys.exit(f"ERROR: {error}")
    service.run()


if __name__ == "__main__":
    main()
