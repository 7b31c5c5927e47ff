"""The one door to MLflow, which shows runs and versions to people and keeps the bundles. It mirrors the ledger.

A publication is keyed by the bundle's SHA-256: doing it twice, or again after a kill, gives one run and one version.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from pipelines.config import stage
from pipelines.config.errors import EvergreenError, TransientError
from pipelines.registry import mlflow_model

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

KEY = "evergreen.bundle_sha256"
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # else its pages are those for language models
BUNDLE, REPORTS, MODEL = "bundle", "reports", "model"
LONGEST_DESCRIPTION = 5000  # the server refuses more
REGISTERED = (
    "Versions of {model}, as Evergreen published them. @champion is the one that serves, @challenger the last that was judged "
    "against it: the ledger decides (`evergreen model history`).\n\n"
    '`mlflow.pyfunc.load_model("models:/{model}@champion").predict(frame)` takes the columns of the training query.'
)
BOUNDS = {  # a server that is down is noticed in about 3 s, one that hangs in about 35 s
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
PARENT = "mlflow.parentRunId"
MOST_RUNS = 1000  # below one version's
TRIALS_AT_ONCE = 4
TRIAL_STATUS = {"FAILED": "FAILED", "PRUNED": "KILLED"}
PARAMS_A_BATCH, METRICS_A_BATCH, LONGEST_PARAM = 100, 1000, 6000  # the server refuses more


@dataclass(frozen=True)
class Lineage:
    """Where training rows came from: enough to read the same rows again."""

    name: str
    digest: str
    source: Mapping[str, Any]  # the SQL and the pin


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One set of values that tuning tried for a candidate."""

    candidate: str
    number: int
    state: str  # COMPLETE, PRUNED or FAILED
    params: Mapping[str, Any]
    metric: str
    folds: Sequence[float]  # the metric on each fold that was reached
    value: float | None
    is_best: bool


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a run in MLflow shows besides its bundle."""

    params: Mapping[str, Any]  # flat
    metrics: Mapping[str, float]
    lineage: Lineage
    reports: Sequence[Path] = ()  # files and folders
    tags: Mapping[str, str] = field(default_factory=dict)  # of the run
    shown: Mapping[str, str] = field(default_factory=dict)  # tags of the registered version, for people
    trials: Sequence[Trial] = ()


@dataclass(frozen=True)
class Published:
    """Where MLflow holds a bundle."""

    run_id: str
    version: int


def publish(tracking_uri: str, *, model: str, bundle: Path, bundle_sha256: str, record: Record) -> Published:
    """One run with everything, then one registered version of it.

    The caller holds a lock on the model: two that publish one bundle at the same time would give two runs.

    Raises:
        TransientError: MLflow does not answer, or not in time.
        EvergreenError: it refuses.
    """
    with _client(tracking_uri) as client:
        found = _find_version(client, model, bundle_sha256)
        if found:
            return found
        experiment = _experiment(client, model)
        run = _finished_run(client, experiment, bundle_sha256)
        if run is None:
            run = _log_run(client, experiment, bundle, {KEY: bundle_sha256, **record.tags}, record)
        stage.fault("publish:uploaded")
        return _register(client, model, run, {KEY: bundle_sha256, **record.shown})


def describe(tracking_uri: str, model: str, published: Published, *, name: str, description: str) -> None:
    """Name a version's run, and say what the version is, on both; twice is once.

    Args:
        description: Markdown.

    Raises:
        TransientError: MLflow does not answer, or not in time.
    """
    with _client(tracking_uri) as client:
        text = description[:LONGEST_DESCRIPTION]
        client.update_run(published.run_id, name=name)
        client.set_tag(published.run_id, "mlflow.note.content", text)
        client.update_model_version(model, str(published.version), text)


def tag_version(tracking_uri: str, model: str, version: int, tags: Mapping[str, str]) -> None:
    """Put tags on a registered version.

    Raises:
        TransientError: MLflow does not answer, or not in time.
    """
    with _client(tracking_uri) as client:
        for key, value in tags.items():
            client.set_model_version_tag(model, str(version), key, value)


def add_reports(tracking_uri: str, run_id: str, *reports: Path) -> None:
    """Put files and folders beside those that a run has; what is there by their names already is replaced.

    Raises:
        TransientError: MLflow does not answer, or not in time.
    """
    with _client(tracking_uri) as client:
        for report in reports:
            _log_report(client, run_id, report)


def set_aliases(tracking_uri: str, model: str, *, champion: int | None, challenger: int | None) -> list[str]:
    """Point the aliases at these versions of MLflow's; None takes an alias away.

    Returns:
        What had to be changed, in words; empty when MLflow agreed already.
    """
    with _client(tracking_uri) as client:
        registered = client.search_registered_models(f"name = '{model}'")
        aliases = registered[0].aliases if registered else {}
        changes = []
        for alias, version in (("champion", champion), ("challenger", challenger)):
            there = int(aliases[alias]) if alias in aliases else None
            if there == version:
                continue
            if version is None:
                client.delete_registered_model_alias(model, alias)
            else:
                client.set_registered_model_alias(model, alias, str(version))
            changes.append(f"@{alias}: {there or 'none'} -> {version or 'none'}")
            stage.fault("promote:alias")
        return changes


def download(tracking_uri: str, run_id: str, into: Path) -> Path:
    """The bundle of a run as the folder `into`, whole or not at all. Its digests are the caller's to check.

    Raises:
        TransientError: MLflow does not answer, or does not hand the bundle out.
    """
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into.parent, prefix=f".{into.name}.") as staging:
        with _client(tracking_uri) as client:
            fetched = Path(client.download_artifacts(run_id, BUNDLE, dst_path=staging))
        if into.exists():
            into.rename(Path(staging) / "replaced")
        fetched.rename(into)
    return into


@contextmanager
def _client(tracking_uri: str) -> Iterator[MlflowClient]:
    """A client whose every call ends in time, and whose errors say where and what to do."""
    for name, value in BOUNDS.items():
        os.environ.setdefault(name, value)
    from mlflow.exceptions import MlflowException, RestException
    from mlflow.tracking.client import MlflowClient
    from requests import RequestException

    where = f"MLflow at {_shown(tracking_uri)}"
    try:
        yield MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
    except RestException as error:
        raise EvergreenError(f"{where} refuses: {error.message}") from None
    except RequestException as error:
        status = f"{error.response.status_code} {error.response.reason}" if error.response is not None else type(error).__name__
        raise TransientError(f"{where} failed to move a file ({status}): check the space and rights of its store.") from None
    except MlflowException as error:
        if error.message.startswith("Failed to download"):  # whatever the cause: the client hides it
            raise TransientError(f"{where} does not hand out an artifact: check `evergreen status`, then its store.") from None
        if error.message.startswith("API request to"):
            raise TransientError(f"{where} does not answer: run `evergreen status`, then try again.") from None
        raise


def _find_version(client: MlflowClient, model: str, bundle_sha256: str) -> Published | None:
    found = client.search_model_versions(f"name = '{model}' and tag.`{KEY}` = '{bundle_sha256}'")
    return Published(found[0].run_id, int(found[0].version)) if found else None


def _experiment(client: MlflowClient, model: str) -> str:
    found = client.get_experiment_by_name(model)
    return found.experiment_id if found else client.create_experiment(model, tags=EXPERIMENT_TAGS)


def _finished_run(client: MlflowClient, experiment: str, bundle_sha256: str) -> Run | None:
    """The complete run of this bundle. Half-done ones, left by a kill, are closed as failed and not used."""
    runs = client.search_runs([experiment], f"tags.`{KEY}` = '{bundle_sha256}'")
    for run in runs:
        if run.info.status == "RUNNING":
            _give_up(client, experiment, run.info.run_id)
    return next((run for run in runs if run.info.status == "FINISHED"), None)


def _log_run(client: MlflowClient, experiment: str, bundle: Path, tags: Mapping[str, str], record: Record) -> Run:
    run = client.create_run(experiment, tags=dict(tags), run_name=f"bundle-{tags[KEY][:12]}")
    try:
        _log_figures(client, run.info.run_id, record)
        client.log_artifacts(run.info.run_id, str(bundle), BUNDLE)
        _log_model(client, run.info.run_id, bundle)
        for report in record.reports:
            _log_report(client, run.info.run_id, report)
        _log_trials(client, experiment, run.info.run_id, record.trials)
        client.set_terminated(run.info.run_id, "FINISHED")  # from here on the bundle is known to be whole
    except BaseException:
        with suppress(Exception):
            _give_up(client, experiment, run.info.run_id)
        raise
    return run


def _log_model(client: MlflowClient, run_id: str, bundle: Path) -> None:
    """The bundle as MLflow's own kind of model, beside it."""
    with tempfile.TemporaryDirectory() as scratch:
        mlflow_model.write(bundle, Path(scratch) / MODEL)
        client.log_artifacts(run_id, str(Path(scratch) / MODEL), MODEL)


def _log_report(client: MlflowClient, run_id: str, report: Path) -> None:
    if report.is_dir():
        client.log_artifacts(run_id, str(report), f"{REPORTS}/{report.name}")
    else:
        client.log_artifact(run_id, str(report), REPORTS)


def _give_up(client: MlflowClient, experiment: str, run_id: str) -> None:
    """Close a half-done run, and take away the trials below it: another run will have them."""
    for child in client.search_runs([experiment], f"tags.`{PARENT}` = '{run_id}'", max_results=MOST_RUNS):
        client.delete_run(child.info.run_id)
    client.set_terminated(run_id, "FAILED")


def _log_trials(client: MlflowClient, experiment: str, parent: str, trials: Sequence[Trial]) -> None:
    """Each trial as a run below the version's, several at a time: each takes three requests."""
    if trials:
        with ThreadPoolExecutor(TRIALS_AT_ONCE) as threads:
            list(threads.map(lambda trial: _log_trial(client, experiment, parent, trial), trials))


def _log_trial(client: MlflowClient, experiment: str, parent: str, trial: Trial) -> None:
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    tags = {PARENT: parent, "evergreen.candidate": trial.candidate, "evergreen.trial": trial.state.lower()}
    best = {"evergreen.best": "true"} if trial.is_best else {}
    run = client.create_run(experiment, start_time=now, tags=tags | best, run_name=f"{trial.candidate} trial {trial.number}")
    metrics = [Metric(f"{trial.metric}.fold", value, now, fold) for fold, value in enumerate(trial.folds)]
    metrics += [Metric(trial.metric, trial.value, now, 0)] if trial.value is not None else []
    params = [Param(name, str(value)[:LONGEST_PARAM]) for name, value in trial.params.items()]
    client.log_batch(run.info.run_id, metrics=metrics, params=params)
    client.set_terminated(run.info.run_id, TRIAL_STATUS.get(trial.state, "FINISHED"), end_time=now)


def _log_figures(client: MlflowClient, run_id: str, record: Record) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

    now = int(time.time() * 1000)
    metrics = [Metric(name, value, now, 0) for name, value in record.metrics.items()]
    params = [Param(name, str(value)[:LONGEST_PARAM]) for name, value in record.params.items()]
    for start in range(0, len(params), PARAMS_A_BATCH):
        client.log_batch(run_id, params=params[start : start + PARAMS_A_BATCH])
    for start in range(0, len(metrics), METRICS_A_BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + METRICS_A_BATCH])
    lineage = record.lineage
    source = json.dumps(lineage.source, sort_keys=True)
    dataset = Dataset(lineage.name, lineage.digest[:36], "sql", source)  # 36 characters are what MLflow keeps of a digest
    client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])


def _register(client: MlflowClient, model: str, run: Run, tags: Mapping[str, str]) -> Published:
    if not client.search_registered_models(f"name = '{model}'"):
        client.create_registered_model(model, description=REGISTERED.format(model=model))
    source = f"{run.info.artifact_uri}/{MODEL}"
    created = client.create_model_version(model, source, run.info.run_id, tags=dict(tags), await_creation_for=0)
    return Published(run.info.run_id, int(created.version))


def _shown(tracking_uri: str) -> str:
    """The address without user and password."""
    parts = urlsplit(tracking_uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
