"""Tuning: better values for a candidate's params, looked for on training-side folds only.

Trials are proposed in generations of a fixed size by Optuna's TPE (Bergstra et al. 2011) from a seeded study in
memory, told in order of their number, and pruned only against earlier generations. So what a trial does depends on
nothing but its number, and any process may run it: `pipelines.fitting.sharing` shares them through Postgres.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines import stage
from pipelines.errors import EvergreenError
from pipelines.fitting import folds
from pipelines.fitting.trials import Outcome, Run, Trial, bars, run_here

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipelines.candidates import CandidateParams
    from pipelines.fitting.folds import CrossValidation
    from pipelines.params import TuneParams

ROLE = "EVERGREEN_TUNE"  # lead:<study> or help:<study>, where several processes share the trials
RESAMPLES = 200
ONE_STANDARD_ERROR = 0.6827  # the two-sided confidence of one


@dataclass(frozen=True)
class Tuned:
    """The section to train with, what was tried, and its out-of-fold margins where tuning made them for every row."""

    section: CandidateParams
    trials: dict[str, Any]  # the content of trials.json
    margins: NDArray[np.float64] | None = None


def tune(whole: CrossValidation, section: CandidateParams, params: TuneParams) -> Tuned | None:
    """The best section found; None for a process that only helped another to find it.

    Args:
        whole: all cross-validated rows; trials see `params.rows` of them.

    Raises:
        EvergreenError: the params as they stand cannot be fitted.
    """
    role, _, name = os.environ.get(ROLE, "").partition(":")
    if role and (role not in {"lead", "help"} or not name):
        raise EvergreenError(f"{ROLE} is {role}:{name}: say lead:<study> or help:<study>, or nothing.")
    if params.trials == 0 or not section.search:
        return None if role == "help" else Tuned(section, _record(whole.metric, [], None, None))
    validation = whole.sample(params.rows)
    if not role:
        return _search(whole, validation, section, params, lambda trials, ends: run_here(validation, section, trials, ends))
    from pipelines.fitting import sharing

    if role == "help":
        sharing.help_out(name, validation, section)
        return None
    with sharing.lead(name, validation, section) as run:
        return _search(whole, validation, section, params, run)


def _search(
    whole: CrossValidation, validation: CrossValidation, section: CandidateParams, params: TuneParams, run: Run
) -> Tuned:
    from pipelines.fitting.study import Proposals

    ends = time.monotonic() + params.seconds
    proposals, done, stopped = Proposals(section, params.generation, validation.fitter.seed), [], None
    while len(done) < params.trials and stopped is None:
        trials = proposals.ask(min(params.generation, params.trials - len(done)), bars([found for _, found in done]))
        outcomes = run(trials, ends)
        proposals.tell(outcomes)
        done += zip(trials, outcomes, strict=False)
        stopped = "seconds" if len(outcomes) < len(trials) else None
    number, margins = choose(validation, section, done)
    best = section.with_values(done[number][0].values)
    return Tuned(best, _record(whole.metric, done, number, stopped), margins if validation is whole else None)


def choose(
    validation: CrossValidation, section: CandidateParams, done: Sequence[tuple[Trial, Outcome]]
) -> tuple[int, NDArray[np.float64] | None]:
    """Number and margins of the trial with the best mean over folds, if it is shown to beat trial 0; else trial 0's.

    The best of many is partly the luckiest. So its gain, paired over customers, has to be above one standard error
    (the rule of Breiman et al. 1984, section 3.4.3, with the params as they stand for the simplest model).
    """
    complete = [trial.number for trial, found in done if found.state == "COMPLETE"]
    best = max(complete, key=lambda number: (done[number][1].value, -number))

    def margins_of(number: int) -> NDArray[np.float64]:
        trial, found = done[number]
        if found.margins is not None:
            return found.margins
        return folds.cross_validate(validation, section.with_values(trial.values))  # another process ran it

    standing = margins_of(0)
    if best == 0:
        return 0, standing
    found = margins_of(best)
    return (best, found) if gain_is_shown(validation, found, standing) else (0, standing)


def gain_is_shown(validation: CrossValidation, found: NDArray[np.float64], standing: NDArray[np.float64]) -> bool:
    """Whether the mean gain over folds is above one standard error of it, when customers are resampled.

    Each fold is judged on customers of its own, so the folds' errors add up as squares.
    """
    from pipelines import metrics

    rows, options = validation.rows, {"resamples": RESAMPLES, "confidence": ONE_STANDARD_ERROR, "seed": validation.fitter.seed}
    gains = [
        metrics.paired_interval(
            validation.metric, rows.labels[held_out], found[held_out], standing[held_out], rows.customers[held_out], **options
        )
        for held_out in (validation.fold == number for number in range(validation.folds))
    ]
    gain = sum(each.point for each in gains) / len(gains)
    error = math.sqrt(sum(((each.high - each.low) / 2) ** 2 for each in gains)) / len(gains)
    shown = gain > error
    stage.say(
        f"gain over the params as they stand: {gain:.5f}, {'above' if shown else 'not above'} its standard error {error:.5f}"
    )
    return shown


def _record(metric: str, done: Sequence[tuple[Trial, Outcome]], best: int | None, stopped: str | None) -> dict[str, Any]:
    """The content of trials.json."""
    trials = [
        {
            "number": trial.number,
            "state": found.state,
            "params": trial.values,
            "folds": [round(value, 9) for value in found.folds],
            "value": round(found.value, 9) if found.state == "COMPLETE" else None,
        }
        for trial, found in done
    ]
    return {"metric": metric, "best": best, "stopped": stopped, "trials": trials}
