"""One ONNX graph for a whole model: categories, estimator and calibration.

Written node by node instead of by a converter: converters round a tree's float64 thresholds to the nearest
float32, which sends a row that lies between the two to the other leaf (measured elsewhere: 2 of 200,000 rows,
0.06 apart). Here each threshold is rounded down, so that every float32 input takes the branch it took in training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from scipy.special import expit

OPSETS = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
IR_VERSION = 9


@dataclass(frozen=True)
class Calibration:
    """Platt scaling: probability = sigmoid(slope * margin + offset). Platt 1999."""

    slope: float
    offset: float

    def __call__(self, margin: NDArray) -> NDArray[np.float64]:
        return expit(self.slope * margin + self.offset)


@dataclass(frozen=True)
class Trees:
    """Regression trees as flat arrays, one entry a node, the trees one after the other.

    `feature` is -1 at a leaf; `left` and `right` are node numbers within the tree; a row goes left when its
    value is at most `threshold`, or when it is NaN and `missing_left`. The margin is the sum of leaf values.
    """

    tree: NDArray[np.int64]
    node: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    missing_left: NDArray[np.bool_]
    value: NDArray[np.float64]
    base: float = 0.0


class Graph:
    """A graph being written: nodes and constants in the order they are added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, inputs: list[str], output: str, *, domain: str = "", **attributes: Any) -> str:
        """Append a node with one output; returns the output's name."""
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, domain=domain, **attributes))
        return output

    def constant(self, name: str, value: Any, dtype: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def codes(self, categories: dict[str, list[str]]) -> str:
        """`categories` strings (rows, m) to float codes (rows, m): 0 unknown, 1 missing (""), 2.. the known ones."""
        columns = []
        for index, known in enumerate(categories.values()):
            at = self.constant(f"column_{index}", [index], np.int64)
            text = self.add("Gather", ["categories", at], f"text_{index}", axis=1)
            columns.append(
                self.add(
                    "LabelEncoder",
                    [text],
                    f"code_{index}",
                    domain="ai.onnx.ml",
                    keys_strings=["", *known],
                    values_floats=[float(code) for code in range(1, len(known) + 2)],
                    default_float=0.0,
                )
            )
        return self.add("Concat", columns, "codes", axis=1)

    def sum_of_trees(self, features: str, trees: Trees) -> str:
        """Margin (rows, 1) of `features` (rows, k)."""
        leaf = trees.feature < 0
        return self.add(
            "TreeEnsembleRegressor",
            [features],
            "margin",
            domain="ai.onnx.ml",
            n_targets=1,
            aggregate_function="SUM",
            post_transform="NONE",
            base_values=[trees.base],
            nodes_treeids=trees.tree.tolist(),
            nodes_nodeids=trees.node.tolist(),
            nodes_featureids=np.where(leaf, 0, trees.feature).tolist(),
            nodes_values=np.where(leaf, 0.0, float32_below(trees.threshold)).tolist(),
            nodes_modes=np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
            nodes_truenodeids=np.where(leaf, 0, trees.left).tolist(),
            nodes_falsenodeids=np.where(leaf, 0, trees.right).tolist(),
            nodes_missing_value_tracks_true=trees.missing_left.astype(int).tolist(),
            target_treeids=trees.tree[leaf].tolist(),
            target_nodeids=trees.node[leaf].tolist(),
            target_ids=[0] * int(leaf.sum()),
            target_weights=trees.value[leaf].tolist(),
        )

    def model(self, margin: str, calibration: Calibration, schema: dict[str, Any]) -> onnx.ModelProto:
        """The finished graph: `probability` float (rows, 1) from a margin (rows, 1)."""
        double = self.add("Cast", [margin], "margin_double", to=TensorProto.DOUBLE)
        scaled = self.add("Mul", [double, self.constant("slope", calibration.slope, np.float64)], "scaled")
        shifted = self.add("Add", [scaled, self.constant("offset", calibration.offset, np.float64)], "shifted")
        self.add("Cast", [self.add("Sigmoid", [shifted], "sigmoid")], "probability", to=TensorProto.FLOAT)
        inputs = {
            "numbers": (TensorProto.FLOAT, len(schema["numbers"])),
            "categories": (TensorProto.STRING, len(schema["categories"])),
        }
        graph = helper.make_graph(
            self.nodes,
            "evergreen",
            [helper.make_tensor_value_info(name, kind, [None, width]) for name, (kind, width) in inputs.items() if width],
            [helper.make_tensor_value_info("probability", TensorProto.FLOAT, [None, 1])],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=OPSETS, ir_version=IR_VERSION, producer_name="evergreen")
        onnx.checker.check_model(model)
        return model


def float32_below(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 that is not above each value."""
    nearest = values.astype(np.float32)
    return np.where(nearest.astype(np.float64) > values, np.nextafter(nearest, np.float32(-np.inf)), nearest)
