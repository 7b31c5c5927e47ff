"""Flows and workers killed in the middle of a stage: the next run takes up where they were and converges."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil
import pytest

from flows.execution import dvc, workspace
from infra.stack import local as local_stack
from infra.stack import processes
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.registry import ledger
from tests.conftest import Project
from tests.e2e.conftest import exact
from tests.support.clones import Clone, FlowRun, bare_environment, kill_all, wait_for
from tests.support.runs import flow_of, works_on

pytestmark = pytest.mark.long
AS_OF = "2024-11-30"  # a pin that no other test has run


@dataclass(frozen=True)
class Killed:
    """A run that was killed, and what could be seen of it afterwards."""

    run: FlowRun
    state: dict
    seconds_until_free: float
    orphans: list[psutil.Process]
    finished: set[str]  # stages done before


@dataclass(frozen=True)
class Story:
    """A retraining whose worker was killed, whose flow was killed when it was run again, and that then completed."""

    worker: Killed
    flow: Killed
    last: FlowRun


@pytest.fixture(scope="module")
def story(project: Project) -> Story:
    worker = kill(project, "train@lightgbm", worker_of)
    wait_for(lambda: ready(project.settings), 60, "the worker back")
    flow = kill(project, "audit", flow_of)
    return Story(worker, flow, project.clone.retrain(as_of=AS_OF))


def kill(project: Project, stage: str, victims) -> Killed:
    """Begin a retraining and send SIGKILL once its `stage` has begun to run."""
    home = project.settings.home
    run = project.clone.begin(as_of=AS_OF)
    run.wait_for_stage(stage)
    family = [one for one in processes.belonging_to(home, ["cpu-1"]) if works_on(one, run)]
    assert any(stage.split("@")[0] in " ".join(one.cmdline()) for one in family), "the stage's own process is not to be seen"
    finished = {name for name, one in run.tasks().items() if one["state_type"] == "COMPLETED"}
    kill_all(victims(project.settings, run))
    began = time.monotonic()
    wait_for(lambda: is_free(project.settings), 30, "the model's lock")
    seconds = time.monotonic() - began
    _, orphans = psutil.wait_procs(family, timeout=10)
    return Killed(run, run.wait(120), seconds, orphans, finished)


def worker_of(settings: Settings, _run: FlowRun) -> list[psutil.Process]:
    """The worker and everything it started: what a machine that loses power does."""
    return processes.belonging_to(settings.home, ["cpu-1"])


def is_free(settings: Settings) -> bool:
    try:
        with ledger.retraining_lock(settings.evergreen_url, "churn"):
            return True
    except EvergreenError:
        return False


def ready(settings: Settings) -> bool:
    return {row.program: row.state for row in local_stack.status(settings)}["cpu-1"] == "ready"


@pytest.mark.parametrize("victim", ["worker", "flow"])
def test_a_killed_run_ends_as_crashed(story: Story, victim: str) -> None:
    assert getattr(story, victim).state["type"] == "CRASHED"


@pytest.mark.parametrize("victim", ["worker", "flow"])
def test_the_lock_of_a_killed_run_is_free_within_10_seconds(story: Story, victim: str) -> None:
    assert getattr(story, victim).seconds_until_free < 10


@pytest.mark.parametrize("victim", ["worker", "flow"])
def test_no_stage_outlives_a_killed_run(story: Story, victim: str) -> None:
    assert getattr(story, victim).orphans == []


def test_the_next_run_restores_the_stages_that_were_finished(story: Story) -> None:
    assert {"extract", "validate", "split", "leakage", "recency"} <= story.worker.finished
    assert not story.flow.run.executed() & story.worker.finished
    assert {"train@lightgbm", "evaluate"} <= story.flow.finished
    assert story.last.executed() == {"audit", "package", "reference", "report"}


def test_the_next_run_publishes_once(project: Project, story: Story) -> None:
    assert story.last.state["type"] == "COMPLETED"
    versions = ledger.versions(project.settings.evergreen_url, "churn")
    assert [one.git_ref for one in versions if story.last.id in one.git_ref] == [story.last.ref]
    assert not [one for one in versions if story.worker.run.id in one.git_ref or story.flow.run.id in one.git_ref]


def test_it_converges_to_the_hashes_of_an_undisturbed_run_by_hand(project: Project, story: Story, by_hand) -> None:
    assert by_hand(project.clone, story.last.ref) == exact(project.clone.lock(story.last.ref))


def test_a_killed_fit_starts_again_in_the_next_workspace_and_ends_the_same(project: Project) -> None:
    with pytest.raises(dvc.StageError, match="signal 9"):
        fit_network(project, "killed-fit", EVERGREEN_FAULT="mlp:epoch:2:kill")
    assert fit_network(project, "next-fit") == fit_network(project, "fresh-fit")


def fit_network(project: Project, name: str, **variables: str) -> bytes:
    """The graph that `train@mlp` makes in a workspace of its own."""
    place = workspace.create(project.settings, name, project.run.ref)
    quick = {"enabled": {"linear": "cpu", "lightgbm": "cpu", "mlp": "gpu"}, "mlp.epochs": 4, "mlp.search": {}}
    Clone(place.folder).set_params({f"candidates.{key}": value for key, value in quick.items()})
    try:
        with dvc.runner(place.folder, bare_environment() | project.settings.environment() | variables) as runner:
            for stage in ("extract", "validate", "split", "leakage", "recency", "train@mlp"):
                runner.run(stage, print)
        return (place.folder / "models" / "mlp" / "model.onnx").read_bytes()
    finally:
        workspace.remove(place)
