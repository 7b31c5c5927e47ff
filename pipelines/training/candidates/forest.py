"""Random forest, bounded: few rows, few leaves and a depth for each tree, since fully grown trees on all rows cost
ten times as much for less. Thresholds are drawn at random by default (Geurts et al. 2006): cheaper, and in an ensemble worth
more than the best ones where positives are few (docs/studies/accuracy.md).

The margin is the log odds of the mean of the leaves' shares. Category codes go in as numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import Field

from pipelines.config.sections import CandidateParams
from pipelines.training.candidates import Rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

    from pipelines.training.fitting.graph import Graph, Trees

    Forest: TypeAlias = ExtraTreesClassifier | RandomForestClassifier

DOUBT = 1e-4  # shares are drawn in from 0 and 1 by this much, so that log odds stay finite and keep their order


class Params(CandidateParams):
    trees: Annotated[int, Field(ge=1)]
    rows_per_tree: Annotated[int, Field(ge=10)]
    max_depth: Annotated[int, Field(ge=1)]
    max_leaves: Annotated[int, Field(ge=2)]
    min_leaf_rows: Annotated[int, Field(ge=1)]
    features_per_split: Annotated[float, Field(gt=0, le=1)]
    thresholds: Literal["random", "best"] = "random"


def fit(rows: Rows, params: Params, *, seed: int, threads: int) -> Forest:
    from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

    kind = ExtraTreesClassifier if params.thresholds == "random" else RandomForestClassifier
    forest = kind(
        n_estimators=params.trees,
        bootstrap=True,
        max_samples=min(params.rows_per_tree, len(rows.labels)),
        max_depth=params.max_depth,
        max_leaf_nodes=params.max_leaves,
        min_samples_leaf=params.min_leaf_rows,
        max_features=params.features_per_split,
        random_state=seed,
        n_jobs=threads,
    )
    return forest.fit(rows.matrix(), rows.labels, rows.weights)


def margin(model: Forest, rows: Rows) -> NDArray[np.float64]:
    import numpy as np
    from scipy.special import logit

    matrix, total = np.ascontiguousarray(rows.matrix()), np.zeros(len(rows.labels))
    for tree in model.estimators_:  # one after the other: predict_proba adds them up in the order its threads end
        total += tree.tree_.predict(matrix)[:, 1]
    return logit(DOUBT + (1 - 2 * DOUBT) * total / len(model.estimators_))


def write(graph: Graph, models: list[Forest], schema: dict[str, Any]) -> str:
    shares = graph.sum_of_trees(graph.features(schema), [_trees(model) for model in models])
    return graph.log_odds(shares, DOUBT)


def _trees(model: Forest) -> Trees:
    """Leaf values are shares over the number of trees: their sum is the mean share."""
    import numpy as np

    from pipelines.training.fitting.graph import Trees

    trees = [tree.tree_ for tree in model.estimators_]
    sizes = [tree.node_count for tree in trees]

    def column(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(tree, name) for tree in trees])

    leaf = column("children_left") < 0
    return Trees(
        node=np.concatenate([np.arange(size) for size in sizes]),
        feature=np.where(leaf, -1, column("feature")),
        threshold=np.where(leaf, 0.0, column("threshold")),
        left=column("children_left"),
        right=column("children_right"),
        missing_left=column("missing_go_to_left").astype(bool) & ~leaf,
        value=np.where(leaf, column("value")[:, 0, 1] / len(trees), 0.0),
    )
