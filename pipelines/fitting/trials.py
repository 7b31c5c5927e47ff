"""Trials of tuning: what one is, and what comes of it. Nothing here depends on who runs it, or when."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pipelines import stage
from pipelines.errors import EvergreenError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipelines.candidates import CandidateParams
    from pipelines.fitting.folds import CrossValidation


class RunawayError(EvergreenError):
    """A fit that came to no finite scores: the values' own fault."""


@dataclass(frozen=True)
class Trial:
    """Values to try, and for each fold but the last the mean so far below which there is no point in going on."""

    number: int
    values: dict[str, Any]
    bars: list[float]


@dataclass(frozen=True)
class Outcome:
    """What came of a trial: the metric by fold, and the margins where it went through all of them here."""

    state: Literal["COMPLETE", "PRUNED", "FAILED"]
    folds: list[float]
    margins: NDArray[np.float64] | None = None  # (rows,)

    @property
    def value(self) -> float:
        return sum(self.folds) / len(self.folds)


Run = Callable[[list[Trial], float], list[Outcome]]  # a generation's outcomes by a moment: too late, and the last are missing


def run_here(
    validation: CrossValidation, section: CandidateParams, trials: Sequence[Trial], ends: float = float("inf")
) -> list[Outcome]:
    """Outcomes of the trials that begin before `ends` (of the monotonic clock), and of trial 0 in any case."""
    outcomes = []
    for trial in trials:
        if trial.number and time.monotonic() > ends:
            break
        outcomes.append(evaluate(validation, section, trial))
    return outcomes


def evaluate(
    validation: CrossValidation, section: CandidateParams, trial: Trial, abandoned: Callable[[], bool] = lambda: False
) -> Outcome | None:
    """One trial, fold by fold; None when it is abandoned, of which it asks before every fold."""
    import numpy as np

    margins, values = np.empty(len(validation.fold)), []
    for number in range(validation.folds):
        if abandoned():
            return None
        try:
            found = _fold(validation, section.with_values(trial.values), number)
        except (OSError, MemoryError, ImportError):  # of this machine, and not of the values
            raise
        except Exception as error:  # at the edge of its range a value may break a library in that library's own way
            if trial.number == 0 or (isinstance(error, EvergreenError) and not isinstance(error, RunawayError)):
                raise
            return _said(trial, Outcome("FAILED", values), f": {type(error).__name__}: {error}")
        margins[validation.fold == number] = found
        values.append(validation.value(number, found))
        if number < len(trial.bars) and sum(values) / len(values) < trial.bars[number]:
            return _said(trial, Outcome("PRUNED", values))
    return _said(trial, Outcome("COMPLETE", values, margins))


def _fold(validation: CrossValidation, section: CandidateParams, number: int) -> NDArray[np.float64]:
    """Margins of a fold's rows, which can be judged."""
    import numpy as np

    if len(np.unique(validation.rows.labels[validation.fold == number])) < 2:
        raise EvergreenError(
            f"Fold {number + 1} of the {len(validation.fold)} rows that tuning sees holds one class only: raise tune.rows, "
            "or set tune.trials to 0."
        )
    found = validation.margins(section, number)
    if not np.isfinite(found).all():
        raise RunawayError("a margin is not finite: the fit has run away.")
    return found


def bars(outcomes: Sequence[Outcome]) -> list[float]:
    """Median of what earlier trials had after each fold but the last; empty where none went through.

    The rule of Golovin et al. 2017 (Vizier's median stopping), on means so far.
    """
    import numpy as np

    complete = [found.folds for found in outcomes if found.state == "COMPLETE"]
    if not complete:
        return []
    so_far = np.cumsum(complete, axis=1) / np.arange(1, len(complete[0]) + 1)
    return [float(value) for value in np.median(so_far, axis=0)[:-1]]


def _said(trial: Trial, outcome: Outcome, why: str = "") -> Outcome:
    mean = f" {outcome.value:.4f}" if outcome.folds else ""
    stage.say(f"trial {trial.number} {outcome.state.lower()}{mean}{why}: {trial.values}")
    return outcome
