"""What MLflow holds of a release."""

from __future__ import annotations

import json
import uuid

import pytest

from pipelines.registry import mlflow_registry, publish
from tests.support import bundles


@pytest.fixture
def uri(stack):
    return stack.mlflow_tracking_uri


@pytest.fixture
def client(uri):
    with mlflow_registry._client(uri) as client:
        yield client


@pytest.fixture
def release(tmp_path):
    return bundles.write_release(tmp_path / "one", model=f"churn-{uuid.uuid4().hex[:8]}")


def model_of(release: publish.Release) -> str:
    return json.loads((release.bundle / "manifest.json").read_text())["model"]


def runs_of(client, model: str):
    return client.search_runs([client.get_experiment_by_name(model).experiment_id])
