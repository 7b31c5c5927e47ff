"""Trials of tuning: what one is, and what comes of it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pipelines.config import stage
from pipelines.config.errors import EvergreenError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipelines.config.sections import CandidateParams
    from pipelines.training.fitting.folds import Validation


class RunawayError(EvergreenError):
    """A fit that came to no finite scores: the values' own fault."""


@dataclass(frozen=True)
class Trial:
    """Values to try, and for each part but the last the mean so far below which there is no point in going on."""

    number: int
    values: dict[str, Any]
    thresholds: list[float]


@dataclass(frozen=True)
class Outcome:
    """What came of a trial: the metric by part, and each part's margins where it went through all of them."""

    state: Literal["COMPLETE", "PRUNED", "FAILED"]
    parts: list[float]
    margins: list[NDArray[np.float64]] | None = None

    @property
    def value(self) -> float:
        return sum(self.parts) / len(self.parts)


def run(validation: Validation, section: CandidateParams, trials: Sequence[Trial], ends: float = math.inf) -> list[Outcome]:
    """Outcomes of the trials that begin before `ends` (of the monotonic clock), and of trial 0 in any case."""
    outcomes = []
    for trial in trials:
        if trial.number and time.monotonic() > ends:
            break
        outcomes.append(evaluate(validation, section, trial))
    return outcomes


def evaluate(validation: Validation, section: CandidateParams, trial: Trial) -> Outcome:
    """One trial, part by part."""
    values: list[float] = []
    tried = section.with_values(trial.values)
    try:
        for number in range(len(validation.parts)):
            validation.fit(tried, number)
            values.append(_value(validation, tried, number))
            if number < len(trial.thresholds) and sum(values) / len(values) < trial.thresholds[number]:
                return _logged(trial, Outcome("PRUNED", values))
        margins = [validation.margins(tried, number) for number in range(len(validation.parts))]
    except (OSError, MemoryError, ImportError):  # of this machine, and not of the values
        raise
    except Exception as error:  # at the edge of its range a value may break a library in that library's own way
        if trial.number == 0 or (isinstance(error, EvergreenError) and not isinstance(error, RunawayError)):
            raise
        return _logged(trial, Outcome("FAILED", values), f": {type(error).__name__}: {error}")
    values = [validation.value(number, margin) for number, margin in enumerate(margins)]
    return _logged(trial, Outcome("COMPLETE", values, margins))


def _value(validation: Validation, section: CandidateParams, number: int) -> float:
    """The metric of a part so far: its rounds are known for good when all parts were fitted."""
    import numpy as np

    rows = validation.rows.take(validation.parts[number].judged)
    if len(np.unique(rows.labels)) < 2:
        raise EvergreenError(
            f"Part {number + 1} of the {len(validation.fold)} rows has labels of one class only: nothing can be tuned "
            "on it. Pin more history (data.history_days), or set tune.trials to 0."
        )
    fit = validation.fit(section, number)
    model = fit.model if fit.losses is None else validation.candidate.first_rounds(fit.model, fit.best)
    margins = validation.candidate.margin(model, rows)
    if not np.isfinite(margins).all():
        raise RunawayError("a margin is not finite: the fit has run away.")
    return validation.value(number, margins)


def pruning_thresholds(outcomes: Sequence[Outcome]) -> list[float]:
    """Median of what earlier trials had after each part but the last; empty where none went through.

    The rule of Golovin et al. 2017 (Vizier's median stopping), on means so far.
    """
    import numpy as np

    complete = [outcome.parts for outcome in outcomes if outcome.state == "COMPLETE"]
    if not complete:
        return []
    so_far = np.cumsum(complete, axis=1) / np.arange(1, len(complete[0]) + 1)
    return [float(value) for value in np.median(so_far, axis=0)[:-1]]


def _logged(trial: Trial, outcome: Outcome, why: str = "") -> Outcome:
    mean = f" {outcome.value:.4f}" if outcome.parts else ""
    stage.say(f"trial {trial.number} {outcome.state.lower()}{mean}{why}: {trial.values}")
    return outcome
