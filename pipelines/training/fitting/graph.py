"""One ONNX graph for a whole version: categories, the models of all folds, their mean and its calibration.

Written node by node instead of by a converter: converters round a tree's float64 thresholds to the nearest
float32, which sends a row that lies between the two to the other leaf (measured elsewhere: 2 of 200,000 rows,
0.06 apart). Here each threshold is rounded down, so that every float32 input takes the branch it took in training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSETS = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 5)]
IR_VERSION = 10
ARRAYS = ("node", "feature", "threshold", "left", "right", "missing_left", "value")  # of Trees
AT_MOST, MEMBER = 0, 6  # how a node of TreeEnsemble asks: BRANCH_LEQ and BRANCH_MEMBER
PROBABILITY, FOLD_PROBABILITIES = "probability", "fold_probabilities"  # the outputs


@dataclass(frozen=True)
class Trees:
    """Regression trees as flat arrays, one entry a node, the trees one after the other, and each of them from node 0 on.

    `feature` is -1 at a leaf; `left` and `right` are node numbers within the tree; a row goes left when its
    value is at most `threshold`, or when it is NaN and `missing_left`; where a node has `members`, when it is one of
    them. The margin is the sum of leaf values.
    """

    node: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    missing_left: NDArray[np.bool_]
    value: NDArray[np.float64]
    base: float = 0.0
    members: Mapping[int, Sequence[float]] = field(default_factory=dict)  # by position in the arrays


class Calibration(Protocol):
    kind: str

    def __call__(self, margins: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities strictly between 0 and 1 (but for rounding), of the margins' shape."""

    def write(self, graph: Graph, margin: str) -> str:
        """Append the same to a graph: name of the probabilities, double (rows, 1), of double margins (rows, 1)."""


@dataclass(frozen=True)
class Calibrations:
    """From margins to probabilities: of what is served, and of each fold's model, fitted without that fold's rows."""

    served: Calibration
    folds: list[Calibration]


class Graph:
    """A graph being written: nodes and constants in the order they are added. A name that is taken gets a number."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._used: dict[str, int] = {}

    def add(self, operator: str, inputs: list[str], output: str, *, domain: str = "", **attributes: Any) -> str:
        """Append a node with one output; returns the output's name."""
        output = self._free(output)
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, domain=domain, **attributes))
        return output

    def constant(self, name: str, value: Any, dtype: Any) -> str:
        name = self._free(name)
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def _free(self, name: str) -> str:
        count = self._used[name] = self._used.get(name, 0) + 1
        return name if count == 1 else f"{name}.{count}"

    def codes(self, categories: dict[str, list[str]]) -> str:
        """`categories` strings (rows, m) to float codes (rows, m): 0 unknown, 1 missing (""), 2.. the known ones."""
        columns = []
        for index, values in enumerate(categories.values()):
            at = self.constant(f"column_{index}", [index], np.int64)
            text = self.add("Gather", ["categories", at], f"text_{index}", axis=1)
            columns.append(
                self.add(
                    "LabelEncoder",
                    [text],
                    f"code_{index}",
                    domain="ai.onnx.ml",
                    keys_strings=["", *values],
                    values_floats=[float(code) for code in range(1, len(values) + 2)],
                    default_float=0.0,
                )
            )
        return self.add("Concat", columns, "codes", axis=1)

    def features(self, schema: dict[str, Any]) -> str:
        """All features (rows, k), float: the numbers, then the categories' codes."""
        parts = ["numbers"] if schema["numbers"] else []
        parts += [self.codes(schema["categories"])] if schema["categories"] else []
        return self.add("Concat", parts, "features", axis=1)

    def log_odds(self, share: str, epsilon: float) -> str:
        """Margin (rows, 1), double, of shares (rows, 1) that are drawn in from 0 and 1 by `epsilon`."""
        double = self.add("Cast", [share], "share_double", to=TensorProto.DOUBLE)
        narrowed = self.add("Mul", [double, self.constant("certainty", 1 - 2 * epsilon, np.float64)], "narrowed")
        odds = self.add("Add", [narrowed, self.constant("epsilon", epsilon, np.float64)], "clipped")
        complement = self.add("Sub", [self.constant("one", 1.0, np.float64), odds], "rest")
        return self.add("Log", [self.add("Div", [odds, complement], "odds")], "log_odds")

    def bins(
        self, median: NDArray[Any], column: NDArray[Any], low: NDArray[Any], width: NDArray[Any], flagged: NDArray[Any]
    ) -> list[str]:
        """How far each number has come through each of its bins, 0 to 1 (rows, bins), and flags for missing ones."""
        absent = self.add("IsNaN", ["numbers"], "absent")
        filled = self.add("Where", [absent, self.constant("median", median, np.float32), "numbers"], "filled")
        spread = self.add("Gather", [filled, self.constant("bin_column", column, np.int64)], "spread", axis=1)
        above = self.add("Sub", [spread, self.constant("low", low, np.float32)], "above")
        share = self.add("Div", [above, self.constant("width", width, np.float32)], "bin_share")
        ends = [self.constant("bin_start", 0.0, np.float32), self.constant("bin_end", 1.0, np.float32)]
        marked = self.add("Gather", [absent, self.constant("flagged", flagged, np.int64)], "marked", axis=1)
        return [self.add("Clip", [share, *ends], "bins"), self.add("Cast", [marked], "flags", to=TensorProto.FLOAT)]

    def embeddings(self, codes: str, table: NDArray[Any], starts: NDArray[Any]) -> str:
        """Rows of `table` (all codes of all categories, size), side by side: (rows, categories x size)."""
        integers = self.add("Cast", [codes], "codes_integer", to=TensorProto.INT64)
        places = self.add("Add", [integers, self.constant("starts", starts, np.int64)], "places")
        embedded = self.add("Gather", [self.constant("table", table, np.float32), places], "embedded")
        return self.add("Flatten", [embedded], "embeddings", axis=1)

    def dense(self, inputs: str, layers: list[tuple[NDArray[Any], NDArray[Any]]]) -> str:
        """Layers of weights (in, out) and offsets (out,), with ReLU between them; the last one's output (rows, out)."""
        for index, (weights, offsets) in enumerate(layers):
            if index:
                inputs = self.add("Relu", [inputs], f"active_{index}")
            product = self.add("MatMul", [inputs, self.constant(f"weights_{index}", weights, np.float32)], f"product_{index}")
            inputs = self.add("Add", [product, self.constant(f"offsets_{index}", offsets, np.float32)], f"layer_{index}")
        return inputs

    def sum_of_trees(self, features: str, models: list[Trees]) -> str:
        """Margins (rows, models) of `features` (rows, k): one target a model."""
        trees, root, target = _joined(models)
        leaf, alone = trees.feature < 0, np.zeros(len(trees.feature), dtype=bool)
        alone[root] = leaf[root]  # a tree of one leaf: as a node that leads there either way
        inner = ~leaf | alone
        place = np.where(leaf, np.cumsum(leaf), np.cumsum(inner)) - 1  # among the leaves, or among the nodes
        ways = [np.where(alone, np.arange(len(leaf)), way)[inner] for way in (trees.left, trees.right)]
        modes = np.where(np.isin(np.flatnonzero(inner), list(trees.members)), MEMBER, AT_MOST)
        sets = [(*trees.members[at], np.nan) for at in sorted(trees.members)]
        membership = {"membership_values": _tensor(np.concatenate(sets), np.float32)} if sets else {}
        total = self.add(
            "TreeEnsemble",
            [features],
            "sums",
            domain="ai.onnx.ml",
            n_targets=len(models),
            aggregate_function=1,
            post_transform=0,
            tree_roots=(np.cumsum(inner) - 1)[root].tolist(),
            nodes_featureids=np.where(leaf, 0, trees.feature)[inner].tolist(),
            nodes_splits=_tensor(np.where(leaf, 0.0, float32_below(trees.threshold))[inner], np.float32),
            nodes_modes=_tensor(modes, np.uint8),
            nodes_truenodeids=place[ways[0]].tolist(),
            nodes_trueleafs=leaf[ways[0]].astype(int).tolist(),
            nodes_falsenodeids=place[ways[1]].tolist(),
            nodes_falseleafs=leaf[ways[1]].astype(int).tolist(),
            nodes_missing_value_tracks_true=trees.missing_left[inner].astype(int).tolist(),
            leaf_targetids=target[leaf].tolist(),
            leaf_weights=_tensor(trees.value[leaf], np.float32),
            **membership,
        )
        base = self.constant("base", [model.base for model in models], np.float32)
        return self.add("Add", [total, base], "margins")

    def model(
        self, margins: str, calibrations: Calibrations, schema: dict[str, Any], *, refit: bool = False
    ) -> onnx.ModelProto:
        """The finished graph of margins (rows, folds), with one more column, the last, where all rows were fitted again.

        `probability`, float (rows, 1), is what is served: of the refit, or else of the folds' mean margin.
        `fold_probabilities`, float (rows, folds): of each fold's model, for rows that only it has not seen.
        """
        double = self.add("Cast", [margins], "margins_double", to=TensorProto.DOUBLE)
        columns = [self.column(double, number) for number in range(len(calibrations.folds))]
        if refit:
            served = self.column(double, len(columns))
        else:
            served = self.add("ReduceMean", [double, self.constant("models", [1], np.int64)], "mean_margin", keepdims=1)
        folds = [calibration.write(self, column) for calibration, column in zip(calibrations.folds, columns, strict=True)]
        return self.finish(calibrations.served.write(self, served), folds, schema)

    def column(self, values: str, number: int) -> str:
        """A column, (rows, 1), of `values` (rows, k)."""
        return self.add("Gather", [values, self.constant("number", [number], np.int64)], "column", axis=1)

    def finish(self, served: str, folds: list[str], schema: dict[str, Any]) -> onnx.ModelProto:
        """The checked graph of double probabilities, each (rows, 1)."""
        self.add("Cast", [served], PROBABILITY, to=TensorProto.FLOAT)
        self.add("Cast", [self.add("Concat", folds, "folds", axis=1)], FOLD_PROBABILITIES, to=TensorProto.FLOAT)
        inputs = {
            "numbers": (TensorProto.FLOAT, len(schema["numbers"])),
            "categories": (TensorProto.STRING, len(schema["categories"])),
        }
        graph = helper.make_graph(
            self.nodes,
            "evergreen",
            [helper.make_tensor_value_info(name, kind, [None, width]) for name, (kind, width) in inputs.items() if width],
            [
                helper.make_tensor_value_info(PROBABILITY, TensorProto.FLOAT, [None, 1]),
                helper.make_tensor_value_info(FOLD_PROBABILITIES, TensorProto.FLOAT, [None, len(folds)]),
            ],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=OPSETS, ir_version=IR_VERSION, producer_name="evergreen")
        onnx.checker.check_model(model)
        return model


def _joined(models: list[Trees]) -> tuple[Trees, NDArray[np.intp], NDArray[np.intp]]:
    """All trees of all models in one, whose nodes are named by their place in it; where each tree begins, and the number of
    each node's model."""
    starts = np.cumsum([0, *(len(trees.node) for trees in models)])
    parts: dict[str, Any] = {name: np.concatenate([getattr(trees, name) for trees in models]) for name in ARRAYS}
    root = np.flatnonzero(parts["node"] == 0)
    first = np.repeat(root, np.diff([*root, starts[-1]]))
    parts |= {"left": first + parts["left"], "right": first + parts["right"]}
    numbered = zip(starts.tolist(), models, strict=False)
    members = {start + at: codes for start, trees in numbered for at, codes in trees.members.items()}
    return Trees(**parts, members=members), root, np.repeat(np.arange(len(models)), np.diff(starts))


def _tensor(values: NDArray[Any], dtype: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(values.astype(dtype))


def float32_below(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 that is not above each value."""
    with np.errstate(over="ignore"):  # LightGBM's "everything but missing" is the largest double
        nearest = values.astype(np.float32)
    return np.where(nearest.astype(np.float64) > values, np.nextafter(nearest, np.float32(-np.inf)), nearest)
