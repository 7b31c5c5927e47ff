"""What the gate says of protected groups: from findings by group (pipelines/statistics/fairness.py) to checks and sentences."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipelines.promotion.verdict import Check

APART, AGAINST_CHAMPION = "against everybody else", "against the champion"
SHOWN_GROUPS = 6  # of each reason
LONGEST_NAME = 60
WAIT = "Nothing: more rows of these groups will tell."
LOOK = "Look at the group on the bias report: give the query columns that tell its members apart, or more rows of them. "
PROMOTE = "Whoever accepts the harm raises the limit with a reason, or promotes by hand."
TIDY = "Take these lines out of audit.accepted, or name the group as the bias report does: `attribute: group`."


def line_of(harm: Mapping[str, Any]) -> str:
    """What names a group in `audit.accepted`."""
    return f"{harm['attribute']}: {harm['group']}"


def checks(compared: str, disparity: Mapping[str, Any]) -> list[Check]:
    """Whether a group is harmed; and entries that are neither passed nor failed, for groups of which that is not known and for
    lines of `audit.accepted` that accept nothing.

    Args:
        compared: with what each group was compared.
        disparity: as `harm.summarise` returns it; of earlier days without `accepted`, `unmatched` and `hidden`.
    """
    if not disparity["attributes"]:
        return []
    descriptions = [_shown(harm) for harm in disparity["harmed"]]
    descriptions += [f"accepted, {_shown(harm)}: {harm['reason']}" for harm in disparity.get("accepted", ())]
    limits = {"significant", "accepted", "inconclusive", "none"} & set(disparity["attributes"].values())
    results = [
        Check(
            name=f"no significant harm, {compared}",
            passed=not disparity["harmed"] if limits else None,
            observed="; ".join(descriptions) or "no significant harm",
            limit="no interval wholly beyond its limit, but what a person accepts",
            why="the model decides about people; intervals hold for all groups at once",
            next_step=_way_out(disparity) if compared == APART else LOOK + PROMOTE,
        )
    ]
    if disparity["inconclusive"]:
        observed = "; ".join(
            _listed(why, disparity["inconclusive"]) for why in dict.fromkeys(harm["why"] for harm in disparity["inconclusive"])
        )
        why = "inconclusive is not passed: these groups may be harmed or not"
        results.append(Check(f"groups inconclusive, {compared}", None, observed, "enough rows of every group", why, WAIT))
    if unmatched := disparity.get("unmatched"):
        observed = "; ".join(f"{_short(line)}: {why}" for line, why in unmatched.items())
        why = "a line that accepts nothing today may accept more than was meant tomorrow"
        results.append(Check("lines of audit.accepted that accept nothing", None, observed, "none", why, TIDY))
    return results


def _way_out(disparity: Mapping[str, Any]) -> str:
    """What to do about a group that is worse off than everybody else, with the lines that a person would write."""
    hidden = sorted(
        {*disparity.get("hidden", ())} & {name for harm in disparity["harmed"] for name in harm["attribute"].split(" and ")}
    )
    names = " and ".join(hidden)
    unseen = (
        f"The model does not see {names}, so that its scores may be off within a group though nobody meant harm: take "
        f"{names} out of features.exclude where the model may know. "
        if hidden
        else ""
    )
    lines = dict.fromkeys(line_of(harm) for harm in disparity["harmed"])
    accepted = ", ".join(f'{json.dumps(line, ensure_ascii=False)}: "why this is right"' for line in lines)
    return (
        f"{LOOK}{unseen}Whoever accepts the harm writes the reason into params.yaml and retrains: "
        f"`audit: {{accepted: {{{accepted}}}}}`."
    )


def evidence(*disparities: Mapping[str, Any]) -> dict[str, float]:
    """How many groups are harmed significantly, of how many that is open, and of how many a person accepted it, where one did;
    in any of the comparisons."""

    def count(kind: str) -> int:
        return len({(group["attribute"], group["group"]) for disparity in disparities for group in disparity.get(kind, ())})

    if not any(disparity["attributes"] for disparity in disparities):
        return {}
    accepted: dict[str, float] = {"accepted_harm": count("accepted")} if count("accepted") else {}
    return {"significant_harm": count("harmed"), "inconclusive_harm": count("inconclusive")} | accepted


def sentence(disparity: Mapping[str, Any]) -> str:
    """For a headline, after the name of a model."""
    return f"is shown to harm a group: {'; '.join(_shown(harm) for harm in disparity['harmed'])}"


def passed(disparity: Mapping[str, Any]) -> str:
    """For the headline of a first champion."""
    accepted = dict.fromkeys(_short(line_of(harm)) for harm in disparity.get("accepted", ()))
    if not accepted:
        return "no group is harmed significantly"
    return f"a person accepted the significant harm ({', '.join(accepted)})"


def _listed(why: str, inconclusive: list[Mapping[str, Any]]) -> str:
    names = [f"{group['attribute']} {_short(group['group'])}" for group in inconclusive if group["why"] == why]
    more = f" and {len(names) - SHOWN_GROUPS} more" if len(names) > SHOWN_GROUPS else ""
    return f"{why}: {', '.join(names[:SHOWN_GROUPS])}{more}"


def _shown(harm: Mapping[str, Any]) -> str:
    measured = f"{harm['measure']} of {harm['attribute']} {_short(harm['group'])}"
    split = f" (the whole gap {harm['raw']:+.3f}, explained {harm['explained']:+.3f})" if "raw" in harm else ""
    return f"{measured} {harm['point']:+.3f} [{harm['low']:+.3f}, {harm['high']:+.3f}], at most {harm['limit']:g}{split}"


def _short(group: str) -> str:
    """A group's name may be any text of the table."""
    return group if len(group) <= LONGEST_NAME else f"{group[:LONGEST_NAME]}..."
