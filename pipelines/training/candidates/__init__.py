"""Candidates: one module each, chosen by `candidates.enabled` in params.yaml.

A module owns `Params`, its section of params.yaml (a `CandidateParams`), and gives three functions:

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
- `facts(model)` -> what the model card says of the fit (device class, epochs), as JSON that is equal in equal runs.

Heavy libraries are imported inside the functions, since every stage reads every section of params.yaml.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from pipelines.config.params import Section

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Choices = Annotated[list[bool | int | float | str], Field(min_length=2)]


NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"


class Range(Section):
    """Values from `low` to `high`, both included; `log`: each factor is as likely as any other.

    Written as `4 to 40` or `0.02 to 0.12, log`.
    """

    low: int | float
    high: int | float
    log: bool = False

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        found = re.fullmatch(rf"({NUMBER}) to ({NUMBER})(, log)?", value)
        if not found:
            raise ValueError(f"{value!r} is no range: write `LOW to HIGH`, or `LOW to HIGH, log`")
        low, high = (int(end) if re.fullmatch(r"-?\d+", end) else float(end) for end in found.groups()[:2])
        return {"low": low, "high": high, "log": bool(found[3])}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low is {self.low} and high {self.high}: low must be below high")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low}: with log it must be above 0")
        return self


class CandidateParams(Section):
    """A candidate's section: its values, and in `search` where tuning may look for better ones."""

    search: dict[str, Range | Choices] = Field(default={}, exclude=True)  # no part of model_dump: it fits nothing

    def with_values(self, values: dict[str, Any]) -> Self:
        """The same section with some values changed, checked again."""
        return type(self).model_validate({**self.model_dump(), **values})

    @model_validator(mode="after")
    def _check_search(self) -> Self:
        """Every name is a key, every end of a range could stand in its place, and what stands there is within."""
        for name, found in self.search.items():
            if name == "search" or name not in type(self).model_fields:
                raise ValueError(f"search.{name}: no such key. Check its spelling, or delete it")
            for value in found if isinstance(found, list) else (found.low, found.high):
                try:
                    self.with_values({name: value})
                except ValidationError as error:
                    raise ValueError(f"search.{name}: {value!r} cannot be tried: {error.errors()[0]['msg']}") from None
            stands = getattr(self, name)
            if not (stands in found if isinstance(found, list) else found.low <= stands <= found.high):
                raise ValueError(f"search.{name}: {name} is {stands!r}, outside of it. Widen the range: {name} is tried first")
        return self


@dataclass(frozen=True)
class Rows:
    """Rows to fit or to score as arrays, all of the same length."""

    numbers: NDArray[np.float32]  # (rows, numbers); NaN is missing
    codes: NDArray[np.float32]  # (rows, categories); 0 unknown, 1 missing, 2.. known
    labels: NDArray[np.int8]  # (rows,)
    entities: NDArray[np.int64]  # (rows,); number of the row's entity
    weights: NDArray[np.float32]  # (rows,); what a row counts in a fit, 1 at most
    known: tuple[int, ...]  # how many known values each category has

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def all_alike(self) -> bool:
        """Whether all rows count the same; else those of weight 1 are of the present, and others of the past."""
        return len(self) == 0 or bool(self.weights.min() == self.weights.max())

    def take(self, chosen: NDArray) -> Rows:
        """Some of the rows, by index or mask."""
        parts = (self.numbers, self.codes, self.labels, self.entities, self.weights)
        return Rows(*(part[chosen] for part in parts), known=self.known)

    def matrix(self) -> NDArray[np.float32]:
        """Numbers and codes side by side, (rows, features)."""
        import numpy as np

        return np.hstack([self.numbers, self.codes])
