"""Tuning: what is tried, what is chosen, and that nobody's share in it changes either."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from pipelines import params
from pipelines.candidates import CandidateParams, Range, Rows, linear
from pipelines.errors import EvergreenError
from pipelines.fitting import folds, sharing, trials, tune
from pipelines.fitting.trials import Outcome, Trial
from pipelines.params import TuneParams

TUNE = TuneParams(trials=6, seconds=600, generation=3, rows=100_000)
SEARCH = {"C": {"low": 1e-5, "high": 10, "log": True}}
POOR, GOOD = 1e-5, 0.5


def section(value=GOOD, search=SEARCH):
    return linear.Params(C=value, max_iter=200, search=search)


def rows(count=1500, seed=1):
    """What counts is the small difference of two numbers, which shrinkage hides; each customer has three rows."""
    random = np.random.default_rng(seed)
    numbers = random.normal(0, 1, (count, 6)).astype(np.float32)
    numbers[:, 1] = numbers[:, 0] + 0.2 * numbers[:, 1]
    odds = 8 * (numbers[:, 1] - numbers[:, 0]) - 0.5
    labels = (random.random(count) < 1 / (1 + np.exp(-odds))).astype(np.int8)
    return Rows(numbers, np.zeros((count, 0), np.float32), labels, np.arange(count) // 3, ())


class Fake:
    """A candidate whose margins are the label plus noise, the less the nearer `at` is to 0.5."""

    __name__ = "fake"

    class Params(CandidateParams):
        at: float
        kind: str = "plain"
        whole: int = 2

    def fit(self, rows, params, *, seed, threads):
        assert len(rows.labels) and threads
        return params, seed

    def margin(self, model, rows):
        params, seed = model
        if params.kind == "broken":
            raise ValueError("no such kind")
        if params.kind == "endless":
            return np.full(len(rows.labels), np.nan)
        noise = np.random.default_rng(seed).normal(0, 1, len(rows.labels))
        return rows.labels - 0.5 + (0.5 + 3 * abs(params.at - 0.5)) * noise


def validation(candidate=linear, found=None, metric="roc_auc"):
    found = found or rows()
    return folds.CrossValidation(folds.Fitter(candidate, 1, 1), found, folds.fold_of(found, 3, seed=1), metric)


def test_better_values_are_found_and_the_params_as_they_stand_are_tried_first():
    found = tune.tune(validation(), section(POOR), TUNE)
    first, best = (found.trials["trials"][number] for number in (0, found.trials["best"]))
    assert (first["number"], first["params"]) == (0, {"C": POOR})
    assert best["value"] > first["value"] + 0.001
    assert found.section.C == best["params"]["C"] > POOR
    assert best["value"] == max(trial["value"] or 0 for trial in found.trials["trials"])
    assert best["value"] == pytest.approx(np.mean(best["folds"]))


def test_what_tuning_found_out_of_fold_is_not_done_again():
    whole = validation()
    found = tune.tune(whole, section(POOR), TUNE)
    assert found.margins == pytest.approx(folds.cross_validate(whole, found.section), abs=1e-12)
    assert tune.tune(whole, section(POOR), TUNE.model_copy(update={"rows": 600})).margins is None


def test_a_sample_keeps_customers_whole_and_in_their_folds():
    whole = validation()
    sample = whole.sample(600)
    assert len(sample.fold) == 600
    assert (sample.fold.reshape(200, 3) == sample.fold[::3, None]).all()
    fold_of = dict(zip(whole.rows.customers, whole.fold, strict=True))
    assert [fold_of[customer] for customer in sample.rows.customers] == list(sample.fold)


def test_no_fit_sees_a_customer_of_the_fold_it_is_judged_on():
    fitted, judged = [], []

    class Spy(Fake):
        def fit(self, rows, params, *, seed, threads):
            fitted.append(set(rows.customers))
            return super().fit(rows, params, seed=seed, threads=threads)

        def margin(self, model, rows):
            judged.append(set(rows.customers))
            return super().margin(model, rows)

    given = rows(300)
    tune.tune(validation(Spy(), given), Fake.Params(at=0.9, search={"at": {"low": 0, "high": 1}}), TUNE)
    assert len(fitted) >= 6
    assert all(not one & other for one, other in zip(fitted, judged, strict=True))
    assert set().union(*fitted) == set(given.customers), "rows from elsewhere"


def test_two_runs_try_and_find_the_same():
    one, two = (tune.tune(validation(), section(POOR), TUNE) for _ in "ab")
    assert json.dumps(one.trials) == json.dumps(two.trials)
    assert one.section == two.section


def test_a_gain_within_the_noise_leaves_the_params_as_they_stand():
    found = tune.tune(validation(), section(GOOD, {"C": {"low": 0.3, "high": 0.9}}), TUNE)
    assert found.trials["best"] == 0
    assert found.section.C == GOOD


def test_the_first_wins_a_tie():
    found = tune.tune(validation(), section(GOOD, {"max_iter": {"low": 150, "high": 300}}), TUNE)
    assert {trial["value"] for trial in found.trials["trials"]} == {found.trials["trials"][0]["value"]}
    assert found.trials["best"] == 0


def test_hopeless_trials_are_pruned_against_earlier_generations_only():
    options = {"search": {"at": {"low": 0.5, "high": 5}}}
    found = tune.tune(validation(Fake()), Fake.Params(at=0.5, **options), TUNE.model_copy(update={"trials": 12}))
    states = [trial["state"] for trial in found.trials["trials"]]
    assert states[:3] == ["COMPLETE"] * 3
    assert "PRUNED" in states[3:]
    pruned = found.trials["trials"][states.index("PRUNED")]
    assert 1 <= len(pruned["folds"]) < 3
    assert pruned["value"] is None


def test_bars_are_the_medians_of_means_so_far():
    complete = [Outcome("COMPLETE", [value, value + 0.1, 0.9]) for value in (0.5, 0.6, 0.8)]
    assert trials.bars([*complete, Outcome("PRUNED", [0.1]), Outcome("FAILED", [])]) == pytest.approx([0.6, 0.65])
    assert trials.bars([]) == []


@pytest.mark.parametrize("kind", ["broken", "endless"])
def test_a_trial_that_breaks_is_recorded_and_the_search_goes_on(kind):
    space = {"kind": ["plain", kind], "at": {"low": 0.5, "high": 2}}
    found = tune.tune(validation(Fake()), Fake.Params(at=2, search=space), TUNE.model_copy(update={"trials": 12}))
    states = {trial["state"] for trial in found.trials["trials"] if trial["params"]["kind"] == kind}
    assert states == {"FAILED"}
    assert found.section.kind == "plain"
    assert found.trials["best"] > 0


def test_params_that_cannot_be_fitted_as_they_stand_stop_the_stage():
    with pytest.raises(EvergreenError, match="a margin is not finite"):
        tune.tune(validation(Fake()), Fake.Params(at=1, kind="endless", search={"at": {"low": 0, "high": 1}}), TUNE)


def test_the_end_of_the_seconds_is_said_and_the_first_trial_is_run_all_the_same():
    found = tune.tune(validation(), section(POOR), TUNE.model_copy(update={"seconds": 1e-9}))
    assert [trial["number"] for trial in found.trials["trials"]] == [0]
    assert (found.trials["stopped"], found.trials["best"]) == ("seconds", 0)


def test_no_trials_need_no_optuna():
    code = """
import sys
from tests.pipelines import test_tune
from pipelines.fitting import tune
found = tune.tune(test_tune.validation(), test_tune.section(), test_tune.TUNE.model_copy(update={"trials": 0}))
print(found.trials["trials"], found.section == test_tune.section(), "optuna" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[-2] == "[] True False"


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("4 to 40", {"low": 4, "high": 40, "log": False}),
        ("0.003 to 30, log", {"low": 0.003, "high": 30, "log": True}),
        ("1e-5 to 1.0", {"low": 1e-5, "high": 1.0, "log": False}),
    ],
)
def test_a_range_is_written_in_words(written, means):
    assert Range.model_validate(written).model_dump() == means
    assert type(Range.model_validate(written).low) is type(means["low"])


@pytest.mark.parametrize("written", ["5", "a to b", "1 to 2 log", "1 - 2"])
def test_what_is_no_range_says_how_to_write_one(written):
    with pytest.raises(ValidationError, match="is no range: write `LOW to HIGH`"):
        Range.model_validate(written)


def test_a_whole_number_is_searched_among_whole_numbers():
    space = {"whole": {"low": 1, "high": 9}, "at": {"low": 0, "high": 1}}
    found = tune.tune(validation(Fake()), Fake.Params(at=0, search=space), TUNE)
    assert {type(trial["params"]["whole"]) for trial in found.trials["trials"]} == {int}


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ({"D": {"low": 1, "high": 2}}, r"search\.D: no such key"),
        ({"C": {"low": 1, "high": 2}}, r"search\.C: C is 0\.5, outside of it"),
        ({"C": {"low": 0, "high": 2}}, r"search\.C: 0 cannot be tried: Input should be greater than 0"),
        ({"C": {"low": 2, "high": 0.1}}, r"low must be below high"),
        ({"C": {"low": 0, "high": 2, "log": True}}, r"with log it must be above 0"),
        ({"C": [0.5]}, r"at least 2 items"),
    ],
)
def test_a_search_that_cannot_be_is_named(tmp_path, search, said):
    values = {"C": 0.5, "max_iter": 100, "search": search}
    text = Path("params.yaml").read_text()
    before, rest = text.split("  linear:\n")
    after = rest[rest.index("  lightgbm:\n") :]
    (tmp_path / "params.yaml").write_text(f"{before}  linear: {json.dumps(values)}\n{after}")
    with pytest.raises(EvergreenError, match=said):
        params.read(tmp_path / "params.yaml")


# several processes

SHARE = """
import json, sys
from tests.pipelines import test_tune
from pipelines.fitting import tune
found = tune.tune(test_tune.validation(), test_tune.section(test_tune.POOR), test_tune.TUNE)
print(json.dumps([found.trials, found.section.C]) if found else "helped")
"""


def start(url, role, **environment):
    environ = {**os.environ, "EVERGREEN_URL": url, "EVERGREEN_TUNE": role, **environment}
    return subprocess.Popen(
        [sys.executable, "-c", SHARE], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def last_line(process):
    said, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    return said.splitlines()[-1], said


@pytest.mark.long
def test_several_processes_find_what_one_finds(ledger_url):
    alone = tune.tune(validation(), section(POOR), TUNE)
    helpers = [start(ledger_url, "help:one") for _ in range(2)]
    killed = start(ledger_url, "help:one", EVERGREEN_FAULT="tune:claimed:kill")
    leader = start(ledger_url, "lead:one")
    found, said = last_line(leader)
    assert json.loads(found) == [alone.trials, alone.section.C]
    assert [last_line(helper)[0] for helper in helpers] == ["helped"] * 2
    killed.communicate(timeout=240)
    assert killed.returncode in {0, -signal.SIGKILL}
    assert studies(ledger_url) == 0, said


def test_a_helper_that_is_killed_with_a_trial_costs_no_result(ledger_url, monkeypatch):
    monkeypatch.setenv("EVERGREEN_URL", ledger_url)
    alone = tune.tune(validation(), section(POOR), TUNE)
    killed = []

    def kill_one(trial_list, ends, run):
        if not killed:
            killed.append(start(ledger_url, "help:two", EVERGREEN_FAULT="tune:claimed:kill"))
        return run(trial_list, ends)

    real = sharing._Leader.run

    def run(self, trial_list, ends):
        offer = self._offer

        def offer_and_wait(trial):
            trial_id = offer(trial)
            if len(killed) == 1 and trial.number == 2:
                assert killed[0].wait(120) == -signal.SIGKILL
                killed.append(trial_id)
            return trial_id

        monkeypatch.setattr(self, "_offer", offer_and_wait, raising=False)
        return kill_one(trial_list, ends, lambda one, other: real(self, one, other))

    monkeypatch.setattr(sharing._Leader, "run", run)
    monkeypatch.setenv("EVERGREEN_TUNE", "lead:two")
    found = tune.tune(validation(), section(POOR), TUNE)
    assert len(killed) == 2, "nobody was killed with a trial"
    killed[0].communicate()
    assert (found.trials, found.section) == (alone.trials, alone.section)


def test_helpers_do_evaluate(ledger_url, monkeypatch):
    monkeypatch.setenv("EVERGREEN_URL", ledger_url)
    whole, given = validation(), section(POOR)
    alone = trials.run_here(whole, given, [Trial(0, {"C": POOR}, []), Trial(1, {"C": 1.0}, [])])
    with sharing.lead("three", whole, given), sharing._storage() as storage:
        study = storage.get_study_id_from_name("three")
        leader = sharing._Leader(storage, study, whole, given)
        ids = [leader._offer(Trial(number, {"C": value}, [])) for number, value in enumerate((POOR, 1.0))]
        assert sharing.help_out("three", whole, given, idle_s=1) == 2
        found = [sharing._outcome(storage.get_trial(trial_id)) for trial_id in ids]
    assert [(one.state, one.folds) for one in found] == [(one.state, one.folds) for one in alone]


def test_a_helper_with_other_rows_is_refused(ledger_url, monkeypatch):
    monkeypatch.setenv("EVERGREEN_URL", ledger_url)
    with sharing.lead("four", validation(), section()), pytest.raises(EvergreenError, match="other rows or params"):
        sharing.help_out("four", validation(found=rows(seed=2)), section())


def test_a_helper_without_a_leader_goes(ledger_url, monkeypatch):
    monkeypatch.setenv("EVERGREEN_URL", ledger_url)
    began = time.monotonic()
    assert sharing.help_out("nobody", validation(), section(), start_s=0.5) == 0
    assert time.monotonic() - began < 20


def test_a_role_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("EVERGREEN_TUNE", "assist:one")
    with pytest.raises(EvergreenError, match=r"EVERGREEN_TUNE is assist:one: say lead:<study> or help:<study>"):
        tune.tune(validation(), section(), TUNE)


def studies(url):
    from infra import postgres_server

    with postgres_server.connect(url) as connection:
        return connection.execute("select count(*) from optuna.studies").fetchone()[0]
