"""Stage audit: does the challenger treat some groups worse? Its decisions and errors by protected attribute.

On all rows, out of fold, at its threshold: figures of every group and of every two attributes together, what they prove
(pipelines/promotion/harm.py), and what changes when a model does not see the attribute (monitoring/ablation.py).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from monitoring import ablation
from pipelines.config import params as parameters
from pipelines.config import stage
from pipelines.config.errors import EvergreenError
from pipelines.evaluation import capacity, disparity
from pipelines.promotion import group_checks, harm
from pipelines.statistics import fairness, metrics
from pipelines.statistics.fairness import Floats, Group, Mask

if TYPE_CHECKING:
    from pipelines.config.params import AuditParams, DataParams, EvaluateParams, Params

INSUFFICIENT, SUFFICIENT = "insufficient evidence", "sufficient"
RATES = (*fairness.RATES, "roc_auc")
AT_CAPACITY = ("selection_rate", "tpr", "precision")


def main(*, scores: Path, evaluation: Path, training: Path, schema: Path, models: Path, ensemble: Path, audit: Path) -> None:
    """Measure the challenger by group, with and without each attribute among its features."""
    params = parameters.read()
    evaluated = json.loads(evaluation.read_text("utf-8"))
    challenger = evaluated["challenger"]
    with stage.phase("read"):
        rows = read_rows(scores, challenger, params.data)
    threshold = float(evaluated["candidates"][challenger]["threshold"])
    model_schema = json.loads(schema.read_text("utf-8"))
    hidden = [name for name in params.data.protected if name not in {*model_schema["numbers"], *model_schema["categories"]}]
    findings = measure(rows, threshold, params.data.protected, params.audit, params.evaluate, hidden)
    source = ablation.Source(training=training, scores=scores, schema=model_schema, models=models, ensemble=ensemble)
    if params.evaluate.capacity:
        dates = read_dates(scores, params.data)
        add_capacity(findings, rows, capacity.taken(rows["score"].to_numpy(), dates, params.evaluate.capacity), params)
    findings["without"] = ablation.leave_out(source, evaluated, rows["score"].to_numpy() >= threshold, params)
    stage.write_json(audit, findings | {"model": params.model, "challenger": challenger})
    for attribute, finding in findings["verdict"]["attributes"].items():
        groups = {**findings["attributes"], **findings["pairs"]}[attribute]
        few = sum(group["evidence"] == INSUFFICIENT for group in groups)
        stage.say(f"{attribute}: {len(groups)} groups, {few} of them with insufficient evidence; harm: {finding}.")
    for line, why in findings["verdict"]["unmatched"].items():
        stage.say(f"audit.accepted, {line}: {why}. {group_checks.TIDY}")


def read_rows(scores: Path, challenger: str, data: DataParams) -> pd.DataFrame:
    """One row a judged row: entity (code), label (0, 1), score, and each protected attribute as text without NULLs.

    Raises:
        EvergreenError: no rows, or an attribute of more than 50 values.
    """
    score = f"score_{challenger}"
    table = pq.read_table(scores, columns=list(dict.fromkeys([data.entity, data.target, *data.protected, score])))
    if not table.num_rows:
        raise EvergreenError(f"{scores} has no rows: run `dvc repro`.")
    frame = pd.DataFrame(
        {
            "entity": pd.factorize(table[data.entity].to_pandas())[0],
            "label": table[data.target].to_numpy().astype(np.int64),
            "score": table[score].to_numpy(),
        }
    )
    return frame.assign(**{f"group_{name}": fairness.group_values(name, table[name]) for name in data.protected})


def measure(
    rows: pd.DataFrame,
    threshold: float,
    protected: list[str],
    params: AuditParams,
    bootstrap: EvaluateParams,
    hidden: Collection[str] = (),
) -> dict[str, Any]:
    """Counts and rates of all rows and of each group, what they differ by, and what that proves.

    Args:
        rows: as `read_rows` returns them.
        threshold: a row is selected when its score is at least this.
        hidden: attributes that the model does not see.

    Returns:
        `whole`: counts and rates; `attributes` and `pairs`: name -> groups, each with its evidence, counts and rates
        (value, and difference and ratio to the whole); `gaps`: name -> rate -> the two groups that are furthest
        apart; `split`: of each judged group what of its gaps to everybody else is explained and what the model adds
        (pipelines/evaluation/disparity.py); `harm`: every judgement of `harm.harms`; `verdict`: what they come to; and the
        settings.
    """
    labels, entities = rows["label"].to_numpy(), rows["entity"].to_numpy()
    groups = fairness.groups_of({name: rows[f"group_{name}"].to_numpy() for name in protected}, len(rows))
    drawn = resample(rows, threshold, groups, bootstrap)
    totals, auc = drawn[..., : fairness.CELLS], drawn[..., fairness.CELLS :]
    rates = np.concatenate([fairness.rates(totals), auc], axis=-1)
    sufficient = [fairness.enough(labels, entities, group.mask, params) for group in groups]
    summaries = [
        {"evidence": SUFFICIENT if sufficient[index] else INSUFFICIENT}
        | _counts(rows, group.mask)
        | {"rates": _figures(rates, index, bootstrap.confidence)}
        for index, group in enumerate(groups)
    ]
    with_rest = [
        sufficient[index] and fairness.enough(labels, entities, ~group.mask, params) for index, group in enumerate(groups)
    ]
    judged = [index for index in range(1, len(groups)) if with_rest[index]]
    compared = [groups[index] for index in judged]
    gaps = split(rows, threshold, [groups[0], *compared], totals[:, [0, *judged]], bootstrap) if judged else {}
    judgements = harm.harms(harm.apart_from_rest(totals[:, [0, *judged]], gaps, params), compared, bootstrap.confidence)
    by_name = {name: _listed(groups, summaries, name) for name in dict.fromkeys(group.attribute for group in groups[1:])}
    return {
        "threshold": threshold,
        "confidence": bootstrap.confidence,
        "resamples": bootstrap.bootstrap,
        **params.model_dump(exclude={"report_rows"}),
        "whole": summaries[0],
        "attributes": {name: by_name[name] for name in protected},
        "pairs": {name: listed for name, listed in by_name.items() if name not in protected},
        "gaps": {name: _gaps(groups, sufficient, rates, name, bootstrap.confidence) for name in by_name},
        "split": _split_lines(gaps, compared, bootstrap.confidence),
        "harm": judgements,
        "verdict": harm.summarise(judgements, groups[1:], compared, params.accepted, hidden),
    }


def split(
    rows: pd.DataFrame, threshold: float, groups: list[Group], totals: Floats, bootstrap: EvaluateParams
) -> dict[str, disparity.Gap]:
    """TPR shortfall and FPR excess of each group but the first, which is all rows, as `disparity.gaps` returns them."""
    labels, scores, entities = (rows[name].to_numpy() for name in ("label", "score", "entity"))
    return disparity.gaps(totals, disparity.decide_again(labels, scores, threshold, groups, entities, bootstrap))


def read_dates(scores: Path, data: DataParams) -> capacity.Dates:
    """The decision date of each row, in the order of `read_rows`."""
    return capacity.Dates.of(pq.read_table(scores, columns=[data.time or data.entity]), data)


def add_capacity(findings: dict[str, Any], rows: pd.DataFrame, taken: Floats, params: Params) -> None:
    """Put `at_capacity` into each group of `findings`: selection rate, TPR and precision of those that would be acted on.

    Args:
        taken: how far each row is acted on, shape (rows,); held fixed in all resamples, as a threshold is.
    """
    groups = fairness.groups_of({name: rows[f"group_{name}"].to_numpy() for name in params.data.protected}, len(rows))
    cells = fairness.cells(rows["label"].to_numpy(), rows["score"].to_numpy(), taken)

    def measured(mask: Mask, weights: metrics.Weights) -> Floats:
        return fairness.sums(weights, cells[mask])

    rates = fairness.rates(fairness.resample(groups, measured, rows["entity"].to_numpy(), params.evaluate))
    columns = {rate: fairness.RATES.index(rate) for rate in AT_CAPACITY}
    at_capacity = {
        (group.attribute, group.name): {
            rate: fairness.interval(rates[:, index, column], params.evaluate.confidence) for rate, column in columns.items()
        }
        for index, group in enumerate(groups)
    }
    findings["whole"]["at_capacity"] = at_capacity["", ""]
    for attribute, listed in {**findings["attributes"], **findings["pairs"]}.items():
        for group in listed:
            group["at_capacity"] = at_capacity[attribute, group["group"]]


def _split_lines(gaps: Mapping[str, disparity.Gap], judged: list[Group], confidence: float) -> list[dict[str, Any]]:
    return [
        {"attribute": group.attribute, "group": group.name, "rate": rate}
        | {part: fairness.interval(getattr(gap, part)[:, index], confidence) for part in ("raw", "explained", "added")}
        for index, group in enumerate(judged)
        for rate, gap in gaps.items()
    ]


def resample(rows: pd.DataFrame, threshold: float, groups: list[Group], bootstrap: EvaluateParams) -> Floats:
    """Sums of cells and ROC-AUC of each group, as `fairness.resample` returns them: (1 + resamples, groups, 7)."""
    labels, scores = rows["label"].to_numpy(), rows["score"].to_numpy()
    cells = fairness.cells(labels, scores, scores >= threshold)

    def measured(mask: Mask, weights: metrics.Weights) -> Floats:
        return np.column_stack([fairness.sums(weights, cells[mask]), metrics.roc_auc(labels[mask], scores[mask], weights)])

    return fairness.resample(groups, measured, rows["entity"].to_numpy(), bootstrap)


def _counts(rows: pd.DataFrame, mask: Mask) -> dict[str, int]:
    return {
        "rows": int(mask.sum()),
        "entities": int(rows["entity"][mask].nunique()),
        "positives": int(rows["label"][mask].sum()),
    }


def _figures(rates: Floats, index: int, confidence: float) -> dict[str, dict[str, Any]]:
    """Each rate of group `index`, and its difference and ratio to the whole, which is group 0."""
    of_group, of_all = rates[:, index], rates[:, 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        versions = {"value": of_group, "difference": of_group - of_all, "ratio": of_group / of_all}
    centred = {"calibration", "calibration_selected"}  # around 0: a ratio of them says nothing
    return {
        rate: {
            version: None if version == "ratio" and rate in centred else fairness.interval(drawn[:, column], confidence)
            for version, drawn in versions.items()
        }
        for column, rate in enumerate(RATES)
    }


def _listed(groups: list[Group], summaries: list[dict[str, Any]], attribute: str) -> list[dict[str, Any]]:
    return [
        {"group": group.name, "values": list(group.values), **figures}
        for group, figures in zip(groups, summaries, strict=True)
        if group.attribute == attribute
    ]


def _gaps(
    groups: list[Group], sufficient: list[bool], rates: Floats, attribute: str, confidence: float
) -> dict[str, dict[str, Any] | None]:
    """Of each rate, the two groups with enough evidence that are furthest apart; None where fewer than two have it.

    The interval is that of these two; that they were chosen for being far apart is what the verdict's band accounts for.
    """
    members = [index for index, group in enumerate(groups) if group.attribute == attribute and sufficient[index]]
    gaps: dict[str, dict[str, Any] | None] = {}
    for column, rate in enumerate(RATES):
        usable = [index for index in members if np.isfinite(rates[0, index, column])]
        gaps[rate] = None
        if len(usable) > 1:
            high, low = (choose(usable, key=lambda index: rates[0, index, column]) for choose in (max, min))
            apart = fairness.interval(rates[:, high, column] - rates[:, low, column], confidence)
            gaps[rate] = {"highest": groups[high].name, "lowest": groups[low].name, "difference": apart}
    return gaps


if __name__ == "__main__":
    stage.run(main)
