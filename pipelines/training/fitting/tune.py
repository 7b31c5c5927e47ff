"""Tuning: better values for a candidate's params, chosen for each fold without its rows.

Trials are proposed in generations of a fixed size by Optuna's TPE (Bergstra et al. 2011) from a seeded study in
memory, and pruned only against earlier generations. Every trial is judged on the same parts, and each fold's model gets
the trial that is best on the rows of the other folds. So what tuning gains is paid for by no row that it is measured on
(nested cross-validation, Varma & Simon 2006, with the inner fits shared between the folds).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.config import stage
from pipelines.training.fitting.trials import Outcome, Trial, pruning_thresholds, run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipelines.config.params import TuneParams
    from pipelines.config.sections import CandidateParams
    from pipelines.training.fitting.folds import Validation

RESAMPLES = 100
ONE_STANDARD_ERROR = 0.6827  # the two-sided confidence of one


@dataclass(frozen=True)
class Tuned:
    """The section of each fold's model, the one that all rows choose, and what was tried."""

    sections: list[CandidateParams]
    overall: CandidateParams
    trials: dict[str, Any]  # the content of trials.json


def tune(validation: Validation, section: CandidateParams, params: TuneParams) -> Tuned:
    """The best sections found.

    Raises:
        EvergreenError: the params in params.yaml cannot be fitted.
    """
    if params.trials == 0 or not section.search:
        nothing: dict[str, Any] = {"metric": validation.metric, "best": None, "by_fold": [], "stopped": None, "trials": []}
        return Tuned([section] * validation.folds, section, nothing)
    from pipelines.training.fitting.study import Proposals

    sample = validation.sample(params.rows)
    sample = sample if sample.has_both_labels else validation  # positives are rare: a sample that lacks them tells nothing
    ends = time.monotonic() + params.seconds
    proposals, stopped = Proposals(section, params.generation, validation.seed), None
    done: list[tuple[Trial, Outcome]] = []
    while len(done) < params.trials and stopped is None:
        thresholds = pruning_thresholds([outcome for _, outcome in done])
        trials = proposals.ask(min(params.generation, params.trials - len(done)), thresholds)
        outcomes = run(sample, section, trials, ends)
        proposals.tell(outcomes)
        done += zip(trials, outcomes, strict=False)
        stopped = "seconds" if len(outcomes) < len(trials) else None
    complete = {trial.number: outcome.margins for trial, outcome in done if outcome.margins is not None}
    chosen = [choose(sample, complete, without=number) for number in range(validation.folds)]
    overall = choose(sample, complete)
    stage.say(f"chosen: trial {overall} by all rows, {chosen} without each fold's.")
    sections = [section.with_values(done[number][0].values) for number in chosen]
    return Tuned(
        sections, section.with_values(done[overall][0].values), _record(validation.metric, done, overall, chosen, stopped)
    )


def choose(
    validation: Validation, options: dict[int, list[NDArray[np.float64]]], without: int | None = None, *, errors: float = 1.0
) -> int:
    """Number of the option with the best mean over parts, if it is shown to beat option 0; else 0.

    The best of many is partly the luckiest. So its gain, paired over entities, has to be above its standard error
    (the rule of Breiman et al. 1984, section 3.4.3, with option 0 for the simplest model).

    Args:
        options: number -> margins of each part.
        without: a fold whose rows have no say.
        errors: how many standard errors the gain has to be above.
    """
    import numpy as np

    def value(number: int) -> float:
        return float(np.nanmean([validation.value(part, margins, without) for part, margins in enumerate(options[number])]))

    best = max(sorted(options), key=value)
    return best if best and gain_is_shown(validation, options[best], options[0], without, errors) else 0


def gain_is_shown(
    validation: Validation,
    best: list[NDArray[np.float64]],
    default: list[NDArray[np.float64]],
    without: int | None = None,
    errors: float = 1.0,
) -> bool:
    """Whether the mean gain over parts is above so many standard errors of it, when entities are resampled.

    Each part is judged on rows of its own, so the parts' errors add up as squares.
    """
    from pipelines.statistics import metrics

    rows = validation.rows
    options: metrics.Bootstrap = {"resamples": RESAMPLES, "confidence": ONE_STANDARD_ERROR, "seed": validation.seed}
    gains = []
    for number, part in enumerate(validation.parts):
        kept = validation.fold[part.judged] != without
        labels, entities = rows.labels[part.judged][kept], rows.entities[part.judged][kept]
        if 0 < labels.sum() < len(labels):
            pair = best[number][kept], default[number][kept]
            gains.append(metrics.paired_interval(validation.metric, labels, *pair, entities, **options))
    gain = sum(each.point for each in gains) / len(gains)
    error = math.sqrt(sum(((each.high - each.low) / 2) ** 2 for each in gains)) / len(gains)
    return gain > errors * error


def _record(
    metric: str, done: Sequence[tuple[Trial, Outcome]], best: int, chosen: list[int], stopped: str | None
) -> dict[str, Any]:
    """The content of trials.json."""
    trials = [
        {
            "number": trial.number,
            "state": outcome.state,
            "params": trial.values,
            "parts": [round(value, 9) for value in outcome.parts],
            "value": round(outcome.value, 9) if outcome.state == "COMPLETE" else None,
        }
        for trial, outcome in done
    ]
    return {"metric": metric, "best": best, "by_fold": chosen, "stopped": stopped, "trials": trials}
