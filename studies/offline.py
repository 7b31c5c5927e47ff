"""A version made of a table by the stages' own functions, without DVC, Prefect and Postgres: for studies that make hundreds."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.config import params, stage
from pipelines.config.params import Params
from pipelines.evaluation import evaluate
from pipelines.promotion.gate import Bundle
from pipelines.stages import ensemble as ensemble_stage
from pipelines.stages import recency as recency_stage
from pipelines.stages import split as split_stage
from pipelines.stages import train as train_stage


@dataclass(frozen=True)
class Made:
    """What the stages left in `folder`.

    table: the rows with their folds. judged: by candidate, as stage evaluate judges it. folders: of the candidates.
    """

    folder: Path
    config: Params
    table: pa.Table
    judged: dict[str, evaluate.Judged]
    folders: dict[str, Path]
    challenger: str
    since: str | None

    def write_bundle(self, as_of: str) -> Bundle:
        """What the gate reads of a bundle; the audit finds nothing."""
        name, bundle = self.challenger, self.folder / "bundle"
        threshold = evaluate.threshold_by_cost(self.judged[name].labels, self.judged[name].scores, self.config.evaluate)
        bundle.mkdir()
        shutil.copyfile(self.folders[name] / "model.onnx", bundle / "model.onnx")
        shutil.copyfile(self.folder / "data/schema.json", bundle / "schema.json")
        stage.write_json(bundle / "decision.json", {"candidate": name, "threshold": threshold})
        stage.write_json(bundle / "audit.json", {"verdict": {"attributes": {}, "harmed": [], "inconclusive": []}})
        data = {"as_of": as_of, "fingerprint": as_of}
        manifest = {"data": data, "split": self.config.split.model_dump(), "present_since": self.since}
        stage.write_json(bundle / "manifest.json", manifest)
        return Bundle(bundle)


def retrain(rows: pa.Table, values: dict[str, Any], folder: Path) -> Made:
    """Split, recency, train and ensemble, and the choice of the challenger.

    Args:
        values: the content of params.yaml.
        folder: is made anew.
    """
    from ruamel.yaml import YAML

    shutil.rmtree(folder, ignore_errors=True)
    (folder / "data").mkdir(parents=True)
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        YAML().dump(values, Path("params.yaml"))
        pq.write_table(rows, "data/rows.parquet")
        stage.write_json(Path("data/validation.json"), {"success": True})
        data, schema, past = Path("data/training.parquet"), Path("data/schema.json"), Path("data/recency.json")
        split_stage.main(rows=Path("data/rows.parquet"), verdict=Path("data/validation.json"), training=data, schema=schema)
        recency_stage.main(training=data, schema=schema, recency=past)
        config, models = params.read(), Path("models")
        for name in config.enabled:
            train_stage.main(candidate=name, training=data, schema=schema, past=past, model=models / name)
        ensemble_stage.main(training=data, schema=schema, models=models, ensemble=Path("ensemble"))
        table, since = pq.read_table(data), json.loads(past.read_text())["overall"]
        folders = evaluate.trained(models, Path("ensemble"), config.enabled)
        judged, _ = evaluate.read_judged(table, folders, config)
        sizes = {name: (path / "model.onnx").stat().st_size for name, path in folders.items()}
        chosen = evaluate.choose(judged, sizes, config.evaluate)["challenger"]
    absolute = {name: folder / path for name, path in folders.items()}
    return Made(folder, config, table, judged, absolute, chosen, since)
