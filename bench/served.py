"""What the API is measured with: rows, LightGBM of 400 trees on them in both ways to serve it, and the other candidates."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import features
from pipelines.config import params, stage
from pipelines.config.params import DataParams, FeaturesParams
from pipelines.config.settings import Settings
from pipelines.registry import ledger
from serving import columns, keys

if TYPE_CHECKING:
    import pyarrow as pa

TRAINING_ROWS, TREES = 20_000, 400
THREADS = 1  # several would wait for one another on a busy machine
MODEL = "bench-api"
OTHERS = ("linear", "forest", "boosting", "mlp")
NUMBERS, TEXTS = 14, 4


def table(seed: int = 1) -> pa.Table:
    """Rows to train on: numbers, texts and a label that depends on both."""
    import numpy as np
    import pyarrow as pa

    random = np.random.default_rng(seed)
    numbers = {f"number_{index}": random.normal(size=TRAINING_ROWS).round(4) for index in range(NUMBERS)}
    texts = {f"text_{index}": random.choice(["red", "green", "blue", "white"], TRAINING_ROWS) for index in range(TEXTS)}
    odds = -2 + numbers["number_0"] + (texts["text_0"] == "red")
    label = (random.random(TRAINING_ROWS) < 1 / (1 + np.exp(-odds))).astype("int32")
    return pa.table({"customer_id": np.arange(TRAINING_ROWS), "churned": label, **numbers, **texts})


def fit(rows: pa.Table, folder: Path) -> dict[str, Any]:
    """The same trees as a scikit-learn pipeline and as a bundle; a row to ask for."""
    import joblib
    import lightgbm
    import numpy as np
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    data = DataParams(
        dataset="bench", as_of=None, fingerprint=None, entity="customer_id", time=None, target="churned", protected=[],
        personal=[], history_days=0, horizon_days=0, embargo_days=0,
    )  # fmt: skip
    schema = features.learn_schema(rows, data, FeaturesParams(exclude=[], min_category_rows=30, max_categories=50))
    labels = rows["churned"].to_numpy()
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    transform = ColumnTransformer([("numbers", "passthrough", schema["numbers"]), ("texts", encoder, [*schema["categories"]])])
    transform.set_output(transform="pandas")
    trees = lightgbm.LGBMClassifier(n_estimators=TREES, n_jobs=1, verbosity=-1)
    joblib.dump(make_pipeline(transform, trees).fit(rows.to_pandas(), labels), folder / "pipeline.joblib")
    matrix = np.hstack([features.numbers(rows, schema), features.codes(rows, schema)])
    booster = lightgbm.train(
        {"objective": "binary", "num_threads": THREADS, "verbosity": -1}, lightgbm.Dataset(matrix, labels), TREES
    )
    write_bundle(folder / "bundle", schema, graph_of("lightgbm", booster, schema))
    return columns.example(columns.Columns.of(schema, {}, "customer_id", 1000), schema)


def graph_of(name: str, model: Any, schema: dict[str, Any]) -> bytes:
    """The graph of one fitted model of a candidate, not calibrated."""
    from pipelines.training.fitting.calibration import Uncalibrated
    from pipelines.training.fitting.graph import Calibrations, Graph

    graph, module = Graph(), importlib.import_module(f"pipelines.training.candidates.{name}")
    calibrations = Calibrations(Uncalibrated(), [Uncalibrated()])
    return graph.model(module.write(graph, [model], schema), calibrations, schema).SerializeToString()


def export_other(name: str, rows: pa.Table, config: params.Params, folder: Path) -> None:
    """Another candidate, with its values in params.yaml, as a bundle beside the first one's."""
    import numpy as np

    from pipelines.training.candidates import Rows

    schema = json.loads((folder.parent / "bundle" / "schema.json").read_text())
    known = tuple(len(values) for values in schema["categories"].values())
    labels, customers = rows["churned"].to_numpy().astype(np.int8), rows["customer_id"].to_numpy()
    weights = np.ones(len(labels), np.float32)
    learned = Rows(features.numbers(rows, schema), features.codes(rows, schema), labels, customers, weights, known)
    module, section = importlib.import_module(f"pipelines.training.candidates.{name}"), config.candidate(name)
    if hasattr(section, "max_rounds"):  # as many as LightGBM has: early stopping would have found some
        section = section.with_values({"max_rounds": TREES})
    fitted = module.fit(learned, section, seed=1, threads=THREADS)
    folder.mkdir()
    write_bundle(folder / "bundle", schema, graph_of(name, fitted, schema))


def write_bundle(folder: Path, schema: dict[str, Any], graph: bytes) -> None:
    """A bundle as far as the API reads it; one graph differs from another in the manifest as well."""
    folder.mkdir()
    (folder / "model.onnx").write_bytes(graph)
    evaluation = {"rows": 0, "entities": 0, "positives": 0, "candidates": {"lightgbm": {"metrics": {}}}}
    decision = {"candidate": "lightgbm", "threshold": 0.2}
    for name, content in {"schema": schema, "evaluation": evaluation, "decision": decision}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    (folder / "manifest.json").write_text(
        json.dumps({"data": {}, "files": {"model.onnx": stage.sha256(folder / "model.onnx")}})
    )


def publish(own: Settings, folder: Path, model: str = MODEL) -> str:
    """Make the bundle champion of a model of its own; a key to ask with."""
    bundle = folder / "bundle"
    digests = {path.name: stage.sha256(path) for path in bundle.iterdir()}
    version = ledger.register_version(
        own.evergreen_url,
        ledger.Registration(
            model=model, bundle_sha256=digests["manifest.json"], onnx_sha256=digests["model.onnx"], manifest=digests,
            data_manifest_sha256="", params_sha256="", git_commit="", git_ref="", mlflow_run_id="", mlflow_version=1,
            metrics={},
        ),
    )  # fmt: skip
    shutil.copytree(bundle, own.home / "models" / version.bundle_sha256, dirs_exist_ok=True)
    if ledger.champion(own.evergreen_url, model) is None:
        decision = {"actor": "bench", "reason": "to be measured", "verdict": {"outcome": "promoted"}}
        ledger.promote(own.evergreen_url, model, version.version, expected_revision=0, **decision)
    return keys.create(own.evergreen_url, "bench", ["predict"])
