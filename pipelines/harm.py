"""Is a group harmed? From resampled figures of groups (pipelines/fairness.py) to what is proven, for all groups at once.

Proven is what lies beyond its limit with the whole interval. Anything else is unproven, unless the interval lies wholly
within the limit: then there is none worth the name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipelines.fairness import RATES, rates

if TYPE_CHECKING:
    from pipelines.fairness import Floats, Group
    from pipelines.params import AuditParams

Finding = Literal["proven", "unproven", "none"]


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


def harms(measures: Mapping[str, tuple[Floats, float]], judged: list[Group], confidence: float) -> list[dict[str, Any]]:
    """What is proven of every group and measure, one entry each: attribute, group, measure, ends, limit, finding.

    Args:
        measures: name -> (harm of each group, shape (1 + resamples, groups); the largest that is tolerated).
        judged: the groups, all of them with enough evidence.
    """
    if not measures or not judged:
        return []
    low, high = band(np.hstack([drawn for drawn, _ in measures.values()]), confidence)
    found = []
    for number, (measure, (drawn, limit)) in enumerate(measures.items()):
        for index, group in enumerate(judged):
            at = number * len(judged) + index
            ends = {"point": float(drawn[0, index]), "low": float(low[at]), "high": float(high[at])}
            finding: Finding = "proven" if ends["low"] > limit else "none" if ends["high"] <= limit else "unproven"
            names = {"attribute": group.attribute, "group": group.name, "measure": measure}
            found.append(names | {end: round(value, 9) for end, value in ends.items()} | {"limit": limit, "finding": finding})
    return found


def apart_from_rest(totals: Floats, params: AuditParams) -> dict[str, tuple[Floats, float]]:
    """How much worse each group fares than everybody else, as `harms` takes it.

    The rest and not the whole: the whole holds the group, and so hides the more of a gap the larger the group is.

    Args:
        totals: sums of cells, shape (1 + resamples, groups, 6); the first group is all rows, and is not judged.
    """
    own, rest = rates(totals[:, 1:]), rates(totals[:, :1] - totals[:, 1:])
    tpr, fpr, calibration = (RATES.index(name) for name in ("tpr", "fpr", "calibration"))
    base_rate = float(rates(totals[0, 0])[RATES.index("base_rate")])
    share = params.max_underestimation
    found = {
        "TPR shortfall": (rest[..., tpr] - own[..., tpr], params.max_tpr_shortfall),
        "FPR excess": (own[..., fpr] - rest[..., fpr], params.max_fpr_excess),
        "underestimation": (rest[..., calibration] - own[..., calibration], None if share is None else share * base_rate),
    }
    return {name: (drawn, limit) for name, (drawn, limit) in found.items() if limit is not None}


def apart_from_champion(
    challenger: Floats, champion: Floats, max_tpr_loss: float | None, max_fpr_gain: float | None
) -> dict[str, tuple[Floats, float]]:
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
    found = {
        "TPR loss": (loss[..., tpr] - np.maximum(loss_of_rest[..., tpr], 0), max_tpr_loss),
        "FPR gain": (-loss[..., fpr] - np.maximum(-loss_of_rest[..., fpr], 0), max_fpr_gain),
    }
    return {name: (drawn, limit) for name, (drawn, limit) in found.items() if limit is not None}


def summarise(found: list[dict[str, Any]], groups: list[Group], judged: list[Group]) -> dict[str, Any]:
    """What the findings come to.

    Returns:
        `attributes`: name -> "proven" where some group is harmed, "none" where every group was judged and none can be
        harmed beyond the limit, else "unproven", or "not judged" where there is no limit; `harmed`: the findings that
        are proven; `unproven`: attribute, group and why, of each group that neither is nor can be shown not to be.
    """
    names = {(group.attribute, group.name) for group in judged}
    thin = [(group.attribute, group.name) for group in groups if (group.attribute, group.name) not in names]
    open_ = sorted({(one["attribute"], one["group"]) for one in found if one["finding"] == "unproven"})
    reasons = [(*name, "insufficient evidence") for name in thin]
    reasons += [(*name, "the interval reaches beyond the limit") for name in open_]
    harmed = [one for one in found if one["finding"] == "proven"]
    attributes = {group.attribute: "none" if found else "not judged" for group in groups}
    attributes |= {attribute: "unproven" for attribute, *_ in reasons} if found or not judged else {}
    attributes |= {one["attribute"]: "proven" for one in harmed}
    unproven = [dict(zip(("attribute", "group", "why"), reason, strict=True)) for reason in reasons]
    return {"attributes": attributes, "harmed": harmed, "unproven": unproven}
