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
from monitoring.reports import markup, sanitized, site
from monitoring.reports.markup import figure, link, mark, name, number, text
from monitoring.timeline import Window
from pipelines.statistics.resampling import Interval

# What the reports of a window are: title, and what is on it.
REPORTS = {
    "drift.html": ("Data drift", "a sample of the window's rows and scores against the rows that the version was trained on."),
    "bias.html": ("Bias", "decisions and errors by protected group on mature labels, and whether harm is proven."),
    "classification.html": ("Classification", "the version at its threshold on mature labels: errors, precision, recall."),
}
NAMES = {PREDICTION: "score of the model", TARGET: "target", ALL: "all columns together"}
STATISTICS = {
    "psi": "PSI",
    "jensen_shannon": "Jensen-Shannon",
    "kolmogorov_smirnov": "Kolmogorov-Smirnov",
    "wasserstein": "Wasserstein",
}
ABOUT_STATISTICS = (
    "PSI, Jensen-Shannon distance, Kolmogorov-Smirnov and Wasserstein distance (in standard deviations) of the whole window "
    "against the version's training rows. They decide nothing. What decides is the change: how much a column moved against the "
    "nearest quiet window, in standard deviations of what quiet windows do."
)
ABOUT_JUDGEMENTS = "Labels come late and are corrected. Each line is what they said on a day, the newest last."


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
    statistics: column -> as monitoring.drift.statistics gives them. novelty: monitoring.quiet.Novelty.to_dict(), or None.
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
    novelty: Mapping[str, Any] | None
    judgements: Sequence[Judgement]


def page(details: Details, reports: Iterable[str] = ()) -> str:
    """HTML page.

    Args:
        reports: file names of the reports beside it.
    """
    window = details.window
    body = [
        markup.STYLE,
        f"<nav>{link('all models', details.home)}</nav>",
        f"<h1>{name(details.model)}: window {text(window.key)}</h1>",
        *_verdict(details),
        *_reports(reports),
        f"<h2>Findings</h2>{_findings(details.findings)}",
        f"<h2>Performance in {text(window.key)}</h2>{_performance(details)}",
        f"<h2>What was known when</h2><p>{ABOUT_JUDGEMENTS}</p>{_judgements(details)}",
        f"<h2>Drift by column</h2><p>{text(novelty_sentence(details.novelty))}</p><p>{ABOUT_STATISTICS}</p>",
        _statistics(details.statistics, changes_of(details.novelty)),
    ]
    return site.page(sanitized.text(f"{details.model}: window {window.key}"), body)


def changes_of(novelty: Mapping[str, Any] | None) -> dict[str, float]:
    """Column -> its largest standardised change, of those that are known."""
    found: dict[str, float] = {}
    for one in (novelty or {}).get("largest", []):
        found[one["column"]] = max(one["change"], found.get(one["column"], -math.inf))
    return found


def novelty_sentence(novelty: Mapping[str, Any] | None) -> str:
    """How new the window is, against which threshold, and from how many quiet windows that comes."""
    if not novelty:
        return "Drift was not judged."
    blocks = f"{novelty['blocks']} quiet window{'' if novelty['blocks'] == 1 else 's'}"
    if novelty["evidence"]:
        return f"Drift cannot be judged: {novelty['evidence']} ({blocks})."
    verdict = "above" if novelty["score"] > novelty["threshold"] else "below"
    return (
        f"Novelty {novelty['score']:.2f}, {verdict} the threshold {novelty['threshold']:.2f}, which comes from {blocks}. "
        "It is the largest change of all columns."
    )


def _verdict(details: Details) -> list[str]:
    window = details.window
    marks = " ".join(map(mark, dict.fromkeys([window.action, *(wish for wish in window.also if wish != "retrain")])))
    held = f"<p><b>Retraining held:</b> {text(window.held)}</p>" if window.held else ""
    asks = f"<p>Next:</p>{markup.command(details.next_command)}" if window.asks and details.next_command else ""
    scored = (
        f"{window.rows:,} rows scored by version {window.version}, judged on {window.judged_on}. Labels: {text(window.known)}."
    )
    return [
        f"<p>{marks} {text(window.why)}</p>{held}<p>{scored} Owner: {text(details.owner)}.</p>{asks}",
        f"<p>{markup.links(window.links)}</p>" if window.links else "",
    ]


def _reports(reports: Iterable[str]) -> list[str]:
    entries = [f"<li>{link(REPORTS[file][0], file)}: {text(REPORTS[file][1])}</li>" for file in reports if file in REPORTS]
    return [f"<h2>Reports</h2><ul>{''.join(entries)}</ul>"] if entries else []


def _findings(findings: Sequence[Finding]) -> str:
    header = ("kind", "about", "window", "what was found", "value", "threshold", "rows")
    rows = [
        [
            text(one.kind.replace("_", " ")),
            name(NAMES.get(one.about, one.about)),
            f'<span class="plain">{text(one.window)}</span>',
            text(one.says),
            number(one.value),
            number(one.threshold),
            f"{one.rows:,}",
        ]
        for one in findings
    ]
    return markup.table(header, rows, numbers=header[4:]) if rows else "<p>Nothing was found.</p>"


def _performance(details: Details) -> str:
    metrics = dict.fromkeys([details.metric, *details.estimates, *details.performance])
    rows = [
        [
            f"<b>{text(metric)}</b>" if metric == details.metric else text(metric),
            figure(details.reference.get(metric)),
            figure(details.estimates.get(metric)),
            figure(details.performance.get(metric)),
            outcome(details.estimates.get(metric), details.performance.get(metric)),
        ]
        for metric in metrics
    ]
    header = ("metric", "newest snapshots, out of fold", "estimated before labels", "came true on mature labels", "estimate")
    return f"{markup.table(header, rows)}<p>{text(BLIND)}</p>"


def outcome(estimate: Interval | None, performance: Interval | None) -> str:
    """What became of an estimate; "" where there is none or its labels are not mature."""
    if estimate is None or performance is None or not math.isfinite(estimate.point) or not math.isfinite(performance.point):
        return ""
    if estimate.low <= performance.point <= estimate.high:
        return "came true within its interval"
    return f"missed by {abs(performance.point - estimate.point):.3f}, beyond its interval"


def _judgements(details: Details) -> str:
    rows, before = [], None
    for one in details.judgements:
        change = ""
        if before is not None and one.performance is not None and math.isfinite(one.performance.point - before):
            change = f"{one.performance.point - before:+.4f}"
        share = f"{one.positives / one.rows:.1%}" if one.rows else markup.NONE
        rows.append([f"{one.judged_on}", f"{one.rows:,}", f"{one.positives:,}", share, figure(one.performance, 4), change])
        before = before if one.performance is None else one.performance.point
    header = ("judged on", "rows with a mature label", "positive", "share", details.metric, "change")
    return markup.table(header, rows, numbers=(*header[1:4], "change")) if rows else "<p>No label is mature yet.</p>"


def _statistics(statistics: Mapping[str, Mapping[str, float]], changes: Mapping[str, float]) -> str:
    def order(column: str) -> tuple[float, float]:
        psi = statistics[column].get("psi", 0.0)
        return -changes.get(column, -math.inf), -(psi if math.isfinite(psi) else 0.0)

    rows = [
        [
            name(NAMES.get(column, column)),
            number(changes.get(column), "+.1f"),
            *(number(statistics[column].get(statistic), ".3f") for statistic in STATISTICS),
            number(statistics[column].get("missing"), ".1%"),
            number(statistics[column].get("missing_reference"), ".1%"),
        ]
        for column in sorted(statistics, key=order)
    ]
    header = ("column", "change", *STATISTICS.values(), "missing", "missing in training")
    return markup.table(header, rows, numbers=header[1:]) if rows else "<p>No statistics were kept of this window.</p>"
