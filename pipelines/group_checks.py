"""What the gate says of protected groups: from findings by group (pipelines/fairness.py) to checks and sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.verdict import Check

APART, AGAINST_CHAMPION = "against everybody else", "against the champion"
SHOWN_GROUPS = 6  # of each reason
LONGEST_NAME = 60
WAIT = "Nothing: the next retraining will have more rows."


def checks(compared: str, found: Mapping[str, Any]) -> list[Check]:
    """Whether a group is harmed, and a second entry, neither passed nor failed, for groups of which that is not known.

    Args:
        compared: with what each group was compared.
        found: as `harm.summarise` returns it.
    """
    if not found["attributes"]:
        return []
    shown = "; ".join(_shown(one) for one in found["harmed"])
    limits = {"proven", "unproven", "none"} & set(found["attributes"].values())
    made = [
        Check(
            name=f"no harm proven, {compared}",
            passed=not found["harmed"] if limits else None,
            observed=shown or "no harm is proven",
            limit="no interval wholly beyond its limit",
            why="the model decides about people; intervals hold for all groups at once",
            next_step="Look at the group on the bias report: give the query columns that tell its members apart, or more rows "
            "of them. Whoever accepts the harm raises the limit with a reason, or promotes by hand.",
        )
    ]
    if found["unproven"]:
        observed = "; ".join(_listed(why, found["unproven"]) for why in dict.fromkeys(one["why"] for one in found["unproven"]))
        why = "not proven is not passed: these groups may be harmed or not"
        made.append(Check(f"groups unproven, {compared}", None, observed, "enough rows of every group", why, WAIT))
    return made


def evidence(*found: Mapping[str, Any]) -> dict[str, float]:
    """How many groups are proven to be harmed, and of how many that is open, in any of the comparisons."""

    def count(kind: str) -> int:
        return len({(one["attribute"], one["group"]) for each in found for one in each[kind]})

    return (
        {"harm_proven": count("harmed"), "harm_unproven": count("unproven")}
        if any(each["attributes"] for each in found)
        else {}
    )


def sentence(found: Mapping[str, Any]) -> str:
    """For a headline, after the name of a model."""
    return f"is shown to harm a group: {'; '.join(_shown(one) for one in found['harmed'])}"


def _listed(why: str, unproven: list[Mapping[str, Any]]) -> str:
    names = [f"{one['attribute']} {_short(one['group'])}" for one in unproven if one["why"] == why]
    more = f" and {len(names) - SHOWN_GROUPS} more" if len(names) > SHOWN_GROUPS else ""
    return f"{why}: {', '.join(names[:SHOWN_GROUPS])}{more}"


def _shown(harm: Mapping[str, Any]) -> str:
    where = f"{harm['measure']} of {harm['attribute']} {_short(harm['group'])}"
    return f"{where} {harm['point']:+.3f} [{harm['low']:+.3f}, {harm['high']:+.3f}], at most {harm['limit']:g}"


def _short(group: str) -> str:
    """A group's name may be any text of the table."""
    return group if len(group) <= LONGEST_NAME else f"{group[:LONGEST_NAME]}..."
