"""Which stages begin when, and what is said of where they ran."""

from __future__ import annotations

import pytest

from flows import dag, execution
from flows.execution import Ran

FIRST = dag.Stage("first", "cpu", 0)
LINEAR = dag.Stage("train@linear", "cpu", 0, needs=("first",))
FOREST = dag.Stage("train@forest", "cpu", 0, needs=("first",))
MLP = dag.Stage("train@mlp", "gpu", 0, needs=("first",))
EVALUATE = dag.Stage("evaluate", "cpu", 0, needs=("train@forest", "train@linear", "train@mlp"))
REST = [FOREST, LINEAR, MLP, EVALUATE]


def test_nothing_begins_before_what_it_needs() -> None:
    assert execution.ready([FIRST, *REST], set(), []) == [FIRST]
    assert execution.ready([EVALUATE], {"first", "train@forest", "train@linear"}, [MLP]) == []


def test_a_stage_of_another_pool_begins_beside_one_of_ours_and_first() -> None:
    assert execution.ready(REST, {"first"}, []) == [MLP, FOREST]


def test_ours_run_one_at_a_time() -> None:
    assert execution.ready([LINEAR, EVALUATE], {"first"}, [MLP, FOREST]) == []
    assert execution.ready([LINEAR, EVALUATE], {"first", "train@forest"}, [MLP]) == [LINEAR]


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
    assert f"| s | {ran.pool} | {text} | 1.0 |" in execution.where_markdown([ran])
