"""What an interrupted fit finds again: one file of tensors for each fit, whole or not there at all.

Files are read without unpickling objects, and one that is torn, or of other rows, params or versions, is ignored.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import stage

if TYPE_CHECKING:
    from pipelines.candidates import Rows


def key_of(rows: Rows, facts: dict[str, Any]) -> str:
    """SHA-256 over the rows and over everything else that a fit depends on."""
    digest = hashlib.sha256(json.dumps([facts, rows.known], sort_keys=True).encode())
    for array in (rows.numbers, rows.codes, rows.labels, rows.customers):
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def path_of(folder: Path, key: str) -> Path:
    return folder / f"{key[:32]}.pt"


def save(folder: Path, key: str, state: dict[str, Any]) -> None:
    """Atomically: a killed process leaves the state before."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    path = path_of(folder, key)
    staging = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with staging.open("wb") as file:
        torch.save({"key": key, "state": state}, file)
        file.flush()
        os.fsync(file.fileno())
    staging.rename(path)


def load(folder: Path, key: str) -> dict[str, Any] | None:
    """The state that was saved under this key; None where there is none that can be trusted."""
    import torch

    path = path_of(folder, key)
    if not path.exists():
        return None
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        if found["key"] == key:
            return found["state"]
    except Exception as error:  # whatever is wrong with a file, the fit can start over
        stage.say(f"{path.name} cannot be read ({type(error).__name__}): it is ignored.")
        return None
    stage.say(f"{path.name} is of another fit: it is ignored.")
    return None
