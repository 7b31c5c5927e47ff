"""A source, a ledger and a published version to score with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.config.params import DataParams
from pipelines.data.extract import Queries
from pipelines.data.postgres import connect
from pipelines.promotion.gate import Bundle
from pipelines.registry import ledger
from pipelines.scoring.score import Source
from tests.support import bundles

ROOT = Path(__file__).parents[2]


DATA = DataParams(
    dataset="churn", as_of=None, fingerprint=None, entity="customer_id", time="snapshot_date", target="churned",
    protected=[], personal=[], history_days=366, horizon_days=30, embargo_days=14,
)  # fmt: skip


@pytest.fixture
def url(ledger_url):
    ledger.migrate(ledger_url)
    return ledger_url


def queried(company_url, folder, training_set, watermark=None, data=DATA) -> Source:
    folder.mkdir(exist_ok=True)
    (folder / "training_set.sql").write_text(training_set)
    if watermark:
        (folder / "watermark.sql").write_text(watermark)
    return Source(url=company_url, queries=Queries(folder), data=data)


def change(url, statement):
    with connect(url) as connection:
        connection.execute(statement)


def fetch(url, statement):
    with connect(url) as connection:
        return connection.execute(statement).fetchall()


def publish(url, folder: Path, weights=None, tiers=None) -> tuple[ledger.Version, Bundle]:
    """A version of model churn, and its bundle."""
    bundles.write(folder, weights or {"strong": 2.0, "weak": -1.0})
    if tiers:
        (folder / "serving.json").write_text(json.dumps({"tiers": tiers}))
    new = bundles.registration(folder)
    return ledger.register_version(url, new), Bundle(folder, new.manifest)


def crown(url, version: ledger.Version) -> None:
    current = ledger.champion(url, "churn")
    revision = current.revision if current else 0
    ledger.promote(url, "churn", version.version, expected_revision=revision, actor="tester", reason="test", verdict={})


@pytest.fixture
def champion(url, tmp_path):
    published = publish(url, tmp_path / "bundle")
    crown(url, published[0])
    return published
