"""Rebuilding: what is run, and what a snapshot must be to begin from; as a whole in tests/e2e/test_ledger_commands.py."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from flows import rebuild
from flows.execution import cached
from pipelines.config.errors import EvergreenError
from pipelines.registry import ledger
from tests.support import small_clone

ROWS = b"rows as they were"


@pytest.fixture
def settings(tmp_path, ledger_url):
    return small_clone.make(tmp_path / "clone", ledger_url, 1, {1: ROWS})


def bring(settings, rows_sha256: str = hashlib.sha256(ROWS).hexdigest()) -> Path:
    """The snapshot of version 1 in a workspace; its folder."""
    version = ledger.version(settings.promoter_url, "churn", 1)
    with rebuild._workspace(settings, version) as place:
        rebuild._bring(settings, version, rows_sha256, place)
        assert (place.folder / rebuild.ROWS).read_bytes() == ROWS
    return place.folder


def test_a_workspace_has_an_empty_cache_of_its_own_and_is_gone_afterwards(settings):
    version = ledger.version(settings.promoter_url, "churn", 1)
    with rebuild._workspace(settings, version) as place:
        config = (place.folder / ".dvc" / "config.local").read_text()
        assert f"dir = {place.folder}/.evergreen/dvc/cache" in config
        assert f"url = {settings.dvc_remote}" in config
        assert not (place.folder / "dvc.lock").exists()
    assert not bring(settings).exists()


def test_a_snapshot_that_is_damaged_or_gone_is_refused(settings):
    with pytest.raises(EvergreenError, match=r"snapshot of churn v1 in the cache is damaged.*evergreen model checkout v1"):
        bring(settings, rows_sha256="0" * 64)
    while path := cached.find(settings, hashlib.md5(ROWS).hexdigest()):
        path.unlink()
    with pytest.raises(EvergreenError, match=r"churn v1 cannot be rebuilt.*The published model is untouched"):
        bring(settings)
    assert list((settings.home / "runs").iterdir()) == []
