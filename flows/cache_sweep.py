"""The DVC cache and remote: what no version that is needed, no clone and no recent run names, is swept out.

The cache may serve several clones, each of which knows its own refs alone: unless all of them are named, nothing is swept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from flows.execution import cached, workspace
from flows.execution.cached import Store
from flows.garbage import Garbage, Ground
from pipelines.config.errors import EvergreenError
from pipelines.registry import ledger

KIND = "results in cache and remote"
MD5 = re.compile(r"\b[0-9a-f]{32}(?:\.dir)?\b")


def cache(at: Ground, others: Sequence[Path] = ()) -> Iterator[Garbage]:
    """What can go of cache and remote.

    Args:
        others: the other clones that share them.

    Raises:
        EvergreenError: a model of the ledger was published from a clone that is not named.
    """
    clones = [at.settings.folder, *(folder.resolve() for folder in others)]
    require_all(at, clones)
    stores = cached.stores(at.settings)
    roots = _marked(at, clones)
    held = [store.paths() for store in stores]
    marked = {md5 for store, paths in zip(stores, held, strict=True) for md5 in cached.walk(paths, store, roots)}
    for store, paths in zip(stores, held, strict=True):
        swept = set()
        for md5, path in paths.items():
            info = store.files.info(path)
            if md5 not in marked and at.is_old(_changed(info), at.params.cache_days):
                swept.add(md5)
                yield Garbage(
                    KIND, f"{store.name} {md5}", int(info["size"]), partial(store.remove, path)
                )  # fmt: skip
        yield from _run_cache(store, swept)


def require_all(at: Ground, clones: Sequence[Path]) -> None:
    """Refuse while a version of the ledger was made in a clone that is not among these."""
    url, missing = at.settings.promoter_url, {}
    for model in ledger.models(url):
        for version in ledger.versions(url, model):
            if not any(workspace.has_commit(clone, version.git_commit) for clone in clones):
                missing[model] = version
    if missing:
        named = ", ".join(f"{model} {version}" for model, version in missing.items())
        raise EvergreenError(
            f"Cache and remote were left alone: they also serve {named}, made in another clone, and only that clone knows what "
            "it needs of them. Name it: `evergreen store gc --clone FOLDER`, once for each."
        )


def _marked(at: Ground, clones: Sequence[Path]) -> set[str]:
    """MD5s that the clones' files, branches, tags and recent runs name; of this clone's versions those that are needed."""
    folder = at.settings.folder
    marked: set[str] = set()
    for clone in clones:
        lock = clone / "dvc.lock"
        if lock.exists():
            marked |= set(cached.outputs_of(lock.read_text(encoding="utf-8")).values())
        for commit in _commits(at, clone):
            marked |= set(cached.outputs(clone, commit).values())
    for version in at.versions(kept=True):
        for commit in (version.git_commit, f"evergreen/{at.model}/{version}"):  # the tag has the reports as well
            marked |= set(cached.outputs(folder, commit).values())
    return marked


def _commits(at: Ground, clone: Path) -> Iterator[str]:
    """Commits whose results are needed: branches, what people tagged, recent runs, and all runs and versions of other models.

    Those of this clone's model are needed for its versions alone, wherever their refs have been copied to.
    """
    refs, is_own_clone = {version.git_ref for version in at.versions(kept=False)}, clone == at.settings.folder
    form = "--format=%(objectname) %(committerdate:unix) %(refname)"
    for line in workspace.git(clone, "for-each-ref", form, "refs/heads", "refs/tags", "refs/evergreen").splitlines():
        commit, changed, ref = line.split(" ", 2)
        of_runs = ref.startswith(("refs/tags/evergreen/", "refs/evergreen/")) if is_own_clone else ref in refs
        governed = of_runs or ref.startswith(f"refs/tags/evergreen/{at.model}/")
        if not governed or not at.is_old(float(changed or at.now), at.params.cache_days):
            yield commit


def _run_cache(store: Store, swept: set[str]) -> Iterator[Garbage]:
    """What DVC remembers of runs whose results are swept."""
    folder = store.root.removesuffix("/files/md5") + "/runs"
    if swept and store.files.exists(folder):
        for path in store.files.find(folder):
            if swept & set(MD5.findall(store.read(path).decode(errors="replace"))):
                size = int(store.files.info(path)["size"])
                yield Garbage(KIND, f"{store.name} {path}", size, partial(store.remove, path))


def _changed(info: dict[str, Any]) -> float:
    """When a file changed, in seconds since 1970, on a disk or in a bucket."""
    changed: Any = info.get("mtime", info.get("LastModified"))
    return float(changed if isinstance(changed, int | float) else changed.timestamp())
