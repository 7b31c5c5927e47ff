"""What a person wants to know at the end: the champion, its figures, what stood beside it, and where to look."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flows import results
from monitoring import store
from monitoring.reference import newest_metrics
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.evaluation import package
from pipelines.registry import ledger, publish

if TYPE_CHECKING:
    from pipelines.config import params
    from pipelines.data import extract

SHOWN = ("roc_auc", "pr_auc", "log_loss", "brier", "calibration_error", "precision", "recall")


def champion(settings: Settings, model: str) -> str:
    """The champion's figures with their intervals, as text."""
    current = ledger.champion(settings.promoter_url, model)
    if current is None:
        return f"{model} has no champion yet: `evergreen run retrain`."
    bundle = publish.fetch(settings.mlflow_tracking_uri, current, settings.home / "models").folder
    evaluation = json.loads((bundle / "evaluation.json").read_text(encoding="utf-8"))
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    candidate = evaluation["candidates"][manifest["candidate"]]
    lines = [
        f"{model} {current} is champion (revision {current.revision}): {manifest['candidate']}, "
        f"as of {manifest['data']['as_of']},",
    ]
    figures, metric = newest_metrics(candidate), evaluation["metric"]
    if figures is candidate["metrics"]:
        lines += [f"on {_counts(evaluation)}, which it was not trained on:"]
    else:
        newest = evaluation["newest"]
        lines += [f"out of fold on its newest snapshots, {package.span(newest)}, {_counts(newest)}:"]
    lines += [f"    {name:<18} {_figure(figures[name])}" for name in SHOWN]
    if figures is not candidate["metrics"]:
        lines += [f"  on all {_counts(evaluation)}: {metric} {_figure(candidate['metrics'][metric])}"]
    beaten = [name for name in evaluation["candidates"] if name != manifest["candidate"]]
    lines += [f"  beside it: {name}, {metric} {_figure(_metric(evaluation, name))}" for name in beaten]
    lines += [f"  gain over {evaluation['baseline']}: {_figure(candidate['against_baseline'])}"]
    lines += [f"  {title + ':':<9}{address}" for title, address in results.links(settings, current).items()]
    return "\n".join(lines)


def minimum_detectable(settings: Settings, pin: extract.Pin, config: params.Params) -> str:
    """The smallest gain that a pin's newest snapshots could show, and where that figure comes from."""
    from pipelines.promotion import detection
    from pipelines.promotion.gate import snapshot_of

    note = ""
    try:
        url, snapshot = settings.promoter_url, snapshot_of(pin.as_of, pin.fingerprint)
        verdicts = [row.verdict for row in ledger.history(url, config.model)]
        current, newest = ledger.champion(url, config.model), ledger.versions(url, config.model)
        version, revision = (newest[0].version if newest else 0) + 1, current.revision if current else 0
        reuse = ledger.snapshot_reuse(url, config.model, snapshot, version=version, revision=revision)
    except EvergreenError as error:  # a pin needs the source alone
        verdicts, reuse, note = [], 1, f" The ledger was not asked: {error}"
    rows, entities = pin.newest
    effect = detection.minimum_detectable_effect(
        verdicts,
        entities=entities,
        rows=rows,
        reuse=reuse,
        evaluate=config.evaluate,
        promotion=config.promotion,
        dated=config.data.time is not None,
    )
    return effect.message + note


def windows(settings: Settings, model: str) -> list[dict[str, Any]]:
    """One row a window that was judged: its verdict, and its performance where labels are mature (else null)."""
    measured = {
        (performance.window_key, performance.version): performance
        for performance in reversed(store.performances(settings.watcher_url, model))
    }
    rows = []
    for verdict in store.verdicts(settings.watcher_url, model):
        performance, metric = measured.get((verdict.window_key, verdict.version)), verdict.figures["metric"]
        rows.append({
            "window": verdict.window_key,
            "version": verdict.version,
            "action": verdict.action,
            "asks": verdict.asks,
            "metric": metric,
            "performance": performance.metrics.get(metric) if performance else None,
            "rows": verdict.row_count,
            "why": verdict.why,
            "suppressed": verdict.suppressed,
        })  # fmt: skip
    return rows


def window_lines(rows: Sequence[Mapping[str, Any]], model: str) -> str:
    """For a terminal."""
    if not rows:
        return f"No window of {model} was judged yet: `evergreen run score && evergreen run monitor`."
    lines = []
    for row in rows:
        figure = _figure(row["performance"]) if row["performance"] else "labels not mature"
        suppressed = f" (retraining suppressed: {row['suppressed']})" if row["suppressed"] else ""
        action = " and ".join(row["asks"]) or row["action"]
        lines.append(f"{row['window']}  v{row['version']}  {action:<10} {row['metric']} {figure:<26} {row['why']}{suppressed}")
    return "\n".join(lines)


def _counts(rows: Mapping[str, Any]) -> str:
    return f"{rows['rows']:,} rows of {rows['entities']:,} entities, {rows['positives']:,} positive"


def _metric(evaluation: Mapping[str, Any], candidate: str) -> dict[str, float | None]:
    return newest_metrics(evaluation["candidates"][candidate])[evaluation["metric"]]


def _figure(value: dict[str, float | None]) -> str:
    if value["point"] is None:
        return "none"
    return f"{value['point']:.4f} [{value['low']:.4f}, {value['high']:.4f}]"
