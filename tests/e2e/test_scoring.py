"""Scoring through a worker: everyone once, by the champion, by its own SQL."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import pytest

from flows import lineage
from flows.execution.workspace import git
from pipelines import onnx_model
from pipelines.data import postgres
from pipelines.registry import ledger, publish
from pipelines.scoring import outcomes, predictions
from pipelines.scoring.score import ENTITY, Source
from tests.conftest import Project
from tests.support.clones import FlowRun, ask
from tests.support.runs import run_score

pytestmark = pytest.mark.long
NEWEST = dt.date(2025, 12, 31)  # what the demo company has complete
EARLIER = dt.date(2025, 3, 15)


@pytest.fixture(scope="module")
def scored(project: Project) -> FlowRun:
    return run_score(project.clone)


def by_hand(project: Project, version: ledger.Version, as_of: dt.date) -> dict[str, float]:
    """Entity -> score, all in memory."""
    settings = project.settings
    bundle = publish.fetch(settings.mlflow_tracking_uri, version, settings.home / "models")
    with (
        lineage.source(settings, version) as source,
        postgres.snapshot(source.url) as opened,
        opened.batches(source.statement(as_of, None)) as batches,
    ):
        rows = batches.read_all()
    return dict(zip(rows[ENTITY].to_pylist(), onnx_model.load(bundle.folder, bundle.digests).score(rows).tolist(), strict=True))


def test_everyone_has_the_champions_score_of_the_newest_day(project: Project, scored: FlowRun) -> None:
    url = project.settings.evergreen_url
    champion = ledger.champion(url, "churn")
    run = predictions.latest_run(url, "churn")
    assert (run.version, run.as_of, run.state) == (champion.version, NEWEST, "complete")
    with postgres.connect(url) as connection:
        found = connection.execute("select entity, score from evergreen.latest_scores where model = 'churn'").fetchall()
    assert len(found) == run.row_count > 500
    assert dict(found) == by_hand(project, champion, NEWEST)
    assert f"{run.row_count:,} scores of {run.as_of} by churn v{run.version} are complete ({run.run_key})." in scored.log()


@pytest.mark.usefixtures("scored")
def test_scoring_the_same_day_again_does_nothing(project: Project) -> None:
    before = predictions.latest_run(project.settings.evergreen_url, "churn")
    run_score(project.clone)
    assert predictions.latest_run(project.settings.evergreen_url, "churn") == before


@pytest.mark.usefixtures("scored")
def test_the_scores_become_a_file(project: Project) -> None:
    for name in ("scores.csv", "scores.parquet"):
        said = project.clone.evergreen("monitor", "scores", "--out", f"{project.settings.home}/{name}")
        file = project.settings.home / name
        table = pd.read_csv(file) if name.endswith("csv") else pd.read_parquet(file)
        assert f"holds {len(table):,} scores" in said and len(table) > 500
        file.unlink()


@pytest.mark.usefixtures("scored")
def test_a_version_is_scored_by_its_own_sql(project: Project) -> None:
    clone, query = project.clone, "sql/churn/training_set.sql"
    before = (clone.folder / query).read_text()
    head = git(clone.folder, "rev-parse", "HEAD")
    try:
        (clone.folder / query).write_text("select nothing from nowhere")
        clone.commit("A query that cannot run")
        run_score(clone, as_of=str(EARLIER))
    finally:
        git(clone.folder, "reset", "--quiet", "--hard", head)
    assert (clone.folder / query).read_text() == before
    champion = ledger.champion(project.settings.evergreen_url, "churn")
    with postgres.connect(project.settings.evergreen_url) as connection:
        key = [f"batch/v{champion.version}/{EARLIER}"]
        found = connection.execute("select entity, score from evergreen.predictions where run_key = %s", key).fetchall()
    assert dict(found) == by_hand(project, champion, EARLIER)


@pytest.mark.usefixtures("scored")
def test_the_demos_labels_come_when_they_are_final(project: Project) -> None:
    settings = project.settings
    run_score(project.clone, as_of=str(EARLIER))
    window = {"as_of_from": EARLIER, "as_of_to": EARLIER}
    with lineage.source(settings, ledger.champion(settings.evergreen_url, "churn")) as source:
        assert isinstance(source, Source)
        outcomes.pull(source, settings.evergreen_url, "churn", available_by=EARLIER + dt.timedelta(44), **window)
    early = outcomes.counts(settings.evergreen_url, "churn", judged_on=EARLIER + dt.timedelta(43), **window)
    final = outcomes.counts(settings.evergreen_url, "churn", judged_on=EARLIER + dt.timedelta(44), **window)
    assert early.immature == final.matured > 500 and early.matured == final.immature == 0
    assert 0.95 * final.matured < final.labelled <= final.matured and final.positives > 5


def test_a_day_still_to_come_is_refused(project: Project) -> None:
    run = run_score(project.clone, succeeds=False, as_of="2030-01-01")
    assert f"complete up to {NEWEST} only" in run.log()


def test_the_schedule_is_daily_and_waits_for_somebody_to_start_it(project: Project) -> None:
    deployment = ask("get", f"{project.settings.prefect_api_url}/deployments/name/score/churn")
    assert [(one["slug"], one["active"], one["schedule"]["cron"]) for one in deployment["schedules"]] == [
        ("daily", False, "0 5 * * *")
    ]
