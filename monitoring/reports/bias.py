"""The bias report: the figures of monitoring/stages/audit.py as tables, and of each attribute a metric of our own in Evidently.

Evidently's GroupBy gives each group the figure of all rows, and it has no fairness metric: neither is used.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from monitoring.reports import rendering
from pipelines import sanitize
from pipelines.page import Table, number
from pipelines.promotion.group_checks import line_of

RATES = {
    "base_rate": "base rate",
    "selection_rate": "selection rate",
    "tpr": "TPR (recall)",
    "fpr": "FPR",
    "precision": "precision",
    "calibration": "calibration",
    "calibration_selected": "calibration, selected",
    "roc_auc": "ROC-AUC",
}
DECISIONS, SCORES = tuple(RATES)[:5], tuple(RATES)[5:]
AT_CAPACITY = ("selection_rate", "tpr", "precision")
NONE = {"point": 0.0}
PLOTTED = ("selection_rate", "tpr", "fpr", "precision")
COLOURS = ["#2f86c1", "#d9711c", "#2a9a76", "#a06bb5"]  # told apart by the colour-blind, seen in the light and in the dark
LAYOUT = {
    "legend": {"orientation": "h", "y": 1.25},  # above the plot: below it, long group names run through it
    "colorway": COLOURS,
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "font": {"color": "#7f8b86"},
}
AXIS = {"gridcolor": "rgba(127,139,134,0.27)", "zerolinecolor": "#7f8b86"}
WORDS = {"significant": "significant", "inconclusive": "inconclusive"}  # as people read them
FINDINGS = {
    "significant": "significant",
    "accepted": "accepted: what is significant, a person accepted with a reason (audit.accepted)",
    "inconclusive": "inconclusive",
    "none": "none beyond the limit, and every group has enough evidence",
    "not judged": "not judged: no limit is set",
}
LIMITS = {
    "max_tpr_shortfall": "Added TPR shortfall",
    "max_fpr_excess": "Added FPR excess",
    "max_underestimation": "Underestimation",
}
HARM = "Disparity, judged against everybody else; intervals hold for all lines at once"
SPLIT = "Gaps to everybody else: the whole, what the groups' risks explain, and what the model adds, which is judged"
CAPACITY = "At the capacity (evaluate.capacity): who would be acted on, by group"
WITHOUT = "With the attribute left out: the rate with it, and the change, at the same number selected"
NOTES = (
    "Rates are of all these rows; curves of scores are of the sample. Difference and ratio are to all rows; disparity is "
    "judged against everybody else, since all rows hold the group. Of a gap in TPR or FPR so much is explained as there would "
    "be between the same groups under a model that is calibrated in each; what the model adds is judged. Calibration is mean "
    "score less share of positives; underestimation, the share of a group's positives that its scores do not expect, less "
    "that of everybody else. A group with insufficient evidence neither passes nor fails."
)


def page(title: str, findings: dict[str, Any], rows: pd.DataFrame, *, what: str, **around: Any) -> str:
    """HTML page.

    Args:
        findings: as `audit.measure` returns them; `without` may be left out, as it is of a window.
        rows: a bounded sample with `score` and one text column `group_<attribute>` an attribute.
        what: the rows that the findings are of, in words: "rows, out of fold".
        around: `trail` and `verdict` of rendering.render.
    """
    from evidently import DataDefinition

    tables, metrics = [(HARM, harm_table(findings))], []
    tables += [(title, table) for title, table in ((SPLIT, split_table(findings)), (CAPACITY, capacity_table(findings)))]
    for attribute, groups in {**findings["attributes"], **findings["pairs"]}.items():
        named, names = sanitize.text(attribute), sanitize.names(group["group"] for group in groups)
        tables += [(f"{named}: {title}", table) for title, table in group_tables(groups, names)]
        solid = [group for group in groups if group["evidence"] == "sufficient"]
        plots = {f"{named}: rates of groups with enough evidence": _bars(solid, names)}
        if attribute in findings["attributes"]:
            member = rows[f"group_{attribute}"].map({group["group"]: names[group["group"]] for group in solid})
            plots[f"{named}: scores in the sample"] = _curves(rows["score"], member)
        harm = FINDINGS[findings["verdict"]["attributes"][attribute]].partition(":")[0].partition(" beyond")[0]
        counters = {
            f"{named}: disparity": harm,
            "largest difference in TPR between groups": _gap(findings["gaps"][attribute]["tpr"]),
            "groups with enough evidence": f"{len(solid)} of {len(groups)}",
        }
        plots_json = {title: figure.to_json() for title, figure in plots.items()}
        metrics.append(_metric()(title=named, counters=counters, plots=plots_json, groups=len(solid)))
    if "without" in findings:
        tables.append((WITHOUT, without_table(findings)))
    shown = [(title, table) for title, table in tables if table.rows or title == HARM]
    statement, definition = _statement(findings, len(rows), what), DataDefinition(numerical_columns=["score"])
    return rendering.render(title, statement, metrics, rows[["score"]], definition, tables=shown, **around)


def group_tables(groups: list[dict[str, Any]], names: dict[str, str]) -> list[tuple[str, Table]]:
    """Of an attribute's groups: decisions and errors, scores, and how far each is from all rows."""
    sizes = ("group", "evidence", "rows", "entities", "positives")

    def table(header: tuple[str, ...], rates: tuple[str, ...], show: Callable[[dict[str, Any]], str]) -> Table:
        fixed = [[names[group["group"]], *(group[title] for title in header[1:])] for group in groups]
        cells = [[Markup(show(group["rates"][rate])) for rate in rates] for group in groups]
        titles = (*header, *(RATES[rate] for rate in rates))
        return Table(
            titles, [[*names_of_group, *figures] for names_of_group, figures in zip(fixed, cells, strict=True)], titles[2:]
        )

    return [
        ("decisions and errors", table(sizes, DECISIONS, lambda rate: _interval(rate["value"]))),
        ("scores", table(sizes[:2], SCORES, lambda rate: _interval(rate["value"]))),
        ("difference to all rows, and ratio", table(sizes[:2], tuple(RATES), _apart)),
    ]


def harm_table(findings: dict[str, Any]) -> Table:
    """One line a judgement, the gravest first."""
    order = {"significant": 0, "inconclusive": 1, "none": 2}
    reasons = {line_of(harm): sanitize.text(harm["reason"]) for harm in findings["verdict"].get("accepted", ())}

    def line(finding: dict[str, Any]) -> list[Any]:
        is_accepted = finding["finding"] == "significant" and line_of(finding) in reasons
        verdict = f"accepted: {reasons[line_of(finding)]}" if is_accepted else finding["finding"]
        named = [sanitize.text(finding["attribute"]), sanitize.text(finding["group"]), finding["measure"]]
        return [*named, Markup(_signed(finding)), number(finding["limit"]), verdict]

    lines = [
        line(finding)
        for finding in sorted(findings["harm"], key=lambda finding: (order[finding["finding"]], -finding["point"]))
    ]
    header = ("attribute", "group", "measure", "figure", "limit", "disparity")
    return Table(header, lines, header[3:5], "Nothing was judged: no group has enough evidence, or no limit is set.")


def split_table(findings: dict[str, Any]) -> Table:
    """One line a group and rate, the largest gap first: raw, explained and added; none of a window of earlier days."""
    parts = {"raw": "the whole gap", "explained": "explained by risks", "added": "added by the model"}
    lines = [
        [
            sanitize.text(gap["attribute"]),
            sanitize.text(gap["group"]),
            gap["rate"],
            *(Markup(_signed(gap[part])) for part in parts),
        ]
        for gap in sorted(findings.get("split", ()), key=lambda gap: -(gap["raw"] or NONE)["point"])
    ]
    return Table(("attribute", "group", "rate", *parts.values()), lines, tuple(parts.values()))


def capacity_table(findings: dict[str, Any]) -> Table:
    """One line a group of one attribute or two: how much of it is within the capacity; none where no capacity is set."""
    lines = [
        [
            sanitize.text(attribute),
            sanitize.text(group["group"]),
            group["evidence"],
            *map(_interval, group["at_capacity"].values()),
        ]
        for attribute, groups in {**findings["attributes"], **findings["pairs"]}.items()
        for group in groups
        if "at_capacity" in group
    ]
    rates = tuple(RATES[rate] for rate in AT_CAPACITY)
    return Table(("attribute", "group", "evidence", *rates), lines, rates)


def without_table(findings: dict[str, Any]) -> Table:
    """One line an attribute and group: rates of decisions with the attribute, and what leaving it out changes."""
    rates = ("selection_rate", "tpr", "fpr", "precision", "roc_auc")
    titles, lines = tuple(RATES[rate] for rate in rates), []
    for attribute, result in findings["without"].items():
        name = sanitize.text(attribute)
        if not (result["seen"] and result["candidate"]):
            lines.append([name, "nothing could be fitted again without it" if result["seen"] else "no model sees it"])
            continue
        instead = f" ({sanitize.text(result['candidate'])} for it)" if result["stands_for"] else ""
        for group in result["groups"]:
            few = "" if group["evidence"] == "sufficient" else ", insufficient evidence"
            who = f"{sanitize.text(group['group']) if group['group'] else 'all rows'}{few}"
            lines.append([f"{name}{instead}", who, *(_changed(group["rates"][rate]) for rate in rates)])
    return Table(("attribute", "group", *titles), lines, titles)


@cache
def _metric() -> type:
    """A metric of our own. Defined here and once, as importing Evidently takes 8 s and it registers each class."""
    from evidently.core.metric_types import SingleValueCalculation, SingleValueMetric
    from evidently.legacy.renderers.html_widgets import CounterData, WidgetSize, counter, plotly_figure

    class AttributeRates(SingleValueMetric):
        title: str
        counters: dict[str, str]
        plots: dict[str, str]  # as plotly writes its figures as JSON
        groups: int

    class AttributeRatesCalculation(SingleValueCalculation[AttributeRates]):
        def display_name(self) -> str:
            return f"groups of {self.metric.title} with enough evidence"

        def calculate(self, _context: Any, _current_data: Any, _reference_data: Any) -> tuple[Any, None]:
            from plotly.io import from_json

            result = self.result(self.metric.groups)
            counters = counter(counters=[CounterData(title, value) for title, value in self.metric.counters.items()])
            plots = [(title, from_json(text)) for title, text in self.metric.plots.items()]
            result.widget = [
                counters,
                *(plotly_figure(title=title, figure=figure, size=WidgetSize.HALF) for title, figure in plots),
            ]
            return result, None

    return AttributeRates


def _bars(groups: list[dict[str, Any]], names: dict[str, str]) -> Any:
    import plotly.graph_objects as go

    axes = {"xaxis": {"type": "category", "title": "group"}, "yaxis": AXIS | {"range": [0, 1], "title": "rate"}}
    figure = go.Figure(layout=LAYOUT | axes | {"barmode": "group"})
    for rate in PLOTTED if groups else ():
        rates = {names[group["group"]]: group["rates"][rate]["value"] for group in groups}
        with_figure = {name: value for name, value in rates.items() if value}
        up, down = ([abs(interval[end] - interval["point"]) for interval in with_figure.values()] for end in ("high", "low"))
        error = {"type": "data", "symmetric": False, "array": up, "arrayminus": down}
        figure.add_bar(
            name=RATES[rate], x=list(with_figure), y=[interval["point"] for interval in with_figure.values()], error_y=error
        )
    return figure


def _curves(scores: pd.Series, member: pd.Series) -> Any:
    """Share of each group's rows by score; binned here, so that no single score is on the page."""
    import plotly.graph_objects as go

    edges = np.linspace(0, 1, 26)
    axes = {"xaxis": AXIS | {"title": "score"}, "yaxis": AXIS | {"title": "share of the group", "type": "log"}}
    figure = go.Figure(layout=LAYOUT | axes)
    for group, group_scores in scores.groupby(member):
        counts, _ = np.histogram(group_scores, edges)
        shares = [count / counts.sum() if count else None for count in counts.tolist()]
        figure.add_scatter(name=str(group), mode="lines+markers", x=((edges[:-1] + edges[1:]) / 2).tolist(), y=shares)
    return figure


def _statement(findings: dict[str, Any], shown: int, what: str) -> list[str]:
    all_rows, verdict = findings["whole"], findings["verdict"]
    rates = ", ".join(f"{name} {_interval(all_rows['rates'][rate]['value'])}" for rate, name in RATES.items())
    disparities = "; ".join(f"{sanitize.text(name)}: {FINDINGS[finding]}" for name, finding in verdict["attributes"].items())
    unjudged = "".join(f" {name} is not judged: no limit is set." for key, name in LIMITS.items() if findings.get(key) is None)
    return [
        f"Disparity by attribute. {disparities or 'No protected attribute is declared (data.protected)'}.{unjudged}",
        f"All {all_rows['rows']:,} {what}, of {all_rows['entities']:,} entities, {all_rows['positives']:,} of them positive, "
        f"at the threshold {findings['threshold']:.3g}: {rates}.",
        f"{NOTES} The sample: {shown:,} rows. Intervals: {findings['confidence']:.0%}, {findings['resamples']:,} resamples "
        f"of entities. Enough evidence: {findings['min_rows']:,} rows, and {findings['min_positives']:,} entities of either "
        "label.",
    ]


def _gap(gap: dict[str, Any] | None) -> str:
    return _interval(gap["difference"]) if gap else "insufficient evidence"


def _interval(value: dict[str, float] | None) -> str:
    return f"{value['point']:.3f} [{value['low']:.3f},\N{NO-BREAK SPACE}{value['high']:.3f}]" if value else "none"


def _signed(value: dict[str, float] | None) -> str:
    return f"{value['point']:+.3f} [{value['low']:+.3f}, {value['high']:+.3f}]" if value else "none"


def _apart(comparison: dict[str, Any]) -> str:
    difference, ratio = comparison["difference"], comparison["ratio"]
    if not difference:
        return "none"
    signed = _signed(difference)
    return f"{signed}, x{ratio['point']:.2f}" if ratio else signed


def _changed(comparison: dict[str, Any]) -> str:
    change = comparison["change"]
    if not change:
        return "none"
    return f"{comparison['with']['point']:.3f}, {change['point']:+.3f} [{change['low']:+.3f}, {change['high']:+.3f}]"
