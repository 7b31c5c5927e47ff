"""Small bundles, and rows they can score, for the tests of gate, ledger and registry."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
from onnx import TensorProto, helper

from pipelines.config import stage
from pipelines.config.params import AuditParams, DataParams, EvaluateParams, PromotionParams
from pipelines.registry import ledger, publish

EVALUATE = EvaluateParams(
    metric="roc_auc", bootstrap=200, confidence=0.95, seed=1, cost_false_negative=5, cost_false_positive=1
)
AUDIT = AuditParams(
    min_rows=200, min_positives=20, report_rows=1000, max_tpr_shortfall=0.2, max_fpr_excess=0.2, max_underestimation=None
)
PROMOTION = PromotionParams(
    mode="auto", review_hours=72, metric="cost", min_effect=0.002, max_auc_loss=0.01, max_cost_loss=0.05,
    max_calibration_error=0.25, max_calibration_loss=0.1, max_latency_factor=2, latency_allowance_us=1000,
    batch_allowance_us=20, max_tpr_loss=0.05, max_fpr_gain=0.1,
)  # fmt: skip
FAIR = {"attributes": {"gender": "none"}, "harmed": [], "inconclusive": []}
SPLIT = {"salt": "salt", "folds": 5}
OLD_SPLIT = {"salt": "salt", "test_share": 0.3, "newest_snapshots": 0}  # of versions from before cross-fitting


def params(**sections) -> SimpleNamespace:
    """What the gate reads of params.yaml, of a table without clock and groups."""
    data = DataParams(
        dataset="churn", as_of=None, fingerprint=None, entity="customer_id", time=None, target="churned", protected=[],
        personal=[], history_days=1, horizon_days=1, embargo_days=1,
    )  # fmt: skip
    return SimpleNamespace(**{"data": data, "audit": AUDIT, "evaluate": EVALUATE, "promotion": PROMOTION} | sections)


def sigmoid(margin):
    return 1 / (1 + np.exp(-margin))


def customers(seed: int, rows: int = 3000):
    """Two features that matter, a label drawn from sigmoid(1.5 strong + weak), and a customer for every three rows."""
    random = np.random.default_rng(seed)
    strong, weak = random.normal(size=rows), random.normal(size=rows)
    labels = (random.random(rows) < sigmoid(1.5 * strong + weak)).astype(np.int64)
    return strong, weak, labels, np.arange(rows) // 3


def held_out_rows() -> pa.Table:
    strong, weak, labels, entities = customers(1)
    return pa.table({"customer_id": entities, "strong": strong, "weak": weak, "churned": labels})


def evaluation(challenger: str = "lightgbm", gain: float = 0.01, **points: float | None) -> dict:
    """evaluation.json of a good model, with some figures replaced."""
    figures = {"roc_auc": 0.8, "log_loss": 0.3, "brier": 0.1, "calibration_error": 0.01, "precision": None} | points
    candidate = {
        "metrics": {name: _around(value) for name, value in figures.items()},
        "against_baseline": _around(gain, 0.005),
    }
    counts = {"rows": 1000, "entities": 400, "positives": 200, "base_rate": 0.2}
    return {
        "challenger": challenger,
        "baseline": "linear",
        "metric": "roc_auc",
        **counts,
        "candidates": {challenger: candidate},
    }


def _around(point: float | None, margin: float = 0.01) -> dict[str, float | None]:
    ends = (None, None, None) if point is None else (point, point - margin, point + margin)
    return dict(zip(("point", "low", "high"), ends, strict=True))


def write(
    folder: Path,
    weights: dict[str, float],
    model: str = "churn",
    split: dict = SPLIT,
    threshold: float = 0.5,
    since: str | None = None,
    folds: list[dict[str, float]] | None = None,
) -> Path:
    """A bundle whose probability is sigmoid(sum of weight * number).

    Args:
        folds: weights of each fold's model, by default the same; one from before cross-fitting has none.
    """
    folder.mkdir(parents=True)
    of_folds = folds or [weights] * split.get("folds", 0)
    names = list(dict.fromkeys(name for each in (weights, *of_folds) for name in each))
    served, *own = ([each.get(name, 0.0) for name in names] for each in (weights, *of_folds))
    (folder / "model.onnx").write_bytes(_graph(served, own))
    (folder / "schema.json").write_text(json.dumps({"numbers": names, "categories": {}}))
    (folder / "evaluation.json").write_text(json.dumps(evaluation()))
    (folder / "audit.json").write_text(json.dumps({"verdict": FAIR}))
    (folder / "card.md").write_text("# card")
    (folder / "decision.json").write_text(json.dumps({"candidate": "lightgbm", "threshold": threshold}))
    manifest = {
        "model": model,
        "candidate": "lightgbm",
        "data": {
            "as_of": "2024-12-31",
            "fingerprint": "abc",
            "binds": {"as_of": "2024-12-31"},
            "rows": 1000,
            "columns": dict.fromkeys(names, "double"),
            "sql_sha256": "0" * 64,
        },
        "data_manifest_sha256": "d" * 64,
        "split": split,
        "present_since": since,
        "files": {path.name: stage.sha256(path) for path in folder.iterdir()},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def keep(home: Path, weights: dict[str, float]) -> Path:
    """A bundle where versions are looked for first: in the home, under its digest."""
    draft = write(home / "models" / "draft", weights)
    return draft.rename(home / "models" / stage.sha256(draft / "manifest.json"))


def registration(bundle: Path, **changes: Any) -> ledger.Registration:
    """What the ledger keeps of a version of model churn, with some fields replaced."""
    digests = {path.name: stage.sha256(path) for path in bundle.iterdir()}
    new = ledger.Registration(
        model="churn", bundle_sha256=digests["manifest.json"], onnx_sha256=digests["model.onnx"], manifest=digests,
        data_manifest_sha256="d" * 64, params_sha256="e" * 64, git_commit="c0ffee", git_ref="refs/evergreen/runs/1",
        mlflow_run_id="run", mlflow_version=1, metrics={},
    )  # fmt: skip
    return replace(new, **changes)


def write_release(folder: Path, model: str, weights: dict[str, float] | None = None) -> publish.Release:
    """What the DAG leaves behind, in small."""
    bundle = write(folder / "bundle", weights or {"strong": 1.5}, model)
    (folder / "plots").mkdir()
    (folder / "plots" / "roc.svg").write_bytes(b"svg")
    (folder / "audit.html").write_text("<p>audit</p>")
    (folder / "training_set.sql").write_text("select 1")
    (folder / "params.yaml").write_text("model: churn\ntrain: {folds: 3}\n" + "".join(f"key{n}: {n}\n" for n in range(250)))
    return publish.Release(
        bundle=bundle,
        params=folder / "params.yaml",
        query=folder / "training_set.sql",
        reports=(folder / "plots", folder / "audit.html"),
        git_commit="c0ffee",
        git_ref="refs/evergreen/runs/1",
    )


def _graph(served: list[float], folds: list[list[float]]) -> bytes:
    """Weights of what is served, and of each fold's model."""
    columns = {"probability": [served]} | ({"fold_probabilities": folds} if folds else {})
    nodes, constants, outputs = [], [], []
    for name, models in columns.items():
        nodes += [
            helper.make_node("MatMul", ["numbers", f"{name}_weights"], [f"{name}_margin"]),
            helper.make_node("Sigmoid", [f"{name}_margin"], [name]),
        ]
        weights = np.array(models).T
        constants.append(helper.make_tensor(f"{name}_weights", TensorProto.FLOAT, weights.shape, weights.ravel()))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, len(models)]))
    numbers = helper.make_tensor_value_info("numbers", TensorProto.FLOAT, [None, len(served)])
    graph = helper.make_graph(nodes, "weighted", [numbers], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()
