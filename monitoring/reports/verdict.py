"""The page of a verdict: what was decided about a version, each comparison as a drawn interval, and a reason a check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from monitoring.reports import render, site
from pipelines import sanitize
from pipelines.page import Mark, Table, number, with_commands
from pipelines.promotion.verdict import Check, Comparison, Finding, Verdict

PAGE = "verdict.html"
PAD = 0.1  # of the picture's width, on either side of what is drawn
# What to do next, where no check that failed says it
NEXT: Mapping[Finding, str] = {
    "fit to serve": "Nothing: it serves. The next retraining is compared with it.",
    "better": "Nothing: it serves. `evergreen model history` shows how it came to be.",
    "approved": "Nothing: it serves.",
    "by hand": "Nothing: it serves.",
    "identical": "Nothing: the same rows and params gave the same model. Newer rows may give another.",
    "insufficient evidence": "Nothing: the champion stays until a retraining on more rows shows more.",
    "too small a gain": "Nothing: the gain is below what params.yaml asks for (promotion.min_effect).",
    "worse": "Nothing: the champion stays. Compare what this run changed.",
    "awaits review": "Approve or reject it in Prefect: open the flow run `promote` of this version, and press Resume.",
    "rejected": "Nothing: a person decided. The next retraining is judged anew.",
    "review expired": "Retrain by the same date: all stages are restored, and the review is asked for again.",
    "champion moved": "Retrain by the same date: all stages are restored, and it is judged against the new champion.",
}
ANSWERS = {True: Mark("✓", "passed", "good"), False: Mark("✕", "failed", "bad"), None: Mark("○", "open", "calm")}
CHECKS = ("check", "answer", "observed", "limit", "why it is asked", "next step")
WORDS = {  # as people read them
    "rejected": "rejected",
    "fit to serve": "meets the minimum requirements",
    "ineligible": "below the minimum requirements",
    "not as good elsewhere": "worse in another metric",
    "unfair": "significant disparity",
    "by hand": "manual",
}


def pages(model: str, version: int, verdict: Verdict) -> dict[str, str]:
    """What `site.write_version` takes: the verdict's page, beside the version's own, and what that begins with."""
    shown = view(model, version, verdict)
    return {PAGE: render("verdict.html", **shown), site.SUMMARY: render("verdict_summary.html", **shown)}


def view(model: str, version: int, verdict: Verdict) -> dict[str, Any]:
    """What both show."""
    named = f"{sanitize.text(model)} v{version}"
    is_open = verdict.finding == "awaits review"
    return {
        "title": f"{named}: verdict",
        "trail": [("Evergreen", "../../index.html"), (named, "index.html"), ("verdict", "")],
        "named": named,
        "word": "awaits review" if is_open else WORDS.get(verdict.outcome, verdict.outcome),
        "tone": "good" if verdict.outcome == "promoted" else "calm" if is_open else "bad",
        "finding": "" if is_open or verdict.finding == "rejected" else WORDS.get(verdict.finding, verdict.finding),
        "headline": verdict.headline,
        "review": verdict.review if "answer" in verdict.review else None,
        "next": with_commands(next_step(verdict)),
        "comparisons": [
            drawing(comparison, verdict.rules, _snapshots(place) if "rows_over_all" in verdict.evidence else "")
            for place, comparison in enumerate(verdict.comparisons)
        ],
        "about": _about(verdict) if verdict.comparisons else "",
        "checks": Table(
            ("check", "answer", "observed", "limit", "why it is asked", "next step"),
            [_check(check) for check in verdict.checks],
        ),
        "failed": [(check.name, with_commands(check.next_step)) for check in verdict.checks if check.passed is False],
        "rules": Table(
            ("param", "value"),
            [[key, "not judged" if value is None else str(value)] for key, value in sorted(verdict.rules.items())],
        ),
        "page": PAGE,
    }


def next_step(verdict: Verdict) -> str:
    """What to do now: what the first check that failed says, else what the finding does."""
    advice = NEXT.get(verdict.finding, "")
    return advice or next((check.next_step for check in verdict.checks if check.passed is False), "Nothing.")


def _snapshots(place: int) -> str:
    """Of which rows a comparison is, where the first is of others than the rest."""
    return ", all snapshots" if place else ", newest snapshots"


def drawing(comparison: Comparison, rules: Mapping[str, Any], snapshots: str = "") -> dict[str, Any]:
    """A comparison: its name, its interval against what it is to lie above, and the same in words.

    Worse is on the left. Places are in percent, so that the picture is as wide as the screen.
    """
    title = (
        comparison.unit
        if comparison.unit.startswith(comparison.name)
        else f"{comparison.name} ({comparison.unit})"
        if comparison.unit
        else comparison.name
    ) + snapshots
    if comparison.point is None or comparison.low is None or comparison.high is None:
        return {"title": title, "words": "It could not be computed.", "ends": None}
    bounds = {"no difference": 0.0}
    if comparison.limit:
        bounds["may be lost"] = comparison.limit
    elif rules.get("min_effect"):
        bounds["minimum effect"] = rules["min_effect"]
    ends = [comparison.low, comparison.high, *bounds.values()]
    span = (max(ends) - min(ends)) or 1.0

    def across(value: float) -> float:
        return round(100 * (PAD + (1 - 2 * PAD) * (value - min(ends)) / span), 2)

    low, point, high = (number(value, "+.4f") for value in (comparison.low, comparison.point, comparison.high))
    return {
        "title": title,
        "words": f"Gain {point}, from {low} to {high}; all of it is to be above {number(comparison.limit)}.",
        "ends": [across(value) for value in (comparison.low, comparison.point, comparison.high)],
        "tone": "good" if comparison.holds else "bad",
        "bounds": [
            {"x": across(value), "text": Markup(f"{name} {number(value)}"), "is_zero": not value}
            for name, value in sorted(bounds.items(), key=lambda bound: bound[1])
        ],
    }


def _about(verdict: Verdict) -> str:
    """What was compared, on which rows, and what could be seen."""
    evidence = verdict.evidence
    reuse = int(evidence.get("reuse", 1))
    again = (
        "the first decision made on these rows"
        if reuse == 1
        else f"decision {reuse} made on rows of this pin, and its intervals are wider for it; newer rows begin anew"
    )
    judged = f"{evidence['rows']:,} rows of {evidence['entities']:,} entities, {evidence['positives']:,} positive"
    if "rows_over_all" in evidence:
        count, drawn_from = evidence["rows_over_all"], evidence.get("rows_judgeable")
        drawn = f", drawn from {drawn_from:,} by what they counted in its training" if drawn_from else ""
        judged = (
            f"the newest snapshots, {judged}; all but the first comparison on {'' if drawn else 'all '}{count:,} rows{drawn}"
        )
    sentence = (
        f"Challenger less champion, positive where the challenger is better, on {judged}. Each row is judged by models that "
        f"have not seen its entity. This was {again}."
    )
    detectable = evidence.get("minimum_detectable_effect")
    return (
        sentence
        if detectable is None
        else f"{sentence} Nine of ten such comparisons would show a true gain of {detectable:.3g}."
    )


def _check(check: Check) -> list[Any]:
    step = "" if check.passed else with_commands(check.next_step)
    return [check.name, ANSWERS[check.passed], _value(check.observed), _value(check.limit), check.why, step]


def _value(value: float | str | None) -> Any:
    if value is None or isinstance(value, float):
        return number(value)
    return value.removeprefix("+").replace("-", "−", 1) if value.startswith(("+", "-")) else value
