"""The gates' self-test: in small it holds, and a gate that was taken out makes it fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from monitoring import judge
from monitoring.drift import Drift
from pipelines import onnx_model
from pipelines.config import params
from pipelines.config.errors import EvergreenError
from pipelines.promotion import comparison, gate, harm
from pipelines.promotion.verdict import Verdict
from pipelines.validation import counting, leakage
from pipelines.validation.expectations import Result
from studies import selftest
from studies.selftest import Claim
from studies.selftest import promotion as trials
from studies.selftest.__main__ import commands
from studies.selftest.promotion import Trial
from studies.selftest.world import settings

pytestmark = pytest.mark.slow

SMALL = 10


@pytest.fixture
def config() -> params.Params:
    """The project's, with fewer resamples."""
    found = params.read()
    return found.model_copy(update={"evaluate": found.evaluate.model_copy(update={"bootstrap": 100})})


@pytest.fixture
def trial(config: params.Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trial:
    for name, value in {"REPEATED": 3, "TRUTH": 20_000, "STEPS": 5}.items():
        monkeypatch.setattr(trials, name, value)
    return Trial(settings(config), tmp_path, print)


def test_equal_pairs_stay_out_and_come_in_where_the_interval_is_not_asked(trial: Trial, monkeypatch) -> None:
    assert trial.equals(SMALL).holds
    monkeypatch.setattr(comparison, "_finding", lambda gain, _: "better" if gain.point > 0 else "worse")
    failed = Trial(trial.params, trial.folder / "again", print).equals(SMALL)
    assert not failed.holds and "better" in failed.seen


def test_the_same_model_stays_out_and_comes_in_where_no_gain_is_called_a_gain(trial: Trial, monkeypatch) -> None:
    assert trial.the_same().holds
    monkeypatch.setattr(comparison, "_finding", lambda gain, _: "better" if gain.low >= 0 else "worse")
    assert not Trial(trial.params, trial.folder / "again", print).the_same().holds


def test_a_harmed_group_keeps_one_out_that_comes_in_where_groups_are_not_asked(trial: Trial, monkeypatch) -> None:
    assert trial.unfair().holds
    nothing = {"attributes": {}, "harmed": [], "inconclusive": []}
    monkeypatch.setattr(gate, "harm_against_champion", lambda *_: nothing)
    assert not Trial(trial.params, trial.folder / "again", print).unfair().holds


def test_a_detectable_gain_comes_in_and_stays_out_where_nothing_ever_promotes(trial: Trial, monkeypatch) -> None:
    seen, gain, challenger, champion = trial.planted()
    monkeypatch.setattr(Trial, "planted", lambda _: (seen, gain, challenger, champion))
    assert trial.better(SMALL).holds
    monkeypatch.setattr(comparison, "_finding", lambda *_: "insufficient evidence")
    assert not trial.better(SMALL).holds


def test_a_claim_that_fails_is_said_and_ends_the_command_with_1(monkeypatch) -> None:
    made = iter([Claim("all is well", True, "it was"), Claim("nobody fell", False, "one did")])
    monkeypatch.setattr(trials, "claims", lambda *_: made)
    ended = CliRunner().invoke(commands, ["promotion"])
    assert ended.exit_code == 1
    assert "FAILS  nobody fell: one did" in ended.output
    monkeypatch.setattr(trials, "claims", lambda *_: iter([Claim("all is well", True, "it was")]))
    assert CliRunner().invoke(commands, ["promotion"]).exit_code == 0


def test_a_gate_that_there_is_not_is_named(config: params.Params) -> None:
    with pytest.raises(EvergreenError, match=r"No gate promotoin has a self-test\. There are: .*promotion"):
        selftest.run(["promotoin"], config, print)


@pytest.mark.long
def test_all_claims_hold_in_full() -> None:
    said: list[str] = []
    assert selftest.run(["promotion"], params.read(), said.append), "\n".join(said)


CLEAN, RED = Result(True, "not looked at"), {"attributes": {}, "harmed": [], "inconclusive": []}
TAKEN_OUT: dict[str, list[tuple[Any, str, Any]]] = {  # gate -> what decides in it, as it would be without the gate
    "validation": [
        (counting, "COUNTED", {name: (count, lambda *_: CLEAN) for name, (count, _) in counting.COUNTED.items()}),
        (counting, "SAMPLED", {name: (count, lambda *_: CLEAN) for name, (count, _) in counting.SAMPLED.items()}),
    ],
    "leakage": [(leakage, "judge", lambda *_: [])],
    "promotion": [(gate, "challenger_verdict", lambda *_, **__: Verdict("better", "whoever comes"))],
    "fairness": [(harm, "harms", lambda *_: [])],
    "drift": [(judge, "assess", lambda *_: judge.Assessment([], Drift(None, 0.0, 1.0, [], 10), alarm=False))],
    "integrity": [(onnx_model, "verify", lambda *_: None)],
}


def test_a_quick_look_at_all_gates_says_which_were_proven() -> None:
    ended = CliRunner().invoke(commands, [])
    assert ended.exit_code == 0, ended.output
    assert ended.output.splitlines()[-1] == f"Proven that they go red: {', '.join(selftest.GATES)}."


@pytest.mark.parametrize("name", list(selftest.GATES))
def test_a_gate_that_was_taken_out_makes_the_quick_look_fail(name: str, monkeypatch) -> None:
    monkeypatch.setattr(selftest, "GATES", {name: selftest.GATES[name]})
    for module, attribute, replacement in TAKEN_OUT[name]:
        monkeypatch.setattr(module, attribute, replacement)
    ended = CliRunner().invoke(commands, [])
    assert ended.exit_code == 1, ended.output
    assert ended.output.splitlines()[-1] == f"Proven that they go red: none. NOT proven: {name}."
