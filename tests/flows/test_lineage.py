"""A version is read as it was made, also when params.yaml has learnt new keys since."""

from __future__ import annotations

import pytest

from flows import lineage
from flows.execution import workspace
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.registry import ledger

PARAMS = """
model: churn
data:
  {dataset: churn, as_of: "2024-12-31", fingerprint: abc, entity: customer_id, time: snapshot_date, target: churned,
   protected: [gender], history_days: 366, horizon_days: 30, embargo_days: 14}
a_section_of_those_days: {x: 1}
"""


@pytest.fixture
def settings(tmp_path) -> Settings:
    folder = tmp_path / "clone"
    (folder / "sql" / "churn").mkdir(parents=True)
    (folder / "params.yaml").write_text(PARAMS)
    (folder / "sql" / "churn" / "training_set.sql").write_text("select 1")
    workspace.git(folder, "init", "--quiet")
    workspace.git(folder, "add", "--all")
    workspace.git(folder, "commit", "--quiet", "--message", "of earlier days")
    return Settings(folder=folder, home=tmp_path / "home", source="postgresql+psycopg://nobody@nowhere/company")


def version_of(commit: str) -> ledger.Version:
    nothing = "0" * 64
    return ledger.Version(
        model="churn", bundle_sha256=nothing, onnx_sha256=nothing, manifest={}, data_manifest_sha256=nothing, metrics={},
        params_sha256=nothing, git_commit=commit, git_ref="refs/evergreen/runs/1", mlflow_run_id="", mlflow_version=1,
        version=1, created_at=None, sequence=1,
    )  # fmt: skip


def test_params_of_earlier_days_still_say_what_the_rows_were(settings):
    commit = workspace.git(settings.folder, "rev-parse", "HEAD")
    with lineage.source(settings, version_of(commit)) as source:
        assert (source.data.personal, source.data.horizon_days) == ([], 30)
        assert source.queries.training_set.read_text() == "select 1\n"


def test_outcomes_that_were_written_later_are_the_clones(settings):
    commit = workspace.git(settings.folder, "rev-parse", "HEAD")
    (settings.folder / "sql" / "churn" / "outcomes.sql").write_text("select 2")
    with lineage.source(settings, version_of(commit)) as source:
        assert source.queries.outcomes.read_text() == "select 2"


def test_a_version_of_another_clone_says_where_to_fetch_it(settings):
    with pytest.raises(EvergreenError, match="was made in another clone"), lineage.source(settings, version_of("c0ffee" * 6)):
        pass
