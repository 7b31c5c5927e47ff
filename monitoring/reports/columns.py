"""What pages may show of rows: the features that a model sees and the protected attributes, under inert names.

Keys, entities and excluded columns never get here. Of a text, only values that many rows share are shown: the schema's known
ones, or an attribute's groups; every other is "(other)".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipelines import sanitize

if TYPE_CHECKING:
    import pyarrow as pa

OTHER, MISSING = "(other)", "(missing)"
SCORE = "score of the model"


@dataclass(frozen=True)
class Columns:
    """Column -> inert name of the numbers and the texts, and of each text value -> inert value."""

    numbers: Mapping[str, str]
    texts: Mapping[str, str]
    values: Mapping[str, Mapping[str, str]]

    @classmethod
    def of(cls, schema: Mapping[str, Any], protected: Mapping[str, list[str]]) -> Columns:
        """
        Args:
            schema: the content of schema.json.
            protected: attribute -> its groups that may be shown.
        """
        numbers = [name for name in schema["numbers"] if name not in protected]
        values = {name: of_text for name, of_text in schema["categories"].items() if name not in protected} | dict(protected)
        names = sanitize.names([*numbers, *values])
        return cls(
            numbers={name: names[name] for name in numbers},
            texts={name: names[name] for name in values},
            values={name: sanitize.names(of_text) for name, of_text in values.items()},
        )

    @property
    def shown(self) -> list[str]:
        """Inert names, numbers first."""
        return [*self.numbers.values(), *self.texts.values()]

    def with_score(self, column: str) -> Columns:
        """The same and the version's scores, which stand in `column` of the rows: a number like the others."""
        shown = SCORE if SCORE not in self.shown else f"{SCORE} (2)"
        return replace(self, numbers={column: shown, **self.numbers})

    def frame(self, rows: pa.Table) -> pd.DataFrame:
        """Rows as they may be shown: float64 numbers, NaN where missing or infinite, and inert texts."""
        made = {}
        for name, shown in self.numbers.items():
            column = rows[name].cast("float64", safe=False).to_numpy().astype(np.float64)
            made[shown] = np.where(np.isfinite(column), column, np.nan)
        for name, shown in self.texts.items():
            text = rows[name].cast("string").to_pandas()
            shown_text = text.map(dict(self.values[name])).fillna(OTHER)
            made[shown] = shown_text.where(text.notna() & (text != ""), MISSING).astype(object)
        return pd.DataFrame(made)
