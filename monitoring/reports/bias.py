"""The bias report: the figures of monitoring/stages/audit.py as an Evidently report of metrics of our own, one Dataset a group.

Evidently's GroupBy gives each group the figure of all rows, and it has no fairness metric: neither is used.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from monitoring.reports import rendering, sanitized
from pipelines.promotion.group_checks import line_of

if TYPE_CHECKING:
    from evidently.legacy.model.widget import BaseWidgetInfo

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
LEGEND = {"orientation": "h", "y": 1.25}  # above the plot: below it, long group names run through it
FINDINGS = {
    "proven": "proven",
    "accepted": "accepted: what is proven, a person accepted with a reason (audit.accepted)",
    "unproven": "unproven",
    "none": "none beyond the limit, and every group has enough evidence",
    "not judged": "not judged: no limit is set",
}
LIMITS = {
    "max_tpr_shortfall": "Added TPR shortfall",
    "max_fpr_excess": "Added FPR excess",
    "max_underestimation": "Underestimation",
}
HARM = "Harm, judged against everybody else; intervals hold for all lines at once"
SPLIT = "Gaps to everybody else: the whole, what the groups' risks explain, and what the model adds, which is judged"
CAPACITY = "At the capacity (evaluate.capacity): who would be acted on, by group"
WITHOUT = "With the attribute left out: the rate with it, and the change, at the same number selected"
NOTES = (
    "Rates are of all these rows; curves of scores are of the sample. Difference and ratio are to all rows; harm is judged "
    "against everybody else, since all rows hold the group. Of a gap in TPR or FPR so much is explained as there would be "
    "between the same groups under a model that is calibrated in each; what the model adds is judged. Calibration is mean "
    "score less share of positives; underestimation, the share of a group's positives that its scores do not expect, less "
    "that of everybody else. A group with insufficient evidence neither passes nor fails."
)


def page(title: str, findings: dict[str, Any], rows: pd.DataFrame, *, what: str) -> str:
    """HTML page.

    Args:
        findings: as `audit.measure` returns them; `without` may be left out, as it is of a window.
        rows: a bounded sample with `score` and one text column `group_<attribute>` an attribute.
        what: the rows that the findings are of, in words: "rows, out of fold".
    """
    from evidently import DataDefinition

    everything = {**findings["attributes"], **findings["pairs"]}
    frame, tables, metrics = rows[["score"]], {}, []
    harm_table, table_of, attribute_metric = _metrics()
    for number, (attribute, groups) in enumerate(everything.items()):
        column = f"attribute {number}"
        names = sanitized.names(group["group"] for group in groups)
        datasets = {f"{column}: {index}": figures(group, names) for index, group in enumerate(groups)}
        tables |= datasets
        if attribute in findings["attributes"]:
            frame = frame.assign(**{column: rows[f"group_{attribute}"].map(names)})
        metrics.append(
            attribute_metric(
                column=column,
                title=sanitized.text(attribute),
                gap=_gap(findings["gaps"][attribute]["tpr"]),
                harm=FINDINGS[findings["verdict"]["attributes"][attribute]],
                datasets=list(datasets),
            )
        )
    tables |= {"harm": harm_lines(findings), "split": split_lines(findings), "capacity": capacity_lines(findings)}
    listed = [
        table_of(dataset=name, title=title) for name, title in (("split", SPLIT), ("capacity", CAPACITY)) if len(tables[name])
    ]
    shown = [harm_table(), *listed, *metrics]
    if "without" in findings:
        tables |= {"without": without_lines(findings)}
        shown.append(table_of(dataset="without", title=WITHOUT))
    categories = [name for name in frame.columns if name != "score"]
    definition = DataDefinition(numerical_columns=["score"], categorical_columns=categories)
    return rendering.render(title, _statement(findings, len(rows), what), shown, frame, definition, more=tables)


def figures(group: dict[str, Any], names: dict[str, str]) -> pd.DataFrame:
    """A group's Dataset, one line a rate: sizes, the rate with its interval, and how far it is from all rows."""
    sizes = {"group": names[group["group"]], "evidence": group["evidence"], "rows": group["rows"]}
    sizes |= {"customers": group["entities"], "positives": group["positives"]}
    nothing = {"point": float("nan"), "low": float("nan"), "high": float("nan")}
    lines = []
    for rate, found in group["rates"].items():
        texts = {"text": _interval(found["value"]), "apart": _apart(found)}
        lines.append(sizes | {"rate": rate} | (found["value"] or nothing) | texts)
    return pd.DataFrame(lines)


def harm_lines(findings: dict[str, Any]) -> pd.DataFrame:
    """One line a judgement, the gravest first."""
    order = {"proven": 0, "unproven": 1, "none": 2}
    reasons = {line_of(one): sanitized.text(one["reason"]) for one in findings["verdict"].get("accepted", ())}
    lines = [
        {
            "attribute": sanitized.text(one["attribute"]),
            "group": sanitized.text(one["group"]),
            "measure": one["measure"],
            "figure": f"{one['point']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}]",
            "limit": f"{one['limit']:g}",
            "harm": f"accepted: {reasons[line_of(one)]}"
            if one["finding"] == "proven" and line_of(one) in reasons
            else one["finding"],
        }
        for one in sorted(findings["harm"], key=lambda one: (order[one["finding"]], -one["point"]))
    ]
    return pd.DataFrame(lines, columns=["attribute", "group", "measure", "figure", "limit", "harm"])


def split_lines(findings: dict[str, Any]) -> pd.DataFrame:
    """One line a group and rate, the largest gap first: raw, explained and added; none of a window of earlier days."""
    parts = {"raw": "the whole gap", "explained": "explained by risks", "added": "added by the model"}
    lines = [
        {"attribute": sanitized.text(one["attribute"]), "group": sanitized.text(one["group"]), "rate": one["rate"]}
        | {title: _signed(one[part]) for part, title in parts.items()}
        for one in sorted(findings.get("split", ()), key=lambda one: -(one["raw"] or NONE)["point"])
    ]
    return pd.DataFrame(lines, columns=["attribute", "group", "rate", *parts.values()])


def capacity_lines(findings: dict[str, Any]) -> pd.DataFrame:
    """One line a group of one attribute or two: how much of it is within the capacity; none where no capacity is set."""
    lines = [
        {"attribute": sanitized.text(attribute), "group": sanitized.text(group["group"]), "evidence": group["evidence"]}
        | {RATES[rate]: _interval(value) for rate, value in group["at_capacity"].items()}
        for attribute, groups in {**findings["attributes"], **findings["pairs"]}.items()
        for group in groups
        if "at_capacity" in group
    ]
    return pd.DataFrame(lines, columns=["attribute", "group", "evidence", *(RATES[rate] for rate in AT_CAPACITY)])


def without_lines(findings: dict[str, Any]) -> pd.DataFrame:
    """One line an attribute and group: rates of decisions with the attribute, and what leaving it out changes."""
    rates = ("selection_rate", "tpr", "fpr", "precision", "roc_auc")
    columns = ["attribute", "group", *(RATES[rate] for rate in rates)]
    lines = []
    for attribute, found in findings["without"].items():
        name = sanitized.text(attribute)
        if not found["seen"]:
            lines.append([name, "no model sees it", *("" for _ in rates)])
        elif not found["candidate"]:
            lines.append([name, "nothing could be fitted again without it", *("" for _ in rates)])
        else:
            instead = f" ({sanitized.text(found['candidate'])} for it)" if found["stands_for"] else ""
            for group in found["groups"]:
                cells = [_changed(group["rates"][rate]) for rate in rates]
                few = "" if group["evidence"] == "sufficient" else ", insufficient evidence"
                lines.append(
                    [f"{name}{instead}", f"{sanitized.text(group['group']) if group['group'] else 'all rows'}{few}", *cells]
                )
    return pd.DataFrame(lines, columns=columns)


@cache
def _metrics() -> tuple[type, type, type]:
    """Metrics of our own. Defined here and once, as importing Evidently takes 8 s and it registers each class."""
    from evidently.core.metric_types import SingleValueCalculation, SingleValueMetric
    from evidently.legacy.renderers.html_widgets import table_data, text_widget

    class HarmTable(SingleValueMetric):
        pass

    class HarmTableCalculation(SingleValueCalculation[HarmTable]):
        def display_name(self) -> str:
            return "groups that are shown to be harmed"

        def calculate(self, context: Any, _current_data: Any, _reference_data: Any) -> tuple[Any, None]:
            table = context.additional_data["harm"].as_dataframe()
            found = self.result(int((table["harm"] == "proven").sum()))
            shown = table_data(title=HARM, column_names=list(table.columns), data=table.to_numpy().tolist())
            nothing = text_widget(title=HARM, text="Nothing was judged: no group has enough evidence, or no limit is set.")
            found.widget = [shown if len(table) else nothing]
            return found, None

    class TableOf(SingleValueMetric):
        dataset: str
        title: str

    class TableOfCalculation(SingleValueCalculation[TableOf]):
        def display_name(self) -> str:
            return f"attributes in: {self.metric.title}"

        def calculate(self, context: Any, _current_data: Any, _reference_data: Any) -> tuple[Any, None]:
            table = context.additional_data[self.metric.dataset].as_dataframe()
            found = self.result(int(table["attribute"].nunique()))
            lines = table.to_numpy().tolist()
            found.widget = [table_data(title=self.metric.title, column_names=list(table.columns), data=lines)]
            return found, None

    class AttributeRates(SingleValueMetric):
        column: str
        title: str
        gap: str
        harm: str
        datasets: list[str]

    class AttributeRatesCalculation(SingleValueCalculation[AttributeRates]):
        def display_name(self) -> str:
            return f"groups of {self.metric.title} with enough evidence"

        def calculate(self, context: Any, current_data: Any, _reference_data: Any) -> tuple[Any, None]:
            groups = [context.additional_data[name].as_dataframe() for name in self.metric.datasets]
            found = self.result(sum(group["evidence"].iloc[0] == "sufficient" for group in groups))
            found.widget = _widgets(groups, current_data.as_dataframe(), self.metric)
            return found, None

    return HarmTable, TableOf, AttributeRates


def _widgets(groups: list[pd.DataFrame], rows: pd.DataFrame, metric: Any) -> list[BaseWidgetInfo]:
    from evidently.legacy.renderers.html_widgets import CounterData, WidgetSize, counter, plotly_figure, table_data

    solid = [group for group in groups if group["evidence"].iloc[0] == "sufficient"]
    counters = [
        CounterData(f"{metric.title}: harm", metric.harm.partition(":")[0].partition(" beyond")[0]),
        CounterData("largest difference in TPR between groups", metric.gap),
        CounterData("groups with enough evidence", f"{len(solid)} of {len(groups)}"),
    ]
    sizes = ["group", "evidence", "rows", "customers", "positives"]
    tables = [
        ("decisions and errors", [*sizes, *(RATES[rate] for rate in DECISIONS)], sizes, DECISIONS, "text"),
        ("scores", ["group", "evidence", *(RATES[rate] for rate in SCORES)], sizes[:2], SCORES, "text"),
        ("difference to all rows, and ratio", ["group", *RATES.values()], ["group"], tuple(RATES), "apart"),
    ]
    found = [counter(counters=counters)]
    for title, header, fixed, rates, column in tables:
        lines = [[*group[fixed].iloc[0], *(group.set_index("rate")[column][rate] for rate in rates)] for group in groups]
        found.append(table_data(title=f"{metric.title}: {title}", column_names=header, data=lines))
    found.append(
        plotly_figure(title=f"{metric.title}: rates of groups with enough evidence", figure=_bars(solid), size=WidgetSize.HALF)
    )
    if metric.column in rows.columns:
        names = [group["group"].iloc[0] for group in solid]
        figure = _curves(rows[rows[metric.column].isin(names)], metric.column)
        found.append(plotly_figure(title=f"{metric.title}: scores in the sample", figure=figure, size=WidgetSize.HALF))
    return found


def _bars(groups: list[pd.DataFrame]) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure(layout={"barmode": "group", "xaxis": {"type": "category"}, "yaxis": {"range": [0, 1]}, "legend": LEGEND})
    names = [group["group"].iloc[0] for group in groups]
    for rate in PLOTTED:
        lines = pd.DataFrame([group.set_index("rate").loc[rate, ["point", "low", "high"]] for group in groups])
        if len(lines):
            up, down = lines["high"] - lines["point"], lines["point"] - lines["low"]
            error = {"type": "data", "symmetric": False, "array": up.tolist(), "arrayminus": down.tolist()}
            figure.add_bar(name=RATES[rate], x=names, y=lines["point"].tolist(), error_y=error)
    return figure


def _curves(rows: pd.DataFrame, attribute: str) -> Any:
    """Share of each group's rows by score; binned here, so that no single score is on the page."""
    import plotly.graph_objects as go

    edges = np.linspace(0, 1, 26)
    axes = {"xaxis": {"title": "score"}, "yaxis": {"title": "share of the group", "type": "log"}, "legend": LEGEND}
    figure = go.Figure(layout=axes)
    for group, scores in rows.groupby(attribute)["score"]:
        counts, _ = np.histogram(scores, edges)
        shares = [count / counts.sum() if count else None for count in counts.tolist()]
        figure.add_scatter(name=str(group), x=((edges[:-1] + edges[1:]) / 2).tolist(), y=shares)
    return figure


def _statement(findings: dict[str, Any], shown: int, what: str) -> str:
    whole, verdict = findings["whole"], findings["verdict"]
    rates = ", ".join(f"{name} {_interval(whole['rates'][rate]['value'])}" for rate, name in RATES.items())
    found = "; ".join(f"{sanitized.text(name)}: {FINDINGS[finding]}" for name, finding in verdict["attributes"].items())
    unjudged = "".join(f" {name} is not judged: no limit is set." for key, name in LIMITS.items() if findings.get(key) is None)
    return (
        f"**Harm by attribute.** {found or 'No protected attribute is declared (data.protected)'}.{unjudged}\n\n"
        f"All {whole['rows']:,} {what}, of {whole['entities']:,} customers, {whole['positives']:,} of them positive, "
        f"at the threshold {findings['threshold']:.4f}: {rates}.\n\n"
        f"{NOTES} The sample: {shown:,} rows. Intervals: {findings['confidence']:.0%}, {findings['resamples']:,} resamples "
        f"of customers. Enough evidence: {findings['min_rows']:,} rows, and {findings['min_positives']:,} customers of either "
        "label."
    )


def _gap(found: dict[str, Any] | None) -> str:
    return _interval(found["difference"]) if found else "insufficient evidence"


def _interval(value: dict[str, float] | None) -> str:
    return f"{value['point']:.3f} [{value['low']:.3f},\N{NO-BREAK SPACE}{value['high']:.3f}]" if value else "none"


def _signed(value: dict[str, float] | None) -> str:
    return f"{value['point']:+.3f} [{value['low']:+.3f}, {value['high']:+.3f}]" if value else "none"


def _apart(found: dict[str, Any]) -> str:
    difference, ratio = found["difference"], found["ratio"]
    if not difference:
        return "none"
    signed = _signed(difference)
    return f"{signed}, x{ratio['point']:.2f}" if ratio else signed


def _changed(found: dict[str, Any]) -> str:
    change = found["change"]
    if not change:
        return "none"
    return f"{found['with']['point']:.3f}, {change['point']:+.3f} [{change['low']:+.3f}, {change['high']:+.3f}]"
