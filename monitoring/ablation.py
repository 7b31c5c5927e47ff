"""What changes when a model does not see a protected attribute: refits without it, cross-fitted by the same folds.

Leaving a column out takes away neither what other columns say about it nor the harm: hence the figures side by side.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.config import stage
from pipelines.config.errors import EvergreenError
from pipelines.data.split import FOLD
from pipelines.statistics import fairness, metrics
from pipelines.statistics.fairness import Floats, Group, Mask
from pipelines.training.fitting.folds import as_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.config.params import Params
    from pipelines.config.sections import Section

RATES = ("selection_rate", "tpr", "fpr", "precision", "roc_auc")


@dataclass(frozen=True)
class Source:
    """Where the rows, the scores and the trained candidates are, and what the models see."""

    training: Path
    scores: Path
    schema: dict[str, Any]
    models: Path
    ensemble: Path  # with weights.json, where an ensemble was sought

    @property
    def weights(self) -> dict[str, float]:
        """Member -> weight of the ensemble; empty where there is none."""
        path = self.ensemble / "weights.json"
        return json.loads(path.read_text("utf-8"))["weights"] if path.exists() else {}


def leave_out(source: Source, evaluation: Mapping[str, Any], selected: Mask, params: Params) -> dict[str, Any]:
    """Attribute -> figures with and without it, at the challenger's selection rate.

    Args:
        evaluation: the content of evaluation.json.
        selected: whether the challenger selects each row, shape (rows,).

    Returns:
        Of an attribute that no model sees: {"seen": false}. Else `candidate`, which was fitted again; `stands_for`,
        the challenger where that is another one; `groups`, all rows first: rates `with`, `without` and their `change`.
    """
    features = {*source.schema["numbers"], *source.schema["categories"]}
    by_attribute: dict[str, Any] = {name: {"seen": False} for name in params.data.protected if name not in features}
    refitted = [name for name in params.data.protected if name in features]
    if not refitted:
        return by_attribute
    candidate = stand_in(evaluation, source.weights, params.candidates["enabled"], params.evaluate.metric)
    if candidate is None:
        return by_attribute | {name: {"seen": True, "candidate": None} for name in refitted}
    rows = pq.read_table(source.training)
    scores = _scores(source.scores, rows, candidate, params)
    for attribute in refitted:
        if len(features) == 1:
            by_attribute[attribute] = {"seen": True, "candidate": None}
            continue
        margins = _refit(attribute, candidate, rows, source, params)
        compared = compare(rows, attribute, select(scores, int(selected.sum())), scores, margins, params)
        stands_for = evaluation["challenger"] if candidate != evaluation["challenger"] else None
        by_attribute[attribute] = {"seen": True, "candidate": candidate, "stands_for": stands_for, "groups": compared}
        stage.say(f"{attribute}: {candidate} was fitted again without it.")
    return by_attribute


def stand_in(evaluation: Mapping[str, Any], weights: Mapping[str, float], pools: Mapping[str, str], metric: str) -> str | None:
    """The candidate that is fitted again: the challenger where the cpu pool trains it; of an ensemble its heaviest such
    member; else the best such candidate, and None where there is none."""
    challenger = evaluation["challenger"]
    on_cpu = [name for name, pool in pools.items() if pool == "cpu" and name in evaluation["candidates"]]
    if challenger in on_cpu or not on_cpu:
        return challenger if challenger in on_cpu else None
    weights = {} if challenger in pools else weights
    points = {name: evaluation["candidates"][name]["metrics"][metric]["point"] for name in on_cpu}
    return max(on_cpu, key=lambda name: (weights.get(name, 0.0), points[name]))


def select(scores: Floats, count: int) -> Mask:
    """The `count` highest scores, shape (rows,); more where the last of them is tied."""
    return scores >= np.sort(scores)[-count] if count else np.zeros(len(scores), dtype=bool)


def compare(
    test: pa.Table, attribute: str, selected: Mask, scores: Floats, margins: Floats, params: Params
) -> list[dict[str, Any]]:
    """Rates of all rows and of each group, with the attribute, without it, and what leaving it out changes.

    Args:
        selected, scores: with the attribute, shape (rows,).
        margins: without it, shape (rows,).
    """
    labels = test[params.data.target].to_numpy().astype(np.int64)
    entities = test[params.data.entity].combine_chunks().dictionary_encode().indices.to_numpy()
    groups = fairness.groups_of({attribute: fairness.group_values(attribute, test[attribute])}, test.num_rows)
    versions = {"with": (scores, selected), "without": (margins, select(margins, int(selected.sum())))}
    cells = {name: fairness.cells(labels, *version) for name, version in versions.items()}

    def measured(mask: Mask, weights: metrics.Weights) -> Floats:
        columns = []
        for name, (ranking, _) in versions.items():
            columns += [fairness.sums(weights, cells[name][mask]), metrics.roc_auc(labels[mask], ranking[mask], weights)]
        return np.column_stack(columns)

    drawn = fairness.resample(groups, measured, entities, params.evaluate)
    width = fairness.CELLS + 1
    figures = {"with": _rates(drawn[..., :width]), "without": _rates(drawn[..., width:])}
    figures["change"] = figures["without"] - figures["with"]
    return [_line(group, index, figures, labels, entities, params) for index, group in enumerate(groups)]


def _rates(drawn: Floats) -> Floats:
    """In the order of RATES, shape (1 + resamples, groups, 5)."""
    counted = fairness.rates(drawn[..., : fairness.CELLS])
    return np.concatenate([counted[..., [fairness.RATES.index(rate) for rate in RATES[:-1]]], drawn[..., -1:]], axis=-1)


def _line(
    group: Group, index: int, figures: dict[str, Floats], labels: NDArray[Any], entities: NDArray[Any], params: Params
) -> dict[str, Any]:
    is_sufficient = fairness.enough(labels, entities, group.mask, params.audit)
    rates = {
        rate: {name: fairness.interval(drawn[:, index, column], params.evaluate.confidence) for name, drawn in figures.items()}
        for column, rate in enumerate(RATES)
    }
    return {"group": group.name, "evidence": "sufficient" if is_sufficient else "insufficient evidence", "rates": rates}


def _scores(path: Path, test: pa.Table, candidate: str, params: Params) -> Floats:
    table = pq.read_table(path, columns=[params.data.entity, f"score_{candidate}"])
    if not table[params.data.entity].equals(test[params.data.entity]):
        raise EvergreenError(f"{path} and the training rows are not of one run: run `dvc repro`.")
    return table[f"score_{candidate}"].to_numpy()


def _refit(attribute: str, candidate: str, table: pa.Table, source: Source, params: Params) -> Floats:
    """Margins of all rows, shape (rows,), each by the candidate fitted on the other folds and without the attribute."""
    os.environ["OMP_NUM_THREADS"] = str(params.train.threads)
    schema = source.schema | {
        "numbers": [name for name in source.schema["numbers"] if name != attribute],
        "categories": {name: values for name, values in source.schema["categories"].items() if name != attribute},
    }
    module = importlib.import_module(f"pipelines.training.candidates.{candidate}")
    section = chosen_params(params.candidate(candidate), source.models / candidate / "training.json")
    rows, fold = as_rows(table, schema, params.data), table[FOLD].to_numpy()
    margins = np.empty(len(rows))
    for number in range(params.split.folds):
        in_fold = fold == number
        model = module.fit(rows.take(~in_fold), section, seed=params.train.seed + number, threads=params.train.threads)
        margins[in_fold] = module.margin(model, rows.take(in_fold))
    return margins


def chosen_params(section: Section, training: Path) -> Section:
    """The candidate's section with what tuning chose in it, where it was tuned."""
    if not training.exists():
        return section
    chosen = json.loads(training.read_text("utf-8"))["params"]
    return type(section).model_validate(section.model_dump() | chosen)
