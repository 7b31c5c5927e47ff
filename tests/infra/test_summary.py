"""The figures of a champion: on its newest snapshots first, and of versions that have none, what they have."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from cli import summary
from flows import first_page
from pipelines.config.settings import Settings
from pipelines.registry import ledger, publish
from tests.support import bundles

NEWEST = {"from": "2024-10-31", "to": "2024-11-30", "rows": 80, "entities": 50, "positives": 9}
ALL = {name: {"point": 0.8, "low": 0.7, "high": 0.9} for name in summary.SHOWN}
LATE = {name: {"point": 0.6, "low": 0.5, "high": 0.7} for name in summary.SHOWN}


@pytest.fixture
def settings(tmp_path, ledger_url) -> Settings:
    ledger.migrate(ledger_url)
    return Settings.load_from(tmp_path, {"EVERGREEN_URL": ledger_url, "MLFLOW_TRACKING_URI": "http://127.0.0.1:1"})


def champion(settings: Settings, found: dict, newest: dict | None) -> str:
    """What is said of a champion with these figures."""
    draft = bundles.write(settings.home / "models" / "draft", {"strong": 1.0})
    evaluation = bundles.evaluation() | {"newest": newest}
    evaluation["candidates"]["lightgbm"] |= found
    (draft / "evaluation.json").write_text(json.dumps(evaluation))
    version = ledger.register_version(settings.evergreen_url, bundles.registration(draft))
    draft.rename(draft.with_name(version.bundle_sha256))
    ledger.promote(settings.evergreen_url, "churn", 1, expected_revision=0, actor="tester", reason="better", verdict={})
    return summary.champion(settings, "churn")


def test_the_newest_snapshots_come_first(settings):
    said = champion(settings, {"metrics": ALL, "newest": LATE}, NEWEST).splitlines()
    assert said[1] == "out of fold on its newest snapshots, 2024-10-31 to 2024-11-30, 80 rows of 50 entities, 9 positive:"
    assert said[2].split() == ["roc_auc", "0.6000", "[0.5000,", "0.7000]"]
    assert "  on all 1,000 rows of 400 entities, 200 positive: roc_auc 0.8000 [0.7000, 0.9000]" in said


def test_a_version_from_before_cross_fitting_says_what_it_has(settings):
    said = champion(settings, {"metrics": ALL, "newest": {"roc_auc": LATE["roc_auc"]}}, NEWEST).splitlines()
    assert said[1] == "on 1,000 rows of 400 entities, 200 positive, which it was not trained on:"
    assert said[2].split() == ["roc_auc", "0.8000", "[0.7000,", "0.9000]"]
    assert not any("on all" in line for line in said)


def test_the_ledger_is_given_the_figures_of_the_newest_snapshots():
    evaluation = {"challenger": "linear", "candidates": {"linear": {"metrics": ALL, "newest": LATE, "against_baseline": {
        "point": 0.0, "low": 0.0, "high": 0.0}}}}  # fmt: skip
    points, bounds = publish._points(evaluation, "linear"), publish._bounds(evaluation)
    assert (points["roc_auc"], points["newest.roc_auc"]) == (0.8, 0.6)
    assert (bounds["newest.roc_auc.low"], bounds["newest.roc_auc.high"]) == (0.5, 0.7)
    assert first_page._reference(SimpleNamespace(metrics=points | bounds), "roc_auc").point == 0.6


def test_the_index_shows_of_a_version_from_before_what_the_ledger_has():
    old = {"roc_auc": 0.8, "roc_auc.low": 0.7, "roc_auc.high": 0.9, "newest.roc_auc": 0.6}
    assert first_page._reference(SimpleNamespace(metrics=old), "roc_auc").point == 0.8
    assert first_page._reference(SimpleNamespace(metrics={"roc_auc": 0.8}), "roc_auc") is None
    assert first_page._reference(None, "roc_auc") is None
