"""Backup and restore: of a stack that runs, into an empty place, with passwords of its own; and nothing is written over."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from flows.execution import workspace
from infra.backup import command
from infra.stack import local as local_stack
from infra.stack import processes, store
from pipelines import onnx_model
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.data import postgres
from pipelines.registry import ledger, publish, tenures
from tests.conftest import write_env_file
from tests.support import bundles

SILENT = lambda _text: None  # noqa: E731 - a name for "say nothing"


def clone_with(folder: Path, env: str) -> Settings:
    """A clone without a commit of ours, on a stack."""
    folder.mkdir(parents=True)
    (folder / ".env").write_text(env)
    (folder / ".gitignore").write_text("/.env\n/.evergreen/\n")
    workspace.git(folder, "init", "--quiet", "--initial-branch=main")
    workspace.git(folder, "add", "--all")
    workspace.git(folder, "commit", "--quiet", "--message", "start")
    return Settings.load_from(folder, {})


def only_postgres(tmp_path: Path, name: str) -> Settings:
    """A stack that is Postgres alone, not started."""
    write_env_file(tmp_path)
    settings = clone_with(tmp_path / name, (tmp_path / ".env").read_text())
    elsewhere = {"prefect_api_url": "http://prefect.invalid/api", "mlflow_tracking_uri": "http://mlflow.invalid"}
    elsewhere |= {"site_url": "http://site.invalid", "api_url": "http://api.invalid"}
    return replace(settings, home=settings.folder / ".evergreen", **elsewhere)


def publish_here(settings: Settings, weight: float) -> ledger.Version:
    """A version that was made at a commit of the clone, with its bundle in the home."""
    bundle = bundles.keep(settings.home, {"strong": weight})
    ref = f"refs/evergreen/runs/{weight}"
    commit = workspace.snapshot_commit(settings.folder)
    workspace.git(settings.folder, "update-ref", ref, commit)
    new = bundles.registration(bundle, git_commit=commit, git_ref=ref)
    version = ledger.register_version(settings.promoter_url, new)
    workspace.tag(settings.folder, "churn", version.version, ref)
    return version


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Path]]:
    """A stopped stack with two versions, and its backup, made while it ran."""
    tmp_path = tmp_path_factory.mktemp("kept")
    settings = only_postgres(tmp_path, "first")
    try:
        local_stack.up(settings, SILENT)
        for number, weight in enumerate((1.0, 2.0), 1):
            publish_here(settings, weight)
            decision = {"actor": "tester", "reason": "better", "verdict": {"finding": "better"}}
            ledger.promote(settings.promoter_url, "churn", number, expected_revision=number - 1, **decision)
        said: list[str] = []
        command.backup(settings, str(tmp_path / "kept.tar"), said.append)
        assert "Not in it: MLflow at another host (http://mlflow.invalid), its database and artifacts." in said
    finally:
        local_stack.down(settings, SILENT)
    yield settings, tmp_path / "kept.tar"
    assert processes.belonging_to(settings.home) == []


def test_a_backup_comes_back_elsewhere_with_passwords_of_its_own(kept, tmp_path):
    first, file = kept
    second = only_postgres(tmp_path, "second")
    second.home.mkdir()
    (second.home / "something").touch()
    with pytest.raises(EvergreenError, match="is not empty"):
        command.restore(second, str(file), SILENT)
    (second.home / "something").unlink()
    command.restore(second, str(file), SILENT)
    assert not second.home.with_name(".evergreen.restoring").exists()
    assert set(store.read_passwords(second).values()).isdisjoint(store.read_passwords(first).values())
    try:
        local_stack.up(second, SILENT)
        versions = ledger.versions(second.promoter_url, "churn")
        assert [(one.version, one.revision, one.until is None) for one in tenures.read(second.watcher_url, "churn")] == [
            (1, 1, False),
            (2, 2, True),
        ]
        for version in versions:
            folder = second.home / "models" / version.bundle_sha256
            assert onnx_model.load(folder, version.manifest).session is not None
            assert workspace.git(second.folder, "rev-parse", f"evergreen/churn/{version}") == version.git_commit
        # it is a ledger that works, and as guarded as the one before
        ledger.promote(second.promoter_url, "churn", 1, expected_revision=2, actor="tester", reason="back", verdict={})
        for url, change in {
            second.evergreen_url: "delete from evergreen.promotions",
            second.scorer_url: "select * from evergreen.outcomes",
        }.items():
            with pytest.raises(EvergreenError, match=r"append-only|permission denied"), postgres.connect(url) as connection:
                connection.execute(change)
    finally:
        local_stack.down(second, SILENT)


def test_a_damaged_backup_restores_nothing(kept, tmp_path):
    content, file = bytearray(kept[1].read_bytes()), tmp_path / "damaged.tar"
    content[content.index(b"PGDMP") + 200] ^= 1
    file.write_bytes(content)
    second = only_postgres(tmp_path, "second")
    with pytest.raises(EvergreenError, match=r"evergreen\.dump: changed"):
        command.restore(second, str(file), SILENT)
    assert not second.home.exists() and not second.home.with_name(".evergreen.restoring").exists()


def test_it_comes_back_into_a_database_of_the_users_own_unless_that_is_taken(kept, tmp_path, ledger_url):
    own = replace(only_postgres(tmp_path, "second"), source=ledger_url, evergreen=ledger_url)
    command.restore(own, str(kept[1]), SILENT)
    assert ledger.champion(own.promoter_url, "churn").version == 2
    shutil.rmtree(own.home)
    with pytest.raises(EvergreenError, match="database 'evergreen' beside EVERGREEN_URL is not empty"):
        command.restore(own, str(kept[1]), SILENT)
    assert not own.home.exists()


def test_nothing_is_collected_or_erased_while_a_backup_is_made(ledger_url):
    ledger.migrate(ledger_url)
    with ledger.keeping_lock(ledger_url), pytest.raises(EvergreenError, match="A backup is being made"):
        ledger.keeping_lock(ledger_url).__enter__()


@pytest.mark.long
def test_the_whole_stack_comes_back_and_its_champion_scores_as_before(stack: Settings, tmp_path: Path) -> None:
    """MLflow's registry and artifacts and Prefect's server too, on other ports; the champion is fetched from MLflow."""
    settings = replace(clone_with(tmp_path / "first", (stack.folder / ".env").read_text()), home=stack.home)
    release = bundles.write_release(tmp_path / "release", "restored")
    version = publish.publish_version(settings.promoter_url, settings.mlflow_tracking_uri, release)
    ledger.promote(settings.promoter_url, "restored", 1, expected_revision=0, actor="tester", reason="first", verdict={})
    publish.reconcile(settings.promoter_url, settings.mlflow_tracking_uri, "restored")
    rows = bundles.held_out_rows()
    before = onnx_model.load(release.bundle, version.manifest).score(rows)
    command.backup(settings, str(tmp_path / "kept"), print)
    (tmp_path / "second").mkdir()
    write_env_file(tmp_path / "second")
    second = Settings.load_from(tmp_path / "second", {})
    workspace.git(second.folder, "init", "--quiet")
    shutil.rmtree(second.home, ignore_errors=True)
    command.restore(second, str(tmp_path / "kept"), print)
    try:
        local_stack.up(second, print)
        champion = ledger.champion(second.scorer_url, "restored")
        bundle = publish.fetch(second.mlflow_tracking_uri, champion, tmp_path / "fetched")
        assert (onnx_model.load(bundle.folder, champion.manifest).score(rows) == before).all()
        assert publish.reconcile(second.promoter_url, second.mlflow_tracking_uri, "restored") == []
        assert httpx.get(f"{second.prefect_api_url}/work_pools/gpu").json()["concurrency_limit"] == 1
    finally:
        local_stack.down(second, print)
