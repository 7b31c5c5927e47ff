"""Candidates: one module each, chosen by `candidates.enabled` in params.yaml.

A module owns `Params`, its section of params.yaml (a `CandidateParams` of pipelines/config/sections.py), and gives:

- `fit(rows, params, *, seed, threads)` -> the fitted model, from a `Rows`, each row counting its weight, or more of those
  that are of the present (`Rows.all_alike`);
- `margin(model, rows)` -> log odds before calibration, float64 (rows,);
- `write(graph, models, schema)` -> append the fitted models of all folds to a `Graph`: name of their margins (rows, models).

It may give three more:

- `fit_stopped(rows, watched, params, *, seed, threads)` -> (model, losses): for a candidate whose `params.max_rounds` is
  found by early stopping: fitted until the log loss of the watched rows, (rounds,), stops to fall; and with it
  `first_rounds(model, rounds)`, the model that fewer rounds would have given;
- `explain(model, rows)` -> SHAP values in log odds, float64 (rows, features), numbers first, then categories;
  without it they are sampled from `margin`;
- `metadata(model)` -> what the model card says of the fit (device class, epochs), as JSON that is equal in equal runs.

Heavy libraries are imported inside the functions, since every stage reads every section of params.yaml.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Rows:
    """Rows to fit or to score as arrays, all of the same length."""

    numbers: NDArray[np.float32]  # (rows, numbers); NaN is missing
    codes: NDArray[np.float32]  # (rows, categories); 0 unknown, 1 missing, 2.. known
    labels: NDArray[np.int8]  # (rows,)
    entities: NDArray[np.int64]  # (rows,); number of the row's entity
    weights: NDArray[np.float32]  # (rows,); what a row counts in a fit, 1 at most
    category_counts: tuple[int, ...]  # how many known values each category has

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def all_alike(self) -> bool:
        """Whether all rows count the same; else those of weight 1 are of the present, and others of the past."""
        return len(self) == 0 or bool(self.weights.min() == self.weights.max())

    def take(self, chosen: NDArray[Any]) -> Rows:
        """Some of the rows, by index or mask."""
        numbers, codes, labels = self.numbers[chosen], self.codes[chosen], self.labels[chosen]
        return Rows(numbers, codes, labels, self.entities[chosen], self.weights[chosen], self.category_counts)

    def matrix(self) -> NDArray[np.float32]:
        """Numbers and codes side by side, (rows, features)."""
        import numpy as np

        return np.hstack([self.numbers, self.codes])
