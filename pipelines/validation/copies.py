"""Rows that are alike on both sides of the split: copies of one another, or alike by chance?

Where columns are coarse, different entities are alike in all that a model sees; whatever columns depend on each other, such
rows agree in the label no more often than two entities of that score do. Copies always agree. So the labels tell the two
apart: of n held-out rows with a twin the share c are copies where the labels' covariance, beyond what a model expects of
rows like these, is c times their variance (an intraclass correlation: Fisher 1925, chapter 7).

Where the columns settle the label, twins agree without being copies. So no more rows are called copies than are alike beyond
what columns as coarse as these, were they independent, make alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.statistics.resampling import Floats

SURE = 1.96  # standard errors
FEW = 20  # twins: fewer say nothing of how often labels agree
LEAST = 0.25  # of the twins: rows of one small area, or household, agree somewhat more than the columns explain


@dataclass(frozen=True)
class Twins:
    """Held-out rows that have an equal row in training, in all that a model sees.

    agreement: how often the labels of the two are equal; by_chance: how often they would be were none a copy. copies:
    share of the twins that are copies, `low` its lower bound; NaN without a twin. coarse: twins that independent columns
    of these values would make.
    """

    held_out: int
    count: int
    agreement: float = float("nan")
    by_chance: float = float("nan")
    copies: float = float("nan")
    low: float = float("nan")
    coarse: float = 0.0

    def exceeds(self, limit: float) -> bool:
        """Whether more than `limit` of the held-out rows are copies, surely."""
        surely = min(self.low * self.count, self.count - self.coarse)
        return self.count >= FEW and self.low > LEAST and surely > limit * self.held_out

    def __str__(self) -> str:
        alike = f"{self.count} of {self.held_out} ({self.count / max(1, self.held_out):.2%}) have an equal row in training"
        if not self.count or np.isnan(self.copies):
            return alike
        share = np.clip([self.copies, self.low], 0, 1)
        return (
            f"{alike}; their labels agree in {self.agreement:.1%}, chance makes {self.by_chance:.1%}: "
            f"{share[0]:.0%} of them are copies (at least {share[1]:.0%}); columns as coarse as these make "
            f"{self.coarse / self.held_out:.0%} of the rows alike"
        )


def find(
    train: pa.Table, labels: NDArray[Any], test: pa.Table, held_out: NDArray[Any], score: Callable[[NDArray[np.intp]], Floats]
) -> Twins:
    """Twins of held-out rows among the training rows.

    Args:
        train, test: the columns that a model sees, of either side; no entity is on both.
        labels, held_out: of their rows.
        score: the probability of a label of 1 that a model, fitted on the training side, gives the held-out rows at these
            places.
    """
    learnt, seen = digests(train, test)
    kinds, kind, rows = np.unique(learnt, return_inverse=True, return_counts=True)
    place = np.minimum(np.searchsorted(kinds, seen), len(kinds) - 1)
    twins = np.flatnonzero(kinds[place] == seen)
    if not len(twins):
        return Twins(test.num_rows, 0)
    rate = (np.bincount(kind, weights=labels) / rows)[place[twins]]  # of its twins' labels
    own, expected = held_out[twins], score(twins)
    together, variance = (own - expected) * (rate - expected), expected * (1 - expected)
    share = together.sum() / variance.sum()
    spread = np.bincount(place[twins], weights=together - share * variance)  # equal rows stand or fall together
    error = np.sqrt((spread**2).sum()) / variance.sum()
    return Twins(
        test.num_rows,
        len(twins),
        float(np.where(own == 1, rate, 1 - rate).mean()),
        float((1 - 2 * variance).mean()),
        float(share),
        float(share - SURE * error),
        float(alike_by_chance(train, test.take(pa.array(twins))).sum()),
    )


def alike_by_chance(train: pa.Table, rows: pa.Table) -> Floats:
    """The probability of each row, shape (rows,), that a training row is equal to it, were the columns independent.

    One training row with its values is not counted, as it may be the copy.
    """
    chance = np.ones(rows.num_rows)
    for name in train.column_names:
        first, column = digests(train.select([name]), rows.select([name]))
        kinds, sizes = np.unique(first, return_counts=True)
        place = np.minimum(np.searchsorted(kinds, column), len(kinds) - 1)
        chance *= np.where(kinds[place] == column, sizes[place] - 1, 0) / train.num_rows
    return 1 - (1 - chance) ** train.num_rows


def digests(*tables: pa.Table) -> list[NDArray[np.uint64]]:
    """A hash of each row by its values; equal rows have equal ones, in whichever table."""
    import pandas as pd

    rows = pa.concat_tables(tables).to_pandas(strings_to_categorical=True)
    hashes = pd.util.hash_pandas_object(rows, index=False).to_numpy()
    return np.split(hashes, np.cumsum([table.num_rows for table in tables])[:-1])
