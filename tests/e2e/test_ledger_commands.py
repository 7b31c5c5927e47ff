"""The ledger's commands on a real first version: traced to its commit, aliases mended, rebuilt from the source and from the
snapshot."""

from __future__ import annotations

import datetime as dt
import shutil
from contextlib import contextmanager

import pytest

from flows import lineage, rollback
from flows.execution import cached
from infra import doctor
from pipelines.data import postgres
from pipelines.registry import ledger, publish
from pipelines.scoring import score
from tests.conftest import Project

DAY = dt.date(2024, 9, 17)  # other tests score the ends of months


@pytest.fixture
def version(project: Project) -> ledger.Version:
    return ledger.version(project.settings.promoter_url, "churn", 1)


@contextmanager
def damaged(path, content: bytes):
    """A file with other bytes, for a while."""
    before = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


def test_a_version_is_traced_to_its_commit_and_every_step_holds(project, version):
    said = project.clone.evergreen("model", "trace", "v1", "--sql")
    steps = {line.split()[0]: line for line in said.splitlines()[:9]}
    assert list(steps) == ["version", "bundle", "run", "data", "SQL", "snapshot", "validation", "params", "commit"]
    assert [name for name, line in steps.items() if " holds " in line] == [
        "bundle",
        "data",
        "SQL",
        "snapshot",
        "validation",
        "params",
    ]
    assert version.git_commit in steps["commit"] and "The project as it is" in steps["commit"]
    assert (project.clone.folder / "sql/churn/training_set.sql").read_text().strip() in said


def test_a_prediction_is_traced_through_the_version_that_made_it(project, version):
    settings = project.settings
    bundle = publish.fetch(settings.mlflow_tracking_uri, version, settings.home / "models")
    with lineage.source(settings, version) as source:
        run = score.score(source, settings.scorer_url, version, bundle, as_of=DAY)
    with postgres.connect(settings.watcher_url) as connection:
        asked = "select prediction_id, score, entity from evergreen.predictions where run_key = %s limit 1"
        identifier, scored, entity = connection.execute(asked, [run.run_key]).fetchone()
    said = project.clone.evergreen("model", "trace", str(identifier)).splitlines()
    assert f"{scored:.4f}" in said[0] and f"of {entity} on {DAY}" in said[0]
    assert said[1].startswith("version             churn v1")
    unknown = project.clone.evergreen("model", "trace", "01900000-0000-7000-8000-000000000000", check=False)
    assert "No prediction 01900000-0000-7000-8000-000000000000 is in the ledger" in unknown


def test_a_byte_flipped_in_the_cache_is_a_step_that_does_not_hold(project, version):
    settings = project.settings
    rows = cached.find(settings, cached.outputs(settings.folder, version.git_commit)["data/rows.parquet"])
    content = bytearray(rows.read_bytes())
    content[1000] ^= 1
    with damaged(rows, bytes(content)):
        done = project.clone.run("python", "-m", "cli.app", "model", "trace", "v1", check=False)
    assert done.returncode == 1
    assert [line.split()[0] for line in done.stdout.splitlines() if "BROKEN" in line] == ["snapshot"]


def test_aliases_that_somebody_moved_are_mended_by_the_doctor_and_by_what_follows_a_rollback(project):
    settings = project.settings
    from pipelines.registry import mlflow_registry

    def aliases():
        with mlflow_registry._client(settings.mlflow_tracking_uri) as client:
            return dict(client.get_registered_model("churn").aliases)

    def spoil():
        with mlflow_registry._client(settings.mlflow_tracking_uri) as client:
            client.delete_registered_model_alias("churn", "champion")

    right = aliases()
    spoil()
    (found,) = doctor._aliases(settings)
    assert "@champion: none ->" in found.what and "mended" in found.what
    assert aliases() == right
    assert list(doctor._aliases(settings)) == []
    spoil()
    said: list[str] = []
    revision = ledger.champion(settings.promoter_url, "churn").revision
    rollback.announce(settings, "churn", revision, said.append)
    assert len(said) == 1 and "@champion: none ->" in said[0]
    assert aliases() == right


@pytest.mark.long
def test_a_version_is_rebuilt_from_the_source_byte_for_byte(project):
    said = project.clone.evergreen("model", "rebuild", "v1")
    assert "v1 was rebuilt from the source, which gives the same rows" in said
    assert "files of the bundle are the published ones, byte for byte" in said
    assert "differ by 0.0e+00 at most: the same model" in said
    assert not list((project.settings.home / "runs").glob("rebuild-*"))


@pytest.mark.long
def test_where_history_was_changed_it_is_rebuilt_from_the_snapshot_and_without_that_not_at_all(project, version):
    settings = project.settings
    change = (
        "update telecom.customers set region = 'elsewhere' where customer_id = (select min(customer_id) from telecom.customers)"
    )
    with postgres.connect(settings.load_url) as company:
        before = company.execute("select min(customer_id), min(region) from telecom.customers").fetchone()
        (region,) = company.execute("select region from telecom.customers where customer_id = %s", before[:1]).fetchone()
        company.execute(change)
    try:
        said = project.clone.evergreen("model", "rebuild", "v1")
        assert "history was changed since" in said and "rebuilt from the snapshot in the cache" in said
        assert "byte for byte" in said
        rows = cached.outputs(settings.folder, version.git_commit)["data/rows.parquet"]
        hidden = []
        while path := cached.find(settings, rows):
            hidden.append((path, path.with_name(f"{path.name}.hidden")))
            path.rename(hidden[-1][1])
        try:
            refused = project.clone.evergreen("model", "rebuild", "v1", check=False)
        finally:
            for path, aside in hidden:
                shutil.move(aside, path)
        assert "v1 cannot be rebuilt" in refused and "The published model is untouched" in refused
    finally:
        with postgres.connect(settings.load_url) as company:
            company.execute("update telecom.customers set region = %s where customer_id = %s", [region, before[0]])
