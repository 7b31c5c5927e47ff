"""What to try next: Optuna's proposals, from a seeded study in memory that knows nothing but outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipelines.training.fitting.trials import Outcome, Trial

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from pipelines.config.sections import CandidateParams

STATES = {"COMPLETE": "COMPLETE", "PRUNED": "PRUNED", "FAILED": "FAIL"}  # ours, and Optuna's names for them


class Proposals:
    """What to try next: the params in params.yaml, then what TPE makes of the outcomes so far."""

    def __init__(self, section: CandidateParams, generation: int, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=generation)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._distributions = distributions(section)
        self._study.enqueue_trial({name: getattr(section, name) for name in section.search})
        self._asked: list[Any] = []

    def ask(self, count: int, thresholds: list[float]) -> list[Trial]:
        """The next generation."""
        self._asked = [self._study.ask(self._distributions) for _ in range(count)]
        return [Trial(trial.number, dict(trial.params), thresholds) for trial in self._asked]

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """The outcomes of what was asked for last, in that order."""
        from optuna.trial import TrialState

        for trial, outcome in zip(self._asked, outcomes, strict=False):
            for number, value in enumerate(outcome.parts):
                trial.report(value, number)
            complete = outcome.state == "COMPLETE"
            self._study.tell(trial, outcome.value if complete else None, state=TrialState[STATES[outcome.state]])


def distributions(section: CandidateParams) -> dict[str, BaseDistribution]:
    """The search space as Optuna has it; a range of a whole number holds whole numbers."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    space: dict[str, BaseDistribution] = {}
    for name, searched in section.search.items():
        if isinstance(searched, list):
            space[name] = CategoricalDistribution(searched)
        elif isinstance(getattr(section, name), int):
            space[name] = IntDistribution(int(searched.low), int(searched.high), log=searched.log)
        else:
            space[name] = FloatDistribution(searched.low, searched.high, log=searched.log)
    return space
