"""Cross-validation: customers dealt out to folds, and a candidate fitted on all folds but one."""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pipelines import stage
from pipelines.candidates import CandidateParams, Rows
from pipelines.errors import EvergreenError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from pipelines.params import DataParams


def as_rows(table: pa.Table, schema: dict[str, Any], data: DataParams) -> Rows:
    """A table as the arrays that candidates learn from."""
    import numpy as np

    from pipelines import features

    customers = table[data.entity].combine_chunks().dictionary_encode().indices.to_numpy()
    return Rows(
        numbers=features.numbers(table, schema),
        codes=features.codes(table, schema),
        labels=table[data.target].to_numpy().astype(np.int8),
        customers=customers.astype(np.int64),
        known=tuple(len(known) for known in schema["categories"].values()),
    )


def sample_customers(rows: Rows, most: int, seed: int) -> NDArray[np.bool_]:
    """Whether each row is used, (rows,): all rows of randomly chosen customers, about `most` rows in all."""
    import numpy as np

    if len(rows.labels) <= most:
        return np.ones(len(rows.labels), dtype=bool)
    customers = np.unique(rows.customers)
    count = int(len(customers) * most / len(rows.labels))
    return np.isin(rows.customers, np.random.default_rng(seed).choice(customers, size=count, replace=False))


def fold_of(rows: Rows, folds: int, seed: int) -> NDArray[np.int64]:
    """Fold of each row, (rows,): customers are dealt out whole, those who ever were positive evenly.

    Raises:
        EvergreenError: there are fewer such customers than folds.
    """
    import numpy as np
    from sklearn.model_selection import StratifiedKFold

    customers, row_of = np.unique(rows.customers, return_inverse=True)
    positive = np.bincount(row_of, weights=rows.labels) > 0
    if min(positive.sum(), (~positive).sum()) < folds:
        raise EvergreenError(
            f"{positive.sum()} customers are positive and {(~positive).sum()} are not: {folds} folds need {folds} of each. "
            "Pin more history, or lower train.folds."
        )
    fold = np.empty(len(customers), dtype=np.int64)
    for number, (_, chosen) in enumerate(StratifiedKFold(folds, shuffle=True, random_state=seed).split(positive, positive)):
        fold[chosen] = number
    return fold[row_of]


@dataclass(frozen=True)
class Fitter:
    """How a candidate is fitted: always with the same seed and threads."""

    candidate: ModuleType
    seed: int
    threads: int
    checkpoints: Path | None = None  # where a candidate that can continue an interrupted fit keeps what it has
    kept: set[Path] = field(default_factory=set)  # folders there that were used

    def fit(self, rows: Rows, section: CandidateParams) -> Any:
        """The candidate's model of these rows."""
        options: dict[str, Any] = {"seed": self.seed, "threads": self.threads}
        if self.checkpoints and "checkpoint" in inspect.signature(self.candidate.fit).parameters:
            options["checkpoint"] = self.checkpoints / self.key(rows, section)
            self.kept.add(options["checkpoint"])
        return self.candidate.fit(rows, section, **options)

    def forget(self) -> None:
        """Remove what this one's fits have kept, and nothing of what others do at the same time."""
        for folder in self.kept:
            shutil.rmtree(folder, ignore_errors=True)

    def key(self, rows: Rows, section: CandidateParams) -> str:
        """Changes with anything that a fit depends on: an old checkpoint is never continued with other rows."""
        digest = hashlib.sha256(json.dumps([section.model_dump(), self.seed, rows.known], sort_keys=True).encode())
        for array in (rows.numbers, rows.codes, rows.labels, rows.customers):
            digest.update(array.tobytes())
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class CrossValidation:
    """A candidate, and rows that are dealt out to folds."""

    fitter: Fitter
    rows: Rows
    fold: NDArray[np.int64]  # (rows,)
    metric: str  # a ranking metric of pipelines.metrics, the higher the better

    @property
    def folds(self) -> int:
        return int(self.fold.max()) + 1

    def sample(self, most: int) -> CrossValidation:
        """About `most` of the rows, whole customers, each in the fold it had; itself where it has no more."""
        used = sample_customers(self.rows, most, self.fitter.seed)
        return self if used.all() else replace(self, rows=self.rows.take(used), fold=self.fold[used])

    def margins(self, section: CandidateParams, number: int) -> NDArray[np.float64]:
        """Margins of a fold's rows by a model of the other folds' customers."""
        held_out = self.fold == number
        model = self.fitter.fit(self.rows.take(~held_out), section)
        return self.fitter.candidate.margin(model, self.rows.take(held_out))

    def value(self, number: int, margins: NDArray[np.float64]) -> float:
        """The metric of a fold's margins."""
        return measure(self.metric, self.rows.labels[self.fold == number], margins)


def cross_validate(validation: CrossValidation, section: CandidateParams) -> NDArray[np.float64]:
    """Margin of each row, (rows,), by a model that has seen nothing of the row's customer."""
    import numpy as np

    margins = np.empty(len(validation.fold))
    for number in range(validation.folds):
        found = validation.margins(section, number)
        margins[validation.fold == number] = found
        stage.say(f"fold {number + 1} of {validation.folds}: {validation.metric} {validation.value(number, found):.4f}")
    return margins


def measure(metric: str, labels: NDArray, scores: NDArray[np.float64]) -> float:
    """A ranking metric on rows that count once each."""
    import numpy as np

    from pipelines import metrics

    return float(metrics.RANKING[metric](labels, scores, np.ones((1, len(labels))))[0])
