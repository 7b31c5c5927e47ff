"""The page of one window: its verdict and what it rests on, what was estimated and what came true, and what was known when."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from monitoring.changes import ALL
from monitoring.estimate import BLIND
from monitoring.findings import Finding
from monitoring.histograms import PREDICTION, TARGET
from monitoring.reports import render
from monitoring.reports.index import because
from monitoring.reports.marks import mark
from monitoring.timeline import Window
from pipelines import sanitize
from pipelines.page import Link, Table, Trail, figure, name, number
from pipelines.statistics.resampling import Interval

# What the reports of a window are: title, and what is on it.
REPORTS = {
    "drift.html": ("Data drift", "a sample of the window's rows and scores against the rows that the version was trained on."),
    "bias.html": ("Bias", "decisions and errors by protected group on mature labels, and whether disparities are significant."),
    "classification.html": ("Classification", "the version at its threshold on mature labels: errors, precision, recall."),
}
NAMES = {PREDICTION: "score of the model", TARGET: "target", ALL: "all columns together"}
KINDS = {"data_incident": "data incident", "warning": "warning", "insufficient": "insufficient evidence"}
ABOUT_CHANGES = (
    "The change is how much a column moved against the nearest baseline window, in standard deviations of what baseline "
    "windows do; it decides. PSI and other distances to the training rows are in Evidently's report."
)


@dataclass(frozen=True)
class Judgement:
    """What was known of a window's performance on a day: rows with a mature label, positives among them, the metric."""

    judged_on: date
    rows: int
    positives: int
    performance: Interval | None


@dataclass(frozen=True)
class Details:
    """All that the page of a window shows.

    window: as on the timeline; its links are relative to this page here. home: address of the site's first page from here.
    next_command: what to type next, or "".
    reference, estimates, performance: metric -> figure on the version's newest snapshots, before labels, and on mature labels.
    statistics: column -> its missing shares (monitoring.judge.missing_shares). drift: of
        monitoring.drift.Drift.to_dict(), or None.
    judgements: oldest first.
    """

    model: str
    owner: str
    metric: str
    window: Window
    home: str
    next_command: str
    reference: Mapping[str, Interval]
    estimates: Mapping[str, Interval]
    performance: Mapping[str, Interval]
    findings: Sequence[Finding]
    statistics: Mapping[str, Mapping[str, float]]
    drift: Mapping[str, Any] | None
    judgements: Sequence[Judgement]


def page(details: Details, reports: Iterable[str] = ()) -> str:
    """HTML page.

    Args:
        reports: file names of the reports beside it.
    """
    return render("window.html", **view(details, reports))


def trail_of(details: Details) -> Trail:
    """The way back from a window's page."""
    return [("Evergreen", details.home), (f"{sanitize.text(details.model)}: window {details.window.key}", "")]


def verdict_of(details: Details) -> dict[str, Any]:
    """What every page of a window begins with: its marks, and why, by its own figures first."""
    window = details.window
    wishes = [
        window.action,
        *(["suppressed"] if window.suppressed else []),
        *(wish for wish in window.also if wish != "retrain"),
    ]
    return {
        "marks": [mark(wish) for wish in dict.fromkeys(wishes)],
        "why": window.why,
        "because": because(window),
        "suppressed": window.suppressed,
    }


def view(details: Details, reports: Iterable[str] = ()) -> dict[str, Any]:
    """What the page shows."""
    window, changes = details.window, changes_of(details.drift)
    return {
        "title": f"{sanitize.text(details.model)}: window {window.key}",
        "trail": trail_of(details),
        "model": name(details.model),
        "window": window,
        "verdict": verdict_of(details),
        "owner": details.owner,
        "command": details.next_command if window.asks else "",
        "reports": [(Link(REPORTS[file][0], file), REPORTS[file][1]) for file in reports if file in REPORTS],
        "findings": _findings(details.findings),
        "performance": _performance(details),
        "blind": BLIND,
        "judgements": _judgements(details),
        "drift": drift_sentence(details.drift),
        "about_changes": ABOUT_CHANGES,
        "columns": _columns(details.statistics, changes),
    }


def changes_of(drift: Mapping[str, Any] | None) -> dict[str, float]:
    """Column -> its largest standardised change, of those that are known."""
    largest: dict[str, float] = {}
    for change in (drift or {}).get("largest", []):
        largest[change["column"]] = max(change["change"], largest.get(change["column"], -math.inf))
    return largest


def drift_sentence(drift: Mapping[str, Any] | None) -> str:
    """How far the window moved, against which control limit, and from how many baseline windows that comes."""
    if not drift:
        return "Drift was not judged."
    baseline = f"{drift['blocks']} baseline window{'' if drift['blocks'] == 1 else 's'}"
    if drift["evidence"]:
        return f"Drift cannot be judged: {drift['evidence']} ({baseline})."
    verdict = "above" if drift["score"] > drift["threshold"] else "below"
    return (
        f"Drift score {drift['score']:.2f}, {verdict} the control limit {drift['threshold']:.2f}, which comes from "
        f"{baseline}. It is the largest change of all columns."
    )


def _findings(findings: Sequence[Finding]) -> Table:
    header = ("kind", "about", "window", "what was found", "value", "limit", "rows")
    rows = [
        [
            KINDS.get(finding.kind, finding.kind.replace("_", " ")),
            name(NAMES.get(finding.about, finding.about)),
            finding.window,
            finding.message,
            number(finding.value),
            number(finding.threshold),
            f"{finding.rows:,}",
        ]
        for finding in findings
    ]
    return Table(header, rows, header[4:], "Nothing was found.")


def _performance(details: Details) -> Table:
    metrics = dict.fromkeys([details.metric, *details.estimates, *details.performance])
    rows = [
        [
            metric,
            figure(details.reference.get(metric)),
            figure(details.estimates.get(metric)),
            figure(details.performance.get(metric)),
            outcome(details.estimates.get(metric), details.performance.get(metric)),
        ]
        for metric in metrics
    ]
    return Table(("metric", "newest snapshots, out of fold", "estimated before labels", "on mature labels", "estimate"), rows)


def outcome(estimate: Interval | None, performance: Interval | None) -> str:
    """What became of an estimate; "" where there is none or its labels are not mature."""
    if estimate is None or performance is None or not math.isfinite(estimate.point) or not math.isfinite(performance.point):
        return ""
    if estimate.low <= performance.point <= estimate.high:
        return "came true within its interval"
    return f"missed by {abs(performance.point - estimate.point):.3f}, beyond its interval"


def _judgements(details: Details) -> Table:
    rows, before = [], None
    for judgement in details.judgements:
        change = ""
        if before is not None and judgement.performance is not None and math.isfinite(judgement.performance.point - before):
            change = number(judgement.performance.point - before, "+.4f")
        share = f"{judgement.positives / judgement.rows:.1%}" if judgement.rows else number(None)
        rows.append(
            [
                f"{judgement.judged_on}",
                f"{judgement.rows:,}",
                f"{judgement.positives:,}",
                share,
                figure(judgement.performance, 4),
                change,
            ]
        )
        before = before if judgement.performance is None else judgement.performance.point
    header = ("judged on", "rows with a mature label", "positive", "share", details.metric, "change")
    return Table(header, rows, (*header[1:4], "change"), "No label is mature yet.")


def _columns(shares: Mapping[str, Mapping[str, float]], changes: Mapping[str, float]) -> Table:
    """Every watched column, the one that moved most first."""
    rows = [
        [
            name(NAMES.get(column, column)),
            number(changes.get(column), "+.1f"),
            number(shares[column].get("missing"), ".1%"),
            number(shares[column].get("missing_reference"), ".1%"),
        ]
        for column in sorted(shares, key=lambda column: -changes.get(column, -math.inf))
    ]
    header = ("column", "change", "missing", "missing in training")
    return Table(header, rows, header[1:], "Nothing was recorded of this window's columns.")
