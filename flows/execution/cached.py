"""Results by content: what a commit's dvc.lock names, and where cache and remote hold it.

DVC keeps an output as a file named by its MD5, and a folder as a list of such files, named by the list's MD5 and `.dir`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.execution import workspace
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings

FOLDER = ".dir"


def outputs(clone: Path, commit: str) -> dict[str, str]:
    """Path -> MD5 of what a commit's stages made; empty where it has no dvc.lock."""
    try:
        return outputs_of(workspace.git(clone, "show", f"{commit}:dvc.lock"))
    except EvergreenError:
        return {}


def outputs_of(lock: str) -> dict[str, str]:
    """The same, of the text of a dvc.lock."""
    from ruamel.yaml import YAML

    stages = (YAML(typ="safe").load(lock) or {}).get("stages", {})
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", []) if "md5" in out}


def find(settings: Settings, md5: str) -> Path | None:
    """Where this machine holds a file: in the cache, or in a remote that is a folder."""
    for root in (settings.home / "dvc" / "cache", Path(settings.dvc_remote)):
        path = root / "files" / "md5" / md5[:2] / md5[2:]
        if path.exists():
            return path
    return None


@dataclass(frozen=True)
class Store:
    """The cache or the remote, whatever file system it is on."""

    name: str
    root: str
    files: Any  # fsspec's interface, as DVC wraps it

    def paths(self) -> dict[str, str]:
        """MD5 -> path of all that it holds."""
        if not self.files.exists(self.root):
            return {}
        return {"".join(path.split("/")[-2:]): path for path in self.files.find(self.root)}

    def read(self, path: str) -> bytes:
        with self.files.open(path, "rb") as file:
            return file.read()

    def remove(self, path: str) -> None:
        """Take one away; one that is gone already is no fault."""
        with suppress(FileNotFoundError):
            self.files.remove(path)

    def members(self, path: str) -> set[str]:
        """MD5s that a folder's list names."""
        return {entry["md5"] for entry in json.loads(self.read(path))}


def stores(settings: Settings) -> list[Store]:
    """The clone's cache and its remote.

    Raises:
        EvergreenError: DVC does not read this project, or cannot reach its remote.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    workspace.configure_dvc(settings.folder, settings)
    try:
        with Repo(str(settings.folder)) as repo:
            cache, remote = repo.cache.local, repo.cloud.get_remote_odb("evergreen")
            return [Store("cache", cache.path, cache.fs), Store("remote", remote.path, remote.fs)]
    except DvcException as error:
        raise EvergreenError(f"DVC does not open cache and remote of this project: {error}") from None


def walk(held: dict[str, str], store: Store, md5s: set[str]) -> Iterator[str]:
    """These MD5s and, of folders that the store holds, those of the files in them."""
    for md5 in md5s:
        yield md5
        if md5.endswith(FOLDER) and md5 in held:
            yield from store.members(held[md5])
