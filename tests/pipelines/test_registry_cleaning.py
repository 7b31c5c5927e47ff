"""What goes from a real MLflow when it is asked for, and what does not."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest

from pipelines import onnx_model
from pipelines.config.errors import EvergreenError
from pipelines.registry import ledger, mlflow_registry, publish
from pipelines.registry import mlflow_cleaning as cleaning
from tests.support import bundles
from tests.support.registry import model_of, runs_of

LATER = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)


@pytest.fixture
def url(ledger_url):
    ledger.migrate(ledger_url)
    return ledger_url


@pytest.fixture
def uri(stack):
    return stack.mlflow_tracking_uri


def test_reports_go_and_the_bundle_stays(url, uri, tmp_path):
    release = bundles.write_release(tmp_path / "one", f"tidy-{uuid.uuid4().hex[:8]}")
    version = publish.publish_version(url, uri, release)
    assert cleaning.reports_size(uri, version.mlflow_run_id) == len(b"png") + len("<p>audit</p>")
    cleaning.delete_reports(uri, version.mlflow_run_id)
    assert cleaning.reports_size(uri, version.mlflow_run_id) == 0
    fetched = mlflow_registry.download(uri, version.mlflow_run_id, tmp_path / "fetched")
    onnx_model.verify(fetched, version.manifest)
    assert cleaning.failed_runs(uri, version.model, LATER) == []


def test_a_run_that_failed_goes_with_its_trials_and_files_and_only_when_it_is_old(url, uri, tmp_path):
    release = bundles.write_release(tmp_path / "one", model := f"tidy-{uuid.uuid4().hex[:8]}")
    with mlflow_registry._client(uri) as client:
        experiment = client.create_experiment(model)
        failed = client.create_run(experiment)
        client.log_dict(failed.info.run_id, {"half": "done"}, "bundle/half.json")
        trial = client.create_run(experiment, tags={mlflow_registry.PARENT: failed.info.run_id})
        client.set_terminated(failed.info.run_id, "FAILED")
        running = client.create_run(experiment)
    version = publish.publish_version(url, uri, release)
    earlier = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    assert cleaning.failed_runs(uri, model, earlier) == []
    assert cleaning.failed_runs(uri, model, LATER) == [trial.info.run_id, failed.info.run_id]
    for run_id in cleaning.failed_runs(uri, model, LATER):
        cleaning.delete_run(uri, run_id)
    assert cleaning.failed_runs(uri, model, LATER) == []
    with mlflow_registry._client(uri) as client:
        left = {run.info.run_id for run in runs_of(client, model_of(release))}
        assert left == {version.mlflow_run_id, running.info.run_id}
        assert client.list_artifacts(failed.info.run_id) == []
    mlflow_registry.download(uri, version.mlflow_run_id, tmp_path / "fetched")


def test_a_model_that_mlflow_does_not_know_has_nothing_to_go(uri):
    assert cleaning.failed_runs(uri, "nobody", LATER) == []


def test_a_server_that_is_away_is_said():
    with pytest.raises(EvergreenError, match="does not answer"):
        cleaning.failed_runs("http://127.0.0.1:1", "churn", LATER)
