"""Which version serves: the ledger's champion, followed by a thread, and swapped while requests come in.

Every second the ledger is asked for the champion and the keys. A new champion is fetched, verified, loaded and tried, and takes
over by one assignment: requests on their way end with the version that decoded them. What cannot be loaded changes nothing.
What served last is noted in a file with its digests, so that a start without Postgres or MLflow still has a verified model.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pipelines import onnx_model
from pipelines.config import stage
from pipelines.config.errors import EvergreenError
from pipelines.data import postgres
from pipelines.registry.ledger import Champion
from pipelines.registry.schema import query
from serving.keys import Keyring
from serving.version import Served

POLL_SECONDS = 1.0  # a promotion is to be served within 5 s
AGAIN_SECONDS = 10.0  # until a champion that could not be loaded is tried once more
STALE_SECONDS = 15.0  # a restart of Postgres takes less
STATEMENT_SECONDS = 5

Fetch = Callable[[Champion, Path], None]  # a version and the folder that is to hold its bundle


@dataclass
class State:
    """What the server goes by; the follower's thread writes it, an attribute at a time."""

    served: Served | None = None
    keyring: Keyring = field(default_factory=lambda: Keyring({}))
    trouble: str = "The ledger was not asked yet."  # why nothing serves, or why what serves may be out of date; "" is none
    followed_at: float | None = None  # monotonic: when what serves was last known to be the champion

    def ledger_age(self) -> float:
        """Seconds since that was last known; infinite where it never was."""
        return float("inf") if self.followed_at is None else time.monotonic() - self.followed_at

    def is_stale(self) -> bool:
        return self.ledger_age() > STALE_SECONDS


class ModelWatcher(threading.Thread):
    """Keeps `state` at what the ledger says of a model, until it is stopped.

    Args:
        models: where bundles are, each in a folder of its digest's name.
        note: the file that a start without the ledger goes by.
        fetch: brings a bundle that is not there, or damaged.
    """

    def __init__(self, url: Callable[[], str], model: str, models: Path, note: Path, fetch: Fetch) -> None:
        super().__init__(name="follower", daemon=True)
        self.state = State()
        self._url, self._model, self._models, self._note, self._fetch = url, model, models, note, fetch
        self._stopped = threading.Event()
        self._refused: tuple[int, float] | None = None  # revision that could not be loaded, and when that was
        self._noted: Any = None
        self._told: set[str] = set()

    def run(self) -> None:
        while not self._stopped.is_set():
            try:
                with ExitStack() as opened:
                    connection = opened.enter_context(postgres.connect(self._url(), statement_timeout_s=STATEMENT_SECONDS))
                    connection.autocommit = True
                    while True:
                        self.look(connection)
                        if self._stopped.wait(POLL_SECONDS):
                            return
            except EvergreenError as error:
                self._trouble(str(error))
                self._go_by_note()
            except Exception as error:  # a fault of ours must not end the following
                self._trouble(f"{type(error).__name__}: {error}")
            self._stopped.wait(POLL_SECONDS)

    def stop(self) -> None:
        self._stopped.set()

    def look(self, connection: Any) -> None:
        """Make what the ledger says now what serves.

        Raises:
            EvergreenError: the ledger does not answer.
        """
        champions, keys = query(connection, "champion", model=self._model), query(connection, "api_keys")
        self.state.keyring = Keyring.of(keys)
        if not champions:
            self._trouble(f"{self._model!r} has no champion yet: `prefect deployment run 'retrain/{self._model}' --watch`.")
            return
        champion = Champion(**champions[0])
        served = self.state.served
        if served is None or (served.champion.revision, served.version) != (champion.revision, champion.version):
            if self._refused and self._refused[0] == champion.revision and time.monotonic() - self._refused[1] < AGAIN_SECONDS:
                return
            try:
                self._load(champion)
            except EvergreenError as error:
                self._refused = champion.revision, time.monotonic()
                self._trouble(f"{champion.model} {champion} is champion and cannot be loaded: {error}")
                self._go_by_note()
                return
        self._refused = None
        self._told.clear()
        self.state.trouble, self.state.followed_at = "", time.monotonic()
        self._take_note(champions[0], keys)

    def _load(self, champion: Champion) -> None:
        folder = self._models / champion.bundle_sha256
        try:
            onnx_model.verify(folder, champion.manifest)
        except EvergreenError:  # not there yet, or damaged
            self._fetch(champion, self._models)
        self.state.served = Served.load(champion, folder)
        print(f"{champion.model} {champion} serves, revision {champion.revision}.", flush=True)

    def _go_by_note(self) -> None:
        """At a start without the ledger, or whose champion cannot be loaded: what served last, where it is whole."""
        if self.state.served is not None or not self._note.exists():
            return
        try:
            noted = json.loads(self._note.read_text(encoding="utf-8"))
            champion = Champion(**noted["champion"] | {"created_at": datetime.fromisoformat(noted["champion"]["created_at"])})
            self.state.served = Served.load(champion, self._models / champion.bundle_sha256)
            if not self.state.keyring.known:
                self.state.keyring = Keyring.of(noted["keys"])
            print(f"{champion.model} {champion} serves, as noted here: {self.state.trouble}", file=sys.stderr, flush=True)
        except EvergreenError as error:
            self._trouble(f"{self.state.trouble} What served last cannot be loaded either: {error}")
        except (ValueError, KeyError, TypeError):
            self._trouble(f"{self.state.trouble} {self._note} is damaged.")

    def _take_note(self, champion: dict[str, Any], keys: list[dict[str, Any]]) -> None:
        noted = {"champion": champion, "keys": [key for key in keys if key["revoked_at"] is None]}
        if noted != self._noted:
            stage.write_text(self._note, json.dumps(noted, default=str, indent=1))
            self._noted = noted

    def _trouble(self, what: str) -> None:
        self.state.trouble = what
        if what not in self._told:  # once until all is well again
            self._told.add(what)
            print(what, file=sys.stderr, flush=True)
