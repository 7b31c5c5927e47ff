"""Which stages begin when, and what is said of where they ran."""

from __future__ import annotations

import pytest

from flows.execution import dvc, local
from flows.execution.local import Ran

FIRST = dvc.Stage("first", "cpu", 0)
LINEAR = dvc.Stage("train@linear", "cpu", 0, needs=("first",))
FOREST = dvc.Stage("train@forest", "cpu", 0, needs=("first",))
MLP = dvc.Stage("train@mlp", "gpu", 0, needs=("first",))
EVALUATE = dvc.Stage("evaluate", "cpu", 0, needs=("train@forest", "train@linear", "train@mlp"))
AUDIT = dvc.Stage("audit", "cpu", 0, needs=("evaluate",))
PACKAGE = dvc.Stage("package", "cpu", 0, needs=("audit",))
REPORT = dvc.Stage("report", "cpu", 0, needs=("audit",), is_nonblocking=True)
REST = [FOREST, LINEAR, MLP, EVALUATE]


def test_nothing_begins_before_what_it_needs() -> None:
    assert local.ready([FIRST, *REST], set(), []) == [FIRST]
    assert local.ready([EVALUATE], {"first", "train@forest", "train@linear"}, [MLP]) == []


def test_a_stage_of_another_pool_begins_beside_one_of_ours_and_first() -> None:
    assert local.ready(REST, {"first"}, []) == [MLP, FOREST]


def test_ours_run_one_at_a_time() -> None:
    assert local.ready([LINEAR, EVALUATE], {"first"}, [MLP, FOREST]) == []
    assert local.ready([LINEAR, EVALUATE], {"first", "train@forest"}, [MLP]) == [LINEAR]


def test_one_that_is_beside_begins_first_and_ours_go_on_meanwhile() -> None:
    """First, because it asks the runner whether its results are known, which the other keeps until it ends."""
    assert local.ready([PACKAGE, REPORT], {"audit"}, []) == [REPORT, PACKAGE]
    assert local.ready([PACKAGE], {"audit"}, [REPORT]) == [PACKAGE]
    assert local.ready([REPORT], {"audit"}, [PACKAGE]) == [REPORT]
    assert local.ready([REPORT], {"audit"}, [PACKAGE, dvc.Stage("other", "cpu", 0, is_nonblocking=True)]) == []


@pytest.mark.parametrize("last", ["report", "package"])
def test_the_gate_waits_for_no_stage_that_is_beside_nor_hears_of_its_fault(last: str) -> None:
    broken, ran = Future(error=dvc.StageError("Stage report failed.")), []
    ended = [(broken, REPORT), (Future(Ran("package", "cpu", "cpu", "", "", 1)), PACKAGE)]
    left = iter(ended if last == "package" else ended[::-1])
    beside = local._until_only_nonblocking([REPORT, PACKAGE], left, ran)
    assert [one.stage for one in ran] == ["package"]
    with pytest.raises(dvc.StageError, match="report failed"):
        for future, stage in [*beside, *left]:
            local._note(future, stage, ran)


class Future:
    """What Prefect gives for a task: its result, or what it failed with."""

    def __init__(self, value: Ran | None = None, error: Exception | None = None) -> None:
        self._value, self._error = value, error

    def result(self) -> Ran | None:
        if self._error:
            raise self._error
        return self._value


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
