"""The candidates' weighted mean, as one graph, where more than one of them earns a weight.

The weights are of maximum likelihood on the out-of-fold scores; the figures that judge the ensemble are of weights that each
fold's rows had no say in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from pipelines.training.fitting.graph import Calibrations, Graph

LEAST = 0.02  # of the mean: less changes no score by as much as it costs
EPSILON = 1e-7  # a mean is held off 0 and 1 by so much before it becomes log odds: float32 scores may round to them


def select(
    labels: NDArray[Any], scores: Mapping[str, NDArray[np.float64]], weights: NDArray[Any], rounds: int
) -> dict[str, float]:
    """Weight of each candidate that earns one; they sum to 1.

    The likelihood of the labels under the weighted mean probability rises with every round of expectation maximisation
    (Dempster et al. 1977), from equal weights on. The fewer labels there are, the slower it moves away from these: greedy
    selection by ROC-AUC (Caruana et al. 2004) chose by luck where positives were few (docs/studies/accuracy.md). A weight below
    LEAST is not worth a model.

    Args:
        labels, weights: of each row, and what it counts, shape (rows,).
        scores: out-of-fold probabilities by candidate, each (rows,).
    """
    import numpy as np

    likely = np.column_stack([np.where(labels == 1, values, 1 - values) for values in scores.values()])
    likely = np.maximum(likely, EPSILON)  # a label that all of them rule out says nothing about their weights
    shares = np.full(likely.shape[1], 1 / likely.shape[1])
    for _ in range(rounds):
        claims = likely * shares
        shares = weights @ (claims / claims.sum(axis=1, keepdims=True))
        shares /= shares.sum()
    kept = np.where(shares >= LEAST, shares, 0.0)
    weighted = zip(scores, (kept / kept.sum()).tolist(), strict=True)
    return {name: round(share, 6) for name, share in weighted if share}


def cross_selected(
    labels: NDArray[Any], scores: Mapping[str, NDArray[np.float64]], weights: NDArray[Any], fold: NDArray[Any], rounds: int
) -> list[dict[str, float]]:
    """For each fold the weights that the rows of the other folds choose."""
    kept = [fold != number for number in range(int(fold.max()) + 1)]
    return [
        select(labels[mask], {name: values[mask] for name, values in scores.items()}, weights[mask], rounds) for mask in kept
    ]


def mean(scores: Mapping[str, NDArray[np.float64]], weights: Mapping[str, float]) -> NDArray[np.float64]:
    """Log odds of the weighted mean probability, (rows,)."""
    import numpy as np
    from scipy.special import logit

    total = sum(weight * scores[name] for name, weight in weights.items())
    return logit(np.clip(total, EPSILON, 1 - EPSILON))


def cross_mean(
    scores: Mapping[str, NDArray[np.float64]], by_fold: list[dict[str, float]], fold: NDArray[Any]
) -> NDArray[np.float64]:
    """Log odds of each row's mean by the weights of its fold, (rows,)."""
    import numpy as np

    margins = np.empty(len(fold))
    for number, weights in enumerate(by_fold):
        in_fold = fold == number
        margins[in_fold] = mean({name: values[in_fold] for name, values in scores.items()}, weights)
    return margins


def compose(
    members: Mapping[str, onnx.ModelProto],
    weights: Mapping[str, float],
    by_fold: list[dict[str, float]],
    calibrations: Calibrations,
    schema: dict[str, Any],
) -> onnx.ModelProto:
    """One graph of the members' graphs, whose inputs they share, and of their weighted means, calibrated.

    Args:
        members: graphs of all candidates that have a weight anywhere.
    """
    import numpy as np
    from onnx import TensorProto

    from pipelines.training.fitting.graph import Graph

    graph, served, folds = Graph(), [], []
    for name, member in members.items():
        probability, of_folds = (
            graph.add("Cast", [output], f"{name}:double", to=TensorProto.DOUBLE)
            for output in include(graph, member.graph, f"{name}/")
        )
        fold_weights = np.array([[fold.get(name, 0.0) for fold in by_fold]])
        if name in weights:
            served.append(graph.add("Mul", [probability, graph.constant("weight", weights[name], np.float64)], "weighted"))
        folds.append(graph.add("Mul", [of_folds, graph.constant("weights", fold_weights, np.float64)], "weighted_folds"))
    margin, margins = (_log_odds(graph, parts) for parts in (served, folds))
    columns = [graph.column(margins, number) for number in range(len(by_fold))]
    calibrated = [calibration.write(graph, column) for calibration, column in zip(calibrations.folds, columns, strict=True)]
    return graph.finish(calibrations.served.write(graph, margin), calibrated, schema)


def _log_odds(graph: Graph, parts: list[str]) -> str:
    import numpy as np

    ends = [graph.constant("least", EPSILON, np.float64), graph.constant("most", 1 - EPSILON, np.float64)]
    within = graph.add("Clip", [graph.add("Sum", parts, "mean"), *ends], "within")
    complement = graph.add("Sub", [graph.constant("one", 1.0, np.float64), within], "rest")
    return graph.add("Log", [graph.add("Div", [within, complement], "odds")], "log_odds")


def include(graph: Graph, member: onnx.GraphProto, prefix: str) -> list[str]:
    """Append a member's nodes and constants under a prefix; names of its outputs. Its inputs keep their names."""
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
    return [prefix + output.name for output in member.output]


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
