"""A clone in small: versions whose results lie in cache and remote, without a stage ever having run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from flows.execution import workspace
from pipelines.config.settings import Settings
from pipelines.registry import ledger
from tests.support import bundles

ROOT = Path(__file__).parents[2]


def make(folder: Path, url: str, versions: int, snapshots: dict[int, bytes] | None = None) -> Settings:
    """A clone, its ledger at `url`, and some versions; MLflow does not answer.

    Args:
        snapshots: version -> content of its rows, where that matters.
    """
    ledger.migrate(url)
    (folder / ".dvc").mkdir(parents=True)
    (folder / ".dvc" / "config").write_text("[core]\n    remote = evergreen\n")
    (folder / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n")
    (folder / ".gitignore").write_text(".env\n.evergreen\n")
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (folder / ".env").write_text(f"EVERGREEN_URL={url}\nMLFLOW_TRACKING_URI=http://127.0.0.1:1\n")
    workspace.git(folder, "init", "--quiet", "--initial-branch=main")
    workspace.git(folder, "add", "--all")
    workspace.git(folder, "commit", "--quiet", "--message", "start")
    here = Settings.load_from(folder, {})
    for number in range(1, versions + 1):
        make_version(here, number, (snapshots or {}).get(number, f"rows {number}".encode()))
    return here


def make_version(here: Settings, number: int, rows: bytes) -> None:
    """A version with a snapshot and a folder of reports, in cache and remote, its results on a ref of its own."""
    bundle = bundles.keep(here.home, {"strong": float(number)})
    page = keep(here, f"page {number}".encode())
    listed = json.dumps([{"md5": page, "relpath": "index.html"}]).encode()
    outs = {"data/rows.parquet": keep(here, rows), "data/manifest.json": keep(here, f"manifest {number}".encode())}
    outs["reports"] = keep(here, listed, ".dir")
    lock = {"schema": "2.0", "stages": {"all": {"cmd": "true", "outs": [{"path": p, "md5": md5} for p, md5 in outs.items()]}}}
    entry = here.home / "dvc" / "cache" / "runs" / "ab" / f"key{number}" / "value"
    entry.parent.mkdir(parents=True)
    entry.write_text(json.dumps(lock))
    (here.folder / "dvc.lock").write_text(json.dumps(lock))
    ref = f"refs/evergreen/runs/{number}"
    commit = workspace.snapshot_commit(here.folder)
    (here.folder / "dvc.lock").unlink()
    workspace.git(here.folder, "update-ref", ref, commit)
    workspace.tag(here.folder, "churn", number, ref)
    found = {"git_commit": commit, "git_ref": ref, "mlflow_run_id": f"run{number}", "mlflow_version": number}
    new = bundles.registration(bundle, **found)
    ledger.register_version(here.evergreen_url, new)


def keep(here: Settings, content: bytes, suffix: str = "") -> str:
    """Put an object into cache and remote; its name."""
    md5 = hashlib.md5(content).hexdigest() + suffix
    for root in (here.home / "dvc" / "cache", Path(here.dvc_remote)):
        path = root / "files" / "md5" / md5[:2] / md5[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return md5
