"""Which stages begin when, and what is said of where they ran."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.execution import dvc, local, remote
from flows.execution.local import Ran
from flows.execution.workspace import Workspace
from pipelines.config.settings import Settings

FIRST = dvc.Stage("first", "cpu", 0)
LINEAR = dvc.Stage("train@linear", "cpu", 0, needs=("first",))
FOREST = dvc.Stage("train@forest", "cpu", 0, needs=("first",))
MLP = dvc.Stage("train@mlp", "gpu", 0, needs=("first",))
EVALUATE = dvc.Stage("evaluate", "cpu", 0, needs=("train@forest", "train@linear", "train@mlp"))
REST = [FOREST, LINEAR, MLP, EVALUATE]


def test_nothing_begins_before_what_it_needs() -> None:
    assert local.ready([FIRST, *REST], []) == [FIRST]
    assert local.ready([LINEAR], [FIRST]) == []
    assert local.ready([EVALUATE], [MLP]) == []


def test_a_stage_of_another_pool_begins_first_and_one_of_this_pool_with_it() -> None:
    assert local.ready(REST, []) == [MLP, FOREST]


def test_those_of_this_pool_run_one_at_a_time() -> None:
    assert local.ready([LINEAR, EVALUATE], [MLP, FOREST]) == []
    assert local.ready([LINEAR, EVALUATE], [MLP]) == [LINEAR]


@pytest.mark.parametrize(
    ("ran", "text"),
    [
        (Ran("s", "cpu", "cpu", "cpu-1", "", 1), "cpu (worker cpu-1)"),
        (Ran("s", "gpu", "gpu", "far", "again: worker w was lost", 1), "gpu (worker far), again: worker w was lost"),
        (Ran("s", "gpu", "cpu", "cpu-1", "no worker in pool gpu within 60 s", 1), "cpu: no worker in pool gpu within 60 s"),
        (Ran("s", "cpu", "cpu", "", "", 1), "cpu"),
        (Ran("s", "gpu", "restored", "", "", 1), "restored"),
    ],
)
def test_where_a_stage_ran_is_told_with_the_reason(ran: Ran, text: str) -> None:
    assert ran.text() == text
    assert f"| s | {ran.pool} | {text} | 1.0 |" in local.where_markdown([ran])


def test_a_stage_whose_pool_no_machine_has_deployed_runs_here_or_says_so(stack: Settings) -> None:
    stage = dvc.Stage("train@mlp", "nowhere", 0)
    place = Workspace(Path(), Path(), "run", "repository")

    def send(otherwise: remote.Choice) -> remote.Outcome:
        policy = remote.Policy(otherwise, 1.0)
        with temporary_settings({PREFECT_API_URL: stack.prefect_api_url}):
            return remote.send(stage, place, policy, threading.Event(), logging.getLogger())

    assert send("cpu") == remote.Outcome("", "no machine has deployed stage/nowhere")
    with pytest.raises(dvc.StageError, match="Stage train@mlp was not done: no machine has deployed stage/nowhere"):
        send("wait")
