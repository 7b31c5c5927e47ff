"""What the gate says of protected groups: from findings by group (pipelines/statistics/fairness.py) to checks and sentences."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipelines.promotion.verdict import Check

APART, AGAINST_CHAMPION = "against everybody else", "against the champion"
SHOWN_GROUPS = 6  # of each reason
LONGEST_NAME = 60
WAIT = "Nothing: the next retraining will have more rows."
LOOK = "Look at the group on the bias report: give the query columns that tell its members apart, or more rows of them. "
PROMOTE = "Whoever accepts the harm raises the limit with a reason, or promotes by hand."
TIDY = "Take these lines out of audit.accepted, or name the group as the bias report does: `attribute: group`."


def line_of(harm: Mapping[str, Any]) -> str:
    """What names a group in `audit.accepted`."""
    return f"{harm['attribute']}: {harm['group']}"


def checks(compared: str, found: Mapping[str, Any]) -> list[Check]:
    """Whether a group is harmed; and entries that are neither passed nor failed, for groups of which that is not known and for
    lines of `audit.accepted` that accept nothing.

    Args:
        compared: with what each group was compared.
        found: as `harm.summarise` returns it; of earlier days without `accepted`, `unmatched` and `hidden`.
    """
    if not found["attributes"]:
        return []
    shown = [_shown(one) for one in found["harmed"]]
    shown += [f"accepted, {_shown(one)}: {one['reason']}" for one in found.get("accepted", ())]
    limits = {"proven", "accepted", "unproven", "none"} & set(found["attributes"].values())
    made = [
        Check(
            name=f"no harm proven, {compared}",
            passed=not found["harmed"] if limits else None,
            observed="; ".join(shown) or "no harm is proven",
            limit="no interval wholly beyond its limit, but what a person accepts",
            why="the model decides about people; intervals hold for all groups at once",
            next_step=_way_out(found) if compared == APART else LOOK + PROMOTE,
        )
    ]
    if found["unproven"]:
        observed = "; ".join(_listed(why, found["unproven"]) for why in dict.fromkeys(one["why"] for one in found["unproven"]))
        why = "not proven is not passed: these groups may be harmed or not"
        made.append(Check(f"groups unproven, {compared}", None, observed, "enough rows of every group", why, WAIT))
    if unmatched := found.get("unmatched"):
        observed = "; ".join(f"{_short(line)}: {why}" for line, why in unmatched.items())
        why = "a line that accepts nothing today may accept more than was meant tomorrow"
        made.append(Check("lines of audit.accepted that accept nothing", None, observed, "none", why, TIDY))
    return made


def _way_out(found: Mapping[str, Any]) -> str:
    """What to do about a group that is worse off than everybody else, with the lines that a person would write."""
    hidden = sorted({*found.get("hidden", ())} & {name for one in found["harmed"] for name in one["attribute"].split(" and ")})
    names = " and ".join(hidden)
    unseen = (
        f"The model does not see {names}, so that its scores may be off within a group though nobody meant harm: take "
        f"{names} out of features.exclude where the model may know. "
        if hidden
        else ""
    )
    lines = dict.fromkeys(line_of(one) for one in found["harmed"])
    accepted = ", ".join(f'{json.dumps(line, ensure_ascii=False)}: "why this is right"' for line in lines)
    return (
        f"{LOOK}{unseen}Whoever accepts the harm writes the reason into params.yaml and retrains: "
        f"`audit: {{accepted: {{{accepted}}}}}`."
    )


def evidence(*found: Mapping[str, Any]) -> dict[str, float]:
    """How many groups are proven to be harmed, of how many that is open, and of how many a person accepted it, where one did;
    in any of the comparisons."""

    def count(kind: str) -> int:
        return len({(one["attribute"], one["group"]) for each in found for one in each.get(kind, ())})

    if not any(each["attributes"] for each in found):
        return {}
    accepted = {"harm_accepted": count("accepted")} if count("accepted") else {}
    return {"harm_proven": count("harmed"), "harm_unproven": count("unproven")} | accepted


def sentence(found: Mapping[str, Any]) -> str:
    """For a headline, after the name of a model."""
    return f"is shown to harm a group: {'; '.join(_shown(one) for one in found['harmed'])}"


def passed(found: Mapping[str, Any]) -> str:
    """For the headline of a first champion."""
    accepted = dict.fromkeys(_short(line_of(one)) for one in found.get("accepted", ()))
    if not accepted:
        return "no harm to a group is proven"
    return f"the harm that is proven, a person accepted ({', '.join(accepted)})"


def _listed(why: str, unproven: list[Mapping[str, Any]]) -> str:
    names = [f"{one['attribute']} {_short(one['group'])}" for one in unproven if one["why"] == why]
    more = f" and {len(names) - SHOWN_GROUPS} more" if len(names) > SHOWN_GROUPS else ""
    return f"{why}: {', '.join(names[:SHOWN_GROUPS])}{more}"


def _shown(harm: Mapping[str, Any]) -> str:
    where = f"{harm['measure']} of {harm['attribute']} {_short(harm['group'])}"
    split = f" (the whole gap {harm['raw']:+.3f}, explained {harm['explained']:+.3f})" if "raw" in harm else ""
    return f"{where} {harm['point']:+.3f} [{harm['low']:+.3f}, {harm['high']:+.3f}], at most {harm['limit']:g}{split}"


def _short(group: str) -> str:
    """A group's name may be any text of the table."""
    return group if len(group) <= LONGEST_NAME else f"{group[:LONGEST_NAME]}..."
