"""Stage train: one candidate, tuned, cross-validated, calibrated out of fold, and exported as one ONNX graph.

Class imbalance is met by stratified folds, calibration and a threshold from costs. Rows are neither resampled
nor reweighted: that would distort the probabilities that the threshold needs.
"""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pipelines import params, stage
from pipelines.candidates import Rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipelines.fitting.folds import CrossValidation

BACKGROUND_ROWS = 100  # what an absent feature is drawn from, where SHAP values are sampled
PERMUTATIONS = 8  # orders of the features in which each sampled SHAP value is averaged


def shap_summary(
    candidate: ModuleType, model: Any, rows: Rows, names: list[str], train: params.TrainParams
) -> dict[str, float]:
    """Mean absolute SHAP value of each feature, in log odds, over a sample of rows."""
    import numpy as np

    random = np.random.default_rng(train.seed)
    count = min(train.explain_rows, len(rows.labels))
    sample = rows.take(np.sort(random.choice(len(rows.labels), size=count, replace=False)))
    if hasattr(candidate, "explain"):
        values = candidate.explain(model, sample)
    else:
        from pipelines import shapley

        others = random.choice(len(rows.labels), size=min(BACKGROUND_ROWS, len(rows.labels)), replace=False)
        background = rows.take(np.sort(others))
        values = shapley.sampled(
            lambda some: candidate.margin(model, some), sample, background, permutations=PERMUTATIONS, seed=train.seed
        )
    strength = np.abs(values).mean(axis=0)
    return {name: round(float(value), 9) for name, value in zip(names, strength, strict=True)}


def cross_validation(
    candidate: ModuleType, rows: Rows, checkpoints: Path, config: params.Params
) -> tuple[NDArray[np.bool_], CrossValidation]:
    """Which rows are cross-validated, (rows,), and how."""
    from pipelines.fitting import folds

    used = folds.sample_customers(rows, config.train.cv_rows, config.train.seed)
    fitter = folds.Fitter(candidate, config.train.seed, config.train.threads, checkpoints)
    sample = rows.take(used)
    fold = folds.fold_of(sample, config.train.folds, config.train.seed)
    return used, folds.CrossValidation(fitter, sample, fold, config.evaluate.metric)


def main(*, candidate: str, train: Path, schema: Path, model: Path, checkpoints: Path) -> None:
    """Train one candidate into the folder `model`: model.onnx, oof.parquet, shap.json, training.json, trials.json.

    `checkpoints` holds what an interrupted fit had; it is gone from there when the stage ends well.
    """
    config = params.read()
    os.environ["OMP_NUM_THREADS"] = str(config.train.threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin for work take a busy machine's cores
    import onnx
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pipelines.fitting import calibration, folds, outputs, tune

    module = importlib.import_module(f"pipelines.candidates.{candidate}")
    section = config.candidate(candidate)
    with stage.phase("read"):
        table, features = pq.read_table(train), json.loads(schema.read_text())
    rows = folds.as_rows(table, features, config.data)
    used, validation = cross_validation(module, rows, checkpoints, config)
    tuned = tune.tune(validation, section, config.tune)
    if tuned is None:
        return
    margins = folds.cross_validate(validation, tuned.section) if tuned.margins is None else tuned.margins
    labels = validation.rows.labels
    chosen, scores = calibration.choose(margins, labels, validation.fold, validation.rows.customers, config.train.calibrations)
    fitted = validation.fitter.fit(rows, tuned.section)
    stage.fault("train:fitted")

    model.mkdir(parents=True, exist_ok=True)
    onnx.save(module.export(fitted, features, chosen), model / "model.onnx")
    difference = outputs.check_parity(model / "model.onnx", features, table, chosen(module.margin(fitted, rows)))
    keys = table.select([*config.data.key_columns, config.data.target]).filter(pa.array(used))
    with stage.phase("write"):
        outputs.write_scores(model / "oof.parquet", keys, validation.fold, margins, scores)
    names = [*features["numbers"], *features["categories"]]
    stage.write_json(model / "shap.json", shap_summary(module, fitted, rows, names, config.train))
    stage.write_json(model / "trials.json", tuned.trials)
    auc = folds.measure("roc_auc", labels, scores)
    facts = module.facts(fitted) if hasattr(module, "facts") else {}
    record = outputs.record(tuned.section.model_dump(), chosen, auc, len(labels), facts)
    stage.write_json(model / "training.json", record)
    validation.fitter.forget()
    stage.say(
        f"{candidate}: out-of-fold ROC-AUC {auc:.4f}, calibration {chosen.kind}; "
        f"the graph is within {difference:.1e} of the model on every row."
    )


if __name__ == "__main__":
    stage.run(main)
