"""What `evergreen data pin` says of the gain that its rows could show."""

from __future__ import annotations

import pytest

from cli import summary
from pipelines.config import params
from pipelines.config.settings import Settings
from pipelines.data.extract import Pin
from pipelines.promotion.gate import snapshot_of
from pipelines.registry import ledger
from tests.support.ledgers import DECISION, register

PIN = Pin("2024-12-31", "abc", rows=110_000, positives=6_000, entities=15_000, newest=(9_000, 4_500))


@pytest.fixture
def settings(tmp_path, ledger_url) -> Settings:
    ledger.migrate(ledger_url)
    return Settings.load_from(tmp_path, {"EVERGREEN_URL": ledger_url})


@pytest.fixture
def config() -> params.Params:
    found = params.read()
    return found.model_copy(update={"promotion": found.promotion.model_copy(update={"metric": "cost"})})


def test_a_first_pin_is_told_by_an_assumption_that_is_named(settings, config):
    said = summary.minimum_detectable(settings, PIN, config)
    assert said.startswith("4,500 entities of the newest snapshots decide; the next decision is use 1 of their rows.")
    assert "a gain in cost of 0." in said and "the assumption that two versions decide differently on 3% of rows" in said


def test_a_pin_that_was_decided_on_before_is_another_use(settings, config):
    register(settings.evergreen_url, "1")
    verdict = {"finding": "fit to serve", "snapshot": snapshot_of("2024-12-31", "abc"), "checks": []}
    ledger.promote(settings.evergreen_url, "churn", 1, expected_revision=0, **DECISION | {"verdict": verdict})
    assert "the next decision is use 2 of their rows" in summary.minimum_detectable(settings, PIN, config)
    assert "is use 1 of" in summary.minimum_detectable(
        settings, Pin("2025-01-31", "def", 110_000, 6_000, 15_000, (9_000, 4_500)), config
    )


def test_a_pin_needs_no_ledger(tmp_path, config):
    """A source of one's own, and no stack."""
    said = summary.minimum_detectable(Settings.load_from(tmp_path, {}), PIN, config)
    assert "is use 1 of" in said and "The ledger was not asked: No password for role" in said


def test_a_table_without_dates_has_no_newest_snapshots(settings, config):
    timeless = config.model_copy(update={"data": config.data.model_copy(update={"time": None})})
    assert summary.minimum_detectable(settings, PIN, timeless).startswith("4,500 entities decide; the next decision is use 1")
