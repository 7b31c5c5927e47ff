"""A candidate fitted on parts of the rows, and judged on the rows that each part leaves out.

The parts are the folds of entities, where each row is judged once, or the origins of a backtest, where later rows are.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pipelines.config import stage
from pipelines.config.sections import CandidateParams
from pipelines.training.candidates import Rows
from pipelines.training.out_of_fold import entity_codes

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from pipelines.config.params import DataParams


def as_rows(table: pa.Table, schema: dict[str, Any], data: DataParams) -> Rows:
    """A table as the arrays that candidates are fitted on, each row with weight 1."""
    import numpy as np

    from pipelines import features

    return Rows(
        numbers=features.numbers(table, schema),
        codes=features.codes(table, schema),
        labels=table[data.target].to_numpy().astype(np.int8),
        entities=entity_codes(table, data),
        weights=np.ones(table.num_rows, dtype=np.float32),
        category_counts=tuple(len(values) for values in schema["categories"].values()),
    )


def sample_entities(entities: NDArray[Any], most: int, seed: int) -> NDArray[np.bool_]:
    """Whether each row is used, (rows,): all rows of randomly chosen entities, about `most` rows in all."""
    import numpy as np

    if len(entities) <= most:
        return np.ones(len(entities), dtype=bool)
    distinct = np.unique(entities)
    count = int(len(distinct) * most / len(entities))
    return np.isin(entities, np.random.default_rng(seed).choice(distinct, size=count, replace=False))


@dataclass(frozen=True)
class Part:
    """Which rows a model is fitted on, and which it judges: masks (rows,); and what each row counts, 1 by default."""

    fitted: NDArray[np.bool_]
    judged: NDArray[np.bool_]
    weights: NDArray[np.float32] | None = None

    def take(self, chosen: NDArray[Any]) -> Part:
        """Of some of the rows, by mask."""
        return Part(self.fitted[chosen], self.judged[chosen], None if self.weights is None else self.weights[chosen])


def fold_parts(fold: NDArray[Any]) -> list[Part]:
    """A part for each fold: its rows are judged by a model of all others."""
    return [Part(fold != number, fold == number) for number in range(int(fold.max()) + 1)]


@dataclass(frozen=True)
class Fit:
    """A fitted model, and the log loss of the judged rows after each of its rounds, where it has rounds."""

    model: Any
    losses: NDArray[np.float64] | None = None

    @property
    def best(self) -> int:
        """Rounds with the lowest loss."""
        return int(self.losses.argmin()) + 1 if self.losses is not None else 0


@dataclass(frozen=True)
class Validation:
    """A candidate, rows, and the parts by which it is judged."""

    candidate: ModuleType
    rows: Rows
    parts: list[Part]
    fold: NDArray[np.int8]  # (rows,); choices for a fold are made without its rows, whatever the parts
    metric: str  # a ranking metric of pipelines.statistics.metrics, the higher the better
    seed: int
    threads: int
    fits: dict[tuple[str, int], Fit] = field(default_factory=dict)  # what was fitted, by params and part

    @property
    def folds(self) -> int:
        return int(self.fold.max()) + 1

    def sample(self, most: int) -> Validation:
        """About `most` of the rows, whole entities, each in the parts it had; itself where it has no more."""
        used = sample_entities(self.rows.entities, most, self.seed)
        if used.all():
            return self
        parts = [part.take(used) for part in self.parts]
        return replace(self, rows=self.rows.take(used), parts=parts, fold=self.fold[used], fits={})

    @property
    def has_both_labels(self) -> bool:
        """Whether rows of either label judge each part."""
        return all(0 < self.rows.labels[part.judged].sum() < part.judged.sum() for part in self.parts)

    def fit(self, section: CandidateParams, number: int) -> Fit:
        """The model of a part, with as many rounds as early stopping on its judged rows lets it have."""
        key = (section.model_dump_json(), number)
        if key not in self.fits:
            self.fits[key] = self._fit(section, number)
        return self.fits[key]

    def _fit(self, section: CandidateParams, number: int) -> Fit:
        part, options = self.parts[number], {"seed": self.seed + number, "threads": self.threads}
        rows = self.rows if part.weights is None else replace(self.rows, weights=part.weights)
        if not hasattr(self.candidate, "fit_stopped"):
            return Fit(self.candidate.fit(rows.take(part.fitted), section, **options))
        return Fit(*self.candidate.fit_stopped(rows.take(part.fitted), rows.take(part.judged), section, **options))

    def rounds(self, section: CandidateParams, number: int) -> int:
        """Rounds of a part's model: the mean of what was best in the other parts, so its own judged rows chose nothing.

        The other parts that have been fitted with the same params count; where there is none, the next one is fitted.
        """
        other_parts = [other for other in range(len(self.parts)) if other != number]
        key = section.model_dump_json()
        fitted = [other for other in other_parts if (key, other) in self.fits] or [(number + 1) % len(self.parts)]
        return max(1, round(sum(self.fit(section, other).best for other in fitted) / len(fitted)))

    def model(self, section: CandidateParams, number: int) -> Any:
        """The model of a part that its judged rows had no say in."""
        fit = self.fit(section, number)
        if fit.losses is None:
            return fit.model
        return self.candidate.first_rounds(fit.model, min(len(fit.losses), self.rounds(section, number)))

    def margins(self, section: CandidateParams, number: int) -> NDArray[np.float64]:
        """Margins of a part's judged rows."""
        return self.candidate.margin(self.model(section, number), self.rows.take(self.parts[number].judged))

    def value(self, number: int, margins: NDArray[np.float64], without: int | None = None) -> float:
        """The metric of a part's margins, over its judged rows but those of fold `without`; NaN where one label is missing."""
        judged = self.parts[number].judged
        kept = self.fold[judged] != without
        return measure(self.metric, self.rows.labels[judged][kept], margins[kept])


def cross_fit(validation: Validation, sections: list[CandidateParams]) -> tuple[list[Any], NDArray[np.float64]]:
    """The model of each fold, and the margin of each row, (rows,), by the one that has seen nothing of its entity.

    Args:
        sections: params of each fold's model.
    """
    import numpy as np

    for number, section in enumerate(sections):  # first all of them: each learns its rounds from the others
        validation.fit(section, number)
    models, margins = [], np.empty(len(validation.fold))
    for number, section in enumerate(sections):
        models.append(validation.model(section, number))
        judged = validation.parts[number].judged
        margins[judged] = validation.candidate.margin(models[-1], validation.rows.take(judged))
        value = validation.value(number, margins[judged])
        stage.say(f"fold {number + 1} of {len(sections)}: {validation.metric} {value:.4f}")
    return models, margins


def measure(metric: str, labels: NDArray[Any], scores: NDArray[np.float64]) -> float:
    """A ranking metric on rows that count once each; NaN where a label is missing."""
    import numpy as np

    from pipelines.statistics import metrics

    if len(np.unique(labels)) < 2:
        return float("nan")
    return float(metrics.RANKING[metric](labels, scores, np.ones((1, len(labels))))[0])
