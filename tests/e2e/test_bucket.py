"""A bucket as DVC remote, as MLflow's artifact store and for backups, over a real S3 API."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

from examples.telecom.load import load_demo
from flows.execution import workspace
from infra.backup import command
from infra.stack import api_key, processes
from infra.stack import local as local_stack
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.registry import ledger
from tests.conftest import write_env_file
from tests.e2e.test_other_clones import only_gpu
from tests.support.clones import Clone, wait_for

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("bucket")]
BUCKET = "evergreen"
SMALL = {"evaluate.bootstrap": 100, "tune.trials": 0, "candidates.enabled": {"linear": "cpu", "lightgbm": "gpu"}}


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    """A client of an S3 server with one empty bucket, which the environment names."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    given = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
    given |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in given.items():
            patch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield client
    server.stop()


def keys(bucket: Any, prefix: str) -> list[str]:
    pages = bucket.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


def stack_settings(folder: Path) -> Settings:
    write_env_file(folder)
    with (folder / ".env").open("a") as file:
        file.write(f"EVERGREEN_DVC_REMOTE=s3://{BUCKET}/dvc\nEVERGREEN_ARTIFACTS=s3://{BUCKET}/mlflow\n")
    return Settings.load_from(folder, {})


@pytest.fixture(scope="module")
def retrained(bucket: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Clone, Path]]:
    """A clone whose retraining was done on a whole stack of two machines' clones, and the other machine's home."""
    assert keys(bucket, "") == []
    folder = tmp_path_factory.mktemp("bucket")
    settings = stack_settings(folder)
    try:
        local_stack.up(settings, print)
        load_demo(settings.load_url, customers=2_000, say=print)
        near = Clone.make(folder / "near", (folder / ".env").read_text(), SMALL)
        near.evergreen("deploy")
        far = Clone.make(folder / "far", (folder / ".env").read_text(), SMALL)
        only_gpu(far, folder / "far-home")
        far.deploy(take_over=True)
        near.evergreen("run", "retrain", "--as-of", "2024-12-31")
        yield near, folder / "far-home"
    finally:
        local_stack.down(settings, print)
    assert processes.belonging_to(settings.home) == []


def test_results_go_from_machine_to_machine_through_the_bucket(retrained: tuple[Clone, Path], bucket: Any) -> None:
    near, far_home = retrained
    assert ledger.champion(near.settings.evergreen_url, near.model) is not None
    assert list((far_home / "dvc" / "cache").rglob("*.dir")), "the other machine has computed nothing"
    assert len(keys(bucket, "dvc/files/md5/")) > 10
    assert not (near.settings.home / "dvc" / "remote").exists()
    assert any(key.endswith("model.onnx") for key in keys(bucket, "mlflow/"))
    assert not (near.settings.home / "mlflow" / "artifacts").exists()


def test_what_serves_comes_out_of_the_bucket(retrained: tuple[Clone, Path]) -> None:
    near, _ = retrained
    local_stack.down(near.settings, print)
    shutil.rmtree(near.settings.home / "models")
    local_stack.up(near.settings, print)
    key = {"Authorization": f"Bearer {api_key.show(near.settings)}"}
    model = wait_for(lambda: answered(f"{near.settings.api_url}/model", key), 60, "an API that serves")
    assert model["version"] == 1


def answered(url: str, headers: dict[str, str]) -> Any:
    answer = httpx.get(url, headers=headers, trust_env=False)
    return answer.json() if answer.is_success else None


def test_a_backup_goes_into_the_bucket_and_comes_back_from_it(
    retrained: tuple[Clone, Path], bucket: Any, tmp_path: Path
) -> None:
    near, _ = retrained
    place = f"s3://{BUCKET}/backups/today.tar"
    said: list[str] = []
    command.backup(near.settings, place, said.append)
    assert f"Not in it: MLflow's artifacts in s3://{BUCKET}/mlflow." in said and f"It is {place}." in said
    assert keys(bucket, "backups/") == ["backups/today.tar"]
    with pytest.raises(EvergreenError, match=r"today\.tar is there already"):
        command.backup(near.settings, place, print)
    champion = ledger.champion(near.settings.evergreen_url, near.model)
    local_stack.down(near.settings, print)
    workspace.git(tmp_path, "clone", "--quiet", str(near.folder), "clone")
    second = stack_settings(tmp_path / "clone")
    command.restore(second, place, print)
    try:
        local_stack.up(second, print)
        assert ledger.champion(second.evergreen_url, near.model) == champion
    finally:
        local_stack.down(second, print)


def test_what_cannot_be_a_backup_in_a_bucket_is_named(tmp_path: Path) -> None:
    settings = stack_settings(tmp_path)
    with pytest.raises(EvergreenError, match="in a bucket a backup is one file"):
        command.backup(settings, f"s3://{BUCKET}/folder", print)
    with pytest.raises(EvergreenError, match=r"s3://other/x\.tar is out of reach: .*AWS_ENDPOINT_URL"):
        command.restore(settings, "s3://other/x.tar", print)
