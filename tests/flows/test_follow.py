"""Who follows a run from a terminal is never left in silence: what runs is named."""

from __future__ import annotations

from types import SimpleNamespace
from uuid import uuid4

from prefect.states import Completed, Running

from flows import follow


class Server:
    """What Prefect's client would answer, one look after the other: at the third the run is over."""

    def __init__(self, *steps: str) -> None:
        self.looks = 0
        self.steps = [SimpleNamespace(id=uuid4(), name=name, state=Running()) for name in steps]

    def read_flow_run(self, _: object) -> SimpleNamespace:
        self.looks += 1
        return SimpleNamespace(state=Completed() if self.looks > 3 else Running())

    def read_task_runs(self, **_: object) -> list[SimpleNamespace]:
        return self.steps

    def read_logs(self, *_: object, **__: object) -> list[object]:
        return []


def said_of(server: Server, monkeypatch) -> list[str]:
    monkeypatch.setattr(follow, "POLL_S", 0.01)
    monkeypatch.setattr(follow, "SILENT_S", 0.0)
    lines: list[str] = []
    follow._Watcher(server, uuid4(), lines.append).follow()
    return [line.partition("] ")[2] for line in lines]


def test_a_step_that_takes_long_is_named_while_it_runs(monkeypatch):
    assert "still at train@forest, train@linear" in said_of(Server("train@linear", "train@forest"), monkeypatch)


def test_between_two_steps_that_is_said(monkeypatch):
    assert "still at no step (Running)" in said_of(Server(), monkeypatch)


def test_who_hears_of_steps_that_end_hears_no_more(monkeypatch):
    monkeypatch.setattr(follow, "SILENT_S", 30.0)
    lines: list[str] = []
    follow._Watcher(Server("train@linear"), uuid4(), lines.append).follow()
    assert lines == []
