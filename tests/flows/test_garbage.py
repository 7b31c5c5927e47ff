"""Collecting: what nobody needs goes, and what champion, challenger and those to go back to are made from never does."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cli import collection
from flows import cache_sweep, garbage
from flows.execution import cached, workspace
from pipelines import onnx_model
from pipelines.config.errors import EvergreenError
from pipelines.config.params import GcParams
from pipelines.config.settings import Settings
from pipelines.data import postgres
from pipelines.registry import ledger
from pipelines.scoring import predictions
from tests.support import bundles, small_clone
from tests.support.small_clone import ROOT, keep

EXPIRED = GcParams(
    rollback_versions=1, newest_versions=0, workspace_days=0, cache_days=0, run_days=0, report_days=0,
    superseded_days=0,
)  # fmt: skip
LONG_AGO = time.time() - 1000 * garbage.DAY_S


@pytest.fixture
def settings(tmp_path: Path, ledger_url: str) -> Settings:
    """Six versions. v1, v3 and v5 were champions in turn, and v6 is the challenger."""
    settings = small_clone.make(tmp_path / "clone", ledger_url, 6)
    decision = {"actor": "tester", "reason": "better", "verdict": {"finding": "better"}}
    for revision, number in enumerate((1, 3, 5)):
        ledger.promote(ledger_url, "churn", number, expected_revision=revision, **decision)
    return settings


def ground(settings: Settings, params: GcParams = EXPIRED) -> garbage.Ground:
    return garbage.ground(settings, "churn", params)


def names(found) -> set[str]:
    return {one.what for one in found}


def snapshots_left(settings: Settings) -> set[int]:
    """Versions all of whose results are still there."""
    left = set()
    for version in ledger.versions(settings.evergreen_url, "churn"):
        outs = cached.outputs(settings.folder, version.git_commit)
        page = hashlib.md5(f"page {version.version}".encode()).hexdigest()
        if all(cached.find(settings, md5) for md5 in [*outs.values(), page]):
            left.add(version.version)
    return left


def test_champion_challenger_and_who_can_be_gone_back_to_are_needed(settings):
    url = settings.evergreen_url
    assert garbage.needed(url, "churn", EXPIRED) == {5, 3, 6}
    assert garbage.needed(url, "churn", EXPIRED.model_copy(update={"rollback_versions": 5})) == {5, 3, 1, 6}
    assert garbage.needed(url, "churn", EXPIRED.model_copy(update={"newest_versions": 3})) == {6, 5, 4, 3}
    assert garbage.needed(url, "fraud", EXPIRED) == set()


def test_with_everything_expired_what_is_needed_can_be_loaded_and_rebuilt(settings):
    assert snapshots_left(settings) == {1, 2, 3, 4, 5, 6}
    found = [*cache_sweep.cache(ground(settings)), *garbage.local_bundles(ground(settings))]
    for one in found:
        one.remove()
    assert snapshots_left(settings) == {3, 5, 6}
    for version in ledger.versions(settings.evergreen_url, "churn"):
        folder = settings.home / "models" / version.bundle_sha256
        if version.version in {3, 5, 6}:
            assert onnx_model.load(folder, version.manifest).session is not None
        else:
            assert not folder.exists()
            assert b"model: churn" in workspace.content(settings.folder, version.git_commit, "params.yaml")  # git keeps it
    assert {path.parent.name for path in (settings.home / "dvc" / "cache" / "runs").rglob("value")} == {"key3", "key5", "key6"}
    assert list(cache_sweep.cache(ground(settings))) == []


def test_what_a_branch_or_the_clones_own_files_name_stays(settings):
    version = ledger.version(settings.evergreen_url, "churn", 2)
    workspace.git(settings.folder, "branch", "mine", version.git_commit)
    first = ledger.version(settings.evergreen_url, "churn", 1)
    (settings.folder / "dvc.lock").write_bytes(workspace.content(settings.folder, first.git_commit, "dvc.lock"))
    for one in list(cache_sweep.cache(ground(settings))):
        one.remove()
    assert snapshots_left(settings) == {1, 2, 3, 5, 6}


def test_what_is_young_stays(settings):
    assert list(cache_sweep.cache(ground(settings, EXPIRED.model_copy(update={"cache_days": 1})))) == []
    later = garbage.ground(settings, "churn", EXPIRED.model_copy(update={"cache_days": 1}), time.time() + 2 * garbage.DAY_S)
    assert (
        len(list(cache_sweep.cache(later))) == 2 * 3 * 4 + 3
    )  # cache and remote; rows, manifest, reports and their list; what DVC remembers


def test_a_cache_that_serves_another_clone_is_left_alone_until_that_is_named(settings, tmp_path):
    other = tmp_path / "other"
    workspace.git(tmp_path, "clone", "--quiet", str(settings.folder), str(other))
    rows = keep(settings, b"rows of fraud")
    lock = {"stages": {"all": {"outs": [{"path": "data/rows.parquet", "md5": rows}]}}}
    (other / "dvc.lock").write_text(json.dumps(lock))
    workspace.git(other, "add", "--all", "--force")
    commit = workspace.snapshot_commit(other)
    workspace.git(other, "update-ref", "refs/evergreen/runs/fraud", commit)
    (other / "dvc.lock").unlink()
    bundle = bundles.write(tmp_path / "fraud", {"strong": 1.0})
    new = bundles.registration(bundle, model="fraud", git_commit=commit, git_ref="refs/evergreen/runs/fraud")
    ledger.register_version(settings.evergreen_url, new)
    with pytest.raises(EvergreenError, match=r"also serve fraud v1.*gc --clone FOLDER"):
        list(cache_sweep.cache(ground(settings)))
    for one in list(cache_sweep.cache(ground(settings), [other])):
        one.remove()
    assert cached.find(settings, rows) is not None
    assert snapshots_left(settings) == {3, 5, 6}


def test_workspaces_pages_and_refs_of_nobody_go(settings):
    place = workspace.create(settings, "killed", "HEAD")
    kept = settings.home / "site" / "churn" / "v5"
    for folder in (kept, kept.with_name("v2"), kept.parent / "red" / "run"):
        folder.mkdir(parents=True)
        os.utime(folder, (LONG_AGO, LONG_AGO))
    workspace.git(settings.folder, "update-ref", "refs/evergreen/runs/failed", "HEAD")
    finders = garbage.workspaces, garbage.refs, garbage.pages
    found = [one for finder in finders for one in finder(ground(settings))]
    assert names(found) == {
        str(place.folder), "refs/evergreen/runs/failed", str(kept.with_name("v2")), str(kept.parent / "red" / "run"),
    }  # fmt: skip
    for one in found:
        one.remove()
    assert [one for finder in finders for one in finder(ground(settings))] == []
    assert kept.exists() and not place.folder.exists()
    assert "killed" not in workspace.git(settings.folder, "worktree", "list")


def test_scores_that_were_replaced_go_and_those_that_are_read_stay(settings):
    url = settings.evergreen_url
    plan = predictions.Plan(
        model="churn", version=5, as_of=dt.date(2025, 1, 31), horizon_days=30, embargo_days=14, query_sha256="0"
    )
    for _ in range(2):
        run = predictions.begin(url, plan, force=True)
        with postgres.connect(url) as connection:
            writer = predictions.Writer(connection, run)
            writer.write(pa.array(["a", "b"]), np.array([0.1, 0.9]), np.array([False, True]))
            writer.finish()
    (found,) = garbage.scores(ground(settings))
    assert found.what == "batch/v5/2025-01-31, 2 rows"
    found.remove()
    with postgres.connect(url) as connection:
        left = connection.execute("select run_key, count(*) from evergreen.predictions group by run_key").fetchall()
        assert left == [("batch/v5/2025-01-31/2", 2)]
        noted = connection.execute("select kind, predictions, actor from evergreen.erasures").fetchall()
        assert noted == [("garbage_collection", 2, "gc of batch/v5/2025-01-31")]
        (erased,) = connection.execute("select evergreen.erase_run('churn', 'batch/v5/2025-01-31/2')").fetchone()
        assert erased == 0  # a run that is read is not erased, whoever asks
    assert list(garbage.scores(ground(settings))) == []


def test_by_default_nothing_is_taken_away_and_what_cannot_be_looked_through_is_said(settings):
    said: list[str] = []
    later = time.time() + 1000 * garbage.DAY_S
    (settings.folder / "params.yaml").write_text(
        (ROOT / "params.yaml").read_text().replace("newest_versions: 5", "newest_versions: 0")
    )
    collection.collect(settings, delete=False, clones=[], say=said.append, now=later)
    text = "\n".join(said)
    assert "Needed of churn: v1, v3, v5, v6." in text
    assert "MLflow at http://127.0.0.1:1 does not answer" in text
    assert "results in cache and remote: 18" in text and "Nothing was taken away." in text
    assert snapshots_left(settings) == {1, 2, 3, 4, 5, 6}
    collection.collect(settings, delete=True, clones=[], say=said.append, now=later)
    assert snapshots_left(settings) == {1, 3, 5, 6}
    assert "Taken away:" in said[-1]


def test_a_clone_that_is_none_is_named(settings, tmp_path):
    with pytest.raises(EvergreenError, match=r"--clone .*/nowhere: no clone is there"):
        collection.collect(settings, delete=True, clones=[tmp_path / "nowhere"], say=print)


def test_a_retraining_that_runs_is_not_disturbed(settings):
    with ledger.retraining_lock(settings.evergreen_url, "churn"), pytest.raises(EvergreenError, match="already running"):
        collection.collect(settings, delete=True, clones=[], say=print)
