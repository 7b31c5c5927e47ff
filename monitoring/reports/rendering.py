"""How Evidently's pages are rendered: a headline of our own, then its metrics, in a page that fits a phone.

Evidently writes what it is given into the page as it is, scripts included. So whoever calls this makes names and values
inert first (monitoring/reports/sanitized.py), and no entity ever comes here.
"""

from __future__ import annotations

import html
import warnings
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# Evidently's cards cut off what is wider than the screen: here they scroll, and counters wrap.
FITTING = """<style>
.back { display: block; padding: .8rem 1.6rem; font: 16px system-ui, sans-serif; color: #2d7d46; }
@media (prefers-color-scheme: dark) { .back { color: #6ccf89; } }
.MuiGrid-root, .MuiCard-root, .MuiBox-root { min-width: 0; max-width: 100%; }
.MuiGrid-direction-xs-column { flex-wrap: nowrap !important; }
.MuiCardContent-root { overflow-x: auto; }
@media (max-width: 700px) {
  .MuiCardContent-root { padding: 6px !important; }
  .MuiGrid-grid-xs-6, .MuiGrid-grid-sm-6, .MuiGrid-grid-md-6, .MuiGrid-grid-lg-6 { width: 100% !important; }
  .MuiGrid-direction-xs-row { flex-wrap: wrap !important; }
  .MuiGrid-grid-xs-grow { flex: 1 0 40% !important; }
  .MuiTypography-h5 { font-size: 1rem !important; }
  .MuiTypography-body1.MuiTypography-alignCenter { font-size: 1.25rem !important; line-height: 1.3 !important; }
}
</style>"""
BACK = '<a class="back" href="index.html">all reports</a>'  # every folder of reports has an index'


def render(
    title: str,
    text: str,
    metrics: list[Any],
    rows: pd.DataFrame,
    definition: Any,
    *,
    reference: pd.DataFrame | None = None,
    more: Mapping[str, pd.DataFrame] | None = None,
) -> str:
    """A whole HTML page.

    Args:
        text: Markdown below the title.
        definition: Evidently's DataDefinition of `rows` and `reference`; nothing is left to its guesses.
        more: further tables that metrics of our own ask for by name.
    """
    from evidently import DataDefinition, Dataset, Report
    from sklearn.exceptions import UndefinedMetricWarning

    with warnings.catch_warnings():
        # a constant column, a category that one side lacks, nobody selected: it divides by zero, and the page shows the outcome
        warnings.simplefilter("ignore", RuntimeWarning)
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        snapshot = Report([headline()(title=title, text=text), *metrics]).run(
            Dataset.from_pandas(rows.reset_index(drop=True), data_definition=definition),
            None if reference is None else Dataset.from_pandas(reference.reset_index(drop=True), data_definition=definition),
            additional_data={
                name: Dataset.from_pandas(table, data_definition=DataDefinition()) for name, table in (more or {}).items()
            },
        )
        page = snapshot.get_html_str(as_iframe=False)
    page = page.replace("<head>", f"<head><title>{html.escape(title)}</title>{FITTING}", 1)
    return page.replace("<body>", f"<body>{BACK}", 1).lstrip()


@cache
def headline() -> type:
    """A metric of our own that is a title and a text. Made once, as Evidently registers each class."""
    from evidently.core.metric_types import SingleValueCalculation, SingleValueMetric
    from evidently.legacy.renderers.html_widgets import header_text, text_widget

    class Headline(SingleValueMetric):
        title: str
        text: str

    class HeadlineCalculation(SingleValueCalculation[Headline]):
        def display_name(self) -> str:
            return "rows in the sample"

        def calculate(self, _context: Any, current_data: Any, _reference_data: Any) -> tuple[Any, None]:
            found = self.result(len(current_data.as_dataframe()))
            found.widget = [header_text(label=self.metric.title), text_widget(text=self.metric.text)]
            return found, None

    return Headline
