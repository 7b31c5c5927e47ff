"""The one door to Evidently: pages that people read, rendered from figures and a bounded sample of rows.

Evidently writes what it is given into the page as it is, scripts included. So names and values become inert text
first, and no entity ever comes here. Its GroupBy gives each group the figure of all rows, so it is not used.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from evidently.legacy.model.widget import BaseWidgetInfo

RATES = {
    "base_rate": "base rate",
    "selection_rate": "selection rate",
    "tpr": "TPR (recall)",
    "fpr": "FPR",
    "precision": "precision",
}
LEGEND = {"orientation": "h", "y": 1.25}  # above the plot: below it, long group names run through it


def inert(value: object, longest: int = 60) -> str:
    """Text that no page, script or spreadsheet can take for more than text.

    Letters of any script, digits, spaces and a little punctuation stay; everything else, such as `<`, `=`, quotes
    and marks that turn the direction of reading, becomes `_`.
    """
    text = re.sub(r"[^\w .,:;()%+\-]", "_", str(value))[:longest]
    return re.sub(r"^[+\-]", "_", text) or "(empty)"


def inert_names(values: list[str]) -> dict[str, str]:
    """Inert text of each value; values that would look alike get a number."""
    names: dict[str, str] = {}
    for value in values:
        name, number = inert(value), 2
        while name in names.values():
            name, number = f"{inert(value)} ({number})", number + 1
        names[value] = name
    return names


def audit_page(findings: dict[str, Any], rows: pd.DataFrame) -> str:
    """HTML page of monitoring.audit's findings, with the distribution of scores in `rows`.

    Args:
        rows: a bounded sample with `score` and one text column `group_<attribute>` an attribute.
    """
    from evidently import DataDefinition, Dataset, Report

    frame, tables = rows[["score"]], {}
    for number, (attribute, groups) in enumerate(findings["attributes"].items()):
        names = inert_names([group["group"] for group in groups])
        frame = frame.assign(**{f"attribute {number}": rows[f"group_{attribute}"].map(names)})
        tables[f"attribute {number}"] = _table([{**group, "group": names[group["group"]]} for group in groups])
    definition = DataDefinition(numerical_columns=["score"], categorical_columns=list(tables))
    summary, group_gap = _metrics()
    title = f"{inert(findings['model'])}: bias audit of the challenger {inert(findings['challenger'])}"
    gaps = [group_gap(attribute=column, title=inert(name)) for column, name in zip(tables, findings["attributes"], strict=True)]
    snapshot = Report([summary(title=title, text=_statement(findings, len(rows))), *gaps]).run(
        Dataset.from_pandas(frame.reset_index(drop=True), data_definition=definition),
        additional_data={
            column: Dataset.from_pandas(table, data_definition=DataDefinition()) for column, table in tables.items()
        },
    )
    return snapshot.get_html_str(as_iframe=False).replace("<head>", f"<head><title>{title}</title>", 1)


@cache
def _metrics() -> tuple[type, type]:
    """Two metrics of our own. Defined here and once, as importing Evidently takes 8 s and it registers each class."""
    from evidently.core.metric_types import SingleValueCalculation, SingleValueMetric
    from evidently.legacy.renderers.html_widgets import header_text, text_widget

    class Summary(SingleValueMetric):
        title: str
        text: str

    class SummaryCalculation(SingleValueCalculation[Summary]):
        def display_name(self) -> str:
            return "rows in the sample"

        def calculate(self, _context: Any, current_data: Any, _reference_data: Any) -> tuple[Any, None]:
            found = self.result(len(current_data.as_dataframe()))
            found.widget = [header_text(label=self.metric.title), text_widget(text=self.metric.text)]
            return found, None

    class GroupGap(SingleValueMetric):
        attribute: str
        title: str

    class GroupGapCalculation(SingleValueCalculation[GroupGap]):
        def display_name(self) -> str:
            return f"largest difference in TPR by {self.metric.title}"

        def calculate(self, context: Any, current_data: Any, _reference_data: Any) -> tuple[Any, None]:
            table = context.additional_data[self.metric.attribute].as_dataframe()
            known = table.loc[table["evidence"] == "sufficient", "tpr"].dropna()
            found = self.result(float(known.max() - known.min()) if len(known) > 1 else 0.0)
            shown = f"{found.value:.3f}" if len(known) > 1 else "insufficient evidence"
            found.widget = _widgets(table, current_data.as_dataframe(), self.metric.attribute, self.metric.title, shown)
            return found, None

    return Summary, GroupGap


def _widgets(table: pd.DataFrame, rows: pd.DataFrame, attribute: str, title: str, gap: str) -> list[BaseWidgetInfo]:
    from evidently.legacy.renderers.html_widgets import CounterData, WidgetSize, counter, plotly_figure, table_data

    solid = table[table["evidence"] == "sufficient"]
    counters = [
        CounterData(f"{title}: largest difference in TPR between groups", gap),
        CounterData("groups with enough evidence", f"{len(solid)} of {len(table)}"),
    ]
    sizes = ["group", "evidence", "rows", "customers", "positives"]
    rates = table[[*sizes, *(f"{rate} text" for rate in RATES)]]
    apart = table[["group", *(f"{rate} apart" for rate in RATES)]]
    return [
        counter(counters=counters),
        table_data(
            title=f"{title}: rates with their intervals", column_names=[*sizes, *RATES.values()], data=rates.values.tolist()
        ),
        table_data(
            title=f"{title}: difference to all rows, and ratio",
            column_names=["group", *RATES.values()],
            data=apart.values.tolist(),
        ),
        plotly_figure(title=f"{title}: rates of groups with enough evidence", figure=_bars(solid), size=WidgetSize.HALF),
        plotly_figure(
            title=f"{title}: scores in the sample",
            figure=_curves(rows[rows[attribute].isin(solid["group"])], attribute),
            size=WidgetSize.HALF,
        ),
    ]


def _table(groups: list[dict[str, Any]]) -> pd.DataFrame:
    """One row a group: sizes, and each rate as a number with its interval and as text."""
    lines = []
    for group in groups:
        line = {
            "group": group["group"], "evidence": group["evidence"], "rows": group["rows"],
            "customers": group["entities"], "positives": group["positives"],
        }  # fmt: skip
        for rate in RATES:
            found = group["rates"][rate]
            value = found["value"] or {"point": float("nan"), "low": float("nan"), "high": float("nan")}
            line |= {rate: value["point"], f"{rate} low": value["low"], f"{rate} high": value["high"]}
            line |= {f"{rate} text": _interval(found["value"]), f"{rate} apart": _apart(found)}
        lines.append(line)
    return pd.DataFrame(lines)


def _interval(value: dict[str, float] | None) -> str:
    return f"{value['point']:.3f} [{value['low']:.3f}, {value['high']:.3f}]" if value else "none"


def _apart(found: dict[str, Any]) -> str:
    difference, ratio = found["difference"], found["ratio"]
    if not difference:
        return "none"
    signed = f"{difference['point']:+.3f} [{difference['low']:+.3f}, {difference['high']:+.3f}]"
    return f"{signed}, x{ratio['point']:.2f}" if ratio else signed


def _bars(table: pd.DataFrame) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure(layout={"barmode": "group", "xaxis": {"type": "category"}, "yaxis": {"range": [0, 1]}, "legend": LEGEND})
    for rate in ("selection_rate", "tpr", "fpr", "precision"):
        up, down = table[f"{rate} high"] - table[rate], table[rate] - table[f"{rate} low"]
        error = {"type": "data", "symmetric": False, "array": up.tolist(), "arrayminus": down.tolist()}
        figure.add_bar(name=RATES[rate], x=table["group"].tolist(), y=table[rate].tolist(), error_y=error)
    return figure


def _curves(rows: pd.DataFrame, attribute: str) -> Any:
    """Share of each group's rows by score; binned here, so that no single score is on the page."""
    import plotly.graph_objects as go

    edges = np.linspace(0, 1, 26)
    figure = go.Figure(layout={"xaxis": {"title": "score"}, "yaxis": {"title": "share of the group"}, "legend": LEGEND})
    for group, scores in rows.groupby(attribute)["score"]:
        counts, _ = np.histogram(scores, edges)
        figure.add_scatter(name=str(group), x=((edges[:-1] + edges[1:]) / 2).tolist(), y=(counts / counts.sum()).tolist())
    return figure


def _statement(findings: dict[str, Any], shown: int) -> str:
    whole = findings["whole"]
    rates = ", ".join(f"{name} {_interval(whole['rates'][rate]['value'])}" for rate, name in RATES.items())
    return (
        f"All {whole['rows']} held-out rows of {whole['entities']} customers, {whole['positives']} of them positive, "
        f"at the threshold {findings['threshold']:.4f}: {rates}.\n\n"
        f"Rates are of all rows; curves of scores are of a sample of {shown} rows. Intervals: {findings['confidence']:.0%}, "
        f"{findings['resamples']} resamples of customers. A group with fewer than {findings['min_rows']} rows or "
        f"{findings['min_positives']} positives is insufficient evidence: it neither passes nor fails."
    )
