"""Tuning: what is tried, what is chosen, and that no row has a say in the choice that it is measured on."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.config import params
from pipelines.config.errors import EvergreenError
from pipelines.config.params import TuneParams
from pipelines.config.sections import CandidateParams, Range
from pipelines.training.candidates import Rows, linear
from pipelines.training.fitting import folds, trials, tune
from pipelines.training.fitting.trials import Outcome

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
    return Rows(numbers, np.zeros((count, 0), np.float32), labels, np.arange(count) // 3, np.ones(count, np.float32), ())


class Fake:
    """A candidate without rounds whose margins are the label plus noise, the less the nearer `at` is to 0.5."""

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
    fold = (found.entities % 3).astype(np.int8)
    return folds.Validation(candidate, found, folds.fold_parts(fold), fold, metric, seed=1, threads=1)


def test_better_values_are_found_and_the_params_of_the_file_are_tried_first():
    found = tune.tune(validation(), section(POOR), TUNE)
    first, best = (found.trials["trials"][number] for number in (0, found.trials["best"]))
    assert (first["number"], first["params"]) == (0, {"C": POOR})
    assert best["value"] > first["value"] + 0.001
    assert found.overall.C == best["params"]["C"] > POOR
    assert best["value"] == max(trial["value"] or 0 for trial in found.trials["trials"])
    assert best["value"] == pytest.approx(np.mean(best["parts"]))
    chosen = [found.trials["trials"][number]["params"]["C"] for number in found.trials["by_fold"]]
    assert [each.C for each in found.sections] == chosen
    assert min(chosen) > POOR


def test_no_fit_sees_a_customer_of_the_fold_it_is_judged_on():
    fitted, judged = [], []

    class Spy(Fake):
        def fit(self, rows, params, *, seed, threads):
            fitted.append(set(rows.entities))
            return super().fit(rows, params, seed=seed, threads=threads), fitted[-1]

        def margin(self, model, rows):
            judged.append((model[1], set(rows.entities)))
            return super().margin(model[0], rows)

    given = rows(300)
    tune.tune(validation(Spy(), given), Fake.Params(at=0.9, search={"at": {"low": 0, "high": 1}}), TUNE)
    assert len(fitted) >= 6
    assert all(not one & other for one, other in judged)
    assert set().union(*fitted) == set(given.entities), "rows from elsewhere"


def test_two_runs_try_and_find_the_same():
    one, two = (tune.tune(validation(), section(POOR), TUNE) for _ in "ab")
    assert json.dumps(one.trials) == json.dumps(two.trials)
    assert (one.overall, one.sections) == (two.overall, two.sections)


def test_the_first_wins_a_tie():
    found = tune.tune(validation(), section(GOOD, {"max_iter": {"low": 150, "high": 300}}), TUNE)
    assert {trial["value"] for trial in found.trials["trials"]} == {found.trials["trials"][0]["value"]}
    assert (found.trials["best"], found.trials["by_fold"]) == (0, [0, 0, 0])


def test_hopeless_trials_are_pruned_against_earlier_generations_only():
    options = {"search": {"at": {"low": 0.5, "high": 5}}}
    found = tune.tune(validation(Fake()), Fake.Params(at=0.5, **options), TUNE.model_copy(update={"trials": 12}))
    states = [trial["state"] for trial in found.trials["trials"]]
    assert states[:3] == ["COMPLETE"] * 3
    assert "PRUNED" in states[3:]
    pruned = found.trials["trials"][states.index("PRUNED")]
    assert 1 <= len(pruned["parts"]) < 3
    assert pruned["value"] is None


def test_pruning_thresholds_are_the_medians_of_means_so_far():
    complete = [Outcome("COMPLETE", [value, value + 0.1, 0.9]) for value in (0.5, 0.6, 0.8)]
    others = [Outcome("PRUNED", [0.1]), Outcome("FAILED", [])]
    assert trials.pruning_thresholds([*complete, *others]) == pytest.approx([0.6, 0.65])
    assert trials.pruning_thresholds([]) == []


@pytest.mark.parametrize("kind", ["broken", "endless"])
def test_a_trial_that_breaks_is_recorded_and_the_search_goes_on(kind):
    space = {"kind": ["plain", kind], "at": {"low": 0.5, "high": 2}}
    found = tune.tune(validation(Fake()), Fake.Params(at=2, search=space), TUNE.model_copy(update={"trials": 12}))
    states = {trial["state"] for trial in found.trials["trials"] if trial["params"]["kind"] == kind}
    assert states == {"FAILED"}
    assert found.overall.kind == "plain"
    assert found.trials["best"] > 0


def test_params_of_the_file_that_cannot_be_fitted_stop_the_stage():
    with pytest.raises(EvergreenError, match="a margin is not finite"):
        tune.tune(validation(Fake()), Fake.Params(at=1, kind="endless", search={"at": {"low": 0, "high": 1}}), TUNE)


def test_a_part_of_one_label_says_what_to_change():
    given = rows(300)
    poor = replace(given, labels=np.where(given.entities % 3 == 1, 0, given.labels))
    with pytest.raises(EvergreenError, match=r"Part 2 of the 300 rows has .* or set tune\.trials to 0"):
        tune.tune(validation(found=poor), section(), TUNE)


def test_where_positives_are_so_rare_that_a_sample_lacks_them_all_rows_are_tried_on():
    given = rows(3000)
    rare = replace(given, labels=(np.isin(given.entities, [0, 1, 2]) & (given.labels == 1)).astype(np.int8))
    rare.labels[[0, 3, 6]] = 1  # one in each fold at least
    few = validation(found=rare)
    assert not few.sample(300).has_both_labels and few.has_both_labels
    found = tune.tune(few, section(), TUNE.model_copy(update={"trials": 2, "rows": 300}))
    assert found.trials["trials"][0]["state"] == "COMPLETE"


def test_the_end_of_the_seconds_is_said_and_the_first_trial_is_run_all_the_same():
    found = tune.tune(validation(), section(POOR), TUNE.model_copy(update={"seconds": 1e-9}))
    assert [trial["number"] for trial in found.trials["trials"]] == [0]
    assert (found.trials["stopped"], found.trials["best"], found.trials["by_fold"]) == ("seconds", 0, [0, 0, 0])


def test_no_trials_need_no_optuna():
    code = """
import sys
from tests.pipelines import test_tune
from pipelines.training.fitting import tune
found = tune.tune(test_tune.validation(), test_tune.section(), test_tune.TUNE.model_copy(update={"trials": 0}))
print(found.trials["trials"], found.sections == [test_tune.section()] * 3, "optuna" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[-2] == "[] True False"


# the choice for a fold


def options(seed, count=6, better=0.25):
    """Rows, and margins of some options by part: in fold 1 the first ones are good, elsewhere the last ones."""
    given = rows(1500, seed)
    validated = validation(found=given)
    random = np.random.default_rng(seed)
    margins = {}
    for number in range(count):
        margins[number] = []
        for part in validated.parts:
            own = validated.fold[part.judged]
            good = better * (count - number if own[0] == 1 else number + 1)
            margins[number].append(good * given.labels[part.judged] + random.normal(size=len(own)))
    return validated, margins


@pytest.mark.parametrize("without", [0, 1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_the_choice_for_a_fold_stays_when_the_labels_of_its_rows_are_turned_around(seed, without):
    validated, margins = options(seed)
    labels = np.where(validated.fold == without, 1 - validated.rows.labels, validated.rows.labels)
    turned = replace(validated, rows=replace(validated.rows, labels=labels))
    assert tune.choose(turned, margins, without) == tune.choose(validated, margins, without)


def test_a_fold_that_says_something_else_is_left_out_of_its_own_choice():
    validated, margins = options(1)
    fold_1 = {number: [each if part == 1 else each * 0 for part, each in enumerate(found)] for number, found in margins.items()}
    assert tune.choose(validated, margins, without=1) == 5
    assert tune.choose(validated, fold_1) == 0
    swapped = {number: margins[5 - number] for number in margins}
    assert tune.choose(validated, {number: swapped[number] for number in (0, 5)}, without=1) == 0


def test_the_choice_for_a_fold_is_made_without_its_rows_where_parts_are_months():
    """Each origin judges customers of all folds: those of the fold have no say in any of them."""
    given = rows(1500)
    month, fold = np.arange(1500) % 3, (given.entities % 3).astype(np.int8)
    parts = [folds.Part(month < number, month == number) for number in (1, 2)]
    validated = folds.Validation(linear, given, parts, fold, "roc_auc", seed=1, threads=1)
    good = [given.labels[part.judged] * 1.0 for part in parts]
    lied = [np.where(fold[part.judged] == 2, -each, each) for part, each in zip(parts, good, strict=True)]
    noise = [np.random.default_rng(1).normal(size=len(each)) for each in good]
    assert tune.choose(validated, {0: lied, 1: good}, without=2) == 0  # they differ in fold 2 alone
    assert tune.choose(validated, {0: lied, 1: good}, without=0) == 1
    assert tune.choose(validated, {0: noise, 1: lied}, without=2) == 1


def test_a_gain_within_one_standard_error_leaves_the_params_of_the_file():
    """Of customers who are alike, one is scored better and the next one worse, by a little less."""
    given = rows(1500)
    validated = validation(found=given)
    scores = given.labels + np.random.default_rng(1).normal(size=1500)
    order = np.argsort(np.argsort(scores.reshape(500, 3).sum(axis=1) + 10 * given.labels.reshape(500, 3).sum(axis=1)))
    towards = np.where(given.labels == 1, 1, -1)

    def options(worse):
        changed = scores + 0.1 * towards * np.repeat(np.where(order % 2, 1.0, worse), 3)
        return {number: [values[part.judged] for part in validated.parts] for number, values in enumerate((scores, changed))}

    def value(found):
        return np.mean([validated.value(part, each) for part, each in enumerate(found)])

    little, much = options(worse=-0.9), options(worse=0.5)
    assert value(little[1]) > value(little[0])
    assert tune.choose(validated, little) == 0
    assert tune.choose(validated, much) == 1


def test_a_gain_of_few_customers_is_not_shown_though_their_rows_are_many():
    """30 customers, each with 50 rows of one label: what looks like evidence is a few draws."""
    count, random = 1500, np.random.default_rng(4)
    entities = np.arange(count) // 50
    labels = (entities % 2).astype(np.int8)
    given = Rows(
        np.zeros((count, 1), np.float32), np.zeros((count, 0), np.float32), labels, entities, np.ones(count, np.float32), ()
    )
    fold = (entities // 2 % 3).astype(np.int8)
    validated = folds.Validation(linear, given, folds.fold_parts(fold), fold, "roc_auc", seed=1, threads=1)
    shared, own = random.normal(size=30)[entities], random.normal(size=30)[entities]
    alike = {number: [(labels + each)[part.judged] for part in validated.parts] for number, each in enumerate((shared, own))}
    ranked = sorted(alike, key=lambda number: np.mean([validated.value(part, alike[number][part]) for part in range(3)]))
    given_first = {0: alike[ranked[0]], 1: alike[ranked[1]]}
    by_rows = replace(validated, rows=replace(given, entities=np.arange(count)))
    assert tune.choose(by_rows, given_first) == 1
    assert tune.choose(validated, given_first) == 0


# what is written in params.yaml


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
