"""Does a challenger become champion? Pure functions from numbers to a verdict.

The first champion must hold absolute floors (pipelines/promotion/floors.py). A later one must gain in the metric on the
newest mature snapshots, each row judged by models that have not seen its entity: beyond chance, resampling entities
(Efron & Tibshirani 1993), and by enough to be worth a new version. Over all rows it may not lose in cost, ranking,
calibration or speed (pipelines/promotion/non_inferiority.py). Neither may be shown to harm a protected group; what is not
shown blocks nothing, and is never called a pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.config.errors import EvergreenError
from pipelines.promotion import floors, group_checks
from pipelines.promotion import non_inferiority as losses
from pipelines.promotion.verdict import Check, Comparison, Finding, Verdict

if TYPE_CHECKING:
    from pipelines.config.params import EvaluateParams, PromotionParams
    from pipelines.evaluation.latency import Latency
    from pipelines.promotion.gains import Pair
    from pipelines.statistics.metrics import Floats, Interval

WAIT = "Nothing: the next retraining is judged on newer rows. More snapshots show more: evaluate.newest_snapshots."
UNITS = {"cost": "cost a row", "log_loss": "nats a row", "brier": "squared error a row"}


def first_verdict(evaluation: Mapping[str, Any], audit: Mapping[str, Any], scores: Floats, params: PromotionParams) -> Verdict:
    """Absolute floors for a model without a champion.

    Args:
        evaluation: the content of evaluation.json.
        audit: `verdict` of audit.json.
        scores: the challenger's as it is served, of all rows, shape (rows,).
    """
    name = evaluation["challenger"]
    checks = floors.first_floors(evaluation, scores, params)
    groups = group_checks.checks(group_checks.APART, audit)
    evidence = {key: evaluation[key] for key in ("rows", "entities", "positives")} | group_checks.evidence(audit)
    everything = [*checks, *groups]
    if failed := floors.failed(checks):
        return Verdict("ineligible", f"There is still no champion: {name} fails {failed}.", everything, evidence)
    if floors.failed(groups):
        return Verdict("unfair", f"There is still no champion: {name} {group_checks.sentence(audit)}.", everything, evidence)
    headline = (
        f"{name} becomes the first champion: it meets all {len(checks)} minimum requirements, and {group_checks.passed(audit)}."
    )
    return Verdict("fit to serve", headline, everything, evidence)


def challenger_verdict(
    now: Pair,
    over_all: Pair | None,
    *,
    evaluate: EvaluateParams,
    promotion: PromotionParams,
    groups: Mapping[str, Mapping[str, Any]],
    latencies: Sequence[Latency] = (),
    reuse: int = 1,
    judgeable: int = 0,
) -> Verdict:
    """A gain on the newest snapshots, and nothing lost over all rows.

    Args:
        now: the two versions on the newest snapshots.
        over_all: on rows drawn from all; None where these are the same.
        judgeable: how many rows these were drawn from; 0 where all were taken.
        groups: what was compared by group -> what was found, as `harm.summarise` returns it.
        reuse: how many decisions these rows have served, this one included.

    Raises:
        EvergreenError: the champion's scores are no numbers.
    """
    import numpy as np

    labels, everywhere = now.labels, over_all or now
    evidence: dict[str, float] = {
        "rows": len(labels),
        "entities": len(np.unique(now.entities)),
        "positives": int((labels == 1).sum()),
    }
    evidence |= {"rows_over_all": len(everywhere.labels), "rows_judgeable": judgeable} if over_all else {}
    if not 0 < evidence["positives"] < evidence["rows"]:
        return _one_class_verdict(evidence)
    eligible = floors.challenger_floors(everywhere.labels, everywhere.challenger.scores, promotion)
    disparity_checks = [check for name, disparities in groups.items() for check in group_checks.checks(name, disparities)]
    evidence |= {"reuse": reuse} | group_checks.evidence(*groups.values())
    if failed := floors.failed(eligible):
        return Verdict("ineligible", f"The champion stays: the challenger fails {failed}.", eligible, evidence)
    if not np.isfinite(everywhere.champion.scores).all():
        raise EvergreenError(
            "The champion's scores are no numbers: nothing compares with it. "
            "Choose an earlier version: `evergreen model promote VERSION --reason TEXT`."
        )
    gain, compared, figures = _compared(now, over_all, evaluate, promotion, reuse)
    evidence = figures | evidence
    inferior = [*losses.checks(compared[1:]), *losses.latency_checks(latencies, promotion)]
    finding = _finding(gain, promotion.min_effect)
    headline = _sentence(finding, promotion.min_effect)
    if finding == "better" and floors.failed(disparity_checks):
        harm = " and ".join(group_checks.sentence(disparities) for disparities in groups.values() if disparities["harmed"])
        finding, headline = "unfair", f"The champion stays: the challenger is better overall and {harm}."
    elif finding == "better" and (failed := floors.failed(inferior)):
        finding = "not as good elsewhere"
        headline = f"The champion stays: the challenger is better, and fails {failed}."
    checks = [*eligible, *_gain_checks(gain, promotion.min_effect, reuse, evaluate.confidence), *inferior, *disparity_checks]
    return Verdict(finding, f"{headline} {_figures(compared[0], evidence)}", checks, evidence, compared)


def identical_verdict(onnx_sha256: str) -> Verdict:
    """The challenger scores by the champion's very file."""
    return Verdict("identical", f"The champion stays: the challenger is the same model, byte for byte ({onnx_sha256[:12]}).")


def incomparable_verdict(changed: list[str]) -> Verdict:
    """The champion cannot score the rows, so nothing can show which of the two is better."""
    check = Check(
        name="comparable",
        passed=False,
        observed="; ".join(changed),
        limit="every column that the champion reads",
        why="both must score the same rows",
        next_step="Give the query these columns back, or decide it yourself: `evergreen model promote VERSION --reason TEXT`.",
    )
    return Verdict("not comparable", f"The champion stays: not comparable, {', '.join(changed)}.", [check])


def _compared(
    now: Pair, over_all: Pair | None, evaluate: EvaluateParams, promotion: PromotionParams, reuse: int
) -> tuple[Interval, list[Comparison], dict[str, float]]:
    """The gain in the metric; all comparisons, that of the metric first; and what the evidence says of the gain."""
    from pipelines.promotion import gains

    metric, everywhere = promotion.metric, over_all or now
    plain = now.gains([metric] if over_all else [metric, *losses.watched(metric)], evaluate)
    error = gains.standard_error(plain[metric], evaluate.confidence)
    wide = {name: gains.widened(interval, reuse, evaluate.confidence) for name, interval in plain.items()}
    gain = wide.pop(metric)
    if over_all:
        wide = over_all.gains(losses.WATCHED, evaluate)
        wide = {name: gains.widened(interval, reuse, evaluate.confidence) for name, interval in wide.items()}
    first = Comparison(metric, UNITS.get(metric, ""), gain.point, gain.low, gain.high, 0.0)
    cost = float(gains.costs(everywhere.labels, everywhere.champion, evaluate).mean())
    guarded = losses.comparisons(wide, float((everywhere.labels == 1).mean()), cost, promotion)
    detectable = gains.detectable(error, promotion.min_effect, reuse, evaluate.confidence)
    return (
        gain,
        [first, *guarded],
        {"gain": gain.point, "low": gain.low, "high": gain.high, "minimum_detectable_effect": detectable},
    )


def _one_class_verdict(evidence: Mapping[str, float]) -> Verdict:
    check = Check(
        name="labels of both classes",
        passed=False,
        observed=f"{evidence['positives']} positives in {evidence['rows']} rows",
        limit="both classes",
        why="no metric is defined without",
        next_step="Pin more history, or let more snapshots decide (evaluate.newest_snapshots).",
    )
    headline = "The champion stays: insufficient evidence, too few rows that neither version was trained on."
    return Verdict("insufficient evidence", headline, [check], evidence)


def _gain_checks(gain: Interval, min_effect: float, reuse: int, confidence: float) -> list[Check]:
    from pipelines.promotion.gains import error_of

    times = "at the first use of these rows" if reuse == 1 else f"at use {reuse} of these rows"
    why = f"the lower bound of the gain, resampling entities; it errs in {error_of(reuse, confidence):.2%} of cases {times}"
    return [
        Check("better beyond chance", gain.low > 0, gain.low, "> 0", why, WAIT),
        Check("worth a new version", gain.point >= min_effect, gain.point, min_effect, "the estimate of the gain", WAIT),
    ]


def _finding(gain: Interval, min_effect: float) -> Finding:
    if gain.low > 0:
        return "better" if gain.point >= min_effect else "too small a gain"
    return "worse" if gain.high < 0 else "insufficient evidence"


def _sentence(finding: Finding, min_effect: float) -> str:
    return {
        "better": "The challenger becomes champion:",
        "too small a gain": f"The champion stays: the gain is real and below the minimum effect of {min_effect:g}:",
        "worse": "The champion stays: the challenger is worse:",
    }.get(finding, "The champion stays: insufficient evidence that the challenger is better:")


def _figures(gain: Comparison, evidence: Mapping[str, float]) -> str:
    interval = f"{gain.point:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
    judged = f"{evidence['rows']:,} rows of {evidence['entities']:,} entities that neither was trained on"
    if "rows_over_all" in evidence:
        judged = f"the newest {judged}"
    return f"gain in {gain.unit or gain.name} {interval} on {judged}."
