"""Two versions side by side: what differs is shown, of each kind."""

from __future__ import annotations

import json

import pytest

from cli import compare
from flows.execution import workspace
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.registry import ledger
from tests.support import bundles


@pytest.fixture
def settings(tmp_path, ledger_url) -> Settings:
    ledger.migrate(ledger_url)
    (tmp_path / ".env").write_text(f"EVERGREEN_URL={ledger_url}\nMLFLOW_TRACKING_URI=http://127.0.0.1:1\n")
    workspace.git(tmp_path, "init", "--quiet")
    return Settings.load_from(tmp_path, {})


def make(settings: Settings, weights: dict[str, float], params: str | None, **metrics: float) -> ledger.Version:
    """A version in the clone's home, its params.yaml committed; without params it is of another clone."""
    commit = "c0ffee"
    if params:
        (settings.folder / "params.yaml").write_text(params)
        workspace.git(settings.folder, "add", "params.yaml")
        workspace.git(settings.folder, "commit", "--quiet", "--message", "params")
        commit = workspace.git(settings.folder, "rev-parse", "HEAD")
    new = bundles.registration(bundles.keep(settings.home, weights), git_commit=commit, metrics=metrics)
    return ledger.register_version(settings.evergreen_url, new)


def test_what_differs_is_shown(settings):
    make(settings, {"strong": 1.0}, "data: {as_of: 2024-12-31}\ntrain: {folds: 3, seed: 1}\n", roc_auc=0.8)
    later = {"roc_auc": 0.81, "roc_auc.low": 0.8, "roc_auc.high": 0.82, "newest.roc_auc": 0.79}
    make(settings, {"strong": 1.0, "weak": 0.5}, "data: {as_of: 2025-03-31}\ntrain: {folds: 5, seed: 1}\n", **later)
    said = compare.text(compare.compare(settings, "churn", [1, 2]))
    assert "v1   published" in said and "never champion" in said
    assert "never against one another" in said
    assert "weak: none -> double" in said and "weak: none -> number" in said
    assert "train.folds: 3 -> 5" in said
    assert "train.seed" not in said and "data.as_of" not in said
    assert [line.split() for line in said.splitlines() if "roc_auc  " in line] == [
        ["newest.roc_auc", "none", "0.7900"],
        ["roc_auc", "0.8000", "0.8100", "[0.8000,", "0.8200]"],
    ]  # the newest snapshots first, which a version of earlier days has not
    assert "1,000                         1,000" in said
    assert "no sample to score" in said


def test_what_was_decided_between_them_is_shown(settings):
    for number, weight in enumerate((1.0, 2.0), 1):
        make(settings, {"strong": weight}, None)
        decision = {"actor": "tester", "reason": f"reason {number}", "verdict": {}}
        ledger.promote(settings.evergreen_url, "churn", number, expected_revision=number - 1, **decision)
    said = compare.text(compare.compare(settings, "churn", [1, 2]))
    assert "v1 -> v2  promoted  reason 2" in said and "reason 1" not in said
    assert "to now" in said
    assert "v1 was made in another clone; its ref is not here: git fetch CLONE refs/evergreen/runs/1" in said


def test_one_version_is_not_compared_with_itself(settings):
    make(settings, {"strong": 1.0}, None)
    with pytest.raises(EvergreenError, match="v1 is named twice: name two versions"):
        compare.compare(settings, "churn", [1, 1])


def test_a_version_whose_files_were_changed_is_not_compared(settings):
    version = make(settings, {"strong": 1.0}, None)
    make(settings, {"strong": 2.0}, None)
    file = settings.home / "models" / version.bundle_sha256 / "evaluation.json"
    file.write_text(json.dumps({"challenger": "better than it was"}))
    with pytest.raises(EvergreenError, match="MLflow"):
        compare.compare(settings, "churn", [1, 2])
