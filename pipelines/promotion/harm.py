"""Is a group harmed? From resampled figures (pipelines/statistics/fairness.py) to what is significant, for all groups at once.

Significant is what lies beyond its limit with the whole interval. Anything else is inconclusive, unless the interval lies
wholly within the limit: then there is none worth the name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from pipelines.promotion.group_checks import line_of
from pipelines.statistics.fairness import RATES, rates

if TYPE_CHECKING:
    from pipelines.config.params import AuditParams
    from pipelines.evaluation.disparity import Gap
    from pipelines.statistics.fairness import Floats, Group

Finding = Literal["significant", "inconclusive", "none"]
NO_GROUP, NOT_HARMED = "there is no such group", "this group is not harmed significantly"


class Measure(NamedTuple):
    """Harm of each group, shape (1 + resamples, groups), and the most that is tolerated; raw: where a part of a gap is judged,
    the whole of it, shape (groups,)."""

    drawn: Floats
    limit: float
    raw: Floats | None = None


def band(drawn: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Lower and upper ends that hold for every column of `drawn` (1 + resamples, m) at once.

    The studentised maximum of Romano & Wolf 2005: as wide as the largest of m deviations needs, in units of each
    column's own standard error; narrower than Bonferroni's, since groups overlap and share a rest.
    """
    point, around = drawn[0], drawn[1:]
    error = np.nanstd(around, axis=0, ddof=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = np.where(error > 0, np.abs(around - point) / error, 0.0)
    reach = np.quantile(np.nanmax(apart, axis=1), confidence)
    return point - reach * error, point + reach * error


def harms(measures: Mapping[str, Measure], judged: list[Group], confidence: float) -> list[dict[str, Any]]:
    """The disparity of every group and measure, one entry each: attribute, group, measure, ends, limit, finding; and where a
    part of a gap is judged, the whole of it (`raw`) and what of it is `explained`.

    Args:
        judged: the groups, all of them with enough evidence.
    """
    if not measures or not judged:
        return []
    low, high = band(np.hstack([measure.drawn for measure in measures.values()]), confidence)
    results = []
    for number, (measure, (drawn, limit, raw)) in enumerate(measures.items()):
        for index, group in enumerate(judged):
            at = number * len(judged) + index
            ends = {"point": float(drawn[0, index]), "low": float(low[at]), "high": float(high[at])}
            finding: Finding = "significant" if ends["low"] > limit else "none" if ends["high"] <= limit else "inconclusive"
            names = {"attribute": group.attribute, "group": group.name, "measure": measure}
            if raw is not None:
                ends |= {"raw": float(raw[index]), "explained": float(raw[index]) - ends["point"]}
            results.append(names | {end: round(value, 9) for end, value in ends.items()} | {"limit": limit, "finding": finding})
    return results


def apart_from_rest(totals: Floats, gaps: Mapping[str, Gap], params: AuditParams) -> dict[str, Measure]:
    """How much worse each group fares than everybody else, as `harms` takes it: of gaps in decisions what the model adds to
    what the groups' risks explain, and how much more it is underestimated.

    The rest and not the whole: the whole holds the group, and so hides the more of a gap the larger the group is.
    Underestimation is the share of a group's positives that its scores do not expect (1 - expected / observed), so that a rare
    outcome is asked for as much as a frequent one.

    Args:
        totals: sums of cells, shape (1 + resamples, 1 + groups, 6); the first group is all rows, and is not judged.
        gaps: of the same groups, as `disparity.gaps` returns them.
    """
    limits = {"TPR shortfall": params.max_tpr_shortfall, "FPR excess": params.max_fpr_excess}
    measures = {
        f"added {name}": Measure(gap.added, limit, gap.raw[0])
        for name, gap in gaps.items()
        if (limit := limits[name]) is not None
    }
    if params.max_underestimation is not None:
        beyond = _unexpected(totals[:, 1:]) - _unexpected(totals[:, :1] - totals[:, 1:])
        measures["underestimation"] = Measure(beyond, params.max_underestimation)
    return measures


def _unexpected(totals: Floats) -> Floats:
    """Share of the positives that scores do not expect; below 0 where they expect more than come."""
    base_rate, calibration = (RATES.index(name) for name in ("base_rate", "calibration"))
    counted = rates(totals)
    with np.errstate(invalid="ignore", divide="ignore"):
        return -counted[..., calibration] / counted[..., base_rate]


def apart_from_champion(
    challenger: Floats, champion: Floats, max_tpr_loss: float | None, max_fpr_gain: float | None
) -> dict[str, Measure]:
    """How much worse each group fares than under the champion, as `harms` takes it.

    What a group loses, less what everybody else loses: a threshold that moves for all is no matter of groups. What
    others gain is not held against it.

    Args:
        challenger, champion: sums of cells, shape (1 + resamples, groups, 6); the first group is all rows.
    """
    (new, new_rest), (old, old_rest) = (
        (rates(totals[:, 1:]), rates(totals[:, :1] - totals[:, 1:])) for totals in (challenger, champion)
    )
    loss, loss_of_rest = old - new, np.nan_to_num(old_rest - new_rest)
    tpr, fpr = RATES.index("tpr"), RATES.index("fpr")
    measures = {
        "TPR loss": (loss[..., tpr] - np.maximum(loss_of_rest[..., tpr], 0), max_tpr_loss),
        "FPR gain": (-loss[..., fpr] - np.maximum(-loss_of_rest[..., fpr], 0), max_fpr_gain),
    }
    return {name: Measure(drawn, limit) for name, (drawn, limit) in measures.items() if limit is not None}


def summarise(
    findings: list[dict[str, Any]],
    groups: list[Group],
    judged: list[Group],
    accepted: Mapping[str, str] | None = None,
    hidden: Collection[str] = (),
) -> dict[str, Any]:
    """What the findings come to.

    Args:
        accepted: "attribute: group" -> why its harm is right, by a person.
        hidden: attributes that the model does not see.

    Returns:
        `attributes`: name -> "significant" where some group is harmed, else "accepted" where all such harm is, "none" where
        every group was judged and none can be harmed beyond the limit, else "inconclusive", or "not judged" where there is
        no limit; `harmed`: the significant findings; `accepted`: those of them that a person accepted, each with the
        `reason`; `unmatched`: lines that accept what is not there -> why it is not; `inconclusive`: attribute, group and why,
        of each group that neither is nor can be shown not to be; `hidden`.
    """
    names = {(group.attribute, group.name) for group in judged}
    thin = [(group.attribute, group.name) for group in groups if (group.attribute, group.name) not in names]
    open_ = sorted({(finding["attribute"], finding["group"]) for finding in findings if finding["finding"] == "inconclusive"})
    reasons = [(*name, "insufficient evidence") for name in thin]
    reasons += [(*name, "the interval reaches beyond the limit") for name in open_]
    lines = accepted or {}
    significant = [finding for finding in findings if finding["finding"] == "significant"]
    agreed = [finding | {"reason": lines[line_of(finding)]} for finding in significant if line_of(finding) in lines]
    harmed = [finding for finding in significant if line_of(finding) not in lines]
    attributes = {group.attribute: "none" if findings else "not judged" for group in groups}
    attributes |= {attribute: "inconclusive" for attribute, *_ in reasons} if findings or not judged else {}
    attributes |= {finding["attribute"]: "accepted" for finding in agreed}
    attributes |= {finding["attribute"]: "significant" for finding in harmed}
    inconclusive = [dict(zip(("attribute", "group", "why"), reason, strict=True)) for reason in reasons]
    existing = {f"{group.attribute}: {group.name}" for group in groups}
    idle = [line for line in lines if line not in {line_of(finding) for finding in agreed}]
    return {
        "attributes": attributes,
        "harmed": harmed,
        "accepted": agreed,
        "unmatched": {line: NOT_HARMED if line in existing else NO_GROUP for line in idle},
        "inconclusive": inconclusive,
        "hidden": sorted(hidden),
    }
