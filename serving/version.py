"""A version that serves: its verified graph, what it decodes, and how a score becomes a decision and a tier."""

from __future__ import annotations

import bisect
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pipelines import onnx_model
from pipelines.config.errors import EvergreenError
from pipelines.features import read_text
from serving.columns import Columns, example
from serving.decoding import Requests

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipelines.registry.ledger import Champion

MOST_VALUES = 20  # of a text's known values that a warning lists
DESCRIPTIONS = ("manifest", "decision", "evaluation", "audit", "serving", "background")
# of versions that were packaged before the API was
EARLIER = {"entity": "entity", "target": "target", "max_rows": 1000, "explain_permutations": 128}
EARLIER_TIERS = {"low": 0.0, "medium": 0.5, "high": 1.0, "highest": 2.0}


class Warned(msgspec.Struct, frozen=True):
    """What training has not seen of a row that is scored all the same: an unknown value of a text, or a number out of range."""

    field: str
    type: str
    msg: str


@dataclass(frozen=True, eq=False)
class Served:
    """One version, ready; nothing of it is read from the disk any more.

    description: the content of its other files that the API reads, by the name before the dot.
    """

    champion: Champion
    model: onnx_model.Model = field(repr=False)
    requests: Requests = field(repr=False)
    description: Mapping[str, Any] = field(repr=False)

    @classmethod
    def load(cls, champion: Champion, folder: Path) -> Served:
        """Verify the folder against the ledger's digests, load it, and score two rows by it.

        Raises:
            EvergreenError: a file is not what was published, or the graph gives no probability.
        """
        model = onnx_model.load(folder, champion.manifest)
        description = described(folder, champion.manifest)
        served = cls(champion, model, Requests(columns_of(model.schema, description)), description)
        served.check()
        return served

    def check(self) -> None:
        """Score a row in the middle, and one of which nothing is known."""
        import numpy as np

        middle = example(self.columns, self.model.schema)
        rows = [tuple(middle.values()), (None,) * len(middle)]
        scores = self.score(rows)
        if not (np.isfinite(scores).all() and (scores >= 0).all() and (scores <= 1).all()):
            raise EvergreenError(f"{self.champion.model} {self.champion}: its graph gives {scores} for two plain rows.")

    @property
    def columns(self) -> Columns:
        return self.requests.columns

    @property
    def version(self) -> int:
        return self.champion.version

    @cached_property
    def threshold(self) -> float:
        return float(self.description["decision"]["threshold"])

    @cached_property
    def _tiers(self) -> tuple[list[str], list[float]]:
        tiers = self.description["serving"]["tiers"]
        return [tier for tier, _ in tiers], [float(start) for _, start in tiers]

    @property
    def tiers(self) -> dict[str, float]:
        """Tier -> the probability from which on it begins."""
        return dict(zip(*self._tiers, strict=True))

    def tier(self, score: float) -> str:
        names, starts = self._tiers
        return names[bisect.bisect_right(starts, score) - 1]

    @cached_property
    def _readers(self) -> list[Callable[[str], str]]:
        """For each text, how the version's SQL reads it; one that the model knows is so already."""
        rules = self.model.schema.get("texts")

        def reader(name: str, values: frozenset[str]) -> Callable[[str], str]:
            return lambda text: text if text in values else read_text(text, name, rules)

        names = self.model.schema["categories"]
        return [reader(name, values) for name, (values, _) in zip(names, self._known, strict=True)]

    @cached_property
    def windows(self) -> tuple[int, int]:
        """Days that it looks ahead, and days more until that is surely known; 0 for a table without time."""
        binds = self.description["manifest"]["data"].get("binds", {})
        return int(binds.get("horizon_days") or 0), int(binds.get("embargo_days") or 0)

    def score(self, rows: Sequence[Sequence[Any]]) -> NDArray[np.float32]:
        """Probabilities, shape (rows,), of rows in the order of `columns.kinds`; None is missing."""
        return self.model.run(self.feeds(rows))

    def feeds(self, rows: Sequence[Sequence[Any]]) -> dict[str, NDArray[Any]]:
        """What the graph is fed. numpy makes NaN of None; a text that is missing is ""."""
        import numpy as np

        numbers = len(self.model.schema["numbers"])
        features = len(self.columns.kinds)
        feeds: dict[str, NDArray[Any]] = {}
        if numbers:
            feeds["numbers"] = np.array([row[:numbers] for row in rows], dtype=np.float32)
        if features > numbers:
            readers = self._readers
            texts = [[read(text or "") for read, text in zip(readers, row[numbers:features], strict=True)] for row in rows]
            feeds["categories"] = np.array(texts, dtype=object)
        return feeds

    def warnings(self, row: Sequence[Any]) -> list[Warned]:
        """What training has not seen of a row; each is made once and for all."""
        texts = row[len(self.model.schema["numbers"]) : len(self.columns.kinds)]
        ranges = zip(*self._ranges, row, strict=False)
        warnings = [warned for low, high, warned, value in ranges if value is not None and not low <= value <= high]
        for (values, warned), read, text in zip(self._known, self._readers, texts, strict=True):
            if text is not None and text not in values and read(text) not in values:
                warnings.append(warned)
        return warnings

    @cached_property
    def _ranges(self) -> tuple[list[float], list[float], list[Warned]]:
        """Of each number the least and the greatest that training saw; without a range, anything is seen."""
        lows, highs, warned = [], [], []
        for name in self.model.schema["numbers"]:
            low, high = self.model.schema.get("ranges", {}).get(name) or (None, None)
            lows.append(-math.inf if low is None else low)
            highs.append(math.inf if high is None else high)
            sentence = "" if low is None else f"Outside what training saw: {low:g} to {high:g}."
            warned.append(Warned(name, "out_of_training_range", sentence))
        return lows, highs, warned

    @cached_property
    def _known(self) -> list[tuple[frozenset[str], Warned]]:
        """Of each text the values that the model knows, and "", which is missing."""
        by_category = []
        for name, values in self.model.schema["categories"].items():
            more = f" and {len(values) - MOST_VALUES} others" if len(values) > MOST_VALUES else ""
            listed = f"Known: {', '.join(values[:MOST_VALUES])}{more}."
            sentence = f"Training saw too few such values, or none: scored as unknown. {listed}"
            by_category.append((frozenset(["", *values]), Warned(name, "unknown_category", sentence)))
        return by_category


def described(folder: Path, digests: Mapping[str, str]) -> dict[str, Any]:
    """What a bundle's files say of it, by the name before the dot; `serving` is filled up for versions of earlier days.

    Raises:
        EvergreenError: a file is not what was published.
    """
    names = [name for name in DESCRIPTIONS if f"{name}.json" in digests]
    description = {name: json.loads(onnx_model.read(folder, f"{name}.json", digests)) for name in names}
    values = EARLIER | description.get("serving", {})
    values.setdefault("tiers", [[tier, start * description["decision"]["threshold"]] for tier, start in EARLIER_TIERS.items()])
    return description | {"serving": values}


def columns_of(schema: Mapping[str, Any], description: Mapping[str, Any]) -> Columns:
    """What a version reads, of its schema.json and its description."""
    types = description["manifest"]["data"].get("columns", {})
    return Columns.of(schema, types, description["serving"]["entity"], description["serving"]["max_rows"])
