"""Publishing and deciding on a real Postgres and a real MLflow: twice is once, a kill leaves nothing half done."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from dataclasses import asdict, replace
from pathlib import Path

import httpx
import pandas as pd
import pyarrow as pa
import pytest

from pipelines import onnx_model
from pipelines.config import stage
from pipelines.config.errors import EvergreenError, TransientError
from pipelines.promotion.verdict import Verdict
from pipelines.registry import ledger, mlflow_registry, publish
from serving.version import Served
from tests.support import bundles
from tests.support import served_versions as versions
from tests.support.asking import Asking
from tests.support.registry import client, model_of, release, runs_of, uri

__all__ = ["client", "release", "uri"]  # fixtures

BETTER = Verdict("better", "The challenger becomes champion.")
WEAKER = Verdict("insufficient evidence", "The champion stays.")
CHILD = """
import json, sys
from pathlib import Path
from pipelines.registry import ledger, publish
from pipelines.promotion.verdict import Verdict
url, uri, fields, verdict = json.loads(sys.argv[1])
paths = {name: Path(fields[name]) for name in ("bundle", "params", "query")}
release = publish.Release(**fields | paths | {"reports": ()})
version = publish.publish_version(url, uri, release)
publish.record_decision(url, version, Verdict.from_dict(verdict), revision=0, actor="child")
publish.reconcile(url, uri, version.model)
"""


@pytest.fixture
def url(ledger_url):
    ledger.migrate(ledger_url)
    return ledger_url


def aliases_of(client, model: str) -> dict[str, str]:
    return {alias: str(version) for alias, version in client.get_registered_model(model).aliases.items()}


def test_a_publication_shows_all_of_a_run_and_holds_the_bundle(url, uri, client, release, tmp_path):
    version = publish.publish_version(url, uri, release)
    run = client.get_run(version.mlflow_run_id)
    assert run.info.status == "FINISHED"
    assert (len(run.data.params), run.data.params["train.folds"]) == (252, "3")
    wanted = {"roc_auc": 0.8, "roc_auc.low": 0.79, "lightgbm/roc_auc": 0.8, "gain_over_baseline.low": 0.005}
    assert run.data.metrics.items() >= wanted.items()
    assert "precision" not in run.data.metrics
    assert run.data.tags["mlflow.source.git.commit"] == "c0ffee"
    (dataset,) = [used.dataset for used in run.inputs.dataset_inputs]
    assert json.loads(dataset.source)["sql"] == "select 1"
    assert {file.path for file in client.list_artifacts(run.info.run_id, "reports")} == {"reports/plots", "reports/audit.html"}
    registered = client.get_model_version(model_of(release), str(version.mlflow_version))
    assert registered.run_id == version.mlflow_run_id
    assert (version.bundle_sha256, version.metrics["roc_auc"]) == (stage.sha256(release.bundle / "manifest.json"), 0.8)
    fetched = mlflow_registry.download(uri, version.mlflow_run_id, tmp_path / "fetched")
    onnx_model.verify(fetched, version.manifest)


def test_reports_are_added_to_what_is_published_and_twice_is_once(url, uri, client, release, tmp_path):
    version = publish.publish_version(url, uri, release)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "bias.html").write_text("<p>bias</p>")
    for _ in "twice":
        mlflow_registry.add_reports(uri, version.mlflow_run_id, tmp_path / "model")
    assert [file.path for file in client.list_artifacts(version.mlflow_run_id, "reports/model")] == ["reports/model/bias.html"]
    assert client.get_run(version.mlflow_run_id).info.status == "FINISHED"
    onnx_model.verify(mlflow_registry.download(uri, version.mlflow_run_id, tmp_path / "fetched"), version.manifest)


def test_publishing_twice_is_publishing_once(url, uri, client, release):
    first = publish.publish_version(url, uri, release)
    assert publish.publish_version(url, uri, release) == first
    assert len(runs_of(client, first.model)) == 1
    assert len(client.search_model_versions(f"name = '{first.model}'")) == 1


def test_a_ledger_that_lost_its_row_finds_mlflows_version_again(ledger_url, uri, client, release, monkeypatch):
    """Killed after registering in MLflow and before the ledger row."""
    ledger.migrate(ledger_url)
    monkeypatch.setenv("EVERGREEN_FAULT", "publish:registered:raise")
    with pytest.raises(EvergreenError, match="Fault injected"):
        publish.publish_version(ledger_url, uri, release)
    assert ledger.versions(ledger_url, model_of(release)) == []
    monkeypatch.delenv("EVERGREEN_FAULT")
    publish.publish_version(ledger_url, uri, release)
    assert len(client.search_model_versions(f"name = '{model_of(release)}'")) == 1


def run_child(url: str, uri: str, release: publish.Release, fault: str) -> int:
    fields = {name: str(value) for name, value in asdict(release).items() if name not in {"reports", "trials", "ran"}}
    argument = json.dumps([url, uri, fields, BETTER.to_dict()])
    environ = {**os.environ, "EVERGREEN_FAULT": fault}
    child = subprocess.run([sys.executable, "-c", CHILD, argument], env=environ, capture_output=True, text=True, timeout=120)
    assert child.returncode in {0, -signal.SIGKILL}, child.stderr
    return child.returncode


@pytest.mark.parametrize("point", ["publish:uploaded", "promote:before", "promote:after"])
def test_a_kill_then_a_rerun_leaves_one_version_and_one_champion(url, uri, client, release, point):
    model = model_of(release)
    assert run_child(url, uri, release, f"{point}:kill") == -signal.SIGKILL
    champion = ledger.champion(url, model)
    assert (champion is not None) == (point == "promote:after")
    version = publish.publish_version(url, uri, release)
    if champion is None:
        publish.record_decision(url, version, BETTER, revision=0, actor="tester")
    publish.reconcile(url, uri, model)
    assert [run.info.status for run in runs_of(client, model)] == ["FINISHED"]
    assert len(client.search_model_versions(f"name = '{model}'")) == 1
    assert len(ledger.versions(url, model)) == len(ledger.history(url, model)) == 1
    assert aliases_of(client, model) == {"champion": str(version.mlflow_version)}


def test_an_upload_cut_short_is_closed_and_done_again(url, uri, client, release):
    model = model_of(release)
    experiment = client.create_experiment(model)
    half = client.create_run(experiment, tags={mlflow_registry.KEY: stage.sha256(release.bundle / "manifest.json")})
    version = publish.publish_version(url, uri, release)
    assert version.mlflow_run_id != half.info.run_id
    assert {run.info.run_id: run.info.status for run in runs_of(client, model)} == {
        half.info.run_id: "FAILED",
        version.mlflow_run_id: "FINISHED",
    }


def test_an_upload_that_fails_leaves_no_version(url, uri, client, release):
    broken = publish.Release(**{**vars(release), "reports": (release.bundle / "not there",)})
    with pytest.raises(FileNotFoundError):
        publish.publish_version(url, uri, broken)
    model = model_of(release)
    assert [run.info.status for run in runs_of(client, model)] == ["FAILED"]
    assert client.search_model_versions(f"name = '{model}'") == []
    assert ledger.versions(url, model) == []


def test_a_changed_bundle_is_not_published(url, uri, release):
    (release.bundle / "model.onnx").write_bytes(b"swapped")
    with pytest.raises(EvergreenError, match=r"model\.onnx: changed"):
        publish.publish_version(url, uri, release)


def test_aliases_follow_the_ledger_and_are_repaired_from_it(url, uri, client, release, tmp_path):
    model = model_of(release)
    first = publish.publish_version(url, uri, release)
    publish.record_decision(url, first, BETTER, revision=0, actor="tester")
    second = publish.publish_version(url, uri, bundles.write_release(tmp_path / "two", model, {"strong": 1.0}))
    publish.record_decision(url, second, WEAKER, revision=1, actor="tester")
    assert publish.reconcile(url, uri, model) == ["@champion: none -> 1", "@challenger: none -> 2"]
    assert aliases_of(client, model) == {"champion": "1", "challenger": "2"}
    client.set_registered_model_alias(model, "champion", "2")  # by hand, in MLflow's pages
    assert publish.reconcile(url, uri, model) == ["@champion: 2 -> 1"]
    publish.record_decision(url, second, BETTER, revision=1, actor="tester")
    publish.reconcile(url, uri, model)
    assert aliases_of(client, model) == {"champion": "2"}
    assert publish.reconcile(url, uri, model) == []


def test_deciding_again_decides_nothing_new(url, uri, client, release, tmp_path, monkeypatch):
    model = model_of(release)
    params = bundles.params()

    def decide(version):
        rows = bundles.held_out_rows()
        return publish.decide(url, uri, version, rows, params, cache=tmp_path / "cache", actor="tester").finding

    first = publish.publish_version(url, uri, release)
    monkeypatch.setenv("EVERGREEN_FAULT", "promote:after:raise")
    with pytest.raises(EvergreenError, match="Fault injected"):
        decide(first)
    monkeypatch.delenv("EVERGREEN_FAULT")
    assert aliases_of(client, model) == {}
    assert decide(first) == "fit to serve"
    assert aliases_of(client, model) == {"champion": "1"}
    better = publish.publish_version(url, uri, bundles.write_release(tmp_path / "two", model, {"strong": 1.5, "weak": 1.0}))
    worse = publish.publish_version(url, uri, bundles.write_release(tmp_path / "three", model, {"strong": 1.5, "weak": 0.1}))
    assert [decide(better), decide(better), decide(worse), decide(worse)] == ["better", "better", "worse", "worse"]
    moves = [(row.decision, row.from_version, row.to_version) for row in ledger.history(url, model)]
    assert moves == [("rejected", 2, 3), ("promoted", 1, 2), ("promoted", None, 1)]
    assert aliases_of(client, model) == {"champion": "2", "challenger": "3"}


def test_a_damaged_copy_is_fetched_again_and_a_swapped_original_is_refused(url, uri, client, release, tmp_path):
    version = publish.publish_version(url, uri, release)
    cached = publish.fetch(uri, version, tmp_path / "cache").folder
    (cached / "model.onnx").write_bytes(b"bit rot")
    publish.fetch(uri, version, tmp_path / "cache")
    assert stage.sha256(cached / "model.onnx") == version.onnx_sha256
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [version.bundle_sha256]
    swapped = tmp_path / "model.onnx"
    swapped.write_bytes(b"swapped")
    client.log_artifact(version.mlflow_run_id, str(swapped), "bundle")
    with pytest.raises(EvergreenError, match=r"model\.onnx: changed"):
        publish.fetch(uri, version, tmp_path / "elsewhere")


def test_a_bundle_that_mlflow_lost_is_said(uri, client, tmp_path):
    run = client.create_run(client.create_experiment(f"empty-{uuid.uuid4().hex[:8]}"))
    with pytest.raises(EvergreenError, match="does not hand out an artifact"):
        mlflow_registry.download(uri, run.info.run_id, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_an_mlflow_that_is_down_is_said_in_seconds_and_without_a_password(url, release):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(TransientError) as refused:
        publish.publish_version(url, f"http://someone:hunter2@127.0.0.1:{port}", release)
    assert time.monotonic() - started < 10
    assert str(refused.value) == f"MLflow at http://127.0.0.1:{port} does not answer: run `evergreen status`, then try again."
    assert ledger.versions(url, model_of(release)) == []


# as MLflow's own model


@pytest.fixture
def champion(url, uri, release, monkeypatch):
    """A version that is champion, and MLflow's own functions on its server."""
    version = publish.publish_version(url, uri, replace(release, site_url="http://site"))
    publish.record_decision(url, version, BETTER, revision=0, actor="tester")
    publish.reconcile(url, uri, version.model)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return version


def test_mlflow_loads_the_champion_by_its_alias_and_scores_as_batch_does(release, champion):
    import mlflow.pyfunc

    rows = bundles.held_out_rows()
    model = mlflow.pyfunc.load_model(f"models:/{champion.model}@champion")
    found = model.predict(rows.to_pandas())["probability"].tolist()
    assert found == onnx_model.load(release.bundle).score(rows).tolist()
    assert mlflow.onnx.load_model(f"models:/{champion.model}/1").graph.output[0].name == "probability"
    assert model.metadata.signature.inputs.input_names() == ["strong"]


def test_of_numbers_and_texts_mlflow_batch_and_api_say_the_same(url, uri, release, tmp_path, monkeypatch):
    """The version is published as a retraining does, and loaded by its alias from the server."""
    import mlflow.pyfunc

    bundle, model = with_texts(release.bundle, tmp_path / "texts"), model_of(release)
    version = publish.publish_version(url, uri, release)
    publish.record_decision(url, version, BETTER, revision=0, actor="tester")
    publish.reconcile(url, uri, model)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    rows = [versions.ROW, versions.ROW | {"tenure_months": None, "plan": None}, versions.ROW | {"plan": "never seen"}]
    rows += [versions.ROW | {"tenure_months": months, "contract type": "month-to-month"} for months in range(20)]
    frame = pd.DataFrame(rows)
    found = mlflow.pyfunc.load_model(f"models:/{model}@champion").predict(frame)["probability"].tolist()
    assert found == onnx_model.load(bundle).score(pa.table({name: [row[name] for row in rows] for name in frame})).tolist()
    [answer] = Asking(tmp_path / "asked", Served.load(ledger.champion(url, model), bundle)).predict(rows)
    assert found == [one["probability"] for one in answer.json]
    assert len(set(found)) > 3


def with_texts(bundle: Path, scratch: Path) -> Path:
    """The bundle with a graph that reads numbers and texts, and all that the API needs beside it."""
    other = versions.write(scratch)
    for name in ("model.onnx", "schema.json", "decision.json", "serving.json", "background.json"):
        shutil.copy(other / name, bundle / name)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["data"]["columns"] = versions.TYPES
    manifest["files"] = {path.name: stage.sha256(path) for path in bundle.iterdir() if path.name != "manifest.json"}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    return bundle


def test_people_read_in_mlflow_what_a_version_is(client, champion):
    assert client.get_run(champion.mlflow_run_id).info.run_name == "v1 2024-12-31 lightgbm"
    found = client.get_model_version(champion.model, "1")
    for words in (
        f"**{champion.model} v1**: lightgbm, as of 2024-12-31, 1,000 rows.",
        "roc_auc 0.8000 [0.7900, 0.8100]; gain over linear 0.0100 [0.0050, 0.0150]",
        f"http://site/{champion.model}/v1/index.html",
        "`evergreen model trace v1`",
        "# card",
    ):
        assert words in found.description
    assert client.get_run(champion.mlflow_run_id).data.tags["mlflow.note.content"] == found.description
    shown = {name: value for name, value in found.tags.items() if name != mlflow_registry.KEY}
    assert shown == {
        "candidate": "lightgbm", "as of": "2024-12-31", "rows": "1,000", "git commit": "c0ffee",
        "roc_auc": "0.8000 [0.7900, 0.8100]", "gain over linear": "0.0100 [0.0050, 0.0150]",
    }  # fmt: skip
    assert "@champion is the one that serves" in client.get_registered_model(champion.model).description


def test_a_description_that_a_kill_left_out_is_added_when_it_is_published_again(url, uri, client, release, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(mlflow_registry, "describe", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            publish.publish_version(url, uri, release)
    version = publish.publish_version(url, uri, release)
    assert client.get_run(version.mlflow_run_id).info.run_name == "v1 2024-12-31 lightgbm"


@pytest.mark.long
def test_mlflow_serves_the_champion(release, champion, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{champion.model}@champion"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # MLflow starts uvicorn by its name
    command += ["--env-manager", "local", "--port", str(port)]
    serving = subprocess.Popen(command, cwd=tmp_path, start_new_session=True, env=os.environ | {"PATH": path})
    try:
        deadline = time.monotonic() + 400
        while not answers(port):
            assert serving.poll() is None and time.monotonic() < deadline
            time.sleep(1)
        rows = bundles.held_out_rows().slice(0, 20)
        frame = rows.to_pandas().to_dict("split", index=False)
        answer = httpx.post(
            f"http://127.0.0.1:{port}/invocations", json={"dataframe_split": frame}, trust_env=False, timeout=60
        )
        found = [one["probability"] for one in answer.json()["predictions"]]
        assert found == onnx_model.load(release.bundle).score(rows).tolist()
    finally:
        os.killpg(serving.pid, signal.SIGTERM)
        serving.wait(30)


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/ping", trust_env=False, timeout=5).is_success
    except httpx.TransportError:
        return False


# trials


def with_trials(release: publish.Release, candidates: int = 1) -> publish.Release:
    """With six trials a candidate: the first is cut short, the second fails."""
    files = []
    for name in [f"candidate{number}" for number in range(candidates)]:
        trials = [
            {"number": 0, "state": "PRUNED", "params": {"depth": 9}, "parts": [0.6], "value": None},
            {"number": 1, "state": "FAILED", "params": {"depth": 0}, "parts": [], "value": None},
            *(
                {"number": n, "state": "COMPLETE", "params": {"depth": n, "rate": 0.1}, "parts": [0.7, 0.8], "value": 0.75}
                for n in range(2, 6)
            ),
        ]
        file = release.bundle.parent / "models" / name / "trials.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"metric": "roc_auc", "best": 3, "stopped": None, "trials": trials}))
        files.append(file)
    return replace(release, trials=tuple(files))


def test_what_tuning_tried_stands_below_the_versions_run(url, uri, client, release):
    version = publish.publish_version(url, uri, with_trials(release))
    below = {run.info.run_name: run for run in runs_of(client, version.model) if run.info.run_id != version.mlflow_run_id}
    assert {run.data.tags["mlflow.parentRunId"] for run in below.values()} == {version.mlflow_run_id}
    best = below["candidate0 trial 3"]
    assert best.data.params == {"depth": "3", "rate": "0.1"}
    assert best.data.metrics["roc_auc"] == 0.75
    assert [metric.value for metric in client.get_metric_history(best.info.run_id, "roc_auc.fold")] == [0.7, 0.8]
    assert [name for name, run in below.items() if "evergreen.best" in run.data.tags] == ["candidate0 trial 3"]
    ended = {name[-1]: run.info.status for name, run in below.items()}
    assert ended == {"0": "KILLED", "1": "FAILED", "2": "FINISHED", "3": "FINISHED", "4": "FINISHED", "5": "FINISHED"}


def test_a_kill_among_the_trials_leaves_those_of_one_run(url, uri, client, release, monkeypatch):
    release, logged = with_trials(release), mlflow_registry._log_trial

    def fail_late(client, experiment, parent, trial):
        logged(client, experiment, parent, trial)
        if trial.number == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(mlflow_registry, "_log_trial", fail_late)
        with pytest.raises(KeyboardInterrupt):
            publish.publish_version(url, uri, release)
    version = publish.publish_version(url, uri, release)
    below = [run for run in runs_of(client, version.model) if "mlflow.parentRunId" in run.data.tags]
    assert [run.data.tags["mlflow.parentRunId"] for run in below] == [version.mlflow_run_id] * 6


def test_the_trials_of_four_candidates_take_less_than_2_s(client, release):
    trials = [
        trial
        for file in with_trials(release, candidates=4).trials
        for trial in publish._trials(file.parent.name, json.loads(file.read_text()))
    ]
    experiment = client.create_experiment(model_of(release))
    began = time.monotonic()
    mlflow_registry._log_trials(client, experiment, "0" * 32, trials)
    print(f"{time.monotonic() - began:.2f} s")
    assert time.monotonic() - began < 2 * (os.getloadavg()[0] / os.cpu_count() + 1)
    assert len(trials) == 24


def test_where_stages_of_another_pool_ran_stands_on_the_run(url, uri, client, release):
    ran = {"train@mlp": "cpu: no worker in pool gpu within 60 s"}
    version = publish.publish_version(url, uri, replace(release, ran=ran))
    tags = client.get_run(version.mlflow_run_id).data.tags
    assert tags["evergreen.ran.train.mlp"] == "cpu: no worker in pool gpu within 60 s"
