"""What the stack keeps and nobody needs any more: found first, and taken away only when somebody says so.

Needed is what the champion, the challenger and the versions that can be gone back to are loaded, scored, traced and rebuilt by,
and what `gc.newest_versions` adds. Of every other version the ledger's row, the git ref and the bundle stay as well, since they
are small: so any version can be promoted again. What goes is its snapshot in the cache, and its pages.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from flows.execution import workspace
from pipelines.config.params import GcParams
from pipelines.config.settings import Settings
from pipelines.data import postgres
from pipelines.registry import ledger, tenures
from pipelines.registry import mlflow_cleaning as cleaning
from pipelines.registry.ledger import Version
from pipelines.registry.schema import query

DAY_S = 86_400.0


@dataclass(frozen=True)
class Garbage:
    """One thing that can go: what kind, which, how many bytes, and how."""

    kind: str
    what: str
    size: int
    remove: Callable[[], None]


@dataclass(frozen=True)
class Ground:
    """What is looked through, and by which rules; `now` in seconds since 1970."""

    settings: Settings
    model: str
    params: GcParams
    now: float
    kept: frozenset[int]  # versions that are needed

    def is_old(self, changed: float, days: float) -> bool:
        return self.now - changed >= days * DAY_S

    def versions(self, *, kept: bool) -> list[Version]:
        """Those that are needed, or the others."""
        every = ledger.versions(self.settings.promoter_url, self.model)
        return [version for version in every if (version.version in self.kept) == kept]


def ground(settings: Settings, model: str, params: GcParams, now: float | None = None) -> Ground:
    """Where to look, by a time; by default it is now."""
    return Ground(settings, model, params, time.time() if now is None else now, needed(settings.promoter_url, model, params))


def needed(url: str, model: str, params: GcParams) -> frozenset[int]:
    """Champion, challenger, those who can be gone back to, and the newest."""
    every = [version.version for version in ledger.versions(url, model)]
    line = tenures.line_of(tenures.read(url, model))
    challenger = ledger.challenger(url, model)
    back = line[-1 - params.rollback_versions :]
    return frozenset({*back, *every[: params.newest_versions], *([challenger.version] if challenger else [])})


def workspaces(at: Ground) -> Iterator[Garbage]:
    """Of killed runs: the caller holds the model's retraining lock, so nobody works in one of this clone's."""
    listed = workspace.git(at.settings.folder, "worktree", "list", "--porcelain").splitlines()
    folders = [Path(line.removeprefix("worktree ")) for line in listed if line.startswith("worktree ")]
    for folder in folders:
        if (
            folder.parent == at.settings.home / "runs"
            and folder.exists()
            and at.is_old(_newest(folder), at.params.workspace_days)
        ):
            yield _folder("workspaces of killed runs", folder, partial(_remove_workspace, at.settings, folder))


def refs(at: Ground) -> Iterator[Garbage]:
    """Git refs of runs that published nothing. Those of versions stay: their SQL and params are known by them alone."""
    folder = at.settings.folder
    published = {version.git_ref for model in ledger.models(at.settings.promoter_url) for version in _all(at, model)}
    lines = workspace.git(folder, "for-each-ref", "--format=%(refname) %(committerdate:unix)", "refs/evergreen/runs")
    for line in lines.splitlines():
        ref, _, changed = line.rpartition(" ")
        if ref not in published and at.is_old(float(changed), at.params.run_days):
            yield Garbage(
                "git refs of runs that published nothing", ref, 0, partial(_drop, folder, ref)
            )  # fmt: skip


def pages(at: Ground) -> Iterator[Garbage]:
    """Pages of runs that stopped, and of versions that nobody needs; those of windows are bounded by monitor.keep_reports."""
    site = at.settings.home / "site" / at.model
    for folder in (site / "red").glob("*"):
        if at.is_old(folder.stat().st_mtime, at.params.report_days):
            yield _folder("pages of runs that stopped", folder)
    for version in at.versions(kept=False):
        folder = site / str(version)
        if folder.exists() and at.is_old(folder.stat().st_mtime, at.params.report_days):
            yield _folder("pages of versions", folder)


def local_bundles(at: Ground) -> Iterator[Garbage]:
    """Verified copies of versions that MLflow still holds."""
    for version in at.versions(kept=False):
        folder = at.settings.home / "models" / version.bundle_sha256
        if folder.exists():
            yield _folder("local copies of bundles", folder)


def runs(at: Ground) -> Iterator[Garbage]:
    """Runs in MLflow that failed, and the heavy reports of versions that nobody needs; never a bundle."""
    uri, url = at.settings.mlflow_tracking_uri, at.settings.promoter_url
    before = datetime.fromtimestamp(at.now, UTC) - timedelta(days=at.params.run_days)
    published = {version.mlflow_run_id for version in ledger.versions(url, at.model)}
    for run_id in cleaning.failed_runs(uri, at.model, before):
        if run_id not in published:
            yield Garbage("MLflow runs that failed", run_id, 0, partial(cleaning.delete_run, uri, run_id))
    old = [version for version in at.versions(kept=False) if at.is_old(version.created_at.timestamp(), at.params.report_days)]
    for version in old:
        size = cleaning.reports_size(uri, version.mlflow_run_id)
        if size:
            remove = partial(cleaning.delete_reports, uri, version.mlflow_run_id)
            yield Garbage("MLflow reports of versions", f"{at.model} {version}", size, remove)


def scores(at: Ground) -> Iterator[Garbage]:
    """Scores of runs that were given up, or replaced by a later run of their version and day; their rows of the ledger stay."""
    before = datetime.fromtimestamp(at.now, UTC) - timedelta(days=at.params.superseded_days)
    with postgres.connect(at.settings.evergreen_url) as owner:
        replaced = query(owner, "replaced_runs", model=at.model, before=before)
    for run in replaced:
        what = f"{run['run_key']}, {run['row_count']:,} rows"
        yield Garbage("scores that were replaced", what, 0, partial(erase_run, at, run["run_key"]))


def erase_run(at: Ground, run_key: str) -> None:
    """Take the scores of one replaced run away, as the owner of the tables may, and note that."""
    with postgres.connect(at.settings.evergreen_url) as owner:
        erased = query(owner, "erase_run", model=at.model, run_key=run_key)[0]["erased"]
        noted = {"kind": "garbage_collection", "actor": f"gc of {run_key}", "outcomes": 0, "files": 0, "versions": []}
        query(owner, "record_erasure", model=at.model, predictions=erased, **noted)


def _all(at: Ground, model: str) -> list[Version]:
    return ledger.versions(at.settings.promoter_url, model)


def _drop(folder: Path, ref: str) -> None:
    workspace.git(folder, "update-ref", "-d", ref)


def _remove_workspace(settings: Settings, folder: Path) -> None:
    workspace.remove(workspace.at(settings, folder.name))


def _folder(kind: str, folder: Path, remove: Callable[[], None] | None = None) -> Garbage:
    return Garbage(kind, str(folder), _size(folder), remove or (lambda: shutil.rmtree(folder, ignore_errors=True)))


def _size(folder: Path) -> int:
    """Bytes of its files; what vanishes meanwhile counts as nothing."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.lstat().st_size if path.is_file() and not path.is_symlink() else 0
    return total


def _newest(folder: Path) -> float:
    """When something in it changed last."""
    times = [folder.lstat().st_mtime]
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            times.append(path.lstat().st_mtime)
    return max(times)
