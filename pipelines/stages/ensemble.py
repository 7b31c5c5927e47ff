"""Stage ensemble: the candidates' weighted mean, as one graph, where more than one of them earns a weight."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.config import params, stage
from pipelines.training import out_of_fold
from pipelines.training.ensemble import compose, cross_mean, cross_selected, mean, select, shares


def main(*, training: Path, schema: Path, models: Path, ensemble: Path) -> None:
    """Compose the enabled candidates into the folder `ensemble`: weights.json, and what a candidate has if there is one."""
    config = params.read()
    names = config.enabled
    folders = {name: models / name for name in names}
    with stage.phase("read"):
        scored = out_of_fold.read(folders, "oof.parquet")
    assert scored is not None
    labels, fold = scored.keys[config.data.target].to_numpy(), scored.keys["fold"].to_numpy()
    rounds = config.ensemble.rounds
    weights = select(labels, scored.scores, scored.weights, rounds) if len(names) > 1 else {}
    shutil.rmtree(ensemble, ignore_errors=True)
    ensemble.mkdir(parents=True)
    reason = _reason(weights, names, rounds)
    by_fold = cross_selected(labels, scored.scores, scored.weights, fold, rounds) if reason is None else []
    selection = {"weights": weights, "by_fold": by_fold, "reason": reason, "rows": len(labels)}
    stage.write_json(ensemble / "weights.json", selection)
    stage.say(f"ensemble: {reason or ', '.join(f'{weight:.2f} {name}' for name, weight in weights.items())}")
    if reason is None:
        _write(ensemble, folders, selection, scored, (training, schema), config)


def _reason(weights: dict[str, float], names: list[str], rounds: int) -> str | None:
    """Why there is no ensemble; None where there is one."""
    if rounds == 0:
        return "none: ensemble.rounds is 0"
    if len(names) == 1:
        return f"none: {names[0]} is the only candidate"
    if len(weights) == 1:
        return f"none: no mean of several is better than {next(iter(weights))} alone"
    return None


def _write(
    folder: Path,
    folders: Mapping[str, Path],
    selection: dict[str, Any],
    scored: out_of_fold.Scored,
    inputs: tuple[Path, Path],
    config: params.Params,
) -> None:
    import onnx
    import pyarrow.parquet as pq

    from pipelines import onnx_model
    from pipelines.training.fitting import calibration, folds, outputs

    features, table = json.loads(inputs[1].read_text()), pq.read_table(inputs[0])
    weights, by_fold = selection["weights"], selection["by_fold"]
    labels, fold = scored.keys[config.data.target].to_numpy(), scored.keys["fold"].to_numpy()
    values = cross_mean(scored.scores, by_fold, fold)
    margins = calibration.Margins(values, labels, fold, out_of_fold.entity_codes(scored.keys, config.data), scored.weights)
    kind, calibrations, scores = calibration.choose(margins, config.train.calibrations)
    used = [name for name in folders if name in weights or any(name in fold_weights for fold_weights in by_fold)]
    graphs = {name: onnx.load(folders[name] / "model.onnx") for name in used}
    onnx.save(compose(graphs, weights, by_fold, calibrations, features), folder / "model.onnx")
    checked = outputs.sample(len(labels), config.train.seed)
    rows = table.take(checked)
    alone = {name: onnx_model.load_graph(folders[name] / "model.onnx", features).score(rows) for name in weights}
    served = checked, calibrations.served(mean(alone, weights))
    scores, difference = outputs.check_parity(folder / "model.onnx", features, table, scores, served)
    keys = scored.keys.drop_columns("fold")
    outputs.write_scores(folder / "oof.parquet", keys, fold=fold, margin=values, score=scores, weight=scored.weights)
    if backtest := out_of_fold.read({name: folders[name] for name in weights}, "backtest.parquet"):
        late = margins.fit(kind)(mean(backtest.scores, weights))
        outputs.write_scores(folder / "backtest.parquet", backtest.keys, score=late)
    shap = {name: json.loads((folders[name] / "shap.json").read_text()) for name in weights}
    stage.write_json(folder / "shap.json", shares(shap, weights))
    auc = folds.measure("roc_auc", labels, scores)
    record = outputs.record({"weights": weights}, kind, auc, len(labels), {})
    stage.write_json(folder / "training.json", record)
    nothing: dict[str, Any] = {"metric": config.evaluate.metric, "best": None, "by_fold": [], "stopped": None, "trials": []}
    stage.write_json(folder / "trials.json", nothing)
    stage.say(
        f"ensemble: out-of-fold ROC-AUC {auc:.4f}, calibration {kind}; "
        f"the graph is within {difference:.1e} of its members' mean."
    )


if __name__ == "__main__":
    stage.run(main)
