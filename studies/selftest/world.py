"""A small world whose truth is known, and models that are fitted to it: what the promotion gate is shown.

Grain of its rows: a customer and a snapshot. What customers do depends on numbers that everybody sees, and on `hint`, of which
a model sees as much as one likes (`seen`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.config.params import DataParams, Params
from pipelines.promotion.gate import Bundle

if TYPE_CHECKING:
    import pyarrow as pa

KNOWN = ("tenure", "usage", "tickets", "charges")
EFFECTS = (1.0, 0.8, 0.6, 0.0)  # in log odds, of KNOWN
HINT, INTERCEPT = 1.0, -2.6
SNAPSHOTS = 3
WOMEN = 0.25
TRAINING = 6_000  # customers: enough that two fits, and the thresholds that they choose, are alike
HELD_OUT = 2_000


def settings(params: Params) -> Params:
    """The project's own rules, on the rows of this world."""
    data = DataParams(
        dataset="selftest", as_of=None, fingerprint=None, entity="customer", time=None, target="left", protected=["gender"],
        personal=[], history_days=0, horizon_days=0, embargo_days=0,
    )  # fmt: skip
    return params.model_copy(update={"data": data})


def rows(seed: int, customers: int, seen: float = 0.0) -> pa.Table:
    """Customers' snapshots with their outcome.

    Args:
        seen: correlation of the column `hint` with what it stands for; the rest of it is noise.
    """
    import pyarrow as pa

    random = np.random.default_rng(seed)
    size = customers * SNAPSHOTS
    lasting = np.repeat(random.normal(size=(customers, len(KNOWN) + 1)), SNAPSHOTS, axis=0)
    values = 0.8 * lasting + 0.6 * random.normal(size=lasting.shape)
    chance = 1 / (1 + np.exp(-(INTERCEPT + values[:, :-1] @ np.array(EFFECTS) + HINT * values[:, -1])))
    women = np.repeat(random.random(customers) < WOMEN, SNAPSHOTS)
    return pa.table(
        {
            "customer": np.repeat(np.arange(customers), SNAPSHOTS),
            "gender": np.where(women, "f", "m"),
            "woman": women.astype(np.float64),
            **{name: values[:, number] for number, name in enumerate(KNOWN)},
            "hint": seen * values[:, -1] + np.sqrt(1 - seen**2) * random.normal(size=size),
            "left": (random.random(size) < chance).astype(np.int64),
        }
    )


@dataclass(frozen=True)
class Maker:
    """Fits the linear candidate by the project's params, and writes bundles as the stage package does."""

    params: Params
    folder: Path

    def fit(self, training: pa.Table, features: tuple[str, ...], name: str, *, indent: int | None = None) -> Bundle:
        """A version.

        Args:
            indent: of its schema.json: another one gives another file of the same meaning.
        """
        from pipelines.evaluation.evaluate import threshold_by_cost
        from pipelines.training.candidates import Rows, linear
        from pipelines.training.fitting.calibration import Uncalibrated
        from pipelines.training.fitting.graph import Calibrations, Graph

        labels = training["left"].to_numpy()
        numbers = np.column_stack([training[feature].to_numpy() for feature in features]).astype(np.float32)
        customers, none = training["customer"].to_numpy(), np.empty((len(labels), 0), np.float32)
        seen = Rows(numbers, none, labels.astype(np.int8), customers, np.ones(len(labels), np.float32), ())
        model = linear.fit(seen, self.params.candidate("linear"), seed=0, threads=1)
        scores = 1 / (1 + np.exp(-linear.margin(model, seen)))  # of training rows: six coefficients learn no row by heart
        schema: dict[str, Any] = {"numbers": list(features), "categories": {}}
        graph = Graph()
        made = graph.model(linear.write(graph, [model], schema), Calibrations(Uncalibrated(), [Uncalibrated()]), schema)
        folder = self.folder / name
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(made.SerializeToString())
        (folder / "schema.json").write_text(json.dumps(schema, indent=indent))
        threshold = threshold_by_cost(labels, scores, self.params.evaluate)
        (folder / "decision.json").write_text(json.dumps({"threshold": threshold}))
        (folder / "audit.json").write_text(json.dumps({"verdict": {"attributes": {}, "harmed": [], "inconclusive": []}}))
        manifest = {"data": {"as_of": "selftest", "fingerprint": "none"}, "split": {"salt": "selftest", "folds": 1}}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return Bundle(folder)
