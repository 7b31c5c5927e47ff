"""What must hold after every fault (RELIABILITY: I1, I2), in one place. Each function gives what is wrong, in words."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from pipelines import onnx_model
from pipelines.config import stage
from pipelines.config.errors import EvergreenError
from pipelines.registry import ledger, mlflow_registry, publish


def one_champion(url: str, uri: str, model: str, cache: Path) -> list[str]:
    """I1: exactly one champion, its digest right, loadable; and moves that follow each other without gap or fork."""
    champion = ledger.champion(url, model)
    if champion is None:
        return ["there is no champion"]
    moves = [row for row in reversed(ledger.history(url, model, 10_000)) if row.decision == "promoted"]
    wrong = [] if [row.revision for row in moves] == list(range(1, len(moves) + 1)) else ["revisions are not 1, 2, 3, ..."]
    wrong += [
        f"revision {later.revision} follows v{later.from_version}, and v{earlier.to_version} was champion"
        for earlier, later in pairwise(moves)
        if later.from_version != earlier.to_version
    ]
    if (champion.version, champion.revision) != (moves[-1].to_version, moves[-1].revision):
        wrong.append(f"{champion} of revision {champion.revision} is not who the newest move made champion")
    try:
        bundle = publish.fetch(uri, champion, cache)
        onnx_model.load(bundle.folder, champion.manifest)
    except EvergreenError as error:
        return [*wrong, f"{champion} cannot be loaded: {error}"]
    if stage.sha256(bundle.folder / "model.onnx") != champion.onnx_sha256:
        wrong.append(f"{champion} has another digest than the ledger says")
    return wrong


def aliases_agree(url: str, uri: str, model: str) -> list[str]:
    """After reconciliation MLflow says what the ledger says, and no more."""
    publish.reconcile(url, uri, model)
    champion, challenger = ledger.champion(url, model), ledger.challenger(url, model)
    wanted = {
        alias: one.mlflow_version for alias, one in (("champion", champion), ("challenger", challenger)) if one is not None
    }
    with mlflow_registry._client(uri) as client:
        aliases = {alias: int(version) for alias, version in client.get_registered_model(model).aliases.items()}
    return [] if aliases == wanted else [f"MLflow says {aliases}, the ledger {wanted}"]


@contextmanager
def never_without_champion(url: str, model: str) -> Iterator[list[str]]:
    """I2: whoever asks the ledger meanwhile, as serving does, is always told of a champion. Fills what it gives."""
    wrong: list[str] = []
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.05):
            if ledger.champion(url, model) is None:
                wrong.append("for a moment there was no champion")

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield wrong
    finally:
        over.set()
        asking.join()
