"""The page of a verdict: what was decided about a version, each comparison as a drawn interval, and a reason a check."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from monitoring.reports import markup, sanitized, site
from monitoring.reports.markup import link, text
from pipelines.promotion.verdict import Check, Comparison, Finding, Verdict

PAGE = "verdict.html"
PAD = 0.1  # of the picture's width, on either side of what is drawn
STYLE = """<style>
.answer { font-weight: 600; white-space: nowrap; } .answer.yes { color: var(--good); } .answer.no { color: var(--block); }
.answer.open { color: var(--nothing); }
.compared { border-top: 1px solid var(--line); padding: .5rem 0; }
.compared p { margin: 0; } .compared .what { font-weight: 600; }
.compared svg { display: block; width: 100%; height: 58px; overflow: visible; }
.compared text { font: 11px system-ui, sans-serif; fill: currentColor; }
.compared .axis { stroke: currentColor; opacity: .25; } .compared .zero { stroke: currentColor; opacity: .6; }
.compared .bound { stroke: currentColor; stroke-dasharray: 4 3; }
.compared .yes { --own: var(--good); } .compared .no { --own: var(--block); }
.compared .reach { stroke: var(--own); stroke-width: 3; } .compared .point { fill: var(--own); }
@media (min-width: 700px) { .checks td:nth-child(n+5) { min-width: 12rem; } .checks td:nth-child(2) { min-width: 5.5rem; } }
.said { border-left: .35rem solid var(--line); padding: .1rem .9rem; }
</style>"""
# What to do next, where no check that failed says it
NEXT: Mapping[Finding, str] = {
    "fit to serve": "Nothing: it serves. The next retraining is compared with it.",
    "better": "Nothing: it serves. `evergreen history` shows how it came to be.",
    "approved": "Nothing: it serves.",
    "by hand": "Nothing: it serves.",
    "identical": "Nothing: the same rows and params gave the same model. Newer rows may give another.",
    "insufficient evidence": "Nothing: the next retraining will have more rows.",
    "too small a gain": "Nothing: the champion is as good for all that it matters.",
    "worse": "Nothing: the champion stays. What did this run change?",
    "awaits review": "Approve or reject it in Prefect: open the flow run `promote` of this version, and press Resume.",
    "rejected": "Nothing: a person decided. The next retraining is judged anew.",
    "review expired": "Retrain by the same date: all stages are restored, and the review is asked for again.",
    "champion moved": "Retrain by the same date: all stages are restored, and it is judged against the new champion.",
}
ANSWERS = {True: ("yes", "✓ passed"), False: ("no", "✕ failed"), None: ("open", "○ open")}


def pages(model: str, version: int, verdict: Verdict) -> dict[str, str]:
    """What `site.write_version` takes: the verdict's page, beside the version's own, and what that begins with."""
    links = {"all models": "../../index.html", f"version {version}": "index.html"}
    return {PAGE: page(model, version, verdict, links), site.SUMMARY: summary(verdict)}


def page(model: str, version: int, verdict: Verdict, links: Mapping[str, str]) -> str:
    """HTML page.

    Args:
        links: title -> address, from this page.
    """
    title = f"{model} v{version}: verdict"
    body = [
        markup.STYLE,
        STYLE,
        f"<nav>{''.join(link(name, address) for name, address in links.items())}</nav>",
        f"<h1>{text(model)} v{version}: {_outcome(verdict)}</h1>",
        f"<p>{text(verdict.headline)}</p>",
        _review(verdict.review),
        f"<h2>Next</h2><p>{_with_commands(next_step(verdict))}</p>",
        *_comparisons(verdict),
        f'<h2>Checks</h2><div class="checks">{_checks(verdict.checks)}</div>',
        _rules(verdict.rules),
    ]
    return site.page(sanitized.text(title), body)


def summary(verdict: Verdict) -> str:
    """A part of another page beside this one: the verdict, and each comparison as a drawn interval."""
    drawn = "".join(drawing(one, verdict.rules) for one in verdict.comparisons)
    failed = [check for check in verdict.checks if check.passed is False]
    open_ = "".join(f"<li>{text(check.name)}: {_with_commands(check.next_step)}</li>" for check in failed)
    return (
        f"{markup.STYLE}{STYLE}<h1>{_outcome(verdict)}</h1><p>{text(verdict.headline)}</p>{_review(verdict.review)}{drawn}"
        f"{f'<ul>{open_}</ul>' if open_ else ''}<p>{link('every check, with its reason', PAGE)}</p>"
    )


def next_step(verdict: Verdict) -> str:
    """What to do now: what the first check that failed says, else what the finding does."""
    said = NEXT.get(verdict.finding, "")
    return said or next((check.next_step for check in verdict.checks if check.passed is False), "Nothing.")


def drawing(one: Comparison, rules: Mapping[str, Any]) -> str:
    """A comparison: its name, its interval against what it is to lie above, and the same in words."""
    title = one.unit if one.unit.startswith(one.name) else f"{one.name} ({one.unit})" if one.unit else one.name
    head = f'<p class="what">{text(title)}</p>'
    if one.point is None or one.low is None or one.high is None:
        return f'<div class="compared">{head}<p>It could not be computed.</p></div>'
    bounds = {"no difference": 0.0}
    if one.limit:
        bounds["may be lost"] = one.limit
    elif rules.get("min_effect"):
        bounds["minimum effect"] = rules["min_effect"]
    said = f"Gain {one.point:+.4f}, from {one.low:+.4f} to {one.high:+.4f}; all of it is to be above {one.limit:g}."
    picture = f'<svg role="figure" aria-label="{text(f"{one.name}: {said}")}">{_interval(one, bounds)}</svg>'
    return f'<div class="compared">{head}{picture}<p class="quiet">{text(said)}</p></div>'


def _interval(one: Comparison, bounds: Mapping[str, float]) -> str:
    """Worse is on the left. Places are in percent, so that the picture is as wide as the screen."""
    ends = [one.low or 0.0, one.high or 0.0, *bounds.values()]
    span = (max(ends) - min(ends)) or 1.0

    def across(value: float) -> float:
        return round(100 * (PAD + (1 - 2 * PAD) * (value - min(ends)) / span), 2)

    parts = ['<line class="axis" x1="0" x2="100%" y1="28" y2="28"/>']
    for row, (name, value) in enumerate(sorted(bounds.items(), key=lambda bound: bound[1])):
        at = across(value)
        anchor = "start" if at < 30 else "end" if at > 70 else "middle"
        kind = "bound" if value else "zero"
        parts.append(f'<line class="{kind}" x1="{at}%" x2="{at}%" y1="14" y2="42"/>')
        parts.append(f'<text x="{at}%" y="{54 if row % 2 == 0 else 11}" text-anchor="{anchor}">{text(name)} {value:g}</text>')
    low, point, high = (across(value or 0.0) for value in (one.low, one.point, one.high))
    reach = f'<line class="reach" x1="{low}%" x2="{high}%" y1="28" y2="28"/><circle class="point" cx="{point}%" cy="28" r="5"/>'
    return f'{"".join(parts)}<g class="{"yes" if one.holds else "no"}">{reach}</g>'


def _outcome(verdict: Verdict) -> str:
    answer = "yes" if verdict.outcome == "promoted" else "open" if verdict.finding == "awaits review" else "no"
    word = "awaits a person" if answer == "open" else verdict.outcome
    return f'<span class="answer {answer}">{text(word)}</span>: {text(verdict.finding)}'


def _review(review: Mapping[str, Any]) -> str:
    if "answer" not in review:
        return ""
    return f'<p class="said"><b>{text(review["by"])}</b> answered {text(review["answer"])}: {text(review["comment"])}</p>'


def _comparisons(verdict: Verdict) -> list[str]:
    evidence = verdict.evidence
    if not verdict.comparisons:
        return []
    use = int(evidence.get("use", 1))
    again = (
        "the first decision made on these rows"
        if use == 1
        else f"decision {use} made on rows of this pin, and its intervals are wider for it; newer rows begin anew"
    )
    judged = f"{evidence['rows']:,} rows of {evidence['entities']:,} entities, {evidence['positives']:,} positive"
    if "rows_over_all" in evidence:
        judged = f"the newest snapshots, {judged}; all but the first comparison on all {evidence['rows_over_all']:,} rows"
    seen = (
        f"Challenger less champion, positive where the challenger is better, on {judged}. Each row is judged by models that "
        f"have not seen its entity. This was {again}."
    )
    could = (
        f" Nine of ten such comparisons would show a true gain of {evidence['detectable']:.4f}."
        if evidence.get("detectable") is not None
        else ""
    )
    drawn = "".join(drawing(one, verdict.rules) for one in verdict.comparisons)
    return [f"<h2>Comparisons</h2><p>{text(seen + could)}</p>{drawn}"]


def _checks(checks: Sequence[Check]) -> str:
    header = ("check", "answer", "observed", "limit", "why it is asked", "next step")
    return markup.table(header, [_check(check) for check in checks])


def _check(check: Check) -> list[str]:
    style, word = ANSWERS[check.passed]
    return [
        text(check.name),
        f'<span class="answer {style}">{word}</span>',
        _value(check.observed),
        _value(check.limit),
        text(check.why),
        "" if check.passed else _with_commands(check.next_step),
    ]


def _with_commands(sentence: str) -> str:
    """A sentence as HTML, in which what stands in backticks is something to type."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text(sentence))


def _value(value: float | str | None) -> str:
    if value is None or isinstance(value, float):
        return markup.number(value, ".4f")
    return text(value.removeprefix("+").replace("-", "−", 1) if value.startswith(("+", "-")) else value)


def _rules(rules: Mapping[str, Any]) -> str:
    """The params it was judged by, folded."""
    if not rules:
        return ""
    rows = [[text(key), text("not judged" if value is None else value)] for key, value in sorted(rules.items())]
    return f"<details><summary>Judged by these params</summary>{markup.table(('param', 'value'), rows)}</details>"
