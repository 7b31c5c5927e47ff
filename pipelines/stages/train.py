"""Stage train: one candidate, tuned, fitted once for each fold, calibrated out of fold, and exported as one ONNX graph."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path

from pipelines.config import params, stage
from pipelines.data import row_weights
from pipelines.training.train import backtest_scores, fit, fixed, refit_loss, shap_summary, validations


def main(*, candidate: str, training: Path, schema: Path, past: Path, model: Path) -> None:
    """Train one candidate into the folder `model`.

    model.onnx; oof.parquet: each row's own fold, margin and score; backtest.parquet: the same by origin, where there is time;
    shap.json: of the first fold's model on its own rows; training.json and trials.json.
    """
    config = params.read()
    os.environ["OMP_NUM_THREADS"] = str(config.train.threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin for work take a busy machine's cores
    import onnx
    import pyarrow.parquet as pq

    from pipelines.training.fitting import calibration, folds, outputs, tune
    from pipelines.training.fitting.graph import Graph

    module = importlib.import_module(f"pipelines.training.candidates.{candidate}")
    with stage.phase("read"):
        table, features, recency = pq.read_table(training), json.loads(schema.read_text()), json.loads(past.read_text())
    by_fold, origins = validations(module, table, features, recency, config)
    judged = origins if len(origins.parts) == config.evaluate.origins else by_fold
    tuned = tune.tune(judged, config.candidate(candidate), config.tune)
    weights = row_weights.weights(row_weights.days_of(table, config.data), recency["overall"])
    fitted = fit(by_fold, tuned, weights, config.train.serve)
    stage.fault("train:fitted")
    rows, fold = by_fold.rows, by_fold.fold
    margins = calibration.Margins(fitted.margins, rows.labels, fold, rows.entities, weights)
    kind, calibrations, scores = calibration.choose(margins, config.train.calibrations)

    model.mkdir(parents=True, exist_ok=True)
    graph = Graph()
    written = module.write(graph, fitted.models, features)
    onnx.save(graph.model(written, calibrations, features, refit=fitted.is_refit), model / "model.onnx")
    checked = outputs.sample(len(rows), config.train.seed)
    served = calibrations.served(fitted.served(module, rows.take(checked)))
    scores, difference = outputs.check_parity(model / "model.onnx", features, table, scores, (checked, served))
    keys = table.select([*config.data.key_columns, config.data.target])
    outputs.write_scores(model / "oof.parquet", keys, fold=fold, margin=fitted.margins, score=scores, weight=weights)
    if origins.parts:
        late = backtest_scores(origins, tuned.overall, margins, kind)
        outputs.write_scores(model / "backtest.parquet", keys.take(late["place"]), **late)
    names = [*features["numbers"], *features["categories"]]
    shap = shap_summary(module, fitted.models[0], rows.take(fold == 0), names, config.train)
    stage.write_json(model / "shap.json", shap)
    stage.write_json(model / "trials.json", tuned.trials)
    metadata = module.metadata(fitted.models[0]) if hasattr(module, "metadata") else {}
    if fitted.is_refit:
        metadata |= {f"fold_1_{name}": value for name, value in refit_loss(by_fold, fixed(by_fold, tuned)).items()}
    auc = folds.measure("roc_auc", rows.labels, scores)
    record = outputs.record(fixed(by_fold, tuned).model_dump(), kind, auc, len(rows), metadata | {"models": len(fitted.models)})
    stage.write_json(model / "training.json", record)
    stage.say(
        f"{candidate}: out-of-fold ROC-AUC {auc:.4f}, calibration {kind}; the graph is within {difference:.1e} of the models."
    )


if __name__ == "__main__":
    stage.run(main)
