"""The bundle, which is what is published, promoted and served.

Its manifest holds the SHA-256 of every file; the SHA-256 of the manifest names the bundle. It holds no time,
commit or host, so equal inputs give equal bundles.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipelines import features
from pipelines.config import params, stage

ENSEMBLE = "ensemble"
NOTHING: dict[str, float | None] = {"point": None}  # a rate of nothing
LIMITS = """- It ranks and estimates; it does not say why somebody leaves, nor whether an offer would keep them.
- Its figures hold for entities like those of the window above. What changes later is for monitoring to find.
- Groups marked "insufficient evidence" were too small to judge: that is not a pass."""


CALIBRATIONS = {"none": "no calibration", "platt": "Platt scaling", "isotonic": "isotonic regression"}


def card(
    config: params.Params,
    manifest: dict[str, Any],
    evaluation: dict[str, Any],
    audit: dict[str, Any],
    trained: dict[str, dict[str, Any]],
) -> str:
    """The model card, in Markdown (Mitchell et al. 2019): data, window, training, metrics, groups, limits, how to reproduce.

    Args:
        trained: training.json of the challenger and, where it is the ensemble, of its members after it; each with the
            content of its trials.json as `tuning`.
    """
    name = evaluation["challenger"]
    figures = evaluation["candidates"][name]
    data = config.data
    return f"""# {config.model}: {name}

Predicts `{data.target}`{_horizon(data)} for each {_row(data)}, as a probability.
Decision: positive at {figures["threshold"]:.4f} or more, {_reason(config.evaluate)}.

## Data

{_window(data, manifest)} Fingerprint of the source rows: `{manifest["fingerprint"]}`.

## Training

{_training(trained)}

## Figures

{_newest(figures, evaluation)}

On all rows, each by a model that has not seen its entity: {evaluation["rows"]:,} rows of {evaluation["entities"]:,} entities,
{evaluation["positives"]:,} of them positive; in brackets the {config.evaluate.confidence:.0%} interval over entities.

| metric | {name} | {evaluation["baseline"]} (baseline) |
|---|---|---|
{_metric_rows(figures, evaluation["candidates"][evaluation["baseline"]])}

Gain over the baseline in {evaluation["metric"]}: {_figure(figures["against_baseline"])}.
{_chosen(evaluation, config.evaluate.simplest_within)}

## Groups

{_groups(audit)}

## Limits

{LIMITS}

## How to reproduce

`evergreen model checkout VERSION` brings `params.yaml` and `dvc.lock` of this version into a clone. At the commit that its
git tag is made from, `dvc repro` then has nothing to do, and with an empty cache makes the same bytes again.
"""


def _horizon(data: params.DataParams) -> str:
    return f" within {data.horizon_days} days" if data.time else ""


def _reason(evaluate: params.EvaluateParams) -> str:
    """Why the threshold is where it is, and what can be acted on where that is known."""
    limit = evaluate.capacity
    many = "" if limit is None else f"{limit:,} rows" if limit >= 1 else f"{limit:.1%} of the rows"
    if evaluate.threshold == "capacity":
        return f"which out of fold as many reach as can be acted on: {many} of each decision date"
    costs = (
        "which costs least when a missed positive costs\n"
        f"{evaluate.cost_false_negative:g} and a false alarm {evaluate.cost_false_positive:g}"
    )
    return (
        f"{costs}.\nActed on, in the figures at capacity, are the highest scores: {many} of each decision date"
        if many
        else costs
    )


def _row(data: params.DataParams) -> str:
    return f"row, named by `{data.row_key}`; rows of one `{data.entity}` stay together" if data.row_key else f"`{data.entity}`"


def _window(data: params.DataParams, manifest: dict[str, Any]) -> str:
    rows = f"`sql/{data.dataset}/training_set.sql`: {manifest['rows']:,} rows"
    if not data.time:
        return f"{rows}, of a table without dates: nothing can be said of how the model does on later rows."
    pinned = f"as known on {manifest['as_of']}, {data.history_days} days of history"
    return f"{rows}, {pinned}, labels at least {data.embargo_days} days old."


def _training(trained: dict[str, dict[str, Any]]) -> str:
    """A paragraph a trained model, the challenger first."""
    return "\n\n".join(_trained(name, training) for name, training in trained.items())


def _trained(name: str, training: dict[str, Any]) -> str:
    values, weights = training["params"], training["params"].get("weights")
    if weights:
        listed = ", ".join(f"{weight:.2f} {member}" for member, weight in weights.items())
        made = f"the mean probability of {listed}, by maximum likelihood out of fold"
    else:
        made = ", ".join(f"`{key}` {_short(value)}" for key, value in values.items()) + f"; {_tuned(training['tuning'])}"
    metadata = "".join(f"; {key.replace('_', ' ')} {_short(value)}" for key, value in sorted(training["metadata"].items()))
    count = training["metadata"].get("models")
    mean = f"; the mean of {count} models, one a fold" if count else ""
    return (
        f"**{name}**: {made}{mean}. {CALIBRATIONS[training['calibration']].capitalize()}, chosen out of fold. "
        f"Out-of-fold ROC-AUC {training['roc_auc']:.4f} on {training['rows']:,} rows{metadata}."
    )


def _tuned(tuning: dict[str, Any]) -> str:
    count, best = len(tuning["trials"]), tuning["best"]
    if best is None:
        return "not tuned"
    early = " before the time ran out" if tuning["stopped"] else ""
    given_up = sum(trial["state"] == "PRUNED" for trial in tuning["trials"])
    tried = f"of {count} trials{early}, {given_up} of them given up early"
    return f"trial {best} {tried}" if best else f"as in params.yaml, which none {tried}, was shown to beat"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _metric_rows(challenger: dict[str, Any], baseline: dict[str, Any]) -> str:
    return "\n".join(
        f"| {metric} | {_figure(value)} | {_figure(baseline['metrics'][metric])} |"
        for metric, value in challenger["metrics"].items()
    )


def _figure(value: dict[str, float | None]) -> str:
    if value["point"] is None:
        return "none"
    return f"{value['point']:.4f} [{value['low']:.4f}, {value['high']:.4f}]"


def span(days: dict[str, Any]) -> str:
    """From the first of them to the last, or the one that they are."""
    return days["from"] if days["from"] == days["to"] else f"{days['from']} to {days['to']}"


def _newest(figures: dict[str, Any], evaluation: dict[str, Any]) -> str:
    metric, newest = evaluation["metric"], evaluation["newest"]
    if newest is None:
        return "The table has no dates: nothing can be said about how it holds up in time."
    lines = [
        f"**On the newest mature snapshots** ({span(newest)}, {newest['rows']:,} rows, "
        f"{newest['positives']:,} of them positive): {metric} {_figure(figures.get('newest', figures['metrics'])[metric])}."
    ]
    if "backtest" in figures:
        spans = ", ".join(map(span, evaluation["origins"]))
        lines.append(
            f"On months that it had not seen ({len(evaluation['origins'])} origins: {spans}), a model fitted on what was "
            f"mature by then: {metric} {_figure(figures['backtest'][metric])}."
        )
    return "\n".join(lines)


def _errors(count: float) -> str:
    return "one standard error" if count == 1 else f"{count:g} standard errors"


def _chosen(evaluation: dict[str, Any], within: float) -> str:
    """Why this candidate is the challenger, the smallest graph within so many standard errors of the best."""
    choice, name = evaluation["choice"], evaluation["challenger"]
    if choice["best"] == name:
        return f"It is the best of {len(choice['candidates'])} candidates."
    metric, gaps = evaluation["metric"], choice["candidates"][name]
    return (
        f"{choice['best']} is the best of {len(choice['candidates'])} candidates. {name} is the simpler graph, and within "
        f"{_errors(within)} of it: {gaps[metric]['behind']:+.4f} ({gaps[metric]['error']:.4f}) behind in {metric}, "
        f"{gaps['log_loss']['behind']:+.4f} ({gaps['log_loss']['error']:.4f}) in log loss."
    )


def _groups(audit: dict[str, Any]) -> str:
    """Selection and error rates by group, as the audit found them, and what they prove."""
    if not audit["attributes"]:
        return "No protected attribute is declared (data.protected)."
    lines = [
        f"Harm against everybody else, by attribute: {_findings(audit['verdict'])}.",
        "",
        "| attribute | group | rows | selection rate | TPR | FPR | evidence |",
        "|---|---|---|---|---|---|---|",
    ]
    for attribute, groups in audit["attributes"].items():
        for group in groups:
            rates = " | ".join(_figure(group["rates"][rate]["value"] or NOTHING) for rate in ("selection_rate", "tpr", "fpr"))
            lines.append(f"| {attribute} | {group['group']} | {group['rows']:,} | {rates} | {group['evidence']} |")
    return "\n".join([*lines, *_gaps(audit), *_accepted(audit["verdict"])])


def _gaps(audit: dict[str, Any]) -> list[str]:
    """What is behind differences in TPR."""
    header = [
        "",
        "TPR shortfall of a group against everybody else: the whole, what the groups' risks explain, and what the model adds.",
        "",
        "| attribute | group | the whole | explained | added by the model |",
        "|---|---|---|---|---|",
    ]
    lines = [
        f"| {gap['attribute']} | {gap['group']} | "
        + " | ".join(_figure(gap[part] or NOTHING) for part in ("raw", "explained", "added"))
        + " |"
        for gap in audit["split"]
        if gap["rate"] == "TPR shortfall" and gap["attribute"] in audit["attributes"]
    ]
    return header + lines if lines else []


def _accepted(verdict: dict[str, Any]) -> list[str]:
    """Who is harmed and why a person accepted it."""
    lines = [
        f"- {harm['attribute']}: {harm['group']}, {harm['measure']} {_figure(harm)}: {harm['reason']}"
        for harm in verdict["accepted"]
    ]
    return ["", "Proven harm that a person accepted (audit.accepted):", "", *lines] if lines else []


def _findings(verdict: dict[str, Any]) -> str:
    words = {
        "none": "none beyond the limit",
        "not judged": "not judged, as no limit is set",
        "accepted": "significant, and accepted by a person",
    }
    return "; ".join(f"{name}: {words.get(finding, finding)}" for name, finding in verdict["attributes"].items())


def for_api(config: params.Params, threshold: float) -> dict[str, Any]:
    """What the API is to know of the version. Tiers are in probabilities, from which on each begins."""
    values = config.serving.model_dump() | {"entity": config.data.scored_key, "target": config.data.target}
    return values | {"tiers": [[tier, start * threshold] for tier, start in config.serving.tiers.items()]}


def background(sample: Path, schema: dict[str, Any], config: params.Params) -> list[list[Any]]:
    """Rows that the API's reasons are measured against: numbers, then texts, in the schema's order; None is missing."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    with stage.phase("read"):
        rows = pq.read_table(sample)
    size = min(rows.num_rows, config.serving.explain_rows)
    chosen = np.sort(np.random.default_rng(config.evaluate.seed).choice(rows.num_rows, size, replace=False))
    kept = rows.take(pa.array(chosen))
    numbers = features.numbers(kept, schema).astype(float)
    listed = [[None if value != value else value for value in row] for row in numbers.tolist()]
    texts = [[text or None for text in row] for row in features.texts(kept, schema).tolist()]
    return [[*row, *other] for row, other in zip(listed, texts, strict=True)]


def read_trained(name: str, models: Path, ensemble: Path) -> dict[str, dict[str, Any]]:
    """How the challenger was trained, and where it is the ensemble, how its members were."""
    folder = ensemble if name == ENSEMBLE else models / name
    training, tuning = (json.loads((folder / f"{part}.json").read_text()) for part in ("training", "trials"))
    trained = {name: training | {"tuning": tuning}}
    for member in training["params"].get("weights", {}) if name == ENSEMBLE else ():
        trained |= read_trained(member, models, ensemble)
    return trained
