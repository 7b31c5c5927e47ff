"""Stage ensemble: the candidates' weighted mean, as one graph, where more than one of them earns a weight.

Greedy selection with replacement (Caruana et al. 2004) on the cross-fitted out-of-fold scores.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import params, stage
from pipelines.errors import EvergreenError
from pipelines.fitting import calibration

if TYPE_CHECKING:
    import numpy as np
    import onnx
    import pyarrow as pa
    from numpy.typing import NDArray

    from pipelines.fitting.calibration import Calibration
    from pipelines.fitting.graph import Graph

EPSILON = 1e-7  # a mean is held off 0 and 1 by so much before it becomes log odds: float32 scores may round to them


def select(labels: NDArray, scores: Mapping[str, NDArray[np.float64]], metric: str, rounds: int) -> dict[str, float]:
    """Weight of each chosen candidate: how often it was added to the mean, as a share.

    Each round adds the candidate after which the mean's metric is highest, be it there already; the round with the
    highest metric of all counts, the earliest of equals. So one candidate alone can come out.

    Args:
        labels: shape (rows,).
        scores: out-of-fold probabilities by candidate, each (rows,).
    """
    from pipelines.fitting.folds import measure

    added: list[str] = []
    best: tuple[float, int] = (float("-inf"), 0)
    total = 0.0
    for _ in range(rounds):
        found = {name: measure(metric, labels, (total + values) / (len(added) + 1)) for name, values in scores.items()}
        name = max(found, key=found.__getitem__)  # the first of equals
        added.append(name)
        total = total + scores[name]
        if found[name] > best[0]:
            best = (found[name], len(added))
    kept = added[: best[1]]
    return {name: kept.count(name) / len(kept) for name in scores if name in kept}


def mean(scores: Mapping[str, NDArray[np.float64]], weights: Mapping[str, float]) -> NDArray[np.float64]:
    """Log odds of the weighted mean probability, (rows,)."""
    import numpy as np
    from scipy.special import logit

    total = sum(weight * scores[name] for name, weight in weights.items())
    return logit(np.clip(total, EPSILON, 1 - EPSILON))


def compose(
    members: Mapping[str, onnx.ModelProto], weights: Mapping[str, float], schema: dict[str, Any], chosen: Calibration
) -> onnx.ModelProto:
    """One graph of the members' graphs, whose inputs they share, and of their weighted mean, calibrated."""
    import numpy as np

    from pipelines.fitting.graph import Graph, TensorProto

    graph, parts = Graph(), []
    for name, weight in weights.items():
        probability = include(graph, members[name].graph, f"{name}/")
        double = graph.add("Cast", [probability], f"{name}:double", to=TensorProto.DOUBLE)
        parts.append(graph.add("Mul", [double, graph.constant(f"{name}:weight", weight, np.float64)], f"{name}:weighted"))
    total = graph.add("Sum", parts, "mean")
    ends = [graph.constant("least", EPSILON, np.float64), graph.constant("most", 1 - EPSILON, np.float64)]
    within = graph.add("Clip", [total, *ends], "within")
    rest = graph.add("Sub", [graph.constant("one", 1.0, np.float64), within], "rest")
    odds = graph.add("Log", [graph.add("Div", [within, rest], "odds")], "log_odds")
    return graph.model(odds, chosen, schema)


def include(graph: Graph, member: onnx.GraphProto, prefix: str) -> str:
    """Append a member's nodes and constants under a prefix; name of its probability. Its inputs keep their names."""
    import onnx

    kept = {value.name for value in member.input} | {""}

    def renamed(names: Any) -> list[str]:
        return [name if name in kept else prefix + name for name in names]

    for node in member.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = prefix + node.name
        copy.input[:], copy.output[:] = renamed(node.input), renamed(node.output)
        graph.nodes.append(copy)
    for constant in member.initializer:
        copied = onnx.TensorProto()
        copied.CopyFrom(constant)
        copied.name = prefix + constant.name
        graph.constants.append(copied)
    return prefix + member.output[0].name


def shares(shap: Mapping[str, dict[str, float]], weights: Mapping[str, float]) -> dict[str, float]:
    """Each feature's share of the members' mean absolute SHAP values, weighted as the members are; they sum to 1.

    Not the ensemble's own SHAP values: the members' stand for them.
    """
    totals = {name: sum(shap[name].values()) or 1.0 for name in weights}
    features = next(iter(shap.values()))
    return {
        feature: round(sum(weight * shap[name][feature] / totals[name] for name, weight in weights.items()), 9)
        for feature in features
    }


def out_of_fold(models: Path, names: list[str], data: params.DataParams) -> tuple[pa.Table, dict[str, NDArray[np.float64]]]:
    """Keys, target and `fold` of the rows that all the candidates have scored out of fold, and each one's scores."""
    import pyarrow.parquet as pq

    shared = [*data.key_columns, data.target, "fold"]
    joined = None
    for name in names:
        if not (models / name / "oof.parquet").exists():
            raise EvergreenError(f"{models / name / 'oof.parquet'} is missing: run `dvc repro`, which trains {name} first.")
        scored = pq.read_table(models / name / "oof.parquet").drop_columns("margin")
        scored = scored.rename_columns({"score": f"score_{name}"})
        joined = scored if joined is None else joined.join(scored, shared, join_type="inner", use_threads=False)
    joined = joined.sort_by([(key, "ascending") for key in data.key_columns])
    return joined.select(shared), {name: joined[f"score_{name}"].to_numpy() for name in names}


def main(*, train: Path, schema: Path, models: Path, ensemble: Path) -> None:
    """Compose the enabled candidates into the folder `ensemble`: weights.json, and what a candidate has if there is one."""
    config = params.read()
    names, metric = config.enabled, config.evaluate.metric
    with stage.phase("read"):
        rows, scores = out_of_fold(models, names, config.data)
    labels = rows[config.data.target].to_numpy()
    weights = select(labels, scores, metric, config.ensemble.rounds) if len(names) > 1 else {}
    shutil.rmtree(ensemble, ignore_errors=True)
    ensemble.mkdir(parents=True)
    said = _reason(weights, names, config.ensemble.rounds)
    stage.write_json(ensemble / "weights.json", {"metric": metric, "weights": weights, "reason": said, "rows": len(labels)})
    stage.say(f"ensemble: {said or ', '.join(f'{weight:.2f} {name}' for name, weight in weights.items())}")
    if said is None:
        _write(ensemble, models, weights, rows, mean(scores, weights), (train, schema), config)


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
    models: Path,
    weights: dict[str, float],
    rows: pa.Table,
    margins: NDArray[np.float64],
    inputs: tuple[Path, Path],
    config: params.Params,
) -> None:
    import onnx
    import pyarrow.parquet as pq

    from pipelines import scoring
    from pipelines.fitting import folds, outputs

    features, table = json.loads(inputs[1].read_text()), pq.read_table(inputs[0])
    labels, fold = rows[config.data.target].to_numpy(), rows["fold"].to_numpy()
    customers = rows[config.data.entity].combine_chunks().dictionary_encode().indices.to_numpy()
    chosen, scores = calibration.choose(margins, labels, fold, customers, config.train.calibrations)
    members = {name: onnx.load(models / name / "model.onnx") for name in weights}
    onnx.save(compose(members, weights, features, chosen), folder / "model.onnx")
    alone = {name: scoring.load_graph(models / name / "model.onnx", features).score(table) for name in weights}
    difference = outputs.check_parity(folder / "model.onnx", features, table, chosen(mean(alone, weights)))
    outputs.write_scores(folder / "oof.parquet", rows.drop_columns("fold"), fold, margins, scores)
    shap = {name: json.loads((models / name / "shap.json").read_text()) for name in weights}
    stage.write_json(folder / "shap.json", shares(shap, weights))
    auc = folds.measure("roc_auc", labels, scores)
    record = outputs.record({"weights": weights}, chosen, auc, len(labels), {})
    stage.write_json(folder / "training.json", record)
    stage.write_json(folder / "trials.json", {"metric": config.evaluate.metric, "best": None, "stopped": None, "trials": []})
    stage.say(
        f"ensemble: out-of-fold ROC-AUC {auc:.4f}, calibration {chosen.kind}; "
        f"the graph is within {difference:.1e} of its members' mean on every row."
    )


if __name__ == "__main__":
    stage.run(main)
