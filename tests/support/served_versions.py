"""Small versions to serve: numbers, a boolean and texts, a graph of stumps that any row can go through."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from pipelines.config import stage
from pipelines.registry import ledger
from pipelines.training.fitting.calibration import Uncalibrated
from pipelines.training.fitting.graph import Calibrations, Graph, Trees
from serving.version import Served
from tests.support import bundles

KNOWN = {"plan": ["basic", "fiber"], "contract type": ["month-to-month", "two year"]}
SCHEMA = {
    "numbers": ["tenure_months", "monthly_charges", "senior"],
    "categories": KNOWN,
    "ranges": {"tenure_months": [0.0, 72.0], "monthly_charges": [18.25, 118.75], "senior": [0.0, 1.0]},
}
TYPES = {"tenure_months": "int32", "monthly_charges": "double", "senior": "bool", "plan": "string", "contract type": "string"}
ROW = {"tenure_months": 5, "monthly_charges": 70.5, "senior": False, "plan": "fiber", "contract type": "two year"}
FIGURE = {"point": 0.8, "low": 0.7, "high": 0.9}
STUMPS = [(0, 12.0, 1.5, -0.5), (1, 65.0, -0.7, 0.7), (2, 0.5, 0.0, 0.3), (3, 2.5, 0.4, -0.2), (4, 2.5, 0.6, -0.9)]


def graph(shift: float = 0.0):
    """sigmoid(sum of stumps + shift); a stump gives its first value at or below the threshold, and where it is missing."""
    count = len(STUMPS)
    feature, threshold, below, above = (np.array(column, dtype=float) for column in zip(*STUMPS, strict=True))
    leaf = np.full(count, -1)
    trees = Trees(
        node=np.tile([0, 1, 2], count),
        feature=np.column_stack([feature, leaf, leaf]).ravel().astype(np.int64),
        threshold=np.column_stack([threshold, np.zeros((count, 2))]).ravel(),
        left=np.tile([1, 0, 0], count),
        right=np.tile([2, 0, 0], count),
        missing_left=np.tile([True, False, False], count),
        value=np.column_stack([np.zeros(count), below, above]).ravel(),
        base=shift,
    )
    made = Graph()
    margins = made.sum_of_trees(made.features(SCHEMA), [trees])
    return made.model(margins, Calibrations(Uncalibrated(), [Uncalibrated()]), SCHEMA)


def write(folder: Path, *, model: str = "churn", shift: float = 0.0, threshold: float = 0.5, background: bool = True) -> Path:
    """A bundle as `package` makes it, as far as the API reads it."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(graph(shift).SerializeToString())
    binds = {"as_of": "2024-12-31", "history_days": "366", "horizon_days": "30", "embargo_days": "14"}
    data = {"rows": 1000, "as_of": "2024-12-31", "fingerprint": "abc", "binds": binds, "columns": TYPES}
    evaluation = {
        "challenger": "lightgbm", "rows": 300, "entities": 200, "positives": 40,
        "candidates": {"lightgbm": {"metrics": {"roc_auc": FIGURE}}},
    }  # fmt: skip
    serving = {
        "entity": "customer_id", "target": "churned", "max_rows": 100, "explain_permutations": 32,
        "tiers": [["low", 0.0], ["high", threshold]],
    }  # fmt: skip
    files = {
        "schema": SCHEMA, "decision": {"candidate": "lightgbm", "threshold": threshold}, "serving": serving,
        "evaluation": evaluation, "audit": {"verdict": {"attributes": {"gender": "none"}}},
    }  # fmt: skip
    if background:
        random = np.random.default_rng(1)
        numbers = [random.integers(0, 72, 80), random.uniform(18, 118, 80), random.random(80) < 0.2]
        columns = [column.tolist() for column in (*numbers, *(random.choice(values, 80) for values in KNOWN.values()))]
        files["background"] = [list(row) for row in zip(*columns, strict=True)]
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    manifest = {"model": model, "candidate": "lightgbm", "data": data, "data_manifest_sha256": "d" * 64}
    manifest["files"] = {path.name: stage.sha256(path) for path in folder.iterdir()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {path.name: stage.sha256(path) for path in folder.iterdir()}


def registration(folder: Path, model: str = "churn") -> ledger.Registration:
    return bundles.registration(folder, model=model, metrics={"roc_auc": 0.8})


def champion(folder: Path, version: int = 1) -> ledger.Champion:
    fields = vars(registration(folder)) | {"version": version, "revision": version, "sequence": version}
    return ledger.Champion(**fields, created_at=datetime(2025, 1, 1, tzinfo=UTC))


def served(folder: Path, version: int = 1, **options) -> Served:
    """A version in memory, from a bundle that is written for it."""
    made = write(folder, **options)
    return Served.load(champion(made, version), made)


def promote(url: str, models: Path, shift: float, model: str = "churn") -> ledger.Version:
    """A version that differs by its shift, published into a folder of bundles and made champion."""
    made = write(models / f"draft-{shift}", shift=shift, model=model)
    version = ledger.register_version(url, registration(made, model))
    made.rename(models / version.bundle_sha256)
    now = ledger.champion(url, model)
    revision = now.revision if now else 0
    verdict = {"outcome": "promoted"}
    ledger.promote(url, model, version.version, expected_revision=revision, actor="tester", reason="because", verdict=verdict)
    return version
